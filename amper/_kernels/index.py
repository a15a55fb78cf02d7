"""Codes counted in a radix tree of fan-out 16, and the slots of each code: searches without a scan.

State, one tuple: counts int32[16 + 256 + ... + 16**levels], one level after the other, leaves (one a code)
last; codes int32[n] (0: not written); place int32[n], a slot's position inside its code's bucket; arena
int32[4 n + 64], the buckets; start, room int32[16**levels], where a code's bucket begins and how many slots
it may hold; meta int64[3]: valid slots, sum of codes, first free place of the arena.

A full bucket moves to twice its room at the arena's free end; when that is reached all buckets are laid out
anew with room for half as many again, at most 2.5 n + 4 places: memory never grows, the cost is amortised.
"""

import numpy as np
from numba import njit

N_VALID, CODE_SUM, FREE = 0, 1, 2


@njit(cache=True)
def _levels(counts):
    size, total, levels = 16, 16, 1
    while total < counts.shape[0]:
        size *= 16
        total += size
        levels += 1
    return levels


@njit(cache=True)
def _add_count(counts, code, delta):
    levels = _levels(counts)
    offset, size = 0, 16
    for level in range(levels):
        counts[offset + (code >> (4 * (levels - 1 - level)))] += delta
        offset += size
        size *= 16


@njit(cache=True)
def rank_below(counts, code):
    """Return how many stored codes are smaller than `code`, which may be one past the last."""
    levels = _levels(counts)
    total = 0
    offset, size = 0, 16
    if code >> (4 * levels):
        for j in range(16):
            total += counts[j]
        return total
    for level in range(levels):
        index = code >> (4 * (levels - 1 - level))
        for j in range(offset + (index & ~15), offset + index):
            total += counts[j]
        offset += size
        size *= 16
    return total


@njit(cache=True)
def select(counts, rank):
    """Return the code of the entry with this rank in code order, and its rank within the code."""
    levels = _levels(counts)
    index = 0
    offset, size = 0, 16
    for _ in range(levels):
        index *= 16
        while rank >= counts[offset + index]:
            rank -= counts[offset + index]
            index += 1
        offset += size
        size *= 16
    return index, rank


@njit(cache=True)
def _leaf(counts, start):
    return counts.shape[0] - start.shape[0]


@njit(cache=True)
def _lay_out(state, growing):
    # Positions inside buckets are kept, so draws after a compaction are what they were before it.
    counts, codes, place, arena, start, room, meta = state
    leaf = _leaf(counts, start)
    free = 0
    for code in range(start.shape[0]):
        count = counts[leaf + code]
        room[code] = count + count // 2 + 1 if count > 0 else 0
        if code == growing:
            room[code] += 4
        start[code] = free
        free += room[code]
    for slot in range(codes.shape[0]):
        if codes[slot] > 0:
            arena[start[codes[slot]] + place[slot]] = slot
    meta[2] = free


@njit(cache=True)
def _push(state, slot, code):
    counts, codes, place, arena, start, room, meta = state
    count = counts[_leaf(counts, start) + code]
    if count == room[code]:
        wanted = max(4, 2 * room[code])
        if meta[2] + wanted > arena.shape[0]:
            _lay_out(state, code)
        else:
            for j in range(count):
                arena[meta[2] + j] = arena[start[code] + j]
            start[code] = meta[2]
            room[code] = wanted
            meta[2] += wanted
    arena[start[code] + count] = slot
    place[slot] = count
    codes[slot] = code
    _add_count(counts, code, 1)
    meta[0] += 1
    meta[1] += code


@njit(cache=True)
def _pop(state, slot):
    counts, codes, place, arena, start, _, meta = state
    code = codes[slot]
    last = counts[_leaf(counts, start) + code] - 1
    moved = arena[start[code] + last]
    arena[start[code] + place[slot]] = moved
    place[moved] = place[slot]
    codes[slot] = 0
    _add_count(counts, code, -1)
    meta[0] -= 1
    meta[1] -= code


@njit(cache=True)
def write(state, slots, codes):
    """Store codes (>= 1) in slots, in order."""
    stored = state[1]
    for i in range(slots.shape[0]):
        slot = slots[i]
        if stored[slot] == codes[i]:
            continue
        if stored[slot] > 0:
            _pop(state, slot)
        _push(state, slot, codes[i])


@njit(cache=True)
def find_ranges(state, rows, unique, spans):
    """Fill n_matches of range searches and return |CSP|.

    spans int64[k, 3]: rank of the first entry, how many, and the group, of each search's share of the CSP.
    With `unique` the spans are disjoint: an entry belongs to the search with the lowest `lo` that found it.
    """
    counts = state[0]
    for i in range(rows.shape[0]):
        first = rank_below(counts, rows[i, 2])
        rows[i, 6] = rank_below(counts, rows[i, 3] + 1) - first
        spans[i, 0] = first
        spans[i, 1] = rows[i, 6]
        spans[i, 2] = rows[i, 0]
    if unique:
        covered = 0
        for i in np.argsort(rows[:, 2], kind="mergesort"):
            end = spans[i, 0] + spans[i, 1]
            spans[i, 0] = max(spans[i, 0], covered)
            spans[i, 1] = max(end - spans[i, 0], 0)
            covered = max(covered, end)
    total = 0
    for i in range(rows.shape[0]):
        total += spans[i, 1]
    return total


@njit(cache=True)
def _slot_at(state, rank):
    counts, _, _, arena, start, _, _ = state
    code, within = select(counts, rank)
    return arena[start[code] + within]


@njit(cache=True)
def _radius(counts, key, n_neighbours, top):
    # Largest distance whose interval holds at most n_neighbours entries; -1 if the key's code holds more.
    low, high = -1, top + 1
    while high - low > 1:
        middle = (low + high) // 2
        inside = rank_below(counts, min(key + middle, top) + 1) - rank_below(counts, max(key - middle, 0))
        if inside <= n_neighbours:
            low = middle
        else:
            high = middle
    return low


@njit(cache=True)
def find_nearest(state, queries, lam, full, top, rows, spans):
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
    spans : int64[m, 3]
        Filled with rank of the first entry, how many, and the group, of the entries nearer than the ties.

    Returns
    -------
    n_rows : int
    n_csp : int
    ties : int64[t, 2]
        slot and group of the neighbours at the largest distance of their group, lowest slots first.
    """
    counts, _, _, arena, start, _, meta = state
    leaf = _leaf(counts, start)
    n_rows, n_csp, n_ties = 0, 0, 0
    m = queries.shape[0]
    distance = np.empty(m, np.int64)
    missing = np.zeros(m, np.int64)
    for i in range(m):
        group, key, lo, hi = queries[i, 0], queries[i, 1], queries[i, 2], queries[i, 3]
        count = rank_below(counts, hi + 1) - rank_below(counts, lo) if lo <= hi else 0
        rows[n_rows] = queries[i]
        rows[n_rows, 6] = count
        n_rows += 1
        n_neighbours = int(min(np.floor(lam * key / full * count + 0.5), float(meta[0])))
        spans[i, 0], spans[i, 1], spans[i, 2] = 0, 0, group
        if n_neighbours == 0:
            continue
        d = _radius(counts, key, n_neighbours, top)
        if d >= 0:
            spans[i, 0] = rank_below(counts, max(key - d, 0))
            spans[i, 1] = rank_below(counts, min(key + d, top) + 1) - spans[i, 0]
        missing[i] = n_neighbours - spans[i, 1]
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
        n_below = counts[leaf + below] if below >= 0 else 0
        n_above = counts[leaf + above] if below < above <= top else 0
        slots = np.empty(n_below + n_above, np.int64)
        for j in range(n_below):
            slots[j] = arena[start[below] + j]
        for j in range(n_above):
            slots[n_below + j] = arena[start[above] + j]
        slots.sort()
        for j in range(missing[i]):
            ties[filled, 0] = slots[j]
            ties[filled, 1] = queries[i, 0]
            filled += 1
    return n_rows, n_csp, ties


@njit(cache=True)
def draw(state, spans, ties, n_csp, uniforms, slots, groups):
    """Draw from the CSP: the spans' entries in order, then the ties."""
    for i in range(uniforms.shape[0]):
        rank = min(np.int64(uniforms[i] * n_csp), n_csp - 1)
        g = 0
        while g < spans.shape[0] and rank >= spans[g, 1]:
            rank -= spans[g, 1]
            g += 1
        if g < spans.shape[0]:
            slots[i] = _slot_at(state, spans[g, 0] + rank)
            groups[i] = spans[g, 2]
        else:
            slots[i] = ties[rank, 0]
            groups[i] = ties[rank, 1]


@njit(cache=True)
def draw_valid(state, uniforms, slots):
    """Draw uniformly from all stored entries."""
    n_valid = state[6][0]
    for i in range(uniforms.shape[0]):
        slots[i] = _slot_at(state, min(np.int64(uniforms[i] * n_valid), n_valid - 1))


@njit(cache=True)
def members(state, spans, ties, slots, groups):
    """List the whole CSP, span after span, then the ties."""
    n = 0
    for g in range(spans.shape[0]):
        for j in range(spans[g, 1]):
            slots[n] = _slot_at(state, spans[g, 0] + j)
            groups[n] = spans[g, 2]
            n += 1
    for j in range(ties.shape[0]):
        slots[n] = ties[j, 0]
        groups[n] = ties[j, 1]
        n += 1


@njit(cache=True)
def multiplicity(state, spans, ties, slots, result):
    """Count how often each of `slots` stands in the CSP."""
    counts, codes, place, _, _, _, _ = state
    for i in range(slots.shape[0]):
        rank = rank_below(counts, codes[slots[i]]) + place[slots[i]]
        n = 0
        for g in range(spans.shape[0]):
            n += spans[g, 0] <= rank < spans[g, 0] + spans[g, 1]
        for j in range(ties.shape[0]):
            n += ties[j, 0] == slots[i]
        result[i] = n


@njit(cache=True)
def accumulate(spans, ties, weight, by_rank, by_slot):
    """Add `weight` for every entry of the CSP: spans as differences over ranks, ties by slot."""
    for g in range(spans.shape[0]):
        by_rank[spans[g, 0]] += weight
        by_rank[spans[g, 0] + spans[g, 1]] -= weight
    for j in range(ties.shape[0]):
        by_slot[ties[j, 0]] += weight


@njit(cache=True)
def slots_by_rank(state, result):
    """List the slots of all stored entries in rank order."""
    for rank in range(state[6][0]):
        result[rank] = _slot_at(state, rank)


@njit(cache=True)
def change_counts(counts, codes, delta):
    """Add `delta` to the count of each code."""
    for i in range(codes.shape[0]):
        _add_count(counts, codes[i], delta)
