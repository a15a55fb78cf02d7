"""A replay in a folder: flushing, closing, and opening it again."""

from __future__ import annotations

import json
import logging
import os
from abc import abstractmethod
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from amper import checks
from amper.config import from_dict
from amper.mapped import MappedStorage, read_description
from amper.protocols import Int64, Sink
from amper.saving import FORMAT_VERSION, Saved
from amper.state import flatten, read_npz, unflatten, write_npz

_CHUNK = 1 << 16  # transitions, when they are inserted again
_log = logging.getLogger(__name__)


class OnDisk(Saved):
    """The part of `ReplayBuffer` that keeps one in a folder."""

    _exists = False  # whether the folder is opened again

    @property
    def _mapped(self) -> MappedStorage | None:
        return self._storage if isinstance(self._storage, MappedStorage) else None

    def flush(self) -> None:
        """Keep everything as it is now: what a process that is killed later leaves behind.

        Rows are in their file as soon as they were added. Priorities, counters and random numbers are kept here, and
        go back to here when the folder is opened after a kill; transitions added since then enter at the largest
        priority. Does nothing for a replay in memory.

        Raises
        ------
        ValueError
            If the folder was closed.
        """
        storage = self._mapped
        if storage is None:
            return
        self.receive()
        storage.flush()
        values, arrays = flatten(self._state_on_disk(storage))
        header = json.dumps({"version": FORMAT_VERSION, "kind": "mapped state", **values})
        write_npz(storage.state_path, header, arrays, compressed=False)

    def close(self) -> None:
        """Flush, and let another process open the folder; adding is refused from here on.

        Does nothing for a replay in memory.
        """
        if self._mapped is not None and self._mapped.is_open:
            try:
                self.flush()
            finally:
                self._mapped.close()

    @abstractmethod
    def receive(self) -> Int64:
        """Store what the writers have added since the last time."""

    @abstractmethod
    def _set_alpha(self) -> None:
        """Take the exponent that a schedule has come to."""

    def _state_on_disk(self, storage: MappedStorage) -> dict[str, Any]:
        """Return the state that is kept beside the rows."""
        kept = {"flags": storage.flags(), "n_adds": storage.n_adds, "epoch": storage.epoch}
        return {**self._state(), **kept}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @classmethod
    def open(cls, folder: str | os.PathLike[str], *, sink: Sink | None = None, threads: bool = False) -> Self:
        """Return the replay in `folder`, as its last process left it.

        After `close`, or `flush` and nothing since, it goes on exactly. After a kill every transition added is there
        but those an `add` under way had not written, and steps pending: `stats["lost"]` counts them. Rows that a
        failure of the machine damaged count as lost too; the others are then renumbered from id 0 on.

        Raises
        ------
        FileNotFoundError
            If there is no such folder.
        ValueError
            If it holds no replay, or another process uses it.
        """
        folder = Path(folder).absolute()
        description = read_description(folder)
        buffer = cls.__new__(cls, threads=threads)
        buffer._exists = True
        try:
            config = from_dict(description)
            buffer.__init__(  # type: ignore[misc]  # as constructed, but for the folder that exists
                config.pop("capacity"), config.pop("fields"), storage=folder, threads=threads, **config
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"folder must hold a replay, got {str(folder)!r}: {error!r}") from error
        try:
            buffer._recover()
            if sink is not None:
                buffer._attach(sink)
        except BaseException:
            if buffer._mapped is not None:
                buffer._mapped.close()
            raise
        return buffer

    def _recover(self) -> None:
        """Take the state of the last flush, and what was added since."""
        storage = self._mapped
        assert storage is not None
        n_flushed = self._restore(storage)
        if not storage.is_whole.all():
            self._keep_whole(storage, n_flushed)
            n_flushed = storage.n_issued
        self._n_issued = storage.n_issued
        if n_flushed < storage.n_issued:
            self._set_alpha()
        first = max(n_flushed, storage.n_issued - self._capacity)
        for begin in range(first, storage.n_issued, _CHUNK):
            slots = np.arange(begin, min(begin + _CHUNK, storage.n_issued)) % self._capacity
            self._sampler.insert(slots, self._encoder.defaults(len(slots)), at_maximum=True)
        n_lost = storage.n_lost - self._stats["lost"]
        self._stats["lost"] = storage.n_lost
        if n_lost:
            _log.warning("%s: %d transitions were lost with the process that wrote them", storage.folder, n_lost)
            self.flush()

    def _restore(self, storage: MappedStorage) -> int:
        """Load the state of the last flush, if there is one of these rows; return the ids issued until then."""
        d: dict[str, Any] = {}
        if storage.state_path.exists():
            header, arrays = read_npz(storage.state_path, "a replay's state", FORMAT_VERSION, "mapped state")
            d = unflatten(header, arrays)
        if d.get("epoch") != storage.epoch:
            storage.count_lost(storage.n_pending)
            return 0
        checks.same_config(json.loads(json.dumps(self._config)), d)
        checks.same_layout("d", self._state_on_disk(storage), d)
        n_flushed: int = d["n_issued"]
        if not 0 <= n_flushed <= storage.n_issued or d["flags"].max(initial=0) > 1:
            raise ValueError(f"d must be the state of these {storage.n_issued} rows, got one of {n_flushed}")
        is_now = d["n_adds"] == storage.n_adds and n_flushed == storage.n_issued
        if not is_now:  # else they are pending again
            storage.count_lost(storage.n_pending)
        flags = d.pop("flags")
        parts = self._new_parts_but(storage)
        self._fill(parts if is_now else parts._replace(stages={}), d)
        # The rows that were overwritten since were not sampled yet.
        flags[np.arange(max(n_flushed, storage.n_issued - self._capacity), storage.n_issued) % self._capacity] = 0
        storage.set_flags(flags)
        self._stats = dict(d["stats"])
        self._adopt(parts)
        return n_flushed

    def _keep_whole(self, storage: MappedStorage, n_flushed: int) -> None:
        """Go on with the rows that are whole, and the priorities they had at the flush."""
        codes = self._sampler.codes.astype(np.int64)
        ids = storage.keep_whole()
        self._n_issued = len(ids)
        self._set_alpha()
        kept = codes[ids % self._capacity]
        kept[ids >= n_flushed] = self._encoder.default
        parts = self._new_parts_but(storage)._replace(encoder=self._encoder, stages=self._stages)
        if len(ids):
            parts.sampler.insert(np.arange(len(ids)), kept, at_maximum=False)
        storage.set_flags(np.zeros(self._capacity, np.uint8))
        self._adopt(parts)
