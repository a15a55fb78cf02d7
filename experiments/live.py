"""Priorities as an agent leaves them: the law of any sampler on what a running replay holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from amper.protocols import Float64, Sampler
from amper.shadows import Shadows
from experiments.tasks import task

REFERENCE = "exact"  # the shadow whose codes are the masses: 32 bits


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What the samplers held at one moment of a run.

    Parameters
    ----------
    step : int
        Environment steps taken.
    mass : float64[n]
        Mass of each stored transition over their sum: the chance PER gives it.
    law : mapping
        Chance each sampler gives it in one draw, float64[n], by name.
    candidates : mapping
        Mean size of AMPER's candidate set, as a fraction of the n transitions, by name.
    """

    step: int
    mass: Float64
    law: Mapping[str, Float64]
    candidates: Mapping[str, float]


def divergences(law: Float64, mass: Float64) -> dict[str, float]:
    """Return the Kullback-Leibler divergence KL(law || mass), natural logarithm, and the total variation.

    Examples
    --------
    >>> divergences(np.array([0.5, 0.5]), np.array([0.25, 0.75]))["tv"]
    0.25
    """
    support = law > 0
    kl = float(np.sum(law[support] * np.log(law[support] / mass[support])))
    return {"kl": max(kl, 0.0), "tv": float(np.abs(law - mass).sum() / 2)}


def follow(
    env: str,
    wanted: Mapping[str, tuple[str, Mapping[str, Any]]],
    *,
    n_steps: int | None = None,
    capacity: int = 20_000,
    seed: int = 0,
    n_snapshots: int = 1,
    n_samplings: int = 4_000,
    replay: Mapping[str, Any] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Snapshot]:
    """Return snapshots of samplers that follow a DQN's replay, at equal distances, the last one at the end.

    Parameters
    ----------
    env : str
        One of `tasks.TASKS`, whose settings are used.
    wanted : mapping
        Samplers to follow, as `amper.shadows.Shadows` takes them.
    n_steps : int, optional
        Environment steps; the task's by default.
    capacity : int
        Transitions held.
    n_samplings : int
        Candidate sets behind each law.
    replay : mapping, optional
        The replay the agent itself learns from; exact prioritized replay by default.
    """
    import rl

    settings = task(env)
    n_steps = n_steps or settings.n_steps
    shadows = Shadows({REFERENCE: ("per", {}), **wanted})
    taken: list[Snapshot] = []

    def observe(done: int, of: int) -> None:
        if progress is not None:
            progress(done, of)
        if done * n_snapshots // of > len(taken):
            taken.append(snapshot(shadows.samplers, done, n_samplings))

    rl.train(
        env,
        agent="dqn",
        replay={"sampler": "per", **(replay or {}), "capacity": capacity, "sink": shadows},
        n_steps=n_steps,
        seed=seed,
        agent_options=settings.agent_options,
        n_evaluations=1,
        n_eval_episodes=1,
        n_test_episodes=1,
        progress=observe,
    )
    return taken


def snapshot(followed: Mapping[str, Sampler], step: int, n_samplings: int) -> Snapshot:
    """Return the laws of samplers that hold the same transitions, the exact one among them."""
    codes = followed[REFERENCE].codes
    stored = codes > 0
    mass = codes[stored] / codes[stored].sum(dtype=np.int64)
    others = {name: sampler for name, sampler in followed.items() if name != REFERENCE}
    return Snapshot(
        step=step,
        mass=mass,
        law={name: sampler.law(n_samplings)[stored] for name, sampler in others.items()},
        candidates={
            name: float(np.mean([len(sampler.candidates()[0]) for _ in range(200)])) / len(mass)
            for name, sampler in others.items()
            if hasattr(sampler, "candidates")
        },
    )
