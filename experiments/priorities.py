"""Where studies of a law take their priorities from: distributions of known form, and agents in training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from amper import samplers
from amper.protocols import Float64
from experiments.divergence import N_SAMPLINGS
from experiments.live import Snapshot, follow
from experiments.tasks import TASKS, task

#: Quantile functions of masses, up to a scale.
DISTRIBUTIONS: Mapping[str, Callable[[Float64], Float64]] = {
    "U[0,1]": lambda u: u,
    "exponential": lambda u: -np.log1p(-u),
    "exponential^.6": lambda u: (-np.log1p(-u)) ** 0.6,
    "lognormal(0,1)": lambda u: np.exp(_normal_quantile(u)),
    "5% high": lambda u: np.where(u < 0.95, u / 0.95 * 0.02, 0.8 + (u - 0.95) / 0.05 * 0.2),
}
Options = Mapping[str, Any]


def known(source: str) -> str:
    """Return `source` if priorities can be had of it.

    Raises
    ------
    ValueError
        If it is neither a distribution nor an environment of `tasks.TASKS`.
    """
    if source not in DISTRIBUTIONS and source not in TASKS:
        raise ValueError(f"source must be one of {', '.join((*DISTRIBUTIONS, *TASKS))}, got {source!r}")
    return source


def masses(distribution: str, n: int) -> Float64:
    """Return the quantiles at (i + .5) / n, i = 0 .. n - 1, over their maximum: no random draw.

    Raises
    ------
    ValueError
        If there is no distribution of that name.

    Examples
    --------
    >>> masses("U[0,1]", 4)
    array([0.14285714, 0.42857143, 0.71428571, 1.        ])
    """
    if distribution not in DISTRIBUTIONS:
        raise ValueError(f"distribution must be one of {', '.join(DISTRIBUTIONS)}, got {distribution!r}")
    values = DISTRIBUTIONS[distribution]((np.arange(n) + 0.5) / n)
    scaled: Float64 = values / values.max()
    return scaled


def measured(
    source: str,
    wanted: Mapping[str, tuple[str, Options]],
    *,
    n: int,
    length: float = 1.0,
    seed: int = 0,
    n_samplings: int = N_SAMPLINGS,
    n_scanned: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, dict[str, float]]:
    """Return how far samplers lie from PER on the priorities of one source, as `Snapshot.measured`.

    Parameters
    ----------
    source : str
        One of `DISTRIBUTIONS`, or an environment of `tasks.TASKS`: the replay of a DQN at the end of its training.
    wanted : mapping
        Name of your own -> (sampler's registered name, its options).
    n : int
        Transitions stored.
    length : float
        Of a training, as a share of the task's own.
    n_samplings, n_scanned : int
        As `Snapshot.measured` takes them.
    """

    def measure(snapshot: Snapshot) -> dict[str, dict[str, float]]:
        return snapshot.measured(n_samplings, n_scanned)

    if known(source) in TASKS:
        run = follow(
            source,
            wanted,
            n_steps=task(source).n_steps_at(length),
            capacity=n,
            seed=seed,
            measure=measure,
            progress=progress,
        )
        found: dict[str, dict[str, float]] = run.measured[-1]
        return found
    values = masses(source, n)
    followed = {name: _filled(*made, values, seed) for name, made in wanted.items()}
    return measure(Snapshot(step=0, exact=_filled("per", {}, values, seed), followed=followed))


def _filled(name: str, options: Options, values: Float64, seed: int) -> Any:
    """Return a sampler that holds `values`, in [0, 1], as codes of its own width; written as updates are."""
    sampler = samplers.make_from(name, len(values), seed, options)
    top = sampler.format.top
    sampler.insert(
        np.arange(len(values)), np.maximum(np.floor(values * top + 0.5), 1).astype(np.int64), at_maximum=False
    )
    return sampler


def _normal_quantile(u: Float64) -> Float64:
    from statistics import NormalDist

    quantile = NormalDist().inv_cdf
    return np.array([quantile(float(p)) for p in u])
