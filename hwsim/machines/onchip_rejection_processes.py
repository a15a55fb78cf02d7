"""Rejection on the chip as processes: a sampling holds the comparators, tries and writes hold the memory."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import simpy

from amper.trace import OpKind, Trace
from hwsim.component import Component

if TYPE_CHECKING:
    from hwsim.machines.onchip_rejection import RejectionMachine, Tries

Steps = Generator[simpy.Event, Any, None]


class RejectionProcesses:
    """Queries, tries and writes of one machine on one trace; any number of ops may be under way.

    Parameters
    ----------
    machine : RejectionMachine
        Costs and geometry.
    env : simpy.Environment
        Clock, in femtoseconds.
    trace : Trace
        What is served.
    components : mapping
        Accounts by component.
    """

    def __init__(
        self,
        machine: RejectionMachine,
        env: simpy.Environment,
        trace: Trace,
        components: Mapping[str, Component],
    ) -> None:
        self._machine, self._env, self._components = machine, env, components
        self._costs, self._trace = machine.costs, trace
        self._tries = machine.tries(trace)
        self._sweeps = not trace.header.options.get("unique")
        self._comparators = simpy.Resource(env)
        self._memory = simpy.Resource(env)

    def perform(self, op: int) -> Generator[simpy.Event, Any, dict[str, int]]:
        """Run op number `op` of the trace; return its phases in femtoseconds (empty for writes)."""
        row = self._trace.ops[op]
        if row["kind"] != OpKind.SAMPLE:
            yield from self._write(op, int(row["first"]), int(row["count"]))
            return {}
        phases = dict.fromkeys(self._machine.phases, 0)
        yield from self._sample(op, self._tries[op], phases)
        return phases

    # -- small helpers ------------------------------------------------------------------------------
    def _cycles(self, n: int) -> simpy.Event:
        return self._env.timeout(n * self._costs.period_fs)

    def _work(self, name: str, op: int, cycles: int, energy_aj: int, n_units: int = 1, *, since: int = -1) -> None:
        """Enter work of `n_units` side by side, for some cycles from `since` (now) on; `energy_aj` for each."""
        start = int(self._env.now) if since < 0 else since
        for _ in range(n_units):
            self._components[name].work(op, start, cycles * self._costs.period_fs, energy_aj)

    def _waited(self, name: str, op: int, since: int, cause: str) -> None:
        """Enter that a component waited from `since` until now."""
        waited = int(self._env.now) - since
        if waited:
            self._components[name].wait(op, since, waited, cause)

    # -- sampling -----------------------------------------------------------------------------------
    def _sample(self, op: int, tries: Tries, phases: dict[str, int]) -> Steps:
        arrived = int(self._env.now)
        with self._comparators.request() as grant:
            yield grant
            self._waited("query_generator", op, arrived, "sample")
            yield from self._timed(phases, "query", self._query(op, tries.n_ranges))
            if tries.n_ranges and self._sweeps:
                yield from self._timed(phases, "overlap", self._sweep(op, tries.n_ranges))
            if tries.n_tries:
                ready = int(self._env.now)
                with self._memory.request() as turn:
                    yield turn
                    self._waited("comparators", op, ready, "write")
                    yield from self._timed(phases, "tries", self._try(op, tries))
            yield from self._timed(phases, "uniform", self._draw_uniformly(op, tries))

    def _timed(self, phases: dict[str, int], phase: str, steps: Steps) -> Steps:
        """Take the steps, and add their time to a phase."""
        before = int(self._env.now)
        yield from steps
        phases[phase] += int(self._env.now) - before

    def _query(self, op: int, m: int) -> Steps:
        """Draw representatives; load one range a cycle once the pipeline is full."""
        c = self._costs
        self._work("urng", op, c.urng - 1 + max(m, 1), max(m, 1) * c.urng_aj)
        yield self._cycles(c.urng)
        if m:
            self._work("query_generator", op, c.query - 1 + m, m * c.query_aj)
            yield self._cycles(c.query)
            yield self._cycles(m - 1)

    def _sweep(self, op: int, m: int) -> Steps:
        """Compare the lower end of every range with all ranges, one a cycle; keep the largest count."""
        c = self._costs
        self._work("comparators", op, m, m * m * c.range_aj)
        yield self._cycles(1)
        self._work("counters", op, m, m * c.accept_aj)
        yield self._cycles(m - 1)
        yield self._cycles(c.accept)

    def _try(self, op: int, tries: Tries) -> Steps:
        """Send a try into each lane every cycle until the last draw is accepted, or too many failed in a row."""
        c, lanes, period = self._costs, self._machine.n_lanes, self._costs.period_fs
        started, tried = int(self._env.now), 0
        for gap in tries.gaps:
            tried += min(int(gap), self._machine.max_tries)
            # The try that decides enters in this cycle.
            enters = started + (-(-tried // lanes) - 1) * period
            yield self._env.timeout(enters - int(self._env.now))
            if gap > self._machine.max_tries:
                break
        yield self._cycles(c.depth)
        end, reached = int(self._env.now), started
        for name, n_units, energy_aj, then in (
            ("urng", 2 * lanes, c.urng_aj, 0),
            ("address_units", lanes, c.address_aj, c.address),
            ("memory", lanes, c.read_aj, c.read),
            ("comparators", lanes, tries.n_ranges * c.range_aj, 1),
            ("counters", lanes, c.accept_aj, c.accept),
        ):
            entered = (end - reached) // period
            self._work(name, op, entered, entered * energy_aj, n_units, since=reached)
            reached += then * period

    def _draw_uniformly(self, op: int, tries: Tries) -> Steps:
        """Take addresses as they come; without tries before, the first one takes the whole multiplication."""
        c, lanes = self._costs, self._machine.n_lanes
        cycles = -(-tries.n_uniform // lanes)
        if cycles == 0:
            return
        self._work("urng", op, cycles, cycles * c.urng_aj, lanes)
        self._work("address_units", op, cycles, cycles * c.address_aj, lanes)
        if not tries.n_tries:
            yield self._cycles(c.address - 1)
        yield self._cycles(cycles)

    # -- writing ------------------------------------------------------------------------------------
    def _write(self, op: int, first: int, count: int) -> Steps:
        """Write rows, one a cycle into each bank; those of one bank go one after another."""
        if count == 0:
            return
        slots = self._trace.writes["slot"][first : first + count]
        arrived = int(self._env.now)
        with self._memory.request() as turn:
            yield turn
            self._waited("memory", op, arrived, "tries")
            rows = np.bincount(slots % self._machine.n_lanes).tolist()
            yield self._env.all_of([self._env.process(self._write_bank(op, n)) for n in rows if n])
            yield self._cycles(self._costs.read - 1)

    def _write_bank(self, op: int, n: int) -> Steps:
        self._work("memory", op, n, n * self._costs.write_aj)
        yield self._cycles(n)
