"""The searches of a TCAM answered without a scan: counts per code, and the slots in buckets of neighbouring codes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from amper import memory
from amper._kernels import candidates, sample
from amper._kernels import counts as counting
from amper._kernels.update import write_index
from amper.protocols import Array, Float64, Int64, UInt32

COUNTED_BITS = 16
_META_WORDS, _N_COUNTS = 16, 256 + 4096 + 65536  # int32; see `_kernels.update`
_N_VALID, _CODE_SUM, _PART_BITS, _SHIFT = 0, 1, 3, 4
_NO_TIES = np.empty((0, 2), np.int64)


class CodeCounts:
    """How many entries hold each code; order statistics over them."""

    def __init__(self, bits: int) -> None:
        self._counts = np.zeros(sum(16 ** (level + 1) for level in range(-(-bits // 4))), np.int32)
        self.n = 0

    def add(self, codes: Int64) -> None:
        """Count `codes` in."""
        counting.change(self._counts, codes, 1)
        self.n += len(codes)

    def remove(self, codes: Int64) -> None:
        """Count `codes` out."""
        counting.change(self._counts, codes, -1)
        self.n -= len(codes)

    def quantile(self, q: float) -> int:
        """Return the smallest code with at least a fraction `q` of the entries at or below it; n > 0."""
        rank = min(max(int(np.ceil(q * self.n)) - 1, 0), self.n - 1)
        return int(counting.select(self._counts, rank))


class CodeIndex:
    """Slots by code, for candidate sets: the fast form of `tcam_search.TcamSearch`, with the same results.

    Parameters
    ----------
    capacity : int
        Slots.
    bits : int
        Width of a code. Above 16 the ends of a range are counted by looking at the codes around them.
    part_bits : int
        A bucket holds codes that agree in their logarithm and in so many bits below the leading one, 3..9. Draws are
        fastest where a bucket is about as wide as a search.

    Notes
    -----
    20 bytes a slot and at most 0.6 MB independent of the capacity, whatever is written: 8 for a slot's code and
    place, 12 for buckets in an arena of 3 n + 64 places, which is laid out anew when it is used up.
    """

    def __init__(self, capacity: int, bits: int, part_bits: int = 6) -> None:
        self._tables, self._records, self._arena = memory.zeros(
            ((_META_WORDS + _N_COUNTS + 4 * (bits << part_bits),), np.int32),
            ((capacity, 2), np.uint32),
            ((3 * capacity + 64,), np.int32),
        )
        self._meta = self._tables[:_META_WORDS].view(np.int64)
        self._meta[_PART_BITS], self._meta[_SHIFT] = part_bits, max(bits - COUNTED_BITS, 0)
        self._top = (1 << bits) - 1
        self._spans = np.empty((0, 4), np.int64)
        self._room = np.empty((0, 4), np.int64)
        self._ties = _NO_TIES

    def __getstate__(self) -> dict[str, Any]:
        """Leave the view behind: a copy must see its own tables."""
        return {name: value for name, value in self.__dict__.items() if name != "_meta"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._meta = self._tables[:_META_WORDS].view(np.int64)

    @property
    def codes(self) -> UInt32:
        """Stored codes, uint32[capacity]; 0 where nothing was written; read-only."""
        view = self._records[:, 0]
        view.flags.writeable = False
        return view

    @property
    def n_valid(self) -> int:
        """Slots that hold a code."""
        return int(self._meta[_N_VALID])

    @property
    def largest(self) -> int:
        """Largest code stored, or a code that agrees with it in the sixteen bits that are counted; 0 without any."""
        if self.n_valid == 0:
            return 0
        counts = self._tables[_META_WORDS : _META_WORDS + _N_COUNTS]
        key, begin = 0, 0
        for n in (256, 16, 16):
            children = counts[begin + n * key : begin + n * key + n] if n == 16 else counts[:256]
            key = n * key + int(np.flatnonzero(children)[-1])
            begin += 256 if n == 256 else 4096
        shift = int(self._meta[_SHIFT])
        return min(((key + 1) << shift) - 1, self._top)

    @property
    def code_sum(self) -> int:
        """Exact sum of all codes."""
        return int(self._meta[_CODE_SUM])

    @property
    def n_bytes(self) -> int:
        """Memory held."""
        return self._records.nbytes + self._arena.nbytes + self._tables.nbytes

    def read(self, slots: Int64) -> Int64:
        """Return the codes of `slots`, int64."""
        codes: Int64 = self._records[slots, 0].astype(np.int64)
        return codes

    def write(self, slots: Int64, codes: Int64) -> None:
        """Store codes (>= 1)."""
        write_index(self._records, self._arena, self._tables, slots, codes)

    @property
    def arrays(self) -> tuple[Array, Array, Array]:
        """The index as the kernels see it, `_kernels.update`: records, arena, tables."""
        return self._records, self._arena, self._tables

    def find_ranges(self, rows: Int64, *, unique: bool = False) -> int:
        """Fill `n_matches` of range searches; return |CSP| of their union."""
        self._spans, self._ties = self._new_spans(len(rows)), _NO_TIES
        return int(sample.find_ranges(self._records, self._arena, self._tables, rows, unique, self._spans))

    def find_nearest(self, queries: Int64, lam: float, full: int, rows: Int64) -> tuple[int, int]:
        """Count each group and find its nearest codes; return (searches written to `rows`, |CSP|)."""
        self._spans = self._new_spans(len(queries))
        n_rows, n_csp, self._ties = candidates.find_nearest(
            self._records, self._arena, self._tables, queries, lam, full, self._top, rows, self._spans
        )
        return int(n_rows), int(n_csp)

    def draw(self, n_csp: int, uniforms: Float64) -> tuple[Int64, Int64]:
        """Draw uniformly from the CSP found last: slots and groups."""
        return self._draw(self._spans, self._ties, uniforms)

    def draw_valid(self, uniforms: Float64) -> Int64:
        """Draw uniformly from all slots that hold a code."""
        everything = np.array([(1, self._top, self.n_valid, -1)])
        return self._draw(everything, _NO_TIES, uniforms)[0]

    def _draw(self, spans: Int64, ties: Int64, uniforms: Float64) -> tuple[Int64, Int64]:
        n = len(uniforms)
        slots, groups, probabilities = np.empty(n, np.int64), np.empty(n, np.int64), np.empty(n)
        sample.draw_candidates(
            self._records, self._arena, self._tables, spans, ties, uniforms, slots, groups, probabilities
        )  # fmt: skip
        return slots, groups

    def _new_spans(self, n: int) -> Int64:
        if len(self._room) < n:
            self._room = np.empty((n, 4), np.int64)
        return self._room[:n]

    def multiplicity(self, slots: Int64) -> Int64:
        """Return how often each slot stands in the CSP found last."""
        result = np.empty(len(slots), np.int64)
        candidates.multiplicity(self._records, self._spans, self._ties, slots, result)
        return result

    def members(self) -> tuple[Int64, Int64]:
        """Return slots and groups of the CSP found last, as a multiset."""
        slots, spans = sample.list_entries(*self.arrays, self._spans, int(self._spans[:, 2].sum()))
        groups = self._spans[spans, 3]
        return np.append(slots, self._ties[:, 0]), np.append(groups, self._ties[:, 1])

    def new_tally(self) -> tuple[Array, ...]:
        """Return an empty tally for `tally`; nothing may be written until it is read."""
        order = np.argsort(self.codes, kind="stable")[len(self._records) - self.n_valid :]
        return order, self.read(order), np.zeros(self.n_valid + 1), np.zeros(len(self._records))

    def tally(self, total: tuple[Array, ...], weight: float) -> None:
        """Add `weight` for every entry of the CSP found last."""
        _, codes, by_rank, by_slot = total
        candidates.accumulate(codes, self._spans, self._ties, weight, by_rank, by_slot)

    def tallied(self, total: tuple[Array, ...]) -> Float64:
        """Return a tally by slot, float64[capacity]."""
        order, _, by_rank, by_slot = total
        result = by_slot.copy()
        result[order] += np.cumsum(by_rank)[:-1]
        return np.maximum(result, 0.0)  # a sum of differences strays below zero by rounding

    def state_dict(self) -> dict[str, Any]:
        """Return codes, and each slot's place in its bucket: what draws depend on."""
        return {"codes": self._records[:, 0].copy(), "place": self._records[:, 1].copy()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state`.

        Raises
        ------
        ValueError
            If a code is beyond the width, or the places are no order of the slots of a bucket.
        """
        codes, place = state["codes"].astype(np.int64), state["place"].astype(np.int64)
        if codes.max(initial=0) > self._top:
            raise ValueError(f"codes must be at most {self._top}, got {codes.max()}")
        slots = np.flatnonzero(codes)
        bucket = codes[slots].astype(np.float64).view(np.int64) >> (52 - int(self._meta[_PART_BITS]))
        order = np.lexsort((place[slots], bucket))
        first = np.flatnonzero(np.diff(bucket[order], prepend=-1))
        expected = np.arange(len(order)) - np.repeat(first, np.diff(np.append(first, len(order))))
        if not np.array_equal(place[slots[order]], expected):
            raise ValueError("place must number the slots of each bucket from 0, got another order")
        kept = self._meta[[_PART_BITS, _SHIFT]]
        for array in (self._records, self._arena, self._tables):
            array[...] = 0
        self._meta[[_PART_BITS, _SHIFT]] = kept
        self.write(slots[order], codes[slots[order]])
