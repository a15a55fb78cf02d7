"""A replay for several threads: the same calls, one at a time."""

from __future__ import annotations

import copy
import threading
from typing import Any

from amper.protocols import Int64
from amper.replay import ReplayBuffer
from amper.shared import Writer


class LockedReplayBuffer(ReplayBuffer):
    """What `ReplayBuffer(threads=True)` returns: every call waits for those of other threads.

    A class of its own, for a lock that is asked for and never needed would cost every call .1 us.
    """

    _lock: threading.RLock

    def __new__(cls, *args: Any, **options: Any) -> LockedReplayBuffer:
        """Return an empty instance that has its lock already."""
        buffer = super().__new__(cls)
        buffer._lock = threading.RLock()
        return buffer

    def add(self, /, *, priorities: Any = None, **columns: Any) -> Int64:
        """As `ReplayBuffer.add`."""
        with self._lock:
            return super().add(priorities=priorities, **columns)

    def update_priorities(self, indices: Any, priorities: Any) -> int:
        """As `ReplayBuffer.update_priorities`."""
        with self._lock:
            return super().update_priorities(indices, priorities)

    def sample(self, batch_size: int, beta: float | None = None, *, replace: bool = True) -> dict[str, Any]:
        """As `ReplayBuffer.sample`."""
        with self._lock:
            return super().sample(batch_size, beta, replace=replace)

    def end_episode(self, env: int | None = None) -> Int64:
        """As `ReplayBuffer.end_episode`."""
        with self._lock:
            return super().end_episode(env)

    @property
    def stats(self) -> dict[str, int]:
        """As `ReplayBuffer.stats`."""
        with self._lock:
            return super().stats

    def state_dict(self) -> dict[str, Any]:
        """As `ReplayBuffer.state_dict`."""
        with self._lock:
            return super().state_dict()

    def load_state_dict(self, d: Any) -> None:
        """As `ReplayBuffer.load_state_dict`."""
        with self._lock:
            super().load_state_dict(d)

    def writers(self, n: int, *, room: int = 4096, timeout_s: float | None = None) -> list[Writer]:
        """As `ReplayBuffer.writers`."""
        with self._lock:
            return super().writers(n, room=room, timeout_s=timeout_s)

    def receive(self) -> Int64:
        """As `ReplayBuffer.receive`."""
        with self._lock:
            return super().receive()

    def flush(self) -> None:
        """As `ReplayBuffer.flush`."""
        with self._lock:
            super().flush()

    def close(self) -> None:
        """As `ReplayBuffer.close`."""
        with self._lock:
            super().close()

    def __getstate__(self) -> dict[str, Any]:
        """Return a copy of everything but the lock, made while no call is under way: a copy has its own."""
        with self._lock:
            return copy.deepcopy({k: v for k, v in super().__getstate__().items() if k != "_lock"})

    def __deepcopy__(self, memo: dict[int, Any]) -> LockedReplayBuffer:
        """Return a copy with a lock of its own."""
        other = LockedReplayBuffer.__new__(type(self))
        other.__dict__.update(self.__getstate__())
        return other
