"""Who was busy when, and paid what: append-only, and it must balance."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hwsim import units

Int64 = npt.NDArray[np.int64]
_COLUMNS = ("component", "op", "start_fs", "duration_fs", "unit_busy_fs", "energy_aj", "cause")


class LedgerError(RuntimeError):
    """The books do not balance: the simulator is wrong, not its user."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ComponentTotals:
    """What the entries of one component add up to.

    Parameters
    ----------
    busy_fs : int
        Time during which at least one unit worked.
    stalls : mapping
        Time during which no unit worked and at least one waited, by cause; a moment counts for one cause.
    idle_fs : int
        The rest of the makespan.
    unit_busy_fs : int
        Working time added over the units.
    energy_aj : int
        Energy of all entries.
    """

    busy_fs: int
    stalls: Mapping[str, int]
    idle_fs: int
    unit_busy_fs: int
    energy_aj: int

    @property
    def stalled_fs(self) -> int:
        """Time stalled, all causes."""
        return sum(self.stalls.values())


class Ledger:
    """An append-only list of entries: component, op, start, duration, energy, cause of a stall ("": work).

    An entry of a formula may stand for several units: `unit_busy_fs` is their working time added up.
    """

    def __init__(self) -> None:
        self._tail = tuple(array("q") for _ in _COLUMNS)
        self._blocks: list[tuple[Int64, ...]] = []
        self._causes = [""]

    def append(
        self,
        component: int,
        op: int,
        start_fs: int,
        duration_fs: int,
        energy_aj: int,
        cause: str = "",
        *,
        n_units: int = 1,
    ) -> None:
        """Append one entry: `n_units` units work together, or with a cause wait."""
        busy = 0 if cause else n_units * duration_fs
        entry = (component, op, start_fs, duration_fs, busy, energy_aj, self._cause(cause) if cause else 0)
        for column, value in zip(self._tail, entry, strict=True):
            column.append(value)

    def extend(
        self,
        component: int,
        op: Int64,
        start_fs: Int64,
        duration_fs: Int64,
        unit_busy_fs: Int64,
        energy_aj: Int64,
        cause: str = "",
    ) -> None:
        """Append entries of one component and cause, int64[k] each."""
        number = np.full(len(op), self._cause(cause))
        self._blocks.append((np.full(len(op), component), op, start_fs, duration_fs, unit_busy_fs, energy_aj, number))

    def _cause(self, cause: str) -> int:
        if cause not in self._causes:
            self._causes.append(cause)
        return self._causes.index(cause)

    @property
    def causes(self) -> tuple[str, ...]:
        """What stalls waited for, by the numbers in `columns`; number 0, "", is work."""
        return tuple(self._causes)

    def columns(self) -> dict[str, Int64]:
        """Return all entries as int64[k] by column; `cause` numbers the causes of stalls, 0 is work."""
        tail = tuple(np.array(column, np.int64) for column in self._tail)
        parts = [*self._blocks, tail]
        return {name: np.concatenate([p[i] for p in parts]) for i, name in enumerate(_COLUMNS)}

    def totals(self, n_components: int, makespan_fs: int) -> list[ComponentTotals]:
        """Return what each component's entries add up to.

        Raises
        ------
        LedgerError
            If an entry lies outside [0, makespan_fs], or has a negative duration or energy.
        """
        columns = self.columns()
        start, duration = columns["start_fs"], columns["duration_fs"]
        if len(start) and (start.min() < 0 or duration.min() < 0 or columns["energy_aj"].min() < 0):
            raise LedgerError("an entry has a negative start, duration or energy")
        if len(start) and (start + duration).max() > makespan_fs:
            raise LedgerError(f"an entry ends after the makespan of {makespan_fs} fs")
        return [self._totals_of(columns, i, makespan_fs) for i in range(n_components)]

    def _totals_of(self, columns: dict[str, Int64], component: int, makespan_fs: int) -> ComponentTotals:
        mine = columns["component"] == component
        start, duration, cause = (columns[name][mine] for name in ("start_fs", "duration_fs", "cause"))
        taking = cause == 0
        busy = covered = _union_fs(start[taking], duration[taking])
        stalls: dict[str, int] = {}
        for number in np.unique(cause[~taking]):
            taking = taking | (cause == number)
            union = _union_fs(start[taking], duration[taking])
            if union > covered:
                stalls[self._causes[number]] = union - covered
            covered = union
        return ComponentTotals(
            busy_fs=busy,
            stalls=stalls,
            idle_fs=makespan_fs - covered,
            unit_busy_fs=units.exact_sum(columns["unit_busy_fs"][mine]),
            energy_aj=units.exact_sum(columns["energy_aj"][mine]),
        )

    def energy_by_op(self, n_ops: int) -> Int64:
        """Return the energy of each op, int64[n_ops]."""
        columns = self.columns()
        energy = np.zeros(n_ops, np.int64)
        np.add.at(energy, columns["op"], columns["energy_aj"])
        return energy


def check_balance(
    totals: Sequence[ComponentTotals], accounts_aj: Sequence[int], accounts_fs: Sequence[int], by_op_aj: Int64
) -> int:
    """Return the energy of the whole run if accounts, entries and ops agree on it.

    Parameters
    ----------
    totals : sequence of ComponentTotals
        What the entries add up to.
    accounts_aj, accounts_fs : sequence of int
        What each component counted for itself: energy, and working time over its units.
    by_op_aj : int64[ops]
        Entries added up by op.

    Raises
    ------
    LedgerError
        If any two disagree.
    """
    for i, (t, aj, fs) in enumerate(zip(totals, accounts_aj, accounts_fs, strict=True)):
        if t.energy_aj != aj or t.unit_busy_fs != fs:
            raise LedgerError(
                f"component {i} counted {aj} aJ, {fs} fs, its entries {t.energy_aj} aJ, {t.unit_busy_fs} fs"
            )
    total = sum(accounts_aj)
    if units.exact_sum(by_op_aj) != total:
        raise LedgerError(f"components counted {total} aJ, ops {units.exact_sum(by_op_aj)} aJ")
    return total


def _union_fs(start: Int64, duration: Int64) -> int:
    """Return how long at least one of the intervals [start, start + duration) runs."""
    if not len(start):
        return 0
    order = np.argsort(start, kind="stable")
    begin = start[order]
    end = np.maximum.accumulate(begin + duration[order])
    covered_until = np.concatenate((begin[:1], end[:-1]))
    return int(np.maximum(0, end - np.maximum(begin, covered_until)).sum())
