"""What AMPER takes for the largest code in use, Vmax: its groups reach up to there.

Three rules, by the option `v_max`: the largest code ever written as a priority; that, decaying; a quantile of the
codes that were updated and not overwritten since.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from amper.index import COUNTED_BITS, CodeCounts
from amper.protocols import Array, Int64

Read = Callable[[Int64], Int64]  # slots -> the codes they hold


class FullScaleRule(Protocol):
    """What the sampler tells a rule, and asks of it."""

    #: Whether codes above the groups' full scale may be stored; searches that reach the top must then find them.
    open_top: bool

    @property
    def v_max(self) -> int:
        """The largest code in use, by this rule; 0 before any."""
        ...

    @property
    def largest(self) -> float:
        """The largest code written, decayed where this rule decays it: with `is_updated`, what a state keeps."""
        ...

    @property
    def is_updated(self) -> Array:
        """Slots whose code was updated since it was inserted, bool[capacity]; empty where that plays no part."""
        ...

    def inserted(self, slots: Int64, codes: Int64, read: Read, *, at_maximum: bool) -> None:
        """Take new transitions, before they are written."""
        ...

    def updated(self, slots: Int64, codes: Int64, read: Read) -> None:
        """Take new codes of stored transitions, before they are written."""
        ...

    def raise_to(self, code: int, n_updated: int = 0) -> None:
        """Take `code` for one that was written, after `n_updated` codes were; enough where slots play no part."""
        ...

    def halved(self, slots: Int64, before: Int64, after: Int64, largest: int) -> None:
        """Take the halving of every stored code; `largest` is what `largest` became by it."""
        ...

    def load(self, largest: float, is_updated: Array, read: Read) -> None:
        """Go on from a state."""
        ...


class RunningMaximum:
    """Vmax is the largest code ever written as a priority."""

    open_top = False
    is_updated: Array = np.zeros(0, bool)

    def __init__(self) -> None:
        self.largest: float = 0

    @property
    def v_max(self) -> int:
        """The largest code written."""
        return int(self.largest)

    def inserted(self, slots: Int64, codes: Int64, read: Read, *, at_maximum: bool) -> None:
        """Take the largest of new codes; a maximum in use was written before, as an update."""
        if not (at_maximum and self.largest):
            self.raise_to(int(codes.max()))

    def updated(self, slots: Int64, codes: Int64, read: Read) -> None:
        """Take the largest of new codes."""
        self.raise_to(int(codes.max()), len(codes))

    def raise_to(self, code: int, n_updated: int = 0) -> None:
        """Take `code` for one that was written."""
        self.largest = max(self.largest, code)

    def halved(self, slots: Int64, before: Int64, after: Int64, largest: int) -> None:
        """Take the maximum halved."""
        self.largest = largest

    def load(self, largest: float, is_updated: Array, read: Read) -> None:
        """Go on from a state."""
        self.largest = largest


class DecayedMaximum(RunningMaximum):
    """Vmax is the largest code written, each counting half as much after `half_life` more updated codes."""

    open_top = True

    def __init__(self, half_life: float) -> None:
        super().__init__()
        self.largest = 0.0
        self._half_life = half_life

    @property
    def v_max(self) -> int:
        """The decayed maximum, rounded up."""
        return math.ceil(self.largest)

    def raise_to(self, code: int, n_updated: int = 0) -> None:
        """Take `code` for one that was written, after `n_updated` codes were."""
        decayed = self.largest * 0.5 ** (n_updated / self._half_life)
        self.largest = max(decayed, float(code), 1.0)


class UpdatedQuantile(RunningMaximum):
    """Vmax is a quantile of the codes that were updated since they were inserted; before any, the running maximum."""

    open_top = True

    def __init__(self, quantile: float, capacity: int, bits: int) -> None:
        super().__init__()
        self._quantile, self._bits = quantile, bits
        self._counts = CodeCounts(bits)
        self.is_updated = np.zeros(capacity, bool)

    @property
    def v_max(self) -> int:
        """The quantile."""
        return self._counts.quantile(self._quantile) if self._counts.n else int(self.largest)

    def inserted(self, slots: Int64, codes: Int64, read: Read, *, at_maximum: bool) -> None:
        """Forget what the slots held."""
        super().inserted(slots, codes, read, at_maximum=at_maximum)
        self._forget(slots, read)

    def updated(self, slots: Int64, codes: Int64, read: Read) -> None:
        """Count the new codes instead of what the slots held."""
        super().updated(slots, codes, read)
        self._forget(slots, read)
        self._counts.add(codes)
        self.is_updated[slots] = True

    def _forget(self, slots: Int64, read: Read) -> None:
        known = slots[self.is_updated[slots]]
        self._counts.remove(read(known))
        self.is_updated[known] = False

    def halved(self, slots: Int64, before: Int64, after: Int64, largest: int) -> None:
        """Count the halved codes instead of what they were."""
        super().halved(slots, before, after, largest)
        known = self.is_updated[slots]
        self._counts.remove(before[known])
        self._counts.add(after[known])

    def load(self, largest: float, is_updated: Array, read: Read) -> None:
        """Go on from a state: the counts follow from the stored codes."""
        super().load(largest, is_updated, read)
        self.is_updated[...] = is_updated
        self._counts = CodeCounts(self._bits)
        self._counts.add(read(np.flatnonzero(self.is_updated)))


def make_rule(v_max: Any, capacity: int, bits: int) -> FullScaleRule:
    """Return the rule that the option `v_max` names.

    Raises
    ------
    ValueError
        If there is none, or its number is out of range.

    Examples
    --------
    >>> rule = make_rule("decay1000", capacity=10, bits=16)
    >>> rule.raise_to(800)
    >>> rule.raise_to(3, n_updated=2000)
    >>> rule.v_max
    200
    """
    if v_max == "running":
        return RunningMaximum()
    if isinstance(v_max, str) and v_max.startswith("decay") and _number(v_max[5:]) >= 1:
        return DecayedMaximum(_number(v_max[5:]))
    if not (isinstance(v_max, str) and v_max.startswith("q") and 0 < _number(v_max[1:]) <= 100):
        raise ValueError(
            "v_max must be 'running' or 'q' and a percentage such as 'q99.9', or 'decay' and the updated codes in "
            f"which it halves, at least 1, such as 'decay100000', got {v_max!r}"
        )
    if bits > COUNTED_BITS:
        raise ValueError(f"bits must be at most {COUNTED_BITS} where v_max is a quantile, got {bits!r}")
    return UpdatedQuantile(_number(v_max[1:]) / 100, capacity, bits)


def _number(text: str) -> float:
    """Return the finite number that `text` spells, NaN where it spells none."""
    try:
        value = float(text)
    except ValueError:
        return math.nan
    return value if math.isfinite(value) else math.nan
