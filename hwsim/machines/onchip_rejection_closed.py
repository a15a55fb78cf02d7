"""Rejection on the chip by formula: latencies, and who worked and paid."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from amper.trace import OpKind, Trace
from hwsim.closedform import ClosedTimes
from hwsim.component import Charge

if TYPE_CHECKING:
    from hwsim.machines.onchip_rejection import RejectionMachine

Int64 = npt.NDArray[np.int64]


def closed(machine: RejectionMachine, trace: Trace) -> ClosedTimes:
    """Return the times and charges of every op of the trace."""
    c, ops, lanes = machine.costs, trace.ops, machine.n_lanes
    tries = machine.tries(trace)
    op = np.array(list(tries), np.int64)
    table = np.array([[t.n_ranges, t.n_tries, t.n_uniform] for t in tries.values()], np.int64).reshape(-1, 3)
    m, n_tries, left = table.T
    searched, some = np.minimum(m, 1), np.minimum(n_tries, 1)
    sweeps = np.zeros_like(m) if trace.header.options.get("unique") else searched
    issue = -(-left // lanes)
    phases = {
        "query": c.urng + searched * (c.query + m - 1),
        "overlap": sweeps * (m - 1 + 1 + c.accept),
        "tries": -(-n_tries // lanes) + some * (c.depth - 1),
        "uniform": issue + np.where((m == 0) & (left > 0), c.address - 1, 0),
    }
    latency = np.zeros(len(ops), np.int64)
    latency[op] = sum(phases.values())
    writing, longest, rows = _written(machine, trace)
    latency[writing] = longest + np.minimum(longest, 1) * (c.read - 1)
    charges = _Charges(op, c.period_fs)
    at_tries = phases["query"] + phases["overlap"]
    at_uniform = at_tries + phases["tries"]
    draws, generated = 2 * lanes, searched * (c.urng - 1) + np.where(m, m, c.urng)
    charges.add("urng", 0 * m, generated, np.maximum(m, 1) * c.urng_aj)
    charges.add("query_generator", 0 * m + c.urng, searched * (c.query - 1) + m, m * c.query_aj)
    charges.add("comparators", phases["query"], sweeps * m, sweeps * m * m * c.range_aj)
    charges.add("counters", phases["query"] + 1, sweeps * m, sweeps * m * c.accept_aj)
    # A stage works from when the first try reaches it to the end of the tries.
    lasts = phases["tries"]
    for name, n_units, before, energy_aj in (
        ("urng", draws, 0, c.urng_aj),
        ("address_units", lanes, 0, c.address_aj),
        ("memory", lanes, c.address, c.read_aj),
        ("comparators", lanes, c.address + c.read, m * c.range_aj),
        ("counters", lanes, c.address + c.read + 1, c.accept_aj),
    ):
        cycles = lasts - some * before
        charges.add(name, at_tries + before, cycles, cycles * n_units * energy_aj, n_units)
    charges.add("urng", at_uniform, issue, issue * lanes * c.urng_aj, lanes)
    charges.add("address_units", at_uniform, issue, issue * lanes * c.address_aj, lanes)
    work = Charge(
        component="memory",
        op=writing,
        offset_fs=0 * writing,
        duration_fs=longest * c.period_fs,
        energy_aj=rows * c.write_aj,
        unit_busy_fs=rows * c.period_fs,
    )
    return ClosedTimes(
        latency_fs=latency * c.period_fs,
        phases_fs={name: cycles * c.period_fs for name, cycles in phases.items()},
        charges=[*charges.all, work],
    )


class _Charges:
    """Charges of all samplings, entered in cycles."""

    def __init__(self, op: Int64, period_fs: int) -> None:
        self._op, self._period = op, period_fs
        self.all: list[Charge] = []

    def add(self, component: str, at: Int64, lasts: Int64, energy_aj: Int64, n_units: int = 1) -> None:
        """Enter work of `n_units` side by side, from `at` on for `lasts` cycles, `energy_aj` all together."""
        some = lasts > 0
        self.all.append(
            Charge(
                component=component,
                op=self._op[some],
                offset_fs=at[some] * self._period,
                duration_fs=lasts[some] * self._period,
                energy_aj=energy_aj[some],
                unit_busy_fs=lasts[some] * n_units * self._period,
            )
        )


def _written(machine: RejectionMachine, trace: Trace) -> tuple[Int64, Int64, Int64]:
    """Return, for every write, its op, the rows of its most loaded bank, and its rows."""
    ops = trace.ops
    writing = np.flatnonzero(ops["kind"] != OpKind.SAMPLE)
    count = ops["count"][writing].astype(np.int64)
    op = np.repeat(np.arange(len(writing)), count)
    place = np.arange(len(op)) - np.repeat(np.cumsum(count) - count, count)
    slots = trace.writes["slot"][np.repeat(ops["first"][writing], count) + place].astype(np.int64)
    rows = np.zeros((len(writing), machine.n_lanes), np.int64)
    np.add.at(rows, (op, slots % machine.n_lanes), 1)
    return writing, rows.max(axis=1, initial=0), count
