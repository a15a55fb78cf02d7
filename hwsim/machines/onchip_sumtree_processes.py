"""The on-chip sum tree as processes: draws that walk down the levels, rows that change them."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import TYPE_CHECKING, Any

import simpy

from amper.trace import OpKind, Trace
from hwsim.component import Component

if TYPE_CHECKING:
    from hwsim.machines.onchip_sumtree import TreeMachine

Steps = Generator[simpy.Event, Any, None]


class TreeProcesses:
    """Draws and rows in one tree; any number of ops may be under way.

    Parameters
    ----------
    machine : TreeMachine
        Costs and geometry.
    env : simpy.Environment
        Clock, in femtoseconds.
    trace : Trace
        What is served.
    components : mapping
        Accounts by component.
    """

    def __init__(
        self, machine: TreeMachine, env: simpy.Environment, trace: Trace, components: Mapping[str, Component]
    ) -> None:
        self._machine, self._env, self._components = machine, env, components
        self._costs, self._ops = machine.costs, trace.ops
        self._root = simpy.Resource(env, capacity=1)
        #: The last sampling (True) and the last write (False) that entered the tree; each kind leaves in order.
        self._last: dict[bool, simpy.Event] = {}

    def perform(self, op: int) -> Generator[simpy.Event, Any, dict[str, int]]:
        """Run op number `op` of the trace; return its phases in femtoseconds (empty for writes)."""
        row, count = self._ops[op], int(self._ops[op]["count"])
        sampling = bool(row["kind"] == OpKind.SAMPLE)
        phases = dict.fromkeys(self._machine.phases, 0) if sampling else {}
        if count == 0:
            return phases
        holder = self._components["draw_unit" if sampling else "adders"]
        arrived = int(self._env.now)
        with self._root.request() as grant:
            yield grant
            turn = int(self._env.now)
            if (not sampling) in self._last:
                yield self._last[not sampling]
            entered = int(self._env.now)
            for start, end, cause in ((arrived, turn, "issue"), (turn, entered, "write" if sampling else "sample")):
                if end > start:
                    holder.wait(op, start, end - start, cause)
            inside = self._env.process(self._draw(op, count, phases) if sampling else self._write(op, count))
            self._last[sampling] = inside
            if sampling and not self._machine.pipelined:
                yield inside
            else:
                yield self._cycles(count * (1 if sampling else self._machine.row_interval))
        yield inside
        return phases

    def _cycles(self, n: int) -> simpy.Event:
        return self._env.timeout(n * self._costs.period_fs)

    def _work(self, name: str, op: int, cycles: int, energy_aj: int) -> None:
        """Enter work of one unit from now on."""
        self._components[name].work(op, int(self._env.now), cycles * self._costs.period_fs, energy_aj)

    def _draw(self, op: int, b: int, phases: dict[str, int]) -> Steps:
        """Rank `b` uniform numbers; send them down, all behind the first or each on its own."""
        c, period = self._costs, self._costs.period_fs
        self._work("urng", op, b, b * c.urng_aj)
        self._work("draw_unit", op, b, b * c.draw_aj)
        phases["draw"] += c.draw * period
        yield self._cycles(c.draw)
        n_descents, together = (1, b) if self._machine.pipelined else (b, 1)
        for _ in range(n_descents):
            for level in c.levels:
                read, route = (b, b) if self._machine.pipelined else (level.read, c.route)
                self._work("node_memories", op, read, together * level.descend_aj)
                phases["read"] += level.read * period
                yield self._cycles(level.read)
                self._work("routers", op, route, together * level.route_aj)
                phases["route"] += c.route * period
                yield self._cycles(c.route)
        phases["issue"] += (together - 1) * period
        yield self._cycles(together - 1)

    def _write(self, op: int, n: int) -> Steps:
        """Change `n` rows, one every `row_interval` cycles: read, subtract, add on every level at once, write."""
        c, last = self._costs, (n - 1) * self._machine.row_interval
        for level in c.levels:
            self._work("node_memories", op, n * self._machine.row_interval, n * level.rewrite_aj)
        yield self._cycles(c.levels[-1].read)
        self._work("adders", op, n, n * c.levels[-1].add_aj)
        yield self._cycles(1)
        for level in c.levels[:-1]:
            self._work("adders", op, n, n * level.add_aj)
        self._work("adders", op, n, n * c.root_add_aj)
        yield self._cycles(1)
        yield self._cycles(last + 1)
