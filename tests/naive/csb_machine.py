"""The associative machine one clock cycle and one address at a time: the slow obvious version.

Nothing here knows a formula: every function steps a clock, and every register is a variable.
"""

from collections import deque


class Csb:
    """Match latch, bank encoders, FIFOs and ports of one machine.

    A bank's encoder moves one word a cycle from the latch into its FIFO, if the FIFO had room when the cycle
    began; an arbiter has `width` ports, each of which moves one word a cycle out of the FIFO of one of the
    arbiter's banks, taking turns: the search for waiting banks begins after the bank served last.
    """

    def __init__(self, arbiters, n_banks, fifo_depth):
        self.arbiters = arbiters  # [(banks, width)]
        self.fifo_depth = fifo_depth
        self.latch = [0] * n_banks
        self.fifo = [0] * n_banks
        self.turn = [0] * len(arbiters)
        self.written = 0

    def empty(self):
        return not any(self.latch) and not any(self.fifo)

    def in_last_cycle_or_done(self):
        """Whether the latch is free: no port will need more than the cycle that begins now."""
        if any(self.latch):
            return False
        return all(
            sum(self.fifo[b] for b in banks) <= width and all(self.fifo[b] <= 1 for b in banks)
            for banks, width in self.arbiters
        )

    def step(self):
        before = list(self.fifo)
        for number, (banks, width) in enumerate(self.arbiters):
            begin, left = self.turn[number], width
            for i in range(len(banks)):
                place = (begin + i) % len(banks)
                if left and before[banks[place]]:
                    left -= 1
                    self.fifo[banks[place]] -= 1
                    self.written += 1
                    self.turn[number] = place + 1
        for bank, waiting in enumerate(self.latch):
            if waiting and before[bank] < self.fifo_depth:
                self.latch[bank] -= 1
                self.fifo[bank] += 1


def arbiters_of(n_banks, n_ports, *, shared=False):
    """Return who serves which banks with how many ports: one arbiter for all, or one a port."""
    banks = list(range(n_banks))
    return [(banks, n_ports)] if shared else [(banks[p::n_ports], 1) for p in range(n_ports)]


def range_attempt(words, matches, *, urng, query, way, search, csb):
    """Return the cycles of one attempt: `words[g]` searches, then `matches[g][bank]` words, per group."""
    written = csb.written
    pipeline = deque()  # [cycles left until the word is at the arrays, group]
    to_issue = deque(g for g, k in enumerate(words) for _ in range(k))
    at_arrays = deque()
    group, words_done, searching, result = 0, 0, 0, None
    clock = 0
    while True:
        # What becomes visible at the clock edge that opens this cycle.
        while pipeline and pipeline[0][0] == 0:
            at_arrays.append(pipeline.popleft()[1])
        if result is not None and csb.in_last_cycle_or_done():
            csb.latch = list(matches[result])
            result = None
        if group == len(words) and result is None and csb.empty():
            break
        if searching == 0 and result is None and group < len(words) and at_arrays and at_arrays[0] == group:
            at_arrays.popleft()
            searching = search
        # The cycle itself.
        if to_issue:
            pipeline.append([urng + query + way, to_issue.popleft()])
        for word in pipeline:
            word[0] -= 1
        csb.step()
        if searching:
            searching -= 1
            if searching == 0:
                words_done += 1
                if words_done == words[group]:
                    result, group, words_done = group, group + 1, 0
        clock += 1
    assert csb.written - written == sum(map(sum, matches))
    for _ in range(way + 1):  # the last address over the tree, and into the buffer
        clock += 1
    return clock


def draw(*, draw_cycles, batch_size):
    """Return the cycles from |CSP| to the last of `batch_size` slots, one rank a cycle."""
    pipeline, issued, done, clock = deque(), 0, 0, 0
    while done < batch_size:
        if issued < batch_size:
            pipeline.append(draw_cycles + 1)  # the buffer is read in the cycle after the pipeline
            issued += 1
        for i in range(len(pipeline)):
            pipeline[i] -= 1
        if pipeline[0] == 0:
            pipeline.popleft()
            done += 1
        clock += 1
    return clock


def nearest_attempt(rows, *, urng, query, way, search, best_match, count, compare):
    """Return the cycles of one attempt of AMPER-k; `rows` are ("count", words) and ("nearest", n)."""
    clock = 0
    for _ in range(urng + query):
        clock += 1
    for kind, n in rows:
        stages = []
        if kind == "count":
            stages = [way] + [search] * n + [count, way]
        else:
            for _ in range(n):
                stages += [way, best_match, compare, way]
        for stage in stages:
            for _ in range(stage):
                clock += 1
    return clock + 1  # the last address into the buffer


def write(banks, n_banks, *, way, write_cycles):
    """Return the cycles until row i of `banks[i]` is stored, for all i: one row a cycle enters the tree."""
    in_tree = deque()
    queue = [0] * n_banks
    busy = [0] * n_banks
    stored, issued, clock = 0, 0, 0
    while stored < len(banks):
        if issued < len(banks):
            in_tree.append([way, banks[issued]])
            issued += 1
        while in_tree and in_tree[0][0] == 0:
            queue[in_tree.popleft()[1]] += 1
        for bank in range(n_banks):
            if busy[bank] == 0 and queue[bank]:
                queue[bank] -= 1
                busy[bank] = write_cycles
        for bank in range(n_banks):
            if busy[bank]:
                busy[bank] -= 1
                stored += busy[bank] == 0
        for row in in_tree:
            row[0] -= 1
        clock += 1
    return clock
