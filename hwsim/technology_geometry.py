"""Arrays of geometries that a technology does not list, by the model fitted to those it does."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from hwsim.array_fit import ArrayModel, ArrayPoint, fit
from hwsim.technology_numbers import FITTED_FROM, PARTS, ArrayEntry, ArrayNumbers, exact_sum

_LATENCIES = PARTS["search_ns"][0]


def points(entries: Sequence[ArrayEntry]) -> tuple[ArrayPoint, ...]:
    """Return what the model is fitted to: the arrays, as a file states them."""
    return tuple(
        ArrayPoint(words=entry.words, bits=entry.bits, **{key: entry.numbers[key].value for key in FITTED_FROM})
        for entry in entries
    )


@functools.lru_cache(maxsize=16)
def model_of(known: tuple[ArrayPoint, ...]) -> ArrayModel:
    """Return the model fitted to some points."""
    return fit(known)


def fitted_array(stated: Sequence[ArrayEntry], scaled: Sequence[ArrayEntry], words: int, bits: int) -> ArrayNumbers:
    """Return the array of `words` rows of `bits` cells, by the model.

    Parameters
    ----------
    stated, scaled : sequence of ArrayEntry
        As the file states them, to which the model is fitted; and as they were scaled since, by which its result
        is multiplied: the model's fixed parts (a write's pulse, the cells' area) scale along.

    Raises
    ------
    ValueError
        If the geometry lies outside the model's range.
    """
    modelled = model_of(points(stated)).at(words, bits)
    before, after = stated[0].numbers, scaled[0].numbers
    values = {key: getattr(modelled, key) * after[key].value / before[key].value for key in FITTED_FROM if key in after}
    parts = {key: exact_sum([values[key]]) for key in _LATENCIES}
    return ArrayNumbers(
        words=words,
        bits=bits,
        masked_bits=0,
        search_ns=exact_sum(parts.values()),
        search_pj=values["search_pj"],
        write_ns=values["write_ns"],
        write_pj=values["write_pj"],
        area_um2=values["area_um2"],
        leakage_uw=values.get("leakage_uw"),
        parts_ns=parts,
    )


def nearest(entries: Sequence[ArrayEntry], words: int, bits: int) -> ArrayEntry | None:
    """Return the array nearest in geometry, whose declared uncertainty a modelled one takes; None of none.

    Examples
    --------
    >>> from hwsim.technology import technology
    >>> near = nearest(technology("evacam-fefet45").arrays, 200, 24)
    >>> near.words, near.bits
    (256, 32)
    """
    return min(
        entries, key=lambda e: max(e.words / words, words / e.words) * max(e.bits / bits, bits / e.bits), default=None
    )
