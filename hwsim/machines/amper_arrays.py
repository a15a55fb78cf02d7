"""The associative machine array by array and address by address: the slow reference, up to some 20,000 rows.

Every array is a process while it is searched; every count climbs its tree node by node, every rank descends it
node by node; every written row and every address is an event. Nothing is looked up that could be counted.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import simpy

from amper.trace import Trace
from hwsim.component import Component
from hwsim.cost import tree_levels
from hwsim.machines.amper_processes import AmperProcesses

if TYPE_CHECKING:
    from hwsim.machines.amper import AmperMachine

Steps = Generator[simpy.Event, Any, None]


class ArrayProcesses(AmperProcesses):
    """As `AmperProcesses`, with nothing summed up inside an op."""

    _by_address = True

    def __init__(
        self, machine: AmperMachine, env: simpy.Environment, trace: Trace, components: Mapping[str, Component]
    ) -> None:
        super().__init__(machine, env, trace, components)
        n_blocks = machine.geometry.n_blocks
        self._levels = tree_levels(n_blocks, 16), tree_levels(n_blocks, 4)
        self._nodes: dict[tuple[int, int], simpy.Resource] = {}
        self._collector = simpy.Resource(env)

    # -- all arrays, and the trees above them -------------------------------------------------------
    def _spend(self, cycles: int, after: Sequence[simpy.Event] = ()) -> Steps:
        """Take `cycles` once everything in `after` has happened."""
        if after:
            yield self._env.all_of(after)
        yield self._cycles(cycles)

    def _all_arrays(self, cycles: int) -> Steps:
        """Let every array work for `cycles`, each a process of its own."""
        env = self._env
        yield env.all_of([env.process(self._spend(cycles)) for _ in range(self._machine.geometry.n_arrays)])

    def _up(self, at_leaf: int, at_node: int) -> Steps:
        """Let something climb from every block to the root: `at_leaf` cycles, then `at_node` a level."""
        env, n_blocks = self._env, self._machine.geometry.n_blocks
        nodes = [env.process(self._spend(at_leaf)) for _ in range(n_blocks)]
        while len(nodes) > 1:
            families = [nodes[i : i + 16] for i in range(0, len(nodes), 16)]
            nodes = [env.process(self._spend(at_node, children)) for children in families]
        yield nodes[0]

    def _count(self) -> Steps:
        """Count matches block by block, add them up node by node."""
        levels, _ = self._levels
        add = (self._costs.tally - self._costs.population) // levels if levels else 0
        yield from self._up(self._costs.population, add)

    # -- searching ----------------------------------------------------------------------------------
    def _search_words(self, g: int) -> Steps:
        for row in self._trace.searches[self._plan.row[g] : self._plan.row[g + 1]]:
            if self._machine.variant == "amper-fr":
                yield from self._search_arrays(int(row["n_ternary_words"]))
            elif row["n_neighbours"]:
                yield from self._bisect(row)
            else:
                yield from self._count_arrays(int(row["n_ternary_words"]), self._costs.multiply)

    def _search_arrays(self, n_words: int) -> Steps:
        for _ in range(n_words):
            yield from self._all_arrays(self._costs.search)

    def _count_arrays(self, n_words: int, compared: int) -> Steps:
        """Count what `n_words` words match, and multiply or compare for `compared` cycles."""
        yield self._cycles(self._costs.way)
        yield from self._search_arrays(n_words)
        yield from self._count()
        yield self._cycles(self._costs.way + compared)

    def _bisect(self, row: Any) -> Steps:
        """Halve the interval that holds the radius, a count at a time; then search the range found."""
        c, top = self._costs, 2**self._trace.header.bits - 1
        key, radius = int(row["key"]), int(max(row["key"] - row["lo"], row["hi"] - row["key"]))
        low, high = 0, top
        while low < high:
            middle = (low + high) // 2
            yield from self._count_arrays(len(words_of(max(0, key - middle), min(top, key + middle))), 1)
            low, high = (low, middle) if middle >= radius else (middle + 1, high)
        yield self._cycles(c.way)
        inside = words_of(max(0, key - high + 1), min(top, key + high - 1))
        at_radius = {code for code in (key - high, key + high) if 0 <= code <= top}
        yield from self._search_arrays(len(inside) + len(at_radius))
        if self._machine.readout == "rank_select" and not self._machine.unique:
            yield from self._count()
            yield self._cycles(c.way)

    def _climb(self, cycles: int) -> Steps:
        del cycles
        if self._machine.variant == "amper-fr" or self._machine.unique:
            yield from self._count()
            yield self._cycles(self._costs.way)

    def _best_matches(self, n: int) -> Steps:
        c, levels = self._costs, self._levels[0]
        for _ in range(n):
            yield self._cycles(c.way)
            yield from self._all_arrays(c.best_match)
            yield from self._up(1, (c.compare - 2) // levels if levels else 0)
            yield self._cycles(1 + c.way)

    # -- drawing from the rank tree -----------------------------------------------------------------
    def _select(self, op: int, first: int, b: int, phases: dict[str, int], hold: Any) -> Steps:
        env, c, period = self._env, self._costs, self._period
        root = int(env.now) + c.draw * period
        self._work("htree_down", op, b, b * c.rank_down_aj, after=c.draw)
        self._work("rank_tree", op, b, b * c.route_aj, after=c.draw)
        self._work("selectors", op, b, b * c.select_aj, after=c.draw)
        yield self._cycles(c.draw)
        searched = [env.event() for _ in range(b)]
        ranks = []
        for j in range(b):
            ranks.append(env.process(self._rank(op, first + j, searched[j])))
            yield self._cycles(1)
        yield env.all_of(searched)
        self._give_back(hold)
        yield env.all_of(ranks)
        phases["select"] += (int(env.now) - root) // period - b

    def _node(self, level: int, number: int) -> simpy.Resource:
        return self._nodes.setdefault((level, number), simpy.Resource(self._env))

    def _rank(self, op: int, draw: int, searched: simpy.Event) -> Steps:
        """Follow one rank down to its array, and its address up to the root."""
        c, levels = self._costs, self._levels[1]
        slot, words = int(self._trace.draws["slot"][draw]), int(self._plan.again[draw])
        array = slot // self._machine.rows_per_array
        block = slot // min(64, self._machine.rows_per_array)
        yield self._cycles(c.way)
        for level in range(levels):
            with self._node(level, block // 4 ** (levels - level)).request() as grant:
                yield grant
                yield self._cycles(1)
            yield self._cycles(c.route // levels - 1)
        if words:
            with self._node(-1, array).request() as grant:
                arrived = int(self._env.now)
                yield grant
                self._components["rank_tree"].wait(op, arrived, int(self._env.now) - arrived, "array")
                self._work("arrays", op, words * c.search, words * c.array_aj)
                for _ in range(words):
                    yield self._cycles(c.search)
        searched.succeed()
        yield self._cycles(c.select + c.way)
        with self._collector.request() as grant:
            yield grant
            self._work("htree_up", op, 1, c.address_up_aj)
            yield self._cycles(1)


def words_of(lo: int, hi: int) -> list[tuple[int, int]]:
    """Return the aligned blocks (first code, size) that make up lo .. hi: one ternary word each.

    Examples
    --------
    >>> words_of(3, 8)
    [(3, 1), (4, 4), (8, 1)]
    """
    words = []
    while lo <= hi:
        size = 1
        while lo % (2 * size) == 0 and lo + 2 * size <= hi + 1:
            size *= 2
        words.append((lo, size))
        lo += size
    return words
