"""A bit-true ternary content-addressable memory, and AMPER's searches as it carries them out.

Stored bit-sliced: plane j holds bit j of every row, 64 rows a machine word. A search reads every row, as the
match lines do. It is the reference: the index of `index.py` must find the same rows. 23 searches among 20,000 rows
take 15 to 18 us, three to five times what reading the planes of their care bits takes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from amper._kernels import tcam as kernels
from amper.faults import NO_EVENTS, Events, FaultSource, StuckCells, TcamFaults, Words
from amper.protocols import Float64, Int64, UInt32

Distance = Literal["value", "hamming"]
_BLOCK = 32  # words of match lines that are counted together
_NOT_STUCK = np.empty((0, 0), np.uint64)


def cover(lo: int, hi: int) -> Iterator[tuple[int, int]]:
    """Yield the ternary words that cover the codes lo .. hi, as (key, number of don't-care bits).

    An arbitrary interval of W-bit codes needs up to 2 W - 2 of them.

    Examples
    --------
    >>> list(cover(3, 12))
    [(3, 0), (4, 2), (8, 2), (12, 0)]
    """
    while lo <= hi:
        k = (lo & -lo).bit_length() - 1 if lo else hi.bit_length()
        while (1 << k) > hi - lo + 1:
            k -= 1
        yield lo, k
        lo += 1 << k


class Tcam:
    """Rows of `bits`-bit words with a valid bit each; rows not yet written never match.

    Parameters
    ----------
    n_rows : int
        Rows.
    bits : int
        Width of a word, 1..32.
    stuck : StuckCells, optional
        Cells that do not take what is written.
    faults : FaultSource, optional
        What misreads match lines.

    Examples
    --------
    >>> tcam = Tcam(n_rows=8, bits=4)
    >>> tcam.write(np.array([0, 3, 5]), np.array([4, 6, 12]))
    >>> tcam.rows(tcam.search(key=4, care=0b1100))
    array([0, 3])
    """

    def __init__(
        self, n_rows: int, bits: int, *, stuck: StuckCells | None = None, faults: FaultSource | None = None
    ) -> None:
        if n_rows < 1:
            raise ValueError(f"n_rows must be at least 1, got {n_rows!r}")
        if not 1 <= bits <= 32:
            raise ValueError(f"bits must lie in 1..32, got {bits!r}")
        self.n_rows = n_rows
        self.bits = bits
        self._planes: Words = stuck.held.copy() if stuck else np.zeros((bits, -(-n_rows // 64)), np.uint64)
        self._stuck: Words = stuck.where if stuck else _NOT_STUCK
        self._faults = faults
        self._valid: Words = np.zeros(-(-n_rows // 64), np.uint64)

    @property
    def n_words(self) -> int:
        """Machine words of one line of match lines."""
        return len(self._valid)

    def write(self, rows: Int64, words: Int64) -> None:
        """Write `words[i]` to `rows[i]`, in order; the last write to a row stays."""
        kernels.write(self._planes, self._valid, self._stuck, np.asarray(rows, np.int64), np.asarray(words, np.int64))

    def search(self, key: int, care: int) -> Words:
        """Return the match lines: rows whose word agrees with `key` on every care bit.

        Returns
        -------
        uint64[ceil(n_rows / 64)]
            One bit a row, row 0 lowest.

        Raises
        ------
        ValueError
            If `care` has bits beyond the word width.
        """
        if care >> self.bits:
            raise ValueError(f"care must fit in {self.bits} bits, got {care:#x}")
        line = np.empty_like(self._valid)
        kernels.search(self._planes, self._valid, key, care, self._events(1), line)
        return line

    def search_range(self, lo: int, hi: int) -> Words:
        """Return the match lines of the codes lo .. hi: one search a covering word, results OR-ed."""
        rows = np.array([(0, 0, lo, hi, 0, 0, 0, 0)], np.int64)
        lines = np.empty((1, self.n_words), np.uint64)
        self.find_ranges(rows, lines, np.empty((1, -(-self.n_words // _BLOCK)), np.int64))
        match: Words = lines[0]
        return match

    def find_ranges(self, rows: Int64, lines: Words, ends: Int64, *, unique: bool = False) -> int:
        """Carry out range searches, all in one call, and return how many rows they matched together.

        Parameters
        ----------
        rows, lines, ends, unique
            As `_kernels.tcam.find_ranges` fills them: searches, their match lines, and counts along these.
        """
        events = self._events(kernels.count_words(rows)) if self._faults else NO_EVENTS
        return int(kernels.find_ranges(self._planes, self._valid, rows, unique, events, lines, ends))

    def _events(self, n_searches: int) -> Events:
        """Return what misreads the next ternary searches."""
        return NO_EVENTS if self._faults is None else self._faults.events(n_searches, 64 * self.n_words)

    def nearest(self, key: int, n: int, distance: Distance = "value") -> Int64:
        """Return the rows of `n` best-match searches, each masking the row just found, in that order.

        Parameters
        ----------
        key : int
            Compared word.
        n : int
            Searches; at most the number of valid rows take part.
        distance : {"value", "hamming"}
            abs(word - key), or the number of differing bits, which is what a TCAM's match line senses.

        Returns
        -------
        int64[min(n, valid)]
            Nearest first; among equals the lowest row.
        """
        return _nearest(self.words(), self.valid, key, n, distance)

    @property
    def valid(self) -> Int64:
        """Rows that were written, ascending."""
        return self.rows(self._valid)

    def words(self) -> Int64:
        """Return the stored words, int64[n_rows], as read from the planes; 0 in rows not written."""
        total = np.zeros(self.n_rows, np.int64)
        for j in range(self.bits):
            total |= _bits(self._planes[j] & self._valid, self.n_rows).astype(np.int64) << j
        return total

    def rows(self, match: Words) -> Int64:
        """Return the rows whose match line is up, ascending."""
        return np.flatnonzero(_bits(match, self.n_rows)).astype(np.int64)


def _bits(words: Words, n: int) -> npt.NDArray[np.uint8]:
    """Return the first `n` bits of little-endian words as uint8[n]."""
    return np.unpackbits(words.astype("<u8").view(np.uint8), bitorder="little")[:n]


def _nearest(words: Int64, valid: Int64, key: int, n: int, distance: Distance) -> Int64:
    """Return the `n` of the rows `valid` that lie nearest, nearest first, among equals the lowest row."""
    n = min(n, len(valid))
    if n == 0:
        return valid[:0]
    if distance == "value":
        far = np.abs(words[valid] - key)
        reach = np.partition(far, n - 1)[n - 1]
    else:
        far = np.bitwise_count(words[valid] ^ key)
        reach = np.searchsorted(np.cumsum(np.bincount(far)), n)
    near, far = valid[far <= reach], far[far <= reach]
    nearest: Int64 = near[np.argsort(far, kind="stable")[:n]]
    return nearest


def _nearest_sorted(rows: Int64, words: Int64, key: int, n: int) -> Int64:
    """Return what `_nearest` does by value, of rows and their words in ascending order of the words."""
    n = min(n, len(rows))
    if n == 0:
        return rows[:0]
    first, last = 0, len(rows) - n  # where those n begin: bisect for the first window that is no better moved up
    while first < last:
        middle = (first + last) // 2
        if key - words[middle] > words[middle + n] - key:
            first = middle + 1
        else:
            last = middle
    reach = max(key - words[first], words[first + n - 1] - key)
    begin, end = np.searchsorted(words, key - reach, "left"), np.searchsorted(words, key + reach, "right")
    near, far = rows[begin:end], np.abs(words[begin:end] - key)
    return near[np.lexsort((near, far))[:n]]


class TcamSearch:
    """AMPER's searches on a `Tcam`, row for row as the hardware does them.

    Parameters
    ----------
    capacity : int
        Rows.
    bits : int
        Width of a code, 4..32.
    distance : {"value", "hamming"}
        What nearest means.
    unique : bool
        For `find_nearest`: a slot found for two groups stands in the CSP once.
    faults : TcamFaults, optional
        What fails where searches read the rows. `codes`, `code_sum` and all that follows from them stay the host's.
    seed : numpy.random.SeedSequence
        Of the faults.
    """

    def __init__(
        self,
        capacity: int,
        bits: int,
        *,
        distance: Distance = "value",
        unique: bool = False,
        faults: TcamFaults | None = None,
        seed: np.random.SeedSequence | None = None,
    ) -> None:
        self._faults = FaultSource(faults, seed or np.random.SeedSequence()) if faults else None
        self._stuck = self._faults.stuck_cells(capacity, bits) if self._faults else None
        self.tcam = Tcam(capacity, bits, stuck=self._stuck, faults=self._faults)
        self._distance: Distance = distance
        self._unique = unique
        self._codes = np.zeros(capacity, np.uint32)
        self.n_valid = 0
        self.code_sum = 0
        n_words = self.tcam.n_words
        # The CSP: match lines of a search each, or a list of slots and their groups.
        self._lines = np.empty((0, n_words), np.uint64)
        self._ends = np.empty((0, -(-n_words // _BLOCK)), np.int64)
        self._groups = np.empty(0, np.int64)
        self._n_csp = 0
        self._listed: tuple[Int64, Int64] | None = None

    @property
    def codes(self) -> UInt32:
        """Stored codes, uint32[capacity]; 0 where nothing was written."""
        return self._codes.copy()

    def read(self, slots: Int64) -> Int64:
        """Return the codes of `slots`, int64."""
        return self._codes[slots].astype(np.int64)

    @property
    def largest(self) -> int:
        """Largest code stored; 0 where there is none."""
        return int(self._codes.max(initial=0))

    def write(self, slots: Int64, codes: Int64) -> None:
        """Store codes (>= 1) in distinct slots."""
        before = self.read(slots)
        self.n_valid += int(np.count_nonzero(before == 0))
        self.code_sum += int(np.sum(codes)) - int(np.sum(before))
        self._codes[slots] = codes
        self.tcam.write(slots, codes)

    def find_ranges(self, rows: Int64, *, unique: bool = False) -> int:
        """Fill `n_matches` of range searches; return |CSP| of their union."""
        k = len(rows)
        if len(self._lines) < k:
            self._lines = np.empty((k, self._lines.shape[1]), np.uint64)
            self._ends = np.empty((k, self._ends.shape[1]), np.int64)
        self._groups = rows[:, 0].copy()
        self._listed = None
        self._n_csp = self.tcam.find_ranges(rows, self._lines[:k], self._ends[:k], unique=unique)
        return self._n_csp

    def find_nearest(self, queries: Int64, lam: float, full: int, rows: Int64) -> tuple[int, int]:
        """Count each group and find its nearest codes; return (searches written to `rows`, |CSP|)."""
        n_rows, found = 0, []
        words, valid = self.tcam.words(), self.tcam.valid
        if self._distance == "value":
            valid = valid[np.argsort(words[valid], kind="stable")]
            ordered = words[valid]
        counts = queries.copy()
        self.find_ranges(counts)
        top = (1 << self.tcam.bits) - 1
        for query in counts:
            key = int(query[1])
            rows[n_rows] = query
            n_rows += 1
            n_neighbours = int(min(np.floor(lam * key / full * query[6] + 0.5), self.n_valid))
            if self._distance == "value":
                found.append(_nearest_sorted(valid, ordered, key, n_neighbours))
            else:
                found.append(_nearest(words, valid, key, n_neighbours, "hamming"))
            if n_neighbours:
                far = int(np.max(np.abs(words[found[-1]] - key)))
                rows[n_rows] = query
                rows[n_rows, 2:7] = (max(key - far, 0), min(key + far, top), n_neighbours, 0, n_neighbours)
                n_rows += 1
        slots, groups = np.concatenate(found), np.repeat(queries[:, 0], [len(f) for f in found])
        if self._unique:
            slots, first = np.unique(slots, return_index=True)
            groups = groups[first]
        self._listed, self._n_csp = (slots, groups), len(slots)
        return n_rows, self._n_csp

    def draw(self, n_csp: int, uniforms: Float64) -> tuple[Int64, Int64]:
        """Draw uniformly from the CSP found last: slots and groups."""
        if self._listed is not None:
            rank = np.minimum((uniforms * n_csp).astype(np.int64), n_csp - 1)
            return self._listed[0][rank], self._listed[1][rank]
        slots, searches = np.empty((2, len(uniforms)), np.int64)
        k = len(self._groups)
        kernels.draw(self._lines[:k], self._ends[:k], uniforms, slots, searches)
        return slots, self._groups[searches]

    def draw_valid(self, uniforms: Float64) -> Int64:
        """Draw uniformly from all slots that hold a code."""
        valid = np.flatnonzero(self._codes)
        return valid[np.minimum((uniforms * len(valid)).astype(np.int64), len(valid) - 1)]

    def multiplicity(self, slots: Int64) -> Int64:
        """Return how often each slot stands in the CSP found last."""
        return np.bincount(self.members()[0], minlength=len(self._codes))[slots]

    def members(self) -> tuple[Int64, Int64]:
        """Return slots and groups of the CSP found last, as a multiset; to be read only."""
        if self._listed is None:
            slots, searches = kernels.expand(self._lines[: len(self._groups)], self._n_csp)
            self._listed = slots, self._groups[searches]
        return self._listed

    def new_tally(self) -> Float64:
        """Return an empty tally for `tally`."""
        return np.zeros(len(self._codes))

    def tally(self, total: Float64, weight: float) -> None:
        """Add `weight` for every entry of the CSP found last."""
        if self._listed is None:
            kernels.tally(self._lines[: len(self._groups)], weight, total)
        else:
            total += weight * np.bincount(self._listed[0], minlength=len(total))

    def tallied(self, total: Float64) -> Float64:
        """Return a tally by slot, float64[capacity]."""
        return total

    def state_dict(self) -> dict[str, Any]:
        """Return the codes and the faults; the planes follow from them."""
        state: dict[str, Any] = {"codes": self._codes.copy()}
        if self._faults is not None and self._stuck is not None:
            where, held = self._stuck
            state |= {"stuck": where.copy(), "held": held.copy(), "faults": self._faults.state_dict()}
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state`, with its stuck cells.

        Raises
        ------
        ValueError
            If a code is beyond the width, or a cell holds a bit and is not stuck.
        """
        codes = state["codes"].astype(np.int64)
        if codes.max(initial=0) >> self.tcam.bits:
            raise ValueError(f"codes must fit in {self.tcam.bits} bits, got {codes.max()}")
        if self._faults is not None:
            self._stuck = StuckCells(state["stuck"].copy(), state["held"].copy())
            if np.any(self._stuck.held & ~self._stuck.where):
                raise ValueError("held must be 0 where no cell is stuck, got a 1")
            self._faults.load_state_dict(state["faults"])
        slots = np.flatnonzero(codes)
        self.tcam = Tcam(self.tcam.n_rows, self.tcam.bits, stuck=self._stuck, faults=self._faults)
        self._codes[...] = 0
        self.n_valid = self.code_sum = 0
        self.write(slots, codes[slots])
