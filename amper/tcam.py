"""A bit-true ternary content-addressable memory.

Stored bit-sliced: plane j holds bit j of every row, 64 rows a machine word. A search reads every row, as the
match lines do. It is the reference: the index of `index.py` must find the same rows. 23 searches among 20,000 rows
take 15 to 18 us, three to five times what reading the planes of their care bits takes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
import numpy.typing as npt

from amper._kernels import tcam as kernels
from amper.faults import NO_EVENTS, Events, FaultSource, StuckCells, Words
from amper.protocols import Int64

Distance = Literal["value", "hamming"]
BLOCK = 32  # words of match lines that are counted together
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
        self.find_ranges(rows, lines, np.empty((1, -(-self.n_words // BLOCK)), np.int64))
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
        return nearest(self.words(), self.valid, key, n, distance)

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


def nearest(words: Int64, valid: Int64, key: int, n: int, distance: Distance) -> Int64:
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
    found: Int64 = near[np.argsort(far, kind="stable")[:n]]
    return found
