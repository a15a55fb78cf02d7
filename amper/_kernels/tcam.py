"""Searches of a ternary memory stored bit-sliced: plane j holds bit j of every row, 64 rows a machine word.

A search reads the plane of every care bit from end to end, as the match lines see every row. What faults do is passed
in: cells that do not take what is written, and the searches and rows at which a match line is misread (events).
"""

import numpy as np
from numba import njit


@njit(cache=True)
def write(planes, valid, stuck, rows, words):
    """Write words[i] to rows[i], in order; cells in `stuck`, uint64 as the planes or of no planes, keep their bit."""
    for i in range(rows.shape[0]):
        at, shift = np.uint64(rows[i] >> 6), np.uint64(rows[i] & 63)
        bit = np.uint64(1) << shift
        valid[at] |= bit
        word = np.uint64(words[i])
        for j in range(planes.shape[0]):
            taken = bit & ~stuck[j, at] if stuck.shape[0] > 0 else bit
            one = ((word >> np.uint64(j)) & np.uint64(1)) << shift
            planes[j, at] = (planes[j, at] & ~taken) | (one & taken)


# -- one search ----------------------------------------------------------------------------------------
@njit(cache=True)
def _flip(key, j):
    # What turns a plane into "agrees with bit j of the key".
    return np.uint64(0) if (key >> j) & 1 else np.uint64(0xFFFFFFFFFFFFFFFF)


@njit(cache=True)
def _match(planes, valid, key, care, line):
    # line[:] = the rows that agree on every care bit; four planes at a time, for the line costs as much as a plane.
    bits = np.empty(planes.shape[0], np.int64)
    n = 0
    for j in range(planes.shape[0]):
        if (care >> j) & 1:
            bits[n] = j
            n += 1
    line[:] = valid
    i = 0
    while i + 4 <= n:
        p, q, r, s = planes[bits[i]], planes[bits[i + 1]], planes[bits[i + 2]], planes[bits[i + 3]]
        a, b, c, d = _flip(key, bits[i]), _flip(key, bits[i + 1]), _flip(key, bits[i + 2]), _flip(key, bits[i + 3])
        for w in range(line.shape[0]):
            line[w] &= (p[w] ^ a) & (q[w] ^ b) & (r[w] ^ c) & (s[w] ^ d)
        i += 4
    while i < n:
        p, a = planes[bits[i]], _flip(key, bits[i])
        for w in range(line.shape[0]):
            line[w] &= p[w] ^ a
        i += 1


@njit(cache=True)
def _match_but_one(planes, valid, key, care, exact, line):
    # line[:] = the rows that disagree on exactly one care bit; exact[:] those that disagree on none.
    exact[:] = valid
    line[:] = np.uint64(0)
    for j in range(planes.shape[0]):
        if (care >> j) & 1:
            p, a = planes[j], _flip(key, j)
            for w in range(line.shape[0]):
                agrees = p[w] ^ a
                line[w] = (line[w] & agrees) | (exact[w] & ~agrees)
                exact[w] &= agrees


@njit(cache=True)
def _misread(planes, valid, key, care, first, events, at, scratch, line):
    # Apply the events of one search to its match lines: those from events[e][at[e]] below `first` + rows.
    end = first + 64 * valid.shape[0]
    exact, but_one = scratch[0], scratch[1]
    missed, false, noisy = events
    exact[:] = line
    while at[1] < false.shape[0] and false[at[1]] < end:
        row = false[at[1]] - first
        line[row >> 6] |= valid[row >> 6] & (np.uint64(1) << np.uint64(row & 63))
        at[1] += 1
    if at[2] < noisy.shape[0] and noisy[at[2]] < end:
        _match_but_one(planes, valid, key, care, exact, but_one)
    while at[2] < noisy.shape[0] and noisy[at[2]] < end:
        row = noisy[at[2]] - first
        line[row >> 6] |= but_one[row >> 6] & (np.uint64(1) << np.uint64(row & 63))
        at[2] += 1
    while at[0] < missed.shape[0] and missed[at[0]] < end:
        row = missed[at[0]] - first
        line[row >> 6] &= ~(exact[row >> 6] & (np.uint64(1) << np.uint64(row & 63)))
        at[0] += 1


@njit(cache=True)
def search(planes, valid, key, care, events, line):
    """Fill uint64 `line` with the match lines of one ternary search; see `find_ranges`."""
    _match(planes, valid, key, care, line)
    scratch = np.empty((2, line.shape[0]), np.uint64)
    _misread(planes, valid, key, care, 0, events, np.zeros(3, np.int64), scratch, line)


# -- a whole candidate set -----------------------------------------------------------------------------
@njit(cache=True)
def _dont_care(lo, hi):
    # Don't-care bits of the largest aligned block of codes that begins at lo and ends by hi.
    k = 0
    while k < 40 and (lo >> k) & 1 == 0 and lo + (np.int64(2) << k) - 1 <= hi:
        k += 1
    return k


@njit(cache=True)
def count_words(rows):
    """Return how many ternary words cover the ranges of `rows`, together: as many searches as they take."""
    n = 0
    for i in range(rows.shape[0]):
        lo = rows[i, 2]
        while lo <= rows[i, 3]:
            lo += np.int64(1) << _dont_care(lo, rows[i, 3])
            n += 1
    return n


@njit(cache=True)
def _ones(x):
    # Number of 1-bits, without a product that would overflow.
    x -= (x >> np.uint64(1)) & np.uint64(0x5555555555555555)
    x = (x & np.uint64(0x3333333333333333)) + ((x >> np.uint64(2)) & np.uint64(0x3333333333333333))
    x = (x + (x >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    x += x >> np.uint64(8)
    x += x >> np.uint64(16)
    x += x >> np.uint64(32)
    return np.int64(x & np.uint64(0x7F))


@njit(cache=True)
def _lowest(x):
    # Number of the lowest 1-bit.
    return _ones((x & (~x + np.uint64(1))) - np.uint64(1))


@njit(cache=True)
def _count(line):
    total = np.int64(0)
    for w in range(line.shape[0]):
        total += _ones(line[w])
    return total


@njit(cache=True)
def _count_blocks(matches, k, ends):
    total = np.int64(0)
    for i in range(k):
        for block in range(ends.shape[1]):
            total += _count(matches[i, 32 * block : 32 * block + 32])
            ends[i, block] = total
    return total


@njit(cache=True)
def find_ranges(planes, valid, rows, unique, events, matches, ends):
    """Carry out one range search a row and return |CSP|.

    A range takes as many ternary searches as words cover it; their match lines are OR-ed.

    Parameters
    ----------
    planes, valid : uint64[bits, w], uint64[w]
        The stored bits, and which rows hold a word.
    rows : int64[k, 8]
        Searches as `sample.range_queries` writes them; column 6 is filled with the number of matches.
    unique : bool
        Let a row stand in the CSP once, for the search with the lowest `lo` that found it.
    events : three of int64[e]
        What is misread, ascending, as 64 w t + row for ternary search t of this call: lines that do not rise; lines
        that rise though a bit differs; lines that rise if just one bit differs.
    matches : uint64[k, w]
        Filled with the match lines that make up the CSP.
    ends : int64[k, ceil(w / 32)]
        Filled with how many of the CSP lie up to the end of each 32 words.
    """
    n_words, top = valid.shape[0], (np.int64(1) << planes.shape[0]) - 1
    faulty = events[0].shape[0] + events[1].shape[0] + events[2].shape[0] > 0
    at = np.zeros(3, np.int64)
    scratch = np.empty((3, n_words), np.uint64)
    other = scratch[2]
    t = 0
    for i in range(rows.shape[0]):
        lo, hi, is_first = rows[i, 2], rows[i, 3], True
        while lo <= hi:
            k = _dont_care(lo, hi)
            line, care = matches[i] if is_first else other, top & ~((np.int64(1) << k) - 1)
            _match(planes, valid, lo, care, line)
            if faulty:
                _misread(planes, valid, lo, care, 64 * n_words * t, events, at, scratch, line)
            if not is_first:
                matches[i] |= other
            lo += np.int64(1) << k
            is_first = False
            t += 1
        if is_first:
            matches[i] = np.uint64(0)
    total = _count_blocks(matches, rows.shape[0], ends)
    for i in range(rows.shape[0]):
        rows[i, 6] = ends[i, -1] - (ends[i - 1, -1] if i > 0 else 0)
    if unique:
        other[:] = np.uint64(0)
        for i in np.argsort(rows[:, 2], kind="mergesort"):
            for w in range(n_words):
                line_word = matches[i, w]
                matches[i, w] = line_word & ~other[w]
                other[w] |= line_word
        total = _count_blocks(matches, rows.shape[0], ends)
    return total


@njit(cache=True)
def draw(matches, ends, uniforms, slots, searches):
    """Draw from the CSP, all alike: the slots, and the number of the search that found each. It is not empty."""
    n_blocks = ends.shape[1]
    flat = ends.reshape(-1)
    total = flat[flat.shape[0] - 1]
    for i in range(uniforms.shape[0]):
        rank = min(np.int64(uniforms[i] * total), total - 1)
        low, high = 0, flat.shape[0] - 1
        while low < high:  # the first block that ends beyond the rank
            middle = (low + high) >> 1
            if flat[middle] > rank:
                high = middle
            else:
                low = middle + 1
        rank -= flat[low - 1] if low > 0 else 0
        searches[i] = low // n_blocks
        line, w = matches[searches[i]], 32 * (low % n_blocks)
        count = _ones(line[w])
        while count <= rank:
            rank -= count
            w += 1
            count = _ones(line[w])
        rest = line[w]
        for _ in range(rank):
            rest &= rest - np.uint64(1)
        slots[i] = 64 * w + _lowest(rest)


@njit(cache=True)
def expand(matches, n):
    """Return slot and search of each of the n rows matched, int64[2, n], search after search, slots ascending."""
    found = np.empty((2, n), np.int64)
    n = 0
    for i in range(matches.shape[0]):
        for w in range(matches.shape[1]):
            rest = matches[i, w]
            while rest != np.uint64(0):
                found[0, n], found[1, n] = 64 * w + _lowest(rest), i
                rest &= rest - np.uint64(1)
                n += 1
    return found


@njit(cache=True)
def tally(matches, weight, total):
    """Add `weight` to total[slot] for every row matched."""
    for i in range(matches.shape[0]):
        for w in range(matches.shape[1]):
            rest = matches[i, w]
            while rest != np.uint64(0):
                total[64 * w + _lowest(rest)] += weight
                rest &= rest - np.uint64(1)


# -- when faults strike --------------------------------------------------------------------------------
@njit(cache=True)
def happen(uniforms, log_miss, begin, n_trials, positions):
    """Write the trials that come out 1 among begin .. n_trials - 1, each with chance 1 - exp(log_miss).

    Between two of them lies a geometric number of zeros, floor(log(1 - u) / log_miss): one uniform an event, whatever
    the number of trials, and exact in law.

    Returns
    -------
    n : int
        How many were written to int64 `positions`, as long as `uniforms`.
    begin : int
        The first trial that is not decided yet; `n_trials` or more once all are.
    """
    for i in range(uniforms.shape[0]):
        begin += np.int64(min(np.log(1.0 - uniforms[i]) / log_miss, 2.0**61))
        if begin >= n_trials:
            return i, begin
        positions[i] = begin
        begin += 1
    return uniforms.shape[0], begin
