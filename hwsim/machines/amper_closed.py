"""The associative machine by formula: exact where no other op holds or requests its hardware.

An attempt - the searches between two draws of the representatives - begins with the front end, ends when
|CSP| is known, and a sampling of b draws follows its last attempt; in cycles, with the symbols of `cost_amper`:

    csb, burst     load_0 = U + Q + w + s k_0,  load_{g+1} = max(load_g + s k_{g+1}, end_g - 1)
                   end_g = load_g + (D_g > 0 ? 1 + D_g : 0),  attempt = max end_g + w + 1,  + DRAW + b
                   an address drawn from a buffer of more than one cycle leaves that much later
    rank_select    attempt = U + Q + w + s sum(k) + POP + 2 Lu + w,
                   + DRAW + b + w + 2 Ld + s k + SEL + w
    amper-k        attempt = U + Q + sum over groups + 1,  + DRAW + b, with per group
                   count   = 2 w + s k + POP + 2 Lu + MUL
                   nearest = N (2 w + ceil(f s) + 1 + Lu + 1)

k_g ternary words; D_g words through the most loaded port: addresses (csb), or words of up to eight addresses of
one array (burst; every bank has its port). The maximum of the ends is the last one, unless the last search found
nothing while the drain before it was in its last cycle. By bisection AMPER-k's count becomes that of every step,
and nearest one more search (`amper_plan`). `unique` makes one load of all searches of an attempt, and its ranks
search nothing again. An attempt without searches costs U.

The form does not hold, and says so, where a bank pauses in a drain (FIFO depth 1; ports shared in turn), and
where two ranks meet in an array or their results at the root.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from amper.trace import OpKind, Trace
from hwsim._kernels import amper as kernels
from hwsim.closedform import ClosedTimes, NotApplicableError
from hwsim.component import Charge
from hwsim.machines.amper_charges import Tally, sample_charges, write_charges
from hwsim.machines.amper_plan import Plan

if TYPE_CHECKING:
    from hwsim.machines.amper import AmperMachine

Int64 = npt.NDArray[np.int64]


def front_end(machine: AmperMachine) -> int:
    """Return the cycles from an attempt's start to its first search's, or count's, own time."""
    c = machine.costs
    return c.urng + c.query + (c.way if machine.variant == "amper-fr" else 0)


def back_end(machine: AmperMachine) -> int:
    """Return the cycles from the last result at the arrays to |CSP| at the root."""
    c = machine.costs
    if machine.readout == "rank_select":
        return c.tally + c.way if machine.variant == "amper-fr" or machine.unique else 0
    return c.way + 1 if machine.drains else 1


def closed(machine: AmperMachine, trace: Trace) -> ClosedTimes:
    """Return the times and charges of every op of the trace.

    Raises
    ------
    NotApplicableError
        If the formula does not hold; the message names the op and the reason.
    """
    ops, period = trace.ops, machine.costs.period_fs
    sampled = np.flatnonzero(ops["kind"] == OpKind.SAMPLE)
    if machine.pauses and len(sampled):
        reason = "FIFOs of depth 1" if machine.fifo_depth < 2 else "ports shared in turn"
        raise NotApplicableError(
            f"fidelity must be 'burst' or 'array' from op {sampled[0]} on, got 'closed'; {reason} make banks pause"
        )
    plan = machine.plan(trace)
    phases, tally = _samplings(machine, trace, plan, sampled)
    latency = np.zeros(len(ops), np.int64)
    latency[sampled] = sum(phases.values())
    charges = [*sample_charges(machine, tally, sampled), *write_charges(machine, trace, latency)]
    return ClosedTimes(
        latency_fs=latency * period,
        phases_fs={name: phases[name] * period for name in machine.phases},
        charges=[_in_fs(charge, period) for charge in charges],
    )


def _samplings(machine: AmperMachine, trace: Trace, plan: Plan, op_of_sample: Int64) -> tuple[dict[str, Int64], Tally]:
    """Return the phases of every sampling, in cycles, and what it did."""
    c, samples, n = machine.costs, trace.samples, len(trace.samples)
    batch = samples["batch_size"].astype(np.int64)
    matches = np.zeros(len(plan.sample), np.int64)
    kernels.row_sums(plan.matches, matches)
    columns = (
        plan.n_keys, plan.n_words, plan.n_tallies, plan.n_products, plan.n_neighbours,
        plan.kept, matches,
    )  # fmt: skip
    sums, n_attempts = np.zeros((len(columns), n), np.int64), np.zeros(n, np.int64)
    kernels.add_up(plan.sample, plan.attempt, columns, sums, n_attempts)
    split, moved = np.zeros((n, 4), np.int64), np.zeros((n, 3), np.int64)
    ends = front_end(machine), back_end(machine)
    kernels.drain(plan.sample, plan.attempt, plan.count, plan.search, plan.words, *ends, split, moved)
    query, count, search, readout = split.T
    phases = {"query": query + plan.n_empty * c.urng, "count": count, "search": search, "draw": c.draw + batch}
    looked_up = np.where(samples["fallback"], 0, batch)
    keys, words, tallies, products, neighbours, kept, found = sums
    ranks, again, selecting = (np.zeros(n, np.int64) for _ in range(3))
    tally = Tally(
        batch=batch, attempts=n_attempts, empty=plan.n_empty, keys=keys, words=words, tallies=tallies,
        products=products, neighbours=neighbours, kept=kept, matches=found, lost=_lost(machine, plan, n),
        moving=moved[:, 0], moved=moved[:, 1], waited=moved[:, 2], reads=looked_up, ranks=ranks, again=again,
        selecting=selecting,
    )  # fmt: skip
    if machine.readout == "rank_select":  # nothing drains: what follows the last search is counting
        phases["count"] = count + readout
        tally = dataclasses.replace(tally, ranks=looked_up, reads=0 * looked_up)
        phases["select"] = _selection(machine, trace, plan, tally, op_of_sample)
    elif machine.drains:
        phases["readout"] = readout
        phases["draw"] = phases["draw"] + np.where(samples["fallback"], 0, c.csb_read - 1)
    else:
        phases["readout"] = readout + neighbours * (2 * c.way + c.compare)
        phases["draw"] = phases["draw"] + np.where(samples["fallback"], 0, c.csb_read - 1)
        tally = dataclasses.replace(tally, moving=neighbours, moved=neighbours)
    return phases, tally


def _lost(machine: AmperMachine, plan: Plan, n_samplings: int) -> Int64:
    """Return how many matches of each sampling found their part of the buffer full."""
    largest, lost = np.zeros(plan.matches.shape[1], np.int64), np.zeros(n_samplings, np.int64)
    if machine.overflow == "drop":
        kernels.largest_attempts(plan.sample, plan.attempt, plan.matches, largest, lost, machine.part_capacity)
    return lost


def _selection(machine: AmperMachine, trace: Trace, plan: Plan, tally: Tally, op_of_sample: Int64) -> Int64:
    """Return the cycles from a sampling's last rank at the root to its last result; fill in what the arrays did."""
    c, first = machine.costs, trace.samples["first_draw"].astype(np.int64)
    tail = np.zeros(len(first), np.int64)
    slot = trace.draws["slot"]
    i, one, other = kernels.select(
        first,
        tally.ranks,
        slot,
        machine.rows_per_array,
        plan.again,
        c.search,
        machine.geometry.n_arrays,
        tail,
        tally.selecting,
        tally.again,
    )
    if i >= 0:
        where = (
            f"meet in array {slot[first[i] + one] // machine.rows_per_array}"
            if other >= 0
            else "reach the root together"
        )
        raise NotApplicableError(
            f"fidelity must be 'burst' or 'array' for op {op_of_sample[i]}, got 'closed'; "
            f"its draws {one} and {other if other >= 0 else -1 - other} {where}"
        )
    return np.where(tally.ranks > 0, 2 * c.way + c.route + tail + c.select, 0)


def _in_fs(charge: Charge, period: int) -> Charge:
    """Return a charge counted in cycles as one in femtoseconds."""
    busy = charge.unit_busy_fs
    return dataclasses.replace(
        charge,
        offset_fs=charge.offset_fs * period,
        duration_fs=charge.duration_fs * period,
        unit_busy_fs=None if busy is None else busy * period,
    )
