"""Priorities as an agent leaves them: the law of any sampler on what a running replay holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from amper.protocols import Float64, Sampler
from amper.shadows import Shadows
from experiments.divergence import N_SAMPLINGS, divergence
from experiments.tasks import task

_EXACT = "exact"  # the name of the shadow that is PER


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What the samplers held at one moment of a run.

    Parameters
    ----------
    step : int
        Environment steps taken.
    exact : Sampler
        Exact prioritized replay: its codes, of 32 bits, are the masses. Live: it goes on with the run.
    followed : mapping
        The samplers wanted, by name; live likewise.
    """

    step: int
    exact: Sampler
    followed: Mapping[str, Sampler]

    @property
    def stored(self) -> Any:
        """Slots that hold a transition, bool[capacity]."""
        return self.exact.codes > 0

    @property
    def mass(self) -> Float64:
        """Mass of each stored transition over their sum, float64[n]: the chance PER gives it."""
        codes = self.exact.codes.astype(np.float64)
        mass: Float64 = codes[codes > 0] / codes.sum()
        return mass

    def measured(self, n_samplings: int = N_SAMPLINGS) -> dict[str, dict[str, float]]:
        """Return by name the divergence from PER, and AMPER's mean |CSP| as a fraction of what is stored."""
        mass, stored = self.mass, self.stored
        found = {}
        for name, sampler in self.followed.items():
            found[name] = asdict(divergence(sampler, mass, stored, n_samplings))
            if hasattr(sampler, "candidates"):
                sizes = [len(sampler.candidates()[0]) for _ in range(200)]
                found[name]["csp"] = float(np.mean(sizes)) / len(mass)
        return found


Measure = Callable[[Snapshot], Any]


def follow(
    env: str,
    wanted: Mapping[str, tuple[str, Mapping[str, Any]]],
    *,
    n_steps: int | None = None,
    capacity: int = 20_000,
    seed: int = 0,
    n_snapshots: int = 1,
    measure: Measure = Snapshot.measured,
    replay: Mapping[str, Any] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Any]:
    """Return what `measure` makes of snapshots of a DQN's replay, at equal distances, the last one at the end.

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
    measure : callable
        Snapshot -> anything; called while the run stands still.
    replay : mapping, optional
        The replay the agent itself learns from; exact prioritized replay by default.
    """
    import rl

    settings = task(env)
    n_steps = n_steps or settings.n_steps
    shadows = Shadows({_EXACT: ("per", {}), **wanted})
    taken: list[Any] = []

    def observe(done: int, of: int) -> None:
        if progress is not None:
            progress(done, of)
        if done * n_snapshots // of > len(taken):
            followed = dict(shadows.samplers)
            taken.append(measure(Snapshot(step=done, exact=followed.pop(_EXACT), followed=followed)))

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
