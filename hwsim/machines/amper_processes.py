"""The associative machine as processes: events only where hardware is shared, durations everywhere else."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Generator, Mapping
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

import simpy

from amper.trace import OpKind, Trace
from hwsim.component import Component

if TYPE_CHECKING:
    from hwsim.machines.amper import AmperMachine

Steps = Generator[simpy.Event, Any, None]


class _Search(NamedTuple):
    attempt: int
    n_words: int
    n_neighbours: int
    counts: list[tuple[int, int]]  # (bank, matches) of the banks that matched


class _Buffer:
    """The candidate-set buffer during one attempt: how many addresses still fit."""

    def __init__(self, capacity: int) -> None:
        self.free = capacity

    def take(self, n: int) -> int:
        """Return how many of `n` addresses are stored; the rest is lost."""
        stored = min(n, self.free)
        self.free -= stored
        return stored


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
        self._machine, self._env, self._components = machine, env, components
        self._costs, self._period = machine.costs, machine.costs.period_fs
        self._trace = trace
        self._counts = machine.bank_counts(trace) if machine.variant == "amper-fr" else None
        self._arrays = simpy.Resource(env)
        self._csb_ports = [simpy.Resource(env) for _ in range(machine.n_csb_ports)]
        self._write_ports = [simpy.Resource(env) for _ in range(machine.n_banks)]

    def perform(self, op: int) -> Generator[simpy.Event, Any, dict[str, int]]:
        """Run op number `op` of the trace; return its phases in femtoseconds (empty for writes)."""
        row = self._trace.ops[op]
        if row["kind"] != OpKind.SAMPLE:
            yield from self._write(op, int(row["first"]), int(row["count"]))
            return {}
        phases = dict.fromkeys(self._machine.phases, 0)
        yield from self._sample(op, int(row["first"]), phases)
        return phases

    # -- small helpers ------------------------------------------------------------------------------
    def _cycles(self, n: int) -> simpy.Event:
        return self._env.timeout(n * self._period)

    def _work(self, name: str, op: int, cycles: int, energy_aj: int, *, after: int = 0) -> None:
        """Enter work of a component that begins `after` cycles from now."""
        start = int(self._env.now) + after * self._period
        self._components[name].work(op, start, cycles * self._period, energy_aj)

    # -- sampling -----------------------------------------------------------------------------------
    def _sample(self, op: int, row: int, phases: dict[str, int]) -> Steps:
        c, sample = self._costs, self._trace.samples[row]
        attempts = [list(rows) for _, rows in groupby(self._searches(row), key=lambda s: s.attempt)]
        run = self._range_attempt if self._machine.variant == "amper-fr" else self._nearest_attempt
        for searches in attempts:
            yield from run(op, searches, phases)
        for _ in range(int(sample["n_redraws"]) + 1 - len(attempts)):
            self._work("urng", op, c.urng, c.urng_aj)
            phases["query"] += c.urng * self._period
            yield self._cycles(c.urng)
        b = int(sample["batch_size"])
        self._work("urng", op, b, b * c.urng_aj)
        self._work("draw_unit", op, c.draw + b, b * c.draw_aj)
        self._work("csb", op, b, b * c.csb_aj, after=c.draw)
        phases["draw"] += (c.draw + b) * self._period
        yield self._cycles(c.draw + b)

    def _searches(self, row: int) -> list[_Search]:
        sample = self._trace.samples[row]
        first = int(sample["first_search"])
        rows = self._trace.searches[first : first + int(sample["n_searches"])]
        result = []
        for i, s in enumerate(rows):
            counts = [] if self._counts is None else list(enumerate(self._counts[first + i].tolist()))
            matched = [(bank, n) for bank, n in counts if n]
            result.append(_Search(int(s["attempt"]), int(s["n_ternary_words"]), int(s["n_neighbours"]), matched))
        return result

    def _issue(self, op: int, searches: list[_Search], keys: simpy.Store) -> Steps:
        """Send the keys of one attempt: one word a cycle once the pipeline is full."""
        c = self._costs
        words = [s.n_words for s in searches if not s.n_neighbours]
        self._work("urng", op, c.urng - 1 + len(words), len(words) * c.urng_aj)
        self._work("query_generator", op, c.query - 1 + sum(words), sum(words) * c.query_aj, after=c.urng)
        yield self._cycles(c.urng + c.query)
        for search in searches:
            keys.put(search)
            yield self._cycles(0 if search.n_neighbours else search.n_words)

    def _range_attempt(self, op: int, searches: list[_Search], phases: dict[str, int]) -> Steps:
        """Search every group; drain each group's matches while the next one is searched."""
        env, c = self._env, self._costs
        keys, buffer = simpy.Store(env), _Buffer(self._machine.csb_capacity)
        env.process(self._issue(op, searches, keys))
        latch_free: simpy.Event | None = None
        drains: list[simpy.Event] = []
        started = loaded = int(env.now)
        for i in range(len(searches)):
            search = yield keys.get()
            if i == 0:
                yield self._cycles(c.way)
                loaded = int(env.now)
                phases["query"] += loaded - started
            with self._arrays.request() as grant:
                yield grant
                self._work("arrays", op, search.n_words * c.search, search.n_words * c.search_aj)
                yield self._cycles(search.n_words * c.search)
                found = int(env.now)
                if latch_free is not None:
                    yield latch_free
            waited = int(env.now) - found
            if waited:
                self._components["arrays"].wait(op, found, waited, "readout")
            phases["readout" if waited else "search"] += int(env.now) - loaded
            loaded = int(env.now)
            latch_free = None
            if search.counts:
                latch_free = env.event()
                drains.append(env.process(self._drain(op, search, buffer, latch_free)))
        yield env.all_of(drains)
        yield self._cycles(c.way + 1)
        phases["readout"] += int(env.now) - loaded

    def _drain(self, op: int, search: _Search, buffer: _Buffer, latch_free: simpy.Event) -> Steps:
        """Pass all matches of a search into the buffer.

        Banks hold their port for the encoder's cycles; the port's follow one later, so the latch may be
        loaded again in the port's last cycle.
        """
        env = self._env
        yield env.all_of([env.process(self._drain_bank(op, bank, n, buffer)) for bank, n in search.counts])
        latch_free.succeed()
        yield self._cycles(1)

    def _drain_bank(self, op: int, bank: int, n: int, buffer: _Buffer) -> Steps:
        """Pass a bank's `n` matches through its port, one a cycle."""
        c = self._costs
        with self._csb_ports[self._machine.port_of(bank)].request() as grant:
            yield grant
            self._work("encoders", op, n, n * c.encode_aj)
            self._work("csb", op, n, buffer.take(n) * c.csb_aj, after=1)
            yield self._cycles(n)

    def _nearest_attempt(self, op: int, searches: list[_Search], phases: dict[str, int]) -> Steps:
        """Count every group, then find its neighbours one best match at a time."""
        env = self._env
        keys, buffer = simpy.Store(env), _Buffer(self._machine.csb_capacity)
        env.process(self._issue(op, searches, keys))
        started = int(env.now)
        for i in range(len(searches)):
            search = yield keys.get()
            if i == 0:
                phases["query"] += int(env.now) - started
            with self._arrays.request() as grant:
                yield grant
                if search.n_neighbours:
                    yield from self._nearest(op, search.n_neighbours, buffer, phases)
                else:
                    yield from self._count(op, search.n_words, phases)
        phases["readout"] += self._period
        yield self._cycles(1)

    def _count(self, op: int, n_words: int, phases: dict[str, int]) -> Steps:
        c, before = self._costs, int(self._env.now)
        yield self._cycles(c.way)
        self._work("arrays", op, n_words * c.search, n_words * c.search_aj)
        yield self._cycles(n_words * c.search)
        self._work("counters", op, c.count, c.count_aj)
        yield self._cycles(c.count + c.way)
        phases["count"] += int(self._env.now) - before

    def _nearest(self, op: int, n: int, buffer: _Buffer, phases: dict[str, int]) -> Steps:
        """Find `n` neighbours as one burst; each component's shares are laid end to end inside it."""
        c = self._costs
        self._work("arrays", op, n * c.best_match, n * c.best_match_aj)
        self._work("encoders", op, n, n * c.encode_aj)
        self._work("compare_tree", op, n * (c.compare - 1), n * c.compare_aj)
        self._work("csb", op, n, buffer.take(n) * c.csb_aj, after=1)
        phases["search"] += n * c.best_match * self._period
        phases["readout"] += n * (2 * c.way + c.compare) * self._period
        yield self._cycles(n * (2 * c.way + c.best_match + c.compare))

    # -- writing ------------------------------------------------------------------------------------
    def _write(self, op: int, first: int, count: int) -> Steps:
        """Send rows down the H-tree, one a cycle; every bank writes its own one after another."""
        slots = self._trace.writes["slot"][first : first + count]
        start = int(self._env.now) + self._costs.way * self._period
        arrivals: dict[int, list[int]] = {}
        for j, bank in enumerate(self._machine.bank_of(slots).tolist()):
            arrivals.setdefault(bank, []).append(start + j * self._period)
        jobs = [self._env.process(self._write_bank(op, bank, rows)) for bank, rows in arrivals.items()]
        yield self._env.all_of(jobs)

    def _write_bank(self, op: int, bank: int, arrivals: list[int]) -> Steps:
        """Write rows as they arrive; whatever waits when the port comes free is one burst."""
        env, c, done = self._env, self._costs, 0
        while done < len(arrivals):
            if env.now < arrivals[done]:
                yield env.timeout(arrivals[done] - int(env.now))
            with self._write_ports[bank].request() as grant:
                yield grant
                n = bisect_right(arrivals, env.now) - done
                self._work("write_ports", op, n * c.write, n * c.write_aj)
                yield self._cycles(n * c.write)
            done += n
