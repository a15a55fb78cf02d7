"""Adding to a replay from other processes: a queue for each, with one writer and one reader, and no lock."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from multiprocessing.sharedctypes import RawArray
from typing import Any

import numpy as np

from amper import checks, stages
from amper._kernels import mapped as kernels
from amper.fields import Field, RowLayout
from amper.protocols import Array

_PRIORITY = Field(" priority", (), np.dtype(np.float64))  # no identifier: it can be no caller's
_WRITTEN, _TAKEN, _READER = 0, 8, 16  # places in `control`, each in a cache line of its own
_SHORTEST_WAIT_S, _LONGEST_WAIT_S, _LOOK_S = 2e-5, 2e-3, 1.0


class Queue:
    """A ring of rows in memory that processes share.

    The writer alone moves `n_written`, the reader alone `n_taken`. Every row has a stamp of its content and number: a
    row is taken when it is whole, whatever order the machine's memory shows stores in.

    Parameters
    ----------
    fields : tuple of Field
    n_rows : int
        Room.
    """

    def __init__(self, fields: tuple[Field, ...], n_rows: int) -> None:
        self._fields, self._n_rows = fields, n_rows
        stride = RowLayout((*fields, _PRIORITY)).stride
        self._shared = RawArray("B", 64 + 8 * 32 + 8 * n_rows + stride * n_rows)
        self._make_views()
        self._control[_READER] = os.getpid()

    def _make_views(self) -> None:
        self._row = RowLayout((*self._fields, _PRIORITY))
        memory = np.frombuffer(self._shared, np.uint8)
        memory = memory[-memory.ctypes.data % 64 :]
        self._control = memory[: 8 * 32].view(np.int64)
        n, stride = self._n_rows, self._row.stride
        self._stamps = memory[8 * 32 : 8 * 32 + 8 * n].view(np.uint64)
        self._rows = memory[8 * 32 + 8 * n : 8 * 32 + 8 * n + stride * n].reshape(n, stride)

    def __getstate__(self) -> tuple[Any, ...]:
        return self._fields, self._n_rows, self._shared

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self._fields, self._n_rows, self._shared = state
        self._make_views()

    @property
    def n_written(self) -> int:
        """Rows written since the beginning."""
        return int(self._control[_WRITTEN])

    @property
    def n_taken(self) -> int:
        """Rows taken since the beginning."""
        return int(self._control[_TAKEN])

    @property
    def reader(self) -> int:
        """Process that takes rows."""
        return int(self._control[_READER])

    def pack(self, steps: stages.Steps) -> Array:
        """Return steps as rows."""
        return self._row.pack({**steps.columns, _PRIORITY.name: steps.priorities}, steps.k)

    def write(self, rows: Array) -> int:
        """Write as many of these rows as there is room for; return how many."""
        written = self.n_written
        k = min(len(rows), self._n_rows - (written - self.n_taken))
        if k:
            kernels.store(rows[:k], self._rows, self._stamps, written)
            self._control[_WRITTEN] = written + k
        return k

    def take(self) -> stages.Steps:
        """Return the rows written and not taken yet."""
        taken = self.n_taken
        out = np.empty((self.n_written - taken, self._row.stride), np.uint8)
        k = int(kernels.take(self._rows, self._stamps, taken, out))
        self._control[_TAKEN] = taken + k
        records = self._row.records(out[:k])
        columns = {f.name: records[f.name] for f in self._fields}
        return stages.Steps(columns, np.zeros(k, np.int64), np.zeros(k, np.bool_), records[_PRIORITY.name].copy())


class Writer:
    """Adds to a replay from another process; `ReplayBuffer.writers` makes them.

    Pass it to a `multiprocessing.Process` as an argument; one process uses it. n-step returns and sequences are put
    together here, and the rows wait in shared memory until the replay takes them: at its next `sample` or `receive`.
    A process that is killed loses the steps that were pending, and nobody waits for it.

    Parameters
    ----------
    queue : Queue
    fields : mapping
        Columns of a step by name.
    parts : dict
        The replay's kind of stages, empty.
    n_envs, capacity : int
        The replay's.
    largest : float
        Largest priority the replay can hold.
    """

    def __init__(
        self,
        queue: Queue,
        fields: Mapping[str, Field],
        parts: Mapping[str, stages.Stage],
        *,
        n_envs: int,
        capacity: int,
        largest: float,
    ) -> None:
        self._queue, self._fields, self._stages = queue, dict(fields), tuple(parts.values())
        self._n_envs, self._capacity, self._largest = n_envs, capacity, largest
        self._unsent: list[Array] = []

    def add(self, /, *, priorities: Any = None, timeout_s: float | None = None, **columns: Any) -> int:
        """Add one step, or k of them, as `ReplayBuffer.add`; wait while there is no room for what they complete.

        Parameters
        ----------
        priorities : float or float[k], optional
            As in `ReplayBuffer.add`.
        timeout_s : float, optional
            Longest wait; for ever by default.
        **columns
            As in `ReplayBuffer.add`.

        Returns
        -------
        int
            Transitions that were completed and sent; their ids are given when the replay takes them.

        Raises
        ------
        ValueError, TypeError
            As `ReplayBuffer.add`; nothing is added then.
        TimeoutError
            If there was no room in time. What was added is kept, and is sent first by the next call.
        ConnectionError
            If the replay's process has ended.
        """
        k, rows = checks.batch(self._fields, columns, self._n_envs, self._capacity)
        raw = np.full(k, np.nan) if priorities is None else checks.priorities(priorities, k)
        if raw.max(initial=0.0) > self._largest:
            raise ValueError(f"priorities must be at most {self._largest:g} for this replay, got {raw.max():g}")
        if k:
            steps = stages.Steps.of(rows, k, self._n_envs, raw)
            self._unsent.append(self._queue.pack(stages.push(self._stages, steps)))
        return self._send(timeout_s)

    def end_episode(self, env: int | None = None, *, timeout_s: float | None = None) -> int:
        """Send what is pending of a stream cut without a flag, as `ReplayBuffer.end_episode`; return how many rows."""
        for cut in checks.envs(env, self._n_envs):
            self._unsent += [self._queue.pack(steps) for steps in stages.flush(self._stages, cut)]
        return self._send(timeout_s)

    def _send(self, timeout_s: float | None) -> int:
        n_sent, wait_s, begin = 0, _SHORTEST_WAIT_S, time.monotonic()
        look = begin + _LOOK_S
        while self._unsent:
            k = self._queue.write(self._unsent[0])
            n_sent += k
            self._unsent[0] = self._unsent[0][k:]
            if not len(self._unsent[0]):
                self._unsent.pop(0)
                continue
            now = time.monotonic()
            if timeout_s is not None and now - begin >= timeout_s:
                n_left = sum(map(len, self._unsent))
                raise TimeoutError(
                    f"timeout_s must outlast the replay's pauses, got {timeout_s:g}; {n_left} transitions wait"
                )
            if now >= look:
                look = now + _LOOK_S
                _check_alive(self._queue.reader)
            time.sleep(wait_s)
            wait_s = _SHORTEST_WAIT_S if k else min(2 * wait_s, _LONGEST_WAIT_S)
        return n_sent


def _check_alive(pid: int) -> None:
    """Raise ConnectionError if a process has ended."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError as error:
        raise ConnectionError(f"the replay's process {pid} has ended: nobody takes what is added") from error
    except PermissionError:
        pass  # it exists
