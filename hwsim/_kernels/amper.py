"""The associative machine in whole cycles, search by search: what a formula would say, as a loop.

w, s, U, Q, POP, Lu, Ld, SEL, DRAW as in `hwsim.cost_amper`.
"""

import numpy as np
from numba import njit


@njit(cache=True)
def n_ternary_words(lo, hi):
    """Return the fewest ternary words that match exactly the codes lo .. hi: aligned blocks of powers of two."""
    words = 0
    while lo <= hi:
        block = 1
        while lo % (2 * block) == 0 and lo + 2 * block - 1 <= hi:
            block *= 2
        lo += block
        words += 1
    return words


@njit(cache=True)
def bisect_radius(key, radius, bits):
    """Return (steps, words of all steps, words of the range found) of a bisection that ends at `radius`.

    Each step counts the codes within `middle` of `key`; enough of them lie there exactly where
    middle >= radius, so the path is known without the counts. The codes at the radius are words of their own.
    """
    top = (1 << bits) - 1
    lo, hi, steps, words = 0, top, 0, 0
    while lo < hi:
        middle = (lo + hi) // 2
        words += n_ternary_words(max(0, key - middle), min(top, key + middle))
        steps += 1
        if middle >= radius:
            hi = middle
        else:
            lo = middle + 1
    inside = n_ternary_words(max(0, key - radius + 1), min(top, key + radius - 1))
    at_radius = (key - radius >= 0) + (key + radius <= top) if radius > 0 else 1
    return steps, words, inside + at_radius


@njit(cache=True)
def bisections(key, lo, hi, n_neighbours, bits, result):
    """Fill result[search] = (steps, words of the steps, words of the range found) where n_neighbours > 0."""
    for i in range(key.shape[0]):
        if n_neighbours[i] > 0:
            radius = max(key[i] - lo[i], hi[i] - key[i])
            result[i, 0], result[i, 1], result[i, 2] = bisect_radius(key[i], radius, bits)


@njit(cache=True)
def drain(sample, attempt, count, search, words, start, tail, phases, sums):
    """Add up samplings whose matches leave through ports, one word a cycle each.

    Loads of the match latch: `sample`, `attempt` (int64[k], runs of equal pairs); cycles spent on counts and
    on the search (`count`, `search`); `words` int64[k, ports] through each port. An attempt runs

        load_0     = start + count_0 + search_0
        end_g      = load_g + (D_g > 0 ? 1 + D_g : 0)        D_g: the most loaded port's words
        load_{g+1} = max(load_g + count_{g+1} + search_{g+1}, end_g - 1)
        attempt    = max over g of end_g, or load_last, + tail

    `phases` int64[samples, 4] gets query, count, search, readout; `sums` int64[samples, 3] the cycles in which
    a port moved words, the words of all ports, the cycles that results waited for the latch.
    """
    i, k = 0, sample.shape[0]
    while i < k:
        row, total = phases[sample[i]], sums[sample[i]]
        row[0] += start
        load, end, done, g = start, 0, 0, i
        while g < k and sample[g] == sample[i] and attempt[g] == attempt[i]:
            ready = load + count[g] + search[g]
            load = max(ready, end - 1)
            row[1] += count[g]
            if load > ready:
                row[3] += search[g] + load - ready
                total[2] += load - ready
            else:
                row[2] += search[g]
            most = 0
            for port in range(words.shape[1]):
                n = words[g, port]
                total[1] += n
                most = max(most, n)
            total[0] += most
            end = load + 1 + most if most > 0 else 0
            done = max(done, load, end)
            g += 1
        row[3] += done - load + tail
        i = g


@njit(cache=True)
def to_ports(counts, words):
    """Add int[k, banks] `counts` up: port b mod P gets bank b's in words[k, P]."""
    for i in range(counts.shape[0]):
        for bank in range(counts.shape[1]):
            words[i, bank % words.shape[1]] += counts[i, bank]


@njit(cache=True)
def row_sums(counts, sums):
    """Add up each row of int[k, c] `counts` in int64[k] `sums`."""
    for i in range(counts.shape[0]):
        for j in range(counts.shape[1]):
            sums[i] += counts[i, j]


@njit(cache=True)
def add_up(sample, attempt, columns, by_sample, n_attempts):
    """Add `columns`, int64[k] each, up by sampling in by_sample[c]; count each sampling's attempts that searched."""
    for c, column in enumerate(columns):
        for i in range(sample.shape[0]):
            by_sample[c, sample[i]] += column[i]
    for i in range(sample.shape[0]):
        if i == 0 or sample[i] != sample[i - 1] or attempt[i] != attempt[i - 1]:
            n_attempts[sample[i]] += 1


@njit(cache=True)
def largest_attempts(sample, attempt, matches, largest, overflow, capacity):
    """Fill largest[part], the most matches of any attempt, and overflow[sampling], those beyond a part's `capacity`.

    `matches` int[k, parts] are what each load brings to each part of the buffer.
    """
    i, k = 0, sample.shape[0]
    held = np.zeros(matches.shape[1], np.int64)
    while i < k:
        held[:] = 0
        g = i
        while g < k and sample[g] == sample[i] and attempt[g] == attempt[i]:
            for part in range(matches.shape[1]):
                held[part] += matches[g, part]
            g += 1
        for part in range(matches.shape[1]):
            largest[part] = max(largest[part], held[part])
            overflow[sample[i]] += max(held[part] - capacity, 0)
        i = g


@njit(cache=True)
def words_of_draws(first_load, n_loads, attempt, load_group, last_words, first_draw, n_draws, draw_group, words):
    """Fill words[draw] with what the draw's array searches again: the last search of its group, last attempt.

    Loads `first_load[i] .. + n_loads[i]` belong to sampling i. A draw of a group that was not searched gets 0;
    returns the first such draw, or -1.
    """
    unknown = -1
    n_groups = 0
    for g in range(load_group.shape[0]):
        n_groups = max(n_groups, load_group[g] + 1)
    of_group, searched_in = np.zeros(n_groups, np.int64), np.full(n_groups, -1, np.int64)
    for i in range(first_load.shape[0]):
        end = first_load[i] + n_loads[i]
        for g in range(first_load[i], end):
            if attempt[g] == attempt[end - 1] and last_words[g] > 0:
                of_group[load_group[g]], searched_in[load_group[g]] = last_words[g], i
        for d in range(first_draw[i], first_draw[i] + n_draws[i]):
            group = draw_group[d]
            known = 0 <= group < n_groups and searched_in[group] == i
            words[d] = of_group[group] if known else 0
            if not known and unknown < 0:
                unknown = d
    return unknown


@njit(cache=True)
def select(first_draw, n_draws, slot, rows_per_array, words, search, n_arrays, tail, busy, again):
    """Fill tail, busy and again[sampling] for ranks of which number j arrives at its array at cycle j.

    An array searches `words` of the draw, `search` cycles each: busy counts the cycles in which one does, tail those
    from the last rank's arrival to the end of the last search, again the words. Returns (-1, 0, 0), or the first
    (sampling, draw, draw) where two ranks meet in one array (the second draw >= 0) or their results at the root (the
    second = -1 - draw).
    """
    free = np.zeros(n_arrays, np.int64)
    by = np.zeros(n_arrays, np.int64)
    latest = 1
    for i in range(first_draw.shape[0]):
        for j in range(n_draws[i]):
            latest = max(latest, j + search * words[first_draw[i] + j] + 1)
    leaves = np.full(latest, -1, np.int64)  # the sampling of the last result that left then
    for i in range(first_draw.shape[0]):
        last, covered = 0, 0
        for j in range(n_draws[i]):
            d = first_draw[i] + j
            array = slot[d] // rows_per_array
            again[i] += words[d]
            lasts = search * words[d]
            if lasts > 0:
                if free[array] > j:
                    return i, by[array], j
                free[array], by[array] = j + lasts, j
                busy[i] += max(0, j + lasts - max(covered, j))
                covered = max(covered, j + lasts)
            if leaves[j + lasts] == i:
                for earlier in range(j):
                    if earlier + search * words[first_draw[i] + earlier] == j + lasts:
                        return i, earlier, -1 - j
            leaves[j + lasts] = i
            last = max(last, j + lasts)
        tail[i] = last - (n_draws[i] - 1) if n_draws[i] > 0 else 0
        for j in range(n_draws[i]):
            free[slot[first_draw[i] + j] // rows_per_array] = 0
    return -1, 0, 0


@njit(cache=True)
def write(first, count, slot, bank_of_array, rows_per_array, n_banks, way, cycles, latency):
    """Fill latency[op] of writes of `count` rows: row j reaches its bank at w + j, a bank writes one at a time."""
    free = np.zeros(n_banks, np.int64)
    for op in range(first.shape[0]):
        free[:] = 0
        last = 0
        for j in range(count[op]):
            bank = bank_of_array[slot[first[op] + j] // rows_per_array]
            free[bank] = max(free[bank], way + j) + cycles
            last = max(last, free[bank])
        latency[op] = last
