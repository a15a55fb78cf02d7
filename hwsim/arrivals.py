"""When ops arrive: one after another, at random, or from clients that wait for their answers.

Every form takes the trace's ops as they are - rows, searches, batch sizes - and only decides when each begins.
The inserts before the first sampling fill the buffer; they are served one after another before anything else.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from amper.trace import OpKind, Trace
from hwsim import checks, units

if TYPE_CHECKING:
    import simpy

Int64 = npt.NDArray[np.int64]
Steps = Generator["simpy.Event", Any, None]
#: Serve(op, arrived_fs): perform the op, and the fetch that follows a sampling.
Serve = Callable[[int, int], Steps]


@dataclass(frozen=True, slots=True)
class Poisson:
    """Open arrivals: ops arrive in trace order, at random, whether or not earlier ones have ended.

    Inserts are dealt in turn to `n_actors` actors; samplings and updates are the learner's. What belongs to the
    same actor, or to the learner, is served in order and one at a time; the hardware decides about the rest.

    Parameters
    ----------
    rate_hz : float
        Ops a second, all kinds together.
    n_actors : int
        Who inserts.
    seed : int
        Of the gaps between arrivals, exponential with mean 1 / rate_hz.
    """

    rate_hz: float
    n_actors: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        checks.positive("rate_hz", self.rate_hz)
        checks.whole("n_actors", self.n_actors, 1)
        checks.whole("seed", self.seed, 0)

    def times_fs(self, n_ops: int) -> Int64:
        """Return when each op arrives, int64[n_ops], from the first arrival's clock on."""
        gaps = np.random.default_rng(self.seed).exponential(units.fs_from_ns(1e9) / self.rate_hz, n_ops)
        return np.floor(np.cumsum(gaps) + 0.5).astype(np.int64)

    def jobs(self, env: simpy.Environment, trace: Trace, first: int, serve: Serve) -> list[Steps]:
        """Return the learner and the actors at work on ops `first` and later."""
        kinds = trace.ops["kind"][first:]
        arrives = self.times_fs(len(kinds)) + int(env.now)
        inserts = np.flatnonzero(kinds == OpKind.INSERT)
        streams = [np.flatnonzero(kinds != OpKind.INSERT)] + [inserts[a :: self.n_actors] for a in range(self.n_actors)]

        def stream(mine: Int64) -> Steps:
            for i in mine.tolist():
                at = int(arrives[i])
                if env.now < at:
                    yield env.timeout(at - int(env.now))
                yield from serve(first + i, at)

        return [stream(mine) for mine in streams if len(mine)]


@dataclass(frozen=True, slots=True)
class Closed:
    """A closed loop: each client takes the trace's next op, waits until it is served, thinks, and goes on.

    An update also waits for the sampling before it, whose priorities it writes.

    Parameters
    ----------
    n_clients : int
        Ops at work at once.
    think_ns : float
        Pause of a client between two ops.
    """

    n_clients: int
    think_ns: float = 0.0

    def __post_init__(self) -> None:
        checks.whole("n_clients", self.n_clients, 1)
        if self.think_ns != 0:
            checks.positive("think_ns", self.think_ns)

    def jobs(self, env: simpy.Environment, trace: Trace, first: int, serve: Serve) -> list[Steps]:
        """Return the clients at work on ops `first` and later."""
        kinds = trace.ops["kind"]
        think_fs = units.fs_from_ns(self.think_ns)
        waiting = iter(range(first, len(kinds)))
        sampled = {op: env.event() for op in range(first, len(kinds)) if kinds[op] == OpKind.SAMPLE}
        before = np.maximum.accumulate(np.where(kinds == OpKind.SAMPLE, np.arange(len(kinds)), -1))

        def client() -> Steps:
            for op in waiting:
                if kinds[op] == OpKind.UPDATE and before[op] in sampled:
                    yield sampled[int(before[op])]
                yield from serve(op, int(env.now))
                if op in sampled:
                    sampled[op].succeed()
                if think_fs:
                    yield env.timeout(think_fs)

        return [client() for _ in range(self.n_clients)]


def n_filling(trace: Trace) -> int:
    """Return how many ops come before the first sampling: they fill the buffer."""
    sampled = np.flatnonzero(trace.ops["kind"] == OpKind.SAMPLE)
    return int(sampled[0]) if len(sampled) else len(trace)
