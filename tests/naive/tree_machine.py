"""The on-chip sum tree one clock cycle at a time: draws and rows that move from stage to stage.

Nothing here knows a formula: every function steps a clock, and every sum is a list.
"""

from collections import deque


class Tree:
    """Exact sums of codes; `levels[0]` is the root alone, `levels[-1]` are the leaves."""

    def __init__(self, codes, fan_out):
        self.fan_out = fan_out
        self.levels = [list(codes)]
        while len(self.levels[0]) > 1 or len(self.levels) == 1:
            below = self.levels[0]
            self.levels.insert(0, [sum(below[i : i + fan_out]) for i in range(0, len(below), fan_out)])

    def path(self, slot):
        """Return (level, word) from the leaf's parent up to the root."""
        result = []
        for level in range(len(self.levels) - 2, -1, -1):
            slot //= self.fan_out
            result.append((level, slot))
        return result

    def descend(self, rank):
        """Return the slot in whose share of the total `rank` lies: compare with the children, subtract."""
        word = 0
        for level in self.levels[1:]:
            child = word * self.fan_out
            while rank >= level[child]:
                rank -= level[child]
                child += 1
            word = child
        return word


def update(tree, rows, *, read, row_interval, forwarding):
    """Change the tree by `rows` of (slot, code); return the cycles until the last sum is stored.

    A row enters every `row_interval` cycles. Its leaf is read for `read` cycles and written as soon as the old
    code is known; the difference is formed in the next cycle, added above in the one after, stored in the last.
    Words above are read in the cycle before they are added to; with forwarding an addition also sees the sums
    that rows ahead have formed and not stored yet.
    """
    memory = tree.levels
    to_enter, inside, clock, stored = deque(rows), [], 0, 0
    latest_leaf, latest_sum = {}, {}  # formed, perhaps not stored yet
    while stored < len(rows):
        if to_enter and clock % row_interval == 0:
            inside.append({"row": to_enter.popleft(), "age": 0})
        writes = []  # visible from the next cycle on
        for item in inside:
            (slot, code), age = item["row"], item["age"]
            if age == read - 1:
                old = memory[-1][slot]
                item["old"] = latest_leaf.get(slot, old) if forwarding else old
                latest_leaf[slot] = code
            elif age == read:
                item["difference"] = code - item["old"]
                item["sums"] = {at: memory[at[0]][at[1]] for at in tree.path(slot)}
                writes.append((len(memory) - 1, slot, code))
            elif age == read + 1:
                for at, total in item["sums"].items():
                    before = latest_sum.get(at, total) if forwarding else total
                    item["sums"][at] = latest_sum[at] = before + item["difference"]
            elif age == read + 2:
                writes += [(level, word, total) for (level, word), total in item["sums"].items()]
                stored += 1
            item["age"] += 1
        for level, word, value in writes:
            memory[level][word] = value
        clock += 1
    return clock


class TreeClock:
    """Ops that come to the root in order, and their draws and rows on the way through the tree.

    Parameters
    ----------
    ops : list of (is_sampling, count, arrival)
        In order of arrival.
    draw, reads, route, pipelined, row_interval
        Cycles of the draw unit, of each level's memory, of a routing node; whether draws follow each other down
        the tree; cycles from row to row.
    """

    def __init__(self, ops, *, draw, reads, route, pipelined, row_interval):
        self.ops, self.pipelined, self.row_interval = ops, pipelined, row_interval
        descent = [cycles for r in reads for cycles in (r, route)]
        self.draw_stages = [draw, *descent] if pipelined else [draw]
        self.descent, self.row_stages = descent, [reads[-1], 1, 1, 1]
        self.left = [arrival if count == 0 else None for _, count, arrival in ops]
        self.to_issue = [count for _, count, _ in ops]
        self.to_leave = [count for _, count, _ in ops]
        self.queue = deque(i for i, (_, count, _) in enumerate(ops) if count)
        self.at_root, self.started, self.clock = None, 0, 0
        self.inside = []
        self.ranks = deque()  # ready, the tree not yet (one by one)

    def enter(self, op, stages, *, then_ranked=False):
        self.inside.append({"op": op, "stages": list(stages), "left": stages[0], "then_ranked": then_ranked})

    def move(self):
        """Let what has spent its cycles in a stage go on to the next, at the edge that opens this cycle."""
        taken = set()
        for item in list(self.inside):
            if item["left"]:
                continue
            item["stages"].pop(0)
            if item["stages"]:
                item["left"] = item["stages"][0]
                place = (self.ops[item["op"]][0], len(item["stages"]))
                assert place not in taken, "two in one stage in the same cycle"
                taken.add(place)
                continue
            self.inside.remove(item)
            if item["then_ranked"]:
                self.ranks.append(item["op"])
                continue
            self.to_leave[item["op"]] -= 1
            if self.to_leave[item["op"]] == 0:
                self.left[item["op"]] = self.clock

    def root_is_free(self):
        if self.at_root is None:
            return True
        sampling, count, _ = self.ops[self.at_root]
        if sampling and not self.pipelined:
            return self.left[self.at_root] is not None
        return self.clock - self.started == count * (1 if sampling else self.row_interval)

    def admit(self):
        """Let the next op to the root, unless it would meet the other kind in the tree."""
        if self.root_is_free():
            self.at_root = None
        if self.at_root is None and self.queue and self.ops[self.queue[0]][2] <= self.clock:
            kind = self.ops[self.queue[0]][0]
            if all(self.ops[item["op"]][0] == kind for item in self.inside):
                self.at_root, self.started = self.queue.popleft(), self.clock

    def issue(self):
        op = self.at_root
        if op is not None and self.to_issue[op]:
            if self.ops[op][0]:
                self.enter(op, self.draw_stages, then_ranked=not self.pipelined)
                self.to_issue[op] -= 1
            elif (self.clock - self.started) % self.row_interval == 0:
                self.enter(op, self.row_stages)
                self.to_issue[op] -= 1
        if self.ranks and all(item["then_ranked"] for item in self.inside):
            self.enter(self.ranks.popleft(), self.descent)

    def run(self):
        """Return the cycle in which each op has left the tree."""
        while self.queue or self.at_root is not None or self.inside:
            self.move()
            self.admit()
            self.issue()
            for item in self.inside:
                item["left"] -= 1
            self.clock += 1
            assert self.clock < 10**6
        return self.left
