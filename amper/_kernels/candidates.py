"""AMPER-k's queries and searches over the index, by bisection on the counts; and a look at a whole candidate set.

The index is laid out in `update`; for AMPER-k, codes have at most sixteen bits.
"""

import numpy as np
from numba import njit


@njit(cache=True)
def _parts(tables):
    # As in `update`.
    return tables[:16].view(np.int64), tables[16:69904], tables[69904:].reshape((-1, 4))


@njit(cache=True)
def _bucket(code, s, value, bits):
    # As in `update`.
    value[0] = code
    return (bits[0] >> (52 - s)) - (np.int64(1023) << s)


@njit(cache=True)
def _sum_counts(counts):
    # Entries whose code begins below each of the 256 first bytes.
    before = np.empty(257, np.int64)
    before[0] = 0
    for j in range(256):
        before[j + 1] = before[j] + counts[j]
    return before


@njit(cache=True)
def _below(counts, before, key):
    # How many entries have a code below `key`, which may be one past the last.
    total = before[min(key, 65536) >> 8]
    if key > 65535:
        return total
    middle, leaf = 256 + ((key >> 8) << 4), 4352 + (key & ~15)
    for j in range(16):
        total += counts[middle + j] if j < ((key >> 4) & 15) else 0
    for j in range(16):
        total += counts[leaf + j] if j < (key & 15) else 0
    return total


@njit(cache=True)
def _radius(counts, before, key, n_neighbours, top):
    # Largest distance whose interval holds at most n_neighbours entries; -1 if the key's code holds more.
    low, high = -1, top + 1
    while high - low > 1:
        middle = (low + high) // 2
        inside = _below(counts, before, min(key + middle, top) + 1) - _below(counts, before, max(key - middle, 0))
        if inside <= n_neighbours:
            low = middle
        else:
            high = middle
    return low


@njit(cache=True)
def _holders(records, arena, buckets, code, s, value, bits, slots, n):
    # Append the slots that hold `code` to the n in `slots`; return how many there are then.
    if code < 1:
        return n
    k = _bucket(code, s, value, bits)
    for j in range(buckets[k, 1], buckets[k, 1] + buckets[k, 0]):
        if records[arena[j], 0] == code:
            slots[n] = arena[j]
            n += 1
    return n


@njit(cache=True)
def find_nearest(records, arena, tables, queries, lam, full, top, rows, spans):
    """Form the CSP of AMPER-k: for each group its count C, then its N nearest entries.

    Parameters
    ----------
    queries : int64[m, 8]
        group, key V, lo, hi (the group's codes), -, ternary words of that range, -, attempt.
    lam, full : float, int
        lambda and F: N = floor(lambda V / F C + 1/2).
    top : int
        Largest code.
    rows : int64[2 m, 8]
        Filled with the searches: a count, then (where N > 0) the neighbours.
    spans : int64[m, 4]
        Filled with the codes lo .. hi, how many entries hold them, and the group, of what is nearer than the ties.

    Returns
    -------
    n_rows : int
    n_csp : int
    ties : int64[t, 2]
        slot and group of the neighbours at the largest distance of their group, lowest slots first.
    """
    meta, counts, buckets = _parts(tables)
    before = _sum_counts(counts)
    value = np.empty(1)
    bits = value.view(np.int64)
    n_rows, n_csp, n_ties = 0, 0, 0
    m = queries.shape[0]
    distance = np.empty(m, np.int64)
    missing = np.zeros(m, np.int64)
    for i in range(m):
        group, key, lo, hi = queries[i, 0], queries[i, 1], queries[i, 2], queries[i, 3]
        count = _below(counts, before, hi + 1) - _below(counts, before, lo) if lo <= hi else 0
        rows[n_rows] = queries[i]
        rows[n_rows, 6] = count
        n_rows += 1
        n_neighbours = int(min(np.floor(lam * key / full * count + 0.5), float(meta[0])))
        spans[i, 0], spans[i, 1], spans[i, 2], spans[i, 3] = 1, 0, 0, group
        if n_neighbours == 0:
            continue
        d = _radius(counts, before, key, n_neighbours, top)
        if d >= 0:
            spans[i, 0], spans[i, 1] = max(key - d, 1), min(key + d, top)
            spans[i, 2] = _below(counts, before, spans[i, 1] + 1) - _below(counts, before, spans[i, 0])
        missing[i] = n_neighbours - spans[i, 2]
        distance[i] = d + 1 if missing[i] > 0 else d
        rows[n_rows] = queries[i]
        rows[n_rows, 2] = max(key - distance[i], 0)
        rows[n_rows, 3] = min(key + distance[i], top)
        rows[n_rows, 4] = n_neighbours
        rows[n_rows, 5] = 0
        rows[n_rows, 6] = n_neighbours
        n_rows += 1
        n_csp += n_neighbours
        n_ties += missing[i]
    ties = np.empty((n_ties, 2), np.int64)
    filled = 0
    for i in range(m):
        if missing[i] == 0:
            continue
        below, above = queries[i, 1] - distance[i], queries[i, 1] + distance[i]
        n_below = counts[4352 + below] if below >= 0 else 0
        n_above = counts[4352 + above] if below < above <= top else 0
        slots = np.empty(n_below + n_above, np.int64)
        n = _holders(records, arena, buckets, below, meta[3], value, bits, slots, 0)
        if n_above > 0:
            _holders(records, arena, buckets, above, meta[3], value, bits, slots, n)
        slots.sort()
        for j in range(missing[i]):
            ties[filled, 0] = slots[j]
            ties[filled, 1] = queries[i, 0]
            filled += 1
    return n_rows, n_csp, ties


# -- looking at a candidate set ------------------------------------------------------------------------
@njit(cache=True)
def multiplicity(records, spans, ties, slots, result):
    """Count how often each of `slots` stands in the CSP."""
    for i in range(slots.shape[0]):
        code = np.int64(records[slots[i], 0])
        n = 0
        for g in range(spans.shape[0]):
            n += spans[g, 0] <= code <= spans[g, 1]
        for j in range(ties.shape[0]):
            n += ties[j, 0] == slots[i]
        result[i] = n


@njit(cache=True)
def accumulate(codes, spans, ties, weight, by_rank, by_slot):
    """Add `weight` for every entry of the CSP: spans as differences over ranks of `codes`, sorted; ties by slot."""
    for g in range(spans.shape[0]):
        if spans[g, 2] > 0:
            by_rank[np.searchsorted(codes, spans[g, 0])] += weight
            by_rank[np.searchsorted(codes, spans[g, 1] + 1)] -= weight
    for j in range(ties.shape[0]):
        by_slot[ties[j, 0]] += weight
