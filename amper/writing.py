"""Writing to a replay: what `add`, `update_priorities` and `end_episode` of `ReplayBuffer` do."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np

from amper import checks, stages
from amper._kernels.update import check
from amper.disk import OnDisk
from amper.fixedpoint import LARGEST_MASS
from amper.mapped import MappedStorage
from amper.protocols import Float64, Int64, RunningMaximum
from amper.schedules import Linear
from amper.sequences import sequence_priorities
from amper.shared import Queue, Writer


class Written(OnDisk):
    """The part of `ReplayBuffer` that writes."""

    def add(self, /, *, priorities: Any = None, **columns: Any) -> Int64:
        """Store one transition, or k of them, and return their ids.

        Parameters
        ----------
        priorities : float or float[k], optional
            Raw abs(TD error); the largest seen so far by default (1.0 when none was). With n_step > 1 that of a
            step becomes that of the transition it begins; with sequences theirs follows from their steps'.
        **columns
            Every column: one value, or arrays whose first axis is k.

        Returns
        -------
        int64[k]
            Consecutive ids, never reused. With n_step > 1 or sequences the ids issued by what these steps
            completed, perhaps none.

        Raises
        ------
        ValueError, TypeError
            If columns are missing, unknown, of unequal length, of the wrong shape or not convertible; if a
            priority is negative or not finite; if k exceeds the capacity. Nothing is stored then.
        """
        if priorities is None and self._is_plain:
            row = self._storage.as_row(columns)
            if row is not None:
                return self._add_row(row)
        k, rows = checks.batch(self._step_fields, columns, self._n_envs, self._most_steps)
        raw = None if priorities is None else checks.priorities(priorities, k)
        self._check_open()
        if k == 0:
            return np.empty(0, np.int64)
        if raw is not None:
            self._check_mass(float(raw.max()))
        staged = tuple(self._stages.values())
        entered = np.full(k, np.nan) if raw is None else raw
        steps = stages.Steps.of(rows, k, self._n_envs, entered, in_stages=bool(staged))
        ids = self._issue(stages.push(staged, steps)) if staged else self._store(steps, raw)
        self._note()
        return ids

    def _check_open(self) -> None:
        if isinstance(self._storage, MappedStorage):
            self._storage.check_open()

    def _note(self) -> None:
        """Let a folder know what would be lost with this process."""
        if isinstance(self._storage, MappedStorage):
            self._storage.note(sum(stage.n_pending for stage in self._stages.values()))

    def _add_row(self, row: tuple[Any, ...]) -> Int64:
        """Store one transition whose values need no conversion: `add` without its detours."""
        first = self._n_issued
        slot = first % self._capacity
        was_sampled = self._storage.write_row(slot, row)
        if first >= self._capacity:
            self._stats["never_sampled"] += 1 - was_sampled
        self._n_issued = first + 1
        ids, slots = np.empty(1, np.int64), np.empty(1, np.int64)
        ids[0], slots[0] = first, slot
        stored = self._sampler.insert(slots, self._encoder.defaults(1), at_maximum=True)
        if self._sink is not None:
            self._sink.record_insert(slots, stored, at_maximum=True)
        return ids

    def _store(self, steps: stages.Steps, raw: Float64 | None) -> Int64:
        """Store transitions, at most the capacity, and return their ids."""
        first, k = self._n_issued, steps.k
        self._set_alpha()
        if raw is None:
            codes = self._encoder.defaults(k)
        else:
            priorities = raw + self._encoder.eps
            self._grow(float(priorities.max()))
            codes = self._encoder.encode(priorities)
        slots, n_sampled = self._storage.write(first, steps)
        self._stats["never_sampled"] += max(0, min(k, first + k - self._capacity)) - n_sampled
        self._n_issued += k
        stored = self._sampler.insert(slots, codes, at_maximum=raw is None)
        if self._sink is not None:
            self._sink.record_insert(slots, stored, at_maximum=raw is None)
        return np.arange(first, first + k)

    def _issue(self, steps: stages.Steps) -> Int64:
        """Store what the stages completed: runs of transitions with and without priorities, in order."""
        first, k = self._n_issued, steps.k
        if k == 0:
            return np.empty(0, np.int64)
        missing = np.isnan(steps.priorities)
        n_missing = int(np.count_nonzero(missing))
        if n_missing in (0, k) and k <= self._capacity:
            return self._store(steps, None if n_missing else steps.priorities)
        cuts = {0, k, *(np.flatnonzero(np.diff(missing)) + 1).tolist(), *range(0, k, self._capacity)}
        for begin, end in pairwise(sorted(cuts)):
            part = steps.part(begin, end)
            self._store(part, None if missing[begin] else part.priorities)
        return np.arange(first, self._n_issued)

    @property
    def _most_steps(self) -> int:
        """Steps that may be added at once."""
        return self._capacity if self._settings.sequences is None else checks.MOST_SLOTS

    def _check_mass(self, priority: float) -> None:
        """Refuse a priority whose mass no full scale can hold, now or at an alpha to come."""
        self._encoder.doublings(priority + self._encoder.eps)
        if self._is_scheduled and not priority <= self._largest_priority():
            most = self._largest_priority()
            raise ValueError(f"priorities must be at most {most:g} for the alphas to come, got {priority:g}")

    def _check_scheduled(self, ids: Int64, values: Float64) -> None:
        """Refuse an update as the kernels do, before alpha moves."""
        n = self._n_issued
        for bad, status in (
            (ids < 0, checks.NEGATIVE_ID), (ids >= n, checks.UNKNOWN_ID),
            (~((values >= 0) & (values <= checks.LARGEST_PRIORITY)), checks.BAD_PRIORITY),
        ):  # fmt: skip
            if bad.any():
                checks.raise_update(status, int(np.argmax(bad)), ids, values, n)
        self._check_mass(float(values.max(initial=0.0)))

    def _set_alpha(self) -> None:
        """Take the exponent that a schedule has come to; the full scale follows."""
        schedule = self._settings.alpha
        if not isinstance(schedule, Linear):
            return
        alpha = schedule(self._n_issued)
        if alpha != self._encoder.alpha:
            self._encoder.alpha = alpha
            self._grow(self._encoder.largest)
        # What an earlier alpha wrote stops to be the largest as it is updated, long after alpha came to rest.
        if alpha != schedule.start and self._encoder.largest >= 0 and isinstance(self._sampler, RunningMaximum):
            self._sampler.set_maximum(self._encoder.default)

    def _grow(self, largest: float) -> None:
        """Double the full scale until it holds the mass of the priority `largest`; negative: there is none."""
        if largest < 0:
            return
        n = self._encoder.doublings(largest)
        if n == 0:
            return
        self._sampler.rescale(n)
        self._encoder.double(n)
        if self._sink is not None and len(self):
            codes = self._sampler.codes
            stored = np.flatnonzero(codes)
            self._sink.record_update(stored, codes[stored], actor=-n)

    def update_priorities(self, indices: Any, priorities: Any) -> int:
        """Store new priorities and return how many distinct live transitions were written.

        Parameters
        ----------
        indices : int[b]
            Ids, as `sample` returned them. One already overwritten is skipped and counted; a duplicate takes
            its last value.
        priorities : float[b], or float[b, t] for sequences of t steps
            Raw abs(TD error). That of steps outside the mask is not looked at.

        Raises
        ------
        IndexError
            If an id is negative or was not issued.
        ValueError
            If a priority is negative or not finite, or lengths differ.
        TypeError
            If ids are not whole numbers, or priorities not numbers. Nothing is changed in any of these cases.
        """
        ids = checks.ids(indices)
        if self._settings.sequences is not None:
            priorities = self._of_sequences(ids, priorities)
        values = checks.floats("priorities", priorities)
        if len(ids) != len(values):
            raise ValueError(f"priorities must have one value an index, {len(ids)}, got {len(values)}")
        kernel = (self._writer and self._writer.update_rows) or check
        n, capacity = self._n_issued, self._capacity
        if self._completes:
            self._check_open()
        if self._is_scheduled:
            self._check_scheduled(ids, values)
            self._set_alpha()
        status, at, n_live, largest, n_stale, _, _ = self._encoder.update(ids, values, n, capacity, kernel)
        if status == checks.GROW:
            self._grow(largest)
            status, at, n_live, largest, n_stale, _, _ = self._encoder.update(ids, values, n, capacity, kernel)
        if status != checks.DONE:
            checks.raise_update(status, at, ids, values, n)
        self._stats["stale_updates"] += n_stale
        if n_live and (self._writer is None or self._sink is not None):
            slots, codes = self._encoder.written(len(ids), n_live)
            if self._writer is None:
                self._sampler.update(slots, codes)
            if self._sink is not None:
                self._sink.record_update(slots, codes)
        return n_live

    def _of_sequences(self, ids: Int64, priorities: Any) -> Any:
        """Return priorities by sequence, where they were given by step."""
        array = checks.as_array("priorities", priorities)
        if array.ndim != 2:
            return priorities
        sequences = self._settings.sequences
        assert sequences is not None
        shape = (len(ids), sequences.n_steps)
        if array.shape != shape or array.dtype.kind not in "iuf":
            raise ValueError(f"priorities must be numbers of shape {shape}, got {array.dtype} of {array.shape}")
        array = array.astype(np.float64)
        mask = self._storage.read("mask", ids % self._capacity)
        gone = (ids < max(0, self._n_issued - self._capacity)) | (ids >= self._n_issued)
        array[gone], mask[gone] = 0.0, True  # skipped, or refused, below
        bad = mask & ~((array >= 0) & (array <= checks.LARGEST_PRIORITY))
        if bad.any():
            at = tuple(int(i) for i in np.argwhere(bad)[0])
            raise ValueError(f"priorities must be finite and at least 0, got {array[at]} at position {at}")
        return sequence_priorities(array, mask, sequences.eta)

    def end_episode(self, env: int | None = None) -> Int64:
        """Issue what is pending of a stream cut without a flag; one-step transitions leave nothing.

        Parameters
        ----------
        env : int, optional
            Environment; all by default.

        Returns
        -------
        int64[k]
            The ids issued.

        Raises
        ------
        IndexError
            If there is no such environment.
        """
        first, envs = self._n_issued, checks.envs(env, self._n_envs)
        self._check_open()
        for cut in envs:
            for steps in stages.flush(tuple(self._stages.values()), cut):
                self._issue(steps)
        self._note()
        return np.arange(first, self._n_issued)

    # -- other processes ----------------------------------------------------------------------------
    def writers(self, n: int, *, room: int = 4096, timeout_s: float | None = None) -> list[Writer]:
        """Return n writers, by which n other processes add to this replay.

        Each has a queue of its own in shared memory, with one writer and one reader: no process waits for another,
        a killed one leaves no lock behind, and sampler and rows need not be shared. This process takes what they
        wrote at its next `sample` or `receive`.

        Parameters
        ----------
        n : int
            Processes.
        room : int
            Transitions a queue holds; `Writer.add` waits while it is full.
        timeout_s : float, optional
            Longest such wait; for ever by default, as long as this process lives.

        Raises
        ------
        TypeError, ValueError
            If a number is out of range, or the replay is compact: rows of several processes do not follow each other.
        """
        n, room = checks.whole("n", n, at_least=1), checks.whole("room", room, at_least=1, at_most=checks.MOST_SLOTS)
        if timeout_s is not None:
            timeout_s = checks.number("timeout_s", timeout_s, 0.0, math.inf)
        if self._settings.compact:
            raise ValueError("compact must be False for a replay with writers, got True")
        made = []
        for _ in range(n):
            queue = Queue(tuple(self._storage.fields.values()), room)
            self._queues.append(queue)
            made.append(
                Writer(
                    queue, self._step_fields, self._new_stages(),
                    n_envs=self._n_envs, capacity=self._most_steps,
                    largest=self._largest_priority(), timeout_s=timeout_s,
                )
            )  # fmt: skip
        return made

    def _largest_priority(self) -> float:
        """Return a priority that some full scale can hold at any alpha to come."""
        alpha = self._settings.alpha
        steepest = max(alpha.start, alpha.end) if isinstance(alpha, Linear) else alpha
        if self._sampler.format.is_fixed or steepest <= 1:
            return checks.LARGEST_PRIORITY
        return float(0.5 * LARGEST_MASS ** (1 / steepest)) - self._encoder.eps

    def receive(self) -> Int64:
        """Store what the writers have added since the last time; return the ids issued, a writer's in its order."""
        first = self._n_issued
        self._check_open()
        for queue in self._queues:
            steps = queue.take()
            if steps.k:
                self._issue(steps)
                queue.done(steps.k)
        self._queues = [queue for queue in self._queues if not queue.is_closed]
        if self._n_issued > first:
            self._note()
        return np.arange(first, self._n_issued)
