"""How matches leave the arrays: bank encoders, FIFOs and ports into the candidate-set buffer.

Two forms of the same hardware. Where a bank never pauses, a drain is a duration (`PortDrains`); where it does -
ports shared in turn, FIFOs of depth 1 - or where every address is to be seen, each word is an event
(`WordDrains`).
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import simpy

from amper.trace import Trace
from hwsim.component import Component
from hwsim.cost_amper import BURST_WIDTH
from hwsim.machines.amper_plan import Plan, array_counts

if TYPE_CHECKING:
    from hwsim.machines.amper import AmperMachine

Steps = Generator[simpy.Event, Any, None]


class Buffer:
    """The candidate-set buffer during one attempt: how many addresses still fit into each part."""

    def __init__(self, capacity: int, n_parts: int) -> None:
        self._free = [capacity] * n_parts

    def take(self, n: int, part: int = 0) -> int:
        """Return how many of `n` addresses are stored; the rest is lost."""
        stored = min(n, self._free[part])
        self._free[part] -= stored
        return stored


class Drain(Protocol):
    """The matches of one load on their way out."""

    def latch_free(self) -> Steps:
        """Wait until the match latch may be loaded again: the drain's last cycle begins."""
        ...

    def ended(self) -> Steps:
        """Wait until the last word has left its port."""
        ...


@dataclass(frozen=True, slots=True)
class _Timed:
    """A drain whose end is known when it starts."""

    env: simpy.Environment
    latch_fs: int
    end_fs: int

    def latch_free(self) -> Steps:
        if self.latch_fs > self.env.now:
            yield self.env.timeout(self.latch_fs - int(self.env.now))

    def ended(self) -> Steps:
        if self.end_fs > self.env.now:
            yield self.env.timeout(self.end_fs - int(self.env.now))


class PortDrains:
    """Drains in which every port moves a word a cycle, from one cycle after the load on.

    Parameters
    ----------
    machine, env, trace, plan, components
        As `amper_processes` has them.
    """

    def __init__(
        self,
        machine: AmperMachine,
        env: simpy.Environment,
        trace: Trace,
        plan: Plan,
        components: Mapping[str, Component],
    ) -> None:
        del trace
        self._machine, self._env, self._plan, self._components = machine, env, plan, components

    def start(self, op: int, load: int, buffer: Buffer) -> Drain | None:
        """Drain a load that is latched now; None if nothing matched."""
        c, components, now = self._machine.costs, self._components, int(self._env.now)
        words, matches = self._plan.words[load].tolist(), self._plan.matches[load].tolist()
        for port, n in enumerate(words):
            if n:
                # One part of the buffer for all ports holds words of one address only.
                addresses = matches[port] if len(matches) > 1 or len(words) == 1 else n
                stored = buffer.take(addresses, port % len(matches))
                lasts, after = n * c.period_fs, now + c.period_fs
                components["encoders"].work(op, now, lasts, addresses * c.encode_aj)
                components["csb"].work(op, after, lasts, stored * c.csb_aj)
                components["htree_up"].work(op, after, lasts, addresses * c.address_up_aj)
        most = max(words)
        return _Timed(self._env, now + most * c.period_fs, now + (1 + most) * c.period_fs) if most else None


class _Words:
    """A drain word by word."""

    def __init__(self, env: simpy.Environment, op: int, n: int, buffer: Buffer) -> None:
        self.op, self.left, self.buffer = op, n, buffer
        self.last_begins, self.end = env.event(), env.event()

    def latch_free(self) -> Steps:
        if not self.last_begins.processed:
            yield self.last_begins

    def ended(self) -> Steps:
        if not self.end.processed:
            yield self.end


class WordDrains:
    """Drains in which every word is encoded, waits in its bank's FIFO, and is granted a port.

    A bank's encoder moves one word a cycle into the FIFO, if there was room when the cycle began; an arbiter
    grants its ports, each for a cycle, to waiting banks in turn. Matches come from every array one after
    another, `by_array` from the arrays' own counts.
    """

    def __init__(
        self,
        machine: AmperMachine,
        env: simpy.Environment,
        trace: Trace,
        plan: Plan,
        components: Mapping[str, Component],
    ) -> None:
        self._machine, self._env, self._plan, self._components = machine, env, plan, components
        self._banks_of_array = machine.bank_of_array()
        self._counts = array_counts(machine, trace)
        banks, n_ports = range(machine.n_banks), machine.n_ports
        if machine.arbitration == "round_robin" and machine.readout == "csb":
            shared = [(list(banks), n_ports)]
        else:
            shared = [(list(banks[port::n_ports]), 1) for port in range(n_ports)]
        self._fifo: list[list[tuple[_Words, int]]] = [[] for _ in banks]
        self._room = [simpy.Container(env, init=machine.fifo_depth) for _ in banks]
        self._wake: list[simpy.Event] = [env.event() for _ in shared]
        self._arbiter_of = {bank: i for i, (mine, _) in enumerate(shared) for bank in mine}
        for i, (mine, ports) in enumerate(shared):
            env.process(self._arbitrate(i, mine, ports))

    def start(self, op: int, load: int, buffer: Buffer) -> Drain | None:
        """Drain a load that is latched now; None if nothing matched."""
        width = BURST_WIDTH if self._machine.readout == "burst" else 1
        words: dict[int, list[int]] = {}
        counts = self._counts[load]
        for array in counts.nonzero()[0]:
            n, sizes = int(counts[array]), words.setdefault(int(self._banks_of_array[array]), [])
            sizes += [width] * (n // width) + ([n % width] if n % width else [])
        if not words:
            return None
        drain = _Words(self._env, op, sum(map(len, words.values())), buffer)
        for bank, sizes in words.items():
            self._env.process(self._encode(drain, bank, sizes))
        return drain

    def _encode(self, drain: _Words, bank: int, sizes: list[int]) -> Steps:
        c, encoders = self._machine.costs, self._components["encoders"]
        for size in sizes:
            if self._room[bank].level < 1:
                yield self._room[bank].get(1)
            else:
                self._room[bank].get(1)
            encoders.work(drain.op, int(self._env.now), c.period_fs, size * c.encode_aj)
            yield self._env.timeout(c.period_fs)
            self._fifo[bank].append((drain, size))
            wake = self._wake[self._arbiter_of[bank]]
            if not wake.triggered:
                wake.succeed()

    def _arbitrate(self, number: int, banks: list[int], n_ports: int) -> Steps:
        env, turn = self._env, 0
        while True:
            if not any(self._fifo[bank] for bank in banks):
                self._wake[number] = env.event()
                yield self._wake[number]
            # All words encoded by now are in their FIFOs before ports are granted.
            yield env.timeout(0)
            order = [banks[(turn + i) % len(banks)] for i in range(len(banks))]
            granted = [bank for bank in order if self._fifo[bank]][:n_ports]
            for bank in granted:
                self._move(bank, *self._fifo[bank].pop(0))
                turn = banks.index(bank) + 1
            yield env.timeout(self._machine.costs.period_fs)
            for bank in granted:
                self._room[bank].put(1)

    def _move(self, bank: int, drain: _Words, size: int) -> None:
        """Move one word through a port during the cycle that begins now."""
        c, now, components = self._machine.costs, int(self._env.now), self._components
        stored = drain.buffer.take(size, bank % self._machine.n_parts)
        components["csb"].work(drain.op, now, c.period_fs, stored * c.csb_aj)
        components["htree_up"].work(drain.op, now, c.period_fs, size * c.address_up_aj)
        drain.left -= 1
        if drain.left == 0:
            drain.last_begins.succeed()
            self._env.process(self._end(drain))

    def _end(self, drain: _Words) -> Steps:
        yield self._env.timeout(self._machine.costs.period_fs)
        drain.end.succeed()
