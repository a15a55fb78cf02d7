"""Does it matter to an agent which replay it learns from?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from experiments.statistics import median_interval
from experiments.study import Answer, Cell, Parameters, Row, Stage, Study, no_stage


def cells(parameters: Parameters) -> list[Cell]:
    """Return one cell a replay and seed."""
    shared = {key: parameters[key] for key in ("env", "agent", "n_steps", "capacity")}
    seeds = range(parameters["seed"], parameters["seed"] + parameters["seeds"])
    return [Cell({**shared, "replay": replay}, seed) for replay in parameters["replay"] for seed in seeds]


def run(parameters: Parameters, seed: int, stage: Stage = no_stage) -> Row:
    """Train one agent; return what its selected checkpoint and its last iterate earn in 20 fresh episodes."""
    import rl

    result = rl.train(
        parameters["env"],
        agent=parameters["agent"],
        replay={"sampler": parameters["replay"], "capacity": parameters["capacity"]},
        n_steps=parameters["n_steps"],
        seed=seed,
        progress=lambda done, of: stage("training", done, of),
    )
    stats: dict[str, Any] = getattr(result.replay, "stats", {})
    return {
        "replay": parameters["replay"],
        "seed": seed,
        "selected": result.evaluation.mean,
        "selected_at_step": result.evaluation.step,
        "last_iterate": result.last_evaluation.mean,
        "n_episodes": len(result.returns),
        "curve": [[entry.step, entry.mean] for entry in result.curve],
        "replay_stats": dict(stats),
    }


def answer(rows: Sequence[Row]) -> Answer:
    """Return medians over seeds, with 95% bootstrap intervals, a line a replay."""
    table = []
    for replay in dict.fromkeys(row["replay"] for row in rows):
        mine = [row for row in rows if row["replay"] == replay]
        selected = [row["selected"] for row in mine]
        last = [row["last_iterate"] for row in mine]
        table.append((replay, len(mine), _with_interval(selected), f"{min(selected):.1f}", _with_interval(last)))
    return Answer(
        ("replay", "seeds", "selected checkpoint, median [95%]", "worst", "last iterate, median [95%]"),
        tuple(table),
        "Selected checkpoint: averaged weights, the best of the periodic evaluations, then 20 fresh "
        "episodes. "
        "Last iterate: the final weights as they are, on the same episodes. Intervals: bootstrap over seeds.",
    )


def _with_interval(values: Sequence[float]) -> str:
    if len(values) == 1:
        return f"{values[0]:.1f} [n/a]"
    return "{:.1f} [{:.1f}, {:.1f}]".format(*median_interval(values))


_DEFAULT = {
    "env": "CartPole-v1",
    "agent": "dqn",
    "replay": ["uniform", "per", "amper-k", "amper-fr"],
    "n_steps": 60_000,
    "capacity": 50_000,
    "seeds": 5,
    "seed": 0,
}
STUDY = Study(
    name="compare-replays",
    question="Does it matter to an agent which replay it learns from?",
    settings={
        "tiny": {**_DEFAULT, "replay": ["uniform", "amper-fr"], "n_steps": 2_000, "seeds": 1},
        "default": _DEFAULT,
        "full": {**_DEFAULT, "seeds": 20},
    },
    cells=cells,
    run=run,
    answer=answer,
)
