"""Where the matches of a trace's searches lie: one scan a search."""

import numpy as np
from numba import njit


@njit(cache=True)
def _popcount(x):
    x = x - ((x >> 1) & 0x55555555)
    x = (x & 0x33333333) + ((x >> 2) & 0x33333333)
    x = (x + (x >> 4)) & 0x0F0F0F0F
    return ((x * 0x01010101) & 0xFFFFFFFF) >> 24


@njit(cache=True)
def _count_range(codes, lo, hi, column_of_array, rows_per_array, row):
    # Valid codes are at least 1, so rows not yet written (0) never match.
    low = np.uint32(max(lo, 1))
    high = np.uint32(hi)
    for a in range(column_of_array.shape[0]):
        block = codes[a * rows_per_array : (a + 1) * rows_per_array]
        n = 0
        for c in block:
            n += (c >= low) & (c <= high)
        row[column_of_array[a]] += np.uint32(n)


@njit(cache=True)
def _distance(code, key, hamming):
    return _popcount(code ^ key) if hamming else abs(code - key)


@njit(cache=True)
def _count_nearest(codes, key, lo, hi, n_neighbours, hamming, column_of_array, rows_per_array, row):
    n = codes.shape[0]
    if hamming:
        histogram = np.zeros(34, np.int64)
        for i in range(n):
            if codes[i] > 0:
                histogram[_popcount(np.int64(codes[i]) ^ key)] += 1
        farthest = 0
        inside = 0
        while inside + histogram[farthest] < n_neighbours:
            inside += histogram[farthest]
            farthest += 1
    else:
        farthest = max(key - lo, hi - key)
        inside = 0
        for i in range(n):
            if codes[i] > 0 and abs(np.int64(codes[i]) - key) < farthest:
                inside += 1
    ties_left = n_neighbours - inside
    for i in range(n):
        if codes[i] == 0:
            continue
        d = _distance(np.int64(codes[i]), key, hamming)
        if d < farthest:
            row[column_of_array[i // rows_per_array]] += np.uint32(1)
        elif d == farthest and ties_left > 0:
            ties_left -= 1
            row[column_of_array[i // rows_per_array]] += np.uint32(1)


@njit(cache=True)
def match_counts(columns, codes, column_of_array, rows_per_array, hamming, counts):
    """Fill counts[search, column] by applying every write in order and scanning for every search.

    `columns` are int64 arrays: op kind, first, count; write slot, code; sample first_search, n_searches;
    search key, lo, hi, n_neighbours. `codes` uint32[arrays * rows_per_array], all 0 on entry.
    """
    kind, first, count, slot, code, first_search, n_searches, key, lo, hi, n_neighbours = columns
    for op in range(kind.shape[0]):
        if kind[op] != 2:
            for w in range(first[op], first[op] + count[op]):
                codes[slot[w]] = code[w]
            continue
        begin = first_search[first[op]]
        for s in range(begin, begin + n_searches[first[op]]):
            if n_neighbours[s] == 0:
                _count_range(codes, lo[s], hi[s], column_of_array, rows_per_array, counts[s])
            else:
                _count_nearest(
                    codes,
                    key[s],
                    lo[s],
                    hi[s],
                    n_neighbours[s],
                    hamming,
                    column_of_array,
                    rows_per_array,
                    counts[s],
                )
