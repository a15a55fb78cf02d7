"""AMPER's searches on the bit-true memory, row for row as the hardware does them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from amper._kernels import tcam as kernels
from amper.faults import FaultSource, StuckCells, TcamFaults
from amper.protocols import Float64, Int64, UInt32
from amper.tcam import BLOCK, Distance, Tcam, nearest


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
        self._ends = np.empty((0, -(-n_words // BLOCK)), np.int64)
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
                found.append(nearest(words, valid, key, n_neighbours, "hamming"))
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


def _nearest_sorted(rows: Int64, words: Int64, key: int, n: int) -> Int64:
    """Return what `tcam.nearest` does by value, of rows and their words in ascending order of the words."""
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
