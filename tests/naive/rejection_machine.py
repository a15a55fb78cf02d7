"""On-chip rejection one clock cycle at a time, and the law it draws from, row by row.

Nothing here knows a formula: every function steps a clock, and every number counted is an action.
"""

from collections import Counter, deque

import numpy as np


def largest_overlap(ranges, top):
    """Return how many of the ranges lo .. hi (inclusive) lie over the most covered of the codes 0 .. top."""
    cover = np.zeros(top + 1, np.int64)
    for lo, hi in ranges:
        cover[lo : hi + 1] += 1
    return int(cover.max())


def draw_slots(rng, codes, ranges, n_draws, *, by_multiplicity=True):
    """Return `n_draws` slots by rejection and the tries it took: k of k_max in a slot found by k ranges."""
    most = largest_overlap(ranges, 2**16 - 1) if by_multiplicity else 1
    slots, tries = [], 0
    while len(slots) < n_draws:
        tries += 1
        slot = int(rng.integers(len(codes)))
        k = sum(lo <= codes[slot] <= hi for lo, hi in ranges)
        if rng.integers(most) < k:
            slots.append(slot)
    return np.array(slots), tries


class Pipeline:
    """Items move through stages, one cycle after the other; `entered` counts what entered each stage."""

    def __init__(self, stages):
        self.stages = stages
        self.entered = Counter()
        self.items = deque()

    def enter(self, item):
        self.items.append([item, 0, 0])  # item, stage, cycles spent in it

    def step(self):
        """Run one cycle; return the items that are through at its end, in order."""
        through = []
        for entry in self.items:
            name, cycles = self.stages[entry[1]]
            if entry[2] == 0:
                self.entered[name] += 1
            entry[2] += 1
            if entry[2] == cycles:
                entry[1], entry[2] = entry[1] + 1, 0
                if entry[1] == len(self.stages):
                    through.append(entry[0])
        self.items = deque(e for e in self.items if e[1] < len(self.stages))
        return through


class RejectionClock:
    """One sampling, phase after phase; `acted` counts how often each unit acted.

    Parameters
    ----------
    n_lanes, urng, query, address, read, accept, max_tries
        The machine's.
    """

    def __init__(self, *, n_lanes, urng, query, address, read, accept, max_tries):
        self.n_lanes, self.max_tries, self.address, self.accept = n_lanes, max_tries, address, accept
        self.front = [("urng", urng), ("query", query)]
        self.lane = [("address", address), ("read", read), ("compare", 1), ("count", accept)]
        self.acted, self.clock = Counter(), 0

    def sample(self, n_ranges, gaps, batch_size, *, sweep=True):
        """Return the cycles of one sampling.

        `gaps`: tries from one accepted to the next; as many as draws, or none if no try can be accepted. `sweep`:
        whether the largest overlap must be found.
        """
        self.through(self.front if n_ranges else self.front[:1], max(n_ranges, 1))
        if n_ranges and sweep:
            self.through([("compare", 1), ("count", self.accept)], n_ranges)
        left = self.tries(gaps, batch_size) if n_ranges and batch_size else batch_size
        # The addresses of the tries are under way; without tries the first ones have to be made.
        self.uniform(left, ahead=0 if n_ranges else self.address - 1)
        return self.clock

    def through(self, stages, n_items):
        """Pass items through a pipeline, one a cycle."""
        pipeline, to_enter, done = Pipeline(stages), n_items, 0
        while done < n_items:
            if to_enter:
                pipeline.enter(None)
                to_enter -= 1
            done += len(pipeline.step())
            self.clock += 1
        self.acted.update(pipeline.entered)

    def tries(self, gaps, batch_size):
        """Return the draws left when the machine stops: none, or it has given up."""
        lanes, hits = Pipeline(self.lane), set(np.cumsum(gaps).tolist())
        left, number, failed = batch_size, 0, 0
        while left and failed < self.max_tries:
            for _ in range(self.n_lanes):
                number += 1
                lanes.enter(number)
                self.acted["urng"] += 2
            for decided in lanes.step():
                if left and failed < self.max_tries:
                    left, failed = (left - 1, 0) if decided in hits else (left, failed + 1)
            self.clock += 1
        self.acted.update(lanes.entered)
        return left

    def uniform(self, left, *, ahead):
        to_address = left
        while left > 0:
            if to_address > 0:
                self.acted["address"] += self.n_lanes
                self.acted["urng"] += self.n_lanes
                to_address -= self.n_lanes
            if ahead:
                ahead -= 1
            else:
                left -= self.n_lanes
            self.clock += 1


def write(slots, n_lanes, *, read):
    """Return the cycles until every row is stored: each bank takes one a cycle, on its way `read` cycles long."""
    queues = [deque() for _ in range(n_lanes)]
    for slot in slots:
        queues[slot % n_lanes].append(slot)
    under_way, stored, clock = [], 0, 0
    while stored < len(slots):
        for queue in queues:
            if queue:
                queue.popleft()
                under_way.append(read)
        under_way = [cycles - 1 for cycles in under_way]
        stored += under_way.count(0)
        under_way = [cycles for cycles in under_way if cycles]
        clock += 1
    return clock
