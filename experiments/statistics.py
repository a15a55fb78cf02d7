"""Statistics of runs: medians, interquartile means, probabilities of improvement, each with its interval.

After Agarwal et al. (2021), "Deep reinforcement learning at the edge of the statistical precipice": few runs a
task, so point estimates come with bootstrap intervals, and each task keeps its share of every resample.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from amper.protocols import Float64

N_RESAMPLES = 10_000

#: The runs of one algorithm, an array a stratum: a stratum is what is resampled within, such as one task's runs.
Strata: TypeAlias = "Sequence[Sequence[float] | Float64]"


class Interval(NamedTuple):
    """An estimate, and the percentile-bootstrap interval around it."""

    value: float
    low: float
    high: float


def median_interval(values: Sequence[float], *, level: float = 0.95, seed: int = 0) -> tuple[float, float, float]:
    """Return the median and its percentile-bootstrap interval (10,000 resamples).

    Examples
    --------
    >>> median_interval([500.0, 500.0, 500.0])
    (500.0, 500.0, 500.0)
    """
    array = np.asarray(values, float)
    picks = np.random.default_rng(seed).integers(0, len(array), (10_000, len(array)))
    medians = np.median(array[picks], axis=1)
    tail = (1 - level) / 2 * 100
    low, high = np.percentile(medians, [tail, 100 - tail])
    return float(np.median(array)), float(low), float(high)


def iqm(values: Sequence[float] | Float64) -> Any:
    """Return the interquartile mean over the last axis: the mean of what a quarter cut off each end leaves.

    Notes
    -----
    Agarwal et al. 2021, section 4.3. Of n values floor(n / 4) are cut off each end; of fewer than four, none.

    Examples
    --------
    >>> float(iqm([0.0, 1.0, 2.0, 900.0]))
    1.5
    """
    ascending = np.sort(np.asarray(values, float), axis=-1)
    cut = ascending.shape[-1] // 4
    return ascending[..., cut : ascending.shape[-1] - cut].mean(axis=-1)


def pooled_iqm(*strata: Float64) -> Any:
    """Return the interquartile mean of all strata's runs together; of each resample, where runs are the last axis."""
    return iqm(np.concatenate(strata, axis=-1))


def chance_of_more(a: Sequence[float] | Float64, b: Sequence[float] | Float64) -> Any:
    """Return the chance that a run out of `a` earns more than one out of `b`, ties counted half.

    Parameters
    ----------
    a, b : float64[..., n], float64[..., m]
        Runs in the last axis; earlier axes are resamples.

    Notes
    -----
    The Mann-Whitney U statistic of `a` over n m (Agarwal et al. 2021, section 4.3, "probability of improvement").

    Examples
    --------
    >>> float(chance_of_more([1.0, 3.0], [2.0, 1.0]))
    0.625
    """
    one, other = np.asarray(a, float)[..., :, None], np.asarray(b, float)[..., None, :]
    return ((one > other) + 0.5 * (one == other)).mean(axis=(-2, -1))


def bootstrap(
    statistic: Callable[..., Any],
    *algorithms: Strata,
    level: float = 0.95,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Return a statistic of one or more algorithms' runs and its stratified percentile-bootstrap interval.

    Parameters
    ----------
    statistic : callable
        Takes a list of arrays an algorithm, one a stratum, runs in the last axis; returns one number, or one for each
        of the leading axis.
    algorithms : sequence of strata
        Runs are drawn anew, with replacement, within each stratum of each algorithm.

    Raises
    ------
    ValueError
        If a stratum has no runs.

    Notes
    -----
    Agarwal et al. 2021, section 4.1: strata are tasks, so that each resample has every task as often as the data.

    Examples
    --------
    >>> bootstrap(lambda runs: pooled_iqm(*runs), [[1.0, 1.0], [3.0, 3.0]])
    Interval(value=2.0, low=2.0, high=2.0)
    """
    arrays = [[np.asarray(runs, float) for runs in strata] for strata in algorithms]
    if not all(runs.size for strata in arrays for runs in strata):
        raise ValueError(f"every stratum must have a run, got {[[len(runs) for runs in s] for s in arrays]!r}")
    rng = np.random.default_rng(seed)
    drawn = [[runs[rng.integers(0, len(runs), (n_resamples, len(runs)))] for runs in strata] for strata in arrays]
    tail = (1 - level) / 2 * 100
    low, high = np.percentile(statistic(*drawn), [tail, 100 - tail])
    return Interval(float(statistic(*arrays)), float(low), float(high))


def iqm_interval(strata: Strata, **options: Any) -> Interval:
    """Return the interquartile mean of all strata's runs together, with its interval; options as of `bootstrap`."""
    return bootstrap(lambda runs: pooled_iqm(*runs), strata, **options)


def iqm_difference(a: Strata, b: Strata, **options: Any) -> Interval:
    """Return the interquartile mean of `a` less that of `b`, with its interval; options as of `bootstrap`."""
    return bootstrap(lambda x, y: pooled_iqm(*x) - pooled_iqm(*y), a, b, **options)


def improvement(a: Strata, b: Strata, **options: Any) -> Interval:
    """Return the mean over strata of the chance that a run of `a` earns more than one of `b`, with its interval.

    Raises
    ------
    ValueError
        If the two have not as many strata.
    """
    if len(a) != len(b):
        raise ValueError(f"a and b must have the same strata, got {len(a)} and {len(b)}")

    def mean(x: list[Float64], y: list[Float64]) -> Any:
        return np.mean([chance_of_more(one, other) for one, other in zip(x, y, strict=True)], axis=0)

    return bootstrap(mean, a, b, **options)
