"""One agent trained by its task's settings from one replay: what studies of learning compare."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from experiments.study import Row, Stage, no_stage
from experiments.tasks import task


def train(
    env: str,
    sampler: str,
    options: Mapping[str, Any] | None = None,
    *,
    capacity: int,
    length: float = 1.0,
    seed: int,
    stage: Stage = no_stage,
) -> Row:
    """Train one agent; return what it earned on the way and in the end, JSON-serialisable.

    Parameters
    ----------
    env : str
        One of `tasks.TASKS`.
    sampler, options
        Of the replay: a registered name, and options of that sampler.
    capacity : int
        Transitions held.
    length : float
        Of the run, as a share of the task's own.

    Returns
    -------
    dict
        selected, selected_at_step: mean return of the checkpoint chosen by the periodic evaluations, on fresh episodes;
        last_iterate: of the final weights; curve: [step, mean return] of each periodic evaluation; n_episodes;
        replay_stats.
    """
    import rl

    chosen = task(env)
    result = rl.train(
        env,
        replay={"sampler": sampler, "capacity": capacity, "sampler_options": dict(options or {})},
        n_steps=chosen.n_steps_at(length),
        seed=seed,
        agent_options=chosen.agent_options,
        progress=lambda done, of: stage("training", done, of),
        **chosen.evaluations(),
    )
    return {
        "selected": result.evaluation.mean,
        "selected_at_step": result.evaluation.step,
        "last_iterate": result.last_evaluation.mean,
        "n_episodes": len(result.returns),
        "curve": [[entry.step, entry.mean] for entry in result.curve],
        "replay_stats": dict(getattr(result.replay, "stats", {})),
    }
