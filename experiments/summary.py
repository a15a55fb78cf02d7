"""What the speedup report says of its rows: ratios with their intervals, what moves them, and the verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from amper.trace import Trace
from experiments import uncertainty
from experiments.contenders import CONTENDERS
from experiments.speedups import speedups
from experiments.study import Row, Stage, no_stage
from experiments.verdict import CLAIM, verdict
from hwsim.machines.gpu_sumtree import T_OP_INTERVAL_US


def summary(
    rows: Sequence[Row], laws: Sequence[Mapping[str, Any]], traces: Mapping[str, Trace], stage: Stage = no_stage
) -> dict[str, Any]:
    """Return rows, ratios, ranking of assumptions and verdict as JSON-serialisable values."""
    sizes, bare, ratios = sorted({row["n"] for row in rows}), speedups(rows), []
    for i, n in enumerate(sizes):
        stage("drawing uncertain numbers", i, len(sizes))
        ratios += uncertainty.intervals(CONTENDERS, bare, traces, n)
    assumed = uncertainty.ranking(CONTENDERS, bare, traces, sizes[-1])
    stage("drawing uncertain numbers", len(sizes), len(sizes))
    return {
        "claim": {"source": "cited: Li et al., ICCAD 2022, abstract", "low": CLAIM[0], "high": CLAIM[1]},
        "t_op_interval_us": list(T_OP_INTERVAL_US),
        "n_draws": uncertainty.N_DRAWS,
        "rows": list(rows),
        "speedups": [{name: getattr(s, name) for name in s.__slots__} | {"text": s.text} for s in ratios],
        "assumptions": assumed,
        "verdict": verdict(rows, ratios, laws),
    }
