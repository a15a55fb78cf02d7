"""What is tabulated of a simulation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from experiments.study import Row

if TYPE_CHECKING:
    import hwsim


def measures(report: hwsim.Report) -> Row:
    """Return what is tabulated of a simulation: medians of times, in femtoseconds; energy; area."""
    sample = report.latency_fs["sample"]
    low, median, high = (float(q) for q in np.percentile(sample, [10, 50, 90]))
    energy = report.energy_by_kind_aj["sample"]
    others = {
        f"{kind}_fs": float(np.median(report.latency_fs[kind])) if len(report.latency_fs[kind]) else None
        for kind in ("update", "insert", "fetch")
    }
    return {
        "sample_fs": median,
        "sample_p10_fs": low,
        "sample_p90_fs": high,
        **others,
        "sample_aj": None if energy is None else energy / len(sample),
        "area_um2": report.area_um2,
        "source": "measured" if report.machine["name"] == "sumtree-cpu" else "modelled",
    }
