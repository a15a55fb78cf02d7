"""Two ways from the matches of a sampling to a draw: move them all into a buffer, or count them and select one.

`lines[g, row]` is whether the search of group g raised the match line of a row; rows stand in arrays of equal size, the
last one filled up with padding rows. A draw is a rank below |CSP|, the number of match lines raised in all.
"""

from collections import deque

import numpy as np

FAN_OUT = 16  # children of a node of the adder tree
RADIX = 4  # of one step of the descent: two steps a node


def rank_of(numbers, n_csp):
    """Return the ranks that 32-bit uniform numbers fall on."""
    return (numbers.astype(np.uint64) * np.uint64(n_csp)) >> np.uint64(32)


def counts_per_array(lines, rows_per_array):
    """Return the population counts, int[groups, arrays]."""
    return lines.reshape(len(lines), -1, rows_per_array).sum(axis=2)


# -- csb: everything is moved -------------------------------------------------------------------------
def csb_order(lines, *, n_banks, n_ports, rows_per_array, contiguous=False, fifo_depth=2):
    """Return [(group, row), ...] in the order in which the buffer receives addresses, a clock cycle at a time.

    Array a lies in bank a mod n_banks, or in bank a div ceil(arrays / n_banks); bank b is served by port b mod
    n_ports. A cycle: every port takes one address out of the FIFOs of its banks, taking turns, lower ports into lower
    places of the buffer; every bank's encoder moves one address from the match latch into its FIFO, if that had room
    when the cycle began. The latch is loaded with the next group's matches when everything of the last one is stored.
    """
    n_arrays = lines.shape[1] // rows_per_array
    per_bank = -(-n_arrays // n_banks)
    buffer = []
    turn = [0] * n_ports
    for group, line in enumerate(lines):
        latch = [deque() for _ in range(n_banks)]
        for row in np.flatnonzero(line).tolist():
            array = row // rows_per_array
            latch[array // per_bank if contiguous else array % n_banks].append((group, row))
        fifo = [deque() for _ in range(n_banks)]
        while any(latch) or any(fifo):
            waiting = [len(f) for f in fifo]
            for port in range(n_ports):
                banks = list(range(port, n_banks, n_ports))
                for i in range(len(banks)):
                    bank = banks[(turn[port] + i) % len(banks)]
                    if waiting[bank]:
                        buffer.append(fifo[bank].popleft())
                        turn[port] = (turn[port] + i + 1) % len(banks)
                        break
            for bank in range(n_banks):
                if latch[bank] and waiting[bank] < fifo_depth:
                    fifo[bank].append(latch[bank].popleft())
    return buffer


# -- rank_select: nothing is moved --------------------------------------------------------------------
class CountTree:
    """The adder tree after pass 1: every node keeps its children's counts, for each group.

    `levels[0]` are the arrays' counts, int[groups, arrays], the last level the groups' totals, int[groups, 1].
    """

    def __init__(self, counts):
        self.levels = [counts]
        while self.levels[-1].shape[1] > 1:
            below = self.levels[-1]
            short = -below.shape[1] % FAN_OUT
            below = np.pad(below, ((0, 0), (0, short)))
            self.levels[-1] = below
            self.levels.append(below.reshape(len(below), -1, FAN_OUT).sum(axis=2))

    @property
    def totals(self):
        """Matches of each group."""
        return self.levels[-1][:, 0]

    def descend(self, groups, rests, passes=np.greater_equal):
        """Return the array that holds match number `rests[i]` of `groups[i]`, and which of the array's it is."""
        node = np.zeros(len(rests), np.int64)
        for level in reversed(self.levels[:-1]):
            first = FAN_OUT * node
            quads = np.stack([level[groups, first + i] for i in range(FAN_OUT)], axis=1)
            quads = quads.reshape(-1, RADIX, RADIX)
            quad, rests = step(quads.sum(axis=2), rests, passes)
            child, rests = step(quads[np.arange(len(quad)), quad], rests, passes)
            node = first + RADIX * quad + child
        return node, rests


def step(counts, rests, passes):
    """Compare and subtract: skip each child whose count the rest reaches; the last one is not compared."""
    child, stays = np.zeros(len(rests), np.int64), np.zeros(len(rests), bool)
    for i in range(counts.shape[1] - 1):
        stays = stays | ~passes(rests, counts[:, i])
        rests = np.where(stays, rests, rests - counts[:, i])
        child = np.where(stays, child, i + 1)
    return child, rests


def pick_group(totals, ranks):
    """Return the group each rank falls in, by the groups' counts added up, and its rank inside the group."""
    ends = np.cumsum(totals)
    groups = (ranks[:, None] >= ends[None, :]).sum(axis=1)
    return groups, ranks - (ends - totals)[groups]


def select(line, rest):
    """Return the place of match number `rest` of an array's match lines, -1 where there are fewer."""
    found = np.full(len(rest), -1)
    seen = np.zeros(len(rest), np.int64)
    for place in range(line.shape[1]):
        found = np.where(line[:, place] & (seen == rest), place, found)
        seen = seen + line[:, place]
    return found


def rank_select(tree, ranks, search_again, rows_per_array, passes=np.greater_equal):
    """Return (groups, rows) of ranks; row -1 where the array has no such match.

    `search_again(groups, arrays)` returns the match lines of one array a rank, bool[ranks, rows_per_array].
    """
    groups, rests = pick_group(tree.totals, ranks.astype(np.int64))
    arrays, rests = tree.descend(groups, rests, passes)
    places = select(search_again(groups, arrays), rests)
    return groups, np.where(places >= 0, rows_per_array * arrays + places, -1)
