"""How far the law of a sampler lies from PER's, freed of the noise of its own estimate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from amper.protocols import Float64

N_SAMPLINGS = 4_000  # candidate sets behind a law, where nothing else is said


@dataclass(frozen=True, slots=True, kw_only=True)
class Divergence:
    """What separates a law P from the masses.

    Parameters
    ----------
    kl : float
        Kullback-Leibler divergence KL(P || mass), natural logarithm, less what the noise of the estimate adds to it.
    tv : float
        Total variation, noise and all.
    tv_floor : float
        Total variation that the noise alone would show.
    """

    kl: float
    tv: float
    tv_floor: float


def kl_and_tv(law: Float64, mass: Float64) -> tuple[float, float]:
    """Return the Kullback-Leibler divergence KL(law || mass), natural logarithm, and the total variation.

    Examples
    --------
    >>> kl_and_tv(np.array([0.5, 0.5]), np.array([0.25, 0.75]))[1]
    0.25
    """
    support = law > 0
    kl = float(np.sum(law[support] * np.log(law[support] / mass[support])))
    return max(kl, 0.0), float(np.abs(law - mass).sum() / 2)


def between_halves(halves: tuple[Float64, Float64], mass: Float64) -> Divergence:
    """Return the divergence of the mean of two independent estimates of one law.

    The mean P of S samplings differs from the law by noise of variance s_i^2 / S, which adds sum_i s_i^2 / (2 S P_i)
    to KL: F / (4 S lambda' mean), .02 for 20 linear groups on a trained agent's priorities at S = 4,000, where the
    divergence of interest is .001. A quarter of the squared difference between the halves estimates that variance.

    Parameters
    ----------
    halves : two of float64[n]
        Each the mean over half of the samplings.
    mass : float64[n]
        What PER would give; sums to 1.
    """
    law = (halves[0] + halves[1]) / 2
    half = np.abs(halves[0] - halves[1]) / 2
    kl, tv = kl_and_tv(law, mass)
    support = law > 0
    noise = float(np.sum(half[support] ** 2 / law[support])) / 2
    return Divergence(kl=kl - noise, tv=tv, tv_floor=float(half.sum() / 2))


def divergence(sampler: Any, mass: Float64, stored: Any, n_samplings: int = N_SAMPLINGS) -> Divergence:
    """Return how far `sampler` lies from PER.

    Parameters
    ----------
    sampler : Sampler
        Its law is estimated from `n_samplings` candidate sets, where it has any.
    mass : float64[n]
        Mass of each stored transition over their sum.
    stored : bool[capacity] or int64[n]
        Where they are stored.
    """
    halves = (sampler.law(n_samplings // 2)[stored], sampler.law(n_samplings // 2)[stored])
    return between_halves(halves, mass)
