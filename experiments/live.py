"""Priorities as an agent leaves them: the law of any sampler on what a running replay holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from amper.protocols import Float64, Sampler
from amper.shadows import Shadows
from experiments.divergence import N_SAMPLINGS, divergence
from experiments.tasks import task

if TYPE_CHECKING:
    from rl.training import TrainResult

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

    def measured(self, n_samplings: int = N_SAMPLINGS, n_scanned: int | None = None) -> dict[str, dict[str, float]]:
        """Return by name the divergence from PER; for AMPER also mean searches and mean |CSP| / stored.

        `n_samplings` candidate sets are behind each law; `n_scanned`, if given, where every row is compared.
        """
        mass, stored = self.mass, self.stored
        found = {}
        for name, sampler in self.followed.items():
            n = n_scanned if n_scanned and getattr(sampler, "engine", "") == "tcam" else n_samplings
            found[name] = asdict(divergence(sampler, mass, stored, n))
            if hasattr(sampler, "candidates"):
                draws = [sampler.sample(1) for _ in range(n // 20)]
                found[name]["csp"] = float(np.mean([draw.n_csp for draw in draws])) / len(mass)
                found[name]["n_searches"] = float(
                    np.mean([0 if draw.searches is None else len(draw.searches) for draw in draws])
                )
        return found


Measure = Callable[[Snapshot], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Followed:
    """A run that was followed: what was measured of its snapshots, and what `rl.train` returned."""

    measured: list[Any]
    result: TrainResult


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
    evaluation: Mapping[str, Any] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Followed:
    """Train a DQN; return what `measure` makes of snapshots of its replay, at equal distances, the last at the end.

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
    evaluation : mapping, optional
        Of `rl.train`: n_evaluations, n_eval_episodes, n_test_episodes; hardly any by default.
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

    result = rl.train(
        env,
        agent="dqn",
        replay={"sampler": "per", **(replay or {}), "capacity": capacity, "sink": shadows},
        n_steps=n_steps,
        seed=seed,
        agent_options=settings.agent_options,
        **{"n_evaluations": 1, "n_eval_episodes": 1, "n_test_episodes": 1, **(evaluation or {})},
        progress=observe,
    )
    return Followed(measured=taken, result=result)
