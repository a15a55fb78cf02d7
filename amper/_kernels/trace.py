"""Where the matches of a trace's searches lie, answered from the slots in buckets of neighbouring codes.

records uint32[n, 2]: a slot's code (0: not written) and its place in its code's bucket. buckets int64[k + 1, 3]: where
a bucket begins in the pool, how many slots it holds, how many it has room for; the last one tells where the pool's free
end begins. pool uint32[3, 4 n + 4096]: slot, cell and code of every entry. A bucket holds the codes whose binary
logarithm and first eight bits below the leading one agree, so buckets ascend with the codes. A full bucket moves to
twice its room at the pool's free end; when that is reached all are moved together, which leaves at most n places used,
and doubling the fullest takes at most 2 n: what is left of the pool pays for the next time.

A cell is what a match is counted in: a column of the result, or an array where words of several addresses are counted.

Longer than most files, for a kernel may call kernels of its own file only.
"""

import numpy as np
from numba import njit


@njit(cache=True)
def _bucket(code, value, bits):
    value[0] = code
    return (bits[0] >> 44) - (1023 << 8)


@njit(cache=True)
def _gather(pool, buckets):
    # Move the buckets together, each with room for what it holds: down, so that none is overwritten before it moves.
    k = buckets.shape[0] - 1
    free = 0
    for b in np.argsort(buckets[:k, 0]):
        start, size = buckets[b, 0], buckets[b, 1]
        if start != free:
            for i in range(size):
                for row in range(3):
                    pool[row, free + i] = pool[row, start + i]
        buckets[b, 0], buckets[b, 2] = free, size
        free += size
    buckets[k, 0] = free


@njit(cache=True)
def _widen(pool, buckets, b):
    k = buckets.shape[0] - 1
    room = max(2 * buckets[b, 1], 8)
    if buckets[k, 0] + room > pool.shape[1]:
        _gather(pool, buckets)
    start, free = buckets[b, 0], buckets[k, 0]
    for row in range(3):
        for i in range(buckets[b, 1]):
            pool[row, free + i] = pool[row, start + i]
    buckets[b, 0], buckets[b, 2] = free, room
    buckets[k, 0] = free + room


@njit(cache=True)
def _write(records, pool, buckets, slots, codes, cell_of_array, rows_per_array, value, bits):
    for w in range(slots.shape[0]):
        slot, code = slots[w], codes[w]
        old = np.int64(records[slot, 0])
        records[slot, 0] = code
        b = _bucket(code, value, bits)
        cell = cell_of_array[slot // rows_per_array]
        if old > 0:
            a = _bucket(old, value, bits)
            at = buckets[a, 0] + np.int64(records[slot, 1])
            if a == b:
                pool[2, at] = code
                continue
            # The last entry takes its place.
            buckets[a, 1] -= 1
            last = buckets[a, 0] + buckets[a, 1]
            pool[0, at], pool[1, at], pool[2, at] = pool[0, last], pool[1, last], pool[2, last]
            records[np.int64(pool[0, at]), 1] = records[slot, 1]
        if buckets[b, 1] == buckets[b, 2]:
            _widen(pool, buckets, b)
        end = buckets[b, 0] + buckets[b, 1]
        pool[0, end], pool[1, end], pool[2, end] = slot, cell, code
        records[slot, 1] = buckets[b, 1]
        buckets[b, 1] += 1


# -- what a search finds --------------------------------------------------------------------------------
@njit(cache=True)
def _n_within(pool, buckets, lo, hi, value, bits):
    # How many slots hold a code of lo .. hi, lo >= 1.
    if lo > hi:
        return 0
    first, last = _bucket(lo, value, bits), _bucket(hi, value, bits)
    low, high = np.uint32(lo), np.uint32(hi)
    n = 0
    for b in range(first, last + 1):
        if first < b < last:
            n += buckets[b, 1]
        else:
            n_here = 0
            for c in pool[2, buckets[b, 0] : buckets[b, 0] + buckets[b, 1]]:
                n_here += (c >= low) & (c <= high)
            n += n_here
    return n


@njit(cache=True)
def _holders(pool, buckets, code, value, bits, found, n):
    # Append the slots that hold this code to the first n of `found`; return how many it holds then.
    b = _bucket(code, value, bits)
    for i in range(buckets[b, 0], buckets[b, 0] + buckets[b, 1]):
        if pool[2, i] == code:
            found[n] = pool[0, i]
            n += 1
    return n


@njit(cache=True)
def _ties(records, pool, buckets, below, above, n_holders, wanted, top, value, bits, found):
    # Fill `found` with the lowest slots that hold code `below` or `above`, wanted <= n_holders of them.
    n = 0
    if 16 * n_holders < records.shape[0]:
        if below >= 1:
            n = _holders(pool, buckets, below, value, bits, found, n)
        if below < above <= top:
            n = _holders(pool, buckets, above, value, bits, found, n)
        found[:n].sort()
        return
    for slot in range(records.shape[0]):
        code = np.int64(records[slot, 0])
        if code > 0 and code in (below, above):
            found[n] = slot
            n += 1
            if n == wanted:
                return


@njit(cache=True)
def _popcount(x):
    x = x - ((x >> 1) & 0x55555555)
    x = (x & 0x33333333) + ((x >> 2) & 0x33333333)
    x = (x + (x >> 4)) & 0x0F0F0F0F
    return ((x * 0x01010101) & 0xFFFFFFFF) >> 24


@njit(cache=True)
def _nearest_hamming(records, key, n_neighbours, found):
    # Fill `found` with the nearest slots, ties by the lowest slot: a scan; return how many.
    histogram = np.zeros(34, np.int64)
    for i in range(records.shape[0]):
        if records[i, 0] > 0:
            histogram[_popcount(np.int64(records[i, 0]) ^ key)] += 1
    farthest, inside = 0, 0
    while farthest < 33 and inside + histogram[farthest] < n_neighbours:
        inside += histogram[farthest]
        farthest += 1
    ties_left = n_neighbours - inside
    n = 0
    for i in range(records.shape[0]):
        if records[i, 0] == 0:
            continue
        d = _popcount(np.int64(records[i, 0]) ^ key)
        if d < farthest or (d == farthest and ties_left > 0):
            ties_left -= d == farthest
            found[n] = i
            n += 1
    return n


@njit(cache=True)
def _nearest(records, pool, buckets, key, lo, hi, n_neighbours, top, value, bits, span, found):
    # Set `span` to codes whose slots are all among the nearest; fill `found` with the others; return how many.
    distance = max(key - lo, hi - key)
    below, above = key - distance, key + distance
    span[0], span[1] = max(below, 1), min(above, top)
    n_at_most = _n_within(pool, buckets, span[0], span[1], value, bits)
    if n_at_most <= n_neighbours:
        return 0
    span[0], span[1] = max(below + 1, 1), min(above - 1, top)
    n_nearer = _n_within(pool, buckets, span[0], span[1], value, bits)
    wanted, n_holders = n_neighbours - n_nearer, n_at_most - n_nearer
    if wanted <= 0:
        return 0
    _ties(records, pool, buckets, below, above, n_holders, wanted, top, value, bits, found)
    return wanted


@njit(cache=True)
def _merge(spans):
    # Sort the spans and join those that meet; return how many are left.
    order = np.argsort(spans[:, 0])
    merged = np.empty(spans.shape, np.int64)
    n = 0
    for s in order:
        lo, hi = spans[s, 0], spans[s, 1]
        if lo > hi:
            continue
        if n > 0 and lo <= merged[n - 1, 1] + 1:
            merged[n - 1, 1] = max(merged[n - 1, 1], hi)
        else:
            merged[n, 0], merged[n, 1] = lo, hi
            n += 1
    spans[:n] = merged[:n]
    return n


@njit(cache=True)
def _is_covered(code, spans):
    n = 0
    for s in range(spans.shape[0]):
        n += spans[s, 0] <= code <= spans[s, 1]
    return n > 0


# -- where it lies --------------------------------------------------------------------------------------
@njit(cache=True)
def _count_word(cell, n_addresses, column_of_cell, begun, row, matches):
    # begun[0] is the floor of this row: begun[1 + cell] - floor addresses, at least 1, lie in the word begun last; none
    # if it is not above the floor. Without a branch, for nothing tells which it will be.
    floor = begun[0]
    at = max(begun[1 + cell], floor)
    is_new = np.int64(at == floor) | np.int64(at == floor + n_addresses)
    row[column_of_cell[cell]] += np.uint32(is_new)
    matches[column_of_cell[cell]] += np.uint32(1)
    begun[1 + cell] = at + 1 - is_new * (at - floor)


@njit(cache=True)
def _count_span(pool, buckets, lo, hi, n_addresses, column_of_cell, begun, value, bits, row, matches):
    if lo > hi:
        return
    first, last = _bucket(lo, value, bits), _bucket(hi, value, bits)
    starts_whole, ends_whole = _bucket(lo - 1, value, bits) < first, _bucket(hi + 1, value, bits) > last
    low, high = np.uint32(lo), np.uint32(hi)
    for b in range(first, last + 1):
        start, end = buckets[b, 0], buckets[b, 0] + buckets[b, 1]
        is_whole = (b > first or starts_whole) and (b < last or ends_whole)
        if n_addresses > 1:
            for i in range(start, end):
                if is_whole or low <= pool[2, i] <= high:
                    _count_word(np.int64(pool[1, i]), n_addresses, column_of_cell, begun, row, matches)
        elif is_whole:
            for cell in pool[1, start:end]:
                row[cell] += np.uint32(1)
        else:
            for i in range(start, end):
                row[pool[1, i]] += np.uint32((pool[2, i] >= low) & (pool[2, i] <= high))


@njit(cache=True)
def _count_found(
    records, pool, buckets, spans, others, cell_of_array, rows_per_array, n_addresses, column_of_cell, begun,
    value, bits, row, matches,
):  # fmt: skip
    # Count the slots whose codes lie in the spans, and the others.
    for s in range(spans.shape[0]):
        ends = spans[s, 0], spans[s, 1]
        _count_span(pool, buckets, *ends, n_addresses, column_of_cell, begun, value, bits, row, matches)
    for slot in others:
        if not _is_covered(np.int64(records[slot, 0]), spans):
            cell = cell_of_array[slot // rows_per_array]
            if n_addresses > 1:
                _count_word(cell, n_addresses, column_of_cell, begun, row, matches)
            else:
                row[cell] += np.uint32(1)


@njit(cache=True)
def match_counts(columns, rows, records, pool, buckets, cell_of_array, column_of_cell, settings, counts):
    """Fill counts[row, column] by applying every write in order and looking up every search.

    Parameters
    ----------
    columns : tuple of int64 arrays
        Op kind, first, count; write slot, code; search key, lo, hi, n_neighbours.
    rows : tuple of int64 arrays
        First row of each sampling, how many; first search of each row, how many; whether a search takes part, bool.
    records, pool, buckets
        See above; `records` and `buckets` all 0 on entry.
    cell_of_array, column_of_cell : int64 arrays
        The cells are the columns where `n_addresses` is 1.
    settings : tuple of int
        rows_per_array; n_addresses, of one array in a word; top, the largest code; whether distance is Hamming's.
    counts : uint32[1 or 2, rows, columns]
        0 on entry; words, and beside them matches where a word holds several addresses.
    """
    kind, first, count, slot, code, key, lo, hi, n_neighbours = columns
    first_row, n_rows, first_search, n_searches, takes_part = rows
    rows_per_array, n_addresses, top, hamming = settings
    value = np.empty(1)
    bits = value.view(np.int64)
    spans = np.empty((max(n_searches.max(), 1) if n_searches.shape[0] else 1, 2), np.int64)
    found = np.empty(records.shape[0], np.int64)
    others = np.empty(records.shape[0], np.int64)
    seen = np.zeros(records.shape[0], np.int64)
    begun = np.zeros(1 + column_of_cell.shape[0], np.int64)
    n_rows_done = 0
    for op in range(kind.shape[0]):
        if kind[op] != 2:
            end = first[op] + count[op]
            slots, codes = slot[first[op] : end], code[first[op] : end]
            _write(records, pool, buckets, slots, codes, cell_of_array, rows_per_array, value, bits)
            continue
        for r in range(first_row[first[op]], first_row[first[op]] + n_rows[first[op]]):
            # The slots found by at least one search: spans of codes, and slots beside them.
            n_rows_done += 1
            n_spans, n_others = 0, 0
            for s in range(first_search[r], first_search[r] + n_searches[r]):
                n_found = 0
                if not takes_part[s]:
                    continue
                if n_neighbours[s] > 0 and hamming:
                    n_found = _nearest_hamming(records, key[s], n_neighbours[s], found)
                elif n_neighbours[s] > 0:
                    n_found = _nearest(
                        records, pool, buckets, key[s], lo[s], hi[s], n_neighbours[s], top, value, bits,
                        spans[n_spans], found,
                    )  # fmt: skip
                    n_spans += 1
                else:
                    spans[n_spans, 0], spans[n_spans, 1] = max(lo[s], 1), min(hi[s], top)
                    n_spans += 1
                for i in range(n_found):
                    if seen[found[i]] != n_rows_done:
                        seen[found[i]] = n_rows_done
                        others[n_others] = found[i]
                        n_others += 1
            if n_spans > 1:
                n_spans = _merge(spans[:n_spans])
            begun[0] += n_addresses
            _count_found(
                records, pool, buckets, spans[:n_spans], others[:n_others], cell_of_array, rows_per_array,
                n_addresses, column_of_cell, begun, value, bits, counts[0, r], counts[-1, r],
            )  # fmt: skip
