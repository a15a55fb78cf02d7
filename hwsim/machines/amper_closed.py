"""The associative machine by formula: latencies from `closedform`, and who worked, waited and paid."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from amper.trace import OpKind, Trace
from hwsim.closedform import (
    Attempts,
    ClosedTimes,
    Searches,
    add_by,
    attempts_of,
    candidates,
    csb_sampling,
    nearest_sampling,
    write_finish,
)
from hwsim.component import Charge

if TYPE_CHECKING:
    from hwsim.machines.amper import AmperMachine

Int64 = npt.NDArray[np.int64]


def closed(machine: AmperMachine, trace: Trace) -> ClosedTimes:
    """Return the times and charges of every op of the trace."""
    ops, samples, period = trace.ops, trace.samples, machine.costs.period_fs
    searches = machine.searches(trace)
    runs = attempts_of(searches)
    batch = samples["batch_size"]
    n_empty = np.maximum(samples["n_redraws"] + 1 - add_by(runs.sample, 1, len(samples)), 0)
    stall = np.zeros(len(searches.sample), np.int64)
    if machine.variant == "amper-fr":
        phases, stall = csb_sampling(searches, machine.costs, batch, n_empty)
    else:
        phases = nearest_sampling(searches, machine.costs, batch, n_empty)
    sampled = np.flatnonzero(ops["kind"] == OpKind.SAMPLE)
    latency = np.zeros(len(ops), np.int64)
    latency[sampled] = sum(phases.values())
    rows, finish = _write_charge(machine, trace)
    np.maximum.at(latency, rows.op, finish)
    charges = [*_sample_charges(machine, sampled, searches, runs, batch, n_empty, stall), rows]
    return ClosedTimes(
        latency_fs=latency * period,
        phases_fs={name: cycles * period for name, cycles in phases.items()},
        charges=[_in_fs(charge, period) for charge in charges],
    )


def _in_fs(charge: Charge, period: int) -> Charge:
    """Return a charge counted in cycles as one in femtoseconds."""
    busy = charge.unit_busy_fs
    return dataclasses.replace(
        charge,
        offset_fs=charge.offset_fs * period,
        duration_fs=charge.duration_fs * period,
        unit_busy_fs=None if busy is None else busy * period,
    )


def _write_charge(machine: AmperMachine, trace: Trace) -> tuple[Charge, Int64]:
    """Return the write ports' work, in cycles, and when each row was stored after its op's start."""
    ops = trace.ops
    writing = np.flatnonzero(ops["kind"] != OpKind.SAMPLE)
    count = ops["count"][writing]
    op = np.repeat(writing, count)
    place = np.arange(len(op)) - np.repeat(np.cumsum(count) - count, count)
    slots = trace.writes["slot"][np.repeat(ops["first"][writing], count) + place]
    finish = write_finish(op, machine.bank_of(slots), machine.n_banks, machine.costs)
    lasts = np.full(len(op), machine.costs.write)
    energy = np.full(len(op), machine.costs.write_aj)
    work = Charge(component="write_ports", op=op, offset_fs=finish - lasts, duration_fs=lasts, energy_aj=energy)
    return work, finish


def _sample_charges(
    machine: AmperMachine,
    op_of_sample: Int64,
    searches: Searches,
    runs: Attempts,
    batch: Int64,
    n_empty: Int64,
    stall: Int64,
) -> list[Charge]:
    """Return the work and the waiting of all samplings, in cycles.

    The entries of one op are laid end to end for each component: only their sums mean anything.
    """
    c, n = machine.costs, len(op_of_sample)
    is_range = searches.n_neighbours == 0
    ran = add_by(runs.sample, 1, n)
    ranges = add_by(searches.sample, is_range.astype(np.int64), n)
    words = add_by(searches.sample, np.where(is_range, searches.n_words, 0), n)
    found = add_by(searches.sample, searches.n_neighbours, n)
    encoded = add_by(searches.sample, searches.n_matches, n)
    stored = add_by(runs.sample, np.minimum(candidates(searches, runs), machine.csb_capacity), n)
    moved = found + add_by(searches.sample, searches.drain, n)
    work = {
        "urng": (
            ranges + ran * (c.urng - 1) + n_empty * c.urng + batch,
            (ranges + n_empty + batch) * c.urng_aj,
        ),
        "query_generator": (ran * (c.query - 1) + words, words * c.query_aj),
        "arrays": (words * c.search + found * c.best_match, words * c.search_aj + found * c.best_match_aj),
        "encoders": (moved, encoded * c.encode_aj),
        "csb": (moved + batch, (stored + batch) * c.csb_aj),
        "draw_unit": (c.draw + batch, batch * c.draw_aj),
    }
    if machine.variant == "amper-k":
        work["counters"] = (ranges * c.count, ranges * c.count_aj)
        work["compare_tree"] = (found * (c.compare - 1), found * c.compare_aj)
    at_start = np.zeros(n, np.int64)
    # Encoders and ports of several banks work at once: `moved` counts the time, `encoded` the work.
    side_by_side = {"encoders": encoded, "csb": encoded + batch}
    charges = [
        Charge(
            component=name,
            op=op_of_sample,
            offset_fs=at_start,
            duration_fs=busy,
            energy_aj=energy,
            unit_busy_fs=side_by_side.get(name),
        )
        for name, (busy, energy) in work.items()
    ]
    waiting = Charge(
        component="arrays",
        op=op_of_sample,
        offset_fs=work["arrays"][0],
        duration_fs=add_by(searches.sample, stall, n),
        energy_aj=at_start,
        cause="readout",
    )
    return [*charges, waiting]
