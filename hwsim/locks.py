"""Locks on hardware in equal parts, held one by one or all together; first come, first served."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import simpy

_AFTER_ALL = 2  # SimPy's normal events have priority 1: what happens at one instant happens before this


class ReleaseError(RuntimeError):
    """Hardware was released by something that does not hold it: the simulator is wrong, not its user."""


class Hold:
    """A request for one part or for all; a context that gives back what it was granted.

    Parameters
    ----------
    lock : Lock
        What it asks.
    part : int or None
        Which part; None: all of them.
    order : int
        Of requests of one instant the smaller comes first.

    Attributes
    ----------
    granted, wanted : simpy.Event
        Happen when it is granted, and when a request for all parts waits for what it holds.
    """

    __slots__ = ("_lock", "asked_fs", "granted", "order", "part", "state", "wanted")

    def __init__(self, lock: Lock, part: int | None, order: int = 0) -> None:
        self._lock, self.part, self.order = lock, part, order
        self.granted: simpy.Event = lock.env.event()
        self.wanted: simpy.Event = lock.env.event()
        self.asked_fs, self.state = 0, "new"

    def __enter__(self) -> Hold:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.state == "held":
            self._lock.release(self)
        elif self.state == "waiting":
            self._lock.withdraw(self)

    @property
    def key(self) -> tuple[int, bool, int]:
        """Who comes first: who asked earlier; of one instant, who wants all parts, then by `order`."""
        return self.asked_fs, self.part is not None, self.order


class Lock:
    """Who may use which part.

    A request is granted once nothing that it conflicts with is held or stands before it: a part conflicts with the
    same part and with all of them. Requests and releases of one instant are looked at together, when everything else
    of that instant has happened: so the order in which the simulator happens to come to them decides nothing.

    Parameters
    ----------
    env : simpy.Environment
        Where waiting happens.
    n_parts : int
        Parts: the banks of the arrays, say; one for hardware that is held as a whole.

    Examples
    --------
    >>> import simpy
    >>> env = simpy.Environment()
    >>> banks = Lock(env, n_parts=2)
    >>> write = banks.request(0)
    >>> env.run(1)
    >>> search, late = banks.request(None), banks.request(1)
    >>> env.run(2)
    >>> write.state, write.wanted.triggered, search.state, late.state
    ('held', True, 'waiting', 'waiting')
    >>> banks.release(write)
    >>> env.run(3)
    >>> search.state, late.state
    ('held', 'waiting')
    """

    def __init__(self, env: simpy.Environment, n_parts: int = 1) -> None:
        from simpy.events import EventPriority

        self.env, self._after_all = env, EventPriority(_AFTER_ALL)
        self._holders: list[Hold | None] = [None] * n_parts
        self._n_held = 0
        self._all_held = False
        self._queue: list[Hold] = []
        self._is_due = False

    def request(self, part: int | None, order: int = 0) -> Hold:
        """Return a hold that has asked for a part, or for all."""
        hold = Hold(self, part, order)
        self.ask(hold)
        return hold

    def ask(self, hold: Hold) -> None:
        """Ask for what a new hold names."""
        hold.asked_fs, hold.state = int(self.env.now), "waiting"
        at = len(self._queue)
        while at and self._queue[at - 1].key > hold.key:
            at -= 1
        self._queue.insert(at, hold)
        self._look_later()

    def release(self, hold: Hold) -> None:
        """Give back what `hold` was granted.

        Raises
        ------
        ReleaseError
            If it holds nothing.
        """
        if hold.state != "held" or hold._lock is not self:
            raise ReleaseError(f"part {hold.part} must be held to be released, got a request that is {hold.state}")
        hold.state = "released"
        if hold.part is None:
            self._all_held = False
        else:
            self._holders[hold.part] = None
            self._n_held -= 1
        self._look_later()

    def withdraw(self, hold: Hold) -> None:
        """Forget a request that was never granted."""
        self._queue.remove(hold)
        hold.state = "withdrawn"
        self._look_later()

    def _look_later(self) -> None:
        """Look at the queue at the end of this instant."""
        if not self._is_due and self._queue:
            self._is_due = True
            later = self.env.event()
            later._ok, later._value = True, None
            later.callbacks.append(self._serve)
            self.env.schedule(later, priority=self._after_all)

    def _is_free(self, part: int | None) -> bool:
        if part is None:
            return not self._all_held and self._n_held == 0
        return not self._all_held and self._holders[part] is None

    def _grant(self, hold: Hold) -> None:
        hold.state = "held"
        if hold.part is None:
            self._all_held = True
        else:
            self._holders[hold.part] = hold
            self._n_held += 1
        hold.granted.succeed()

    def _serve(self, _: simpy.Event) -> None:
        """Grant, in order, what conflicts with nothing held or waiting before it."""
        self._is_due = False
        wanted: set[int | None] = set()
        waiting: list[Hold] = []
        for i, hold in enumerate(self._queue):
            if hold.part not in wanted and (hold.part is not None or not wanted) and self._is_free(hold.part):
                self._grant(hold)
                continue
            wanted.add(hold.part)
            waiting.append(hold)
            if hold.part is None:  # all behind it conflict with it
                waiting += self._queue[i + 1 :]
                for held in self._holders:
                    if held is not None and not held.wanted.triggered:
                        held.wanted.succeed()
                break
        self._queue = waiting
