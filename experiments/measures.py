"""What is tabulated of a simulation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from amper.trace import OpKind, Trace
from experiments.study import Row
from hwsim import units

if TYPE_CHECKING:
    import hwsim

STEPS_PER_SECOND = 1_000.0  # at which endurance is tabulated


def measures(report: hwsim.Report) -> Row:
    """Return what is tabulated of a simulation: medians of times, in femtoseconds; energy; area; leakage."""
    sample = report.latency_fs["sample"]
    low, median, high = (float(q) for q in np.percentile(sample, [10, 50, 90]))
    others = {
        f"{kind}_fs": float(np.median(report.latency_fs[kind])) if len(report.latency_fs[kind]) else None
        for kind in ("update", "insert", "fetch")
    }
    return {
        "sample_fs": median,
        "sample_p10_fs": low,
        "sample_p90_fs": high,
        **others,
        "sample_aj": _mean_energy(report, "sample"),
        "update_aj": _mean_energy(report, "update"),
        "area_um2": report.area_um2,
        "leakage_uw": report.leakage_uw,
        "source": "measured" if _is_measured(report.machine) else "modelled",
    }


def _is_measured(machine: Mapping[str, Any]) -> bool:
    return machine["name"] == "sumtree-cpu" or machine.get("measurement") is not None


def _mean_energy(report: hwsim.Report, kind: str) -> float | None:
    energy, n = report.energy_by_kind_aj[kind], len(report.latency_fs[kind])
    return None if energy is None or not n else energy / n


def step_fs(report: hwsim.Report, trace: Trace) -> float | None:
    """Return the median of a sampling's latency and that of the first update before the next one, together.

    None where no sampling is followed by an update.
    """
    kinds = trace.ops["kind"]
    sampled, updated = (np.flatnonzero(kinds == kind) for kind in (OpKind.SAMPLE, OpKind.UPDATE))
    following = np.searchsorted(updated, sampled)
    answered = following < np.searchsorted(updated, np.append(sampled[1:], len(kinds)))
    if not answered.any():
        return None
    both = report.latency_fs["sample"][answered] + report.latency_fs["update"][following[answered]]
    return float(np.median(both))


def step_energy(dynamic_aj: float | None, leakage_uw: float | None, step_fs: float | None) -> Row:
    """Return a step's dynamic energy, what the machine leaks over its latency, and both; None where unknown."""
    leaked = None if leakage_uw is None or step_fs is None else units.leaked_aj(leakage_uw, round(step_fs))
    total = None if dynamic_aj is None or leaked is None else dynamic_aj + leaked
    return {"step_aj": dynamic_aj, "step_leakage_aj": leaked, "step_total_aj": total}


def wear(trace: Trace, machine: hwsim.machines.Machine, n_ops: int | None = None) -> Row:
    """Return how many years the cells of the row written most often last, and of a row that has its share of writes.

    At `STEPS_PER_SECOND`; None where cells have no limit, or where nothing is written.
    """
    import hwsim

    found = hwsim.endurance(trace, machine, steps_per_second=STEPS_PER_SECOND, n_ops=n_ops)
    return {"endurance_years": found.years_busiest, "endurance_mean_years": found.years_mean}
