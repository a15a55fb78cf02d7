"""A trace on a machine, op after op: by events, or by formula."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from amper.trace import OpKind, Trace
from hwsim import units
from hwsim.checks import one_of
from hwsim.closedform import NotApplicableError
from hwsim.component import Charge, Component, ComponentSpec
from hwsim.cost import fetch_fs
from hwsim.ledger import Ledger, check_balance
from hwsim.machines import HasClosedForm, Machine
from hwsim.report import Report

if TYPE_CHECKING:
    import simpy

Int64 = npt.NDArray[np.int64]

FIDELITIES = ("burst", "closed")
ARRIVALS = ("serial",)
_KIND_NAMES = {OpKind.SAMPLE: "sample", OpKind.UPDATE: "update", OpKind.INSERT: "insert"}
_ROW_MEMORY = ComponentSpec(name="row_memory", has_energy=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Times:
    """Latency of every op, phases of every sampling, fetch after every sampling; int64, femtoseconds."""

    latency_fs: Int64
    phases_fs: Mapping[str, Int64]
    fetch_fs: Int64


def simulate(trace: Trace, machine: Machine, fidelity: str = "burst", arrivals: str = "serial") -> Report:
    """Return what serving `trace` costs on `machine`.

    Parameters
    ----------
    trace : Trace
        What a replay did.
    machine : Machine
        Made by `hwsim.machine`.
    fidelity : {"burst", "closed"}
        Event simulation, in which what a bank drains or writes without a pause is one event; or the formula,
        equal to it to the femtosecond.
    arrivals : {"serial"}
        Op k starts when op k - 1, with the fetch that follows a sampling, has ended.

    Returns
    -------
    Report
        Latencies, makespan, energy, area, and where they went.

    Raises
    ------
    TypeError
        If `trace` or `machine` is something else.
    ValueError
        If the machine could not have served the trace, or a name is unknown.
    NotApplicableError
        If fidelity is "closed" and the machine has no formula for the trace.

    Examples
    --------
    >>> import hwsim
    >>> trace = hwsim.synthetic_trace(2_000, batch_size=32, csp_fraction=0.1, n_ops=3, seed=0)
    >>> machine = hwsim.machine("amper-fr", n_rows=2_000, n_csb_ports=8)
    >>> report = hwsim.simulate(trace, machine)
    >>> formula = hwsim.simulate(trace, machine, fidelity="closed")
    >>> bool((report.latency_fs["sample"] == formula.latency_fs["sample"]).all())
    True
    """
    if not isinstance(trace, Trace):
        raise TypeError(f"trace must be an amper.Trace, got {trace!r}")
    if not isinstance(machine, Machine):
        raise TypeError(f"machine must be made by hwsim.machine, got {machine!r}")
    one_of("fidelity", fidelity, FIDELITIES)
    one_of("arrivals", arrivals, ARRIVALS)
    _check_slots(trace, machine)
    machine.check(trace)
    ledger = Ledger()
    specs = (*machine.components, _ROW_MEMORY)
    components = [Component(spec, i, ledger) for i, spec in enumerate(specs)]
    run = _by_events if fidelity == "burst" else _by_formula
    times = run(trace, machine, {c.spec.name: c for c in components})
    return _report(trace, machine, fidelity, arrivals, times, components, ledger)


def _check_slots(trace: Trace, machine: Machine) -> None:
    """Raise ValueError if the trace writes beyond the machine, or samples before anything is stored."""
    writes, ops = trace.writes, trace.ops
    for name, n_rows, advice in (
        ("machine", machine.n_rows, f"; make the machine with n_rows={trace.header.n_rows}"),
        ("trace", trace.header.n_rows, ""),
    ):
        outside = np.flatnonzero((writes["slot"] < 0) | (writes["slot"] >= n_rows))
        if len(outside):
            slot = int(writes["slot"][outside[0]])
            raise ValueError(f"slot must lie in the {name}'s 0 .. {n_rows - 1}, got {slot}{advice}")
    sampled = np.flatnonzero(ops["kind"] == OpKind.SAMPLE)
    stored = np.flatnonzero((ops["kind"] == OpKind.INSERT) & (ops["count"] > 0))
    if len(sampled) and (not len(stored) or sampled[0] < stored[0]):
        raise ValueError(
            f"trace must insert before it samples, got a sampling as op {int(sampled[0])}; "
            "record the replay from its first insert"
        )


def _fetches(trace: Trace) -> Int64:
    """Return the fetch that follows each sampling, int64[samplings]."""
    sizes, inverse = np.unique(trace.samples["batch_size"], return_inverse=True)
    each = np.array([fetch_fs(int(b), trace.header.row_bytes) for b in sizes], np.int64)
    return each[inverse] if len(sizes) else np.zeros(0, np.int64)


def _by_events(trace: Trace, machine: Machine, components: Mapping[str, Component]) -> _Times:
    """Run every op through the machine's processes."""
    import simpy as sp

    env = sp.Environment()
    processes = machine.processes(env, trace, components)
    fetches = _fetches(trace)
    latency = np.zeros(len(trace), np.int64)
    phases = {name: np.zeros(len(fetches), np.int64) for name in machine.phases}

    def serial() -> Generator[simpy.Event, Any, None]:
        n_sampled = 0
        for op in range(len(trace)):
            start = int(env.now)
            split = yield from processes.perform(op)
            latency[op] = int(env.now) - start
            if trace.ops["kind"][op] == OpKind.SAMPLE:
                for name, value in split.items():
                    phases[name][n_sampled] = value
                fetch = int(fetches[n_sampled])
                components["row_memory"].work(op, int(env.now), fetch)
                yield env.timeout(fetch)
                n_sampled += 1

    try:
        env.run(until=env.all_of([env.process(serial())]))
    except OverflowError:  # the ledger's columns are int64
        _check_length(int(env.now) + 1)
        raise
    _check_length(int(env.now))
    return _Times(latency_fs=latency, phases_fs=phases, fetch_fs=fetches)


def _check_length(makespan_fs: int) -> None:
    """Raise ValueError if the ledger's int64 femtoseconds cannot hold the run."""
    if makespan_fs >= 2**63:
        raise ValueError(
            "trace must last less than 2^63 fs (2.6 h) on the machine, "
            f"got {units.format_time(makespan_fs)}; simulate parts of it, made by trace.window"
        )


def _by_formula(trace: Trace, machine: Machine, components: Mapping[str, Component]) -> _Times:
    """Take latencies and charges from the machine's formula, and lay them one after another."""
    if not isinstance(machine, HasClosedForm):
        raise NotApplicableError(f"fidelity must be 'burst' for op 0 on, got 'closed'; {machine.name!r} has no formula")
    times = machine.closed(trace)
    fetches = _fetches(trace)
    sampled = np.flatnonzero(trace.ops["kind"] == OpKind.SAMPLE)
    lasts = times.latency_fs.copy()
    lasts[sampled] += fetches
    makespan = units.exact_sum(lasts)
    _check_length(makespan)
    start = np.cumsum(lasts) - lasts
    for charge in times.charges:
        components[charge.component].charge(charge, start)
    fetch = Charge(
        component="row_memory",
        op=sampled,
        offset_fs=times.latency_fs[sampled],
        duration_fs=fetches,
        energy_aj=np.zeros(len(sampled), np.int64),
    )
    components["row_memory"].charge(fetch, start)
    return _Times(latency_fs=times.latency_fs, phases_fs=times.phases_fs, fetch_fs=fetches)


def _report(
    trace: Trace,
    machine: Machine,
    fidelity: str,
    arrivals: str,
    times: _Times,
    components: Sequence[Component],
    ledger: Ledger,
) -> Report:
    """Return the report, once the books balance."""
    makespan = units.exact_sum(times.latency_fs) + units.exact_sum(times.fetch_fs)
    totals = ledger.totals(len(components), makespan)
    by_op = ledger.energy_by_op(len(trace))
    energy = check_balance(totals, [c.energy_aj for c in components], [c.unit_busy_fs for c in components], by_op)
    breakdown = {
        c.spec.name: {
            "busy_fs": t.busy_fs,
            "stalled_fs": t.stalled_fs,
            "idle_fs": t.idle_fs,
            "stalls": dict(t.stalls),
            "energy_aj": t.energy_aj if c.spec.has_energy else None,
            "area_um2": c.spec.area_um2,
            "n_units": c.spec.n_units,
            "unit_busy_fs": t.unit_busy_fs,
        }
        for c, t in zip(components, totals, strict=True)
    }
    has_energy = any(c.spec.has_energy for c in components)
    areas = [c.spec.area_um2 for c in components if c.spec.area_um2 is not None]
    kinds = trace.ops["kind"]
    latency = {name: times.latency_fs[kinds == kind] for kind, name in _KIND_NAMES.items()}
    by_kind = {name: units.exact_sum(by_op[kinds == kind]) for kind, name in _KIND_NAMES.items()}
    return Report(
        machine=machine.parameters(),
        fidelity=fidelity,
        arrivals=arrivals,
        latency_fs={**latency, "fetch": times.fetch_fs},
        makespan_fs=makespan,
        energy_aj=energy if has_energy else None,
        energy_by_kind_aj={**(by_kind if has_energy else dict.fromkeys(by_kind)), "fetch": None},
        area_um2=sum(areas) if areas else None,
        breakdown=breakdown,
        sample_phases=dict(times.phases_fs),
        n_dropped=machine.n_dropped(trace),
        not_covered=machine.not_covered,
    )
