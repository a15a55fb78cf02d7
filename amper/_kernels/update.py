"""What one update of priorities does, in one compiled call: checks, codes, and the structure that holds them.

By operation and not by structure, and longer than most files, for a kernel may call kernels of its own file only, and a
second call costs as much as writing 40 priorities. Three structures: a plain array of codes; the sum tree; the index
of slots by code.

Sum tree. A tree of fan-out 16 over integer masses. leaves uint32[n], n a multiple of 16, are the masses; a group is 16
of them, one cache line. nodes int64[65 + k, 16]:

- row 0: the total; how many levels of nodes there are between the root and the groups; how many children the root has;
  the row at which each of the levels begins, the uppermost first; its last entry holds nothing;
- rows 1 to 32, read as one: the mass of each of the root's up to 512 children; rows 33 to 64: the sums before each of
  them, made once a write, so that a wide root saves levels at little cost, and beyond them what no sum reaches;
- every other row: a node. Its entry j is the sum of its first j children.

Sums before a child, and not of it, let a draw find its child by comparisons without a branch.

Index. records uint32[n, 2]: a slot's code (0: not written) and its place in its code's bucket. arena int32[3 n + 64]:
the buckets, one after another. tables int32: see `_parts`. A bucket holds the codes whose binary logarithm and first
`s` bits below the leading one agree: neighbours within a part of 2**-s, few enough that their ends stay in the cache.
A full bucket moves to twice its room at the arena's free end; when that is reached all buckets are laid out anew with
room for a quarter more and one, at most 2.25 n + 4 places: memory never grows, the cost is amortised.
"""

import numpy as np
from numba import njit


# -- codes ----------------------------------------------------------------------------------------------
@njit(cache=True, error_model="numpy")  # a check for division by zero would keep the loop scalar
def _powers(x, exponent):
    # x[:] = x ** exponent for x >= 0, exponent >= 0: in vectors, at half the time of libm's pow; and the same on
    # every machine, for nothing but additions, multiplications and divisions is used.
    # x = 2**e m, sqrt(1/2) <= m < sqrt(2): log2 m = 2/ln 2 artanh((m-1)/(m+1)), a series in s**2 <= .0295;
    # 2**y by the Taylor series on |fraction| <= 1/2. Relative error below 1e-15 (1 + |log2 of the result|).
    # Loops in which no place is a float and a word at once: the compiler makes vectors of those only.
    if exponent == 1.0:  # exactly
        return
    n = x.shape[0]
    scratch = np.empty((4, n))
    significand, exponents, high, low = scratch[0], scratch[1], scratch[2], scratch[3]
    bits, high_bits, low_bits = scratch.view(np.int64)[0], scratch.view(np.int64)[2], scratch.view(np.int64)[3]
    for i in range(n):
        # 2**54: no subnormals below.
        significand[i] = x[i] * 18014398509481984.0 if x[i] < 2.2250738585072014e-308 else x[i]
    for i in range(n):
        e = (bits[i] - 0x3FE6A09E667F3BCD) >> 52
        bits[i] -= e << 52
        exponents[i] = e - (54.0 if x[i] < 2.2250738585072014e-308 else 0.0)
    for i in range(n):
        m = significand[i]
        s = (m - 1.0) / (m + 1.0)
        q = s * s
        p = 1.0 / 21.0
        p = p * q + 1.0 / 19.0
        p = p * q + 1.0 / 17.0
        p = p * q + 1.0 / 15.0
        p = p * q + 1.0 / 13.0
        p = p * q + 1.0 / 11.0
        p = p * q + 1.0 / 9.0
        p = p * q + 1.0 / 7.0
        p = p * q + 1.0 / 5.0
        p = p * q + 1.0 / 3.0
        log2m = (p * q * s + s) * 2.8853900817779268
        y = exponent * (log2m + exponents[i])
        y = min(max(y, -1080.0), 1025.0)
        whole = (y + 6755399441055744.0) - 6755399441055744.0  # to the nearest whole number: 1.5 * 2**52
        f = (y - whole) * 0.6931471805599453
        t = 1.0 / 6227020800.0
        t = t * f + 1.0 / 479001600.0
        t = t * f + 1.0 / 39916800.0
        t = t * f + 1.0 / 3628800.0
        t = t * f + 1.0 / 362880.0
        t = t * f + 1.0 / 40320.0
        t = t * f + 1.0 / 5040.0
        t = t * f + 1.0 / 720.0
        t = t * f + 1.0 / 120.0
        t = t * f + 1.0 / 24.0
        t = t * f + 1.0 / 6.0
        t = t * f + 0.5
        t = t * f + 1.0
        t = t * f + 1.0
        x[i] = t if x[i] > 0.0 else (1.0 if exponent == 0.0 else 0.0)
        # 2**whole in two factors, for 2**1024 and 2**-1075 are no doubles.
        half = np.int64(whole) >> 1
        high_bits[i] = (half + 1023) << 52
        low_bits[i] = (np.int64(whole) - half + 1023) << 52
    for i in range(n):
        x[i] = x[i] * high[i] * low[i]


@njit(cache=True, error_model="numpy")
def _encode(masses, scale, top, codes):
    # Round masses to codes, 1 .. top; return how many saturated, and the largest.
    saturated, largest = 0, 0
    for i in range(masses.shape[0]):
        code = np.floor(masses[i] / scale * top + 0.5)
        saturated += code > top
        codes[i] = np.int64(min(max(code, 1.0), float(top)))
    for i in range(masses.shape[0]):
        largest = max(largest, codes[i])
    return saturated, largest


@njit(cache=True)
def encode(priorities, alpha, scale, top, codes):
    """Fill codes with priorities ** alpha as fractions of scale, 1 .. top; return how many saturated."""
    masses = priorities.copy()
    _powers(masses, alpha)
    return _encode(masses, scale, top, codes)[0]


@njit(cache=True)
def _first_bad(ids, priorities, n_issued):
    for i in range(ids.shape[0]):
        if ids[i] < 0:
            return 1, i
        if ids[i] >= n_issued:
            return 2, i
        if not (0.0 <= priorities[i] <= 1.7e308):
            return 3, i
    return 0, 0


@njit(cache=True)
def _all_good(ids, priorities, n_issued):
    # Without leaving early, so that the loops become vectors.
    bad = np.int64(0)
    for i in range(ids.shape[0]):
        bad += (ids[i] < 0) | (ids[i] >= n_issued)
    for i in range(ids.shape[0]):
        bad += not (priorities[i] >= 0.0 and priorities[i] <= 1.7e308)
    return bad == 0


@njit(cache=True)
def _check(ids, priorities, n_issued, capacity, eps, alpha, scale, fixed, top, written):
    # What `check` documents.
    b = ids.shape[0]
    slots, codes = written[0], written[1]
    if not _all_good(ids, priorities, n_issued):
        status, at = _first_bad(ids, priorities, n_issued)
        return status, at, 0, 0.0, 0, 0, 0
    # A hash set of the ids seen, four places an id, tells duplicates; last to first, for the last one counts.
    n_bits = 3
    while (1 << n_bits) < 4 * b:
        n_bits += 1
    seen = np.full(1 << n_bits, -1, np.int64)
    mask = (1 << n_bits) - 1
    oldest = n_issued - capacity
    this_round = n_issued - 1 - (n_issued - 1) % capacity  # id of slot 0
    largest = 0.0
    n_stale, free = 0, b
    for i in range(b - 1, -1, -1):
        key = ids[i]
        if key < oldest:
            n_stale += 1
            continue
        place = (key * 0x9E3779B1 >> 15) & mask
        while seen[place] != key and seen[place] >= 0:
            place = (place + 1) & mask
        if seen[place] == key:
            continue
        seen[place] = key
        free -= 1
        slots[free] = key - this_round + (capacity if key < this_round else 0)
        codes[free] = i
        largest = max(largest, priorities[i] + eps)
    if not fixed and largest**alpha > scale:
        return 4, 0, 0, largest, 0, 0, 0
    masses = np.empty(b - free)
    for i in range(free, b):
        masses[i - free] = priorities[codes[i]] + eps
    _powers(masses, alpha)
    n_saturated, largest_code = _encode(masses, scale, top, codes[free:b])
    return 0, 0, b - free, largest, n_stale, n_saturated, largest_code


@njit(cache=True)
def check(ids, priorities, n_issued, capacity, eps, alpha, scale, fixed, top, written):
    """Check one update and turn it into distinct slots and codes, to be written by somebody else.

    Parameters
    ----------
    ids : int64[b]
        Transition ids.
    priorities : float64[b]
        Raw abs(TD error).
    n_issued, capacity : int
        Ids given out so far; those of the last `capacity` transitions are live, slot = id mod capacity.
    eps, alpha : float
        mass = (priority + eps) ** alpha.
    scale, fixed, top
        Mass of the largest code `top`; whether that is fixed.
    written : int64[2, b or more]
        Slots and codes, filled from the end of the first b: the last n_live hold the result, in order.

    Returns
    -------
    status : int
        0 done; 1 negative id; 2 id not yet issued; 3 bad priority; 4 mass beyond a scale that may grow.
    at : int
        Position of the offending entry.
    n_live : int
        Distinct live ids.
    largest : float
        Largest priority kept, eps included.
    n_stale, n_saturated : int
        Entries skipped because their transition was overwritten; entries that saturated.
    largest_code : int
        Largest code kept.
    """
    return _check(ids, priorities, n_issued, capacity, eps, alpha, scale, fixed, top, written)


# -- a plain array of codes -----------------------------------------------------------------------------
@njit(cache=True)
def store(stored, slots, codes):
    """Store codes in slots, in order."""
    for i in range(slots.shape[0]):
        stored[slots[i]] = codes[i]


@njit(cache=True)
def update_codes(stored, ids, priorities, n_issued, capacity, eps, alpha, scale, fixed, top, written):
    """Check one update and write it to a plain array, uint32[n], if everything is right; else as `check`."""
    result = _check(ids, priorities, n_issued, capacity, eps, alpha, scale, fixed, top, written)
    if result[0] == 0:
        b = ids.shape[0]
        store(stored, written[0, b - result[2] : b], written[1, b - result[2] : b])
    return result


# -- the sum tree ---------------------------------------------------------------------------------------
@njit(cache=True)
def _sum_root(nodes):
    # The sums before each child of the root, and the total.
    masses, before = nodes.reshape(-1)[16:528], nodes.reshape(-1)[528:1040]
    total = np.int64(0)
    for j in range(nodes[0, 2]):
        before[j] = total
        total += masses[j]
    nodes[0, 0] = total


@njit(cache=True)
def write_tree(nodes, leaves, slots, masses):
    """Store masses in slots, in order, and carry the differences to the root."""
    fan_out = nodes.shape[1]  # as a variable: the compiler makes vectors of the loop below, not sixteen steps
    levels = nodes[0, 1]
    root = nodes.reshape(-1)[16:528]
    # All misses at once, not one at a time: of the leaves, and of the largest level of nodes, two lines each.
    touched = np.int64(0)
    lowest = nodes[0, 2 + levels] if levels > 0 else 0
    for i in range(slots.shape[0]):
        touched += np.int64(leaves[slots[i]])
        if levels > 0:
            node = lowest + (slots[i] >> 8)
            touched += nodes[node, 0] + nodes[node, 8]
    nodes[0, 15] = touched  # or the compiler would leave the loop out
    for i in range(slots.shape[0]):
        slot = slots[i]
        delta = np.int64(masses[i]) - np.int64(leaves[slot])
        leaves[slot] = masses[i]
        index = slot >> 4
        for level in range(levels - 1, -1, -1):
            child = index & 15
            index >>= 4
            node = nodes[nodes[0, 3 + level] + index]
            for j in range(fan_out):
                node[j] += delta if j > child else 0
        root[index] += delta
    _sum_root(nodes)


@njit(cache=True)
def rebuild_tree(nodes, leaves):
    """Recompute every node from the leaves."""
    levels = nodes[0, 1]
    nodes[1:33] = 0
    nodes[65:] = 0
    root = nodes.reshape(-1)[16:528]
    for group in range(leaves.shape[0] // 16):
        mass = np.int64(0)
        for j in range(16):
            mass += np.int64(leaves[16 * group + j])
        index = group
        for level in range(levels - 1, -1, -1):
            child = index & 15
            index >>= 4
            nodes[nodes[0, 3 + level] + index, child + 1 :] += mass
        root[index] += mass
    _sum_root(nodes)


@njit(cache=True)
def update_tree(nodes, leaves, ids, priorities, n_issued, capacity, eps, alpha, scale, fixed, top, written):
    """Check one update and write it to a sum tree, if everything is right; else as `check`."""
    result = _check(ids, priorities, n_issued, capacity, eps, alpha, scale, fixed, top, written)
    if result[0] == 0:
        b = ids.shape[0]
        write_tree(nodes, leaves, written[0, b - result[2] : b], written[1, b - result[2] : b])
    return result


# -- the index of slots by code -------------------------------------------------------------------------
@njit(cache=True)
def _parts(tables):
    # tables int32 holds, one after the other: 16 words read as int64[8] (valid slots, sum of codes, first free place
    # of the arena, s, bits below the sixteen that are counted; the last holds nothing); the counts of valid slots by
    # the first 8, 12, 16 of those bits; and of every bucket the count, where it begins, its room, and nothing.
    return tables[:16].view(np.int64), tables[16:69904], tables[69904:].reshape((-1, 4))


@njit(cache=True)
def _bucket(code, s, value, bits):
    # A double holds a code's logarithm and the bits below its leading one side by side; value[0] is bits[0].
    value[0] = code
    return (bits[0] >> (52 - s)) - (np.int64(1023) << s)


@njit(cache=True)
def _lay_out(records, arena, meta, buckets, growing, value, bits):
    # Places inside buckets are kept, so draws afterwards are what they were before.
    free = 0
    for k in range(buckets.shape[0]):
        count = buckets[k, 0]
        room = count + count // 4 + 1 if count > 0 else 0
        if k == growing:
            room += 4
        buckets[k, 1] = free
        buckets[k, 2] = room
        free += room
    for slot in range(records.shape[0]):
        code = np.int64(records[slot, 0])
        if code > 0:
            arena[buckets[_bucket(code, meta[3], value, bits), 1] + np.int64(records[slot, 1])] = slot
    meta[2] = free


@njit(cache=True)
def write_index(records, arena, tables, slots, codes):
    """Store codes (>= 1) in slots, in order."""
    meta, counts, buckets = _parts(tables)
    s, shift = meta[3], meta[4]
    cells, flat = records.reshape(-1), tables[69904:]  # read by unsigned places, which never count from the end
    n = slots.shape[0]
    down, bias = 52 - s, np.int64(1023) << s
    values = np.empty(n + 1)  # as in `_bucket`; the last is for what stood there
    bits = values.view(np.int64)
    for i in range(n):
        values[i] = codes[i]
    touched = np.int64(0)
    for i in range(n):
        touched += np.int64(cells[np.uint64(2 * slots[i])])  # all misses at once, not one at a time
    meta[7] = touched  # or the compiler would leave the loop out
    n_new, change = 0, np.int64(0)
    for i in range(n):
        code = codes[i]
        cell = np.uint64(2 * slots[i])
        old = np.int64(cells[cell])
        change += code - old
        bucket = np.uint64(4 * ((bits[i] >> down) - bias))
        key = np.uint64(code >> shift)
        counts[key >> np.uint64(8)] += 1
        counts[np.uint64(256) + (key >> np.uint64(4))] += 1
        counts[np.uint64(4352) + key] += 1
        if old > 0:
            values[n] = old
            left = np.uint64(4 * ((bits[n] >> down) - bias))
            key = np.uint64(old >> shift)
            counts[key >> np.uint64(8)] -= 1
            counts[np.uint64(256) + (key >> np.uint64(4))] -= 1
            counts[np.uint64(4352) + key] -= 1
            if left == bucket:
                cells[cell] = code
                continue
            last = flat[left] - 1
            begin, place = np.int64(flat[left + np.uint64(1)]), np.int64(cells[cell + np.uint64(1)])
            moved = np.int64(arena[np.uint64(begin + last)])
            arena[np.uint64(begin + place)] = moved
            cells[np.uint64(2 * moved + 1)] = place
            flat[left] = last
        else:
            n_new += 1
        count = np.int64(flat[bucket])
        if count == flat[bucket + np.uint64(2)]:
            room = max(4, 2 * count)
            if meta[2] + room > arena.shape[0]:
                cells[cell] = 0  # is in no bucket now
                _lay_out(records, arena, meta, buckets, np.int64(bucket) // 4, values[n:], bits[n:])
            else:
                begin = np.int64(flat[bucket + np.uint64(1)])
                for j in range(count):
                    arena[meta[2] + j] = arena[begin + j]
                flat[bucket + np.uint64(1)] = meta[2]
                flat[bucket + np.uint64(2)] = room
                meta[2] += room
        arena[np.uint64(np.int64(flat[bucket + np.uint64(1)]) + count)] = slots[i]
        cells[cell] = code
        cells[cell + np.uint64(1)] = count
        flat[bucket] = count + 1
    meta[0] += n_new
    meta[1] += change


@njit(cache=True)
def update_index(records, arena, tables, ids, priorities, n_issued, capacity, eps, alpha, scale, fixed, top, written):
    """Check one update and write it to an index, if everything is right; else as `check`."""
    result = _check(ids, priorities, n_issued, capacity, eps, alpha, scale, fixed, top, written)
    if result[0] == 0:
        b = ids.shape[0]
        write_index(records, arena, tables, written[0, b - result[2] : b], written[1, b - result[2] : b])
    return result
