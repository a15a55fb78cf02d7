"""The associative machine: TCAM arrays in banks, read out through a candidate-set buffer (CSB).

AMPER-fr searches every group once and drains all matches into the buffer; AMPER-k finds its neighbours one
best match at a time. The micro-architecture is this project's; the paper's is not public.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from amper.trace import Trace
from hwsim import checks
from hwsim.closedform import ClosedTimes, Searches, attempts_of, candidates
from hwsim.component import Component, ComponentSpec
from hwsim.cost import AmperCosts, Geometry, amper_areas_um2, amper_costs, largest_clock_ghz
from hwsim.technology import technology

if TYPE_CHECKING:
    import simpy

    from hwsim.machines.amper_processes import AmperProcesses

Int64 = npt.NDArray[np.int64]

VARIANTS = ("amper-fr", "amper-k")
READOUTS = ("csb",)
_PHASES = {
    "amper-fr": ("query", "search", "readout", "draw"),
    "amper-k": ("query", "count", "search", "readout", "draw"),
}
_NOT_COVERED = (
    "leakage",
    "clock tree and control logic",
    "energy and area of the H-tree's wires",
    "energy and area of the row memory (fetch)",
    "an access of the candidate-set buffer is within a factor of 3 (sram.energy_*_pj)",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class AmperMachine:
    """An associative machine.

    Parameters
    ----------
    variant : {"amper-fr", "amper-k"}
        Which sampling it runs.
    n_rows : int
        Slots it holds.
    readout : {"csb"}
        How matches leave the arrays.
    technology : str or Path
        A preset's name, or a TOML file.
    n_banks, n_csb_ports : int
        Banks; ports into the candidate-set buffer, each shared by banks b with b mod n_csb_ports equal.
        AMPER-k brings out one row at a time and uses one port.
    rows_per_array, bits : int
        Geometry of an array; codes narrower than `bits` leave columns masked.
    clock_ghz : float
        One clock for everything.
    best_match_factor : float
        Best match over exact match, in time and energy.
    mapping : {"interleaved", "contiguous"}
        Array a lies in bank a mod n_banks, or in bank a div ceil(arrays / n_banks).
    csb_entries : int, optional
        Addresses the candidate-set buffer holds; `n_rows` by default.
    overflow : {"error", "drop"}
        What happens to matches beyond them: refused with the size needed, or lost and counted. Lost matches
        still pass the ports, so dropping changes no time.

    Notes
    -----
    Cycles and energies of every action: `cost.amper_costs`; the formulas: `closedform`.
    """

    variant: str
    n_rows: int
    readout: str = "csb"
    technology: str | Path = "camasim-fefet45"
    n_banks: int = 8
    n_csb_ports: int = 1
    rows_per_array: int = 64
    bits: int = 16
    clock_ghz: float = 1.0
    best_match_factor: float = 3.0
    mapping: Literal["interleaved", "contiguous"] = "interleaved"
    csb_entries: int | None = None
    overflow: str = "error"
    geometry: Geometry = field(init=False, repr=False, compare=False)
    costs: AmperCosts = field(init=False, repr=False, compare=False)
    _areas: dict[str, float] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self._check_parameters()
        tech = technology(self.technology)
        tech.array(words=self.rows_per_array, bits=self.bits)
        fastest = largest_clock_ghz(tech)
        if self.clock_ghz > fastest:
            raise ValueError(
                f"clock_ghz must be at most {fastest:g}, got {self.clock_ghz!r}; "
                f"the slowest single-cycle block takes {1 / fastest:g} ns"
            )
        geometry = Geometry(
            n_rows=self.n_rows,
            rows_per_array=self.rows_per_array,
            bits=self.bits,
            n_banks=self.n_banks,
            n_csb_ports=self.n_csb_ports,
            csb_entries=self.csb_capacity,
        )
        costs = amper_costs(tech, geometry, float(self.clock_ghz), float(self.best_match_factor))
        object.__setattr__(self, "geometry", geometry)
        object.__setattr__(self, "costs", costs)
        object.__setattr__(self, "_areas", amper_areas_um2(tech, geometry))

    def _check_parameters(self) -> None:
        checks.one_of("variant", self.variant, VARIANTS)
        checks.one_of("readout", self.readout, READOUTS)
        for name in ("n_rows", "n_banks", "n_csb_ports", "rows_per_array", "bits"):
            checks.whole(name, getattr(self, name), 1)
        if self.n_csb_ports > self.n_banks:
            raise ValueError(
                f"n_csb_ports must be at most n_banks = {self.n_banks}, got {self.n_csb_ports!r}; "
                "a bank delivers one address a cycle"
            )
        if self.csb_entries is not None:
            checks.whole("csb_entries", self.csb_entries, 1)
        checks.one_of("mapping", self.mapping, ("interleaved", "contiguous"))
        checks.one_of("overflow", self.overflow, ("error", "drop"))
        checks.positive("best_match_factor", self.best_match_factor)
        checks.positive("clock_ghz", self.clock_ghz)

    # -- what it is ---------------------------------------------------------------------------------
    @property
    def name(self) -> str:
        """Registered name."""
        return self.variant

    @property
    def csb_capacity(self) -> int:
        """Addresses the candidate-set buffer holds."""
        return self.n_rows if self.csb_entries is None else self.csb_entries

    @property
    def phases(self) -> tuple[str, ...]:
        """What the latency of a sampling is split into."""
        return _PHASES[self.variant]

    @property
    def not_covered(self) -> tuple[str, ...]:
        """What the numbers leave out."""
        return _NOT_COVERED

    @property
    def components(self) -> tuple[ComponentSpec, ...]:
        """What it is built of; write drivers lie inside the arrays' area."""
        units = {"encoders": self.n_banks, "csb": self.n_csb_ports if self.variant == "amper-fr" else 1}
        names = ["urng", "query_generator", "arrays", "encoders", "csb", "draw_unit"]
        if self.variant == "amper-k":
            names += ["counters", "compare_tree"]
        built = [ComponentSpec(name=n, n_units=units.get(n, 1), area_um2=self._areas[n]) for n in names]
        return (*built, ComponentSpec(name="write_ports", n_units=self.n_banks))

    def parameters(self) -> dict[str, Any]:
        """Return what it was made with, JSON-serialisable."""
        made = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.init and f.name != "variant"}
        return {
            "name": self.name,
            **made,
            "technology": str(self.technology),
            "csb_entries": self.csb_capacity,
        }

    def bank_of(self, slot: Int64) -> Int64:
        """Return the bank each slot lies in, same shape."""
        array = slot // self.rows_per_array
        if self.mapping == "interleaved":
            return array % self.n_banks
        return array // -(-self.geometry.n_arrays // self.n_banks)

    def port_of(self, bank: int) -> int:
        """Return the port of the candidate-set buffer that serves a bank."""
        return bank % self.n_csb_ports

    # -- what a trace asks of it --------------------------------------------------------------------
    def check(self, trace: Trace) -> None:
        """Raise ValueError unless the trace has searches of this variant that fit arrays and buffer."""
        header = trace.header
        if header.sampler != self.variant:
            raise ValueError(
                f"trace must hold searches of {self.variant!r}, got a trace of {header.sampler!r}; "
                f"make one with trace.replay({self.variant!r})"
            )
        if self.variant == "amper-fr" and trace.searches["n_neighbours"].any():
            raise ValueError("trace must hold range searches only for 'amper-fr', got best-match searches")
        if header.options.get("unique"):
            raise ValueError("trace must keep a slot found twice, got unique=True; no de-duplication is modelled")
        if header.bits > self.bits:
            raise ValueError(f"bits must be at least the trace's {header.bits}, got {self.bits!r}")
        if self.overflow == "error":
            size = int(self._candidates(trace).max(initial=0))
            if size > self.csb_capacity:
                raise ValueError(
                    f"csb_entries must be at least {size} for this trace, got {self.csb_capacity!r}; "
                    f"or pass overflow='drop'"
                )

    def n_dropped(self, trace: Trace) -> int:
        """Return how many matches found the candidate-set buffer full."""
        if self.overflow == "error":
            return 0
        return int(np.maximum(self._candidates(trace) - self.csb_capacity, 0).sum())

    def bank_counts(self, trace: Trace) -> npt.NDArray[np.uint32]:
        """Return where the matches of each search lie, uint32[searches, banks]."""
        mapping, per_array = self.mapping, self.rows_per_array
        arrays_of_trace = -(-trace.header.n_rows // per_array)
        run = -(-self.geometry.n_arrays // self.n_banks)
        if mapping == "interleaved" or run == -(-arrays_of_trace // self.n_banks):
            return trace.match_counts(per_array, self.n_banks, mapping)
        # A contiguous bank's length follows the machine's arrays, not the trace's.
        counts = trace.match_counts(per_array, 1, mapping, per="array")
        banks = np.zeros((len(counts), self.n_banks), np.uint32)
        np.add.at(banks.T, np.arange(arrays_of_trace) // run, counts.T)
        return banks

    def searches(self, trace: Trace) -> Searches:
        """Return the trace's searches as this machine's timing sees them."""
        rows, samples = trace.searches, trace.samples
        neighbours = rows["n_neighbours"].astype(np.int64)
        if self.variant == "amper-fr":
            counts = self.bank_counts(trace)
            matches = counts.sum(axis=1, dtype=np.int64)
            drain = np.zeros(len(rows), np.int64)
            for port in range(self.n_csb_ports):
                through = counts[:, port :: self.n_csb_ports].sum(axis=1, dtype=np.int64)
                np.maximum(drain, through, out=drain)
        else:
            drain, matches = np.zeros(len(rows), np.int64), neighbours
        return Searches(
            sample=np.repeat(np.arange(len(samples)), samples["n_searches"]),
            attempt=rows["attempt"].astype(np.int64),
            n_words=rows["n_ternary_words"].astype(np.int64),
            n_neighbours=neighbours,
            drain=drain,
            n_matches=matches,
        )

    def _candidates(self, trace: Trace) -> Int64:
        """Return how many addresses each attempt offers to the buffer."""
        searches = self.searches(trace)
        return candidates(searches, attempts_of(searches))

    # -- how long it takes --------------------------------------------------------------------------
    def closed(self, trace: Trace) -> ClosedTimes:
        """Return the times and charges of every op, by formula."""
        from hwsim.machines.amper_closed import closed

        return closed(self, trace)

    def processes(self, env: simpy.Environment, trace: Trace, components: Mapping[str, Component]) -> AmperProcesses:
        """Return the machine at work on a trace."""
        from hwsim.machines.amper_processes import AmperProcesses

        return AmperProcesses(self, env, trace, components)


#: Factories of the registry.
amper_fr = functools.partial(AmperMachine, variant="amper-fr")
amper_k = functools.partial(AmperMachine, variant="amper-k")
