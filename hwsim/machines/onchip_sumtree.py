"""A sum tree on the chip: one SRAM and one routing node a level, exact proportional draws, one a cycle."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from amper.trace import OpKind, Trace
from hwsim import checks
from hwsim.closedform import ClosedTimes
from hwsim.component import Charge, Component, ComponentSpec
from hwsim.cost_leakage import tree_leakages_uw
from hwsim.cost_onchip import FAN_OUTS, TreeCosts, fastest_clock_ghz, tree_areas_um2, tree_costs
from hwsim.technology import Technology, technology

if TYPE_CHECKING:
    import simpy

    from hwsim.machines.onchip_sumtree_processes import TreeProcesses

Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeMachine:
    """A K-ary sum tree, one SRAM a level.

    Parameters
    ----------
    n_rows : int
        Leaves.
    fan_out : {2, 4, 8, 16}
        Children of a node (K).
    bits : int
        Width of a leaf. A node is as wide as the exact sum of the leaves below it needs, bits + ceil(log2 leaves):
        sums are integers that differences change exactly, so no update leaves an error behind.
    pipelined : bool
        Whether draws follow each other down the tree, one a cycle; otherwise one by one.
    forwarding : bool
        Whether a row's new sums reach the row behind it before they are stored, so that one row a cycle enters;
        a memory then reads and writes at once, in cells with two ports. Otherwise a row enters every three cycles:
        read, add, write of a word at the bank that holds it, with the adder beside it (a longer way there keeps
        rows in order).
    technology : str, Path or Technology
        A preset's name, a TOML file, or what `hwsim.technology` returned.
    clock_ghz : float
        One clock for everything.

    Notes
    -----
    With D = ceil(log_K n) levels below the root, r_l cycles to read level l and c to route in it:

        sample = DRAW + (b - 1) + sum of (r_l + c)     pipelined; else DRAW + b * sum of (r_l + c)
        update = b + r_leaf + 2                        with forwarding; else 3 b + r_leaf

    A row reads its old leaf while the levels above read theirs, subtracts, adds the difference everywhere at
    once, writes: r_leaf + 3 cycles, and b - 1 intervals of one cycle (three) until the last row enters. Uniform
    numbers are drawn ahead. Insert and update cost the same; an op without draws or rows costs nothing.

    Where ops come faster than they leave, one of the same kind enters once the one before it has issued its last
    draw or row; one of the other kind once that has left the tree, for a draw must not meet sums that are half
    changed. Without the pipeline a sampling has the tree to itself. A unit counts as busy while draws or rows
    enter it. Every trace is served, its codes taken to fit the leaves.
    """

    n_rows: int
    fan_out: int = 16
    bits: int = 16
    pipelined: bool = True
    forwarding: bool = True
    technology: str | Path | Technology = "cmos45"
    clock_ghz: float = 1.0
    costs: TreeCosts = field(init=False, repr=False, compare=False)
    _areas: dict[str, float] = field(init=False, repr=False, compare=False)
    _leakages: dict[str, float | None] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        checks.store_whole(self, "n_rows", "fan_out")
        checks.store_whole(self, "bits", maximum=64)
        if self.fan_out not in FAN_OUTS:
            raise ValueError(f"fan_out must be one of {', '.join(map(str, FAN_OUTS))}, got {self.fan_out!r}")
        checks.flag("pipelined", self.pipelined)
        checks.flag("forwarding", self.forwarding)
        checks.store_positive(self, "clock_ghz", checks.SLOWEST_GHZ)
        tech = technology(self.technology)
        fastest = fastest_clock_ghz(tech)
        if self.clock_ghz > fastest:
            raise ValueError(
                f"clock_ghz must be at most {fastest:g}, got {self.clock_ghz!r}; "
                f"the slowest single-cycle block takes {1 / fastest:g} ns"
            )
        costs = tree_costs(tech, self.n_rows, self.fan_out, self.bits, self.clock_ghz)
        areas = tree_areas_um2(tech, costs, self.fan_out, two_ports=self.forwarding)
        object.__setattr__(self, "costs", costs)
        object.__setattr__(self, "_areas", areas)
        leakages = tree_leakages_uw(tech, costs, self.fan_out, two_ports=self.forwarding)
        object.__setattr__(self, "_leakages", leakages)

    @property
    def name(self) -> str:
        """Registered name."""
        return "sumtree-onchip"

    @property
    def clock_fs(self) -> int:
        """One clock cycle."""
        return self.costs.period_fs

    @property
    def phases(self) -> tuple[str, ...]:
        """What the latency of a sampling is split into; `issue` is for the draws after the first."""
        return ("draw", "issue", "read", "route")

    @property
    def not_covered(self) -> tuple[str, ...]:
        """What the numbers leave out."""
        return (
            "power gating: what idles leaks; an SRAM bit's leakage is known by device class only (leakage.sram_bit_pw)",
            "clock tree, control logic and pipeline registers",
            "wires between levels",
            "energy and area of the row memory (fetch)",
            "an access of a node memory is within a factor of 3 (sram.energy_*_pj)",
        )

    @property
    def components(self) -> tuple[ComponentSpec, ...]:
        """What it is built of; the leaves have a subtractor, every level above and the root an adder."""
        depth = len(self.costs.levels)
        units = {"node_memories": depth, "routers": depth, "adders": depth + 1}
        return tuple(
            ComponentSpec(name=n, n_units=units.get(n, 1), area_um2=um2, leakage_uw=self._leakages[n])
            for n, um2 in self._areas.items()
        )

    @property
    def row_interval(self) -> int:
        """Cycles from one row of an update to the next."""
        return 1 if self.forwarding else 3

    def parameters(self) -> dict[str, Any]:
        """Return what it was made with, JSON-serialisable."""
        made = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.init}
        return {"name": self.name, **made, "technology": str(self.technology)}

    def check(self, trace: Trace) -> None:
        """Accept every trace: a sum tree reads kinds and sizes only."""

    def n_dropped(self, trace: Trace) -> int:
        """Return 0: there is no candidate-set buffer."""
        del trace
        return 0

    # -- how long it takes --------------------------------------------------------------------------
    def closed(self, trace: Trace) -> ClosedTimes:
        """Return the times and charges of every op, by formula."""
        c, ops = self.costs, trace.ops
        count = ops["count"].astype(np.int64)
        sampling = ops["kind"] == OpKind.SAMPLE
        read, route = sum(level.read for level in c.levels), c.route * len(c.levels)
        b = count[sampling]
        some, descents = np.minimum(b, 1), np.minimum(b, 1) if self.pipelined else b
        phases = {
            "draw": c.draw * some,
            "issue": b - some if self.pipelined else 0 * b,
            "read": read * descents,
            "route": route * descents,
        }
        latency = np.where(count > 0, (count - 1) * self.row_interval + c.levels[-1].read + 3, 0)
        latency[sampling] = sum(phases.values())
        charges = [*self._draw_charges(np.flatnonzero(sampling), b), *self._row_charges(~sampling, count)]
        return ClosedTimes(
            latency_fs=latency * c.period_fs,
            phases_fs={name: cycles * c.period_fs for name, cycles in phases.items()},
            charges=charges,
        )

    def _draw_charges(self, op: Int64, b: Int64) -> list[Charge]:
        """Return the work of samplings of `b` draws; one by one, each level's lies end to end."""
        c = self.costs
        charges = [
            self._charge("urng", op, 0, b, b * c.urng_aj),
            self._charge("draw_unit", op, 0, b, b * c.draw_aj),
        ]
        at: int | Int64 = c.draw
        for level in c.levels:
            read, route = (1, 1) if self.pipelined else (level.read, c.route)
            charges.append(self._charge("node_memories", op, at, read * b, b * level.descend_aj))
            at = at + (level.read if self.pipelined else read * b)
            charges.append(self._charge("routers", op, at, route * b, b * level.route_aj))
            at = at + (c.route if self.pipelined else route * b)
        return charges

    def _row_charges(self, writing: npt.NDArray[np.bool_], count: Int64) -> list[Charge]:
        """Return the work of inserts and updates."""
        c, op = self.costs, np.flatnonzero(writing)
        n = count[op]
        subtract = c.levels[-1].read
        charges = [
            self._charge("node_memories", op, 0, self.row_interval * n, n * level.rewrite_aj) for level in c.levels
        ]
        charges.append(self._charge("adders", op, subtract, n, n * c.levels[-1].add_aj))
        for add_aj in (c.root_add_aj, *(level.add_aj for level in c.levels[:-1])):
            charges.append(self._charge("adders", op, subtract + 1, n, n * add_aj))
        return charges

    def _charge(self, component: str, op: Int64, at: int | Int64, lasts: Int64, energy_aj: Int64) -> Charge:
        """Return work that begins `at` cycles after the op's start and lasts `lasts` cycles, where it lasts at all."""
        period, some = self.costs.period_fs, lasts > 0
        offset = np.broadcast_to(np.asarray(at, np.int64), op.shape)
        return Charge(
            component=component,
            op=op[some],
            offset_fs=offset[some] * period,
            duration_fs=lasts[some] * period,
            energy_aj=energy_aj[some],
        )

    def processes(self, env: simpy.Environment, trace: Trace, components: Mapping[str, Component]) -> TreeProcesses:
        """Return the tree at work on a trace."""
        from hwsim.machines.onchip_sumtree_processes import TreeProcesses

        return TreeProcesses(self, env, trace, components)
