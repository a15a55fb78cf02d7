"""How often AMPER-fr's searches find a code, in expectation over the representatives and dithers."""

import numpy as np
from numba import njit


@njit(cache=True)
def _mark(low, high, full, lam, match, thinned, top, marks):
    # Add, as differences over codes, the chance that one group's search finds each; return the first code it may find
    # and the last. Searches are those of `sample.range_queries`, operation for operation.
    value = np.empty(1)
    bits = value.view(np.int64)
    width = high - low
    first, last = np.int64(top), np.int64(0)
    for v in range(np.int64(np.floor(low)), np.int64(np.ceil(high))):
        key = min(v, top)
        chance = (min(v + 1.0, high) - max(float(v), low)) / width
        radius = lam * key * width / full
        wider = 0.0  # chance of the next larger block
        k = np.int64(0)
        if thinned and 2.0 * radius < 1.0:
            chance *= 2.0 * radius
            lo, hi = key, key
        elif match == 0:
            reach = np.int64(np.floor(min(radius, float(top))))
            lo, hi = key - reach, key + reach
        else:
            block = min(max(2.0 * radius, 1.0), 2.0 * (top + 1))
            if match == 1:
                k = np.int64(np.floor(np.log2(block) + 0.5))
            else:
                value[0] = block
                k = (bits[0] >> 52) - 1023
                wider = block / (np.int64(1) << k) - 1.0
            lo = (key >> k) << k
            hi = lo + (np.int64(1) << k) - 1
        lo, hi = max(lo, 0), min(hi, top)
        marks[lo] += chance * (1.0 - wider)
        marks[hi + 1] -= chance * (1.0 - wider)
        first, last = min(first, lo), max(last, hi)
        if wider > 0.0:
            lo = (key >> (k + 1)) << (k + 1)
            hi = min(lo + (np.int64(2) << k) - 1, top)
            marks[lo] += chance * wider
            marks[hi + 1] -= chance * wider
            first, last = min(first, lo), max(last, hi)
    return first, last


@njit(cache=True)
def expected_multiplicity(edges, full, lam, match, thinned, top, open_top, unique, expected):
    """Fill expected float64[top + 1], all zero, by code; parameters as of `sample.range_queries`.

    `unique`: an entry that several groups found counts once. Groups search independently of each other.
    """
    marks = np.zeros(top + 2)
    for g in range(edges.shape[0] - 1):
        first, last = _mark(edges[g], edges[g + 1], full, lam, match, thinned, top, marks)
        if unique:
            found = 0.0
            for q in range(first, last + 1):
                found += marks[q]
                marks[q] = 0.0
                expected[q] += found * (1.0 - expected[q])
            marks[last + 1] = 0.0
    if not unique:
        found = 0.0
        for q in range(top + 1):
            found += marks[q]
            expected[q] = found
    if open_top and full <= top:
        # A search that reaches F - 1 takes every code above: it finds them when it finds F - 1.
        expected[full:] = expected[full - 1]
    expected[0] = 0.0  # the code of a row not written, which never matches
