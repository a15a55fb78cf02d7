"""What is tabulated of a simulation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from amper.trace import OpKind, Trace
from experiments.study import Row

if TYPE_CHECKING:
    import hwsim


def measures(report: hwsim.Report) -> Row:
    """Return what is tabulated of a simulation: medians of times, in femtoseconds; energy; area."""
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
        "source": "measured" if report.machine["name"] == "sumtree-cpu" else "modelled",
    }


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
