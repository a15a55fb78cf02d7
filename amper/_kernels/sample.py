"""What one sampling of a batch does, in one compiled call: draw slots, and hand their rows out as columns.

By operation and not by structure, and longer than most files, for a kernel may call kernels of its own file only
(numba's cache would keep stale code), and a second call costs as much as drawing 30 slots. Four parts: handing out
rows; the sum tree; AMPER's query generator; AMPER's searches and draws over the index. The tree and the index are laid
out in `update`.

A batch is one block of bytes, in which every column has its place: `layout` int64[3 + f, 3] says where.

- row 0: where ids int64[b], importance weights float32[b] and discounts float32[b] begin;
- row 1: where the slots int64[b] and their probabilities float64[b] begin;
- row 2: offset in a row of the flag of sampled rows, and of the boolean `terminated`, -1 for none;
- a row for each column: its offset in a row, its bytes, and where it begins in the block.

AMPER-fr searches for ranges of codes lo .. hi. The index's counts tell exactly how many entries each finds; codes of
more than sixteen bits that share the upper sixteen with an end of the range are looked at one by one. Draws are
composition-rejection: the buckets a range touches are its pieces, a draw takes an entry of all pieces alike, and begins
anew where its code lies outside the range.
"""

import numpy as np
from numba import njit


# -- rows ----------------------------------------------------------------------------------------------
@njit(cache=True)
def _copy_words(stored, stride, offset, n_words, slots, words):
    # Most columns are one or two words: those copies are spelled out. Unsigned places spare the compiler the
    # question whether an index counts from the end.
    if n_words == 1:
        for i in range(slots.shape[0]):
            words[i] = stored[np.uint64(slots[i] * stride + offset)]
    elif n_words == 2:
        for i in range(slots.shape[0]):
            begin = np.uint64(slots[i] * stride + offset)
            words[np.uint64(2 * i)] = stored[begin]
            words[np.uint64(2 * i + 1)] = stored[begin + np.uint64(1)]
    else:
        for i in range(slots.shape[0]):
            begin, end = slots[i] * stride + offset, i * n_words
            for j in range(n_words):
                words[np.uint64(end + j)] = stored[np.uint64(begin + j)]


@njit(cache=True)
def _copy_column(rows, offset, size, slots, out):
    # As the widest words that rows, column and value are whole numbers of: offsets are multiples of the item size.
    stride = rows.shape[1]
    stored = rows.reshape(-1)
    if (size | offset | stride) % 8 == 0:
        _copy_words(stored.view(np.uint64), stride // 8, offset // 8, size // 8, slots, out.view(np.uint64))
    elif (size | offset | stride) % 4 == 0:
        _copy_words(stored.view(np.uint32), stride // 4, offset // 4, size // 4, slots, out.view(np.uint32))
    else:
        _copy_words(stored, stride, offset, size, slots, out)


@njit(cache=True, error_model="numpy")  # a check for division by zero would keep the loops scalar
def _importance_weights(probabilities, beta, weights):
    # weights[:] = (least probability / probability) ** beta: (n P)**-beta over the batch's largest, so n cancels.
    # Logarithm and power as `_powers` in `update` does them, in single precision: right to some 1e-6 (1 + beta).
    n = probabilities.shape[0]
    least = probabilities[0]
    for i in range(n):
        least = probabilities[i] if probabilities[i] < least else least
    scratch = np.empty((2, n), np.float32)
    ratio, power = scratch[0], scratch[1]
    ratio_bits, power_bits = scratch.view(np.int32)[0], scratch.view(np.int32)[1]
    for i in range(n):
        ratio[i] = max(least / probabilities[i], 1.2e-38)
    for i in range(n):
        e = (ratio_bits[i] - np.int32(0x3F3504F3)) >> np.int32(23)
        ratio_bits[i] -= e << np.int32(23)
        power[i] = e
    one, exponent = np.float32(1.0), np.float32(min(beta, 1e30))
    for i in range(n):
        s = (ratio[i] - one) / (ratio[i] + one)
        q = s * s
        p = np.float32(0.4121985831)
        p = p * q + np.float32(0.5770780164)
        p = p * q + np.float32(0.9617966939)
        y = exponent * ((p * q * s + s * np.float32(2.8853900818)) + power[i])
        y = max(y, np.float32(-126.0))
        whole = (y + np.float32(12582912.0)) - np.float32(12582912.0)  # to the nearest: 1.5 * 2**23
        f = y - whole
        t = np.float32(0.00015403530)
        t = t * f + np.float32(0.0013333558)
        t = t * f + np.float32(0.0096181291)
        t = t * f + np.float32(0.0555041087)
        t = t * f + np.float32(0.2402265070)
        t = t * f + np.float32(0.6931471806)
        ratio[i] = t * f + one
        power_bits[i] = (np.int32(whole) + np.int32(127)) << np.int32(23)
    for i in range(n):
        weights[i] = ratio[i] * power[i]


@njit(cache=True, error_model="numpy")
def _gather(slots, probabilities, rows, layout, out, beta, n_issued, discount):
    # Fill a block with columns, ids, weights, discounts; return how many rows were sampled for the first time.
    b = slots.shape[0]
    capacity, stride = rows.shape
    ids = out[layout[0, 0] : layout[0, 0] + 8 * b].view(np.int64)
    weights = out[layout[0, 1] : layout[0, 1] + 4 * b].view(np.float32)
    n_new = 0
    if layout[2, 0] >= 0:
        flags = rows.reshape(-1)[layout[2, 0] :]
        for i in range(b):
            at = np.uint64(slots[i] * stride)
            if flags[at] == 0:
                flags[at] = 1
                n_new += 1
    # Slots up to the newest hold ids of this round through the ring, the others of the round before.
    newest = (n_issued - 1) % capacity
    this_round = n_issued - 1 - newest
    for i in range(b):
        slot = slots[i]
        ids[i] = this_round + slot - (capacity if slot > newest else 0)
    _importance_weights(probabilities, beta, weights)
    if layout[2, 1] >= 0:
        terminated = rows.reshape(-1)[layout[2, 1] :]
        ends = out[layout[0, 2] : layout[0, 2] + 4 * b].view(np.float32)
        kept = np.float32(discount)
        for i in range(b):
            ends[i] = np.float32(0.0) if terminated[np.uint64(slots[i] * stride)] else kept
    for f in range(3, layout.shape[0]):
        _copy_column(rows, layout[f, 0], layout[f, 1], slots, out[layout[f, 2] : layout[f, 2] + b * layout[f, 1]])
    return n_new


@njit(cache=True)
def _draws(layout, out, b):
    slots = out[layout[1, 0] : layout[1, 0] + 8 * b].view(np.int64)
    return slots, out[layout[1, 1] : layout[1, 1] + 8 * b].view(np.float64)


@njit(cache=True)
def gather(slots, probabilities, rows, layout, blocks, block, beta, n_issued, discount):
    """Hand out the rows of slots drawn elsewhere; as `sample_tree`, with int64[b] and float64[b]."""
    return _gather(slots, probabilities, rows, layout, blocks[block], beta, n_issued, discount)


@njit(cache=True)
def sample_uniform(n, uniforms, rows, layout, blocks, block, beta, n_issued, discount):
    """Draw from the first n slots, all alike, and hand out their rows; as `sample_tree`."""
    out = blocks[block]
    slots, probabilities = _draws(layout, out, uniforms.shape[0])
    for i in range(uniforms.shape[0]):
        slots[i] = min(np.int64(uniforms[i] * n), n - 1)
        probabilities[i] = 1.0 / n
    return _gather(slots, probabilities, rows, layout, out, beta, n_issued, discount)


# -- the sum tree --------------------------------------------------------------------------------------
@njit(cache=True, error_model="numpy")
def draw_tree(nodes, leaves, uniforms, slots, probabilities):
    """Draw slots in proportion to their mass; the total is positive.

    All draws go down one level before any goes down the next: their cache misses overlap.
    """
    total, levels = nodes[0, 0], nodes[0, 1]
    root = nodes.reshape(-1)[528:1040]
    b = uniforms.shape[0]
    targets = probabilities.view(np.int64)  # room of the right size that is not needed yet
    for i in range(b):
        target = min(np.int64(uniforms[i] * total), total - 1)
        child = np.uint64(256) if root[256] <= target else np.uint64(0)
        child += np.uint64(128) if root[child + np.uint64(128)] <= target else np.uint64(0)
        child += np.uint64(64) if root[child + np.uint64(64)] <= target else np.uint64(0)
        child += np.uint64(32) if root[child + np.uint64(32)] <= target else np.uint64(0)
        child += np.uint64(16) if root[child + np.uint64(16)] <= target else np.uint64(0)
        child += np.uint64(8) if root[child + np.uint64(8)] <= target else np.uint64(0)
        child += np.uint64(4) if root[child + np.uint64(4)] <= target else np.uint64(0)
        child += np.uint64(2) if root[child + np.uint64(2)] <= target else np.uint64(0)
        child += np.uint64(1) if root[child + np.uint64(1)] <= target else np.uint64(0)
        targets[i] = target - root[child]
        slots[i] = child
    flat = nodes.reshape(-1)
    touched = np.int64(0)
    for level in range(levels):
        first = nodes[0, 3 + level]
        if level > 0:
            for i in range(b):
                at = np.uint64(16 * (first + slots[i]))
                touched += flat[at] + flat[at + np.uint64(8)]  # all misses at once
        for i in range(b):
            target, at = targets[i], np.uint64(16 * (first + slots[i]))
            child = np.uint64(8) if flat[at + np.uint64(8)] <= target else np.uint64(0)
            child += np.uint64(4) if flat[at + child + np.uint64(4)] <= target else np.uint64(0)
            child += np.uint64(2) if flat[at + child + np.uint64(2)] <= target else np.uint64(0)
            child += np.uint64(1) if flat[at + child + np.uint64(1)] <= target else np.uint64(0)
            targets[i] = target - flat[at + child]
            slots[i] = 16 * slots[i] + np.int64(child)
    for i in range(b):
        touched += np.int64(leaves[np.uint64(16 * slots[i])])
    nodes[0, 15] = touched  # or the compiler would leave the loop out
    for i in range(b):
        at, target = np.uint64(16 * slots[i]), targets[i]
        mass = np.int64(0)
        for j in range(8):
            mass += np.int64(leaves[at + np.uint64(j)])
        right = mass <= target
        target -= mass if right else 0
        at += np.uint64(8) if right else np.uint64(0)
        mass = np.int64(leaves[at]) + np.int64(leaves[at + np.uint64(1)])
        mass += np.int64(leaves[at + np.uint64(2)]) + np.int64(leaves[at + np.uint64(3)])
        right = mass <= target
        target -= mass if right else 0
        at += np.uint64(4) if right else np.uint64(0)
        mass = np.int64(leaves[at]) + np.int64(leaves[at + np.uint64(1)])
        right = mass <= target
        target -= mass if right else 0
        at += np.uint64(2) if right else np.uint64(0)
        at += np.uint64(1) if np.int64(leaves[at]) <= target else np.uint64(0)
        slots[i] = at
        probabilities[i] = np.int64(leaves[at]) / total


@njit(cache=True)
def sample_tree(nodes, leaves, uniforms, rows, layout, blocks, block, beta, n_issued, discount):
    """Draw slots in proportion to their mass and hand out their rows.

    Parameters
    ----------
    nodes, leaves
        A sum tree whose total is positive.
    uniforms : float64[b]
    rows : uint8[capacity, stride]
        Stored transitions.
    layout : int64[3 + f, 3]
    blocks : uint8[k, n_bytes]
    block : int
        blocks[block] is filled.
    beta : float
        Exponent of the importance weights.
    n_issued : int
        Ids given out so far; slot = id mod capacity.
    discount : float
        Handed out where the transition did not terminate, else 0.

    Returns
    -------
    int
        Rows that were sampled for the first time.
    """
    out = blocks[block]
    slots, probabilities = _draws(layout, out, uniforms.shape[0])
    draw_tree(nodes, leaves, uniforms, slots, probabilities)
    return _gather(slots, probabilities, rows, layout, out, beta, n_issued, discount)


# -- AMPER's queries -----------------------------------------------------------------------------------
@njit(cache=True)
def cover_words(lo, hi):
    """Return how many ternary words (aligned power-of-two blocks) cover the codes lo .. hi."""
    n = 0
    while lo <= hi:
        size = lo & -lo if lo > 0 else np.int64(1) << 40
        while size > hi - lo + 1:
            size >>= 1
        lo += size
        n += 1
    return n


@njit(cache=True)
def _block_bits(width, dithered, u, value, bits):
    # 1 <= width <= 2**33. Dithered: E[2**k] = width exactly; otherwise the nearest power of two.
    if not dithered:
        return np.int64(np.floor(np.log2(width) + 0.5))
    value[0] = width  # whose exponent is the logarithm, rounded down
    k = (bits[0] >> 52) - 1023
    return k + (u < width / (np.int64(1) << k) - 1.0)


@njit(cache=True)
def range_queries(uniforms, edges, full, lam, match, thinned, top, open_top, attempt, rows):
    """Write one range search a group and return how many there are.

    Parameters
    ----------
    uniforms : float64[2 m]
        For each group: its representative, its dither.
    edges : float64[m + 1]
        Where the groups begin and the last one ends, in codes.
    full : int
        F, the groups' full scale, in codes.
    lam : float
        lambda'; radius Delta_i = lambda' V_i width_i / F.
    match : int
        0 radius, 1 prefix, 2 dithered.
    thinned : bool
        Below a width of one code, search one code with probability 2 Delta.
    top : int
        Largest code.
    open_top : bool
        Let a block that reaches F - 1 take every code above it as well: those are stored items whose code
        exceeds a full scale that is no maximum.
    attempt : int
        Number of this redraw.
    rows : int64[m, 8]
        Searches; columns group, key, lo, hi, n_neighbours, n_ternary_words, n_matches, attempt.
    """
    value = np.empty(1)
    bits = value.view(np.int64)
    n = 0
    for g in range(edges.shape[0] - 1):
        width = edges[g + 1] - edges[g]
        key = min(np.int64(edges[g] + uniforms[2 * g] * width), top)
        radius = lam * key * width / full
        dither = uniforms[2 * g + 1]
        if thinned and 2.0 * radius < 1.0:
            if dither >= 2.0 * radius:
                continue
            lo, hi = key, key
        elif match == 0:
            reach = np.int64(np.floor(min(radius, float(top))))
            lo, hi = key - reach, key + reach
        else:
            k = _block_bits(min(max(2.0 * radius, 1.0), 2.0 * (top + 1)), match == 2, dither, value, bits)
            lo = (key >> k) << k
            hi = lo + (np.int64(1) << k) - 1
        lo, hi = max(lo, 0), min(hi, top)
        words = cover_words(lo, hi) if match == 0 else 1
        if open_top and full <= top and hi >= full - 1:
            words += cover_words(hi + 1, top)
            hi = top
        rows[n, 0], rows[n, 1], rows[n, 2], rows[n, 3] = g, key, lo, hi
        rows[n, 4], rows[n, 5], rows[n, 6], rows[n, 7] = 0, words, 0, attempt
        n += 1
    return n


@njit(cache=True)
def group_queries(uniforms, edges, top, attempt, rows):
    """Write one count search a group: its representative V, and its own codes as lo .. hi."""
    for g in range(edges.shape[0] - 1):
        key = min(np.int64(edges[g] + uniforms[2 * g] * (edges[g + 1] - edges[g])), top)
        lo = np.int64(np.ceil(edges[g]))
        hi = min(np.int64(np.ceil(edges[g + 1])) - 1, top)
        rows[g, 0], rows[g, 1], rows[g, 2], rows[g, 3] = g, key, lo, hi
        rows[g, 4], rows[g, 5], rows[g, 6], rows[g, 7] = 0, cover_words(lo, hi), 0, attempt


# -- AMPER's searches and draws ------------------------------------------------------------------------
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
def _count(counts, lo, hi):
    # How many entries have upper sixteen bits of lo .. hi: single codes up to a multiple of 16, sixteens up to a
    # multiple of 256, and what is left.
    a, e = lo, hi + 1
    total = np.int64(0)
    while a < e and a & 15:
        total += counts[4352 + a]
        a += 1
    while a < e and e & 15:
        e -= 1
        total += counts[4352 + e]
    a, e = a >> 4, e >> 4
    while a < e and a & 15:
        total += counts[256 + a]
        a += 1
    while a < e and e & 15:
        e -= 1
        total += counts[256 + e]
    for j in range(a >> 4, e >> 4):
        total += counts[j]
    return total


@njit(cache=True)
def _scan(records, arena, meta, buckets, lo, hi):
    # How many entries hold a code of lo .. hi, by looking at the buckets they may lie in.
    value = np.empty(1)
    bits = value.view(np.int64)
    total = 0
    for k in range(_bucket(lo, meta[3], value, bits), _bucket(hi, meta[3], value, bits) + 1):
        for j in range(buckets[k, 1], buckets[k, 1] + buckets[k, 0]):
            code = np.int64(records[arena[j], 0])
            total += lo <= code <= hi
    return total


@njit(cache=True)
def _between(records, arena, meta, counts, buckets, lo, hi):
    # How many entries hold a code of lo .. hi, 1 <= lo, where codes have more than sixteen bits.
    if lo > hi:
        return np.int64(0)
    shift = meta[4]
    first, last = lo >> shift, hi >> shift
    total = _count(counts, first + 1, last - 1)
    # The codes that share their upper bits with an end: all of them, or one by one.
    end_of_first, begin_of_last = ((first + 1) << shift) - 1, last << shift
    if lo == first << shift and hi >= end_of_first:
        total += counts[4352 + first]
    else:
        total += _scan(records, arena, meta, buckets, lo, min(hi, end_of_first))
    if first < last:
        whole = hi == ((last + 1) << shift) - 1
        total += counts[4352 + last] if whole else _scan(records, arena, meta, buckets, begin_of_last, hi)
    return total


@njit(cache=True)
def find_ranges(records, arena, tables, rows, unique, spans):
    """Fill n_matches of range searches and return |CSP|.

    rows int64[k, 8] as `range_queries` writes them; spans int64[k, 4] is filled with the codes lo .. hi of each
    search's share of the CSP, how many entries hold them, and the group. With `unique` the spans are disjoint: an
    entry belongs to the search with the lowest `lo` that found it.
    """
    meta, counts, buckets = _parts(tables)
    total = np.int64(0)
    for i in range(rows.shape[0]):
        lo, hi = max(rows[i, 2], 1), rows[i, 3]
        n = _count(counts, lo, hi) if meta[4] == 0 else _between(records, arena, meta, counts, buckets, lo, hi)
        rows[i, 6] = n
        spans[i, 0], spans[i, 1], spans[i, 2], spans[i, 3] = lo, hi, n, rows[i, 0]
        total += n
    if unique:
        covered, total = np.int64(0), np.int64(0)
        for i in np.argsort(rows[:, 2], kind="mergesort"):
            spans[i, 0] = max(spans[i, 0], covered + 1)
            covered = max(covered, spans[i, 1])
            lo, hi = spans[i, 0], spans[i, 1]
            spans[i, 2] = (
                _count(counts, lo, hi) if meta[4] == 0 else _between(records, arena, meta, counts, buckets, lo, hi)
            )
            total += spans[i, 2]
    return total


@njit(cache=True)
def _hash(u, attempt):
    # Another number in [0, 1) for a draw that was rejected: two 32-bit integer hashes of it and of the attempt.
    whole = np.int64(u * 9007199254740992.0)
    low = ((whole & 0xFFFFFFFF) ^ (whole >> 32)) + 0x9E3779B * attempt & 0xFFFFFFFF
    high = ((whole >> 21) + 0x2545F49 * (attempt + 1)) & 0xFFFFFFFF
    for _ in range(2):
        low = ((low >> 16) ^ low) * 0x45D9F3B & 0xFFFFFFFF
        high = ((high >> 16) ^ high) * 0x45D9F3B + low & 0xFFFFFFFF
    low = (low >> 16) ^ low
    high = (high >> 16) ^ high
    return (high * 2097152.0 + (low >> 11)) / 9007199254740992.0


@njit(cache=True)
def _pieces(tables, spans):
    # The occupied buckets that each span touches: where a piece's entries begin among those of all pieces (padded to
    # 64 or a higher power of two), its place in the arena, and its span.
    meta, _, buckets = _parts(tables)
    s = meta[3]
    value = np.empty(1)
    bits = value.view(np.int64)
    bounds = np.empty((spans.shape[0], 2), np.int64)
    n = 0
    for i in range(spans.shape[0]):
        bounds[i, 0] = bounds[i, 1] = 0
        if spans[i, 2] > 0:
            bounds[i, 0] = _bucket(spans[i, 0], s, value, bits)
            bounds[i, 1] = _bucket(spans[i, 1], s, value, bits) + 1
        n += bounds[i, 1] - bounds[i, 0]
    size = 64
    while size < n:
        size *= 2
    pieces = np.empty((3, size), np.int64)
    begins, places, of = pieces[0], pieces[1], pieces[2]
    n, total = 0, np.int64(0)
    for i in range(spans.shape[0]):
        for k in range(bounds[i, 0], bounds[i, 1]):
            begins[n] = total
            places[n] = buckets[k, 1]
            of[n] = i
            count = np.int64(buckets[k, 0])
            n += 1 if count > 0 else 0
            total += count
    begins[n:] = np.int64(1) << 62
    return begins, places, of, total


@njit(cache=True)
def _choose(begins, x):
    # The last piece that begins at or before x: without a branch below 64 pieces, which are many.
    at = np.uint64(0)
    step = np.uint64(begins.shape[0] >> 1)
    while step > np.uint64(32):
        at += step if begins[at + step] <= x else np.uint64(0)
        step >>= np.uint64(1)
    at += np.uint64(32) if begins[at + np.uint64(32)] <= x else np.uint64(0)
    at += np.uint64(16) if begins[at + np.uint64(16)] <= x else np.uint64(0)
    at += np.uint64(8) if begins[at + np.uint64(8)] <= x else np.uint64(0)
    at += np.uint64(4) if begins[at + np.uint64(4)] <= x else np.uint64(0)
    at += np.uint64(2) if begins[at + np.uint64(2)] <= x else np.uint64(0)
    return at + (np.uint64(1) if begins[at + np.uint64(1)] <= x else np.uint64(0))


@njit(cache=True)
def list_entries(records, arena, tables, spans, n):
    """Return slot and span of each of the n entries that the spans find, int64[2, n], span after span."""
    meta, _, buckets = _parts(tables)
    value = np.empty(1)
    bits = value.view(np.int64)
    found = np.empty((2, n), np.int64)
    n = 0
    for i in range(spans.shape[0]):
        if spans[i, 2] == 0:
            continue
        last = _bucket(spans[i, 1], meta[3], value, bits)
        for k in range(_bucket(spans[i, 0], meta[3], value, bits), last + 1):
            for j in range(buckets[k, 1], buckets[k, 1] + buckets[k, 0]):
                code = np.int64(records[arena[j], 0])
                if spans[i, 0] <= code <= spans[i, 1]:
                    found[0, n], found[1, n] = arena[j], i
                    n += 1
    return found


@njit(cache=True, error_model="numpy")
def draw_candidates(records, arena, tables, spans, ties, uniforms, slots, groups, probabilities):
    """Draw from the CSP: the spans' entries and the ties int64[t, 2] (slot, group), all alike; it is not empty.

    Probabilities are the nominal ones, code / sum of codes.
    """
    begins, places, of, n_entries = _pieces(tables, spans)
    total = n_entries + ties.shape[0]
    n = uniforms.shape[0]
    codes = records.reshape(-1)  # and places between them
    sum_of_codes = tables[:16].view(np.int64)[1]
    n_found = np.sum(spans[:, 2])
    if n_entries > 16 * n_found and 2 * n > n_found:
        # Nearly all of the pieces lies outside the ranges: one look at everything is cheaper than many tries.
        found = list_entries(records, arena, tables, spans, n_found)
        for i in range(n):
            rank = min(np.int64(uniforms[i] * (n_found + ties.shape[0])), n_found + ties.shape[0] - 1)
            if rank < n_found:
                slots[i], groups[i] = found[0, rank], spans[found[1, rank], 3]
            else:
                slots[i], groups[i] = ties[rank - n_found, 0], ties[rank - n_found, 1]
            probabilities[i] = np.int64(codes[2 * slots[i]]) / sum_of_codes
        return
    # Three loops, so that cache misses overlap; what is rejected is drawn again on the way.
    for i in range(n):
        x = min(np.int64(uniforms[i] * total), total - 1)
        piece = _choose(begins, x)
        slots[i] = places[piece] + x - begins[piece] if x < n_entries else -1 - (x - n_entries)
        groups[i] = of[piece]
    for i in range(n):
        slots[i] = np.int64(arena[np.uint64(slots[i])]) if slots[i] >= 0 else slots[i]
    for i in range(n):
        attempt = 0
        span = np.uint64(groups[i])
        code = np.int64(codes[np.uint64(2 * slots[i])]) if slots[i] >= 0 else np.int64(0)
        while slots[i] >= 0 and not (spans[span, 0] <= code <= spans[span, 1]):
            attempt += 1
            x = min(np.int64(_hash(uniforms[i], attempt) * total), total - 1)
            piece = _choose(begins, x)
            span = np.uint64(of[piece])
            slots[i] = arena[places[piece] + x - begins[piece]] if x < n_entries else -1 - (x - n_entries)
            code = np.int64(codes[np.uint64(2 * slots[i])]) if slots[i] >= 0 else np.int64(0)
        if slots[i] >= 0:
            groups[i] = spans[span, 3]
        else:
            tie = -1 - slots[i]
            slots[i], groups[i] = ties[tie, 0], ties[tie, 1]
            code = np.int64(codes[np.uint64(2 * slots[i])])
        probabilities[i] = code / sum_of_codes


@njit(cache=True)
def sample_ranges(records, arena, tables, uniforms, plan, rows, layout, blocks, block, beta, n_issued, discount):
    """Generate AMPER-fr's queries, find the candidate set, draw from it and hand out the rows; as `sample_tree`.

    plan float64[7 + m + 1]: F, lambda', the largest code, match, whether searches are thinned, whether the top is open
    (as in `range_queries`), the least |CSP|, and the groups' edges. uniforms float64[2 m + b]. Returns -1, and does
    nothing, if the candidate set is too small.
    """
    n_keys = 2 * (plan.shape[0] - 8)
    searches = np.empty((plan.shape[0] - 8, 8), np.int64)
    n_rows = range_queries(
        uniforms[:n_keys], plan[7:], np.int64(plan[0]), plan[1], np.int64(plan[3]), plan[4] > 0, np.int64(plan[2]),
        plan[5] > 0, 0, searches,
    )  # fmt: skip
    spans = np.empty((n_rows, 4), np.int64)
    if find_ranges(records, arena, tables, searches[:n_rows], False, spans) < plan[6]:
        return -1
    out = blocks[block]
    b = uniforms.shape[0] - n_keys
    slots, probabilities = _draws(layout, out, b)
    groups, ties = np.empty(b, np.int64), np.empty((0, 2), np.int64)
    draw_candidates(records, arena, tables, spans, ties, uniforms[n_keys:], slots, groups, probabilities)
    return _gather(slots, probabilities, rows, layout, out, beta, n_issued, discount)
