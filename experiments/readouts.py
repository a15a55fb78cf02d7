"""The machines an architect would choose from - readouts of AMPER, and rivals - and what one trace costs each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

import numpy as np

import hwsim
from amper.trace import OpKind, Trace
from experiments.compose import MachineSpec
from experiments.measures import measures, step_energy, wear
from experiments.speedups import times
from experiments.study import Row
from hwsim import units

Options = Mapping[str, Any]
#: Readouts of AMPER-fr, by label.
READOUTS: Mapping[str, Options] = {
    "csb, 1 port": {"readout": "csb", "n_csb_ports": 1},
    "csb, 8 x 8": {"readout": "csb", "n_csb_ports": 8},
    "csb, 64 x 64": {"readout": "csb", "n_csb_ports": 64, "n_banks": 64},
    "burst, 8": {"readout": "burst"},
    "burst, 64": {"readout": "burst", "n_banks": 64},
    "rank_select, 8": {"readout": "rank_select"},
    "rank_select, 64": {"readout": "rank_select", "n_banks": 64},
}
#: Ways of AMPER-k to find its neighbours, brought out through one port.
NEIGHBOURS: Mapping[str, Options] = {
    "AMPER-k, best match": {"neighbours": "best_match"},
    "AMPER-k, bisection": {"neighbours": "bisection"},
}
FAN_OUTS = (2, 4, 16)
#: What holds no TCAM: name and options, by label.
RIVALS: Mapping[str, tuple[str, Options]] = {
    **{f"on-chip tree, K = {k}": ("sumtree-onchip", {"fan_out": k}) for k in FAN_OUTS},
    "on-chip rejection, 1 lane": ("rejection-onchip", {"n_lanes": 1}),
    "on-chip rejection, 8 lanes": ("rejection-onchip", {"n_lanes": 8}),
    "CPU tree": ("sumtree-cpu", {}),
    "GPU tree, A100 fused": ("sumtree-gpu", {"gpu": "a100", "quality": "fused"}),
}
TREES = tuple(label for label, (name, _) in RIVALS.items() if name == "sumtree-onchip")
#: Most rows for which AMPER-k is simulated: it finds its neighbours one by one.
MOST_FOR_AMPER_K = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """A machine under its label.

    Parameters
    ----------
    label : str
        A key of `READOUTS`, `NEIGHBOURS` or `RIVALS`.
    technology : str or None
        Of the TCAM; None where there is none.
    sampler : str
        Whose searches its trace must hold.
    spec : MachineSpec
        What to make.
    """

    label: str
    technology: str | None
    sampler: str
    spec: MachineSpec


def contenders(n: int, technologies: Sequence[str]) -> Iterator[Contender]:
    """Yield every machine for `n` rows: AMPER's in each technology, then the rivals."""
    ways = [("amper-fr", READOUTS), ("amper-k", NEIGHBOURS)] if n <= MOST_FOR_AMPER_K else [("amper-fr", READOUTS)]
    for technology in technologies:
        for name, choices in ways:
            for label, options in choices.items():
                spec = MachineSpec(name, (("technology", technology), *options.items()))
                yield Contender(label=label, technology=technology, sampler=name, spec=spec)
    for label, (name, options) in RIVALS.items():
        spec = MachineSpec(name, tuple(options.items()))
        yield Contender(label=label, technology=None, sampler="amper-fr", spec=spec)


def cost(contender: Contender, trace: Trace) -> Row:
    """Return what sampling and updating cost a machine on a trace; by events where its formula does not hold.

    A step is a sampling and the update after it. Latencies are medians, energies means; the gathering of the
    sampled rows, alike for all machines, is in neither.
    """
    n = trace.header.n_rows
    machine = made(contender.spec, trace)
    try:
        report = hwsim.simulate(trace, machine, fidelity="closed")
    except hwsim.NotApplicableError:
        report = hwsim.simulate(trace, machine, fidelity="burst")
    measured = measures(report)
    sample, update = report.latency_fs["sample"], report.latency_fs["update"]
    by_kind = report.energy_by_kind_aj
    update_aj = None if by_kind["update"] is None else by_kind["update"] / len(update)
    sample_aj, area, step = measured["sample_aj"], measured["area_um2"], float(np.median(sample + update))
    dynamic = None if sample_aj is None or update_aj is None else sample_aj + update_aj
    buffer = report.breakdown.get("csb")
    return {
        "label": contender.label,
        "technology": contender.technology,
        "machine": str(contender.spec),
        "fidelity": report.fidelity,
        "source": measured["source"],
        "sample_fs": measured["sample_fs"],
        "update_fs": measured["update_fs"],
        "step_fs": step,
        "sample_aj": sample_aj,
        "update_aj": update_aj,
        **step_energy(dynamic, measured["leakage_uw"], step),
        "leakage_uw": measured["leakage_uw"],
        **wear(trace, machine),
        "row_um2": None if area is None else area / n,
        "buffer_row_um2": None if buffer is None else buffer["area_um2"] / n,
        "csb_entries": report.machine["csb_entries"] if buffer is not None else None,
        **(_writing(machine, trace) if contender.technology else {}),
    }


def _writing(machine: Any, trace: Trace) -> Row:
    """Return the time a row takes at its write port, and the median of rows that an update's fullest bank writes."""
    ops = trace.ops[trace.ops["kind"] == OpKind.UPDATE]
    banks = machine.bank_of_array()[trace.writes["slot"] // machine.rows_per_array]
    fullest = [np.bincount(banks[op["first"] : op["first"] + op["count"]]).max() for op in ops]
    return {
        "write_fs": machine.costs.write * machine.costs.period_fs,
        "rows_in_fullest_bank": float(np.median(fullest)),
    }


def made(spec: MachineSpec, trace: Trace) -> Any:
    """Return the machine; its candidate-set buffer holds n addresses, or what the trace needs where that is more."""
    n = trace.header.n_rows
    machine = spec.make(n)
    if not spec.name.startswith("amper-") or machine.readout == "rank_select":
        return machine
    entries = max(n, machine.entries_needed(trace))
    return MachineSpec(spec.name, (*spec.options, ("csb_entries", entries))).make(n)


# -- reading rows ----------------------------------------------------------------------------------------
Machine = Mapping[str, Any]  # what `cost` returns
Costs = Mapping[tuple[str, str | None], Machine]  # by label and technology
Cell = tuple[int, float]  # n, CSP


def costs_by_cell(rows: Sequence[Row]) -> dict[Cell, Costs]:
    """Return the machines of each buffer size and CSP."""
    return {
        (row["n"], row["csp_fraction"]): {(each["label"], each["technology"]): each for each in row["machines"]}
        for row in rows
    }


def best_tree(costs: Costs, axis: str) -> Machine:
    """Return the on-chip tree of least `axis`."""
    return min((costs[label, None] for label in TREES), key=lambda machine: machine[axis])


def best_amper(costs: Costs, technology: str, axis: str) -> Machine:
    """Return AMPER's machine of least `axis` in one technology."""
    labels = (label for label in (*READOUTS, *NEIGHBOURS) if (label, technology) in costs)
    return min((costs[label, technology] for label in labels), key=lambda machine: machine[axis])


def where(those: Set[Cell], cells: Sequence[Cell]) -> str:
    """Return which of the cells `those` are, in words.

    Examples
    --------
    >>> cells = [(n, csp) for n in (1, 2, 3) for csp in (0.01, 0.05)]
    >>> where({cell for cell in cells if cell[0] > 1 or cell[1] > 0.02}, cells)
    'at n = 1 for CSP 5%, at n = 2 and more'
    >>> where(set(cells), cells), where(set(), cells)
    ('everywhere', 'nowhere')
    """
    sizes = sorted({n for n, _ in cells})
    held = {n: [csp for size, csp in cells if size == n and (n, csp) in those] for n in sizes}
    whole = [n for n in sizes if len(held[n]) == sum(size == n for size, _ in cells)]
    if whole == sizes:
        return "everywhere"
    said = [f"at n = {n:,} for CSP {percent(held[n])}" for n in sizes if held[n] and n not in whole]
    if len(whole) > 1 and whole == sizes[-len(whole) :]:
        said.append(f"at n = {whole[0]:,} and more")
    elif len(whole) > 1 and whole == sizes[: len(whole)]:
        said.insert(0, f"at n = {whole[-1]:,} and less")
    elif whole:
        said.append(f"at n = {', '.join(f'{n:,}' for n in whole)}")
    return ", ".join(said) or "nowhere"


def up_to(those: Set[Cell], cells: Sequence[Cell]) -> str:
    """Return by CSP the n up to which every size is among `those`, in words.

    Examples
    --------
    >>> cells = [(n, csp) for n in (10, 20, 30) for csp in (0.01, 0.02, 0.5)]
    >>> up_to({(n, csp) for n, csp in cells if n * csp < 0.5}, cells)
    'up to n = 30 at CSP 1%, up to n = 20 at CSP 2%'
    >>> up_to(set(), cells), up_to({cell for cell in cells if cell[0] < 30}, cells)
    ('nowhere', 'up to n = 20 at every CSP')
    """
    until: dict[int, list[float]] = {}
    csps = sorted({csp for _, csp in cells})
    for csp in csps:
        last = 0
        for n in sorted(size for size, each in cells if each == csp):
            if (n, csp) not in those:
                break
            last = n
        until.setdefault(last, []).append(csp)
    said = [
        f"up to n = {n:,} at {'every CSP' if held == csps else f'CSP {percent(held)}'}"
        for n, held in sorted(until.items(), reverse=True)
        if n
    ]
    return ", ".join(said) or "nowhere"


def percent(fractions: Iterable[float]) -> str:
    """Return fractions in percent.

    Examples
    --------
    >>> percent([0.005, 0.15])
    '.5, 15%'
    """
    return ", ".join(f"{100 * fraction:.3g}".removeprefix("0") for fraction in fractions) + "%"


def ratio(slow: Machine, fast: Machine, axis: str = "sample_fs") -> str:
    """Return a ratio with both of its terms, for reading."""
    form = format_area if axis.endswith("_um2") else units.format_energy if axis.endswith("_aj") else units.format_time
    return f"{times(slow[axis] / fast[axis])} ({form(slow[axis])} / {form(fast[axis])})"


def format_area(um2: float) -> str:
    """Return the area of a row."""
    return f"{um2:.3g} um2"
