"""A trace on a machine: by events, or by formula."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from amper.trace import OpKind, Trace
from hwsim import units
from hwsim.activity import activity
from hwsim.arrivals import Closed, Poisson, n_filling
from hwsim.checks import flag, one_of
from hwsim.closedform import NotApplicableError
from hwsim.component import Charge, Component, ComponentSpec
from hwsim.events import OVERFLOW_ADVICE, Times, by_events, check_length, fetches_fs
from hwsim.ledger import Ledger, check_balance
from hwsim.machines import HasClosedForm, Machine
from hwsim.report import Report

FIDELITIES = ("array", "burst", "closed")
_KIND_NAMES = {OpKind.SAMPLE: "sample", OpKind.UPDATE: "update", OpKind.INSERT: "insert"}
_ROW_MEMORY = ComponentSpec(name="row_memory", has_energy=False)


def simulate(
    trace: Trace,
    machine: Machine,
    fidelity: str = "burst",
    arrivals: str | Poisson | Closed = "serial",
    *,
    keep_ledger: bool = False,
) -> Report:
    """Return what serving `trace` costs on `machine`.

    Parameters
    ----------
    trace : Trace
        What a replay did.
    machine : Machine
        Made by `hwsim.machine`.
    fidelity : {"array", "burst", "closed"}
        Event simulation with every array and every address (the slow reference; a machine without arrays has
        one event simulation); event simulation in which what goes on without a pause is one event; or the
        formula. Where the formula applies, the three agree to the femtosecond.
    arrivals : "serial", Poisson or Closed
        Op k starts when op k - 1, with the fetch that follows a sampling, has ended; or as `hwsim.Poisson` and
        `hwsim.Closed` say. Matches are those of the trace, whatever order the ops end in.
    keep_ledger : bool
        Keep who was busy when, and paid what, as the report's `activity`: `hwsim.write_vcd` and
        `hwsim.write_perfetto` draw it.

    Returns
    -------
    Report
        Latencies, makespan, energy, area, and where they went.

    Raises
    ------
    TypeError
        If `trace`, `machine`, `arrivals` or `keep_ledger` is something else.
    ValueError
        If the machine could not have served the trace, or a name is unknown.
    NotApplicableError
        If fidelity is "closed" and the machine has no formula for the trace, or ops may overlap.
    RuntimeError
        If the trace has not begun.
    DeadlockError
        If ops wait for each other for ever: the simulator is wrong, not its user.

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
    if not isinstance(arrivals, Poisson | Closed) and not (isinstance(arrivals, str) and arrivals == "serial"):
        raise TypeError(f"arrivals must be 'serial', a hwsim.Poisson or a hwsim.Closed, got {arrivals!r}")
    flag("keep_ledger", keep_ledger)
    trace.check()
    _check_slots(trace, machine)
    machine.check(trace)
    ledger = Ledger()
    specs = (*machine.components, _ROW_MEMORY)
    components = [Component(spec, i, ledger) for i, spec in enumerate(specs)]
    accounts = {c.spec.name: c for c in components}
    if fidelity == "closed":
        times = _by_formula(trace, machine, arrivals, accounts)
    else:
        times = by_events(trace, machine, arrivals, accounts, by_array=fidelity == "array")
    report = _report(trace, machine, fidelity, arrivals, times, components, ledger)
    if not keep_ledger:
        return report
    kept = activity(ledger, specs, trace, times, by_formula=fidelity == "closed")
    return dataclasses.replace(report, activity=kept)


def _check_slots(trace: Trace, machine: Machine) -> None:
    """Raise ValueError if the trace writes beyond the machine, or samples before anything is stored."""
    slots, ops = trace.writes["slot"], trace.ops
    for name, n_rows, advice in (
        ("machine", machine.n_rows, f"; make the machine with n_rows={trace.header.n_rows}"),
        ("trace", trace.header.n_rows, ""),
    ):
        if len(slots) and not (slots.min() >= 0 and slots.max() < n_rows):
            slot = int(slots[(slots < 0) | (slots >= n_rows)][0])
            raise ValueError(f"slot must lie in the {name}'s 0 .. {n_rows - 1}, got {slot}{advice}")
    sampled = np.flatnonzero(ops["kind"] == OpKind.SAMPLE)
    stored = np.flatnonzero((ops["kind"] == OpKind.INSERT) & (ops["count"] > 0))
    if len(sampled) and (not len(stored) or sampled[0] < stored[0]):
        raise ValueError(
            f"trace must insert before it samples, got a sampling as op {int(sampled[0])}; "
            "record the replay from its first insert"
        )
    from hwsim._kernels.slots import first_unwritten

    first_draw, drawn = trace.samples["first_draw"], trace.draws["slot"]
    op, draw = first_unwritten(ops["kind"], ops["first"], ops["count"], slots, first_draw, drawn, machine.n_rows)
    if op >= 0:
        raise ValueError(f"draws must be of rows written before, got slot {int(drawn[draw])} in op {op}")


def _by_formula(
    trace: Trace, machine: Machine, arrivals: str | Poisson | Closed, components: Mapping[str, Component]
) -> Times:
    """Take latencies and charges from the machine's formula, and lay them one after another."""
    if not isinstance(arrivals, str):
        raise NotApplicableError(
            f"fidelity must be 'burst' or 'array' for op {n_filling(trace)} on, got 'closed'; "
            f"under {arrivals!r} ops may overlap"
        )
    if not isinstance(machine, HasClosedForm):
        raise NotApplicableError(f"fidelity must be 'burst' for op 0 on, got 'closed'; {machine.name!r} has no formula")
    try:
        times = machine.closed(trace)
    except OverflowError as error:
        raise ValueError(f"an op must take less than 2^63 fs and 2^63 aJ; {OVERFLOW_ADVICE}") from error
    fetches = fetches_fs(trace)
    sampled = np.flatnonzero(trace.ops["kind"] == OpKind.SAMPLE)
    lasts = times.latency_fs.copy()
    lasts[sampled] += fetches
    makespan = units.exact_sum(lasts)
    check_length(makespan)
    start, filling = np.cumsum(lasts) - lasts, n_filling(trace)
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
    return Times(
        latency_fs=times.latency_fs,
        phases_fs=times.phases_fs,
        fetch_fs=fetches,
        arrived_fs=start,
        makespan_fs=makespan,
        n_filling=filling,
        filled_fs=int(start[filling]) if filling < len(trace) else makespan,
        in_system_fs=units.exact_sum(times.latency_fs[filling:]),
    )


def _report(
    trace: Trace,
    machine: Machine,
    fidelity: str,
    arrivals: str | Poisson | Closed,
    times: Times,
    components: Sequence[Component],
    ledger: Ledger,
) -> Report:
    """Return the report, once the books balance."""
    makespan = times.makespan_fs
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
            "leakage_uw": c.spec.leakage_uw,
            "leakage_aj": None if c.spec.leakage_uw is None else units.leaked_aj(c.spec.leakage_uw, makespan),
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
        arrivals=arrivals if isinstance(arrivals, str) else repr(arrivals),
        arrived_fs=times.arrived_fs,
        n_filling=times.n_filling,
        first_served={name: int((kinds[: times.n_filling] == kind).sum()) for kind, name in _KIND_NAMES.items()},
        filled_fs=times.filled_fs,
        in_system_fs=times.in_system_fs,
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
