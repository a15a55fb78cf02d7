"""What a simulation says: latency an op, makespan, energy, area, and where time and energy went."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hwsim import power, units
from hwsim.checks import one_of

if TYPE_CHECKING:
    from hwsim.activity import Activity

Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Report:
    """One trace on one machine.

    Parameters
    ----------
    machine : mapping
        What the machine was made with, its `name` included.
    fidelity, arrivals : str
        How it was simulated.
    arrived_fs : int64[ops]
        When each op of the trace arrived.
    latency_fs : mapping of int64[k]
        By kind (`sample`, `update`, `insert`, `fetch`), in trace order. A fetch gathers the rows of the
        sampling before it and is no part of the sampling's latency. Unless arrivals are serial a latency runs
        from the arrival, with all waiting.
    makespan_fs : int
        From the start of the first op to the end of the last.
    n_filling, filled_fs : int
        Ops before the first sampling, served one after another, and when they had ended.
    first_served : mapping of int
        By kind, where in `latency_fs` the ops after those begin.
    in_system_fs : int
        Time that the ops after those spent in the machine, from arrival to end, added up.
    energy_aj : int or None
        Dynamic energy, what the work takes: the sum over the components whose energy is modelled; None where none is.
    energy_by_kind_aj : mapping of int or None
        The same, by kind; fetches carry none.
    area_um2 : float or None
        Sum over the components whose area is modelled; None where none is.
    breakdown : mapping
        By component: `busy_fs` (at least one unit works), `stalled_fs` (none works, one waits), `idle_fs`,
        together the makespan; `stalls` by cause; `energy_aj`, `area_um2`; `leakage_uw`, and `leakage_aj` over the
        makespan (None where unknown); `n_units`, `unit_busy_fs` (working time added over units).
    sample_phases : mapping of int64[k]
        Each sampling's latency split along its critical path, femtoseconds; phases add up to the latency. Unless
        arrivals are serial, `waiting` is what the sampling did not spend in the others.
    n_dropped : int
        Matches lost in a full candidate-set buffer.
    not_covered : tuple of str
        What the numbers leave out.
    activity : Activity or None
        Every entry of the ledger and every op from arrival to end, if `keep_ledger` asked for them; no part of
        `to_dict`.
    """

    machine: Mapping[str, Any]
    fidelity: str
    arrivals: str
    arrived_fs: Int64
    latency_fs: Mapping[str, Int64]
    makespan_fs: int
    n_filling: int
    first_served: Mapping[str, int]
    filled_fs: int
    in_system_fs: int
    energy_aj: int | None
    energy_by_kind_aj: Mapping[str, int | None]
    area_um2: float | None
    breakdown: Mapping[str, Mapping[str, Any]]
    sample_phases: Mapping[str, Int64]
    n_dropped: int
    not_covered: tuple[str, ...]
    activity: Activity | None = None

    def __repr__(self) -> str:
        counts = ", ".join(f"{len(values)} {kind}s" for kind, values in self.latency_fs.items() if len(values))
        return f"Report({self.machine['name']}, {self.fidelity}, {counts.replace('fetchs', 'fetches')})"

    @property
    def latency_ns(self) -> dict[str, npt.NDArray[np.float64]]:
        """`latency_fs` in nanoseconds, float64."""
        return {kind: units.ns_array(values) for kind, values in self.latency_fs.items()}

    @property
    def makespan_ns(self) -> float:
        """The makespan in nanoseconds."""
        return units.ns_from_fs(self.makespan_fs)

    @property
    def energy_pj(self) -> float | None:
        """The energy in picojoules, None where it is not modelled."""
        return units.pj_from_aj(self.energy_aj)

    @property
    def leakage_aj(self) -> int | None:
        """What the machine leaks over the makespan, its components added up; None unless all with an area know."""
        return power.leakage_aj(self.breakdown)

    @property
    def leakage_pj(self) -> float | None:
        """The same in picojoules."""
        return units.pj_from_aj(self.leakage_aj)

    @property
    def leakage_uw(self) -> float | None:
        """The power the machine leaks, busy or not; None unless all components with an area know."""
        return power.leakage_uw(self.breakdown)

    @property
    def leakage_unknown(self) -> tuple[str, ...]:
        """The components with an area whose leakage is unknown."""
        return power.unknown(self.breakdown)

    @property
    def dynamic_uw(self) -> float | None:
        """The dynamic energy over the makespan; None where either is missing."""
        if self.energy_aj is None or not self.makespan_fs:
            return None
        return units.mean_uw(self.energy_aj, self.makespan_fs)

    def energy_per_op_pj(self, kind: str) -> power.OpEnergy:
        """Return the mean energy of one kind of op, dynamic and leaked, were the machine never idle.

        Leakage runs over the mean latency: None unless arrivals are serial, for ops that overlap share it.

        Raises
        ------
        ValueError
            If the kind is unknown, or the trace has no such op.
        """
        one_of("kind", kind, self.latency_fs)
        latency, energy = self.latency_fs[kind], self.energy_by_kind_aj[kind]
        if not len(latency):
            raise ValueError(f"kind must be of an op of the trace, got {kind!r}, of which it has none")
        leaks = self.leakage_uw if self.arrivals == "serial" else None
        return power.per_op(len(latency), units.exact_sum(latency), energy, leaks)

    def percentiles_ns(self, kind: str, percents: Sequence[float] = (50, 90, 99)) -> tuple[float, ...]:
        """Return percentiles of the latency of one kind of op, nanoseconds, once the buffer was filled.

        Raises
        ------
        ValueError
            If the kind is unknown, or no such op was served after that.
        """
        one_of("kind", kind, self.latency_fs)
        served = self.latency_fs[kind][self.first_served.get(kind, 0) :]
        if not len(served):
            raise ValueError(
                f"kind must be of an op served after the buffer was filled, got {kind!r}, of which none was"
            )
        return tuple(float(q) for q in np.percentile(units.ns_array(served), percents))

    @property
    def throughput_hz(self) -> float | None:
        """Ops a second once the buffer was filled; None where nothing was served after that."""
        n_ops, lasted = len(self.arrived_fs) - self.n_filling, self.makespan_fs - self.filled_fs
        return n_ops / units.s_from_fs(lasted) if lasted else None

    @property
    def mean_in_system(self) -> float | None:
        """Ops in the machine, waiting ones included, averaged over the time after the buffer was filled."""
        lasted = self.makespan_fs - self.filled_fs
        return self.in_system_fs / lasted if lasted else None

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON-serialisable values; None where something is not known."""
        return {
            "machine": dict(self.machine),
            "fidelity": self.fidelity,
            "arrivals": self.arrivals,
            "arrived_fs": self.arrived_fs.tolist(),
            "n_filling": self.n_filling,
            "first_served": dict(self.first_served),
            "filled_fs": self.filled_fs,
            "throughput_hz": self.throughput_hz,
            "mean_in_system": self.mean_in_system,
            "latency_fs": {kind: values.tolist() for kind, values in self.latency_fs.items()},
            "makespan_fs": self.makespan_fs,
            "makespan_ns": self.makespan_ns,
            "energy_aj": self.energy_aj,
            "energy_pj": self.energy_pj,
            "energy_by_kind_aj": dict(self.energy_by_kind_aj),
            "leakage_aj": self.leakage_aj,
            "leakage_pj": self.leakage_pj,
            "leakage_uw": self.leakage_uw,
            "leakage_unknown": list(self.leakage_unknown),
            "dynamic_uw": self.dynamic_uw,
            "energy_per_op_pj": {
                kind: self.energy_per_op_pj(kind).to_dict() for kind, values in self.latency_fs.items() if len(values)
            },
            "area_um2": self.area_um2,
            "breakdown": {name: dict(entry) for name, entry in self.breakdown.items()},
            "sample_phases": {name: values.tolist() for name, values in self.sample_phases.items()},
            "n_dropped": self.n_dropped,
            "not_covered": list(self.not_covered),
        }
