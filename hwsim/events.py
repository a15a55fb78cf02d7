"""A trace on a machine by events: its ops as processes, and what they took."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from amper.trace import OpKind, Trace
from hwsim import units
from hwsim.arrivals import Closed, Poisson, n_filling
from hwsim.component import Component
from hwsim.cost import fetch_fs
from hwsim.locks import Lock
from hwsim.machines import HasArrays, Machine, Processes

if TYPE_CHECKING:
    import simpy

Int64 = npt.NDArray[np.int64]


OVERFLOW_ADVICE = "make the machine with fewer rows, a faster clock, cheaper actions"


class DeadlockError(RuntimeError):
    """Ops wait for each other for ever: the simulator is wrong, not its user."""


@dataclass(slots=True, kw_only=True)
class Times:
    """What a run says of every op, int64 femtoseconds.

    Latency and arrival of every op; phases of every sampling, and the fetch after it; makespan; where the
    buffer was filled (ops, time), and the time ops spent in the machine after that, added up.
    """

    latency_fs: Int64
    phases_fs: Mapping[str, Int64]
    fetch_fs: Int64
    arrived_fs: Int64
    makespan_fs: int
    n_filling: int = 0
    filled_fs: int = 0
    in_system_fs: int = 0


def by_events(
    trace: Trace,
    machine: Machine,
    arrivals: str | Poisson | Closed,
    components: Mapping[str, Component],
    *,
    by_array: bool,
) -> Times:
    """Run every op through the machine's processes."""
    import simpy as sp

    env = sp.Environment()
    make = machine.array_processes if by_array and isinstance(machine, HasArrays) else machine.processes
    run = _Run(env, trace, machine, make(env, trace, components), components["row_memory"])
    times = run.times
    try:
        times.n_filling = n_filling(trace)
        finish(env, [run.serial(0, times.n_filling)])
        times.filled_fs = int(env.now)
        if isinstance(arrivals, str):
            finish(env, [run.serial(times.n_filling, len(trace))])
        else:
            run.is_clocked = True
            finish(env, arrivals.jobs(env, trace, times.n_filling, run.serve))
    except OverflowError as error:  # the ledger's columns are int64
        check_length(int(env.now) + 1)
        raise ValueError(f"an action must take less than 2^63 fs and 2^63 aJ; {OVERFLOW_ADVICE}") from error
    check_length(int(env.now))
    if not isinstance(arrivals, str):
        sampled = np.flatnonzero(trace.ops["kind"] == OpKind.SAMPLE)
        served = sum(times.phases_fs.values(), np.zeros(len(sampled), np.int64))
        times.phases_fs = {**times.phases_fs, "waiting": times.latency_fs[sampled] - served}
    return times


def finish(env: simpy.Environment, jobs: Sequence[Generator[simpy.Event, Any, None]]) -> None:
    """Run until every job has ended.

    Raises
    ------
    DeadlockError
        If nothing more happens before that.
    """
    running = [env.process(job) for job in jobs]
    try:
        env.run(until=env.all_of(running))
    except RuntimeError as error:
        if any(process.is_alive for process in running) and env.peek() == float("inf"):
            left = sum(process.is_alive for process in running)
            raise DeadlockError(
                f"{left} of {len(running)} streams of ops wait for each other since {env.now} fs"
            ) from error
        raise


class _Run:
    """One run of a trace: serves ops, and keeps what they took."""

    def __init__(
        self, env: simpy.Environment, trace: Trace, machine: Machine, processes: Processes, row_memory: Component
    ) -> None:
        self._env, self._processes, self._memory = env, processes, row_memory
        self._clock_fs, self.is_clocked = machine.clock_fs, False
        self._channel = Lock(env)
        self._is_sample = trace.ops["kind"] == OpKind.SAMPLE
        self._row = np.cumsum(self._is_sample) - 1
        fetches, n = fetches_fs(trace), len(trace)
        phases = {name: np.zeros(len(fetches), np.int64) for name in machine.phases}
        self._fetch_fs = fetches
        self.times = Times(
            latency_fs=np.zeros(n, np.int64),
            phases_fs=phases,
            fetch_fs=fetches.copy(),
            arrived_fs=np.zeros(n, np.int64),
            makespan_fs=0,
        )

    def serial(self, first: int, end: int) -> Generator[simpy.Event, Any, None]:
        """Serve ops `first` .. `end` one after another."""
        for op in range(first, end):
            yield from self.serve(op, int(self._env.now))

    def serve(self, op: int, arrived_fs: int) -> Generator[simpy.Event, Any, None]:
        """Serve one op that arrived then, and fetch the rows of a sampling."""
        env, times = self._env, self.times
        times.arrived_fs[op] = arrived_fs
        late = -int(env.now) % self._clock_fs
        if late and self.is_clocked:  # hardware takes an op in at a clock edge
            yield env.timeout(late)
        split = yield from self._processes.perform(op)
        times.latency_fs[op] = int(env.now) - arrived_fs
        times.makespan_fs = max(times.makespan_fs, int(env.now))
        if op >= times.n_filling:
            times.in_system_fs += int(env.now) - arrived_fs
        if self._is_sample[op]:
            row = int(self._row[op])
            for name, value in split.items():
                times.phases_fs[name][row] = value
            asked = int(env.now)
            with self._channel.request(0, op) as turn:
                yield turn.granted
                if env.now > asked:
                    self._memory.wait(op, asked, int(env.now) - asked, "fetch")
                fetch = int(self._fetch_fs[row])
                self._memory.work(op, int(env.now), fetch)
                yield env.timeout(fetch)
            times.fetch_fs[row] = int(env.now) - asked
            times.makespan_fs = max(times.makespan_fs, int(env.now))


def fetches_fs(trace: Trace) -> Int64:
    """Return the fetch that follows each sampling, int64[samplings]."""
    sizes, inverse = np.unique(trace.samples["batch_size"], return_inverse=True)
    each = np.array([fetch_fs(int(b), trace.header.row_bytes) for b in sizes], np.int64)
    return each[inverse] if len(sizes) else np.zeros(0, np.int64)


def check_length(makespan_fs: int) -> None:
    """Raise ValueError if the ledger's int64 femtoseconds cannot hold the run."""
    if makespan_fs >= 2**63:
        raise ValueError(
            "trace must last less than 2^63 fs (2.6 h) on the machine, "
            f"got {units.format_time(makespan_fs)}; simulate parts of it, made by trace.window"
        )
