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
    """Open arrivals: samplings and inserts arrive in trace order, at random, whether or not earlier ones have ended.

    Inserts are dealt in turn to `n_actors` actors, whoever recorded them; samplings and updates are the learner's. What
    belongs to the same actor, or to the learner, is served in order and one at a time; the hardware decides about the
    rest. An update arrives when the rows of its sampling have been fetched, for no earlier it has priorities to write.
    A replay's own rescale goes before the op that caused it, and arrives with it.

    Parameters
    ----------
    rate_hz : float
        Samplings and inserts a second, all together, 1e-3 to 1e15.
    n_actors : int
        Who inserts.
    seed : int
        Of the gaps between arrivals, exponential with mean 1 / rate_hz; the first one precedes the first arrival.
    """

    rate_hz: float
    n_actors: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        checks.store_positive(self, "rate_hz", 1e-3, 1e15)
        checks.store_whole(self, "n_actors")
        checks.store_whole(self, "seed", minimum=0, maximum=2**63)

    def times_fs(self, n: int) -> Int64:
        """Return when `n` ops arrive, int64[n].

        Raises
        ------
        ValueError
            If they arrive over more than 2^62 fs.
        """
        gaps = np.random.default_rng(self.seed).exponential(units.fs_from_ns(1e9) / self.rate_hz, n)
        times = np.floor(np.cumsum(gaps) + 0.5)
        if n and times[-1] >= 2**62:
            raise ValueError(
                f"rate_hz must be higher for {n} ops, got {self.rate_hz!r}: they arrive over more than an hour"
            )
        return times.astype(np.int64)

    def jobs(self, env: simpy.Environment, trace: Trace, first: int, serve: Serve) -> list[Steps]:
        """Return the learner and the actors at work on ops `first` and later."""
        kinds = trace.ops["kind"]
        turns = in_turns(trace, first)
        leads = np.array([turn[-1] for turn in turns], np.int64)  # a rescale arrives with what caused it
        is_update = kinds[leads] == OpKind.UPDATE
        arrives = np.zeros(len(turns), np.int64)
        arrives[~is_update] = self.times_fs(int((~is_update).sum())) + int(env.now)
        inserts = np.flatnonzero(kinds[leads] == OpKind.INSERT)
        streams = [np.flatnonzero(kinds[leads] != OpKind.INSERT)]
        streams += [inserts[a :: self.n_actors] for a in range(min(self.n_actors, len(inserts)))]

        def stream(mine: Int64) -> Steps:
            for i in mine.tolist():
                at = int(env.now) if is_update[i] else int(arrives[i])
                if env.now < at:
                    yield env.timeout(at - int(env.now))
                for op in turns[i]:
                    yield from serve(op, at)

        return [stream(mine) for mine in streams if len(mine)]


@dataclass(frozen=True, slots=True)
class Closed:
    """A closed loop: each client takes the trace's next op, waits until it is served, thinks, and goes on.

    An update also waits for the sampling before it, whose priorities it writes. A replay's own rescale is taken
    together with the op that caused it.

    Parameters
    ----------
    n_clients : int
        Ops at work at once.
    think_ns : float
        Pause of a client between two ops, up to 1e12.
    """

    n_clients: int
    think_ns: float = 0.0

    def __post_init__(self) -> None:
        checks.store_whole(self, "n_clients")
        if isinstance(self.think_ns, bool) or self.think_ns != 0:
            checks.positive("think_ns", self.think_ns, maximum=1e12)
        object.__setattr__(self, "think_ns", float(self.think_ns))

    def jobs(self, env: simpy.Environment, trace: Trace, first: int, serve: Serve) -> list[Steps]:
        """Return the clients at work on ops `first` and later."""
        kinds = trace.ops["kind"]
        think_fs = units.fs_from_ns(self.think_ns)
        turns = in_turns(trace, first)
        waiting = iter(turns)
        sampled = {op: env.event() for op in range(first, len(kinds)) if kinds[op] == OpKind.SAMPLE}
        before = np.maximum.accumulate(np.where(kinds == OpKind.SAMPLE, np.arange(len(kinds)), -1))

        def client() -> Steps:
            for turn in waiting:
                if kinds[turn[-1]] == OpKind.UPDATE and before[turn[-1]] in sampled:
                    yield sampled[int(before[turn[-1]])]
                taken = int(env.now)
                for op in turn:
                    yield from serve(op, taken)
                    if op in sampled:
                        sampled[op].succeed()
                if think_fs:
                    yield env.timeout(think_fs)

        return [client() for _ in range(min(self.n_clients, len(turns)))]


def in_turns(trace: Trace, first: int) -> list[list[int]]:
    """Return ops `first` and later, each alone or behind the rescales it caused (updates of a negative actor)."""
    turns: list[list[int]] = []
    is_rescale = (trace.ops["actor"] < 0) & (trace.ops["kind"] == OpKind.UPDATE)
    open_turn = False
    for op in range(first, len(trace)):
        if open_turn:
            turns[-1].append(op)
        else:
            turns.append([op])
        open_turn = bool(is_rescale[op])
    return turns


def n_filling(trace: Trace) -> int:
    """Return how many ops come before the first sampling: they fill the buffer. None where nothing is sampled."""
    sampled = np.flatnonzero(trace.ops["kind"] == OpKind.SAMPLE)
    return int(sampled[0]) if len(sampled) else 0
