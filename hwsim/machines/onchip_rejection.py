"""Rejection on the chip: AMPER-fr's law without a TCAM, by reading random rows until enough are candidates."""

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
from hwsim.component import Component, ComponentSpec
from hwsim.cost_leakage import rejection_leakages_uw
from hwsim.cost_onchip import RejectionCosts, fastest_clock_ghz, rejection_areas_um2, rejection_costs
from hwsim.technology import Technology, technology

if TYPE_CHECKING:
    import simpy

    from hwsim.machines.onchip_rejection_processes import RejectionProcesses

Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tries:
    """What one sampling tries.

    Parameters
    ----------
    n_ranges : int
        Ranges of its last attempt.
    chance : float
        Chance that a try is accepted.
    gaps : int64[b]
        Tries from one accepted to the next, the accepted one included; `max_tries` + 1 stands for more.
    n_accepted, n_tries : int
        Draws accepted before the machine gives up, if it does; tries until then.
    """

    n_ranges: int
    chance: float
    gaps: Int64
    n_accepted: int
    n_tries: int

    @property
    def n_uniform(self) -> int:
        """Draws left to uniform sampling."""
        return len(self.gaps) - self.n_accepted


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectionMachine:
    """One SRAM of codes, and comparators for all ranges of a sampling at once.

    Parameters
    ----------
    n_rows : int
        Slots it holds.
    n_lanes : int
        Banks, slot s in bank s mod n_lanes, each with its own address unit and comparators: as many tries, or rows
        written, a cycle. A lane tries every place of the largest bank equally often; an empty one is rejected.
        Draws are uniform over the candidate set one by one for a single lane; more lanes spread the draws of a
        sampling evenly over the banks, and are timed as if each had the mean chance.
    bits : int
        Width of a code.
    n_ranges : int
        Ranges that fit the comparators, at most 64.
    max_tries : int
        Tries without success, one after another, after which the machine gives up and draws uniformly. The default
        of 16,384 gives up once in 10^7 draws where one row in a thousand is a candidate, and after 16 us in one lane
        where none is.
    seed : int
        Of the number of tries: those of op k come from a generator seeded by (seed, k), in any order of ops.
    technology : str, Path or Technology
        A preset's name, a TOML file, or what `hwsim.technology` returned.
    clock_ghz : float
        One clock for everything.

    Notes
    -----
    A sampling of b draws from m ranges, in cycles:

        query   = U + Q + m - 1                     representatives, one range a cycle into the comparators
        overlap = m - 1 + 1 + accept                every lower end compared with all ranges: k_max is the largest count
        tries   = ceil(T / n_lanes) - 1 + depth     depth = address + read + 1 + accept
        uniform = ceil(draws left / n_lanes)        after giving up; the addresses are under way already

    A slot found by k of the ranges stands k times in the candidate set, so it is accepted with probability k / k_max:
    a try succeeds with chance p = |CSP| / (slots tried over * k_max), and T = b + negative binomial (b, p) unless
    the machine gives up. In a trace without duplicates (`unique`) any match accepts, k_max is 1 and there is no
    sweep of the lower ends. The machine cannot know |CSP|: it draws no representatives anew but serves the ranges
    of the trace's last attempt, and where the trace fell back to uniform draws nothing is taken to match. Without
    ranges it knows that: one uniform number, then b uniform draws. Until the last try is decided further ones
    enter the pipeline; they are paid for as far as they get. Slots fill without gaps.

    An update writes one row a cycle into each bank; rows of one bank go one after another, and the last one takes the
    memory's cycles. While ops overlap, one sampling holds the comparators from its first range on; its tries and a
    write exclude each other.
    """

    n_rows: int
    n_lanes: int = 1
    bits: int = 16
    n_ranges: int = 32
    max_tries: int = 16_384
    seed: int = 0
    technology: str | Path | Technology = "cmos45"
    clock_ghz: float = 1.0
    costs: RejectionCosts = field(init=False, repr=False, compare=False)
    _areas: dict[str, float] = field(init=False, repr=False, compare=False)
    _leakages: dict[str, float | None] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        checks.store_whole(self, "n_rows", "n_lanes", "n_ranges", "max_tries")
        checks.store_whole(self, "bits", maximum=64)
        checks.store_whole(self, "seed", minimum=0, maximum=2**63)
        for name, most, reason in (
            ("n_lanes", self.n_rows, "no bank may be empty"),
            ("n_ranges", 64, "the matches of a try are counted at once"),
        ):
            if getattr(self, name) > most:
                raise ValueError(f"{name} must be at most {most}, got {getattr(self, name)!r}; {reason}")
        checks.store_positive(self, "clock_ghz", checks.SLOWEST_GHZ)
        tech = technology(self.technology)
        fastest = fastest_clock_ghz(tech)
        if self.clock_ghz > fastest:
            raise ValueError(
                f"clock_ghz must be at most {fastest:g}, got {self.clock_ghz!r}; "
                f"the slowest single-cycle block takes {1 / fastest:g} ns"
            )
        costs = rejection_costs(tech, self.n_rows, self.n_lanes, self.bits, self.clock_ghz)
        built = (tech, self.n_rows, self.n_lanes, self.bits, self.n_ranges)
        object.__setattr__(self, "costs", costs)
        object.__setattr__(self, "_areas", rejection_areas_um2(*built))
        object.__setattr__(self, "_leakages", rejection_leakages_uw(*built))

    @property
    def name(self) -> str:
        """Registered name."""
        return "rejection-onchip"

    @property
    def clock_fs(self) -> int:
        """One clock cycle."""
        return self.costs.period_fs

    @property
    def phases(self) -> tuple[str, ...]:
        """What the latency of a sampling is split into."""
        return ("query", "overlap", "tries", "uniform")

    @property
    def not_covered(self) -> tuple[str, ...]:
        """What the numbers leave out."""
        return (
            "power gating: what idles leaks; an SRAM bit's leakage is known by device class only (leakage.sram_bit_pw)",
            "clock tree, control logic, pipeline and range registers",
            "wires outside the memory",
            "energy and area of the row memory (fetch)",
            "an access of the memory is within a factor of 3 (sram.energy_*_pj)",
        )

    @property
    def components(self) -> tuple[ComponentSpec, ...]:
        """What it is built of; a lane takes two uniform numbers a try, for the slot and for the decision."""
        units = dict.fromkeys(("address_units", "memory", "comparators", "counters"), self.n_lanes)
        units["urng"] = 2 * self.n_lanes
        return tuple(
            ComponentSpec(name=n, n_units=units.get(n, 1), area_um2=um2, leakage_uw=self._leakages[n])
            for n, um2 in self._areas.items()
        )

    def parameters(self) -> dict[str, Any]:
        """Return what it was made with, JSON-serialisable."""
        made = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.init}
        return {"name": self.name, **made, "technology": str(self.technology)}

    # -- what a trace asks of it --------------------------------------------------------------------
    def check(self, trace: Trace) -> None:
        """Raise ValueError unless the trace has range searches that fit the comparators."""
        header = trace.header
        if header.sampler != "amper-fr":
            raise ValueError(
                f"trace must hold searches of 'amper-fr', got a trace of {header.sampler!r}; "
                "make one with trace.replay('amper-fr')"
            )
        if trace.searches["n_neighbours"].any():
            raise ValueError(f"trace must hold range searches only for {self.name!r}, got best-match searches")
        if header.options.get("faults"):
            raise ValueError(f"faults must be None for {self.name!r}, got {header.options['faults']!r}; it has no TCAM")
        if header.bits > self.bits:
            raise ValueError(f"bits must be at least the trace's {header.bits}, got {self.bits!r}")
        most = 0
        for row in range(len(trace.samples)):
            sample, ranges = trace.samples[row], last_ranges(trace, row)
            most = max(most, len(ranges))
            limit = int(sample["n_valid"]) * self._overlap(trace, ranges)
            if not sample["fallback"] and len(ranges) and sample["n_csp"] > limit:
                raise ValueError(
                    f"n_csp must be at most n_valid times the largest overlap of the ranges, {limit}, "
                    f"got {int(sample['n_csp'])} in sampling {row}"
                )
        if most > self.n_ranges:
            raise ValueError(f"n_ranges must be at least {most} for this trace, got {self.n_ranges!r}")

    def n_dropped(self, trace: Trace) -> int:
        """Return 0: there is no candidate-set buffer."""
        del trace
        return 0

    def n_given_up(self, trace: Trace) -> int:
        """Return in how many samplings the machine gives up; those without candidates are among them."""
        return sum(tries.n_uniform > 0 for tries in self.tries(trace).values())

    def tries(self, trace: Trace) -> dict[int, Tries]:
        """Return what each sampling tries, by op."""
        ops = trace.ops
        sampled = np.flatnonzero(ops["kind"] == OpKind.SAMPLE)
        return {int(op): self._tries(trace, int(op), int(ops["first"][op])) for op in sampled}

    def _tries(self, trace: Trace, op: int, row: int) -> Tries:
        sample, ranges = trace.samples[row], last_ranges(trace, row)
        b, none = int(sample["batch_size"]), self.max_tries + 1
        chance = 0.0
        if len(ranges) and not sample["fallback"]:
            places = self.n_lanes * -(-int(sample["n_valid"]) // self.n_lanes)
            chance = int(sample["n_csp"]) / (places * self._overlap(trace, ranges))
        gaps = np.full(b, none, np.int64)
        if chance > 0:
            gaps = np.minimum(np.random.default_rng((self.seed, op)).geometric(chance, b), none).astype(np.int64)
        failed = np.flatnonzero(gaps == none)
        n_accepted = int(failed[0]) if len(failed) else b
        n_tries = int(gaps[:n_accepted].sum()) + (self.max_tries if len(failed) else 0)
        if not len(ranges):
            n_tries = 0
        return Tries(n_ranges=len(ranges), chance=chance, gaps=gaps, n_accepted=n_accepted, n_tries=n_tries)

    @staticmethod
    def _overlap(trace: Trace, ranges: Int64) -> int:
        """Return k_max: how often a slot may stand in the candidate set."""
        return 1 if trace.header.options.get("unique") else largest_overlap(ranges)

    # -- how long it takes --------------------------------------------------------------------------
    def closed(self, trace: Trace) -> ClosedTimes:
        """Return the times and charges of every op, by formula."""
        from hwsim.machines.onchip_rejection_closed import closed

        return closed(self, trace)

    def processes(
        self, env: simpy.Environment, trace: Trace, components: Mapping[str, Component]
    ) -> RejectionProcesses:
        """Return the machine at work on a trace."""
        from hwsim.machines.onchip_rejection_processes import RejectionProcesses

        return RejectionProcesses(self, env, trace, components)


def last_ranges(trace: Trace, row: int) -> Int64:
    """Return lo, hi of the searches in the last attempt of a sampling, int64[m, 2]."""
    sample = trace.samples[row]
    first = int(sample["first_search"])
    searches = trace.searches[first : first + int(sample["n_searches"])]
    last = searches[searches["attempt"] == sample["n_redraws"]]
    return np.stack([last["lo"], last["hi"]], axis=1).astype(np.int64)


def largest_overlap(ranges: Int64) -> int:
    """Return k_max, the most of the ranges lo .. hi that share a code; some range begins there.

    Examples
    --------
    >>> largest_overlap(np.array([[10, 20], [15, 30], [20, 25], [31, 40]]))
    3
    """
    lo, hi = ranges[:, 0], ranges[:, 1]
    return int(((lo >= lo[:, None]) & (lo <= hi[:, None])).sum(axis=0).max(initial=0))
