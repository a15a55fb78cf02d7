"""The arrays' lock: writes take one bank each, a search takes all of them; first come, first served."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import simpy


class ReleaseError(RuntimeError):
    """Hardware was released by something that does not hold it: the simulator is wrong, not its user."""


class Hold:
    """A request for one bank or for all; a context that releases what it was granted.

    Parameters
    ----------
    lock : BankLock
        What it asks.
    bank : int or None
        Which bank; None: all of them.
    """

    __slots__ = ("_lock", "bank", "event", "state")

    def __init__(self, lock: BankLock, bank: int | None) -> None:
        self._lock, self.bank = lock, bank
        self.event: simpy.Event | None = None
        self.state = "new"

    def __enter__(self) -> Hold:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.state == "held":
            self._lock.release(self)
        elif self.state == "waiting":
            self._lock.withdraw(self)


class BankLock:
    """Who may use which bank's arrays.

    A request is granted once nothing that it conflicts with is held or was asked for before it: a bank conflicts
    with the same bank and with all of them.

    Parameters
    ----------
    env : simpy.Environment
        Where waiting happens.
    n_banks : int
        Banks.

    Examples
    --------
    >>> import simpy
    >>> lock = BankLock(simpy.Environment(), n_banks=2)
    >>> write, search = lock.request(0), lock.request(None)
    >>> write.state, search.state, lock.request(1).state
    ('held', 'waiting', 'waiting')
    >>> lock.release(write)
    >>> search.state
    'held'
    """

    def __init__(self, env: simpy.Environment, n_banks: int) -> None:
        self._env = env
        self._writing = [False] * n_banks
        self._n_writing = 0
        self._searching = False
        self._queue: list[Hold] = []

    def request(self, bank: int | None) -> Hold:
        """Return a hold: `held` at once, or `waiting` with an `event` to wait for."""
        hold = Hold(self, bank)
        self.ask(hold)
        return hold

    def ask(self, hold: Hold) -> None:
        """Ask for what a new hold names."""
        bank = hold.bank
        if not self._queue and self._is_free(bank):
            self._grant(hold)
        else:
            hold.event, hold.state = self._env.event(), "waiting"
            self._queue.append(hold)
            self._serve()

    def release(self, hold: Hold) -> None:
        """Give back what `hold` was granted.

        Raises
        ------
        ReleaseError
            If it holds nothing.
        """
        if hold.state != "held" or hold._lock is not self:
            raise ReleaseError(f"bank {hold.bank} must be held to be released, got a request that is {hold.state}")
        hold.state = "released"
        if hold.bank is None:
            self._searching = False
        else:
            self._writing[hold.bank] = False
            self._n_writing -= 1
        self._serve()

    def withdraw(self, hold: Hold) -> None:
        """Forget a request that was never granted."""
        self._queue.remove(hold)
        hold.state = "withdrawn"
        self._serve()

    def _is_free(self, bank: int | None) -> bool:
        if bank is None:
            return not self._searching and self._n_writing == 0
        return not self._searching and not self._writing[bank]

    def _grant(self, hold: Hold) -> None:
        hold.state = "held"
        if hold.bank is None:
            self._searching = True
        else:
            self._writing[hold.bank] = True
            self._n_writing += 1

    def _serve(self) -> None:
        """Grant, in order of arrival, what conflicts with nothing held or waiting before it."""
        wanted: set[int | None] = set()
        for hold in list(self._queue):
            bank = hold.bank
            conflicts = bool(wanted) if bank is None else (bank in wanted or None in wanted)
            if conflicts or not self._is_free(bank):
                wanted.add(bank)
                if bank is None:
                    return
                continue
            self._queue.remove(hold)
            self._grant(hold)
            assert hold.event is not None
            hold.event.succeed()
