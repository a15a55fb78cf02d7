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
_WRITTEN, _TAKEN, _READER, _WRITER, _CLOSED = 0, 8, 16, 24, 25  # words of `control`; its cache lines have eight
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
        """Return the rows written and not taken yet; `done` then makes room."""
        taken = self.n_taken
        out = np.empty((self.n_written - taken, self._row.stride), np.uint8)
        k = int(kernels.take(self._rows, self._stamps, taken, out))
        records = self._row.records(out[:k])
        columns = {f.name: records[f.name] for f in self._fields}
        return stages.Steps(columns, np.zeros(k, np.int64), np.zeros(k, np.bool_), records[_PRIORITY.name].copy())

    def done(self, k: int) -> None:
        """Let the writer have the room of the next k rows."""
        self._control[_TAKEN] += k

    @property
    def n_free(self) -> int:
        """Rows there is room for."""
        return self._n_rows - (self.n_written - self.n_taken)

    @property
    def n_rows(self) -> int:
        """Rows there is room for in all."""
        return self._n_rows

    def own(self) -> None:
        """Make the calling process the writer; RuntimeError if another one is, and lives."""
        pid, owner = os.getpid(), int(self._control[_WRITER])
        if owner == pid:
            return
        if owner and _lives(owner):
            raise RuntimeError(f"writer must be used by one process, got calls of {pid} beside those of {owner}")
        self._control[_WRITER] = pid

    def close(self) -> None:
        """Say that nothing more will be written."""
        self._control[_CLOSED] = 1

    @property
    def is_closed(self) -> bool:
        """Whether nothing more will be written, and all is taken."""
        return bool(self._control[_CLOSED]) and self.n_written == self.n_taken


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
    timeout_s : float or None
        Longest wait for room.
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
        timeout_s: float | None,
    ) -> None:
        self._queue, self._fields, self._stages = queue, dict(fields), tuple(parts.values())
        self._n_envs, self._capacity, self._largest, self._timeout_s = n_envs, capacity, largest, timeout_s

    def add(self, /, *, priorities: Any = None, **columns: Any) -> int:
        """Add one step, or k of them, as `ReplayBuffer.add`; wait while there is no room for what they complete.

        Parameters
        ----------
        priorities : float or float[k], optional
            As in `ReplayBuffer.add`.
        **columns
            As in `ReplayBuffer.add`.

        Returns
        -------
        int
            Transitions that were completed and sent; their ids are given when the replay takes them.

        Raises
        ------
        ValueError, TypeError
            As `ReplayBuffer.add`.
        TimeoutError
            If there was no room in time.
        ConnectionError
            If the replay's process has ended.
        RuntimeError
            If another process uses this writer. Nothing is added in any of these cases.
        """
        k, rows = checks.batch(self._fields, columns, self._n_envs, self._capacity)
        raw = np.full(k, np.nan) if priorities is None else checks.priorities(priorities, k)
        if raw.max(initial=0.0) > self._largest:
            raise ValueError(f"priorities must be at most {self._largest:g} for this replay, got {raw.max():g}")
        if k == 0:
            return 0
        self._wait(k + self._n_pending)
        steps = stages.Steps.of(rows, k, self._n_envs, raw, in_stages=bool(self._stages))
        return self._send(stages.push(self._stages, steps))

    def end_episode(self, env: int | None = None) -> int:
        """Send what is pending of a stream cut without a flag, as `ReplayBuffer.end_episode`; return how many rows."""
        envs = checks.envs(env, self._n_envs)
        self._wait(self._n_pending + len(envs))
        return sum(self._send(steps) for cut in envs for steps in stages.flush(self._stages, cut))

    def close(self) -> None:
        """Say that nothing more comes: the replay then keeps no room for it. What was sent arrives."""
        self._queue.own()
        self._queue.close()

    @property
    def _n_pending(self) -> int:
        """Transitions that may be completed beside what is added."""
        return self._stages[0].n_pending if self._stages else 0

    def _wait(self, n: int) -> None:
        """Wait until there is room for n rows, or for all that a queue holds."""
        self._queue.own()
        begin = time.monotonic()
        look, wait_s = begin + _LOOK_S, _SHORTEST_WAIT_S
        while self._queue.n_free < min(n, self._queue.n_rows):
            now = time.monotonic()
            late = self._timeout_s is not None and now - begin >= self._timeout_s
            if late or now >= look:
                look = now + _LOOK_S
                if not _lives(self._queue.reader):
                    raise ConnectionError(f"the replay's process {self._queue.reader} has ended: nobody takes rows")
            if late:
                raise TimeoutError(f"timeout_s must outlast the replay's pauses, got {self._timeout_s:g}")
            time.sleep(wait_s)
            wait_s = min(2 * wait_s, _LONGEST_WAIT_S)

    def _send(self, steps: stages.Steps) -> int:
        """Write rows; more than the queue holds go in parts."""
        rows = self._queue.pack(steps)
        n_sent = self._queue.write(rows)
        while n_sent < len(rows):
            time.sleep(_SHORTEST_WAIT_S)
            if not _lives(self._queue.reader):
                raise ConnectionError(f"the replay's process {self._queue.reader} has ended: nobody takes rows")
            n_sent += self._queue.write(rows[n_sent:])
        return len(rows)


def _lives(pid: int) -> bool:
    """Return whether there is a process of that number."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # it exists
    return True
