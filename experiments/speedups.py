"""Rows of the speedup report, and the ratios between them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import hwsim
from amper.trace import Trace
from experiments.compose import MachineSpec
from experiments.contenders import BASELINES, Contender
from experiments.measures import measures, step_energy, step_fs, wear
from experiments.recording import prefix_end, window
from experiments.study import Row
from hwsim import units
from hwsim.machines.gpu_sumtree import GPUS, QUALITIES, T_OP_INTERVAL_US

N_CHECKED = 8  # samplings of each window on which the formula is checked by events
N_CHECKED_BY_ARRAY = 3  # on which events are checked array by array, where there is no formula
LARGEST_BY_ARRAY = 20_000  # rows; beyond them that takes minutes

#: What is compared: the field of a row, and its name in a sentence.
QUANTITIES: Mapping[str, tuple[str, str]] = {
    "sample": ("sample_fs", "sampling latency"),
    "fetched": ("fetched_fs", "sampling latency with the fetch"),
    "update": ("update_fs", "update latency"),
    "step": ("step_fs", "step latency"),
    "sample_energy": ("sample_aj", "energy a sampling"),
    "step_energy": ("step_aj", "energy a step"),
    "step_energy_total": ("step_total_aj", "energy a step with leakage"),
    "area": ("area_um2", "area"),
}


def machine_row(contender: Contender, n: int, trace: Trace) -> Row:
    """Return one machine's latencies and energies on the end of the prefix of `trace` that fills `n` rows.

    Wear is that of the whole prefix: in a window the row written most often would be so by chance.
    """
    end = prefix_end(trace, n)
    last = window(trace, end)
    machine = contender.machine.make(n)
    report, row = quantities(machine, last)
    searched = contender.replay != "per"
    fraction = last.samples["n_csp"] / last.samples["n_valid"]
    sample, step_interval = _intervals(machine, last) if contender.key in QUALITIES else (None, None)
    return {
        "key": contender.key,
        "label": contender.label,
        "machine": str(contender.machine),
        "replay": contender.replay,
        "is_amper": contender.is_amper,
        "drawn": contender.drawn,
        "n": n,
        "batch_size": int(last.samples["batch_size"][-1]),
        "n_samplings": len(last.samples),
        "n_valid": float(np.median(last.samples["n_valid"])),
        "csp_fraction": float(np.median(fraction)) if searched else None,
        **row,
        **wear(trace, machine, end),
        "write_fs": _write_fs(machine) if contender.is_amper else None,
        "n_given_up": machine.n_given_up(last) if contender.machine.name == "rejection-onchip" else 0,
        "phases_fs": {name: float(np.mean(values)) for name, values in report.sample_phases.items()},
        "fidelity": report.fidelity,
        **_check(trace, end, machine, report.fidelity),
        "interval_fs": sample,
        "step_interval_fs": step_interval,
        "parameters": {key: value for key, value in report.machine.items() if isinstance(value, str | int | float)},
    }


def quantities(machine: Any, trace: Trace) -> tuple[hwsim.Report, Row]:
    """Return what the formula says, or events where it does not hold; and what machines are compared in."""
    try:
        report = hwsim.simulate(trace, machine, fidelity="closed")
    except hwsim.NotApplicableError:
        report = hwsim.simulate(trace, machine, fidelity="burst")
    row, step = measures(report), step_fs(report, trace)
    dynamic = None if None in (row["sample_aj"], row["update_aj"]) else row["sample_aj"] + row["update_aj"]
    return report, {
        **row,
        "fetched_fs": row["sample_fs"] + row["fetch_fs"],
        "step_fs": step,
        **step_energy(dynamic, row["leakage_uw"], step),
    }


def _check(trace: Trace, end: int, machine: Any, fidelity: str) -> Row:
    """Return by what the last samplings were computed again, how many, and the largest difference of a latency."""
    if fidelity == "burst" and machine.n_rows > LARGEST_BY_ARRAY:
        return {"checked_by": None, "n_checked": 0, "difference_fs": None}
    by, n = ("burst", N_CHECKED) if fidelity == "closed" else ("array", N_CHECKED_BY_ARRAY)
    last = window(trace, end, n)
    one, other = (hwsim.simulate(last, machine, fidelity=form).latency_fs for form in (fidelity, by))
    difference = max(int(np.max(np.abs(one[kind] - other[kind]), initial=0)) for kind in one)
    return {"checked_by": by, "n_checked": len(last.samples), "difference_fs": difference}


def _write_fs(machine: Any) -> int:
    array = hwsim.technology(machine.technology).array(words=machine.rows_per_array, bits=machine.bits)
    return units.fs_from_ns(array.write_ns)


def gpu_rows(n: int, trace: Trace) -> list[Row]:
    """Return the sampling latency of the tree on every GPU in every quality, at n rows."""
    last = window(trace, prefix_end(trace, n), 1)
    rows = []
    for gpu in GPUS:
        for quality in QUALITIES:
            spec = MachineSpec("sumtree-gpu", (("gpu", gpu), ("quality", quality)))
            tree = spec.make(n)
            report = hwsim.simulate(last, tree, fidelity="closed")
            rows.append(
                {
                    "gpu": gpu,
                    "quality": quality,
                    "n": n,
                    "sample_fs": float(report.latency_fs["sample"][0]),
                    "interval_fs": _intervals(tree, last)[0],
                }
            )
    return rows


def _intervals(tree: Any, trace: Trace) -> tuple[list[float], list[float] | None]:
    """Return the median latency of a sampling, and of a step, at the least and the largest launch time."""
    reports = [hwsim.simulate(trace, tree.with_t_op(t_op_us), fidelity="closed") for t_op_us in T_OP_INTERVAL_US]
    steps = [step for step in (step_fs(report, trace) for report in reports) if step is not None]
    return [float(np.median(report.latency_fs["sample"])) for report in reports], steps or None


@dataclass(frozen=True, slots=True, kw_only=True)
class Speedup:
    """One ratio, with both of its terms; of energies and areas too.

    Parameters
    ----------
    label, key, replay : str
        The AMPER machine.
    against : str
        The baseline, one of `BASELINES`.
    n : int
        Rows.
    quantity : str
        One of `QUANTITIES`.
    ours, theirs : float
        Median latencies in femtoseconds, mean energies in attojoules, areas in square micrometres.
    ratio : float
        theirs / ours: below 1 the AMPER machine loses.
    low, high : float, optional
        Its 95% interval over the declared uncertainty of technology numbers, launch times among them
        (`experiments.uncertainty`); None where nothing uncertain is in it.
    source : str
        Of theirs; ours are modelled.
    """

    label: str
    key: str
    replay: str
    against: str
    n: int
    quantity: str
    ours: float
    theirs: float
    ratio: float
    low: float | None = None
    high: float | None = None
    source: str = "modelled"

    @property
    def terms(self) -> str:
        """Both terms, for reading."""
        show = _formatter(QUANTITIES[self.quantity][0])
        return f"{show(self.theirs)} / {show(self.ours)}"

    @property
    def least(self) -> float:
        """The low end of its interval, the ratio itself where there is none."""
        return self.ratio if self.low is None else min(self.ratio, self.low)

    @property
    def most(self) -> float:
        """The high end of its interval, the ratio itself where there is none."""
        return self.ratio if self.high is None else max(self.ratio, self.high)

    @property
    def interval(self) -> str:
        """Its 95% interval; empty where there is none, or none to three digits."""
        if self.low is None or self.high is None or times(self.low) == times(self.high):
            return ""
        return f"[{times(self.low)[:-1]} .. {times(self.high)[:-1]}]"

    @property
    def text(self) -> str:
        """The ratio, its interval and both terms, for reading.

        Examples
        --------
        >>> Speedup(label="a", key="amper-fr", replay="amper-fr", against="eager", n=1, quantity="sample", ours=2e9,
        ...         theirs=5e12, ratio=2500.0, low=1300.0, high=5000.0).text
        '2,500x [1,300 .. 5,000] = 5 ms / 2 us'
        """
        return " ".join(part for part in (times(self.ratio), self.interval, "=", self.terms) if part)


def _formatter(field: str) -> Callable[[float], str]:
    if field.endswith("_fs"):
        return units.format_time
    return units.format_energy if field.endswith("_aj") else units.format_area


def times(ratio: float) -> str:
    """Return a ratio for reading, to three digits.

    Examples
    --------
    >>> times(2.14), times(38.3), times(2468), times(0.4)
    ('2.14x', '38.3x', '2,470x', '0.4x')
    """
    return f"{float(f'{ratio:.3g}'):,.0f}x" if ratio >= 100 else f"{ratio:.3g}x"


def speedups(rows: Sequence[Row]) -> list[Speedup]:
    """Return every AMPER machine against every baseline in every quantity that both know, by n.

    A baseline that searches stands against machines of the same search only.
    """
    rivals = {(row["key"], row["n"], row["replay"]): row for row in rows if not row["is_amper"]}
    found: list[Speedup] = []
    for mine in (row for row in rows if row["is_amper"]):
        for key in BASELINES:
            for replay in ("per", mine["replay"]):
                if (key, mine["n"], replay) in rivals:
                    found += _compared(mine, rivals[key, mine["n"], replay])
    return found


def _compared(mine: Row, rival: Row) -> Iterator[Speedup]:
    for quantity, (field, _) in QUANTITIES.items():
        ours, theirs = mine[field], rival[field]
        if ours is None or theirs is None:
            continue
        yield Speedup(
            label=mine["label"],
            key=mine["key"],
            replay=mine["replay"],
            against=rival["key"],
            n=mine["n"],
            quantity=quantity,
            ours=ours,
            theirs=theirs,
            ratio=theirs / ours,
            source=rival["source"],
        )


def share(row: Row) -> dict[str, float]:
    """Return each phase's part of a sampling's latency."""
    total = sum(row["phases_fs"].values())
    return {name: value / total for name, value in row["phases_fs"].items()}
