"""The associative machine as processes: events where hardware is shared between ops, durations everywhere else.

A sampling has the query generator, the buffer and the draw unit to itself until it ends; it shares the arrays
with writes. With a buffer, every search takes all banks and gives them back once its matches are latched; with
a rank tree a sampling keeps them until its last rank was selected, for the counts must stay true.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

import simpy

from amper.trace import OpKind, Trace
from hwsim.component import Component
from hwsim.locks import Hold, Lock
from hwsim.machines.amper_closed import back_end, front_end
from hwsim.machines.amper_readout import Buffer, Drain, PortDrains, WordDrains

if TYPE_CHECKING:
    from hwsim.machines.amper import AmperMachine

Steps = Generator[simpy.Event, Any, None]


class AmperProcesses:
    """Queries, searches, drains, draws and writes of one machine on one trace.

    Parameters
    ----------
    machine : AmperMachine
        Costs and geometry.
    env : simpy.Environment
        Clock, in femtoseconds.
    trace : Trace
        What is served.
    components : mapping
        Accounts by component name.
    """

    def __init__(
        self, machine: AmperMachine, env: simpy.Environment, trace: Trace, components: Mapping[str, Component]
    ) -> None:
        self._machine, self._env, self._components, self._trace = machine, env, components, trace
        self._costs, self._period = machine.costs, machine.costs.period_fs
        self._plan = machine.plan(trace)
        self._sampler, self._write_bus = Lock(env), Lock(env)
        self._banks = Lock(env, machine.n_banks)
        self._bank_of_array = machine.bank_of_array()
        self._rows: list[deque[tuple[int, _Stored]]] = [deque() for _ in range(machine.n_banks)]
        self._has_rows = [env.event() for _ in range(machine.n_banks)]
        for bank in range(machine.n_banks):
            env.process(self._write_port(bank))
        self._drains: PortDrains | WordDrains | None = None
        if machine.drains:
            drains = WordDrains if machine.pauses or self._by_address else PortDrains
            self._drains = drains(machine, env, trace, self._plan, components)

    #: Whether every address is an event of its own, though no bank pauses.
    _by_address = False

    def perform(self, op: int) -> Generator[simpy.Event, Any, dict[str, int]]:
        """Run op number `op` of the trace; return its phases in femtoseconds (empty for writes)."""
        row = self._trace.ops[op]
        if row["kind"] != OpKind.SAMPLE:
            yield from self._write(op, int(row["first"]), int(row["count"]))
            return {}
        phases = dict.fromkeys(self._machine.phases, 0)
        with self._sampler.request(0, op) as turn, Hold(self._banks, None) as hold:
            asked = int(self._env.now)
            yield turn.granted
            self._waited("query_generator", op, asked, "sampling")
            yield from self._sample(op, int(row["first"]), phases, hold)
        return {name: cycles * self._period for name, cycles in phases.items()}

    # -- small helpers ------------------------------------------------------------------------------
    def _cycles(self, n: int) -> simpy.Event:
        return self._env.timeout(n * self._period)

    def _work(self, name: str, op: int, cycles: int, energy_aj: int, *, after: int = 0, n_units: int = 1) -> None:
        """Enter work of a component that begins `after` cycles from now."""
        start = int(self._env.now) + after * self._period
        self._components[name].work(op, start, cycles * self._period, energy_aj, n_units)

    def _granted(self, hold: Hold, component: str, op: int, cause: str) -> Steps:
        """Wait until `hold` is granted; enter the wait as the component's."""
        asked = int(self._env.now)
        yield hold.granted
        self._waited(component, op, asked, cause)

    def _waited(self, component: str, op: int, since_fs: int, cause: str) -> None:
        """Enter that a component waited from then until now, if it did."""
        waited = int(self._env.now) - since_fs
        if waited:
            self._components[component].wait(op, since_fs, waited, cause)

    def _give_back(self, hold: Hold) -> None:
        """Release the arrays if the sampling still has them."""
        if hold.state == "held":
            self._banks.release(hold)

    # -- sampling -----------------------------------------------------------------------------------
    def _sample(self, op: int, row: int, phases: dict[str, int], hold: Hold) -> Steps:
        c, plan, sample = self._costs, self._plan, self._trace.samples[row]
        loads = range(int(plan.first[row]), int(plan.first[row] + plan.n[row]))
        for _, attempt in groupby(loads, key=lambda g: int(plan.attempt[g])):
            yield from self._attempt(op, list(attempt), phases, hold)
        for _ in range(int(plan.n_empty[row])):
            self._work("urng", op, c.urng, c.urng_aj)
            phases["query"] += c.urng
            yield self._cycles(c.urng)
        b = int(sample["batch_size"])
        self._work("urng", op, b, b * c.urng_aj)
        self._work("draw_unit", op, c.draw + b, b * c.draw_aj)
        phases["draw"] += c.draw + b
        if sample["fallback"]:  # any row will do: nothing is looked up
            self._give_back(hold)
            yield self._cycles(c.draw + b)
        elif self._machine.readout != "rank_select":
            self._work("csb", op, b, b * c.csb_aj, after=c.draw)
            if self._machine.drains:
                self._work("htree_up", op, b, b * c.draw_up_aj, after=c.draw)
            phases["draw"] += c.csb_read - 1
            yield self._cycles(c.draw + b + c.csb_read - 1)
        else:
            if self._machine.unique:  # the latches keep what matched
                self._give_back(hold)
            yield from self._select(op, int(sample["first_draw"]), b, phases, hold)

    def _attempt(self, op: int, loads: Sequence[int], phases: dict[str, int], hold: Hold) -> Steps:
        """Search every group, and bring |CSP| to the root."""
        c, plan, machine = self._costs, self._plan, self._machine
        words = int(plan.n_words[loads].sum())
        keys = int(plan.n_keys[loads].sum())
        self._work("urng", op, c.urng - 1 + keys, keys * c.urng_aj)
        self._work("query_generator", op, c.query - 1 + words, words * c.query_aj, after=c.urng)
        start = front_end(machine)
        phases["query"] += start
        yield self._cycles(start)
        if machine.readout == "rank_select":
            yield from self._counted(op, loads, phases, hold)
        elif machine.drains:
            yield from self._drained(op, loads, phases)
        else:
            yield from self._nearest(op, loads, phases)

    def _counted(self, op: int, loads: Sequence[int], phases: dict[str, int], hold: Hold) -> Steps:
        """Search every group while the counts of the one before climb the tree, which keeps them."""
        c, plan, unique = self._costs, self._plan, self._machine.unique
        if hold.state == "new":
            self._banks.ask(hold)
            yield from self._granted(hold, "arrays", op, "write")
        for g in loads:
            yield from self._search(op, g, phases)
            kept = int(plan.kept[g])
            if kept:
                self._work("rank_tree", op, kept, kept * c.keep_aj)
        if unique:
            self._tally(op, 1)
        phases["count"] += back_end(self._machine)
        yield from self._climb(back_end(self._machine))

    def _climb(self, cycles: int) -> Steps:
        """Let the last count climb to the root."""
        yield self._cycles(cycles)

    def _search(self, op: int, g: int, phases: dict[str, int]) -> Steps:
        """Search all words of a load, counts between them included."""
        c, plan = self._costs, self._plan
        count, search, words = int(plan.count[g]), int(plan.search[g]), int(plan.n_words[g])
        self._work("htree_down", op, words, words * c.key_down_aj)
        self._work("arrays", op, words * c.search, words * c.search_aj, n_units=self._machine.geometry.n_arrays)
        self._tally(op, int(plan.n_tallies[g]))
        products = int(plan.n_products[g])
        if products:
            self._work("multiplier", op, products, products * c.multiply_aj)
        if count:
            phases["count"] += count
        phases["search"] += search
        yield from self._search_words(g)

    def _search_words(self, g: int) -> Steps:
        """Take the time of a load's searches and counts."""
        yield self._cycles(int(self._plan.count[g] + self._plan.search[g]))

    def _tally(self, op: int, n: int) -> None:
        if n:
            self._work("counters", op, n, n * (self._costs.tally_aj + self._costs.counts_up_aj))

    def _drained(self, op: int, loads: Sequence[int], phases: dict[str, int]) -> Steps:
        """Search every group; drain each group's matches while the next one is searched."""
        machine, plan = self._machine, self._plan
        assert self._drains is not None
        buffer = Buffer(machine.part_capacity, plan.matches.shape[1])
        drain: Drain | None = None
        drains: list[Drain] = []
        for g in loads:
            with self._banks.request(None) as hold:
                yield from self._granted(hold, "arrays", op, "write")
                yield from self._search(op, g, phases)
            # The match latch is double-buffered: the arrays are free again though what they found still waits.
            found = int(self._env.now)
            if drain is not None:
                yield from drain.latch_free()
            waited = (int(self._env.now) - found) // self._period
            if waited:
                self._components["arrays"].wait(op, found, waited * self._period, "readout")
                phases["search"] -= int(plan.search[g])
                phases["readout"] += int(plan.search[g]) + waited
            drain = self._drains.start(op, g, buffer)
            drains += [drain] if drain is not None else []
        loaded = int(self._env.now)
        for each in drains:
            yield from each.ended()
        yield self._cycles(back_end(machine))
        phases["readout"] += (int(self._env.now) - loaded) // self._period

    def _nearest(self, op: int, loads: Sequence[int], phases: dict[str, int]) -> Steps:
        """Count every group, then find its neighbours one best match at a time."""
        c, plan = self._costs, self._plan
        buffer = Buffer(self._machine.part_capacity, 1)
        for g in loads:
            n = int(plan.n_neighbours[g])
            with self._banks.request(None) as hold:
                yield from self._granted(hold, "arrays", op, "write")
                if n == 0:
                    yield from self._search(op, g, phases)
                    continue
                # One burst; each component's shares are laid end to end inside it.
                self._work("htree_down", op, n, n * c.key_down_aj)
                energy = n * c.best_match_aj
                self._work("arrays", op, n * c.best_match, energy, n_units=self._machine.geometry.n_arrays)
                self._work("encoders", op, n, n * c.encode_aj)
                self._work("compare_tree", op, n * (c.compare - 1), n * (c.compare_aj + c.winner_up_aj))
                self._work("csb", op, n, buffer.take(n) * c.csb_aj, after=1)
                phases["search"] += n * c.best_match
                phases["readout"] += n * (2 * c.way + c.compare)
                yield from self._best_matches(n)
        phases["readout"] += back_end(self._machine)
        yield self._cycles(back_end(self._machine))

    def _best_matches(self, n: int) -> Steps:
        """Find `n` nearest codes, one after another."""
        c = self._costs
        yield self._cycles(n * (2 * c.way + c.best_match + c.compare))

    # -- drawing from the rank tree -----------------------------------------------------------------
    def _select(self, op: int, first: int, b: int, phases: dict[str, int], hold: Hold) -> Steps:
        """Send b ranks down the tree, one a cycle; their arrays search again and select, in order of arrival."""
        c, period = self._costs, self._period
        root = int(self._env.now) + c.draw * period
        self._work("htree_down", op, b, b * c.rank_down_aj, after=c.draw)
        self._work("rank_tree", op, b, b * c.route_aj, after=c.draw)
        self._work("selectors", op, b, b * c.select_aj, after=c.draw)
        free: dict[int, int] = {}
        results, searched = [], root
        for j in range(b):
            array = int(self._trace.draws["slot"][first + j]) // self._machine.rows_per_array
            words = int(self._plan.again[first + j])
            arrives = root + (j + c.way + c.route) * period
            at = max(arrives, free.get(array, 0)) if words else arrives
            if words:
                free[array] = searched_now = at + words * c.search * period
                self._components["arrays"].work(op, at, searched_now - at, words * c.array_aj)
                if at > arrives:
                    self._components["rank_tree"].wait(op, arrives, at - arrives, "array")
                searched = max(searched, searched_now)
            results.append(at + (words * c.search + c.select + c.way) * period)
        end = root
        for ready in sorted(results):
            self._components["htree_up"].work(op, max(ready, end), period, c.address_up_aj)
            end = max(ready, end) + period
        yield self._env.timeout(searched - int(self._env.now))
        self._give_back(hold)
        phases["select"] += (end - root) // period - b
        yield self._env.timeout(end - int(self._env.now))

    # -- writing ------------------------------------------------------------------------------------
    def _write(self, op: int, first: int, count: int) -> Steps:
        """Send rows down their own tree, one a cycle, to the queues of their banks; wait until all are stored."""
        if count == 0:
            return
        with self._write_bus.request(0, op) as turn:
            asked = int(self._env.now)
            yield turn.granted
            self._waited("write_bus", op, asked, "write")
            rows = self._trace.writes["slot"][first : first + count] // self._machine.rows_per_array
            start, stored = int(self._env.now) + self._costs.way * self._period, _Stored(self._env, op, count)
            self._work("write_bus", op, count, count * self._costs.row_down_aj)
            banks = self._bank_of_array[rows].tolist()
            for j, bank in enumerate(banks):
                self._rows[bank].append((start + j * self._period, stored))
            for bank in set(banks):
                if not self._has_rows[bank].triggered:
                    self._has_rows[bank].succeed()
            yield self._cycles(count)
        yield from stored.wait()

    def _write_port(self, bank: int) -> Steps:
        """Write the rows of a bank's queue, for ever: all of an op that have arrived at once, unless a search asks."""
        env, rows, lasts = self._env, self._rows[bank], self._costs.write * self._period
        while True:
            if not rows:
                self._has_rows[bank] = env.event()
                yield self._has_rows[bank]
            if env.now < rows[0][0]:
                yield env.timeout(rows[0][0] - int(env.now))
            with self._banks.request(bank) as hold:
                stored = rows[0][1]
                yield from self._granted(hold, "write_ports", stored.op, "search")
                start = int(env.now)
                n = 1 if self._by_address else _arrived(rows, start)
                yield env.timeout(n * lasts) | hold.wanted
                if env.now < start + n * lasts:  # a search waits: the row being written is the last one
                    n = max(1, -(-(int(env.now) - start) // lasts))
                    if env.now < start + n * lasts:
                        yield env.timeout(start + n * lasts - int(env.now))
            for _ in range(n):
                rows.popleft()
            self._components["write_ports"].work(stored.op, start, n * lasts, n * self._costs.write_aj)
            stored.count(n)


class _Stored:
    """How many rows of an op are yet to be stored."""

    def __init__(self, env: simpy.Environment, op: int, n: int) -> None:
        self.op, self._left, self._all = op, n, env.event()

    def count(self, n: int) -> None:
        """Count `n` rows as stored."""
        self._left -= n
        if self._left == 0:
            self._all.succeed()

    def wait(self) -> Steps:
        """Wait until all are."""
        if not self._all.processed:
            yield self._all


def _arrived(rows: deque[tuple[int, _Stored]], now: int) -> int:
    """Return how many rows of the first one's op, in order of arrival, are there by now."""
    n, first = 0, rows[0][1]
    for arrives, stored in rows:
        if arrives > now or stored is not first:
            break
        n += 1
    return n
