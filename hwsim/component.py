"""A component: an account of its own, kept beside the ledger's entries so that the two can be compared."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hwsim import units
from hwsim.ledger import Ledger

Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class ComponentSpec:
    """What a machine is built of.

    Parameters
    ----------
    name : str
        Key in `Report.breakdown`.
    n_units : int
        Equal units that work side by side.
    area_um2 : float or None
        All units together; None where unknown.
    leakage_uw : float or None
        Power that all units together leak, busy or not; None where unknown.
    has_energy : bool
        Whether its energy is modelled; where not, reports say None.
    """

    name: str
    n_units: int = 1
    area_um2: float | None = None
    leakage_uw: float | None = None
    has_energy: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """Work of one component in many ops, as a formula finds it.

    Parameters
    ----------
    component : str
        Who worked, or waited.
    op : int64[k]
        Row of each entry in the trace's `ops`.
    offset_fs, duration_fs : int64[k]
        When, counted from the op's start, and how long.
    energy_aj : int64[k]
        Energy of each entry; zeros for a stall.
    cause : str
        What a stall waited for; "" for work.
    unit_busy_fs : int64[k], optional
        Working time added over units that overlap; `duration_fs` (0 for a stall) where not given.
    """

    component: str
    op: Int64
    offset_fs: Int64
    duration_fs: Int64
    energy_aj: Int64
    cause: str = ""
    unit_busy_fs: Int64 | None = None


class Component:
    """A component at work: every action goes to its account and to the ledger.

    Parameters
    ----------
    spec : ComponentSpec
        What it is.
    index : int
        Its number in the ledger.
    ledger : Ledger
        Where entries are appended.
    """

    def __init__(self, spec: ComponentSpec, index: int, ledger: Ledger) -> None:
        self.spec = spec
        self._index = index
        self._ledger = ledger
        self.energy_aj = 0
        self.unit_busy_fs = 0

    def work(self, op: int, start_fs: int, duration_fs: int, energy_aj: int = 0, n_units: int = 1) -> None:
        """Enter that `n_units` units work during [start, start + duration)."""
        self.energy_aj += energy_aj
        self.unit_busy_fs += n_units * duration_fs
        self._ledger.append(self._index, op, start_fs, duration_fs, energy_aj, n_units=n_units)

    def wait(self, op: int, start_fs: int, duration_fs: int, cause: str) -> None:
        """Enter that a unit holds finished work and waits during [start, start + duration)."""
        self._ledger.append(self._index, op, start_fs, duration_fs, 0, cause)

    def charge(self, charge: Charge, op_start_fs: Int64) -> None:
        """Enter a formula's work; `op_start_fs` int64[ops] is when each op starts."""
        busy = charge.unit_busy_fs
        if busy is None:
            busy = np.zeros_like(charge.duration_fs) if charge.cause else charge.duration_fs
        self.energy_aj += units.exact_sum(charge.energy_aj)
        self.unit_busy_fs += units.exact_sum(busy)
        start = op_start_fs[charge.op] + charge.offset_fs
        self._ledger.extend(self._index, charge.op, start, charge.duration_fs, busy, charge.energy_aj, charge.cause)
