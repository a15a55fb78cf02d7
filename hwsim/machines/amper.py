"""The associative machine: TCAM arrays in banks, and three ways to bring out what matched.

AMPER-fr searches every group once; AMPER-k finds its neighbours one best match at a time, or bisects a radius
by counting. The micro-architecture is this project's; the paper's is not public.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from amper.trace import Trace
from hwsim import checks
from hwsim.closedform import ClosedTimes
from hwsim.component import Component, ComponentSpec
from hwsim.cost_amper import AmperCosts, Geometry, amper_areas_um2, amper_costs, largest_clock_ghz
from hwsim.cost_leakage import amper_leakages_uw
from hwsim.machines import amper_fit as fit
from hwsim.machines.amper_plan import Plan, make_plan
from hwsim.technology import Technology, technology

if TYPE_CHECKING:
    import simpy

    from hwsim.machines.amper_processes import AmperProcesses

Int64 = npt.NDArray[np.int64]

VARIANTS = ("amper-fr", "amper-k")
READOUTS = ("csb", "burst", "rank_select")
NEIGHBOURS = ("best_match", "bisection")
_NO_LEAKAGE = "leakage of the arrays, of which the technology states none, and so of the machine"
#: Narrowest and widest code.
_BITS = (4, 32)
_NOT_COVERED = (
    "power gating: what idles leaks, the arrays too, whose cells would keep their codes unpowered",
    "clock tree and control logic, FIFOs, latches, write queues and arbiters",
    "energy and area of the row memory (fetch)",
    "an SRAM access is within a factor of 3 (sram.energy_*_pj)",
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
    readout : {"csb", "burst", "rank_select"}
        How matches leave the arrays: one address a cycle and port into one candidate-set buffer; up to eight
        addresses of one array a cycle into a buffer of each bank's own; or not at all - a tree counts them, a
        rank descends it, and only the array it leads to searches again and selects.
    technology : str, Path or Technology
        A preset's name, a TOML file, or what `hwsim.technology` returned.
    n_banks : int
        Banks, each with its write port.
    n_csb_ports : int
        Ports into the candidate-set buffer (readout "csb").
    rows_per_array, bits : int
        Geometry of an array, an even number of rows of 4 to 32 bits; codes narrower than `bits` leave columns masked.
    clock_ghz : float
        One clock for everything.
    best_match_factor : float
        Best match over exact match, in time and energy.
    mapping : {"interleaved", "contiguous"}
        Array a lies in bank a mod n_banks, or in bank a div ceil(arrays / n_banks).
    csb_entries : int, optional
        Addresses the candidate-set buffer holds; `n_rows` by default. It has a part for each port - of each bank
        with readout "burst" - that holds its share, and a single one where ports are shared in turn.
    overflow : {"error", "drop"}
        What happens to matches beyond them: refused with the size needed, or lost and counted. Lost matches
        still pass the ports, so dropping changes no time.
    fifo_depth : int
        Words between a bank's encoder and its port. One is not enough for a word a cycle.
    arbitration : {"static", "round_robin"}
        Port p serves the banks b with b mod n_csb_ports = p; or every bank may take any port, in turn.
    unique : bool
        The match vectors of all groups are OR-ed before they are read out: a slot found twice counts once.
    neighbours : {"best_match", "bisection"}
        How AMPER-k finds its N_i nearest codes.
    n_groups : int
        Counts that every node of the rank tree keeps of each of its children (readout "rank_select"): one a group,
        two by bisection; with `unique` one.

    Notes
    -----
    Cycles and energies of every action: `cost_amper`; the formulas: `amper_closed`.
    """

    variant: str
    n_rows: int
    readout: str = "csb"
    technology: str | Path | Technology = "camasim-fefet45"
    n_banks: int = 8
    n_csb_ports: int = 1
    rows_per_array: int = 64
    bits: int = 16
    clock_ghz: float = 1.0
    best_match_factor: float = 3.0
    mapping: str = "interleaved"
    csb_entries: int | None = None
    overflow: str = "error"
    fifo_depth: int = 2
    arbitration: str = "static"
    unique: bool = False
    neighbours: str = "best_match"
    n_groups: int = 24
    geometry: Geometry = field(init=False, repr=False, compare=False)
    costs: AmperCosts = field(init=False, repr=False, compare=False)
    _areas: dict[str, float] = field(init=False, repr=False, compare=False)
    _leakages: dict[str, float | None] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self._check_parameters()
        self._check_combination()
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
            n_groups=1 if self.unique else self.n_groups,
            readout=self.readout,
            n_parts=self.n_parts,
            parts=frozenset(self._names()),
        )
        costs = amper_costs(tech, geometry, self.clock_ghz, self.best_match_factor)
        object.__setattr__(self, "geometry", geometry)
        object.__setattr__(self, "costs", costs)
        object.__setattr__(self, "_areas", amper_areas_um2(tech, geometry))
        object.__setattr__(self, "_leakages", amper_leakages_uw(tech, geometry))

    def _check_parameters(self) -> None:
        checks.one_of("variant", self.variant, VARIANTS)
        checks.one_of("readout", self.readout, READOUTS)
        counts = ("n_rows", "n_banks", "n_csb_ports", "rows_per_array", "bits", "fifo_depth", "n_groups")
        checks.store_whole(self, *counts)
        if self.n_csb_ports > self.n_banks:
            raise ValueError(
                f"n_csb_ports must be at most n_banks = {self.n_banks}, got {self.n_csb_ports!r}; "
                "a bank delivers one address a cycle"
            )
        if not _BITS[0] <= self.bits <= _BITS[1]:
            raise ValueError(f"bits must lie between {_BITS[0]} and {_BITS[1]}, got {self.bits!r}")
        if self.rows_per_array % 2:
            raise ValueError(f"rows_per_array must be even, got {self.rows_per_array!r}")
        if self.csb_entries is not None:
            checks.store_whole(self, "csb_entries")
        checks.one_of("mapping", self.mapping, ("interleaved", "contiguous"))
        checks.one_of("overflow", self.overflow, ("error", "drop"))
        checks.one_of("arbitration", self.arbitration, ("static", "round_robin"))
        checks.one_of("neighbours", self.neighbours, NEIGHBOURS)
        if not isinstance(self.unique, bool):
            raise TypeError(f"unique must be True or False, got {self.unique!r}")
        checks.store_positive(self, "best_match_factor", maximum=1e3)
        checks.store_positive(self, "clock_ghz", checks.SLOWEST_GHZ)

    def _check_combination(self) -> None:
        """Raise ValueError unless variant, readout and their options go together."""
        if self.variant == "amper-fr" and self.neighbours != "best_match":
            raise ValueError(
                f"neighbours must be 'best_match' for 'amper-fr', which seeks none, got {self.neighbours!r}"
            )
        if self.variant == "amper-k" and self.neighbours == "best_match":
            if self.readout != "csb":
                raise ValueError(
                    f"readout must be 'csb' where 'amper-k' brings out one best match at a time, got {self.readout!r}; "
                    "or pass neighbours='bisection'"
                )
            if self.unique:
                raise ValueError(
                    "unique must be False where 'amper-k' brings out one best match at a time, got True; "
                    "or pass neighbours='bisection'"
                )
        for name in self._without_effect():
            value, default = getattr(self, name), type(self).__dataclass_fields__[name].default
            if value != default:
                form = f"readout {self.readout!r}" + (f" of {self.variant!r}" if not self.drains else "")
                raise ValueError(f"{name} must be {default!r} with {form}, where it has no effect, got {value!r}")

    def _without_effect(self) -> set[str]:
        """Return the parameters that nothing depends on in this form of the machine."""
        unused = set() if self.readout == "rank_select" else {"n_groups"}
        if self.readout == "rank_select":
            unused |= {"csb_entries", "overflow"}
        if not self.drains:
            unused |= {"fifo_depth"}
        if not self.drains or self.readout != "csb":
            unused |= {"n_csb_ports", "arbitration"}
        if self.variant == "amper-fr" or self.neighbours == "bisection":
            unused |= {"best_match_factor"}
        return unused

    # -- what it is ---------------------------------------------------------------------------------
    @property
    def name(self) -> str:
        """Registered name."""
        return self.variant

    @property
    def csb_capacity(self) -> int:
        """Addresses the candidate-set buffer holds, all its parts together."""
        return self.n_rows if self.csb_entries is None else self.csb_entries

    @property
    def n_parts(self) -> int:
        """Equal parts of the buffer: one a port, or one for all ports where banks may take any."""
        return 1 if self.arbitration == "round_robin" else self.n_ports

    @property
    def part_capacity(self) -> int:
        """Addresses one part of the buffer holds."""
        return -(-self.csb_capacity // self.n_used_parts)

    @property
    def n_used_parts(self) -> int:
        """Parts of the buffer that banks with arrays bring matches to."""
        return min(self.n_parts, -(-self.n_rows // self.rows_per_array))

    @property
    def n_ports(self) -> int:
        """Ports by which addresses leave: of every bank with readout "burst"."""
        if self.readout == "burst":
            return self.n_banks
        return self.n_csb_ports if self.drains else 1

    @property
    def pauses(self) -> bool:
        """Whether a bank may wait for a port or for room between two words of one drain."""
        shared = self.arbitration == "round_robin" and 1 < self.n_ports < self.n_banks
        return self.drains and (self.fifo_depth < 2 or shared)

    @property
    def drains(self) -> bool:
        """Whether a search's matches leave its arrays in a row, through ports."""
        return self.readout != "rank_select" and not (self.variant == "amper-k" and self.neighbours == "best_match")

    @property
    def clock_fs(self) -> int:
        """One clock cycle."""
        return self.costs.period_fs

    @property
    def phases(self) -> tuple[str, ...]:
        """What the latency of a sampling is split into."""
        if self.readout == "rank_select":
            return ("query", "count", "search", "draw", "select")
        counts = ("count",) if self.variant == "amper-k" else ()
        return ("query", *counts, "search", "readout", "draw")

    @property
    def not_covered(self) -> tuple[str, ...]:
        """What the numbers leave out."""
        return _NOT_COVERED if self._leakages["arrays"] is not None else (_NO_LEAKAGE, *_NOT_COVERED)

    @property
    def components(self) -> tuple[ComponentSpec, ...]:
        """What it is built of; write drivers lie inside the arrays' area, and leak in their leakage."""
        units = {
            "arrays": self.geometry.n_arrays,
            "encoders": self.n_banks,
            "csb": self.n_ports,
            "htree_up": self.n_ports,
            "selectors": self.geometry.n_blocks,
        }
        built = [
            ComponentSpec(name=n, n_units=units.get(n, 1), area_um2=self._areas[n], leakage_uw=self._leakages[n])
            for n in self._names()
        ]
        return (*built, ComponentSpec(name="write_ports", n_units=self.n_banks))

    def _names(self) -> list[str]:
        """Return what it is built of, write ports aside."""
        names = ["urng", "query_generator", "htree_down", "arrays"]
        if self.readout == "rank_select":
            names += ["counters", "rank_tree", "selectors"]
        else:
            names += ["encoders", "csb"]
        if self.variant == "amper-k":
            names += ["multiplier"]
            names += ["counters"] if self.readout != "rank_select" else []
            names += ["compare_tree"] if self.neighbours == "best_match" else []
        names += ["htree_up"] if self.drains or self.readout == "rank_select" else []
        return [*names, "draw_unit", "write_bus"]

    def parameters(self) -> dict[str, Any]:
        """Return what it was made with, JSON-serialisable."""
        made = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.init and f.name != "variant"}
        return {
            "name": self.name,
            **made,
            "technology": str(self.technology),
            "csb_entries": self.csb_capacity,
        }

    def bank_of_array(self) -> Int64:
        """Return the bank each array lies in, int64[arrays]."""
        array = np.arange(self.geometry.n_arrays)
        if self.mapping == "interleaved":
            return array % self.n_banks
        return array // -(-self.geometry.n_arrays // self.n_banks)

    # -- what a trace asks of it --------------------------------------------------------------------
    def check(self, trace: Trace) -> None:
        """Raise ValueError unless the trace has searches of this variant that fit arrays and buffer."""
        fit.check_searches(self, trace)
        if self.readout != "rank_select" and self.overflow == "error":
            fit.check_buffer(self, trace)

    def n_dropped(self, trace: Trace) -> int:
        """Return how many matches found the candidate-set buffer full."""
        if self.overflow == "error" or self.readout == "rank_select":
            return 0
        return int(fit.candidates(self, trace)[1].sum())

    def entries_needed(self, trace: Trace) -> int:
        """Return the `csb_entries` that hold every match of a trace; 0 with readout "rank_select"."""
        return int(fit.candidates(self, trace)[0].max(initial=0)) * self.n_used_parts

    def plan(self, trace: Trace) -> Plan:
        """Return what the trace asks of this machine.

        Raises
        ------
        ValueError
            If a rank tree could not have found the trace's draws.
        """
        plan = make_plan(self, trace)
        if self.readout == "rank_select":
            fit.check_ranks(self, plan, trace)
        return plan

    # -- how long it takes --------------------------------------------------------------------------
    def closed(self, trace: Trace) -> ClosedTimes:
        """Return the times and charges of every op, by formula."""
        from hwsim.machines.amper_closed import closed

        return closed(self, trace)

    def processes(self, env: simpy.Environment, trace: Trace, components: Mapping[str, Component]) -> AmperProcesses:
        """Return the machine at work on a trace."""
        from hwsim.machines.amper_processes import AmperProcesses

        return AmperProcesses(self, env, trace, components)

    def array_processes(
        self, env: simpy.Environment, trace: Trace, components: Mapping[str, Component]
    ) -> AmperProcesses:
        """Return the machine at work on a trace, every array a process and every address an event."""
        from hwsim.machines.amper_arrays import ArrayProcesses

        return ArrayProcesses(self, env, trace, components)


#: Factories of the registry.
amper_fr = functools.partial(AmperMachine, variant="amper-fr")
amper_k = functools.partial(AmperMachine, variant="amper-k")
