"""The rank tree, and AMPER-k by bisection, one clock cycle at a time: the slow obvious version."""

from collections import deque


def n_words(lo, hi):
    """Return how many aligned blocks of powers of two make up lo .. hi, growing one at a time."""
    n = 0
    while lo <= hi:
        size = 1
        while lo % (2 * size) == 0 and lo + 2 * size - 1 <= hi:
            size *= 2
        lo, n = lo + size, n + 1
    return n


def bisection(key, radius, bits):
    """Return the words of every step of a bisection for `radius`, and of the range it finds, its ends apart."""
    top = 2**bits - 1

    def words(r):
        return n_words(max(0, key - r), min(top, key + r))

    low, high, steps = 0, top, []
    while low < high:
        middle = (low + high) // 2
        steps.append(words(middle))
        if middle < radius:
            low = middle + 1
        else:
            high = middle
    ends = {code for code in (key - high, key + high) if 0 <= code <= top}
    return steps, (words(high - 1) if high else 0) + len(ends)


def led_attempt(leads, matches, csb, *, start, way):
    """Return the cycles of one attempt in which group g is found `leads[g]` cycles after the load before."""
    clock, group, left, result = start, 0, leads[0] if leads else 0, None
    while True:
        if result is not None and csb.in_last_cycle_or_done():
            csb.latch, result = list(matches[result]), None
            left = leads[group] if group < len(leads) else 0
        if result is None and group < len(leads) and left == 0:
            result, group = group, group + 1
            if csb.in_last_cycle_or_done():
                csb.latch, result = list(matches[result]), None
                left = leads[group] if group < len(leads) else 0
                continue
        if group == len(leads) and result is None and csb.empty():
            return clock + way + 1
        csb.step()
        left = max(left - 1, 0)
        clock += 1


def counted_attempt(words, *, urng, query, way, search, tally):
    """Return the cycles until the last count is at the root: words searched one after another."""
    clock = urng + query + way
    for k in words:
        for _ in range(k):
            clock += search
    return clock + tally + way


def ranks(arrays, words, *, draw_cycles, way, route, search, select):
    """Return the cycles from |CSP| to the last of the addresses; rank j goes to `arrays[j]`, which searches words[j].

    Ranks leave the root one a cycle; an array serves one at a time, in order; so does the root what comes back.
    """
    down = deque((draw_cycles + j + way + route, j) for j in range(len(arrays)))  # (arrives, rank)
    queues = {a: deque() for a in arrays}
    busy = {}  # array: (ends, rank)
    back = []  # (arrives at the root, rank)
    collected, clock, free_at = 0, 0, 0
    while collected < len(arrays):
        for array, (ends, rank) in list(busy.items()):
            if ends == clock:
                del busy[array]
                back.append((clock + select + way, rank))
        while down and down[0][0] == clock:
            rank = down.popleft()[1]
            queues[arrays[rank]].append(rank)
        for array, queue in queues.items():
            while queue and array not in busy:
                rank = queue.popleft()
                if words[rank] == 0:
                    back.append((clock + select + way, rank))
                else:
                    busy[array] = (clock + words[rank] * search, rank)
        ready = sorted(entry for entry in back if entry[0] <= clock)
        if ready and clock >= free_at:
            back.remove(ready[0])
            free_at = clock + 1
            collected += 1
        clock += 1
    return clock
