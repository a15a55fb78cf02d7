"""Whether the associative machine could have served a trace: its searches, its buffer, its rank tree."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from amper.trace import Trace
from hwsim._kernels import amper as kernels
from hwsim.machines.amper_plan import Plan

if TYPE_CHECKING:
    from hwsim.machines.amper import AmperMachine

Int64 = npt.NDArray[np.int64]


def check_searches(machine: AmperMachine, trace: Trace) -> None:
    """Raise ValueError unless the trace has searches of the machine's variant that fit its arrays."""
    header, variant = trace.header, machine.variant
    if header.sampler != variant:
        raise ValueError(
            f"trace must hold searches of {variant!r}, got a trace of {header.sampler!r}; "
            f"make one with trace.replay({variant!r})"
        )
    if variant == "amper-fr" and trace.searches["n_neighbours"].any():
        raise ValueError("trace must hold range searches only for 'amper-fr', got best-match searches")
    if header.options.get("faults"):
        raise ValueError(
            f"trace must be of a memory without faults, got {header.options['faults']!r}; what such a memory "
            "finds does not follow from what was written"
        )
    unique = bool(header.options.get("unique"))
    if header.options.get("distance") == "hamming" and (unique or machine.neighbours == "bisection"):
        raise ValueError(
            "trace must be of value distances where slots found twice count once or radii are bisected, got "
            "Hamming distances; make one with trace.replay('amper-k')"
        )
    if unique != machine.unique:
        raise ValueError(
            f"unique must be the trace's {unique}, got {machine.unique}; "
            f"make the machine with unique={unique}, or the trace with trace.replay(unique={machine.unique})"
        )
    if header.bits > machine.bits:
        raise ValueError(f"bits must be at least the trace's {header.bits}, got {machine.bits!r}")


def check_buffer(machine: AmperMachine, trace: Trace) -> None:
    """Raise ValueError unless every attempt's matches fit the candidate-set buffer, part by part."""
    if _surely_fits(machine, trace):
        return
    size = machine.entries_needed(trace)
    if size > machine.part_capacity * machine.n_used_parts:
        raise ValueError(
            f"csb_entries must be at least {size} for this trace, got {machine.csb_capacity!r}; or pass overflow='drop'"
        )


def _surely_fits(machine: AmperMachine, trace: Trace) -> bool:
    """Return whether all matches of each sampling, redraws and duplicates included, fit one part of the buffer."""
    searches = trace.samples["n_searches"]
    found = np.concatenate(([0], np.cumsum(trace.searches["n_matches"], dtype=np.int64)))
    ends = np.cumsum(searches, dtype=np.int64)
    return int(np.max(found[ends] - found[ends - searches], initial=0)) <= machine.part_capacity


def candidates(machine: AmperMachine, trace: Trace) -> tuple[Int64, Int64]:
    """Return the most addresses any attempt offers each part of the buffer; those too many, by sampling."""
    plan = machine.plan(trace)
    largest = np.zeros(plan.matches.shape[1], np.int64)
    overflow = np.zeros(len(trace.samples), np.int64)
    kernels.largest_attempts(plan.sample, plan.attempt, plan.matches, largest, overflow, machine.part_capacity)
    return largest, overflow


def check_ranks(machine: AmperMachine, plan: Plan, trace: Trace) -> None:
    """Raise ValueError unless the rank tree keeps enough counts, and draws name their groups."""
    attempt = plan.sample * (1 + plan.attempt.max(initial=0)) + plan.attempt
    most = 1 if machine.unique else int(np.bincount(attempt, plan.kept).max(initial=0))
    if most > machine.n_groups:
        raise ValueError(f"n_groups must be at least {most} for this trace, got {machine.n_groups!r}")
    if plan.unknown >= 0:
        group = int(trace.draws["group"][plan.unknown])
        raise ValueError(f"draws must name a group that was searched, got group {group} of draw {plan.unknown}")
