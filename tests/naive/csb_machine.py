"""The associative machine one clock cycle and one address at a time: the slow obvious version.

Nothing here knows a formula: every function steps a clock, and every register is a variable.
"""

from collections import deque


class Csb:
    """Match latch, bank encoders, FIFOs and ports of one machine.

    A bank's encoder moves one address a cycle from the latch into its FIFO, if the FIFO had room when the
    cycle began; a port moves one address a cycle out of the FIFOs of its own banks, taking turns.
    """

    def __init__(self, port_of_bank, fifo_depth):
        self.port_of_bank = port_of_bank
        self.ports = sorted(set(port_of_bank))
        self.fifo_depth = fifo_depth
        self.latch = [0] * len(port_of_bank)
        self.fifo = [0] * len(port_of_bank)
        self.turn = dict.fromkeys(self.ports, 0)
        self.written = 0

    def banks_of(self, port):
        return [b for b, p in enumerate(self.port_of_bank) if p == port]

    def empty(self):
        return not any(self.latch) and not any(self.fifo)

    def in_last_cycle_or_done(self):
        """Whether the latch is free: no port will need more than the cycle that begins now."""
        if any(self.latch):
            return False
        return all(sum(self.fifo[b] for b in self.banks_of(p)) <= 1 for p in self.ports)

    def step(self):
        before = list(self.fifo)
        for port in self.ports:
            banks = self.banks_of(port)
            for i in range(len(banks)):
                bank = banks[(self.turn[port] + i) % len(banks)]
                if before[bank]:
                    self.fifo[bank] -= 1
                    self.written += 1
                    self.turn[port] = (self.turn[port] + i + 1) % len(banks)
                    break
        for bank, waiting in enumerate(self.latch):
            if waiting and before[bank] < self.fifo_depth:
                self.latch[bank] -= 1
                self.fifo[bank] += 1


def range_attempt(words, matches, *, urng, query, way, search, port_of_bank, fifo_depth=2):
    """Return the cycles of one attempt: `words[g]` searches, then `matches[g][bank]` addresses, per group."""
    csb = Csb(port_of_bank, fifo_depth)
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
    assert csb.written == sum(map(sum, matches))
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
