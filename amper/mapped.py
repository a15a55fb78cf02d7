"""Rows in a file that is mapped into memory: they outlive the process that wrote them, killed or not."""

from __future__ import annotations

import json
import mmap
import os
import secrets
import sys
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from amper._kernels import mapped as kernels
from amper.batches import BatchPool
from amper.fields import Field
from amper.protocols import Array, Int64
from amper.stages import Steps
from amper.storage import RowStorage

FORMAT_VERSION = 1
_DESCRIPTION, _ROWS, _STATE, _LOCK = "replay.json", "rows.bin", "state.npz", "lock"
_CONTROL_BYTES, _JOURNAL_BYTES, _LINE = 4096, 1 << 20, 64
_STARTED, _ISSUED, _FIRST, _STAMP, _COUNT, _PENDING, _ADDS, _LOST, _EPOCH = range(9)
_N_WORDS = 9


class MappedStorage(RowStorage):
    """Rows in a folder, in a file mapped into memory; one process at a time.

    A row is first written to a journal in the same file, then to its place: whenever the writer is killed, every row
    whose write had begun is either whole in its place, or whole in the journal and stored when the folder is opened
    again, or was never in its place. After a failure of the machine, when the system may not have written every page,
    each row's stamp tells whether it is whole.

    Parameters
    ----------
    folder : Path
        Made if it does not exist.
    capacity : int
        Rows.
    fields : tuple of Field
    exists : bool
        Open what the folder holds, instead of a new file.

    Attributes
    ----------
    n_issued : int
        Ids whose rows are stored.
    n_pending : int
        Steps that were pending when it was opened.
    is_whole : bool[k]
        Whether each live row, from the oldest id on, is what was written.

    Raises
    ------
    ValueError
        If the folder holds a replay already, or none, or another process uses it, or there is no room.
    """

    def __init__(self, folder: Path, capacity: int, fields: tuple[Field, ...], *, exists: bool) -> None:
        self.folder = folder
        self._exists = exists
        # Let go of by `close`, or with this object: a failure on the way leaves no lock behind.
        self._unlock = weakref.finalize(self, _release, _lock(folder, exists=exists))
        _OPEN.add(self)
        try:
            super().__init__(capacity, fields)
            self._layout[2, 0] = -1  # no flags in rows: sampling would dirty the pages it reads
            if exists:
                self._recover()
            else:
                self._control[_EPOCH] = secrets.randbits(62)
        except BaseException:
            self.close()
            raise

    def _allocate(self, capacity: int, stride: int) -> Array:
        return self._open(self.folder / _ROWS, capacity, stride, exists=self._exists)

    def _open(self, path: Path, capacity: int, stride: int, *, exists: bool) -> Array:
        """Map a file; return its rows."""
        n_journal = max(1, min(capacity, _JOURNAL_BYTES // stride))
        sizes = [_CONTROL_BYTES, n_journal * stride, 8 * capacity, capacity * stride]
        rooms = [-(-size // _LINE) * _LINE for size in sizes]
        self._file = _map(path, sum(rooms), exists=exists)
        memory = np.frombuffer(self._file, np.uint8)
        begins = np.cumsum([0, *rooms])
        control, journal, stamps, rows = (
            memory[begin : begin + size] for begin, size in zip(begins, sizes, strict=False)
        )
        self._control: Int64 = control[: 8 * _N_WORDS].view(np.int64)
        self._journal = journal.reshape(n_journal, stride)
        self._stamps = stamps.view(np.uint64)
        return rows.reshape(capacity, stride)

    def _make_views(self) -> None:
        super()._make_views()
        self._flags = np.zeros(self._capacity, np.uint8)
        self._written = self._row.records(self._journal)

    def __getstate__(self) -> dict[str, Any]:
        raise TypeError("a replay on disk must not be copied or pickled: two would write one file; save() it instead")

    # -- writing ------------------------------------------------------------------------------------
    def write(self, first: int, steps: Steps) -> tuple[Int64, int]:
        """Write transitions, already checked, with ids from `first` on."""
        k = steps.k
        # Every statement is a store of its own, in this order: a killed process leaves a prefix of them.
        control = self._control
        control[_STARTED] = first + k
        for begin in range(0, k, len(self._journal)):
            n = min(k - begin, len(self._journal))
            for name in self.fields:
                self._written[name][:n] = steps.columns[name][begin : begin + n]
            journal = self._journal[:n]
            control[_FIRST] = first + begin
            control[_STAMP] = kernels.stamp_of(journal, first + begin)
            control[_COUNT] = n
            kernels.store(journal, self.rows, self._stamps, first + begin)
            control[_ISSUED] = first + begin + n
            control[_COUNT] = 0
        slots = np.arange(first, first + k) % self._capacity
        n_sampled = int(np.count_nonzero(self._flags[slots]))
        self._flags[slots] = 0
        self.n_sampled -= n_sampled
        return slots, n_sampled

    def check_open(self) -> None:
        """Raise ValueError if the folder was closed."""
        if not self.is_open:
            raise ValueError(f"storage must be open, got {str(self.folder)!r}, which was closed")

    def note(self, n_pending: int) -> None:
        """Remember that steps were added, and how many of all are pending: they are lost with the process."""
        self._control[_ADDS] += 1
        self._control[_PENDING] = n_pending

    @property
    def n_adds(self) -> int:
        """Calls of `note` so far: tells whether a state is of now."""
        return int(self._control[_ADDS])

    def finish(self, pool: BatchPool, block: int) -> int:
        """Mark a batch as sampled; return how many rows were for the first time."""
        slots = pool.ids(block) % self._capacity
        n_new = len(np.unique(slots[self._flags[slots] == 0]))
        self._flags[slots] = 1
        return n_new

    # -- the folder ---------------------------------------------------------------------------------
    def describe(self, config: Mapping[str, Any]) -> None:
        """Write what the replay was constructed with: from here on the folder holds one."""
        text = json.dumps({"kind": "mapped replay", "version": FORMAT_VERSION, "byteorder": sys.byteorder, **config})
        temporary = self.folder / f".{_DESCRIPTION}.{secrets.token_hex(4)}.tmp"
        temporary.write_text(text)
        os.replace(temporary, self.folder / _DESCRIPTION)

    @property
    def state_path(self) -> Path:
        """Where the state of everything but the rows is kept."""
        return self.folder / _STATE

    def flush(self) -> None:
        """Have the system write every row to the disk; ValueError if the folder was closed."""
        self.check_open()
        self._file.flush()

    @property
    def is_open(self) -> bool:
        """Whether rows can be written."""
        return self._unlock.alive

    def close(self) -> None:
        """Let another process open the folder; nothing can be written any more."""
        self._unlock()

    def disown(self) -> None:
        """Leave the folder to the process this one was forked from."""
        held = self._unlock.detach()
        if held is not None:
            os.close(held[2][0])

    def _recover(self) -> None:
        """Finish what a killed writer had begun, and look at every row."""
        control = self._control
        started, issued, first, stamp, count = (int(control[i]) for i in range(_COUNT + 1))
        if not (0 <= issued <= started < 2**62 and 0 <= control[_PENDING] < 2**62 and 0 <= control[_LOST] < 2**62):
            raise ValueError(f"folder must hold a replay, got {str(self.folder)!r}, whose counts cannot be")
        journal = self._journal[: max(0, min(count, len(self._journal)))]
        if 0 < count <= len(self._journal) and first <= issued and kernels.stamp_of(journal, first) == stamp:
            kernels.store(journal, self.rows, self._stamps, first)
            issued = max(issued, first + count)
        self.n_issued, self.n_pending = issued, int(control[_PENDING])
        control[_LOST] += max(0, started - issued)
        control[_ISSUED] = control[_STARTED] = issued
        control[_COUNT] = control[_PENDING] = 0
        self.is_whole = np.empty(min(issued, self._capacity), np.bool_)
        kernels.whole(self.rows, self._stamps, max(0, issued - self._capacity), self.is_whole)

    @property
    def n_lost(self) -> int:
        """Rows whose write had begun and which are not stored, damaged rows, steps that were pending: of all time."""
        return int(self._control[_LOST])

    def count_lost(self, n: int) -> None:
        """Count further ones."""
        self._control[_LOST] += n

    @property
    def epoch(self) -> int:
        """Changes when ids are given anew: a state of another epoch is of other ids."""
        return int(self._control[_EPOCH])

    def keep_whole(self) -> Int64:
        """Store the whole rows alone, with ids from 0 on, in a new file; return the ids they had, in order."""
        ids = np.arange(max(0, self.n_issued - self._capacity), self.n_issued)[self.is_whole]
        rows = self.rows[ids % self._capacity]
        n_lost = self.n_lost + int((~self.is_whole).sum())
        path = self.folder / f"{_ROWS}.new"
        path.unlink(missing_ok=True)
        self.rows = self._open(path, self._capacity, self._row.stride, exists=False)
        kernels.store(rows, self.rows, self._stamps, 0)
        self.n_issued = self._control[_ISSUED] = self._control[_STARTED] = len(ids)
        self._control[_LOST], self._control[_EPOCH] = n_lost, secrets.randbits(62)
        self._file.flush()
        os.replace(path, self.folder / _ROWS)  # until here the folder is as it was
        self._make_views()
        self.is_whole = np.ones(len(ids), np.bool_)
        return ids

    def discard(self) -> None:
        """Leave nothing of a folder that was just made."""
        for name in (_ROWS, _DESCRIPTION, _STATE):
            (self.folder / name).unlink(missing_ok=True)
        self.close()

    # -- state --------------------------------------------------------------------------------------
    def state_dict(self) -> dict[str, Any]:
        """Return the rows and flags as storage in memory has them."""
        rows = self.rows.copy()
        rows[:, self._row.flag_at] = self._flags
        return {"rows": rows}

    def flags(self) -> Array:
        """Return a copy of the flags."""
        return self._flags.copy()

    def set_flags(self, flags: Array) -> None:
        """Take flags, uint8[capacity]."""
        self._flags[...] = flags
        self.n_sampled = int(np.count_nonzero(flags))


def read_description(folder: Path) -> dict[str, Any]:
    """Return what the replay in a folder was constructed with.

    Raises
    ------
    FileNotFoundError
        If there is no such folder.
    ValueError
        If it holds no replay, or one of a newer format or of a machine of another byte order.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"folder must exist, got {str(folder)!r}")
    try:
        description: dict[str, Any] = json.loads((folder / _DESCRIPTION).read_text())
        kind, version = description.pop("kind"), description.pop("version")
        byteorder = description.pop("byteorder")
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise ValueError(f"folder must hold a replay, got {str(folder)!r}: {error}") from error
    if kind != "mapped replay" or version.__class__ is not int or not 1 <= version <= FORMAT_VERSION:
        raise ValueError(f"folder must hold a replay of format <= {FORMAT_VERSION}, got {kind!r} of format {version!r}")
    if byteorder != sys.byteorder:
        raise ValueError(f"folder must be of a machine with {sys.byteorder} byte order, got {byteorder!r}")
    return description


def _lock(folder: Path, *, exists: bool) -> int:
    """Return a descriptor that holds the folder's lock as long as it is open, and its process lives."""
    try:
        import fcntl
    except ImportError as error:
        raise ValueError("storage must be 'memory' on a system without POSIX file locks") from error
    if not exists:
        if not folder.parent.is_dir():
            raise FileNotFoundError(f"storage must lie in an existing folder, got {str(folder)!r}")
        if folder.exists() and not folder.is_dir():
            raise ValueError(f"storage must be a folder, got {str(folder)!r}, which is a file")
        folder.mkdir(exist_ok=True)
    descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not exists and (folder / _DESCRIPTION).exists():
            raise ValueError(
                f"storage must be a folder without a replay, got {str(folder)!r}; ReplayBuffer.open goes on with it"
            )
        if not exists:  # what a process killed while it made the folder has left
            for name in (_ROWS, _STATE):
                (folder / name).unlink(missing_ok=True)
    except BlockingIOError as error:
        os.close(descriptor)
        raise ValueError(f"storage must not be in use, got {str(folder)!r}, which a process has open") from error
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _release(descriptor: int) -> None:
    """Let go of a lock, in processes forked from this one as well."""
    import fcntl

    fcntl.flock(descriptor, fcntl.LOCK_UN)
    os.close(descriptor)


#: Storages this process has open: module state, for a fork must not keep a lock alive when this process is killed.
_OPEN: weakref.WeakSet[MappedStorage] = weakref.WeakSet()


def _forget_locks() -> None:
    """Close, in a forked process, the descriptors of locks that are its parent's."""
    for storage in list(_OPEN):
        storage.disown()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_locks)


def _map(path: Path, n_bytes: int, *, exists: bool) -> mmap.mmap:
    """Return a file mapped into memory, its room on the disk reserved."""
    if exists and (not path.is_file() or path.stat().st_size != n_bytes):
        size = path.stat().st_size if path.is_file() else 0
        raise ValueError(f"folder must hold rows of {n_bytes} bytes, got {size} in {str(path)!r}")
    descriptor = os.open(path, os.O_RDWR | (0 if exists else os.O_CREAT | os.O_EXCL), 0o666)
    try:
        if not exists:
            # Without its room a store to a full disk would kill the process.
            os.posix_fallocate(descriptor, 0, n_bytes)
        return mmap.mmap(descriptor, n_bytes)
    except OSError as error:
        if not exists:
            path.unlink()
        raise ValueError(
            f"capacity must fit on the disk, got one that needs {n_bytes / 2**30:,.1f} GiB: {error}"
        ) from error
    finally:
        os.close(descriptor)
