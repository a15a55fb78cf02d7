"""Sampling without replacement: distinct slots, one after another from a sampler's law over those that are left."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from amper.protocols import Draw, Float64, Int64, Sampler, UniformSource, Weighing

_ROUNDS = 8


def draw_distinct(sampler: Sampler, n: int, source: UniformSource, seen: Callable[[Draw], None]) -> Draw:
    """Return a draw of n distinct slots, n at most the slots that hold a transition.

    A slot drawn a second time is drawn anew, which is drawing from the law over the slots not drawn yet. What eight
    rounds do not find, because a few slots hold nearly all the mass, a race of exponential clocks decides: the slot
    whose clock, of rate P(slot), rings first is next (Efraimidis and Spirakis 2006). For the samplers of an exact law
    the result is exact; AMPER's rounds each have a candidate set of their own, and its race runs at its mean law.

    Parameters
    ----------
    sampler : Sampler
    n : int
        Slots.
    source : UniformSource
        Of the race.
    seen : callable
        Told of every draw the sampler made.
    """
    slots, probabilities = np.empty(0, np.int64), np.empty(0)
    first: Draw | None = None
    for _ in range(_ROUNDS):
        draw = sampler.sample(n)
        seen(draw)
        first = first or draw
        together = np.concatenate([slots, draw.slots])
        kept = np.sort(np.unique(together, return_index=True)[1])[:n]
        slots, probabilities = together[kept], np.concatenate([probabilities, draw.probabilities])[kept]
        if len(slots) == n:
            break
    else:
        raced, chances = _race(sampler, slots, n - len(slots), source)
        slots, probabilities = np.concatenate([slots, raced]), np.concatenate([probabilities, chances])
    assert first is not None
    return first._replace(slots=slots, probabilities=probabilities)


def _race(sampler: Sampler, taken: Int64, n: int, source: UniformSource) -> tuple[Int64, Float64]:
    """Return n further slots, and their chances in one draw."""
    law = sampler.law(16)
    left = np.flatnonzero(sampler.codes > 0)
    left = left[~np.isin(left, taken)]
    # What a mean over a few candidate sets gave no chance comes last, in any order.
    tiny = np.finfo(float).tiny
    chances = np.maximum(law[left], tiny)
    times = np.log(np.maximum(-np.log1p(-source.random(len(left))), tiny)) - np.log(chances)
    order = np.argsort(times, kind="stable")[:n]
    slots: Int64 = left[order]
    return slots, sampler.probabilities(slots) if isinstance(sampler, Weighing) else chances[order]
