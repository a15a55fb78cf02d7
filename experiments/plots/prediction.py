"""Errors of predictors: on the way, a line a method, and in the end, a dot a method with its interval."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullFormatter

from experiments.plots.base import BLUE, GREEN, GREY, ORANGE, PURPLE, RED, SKY, STYLE
from experiments.predictions import Summary, best, summaries
from experiments.predictors import CONSTANT, FLOOR, method
from experiments.study import Row

_COLUMNS = {"columnar": SKY, "constructive": GREEN, "ccn": BLUE}
_KINDS = {"tbptt": ORANGE, "snap": PURPLE, "uoro": GREY}
_LINES: dict[str, tuple[float, Any]] = {
    "a constant": (CONSTANT, (0, (5, 3))),
    "validity known": (FLOOR, (0, (1, 2))),
}
_TICKS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05)


def prediction_figure(rows: Sequence[Row]) -> Figure:
    """Return medians and quartiles of the error against steps, and final medians with 95% intervals beside them.

    Every method at the step size with its least median; on the left the best and the worst pair of T-BPTT only.
    """
    found = best(summaries(rows))
    with rc_context(STYLE):
        figure = Figure(figsize=(10.4, 4.6), layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=(1.45, 1))
        drawn = _of_curves(found)
        for summary in drawn:
            mine = [r for r in rows if (r["method"], r["step_size"]) == (summary.method, summary.step_size)]
            _curve(left, mine, _look(summary, drawn))
        _dots(right, sorted(found, key=lambda s: -s.median.value))
        for value, dashes in _LINES.values():
            left.axhline(value, color="#555555", lw=0.9, ls=dashes)
            right.axvline(value, color="#555555", lw=0.9, ls=dashes)
        _scale(left, right, rows)
        handles = [Line2D([], [], **_look(summary, drawn), label=_label(summary, drawn)) for summary in drawn]
        handles += [
            Line2D([], [], color="#555555", lw=0.9, ls=dashes, label=f"{name}, {value}")
            for name, (value, dashes) in _LINES.items()
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=5, frameon=False)
        title = "Trace patterning: columns learned by exact RTRL, and T-BPTT at like operations"
        figure.suptitle(title, x=0.01, ha="left", fontweight="bold")
    return figure


def _of_curves(found: Sequence[Summary]) -> list[Summary]:
    """Return all but T-BPTT, and of T-BPTT the pairs with the least and the largest median."""
    pairs = sorted((s for s in found if method(s.method).kind == "tbptt"), key=lambda s: s.median.value)
    kept = [pairs[0], pairs[-1]] if pairs else []
    return [s for s in found if method(s.method).kind != "tbptt" or s in kept]


def _colour(name: str) -> str:
    return _COLUMNS.get(name.split(maxsplit=1)[0]) or _KINDS[method(name).kind]


def _is_worst(summary: Summary, drawn: Sequence[Summary]) -> bool:
    pairs = [s for s in drawn if method(s.method).kind == "tbptt"]
    return summary in pairs and summary.median.value > min(s.median.value for s in pairs)


def _look(summary: Summary, drawn: Sequence[Summary]) -> dict[str, Any]:
    worst = _is_worst(summary, drawn)
    return {"color": RED if worst else _colour(summary.method), "lw": 1.7}


def _label(summary: Summary, drawn: Sequence[Summary]) -> str:
    if method(summary.method).kind != "tbptt":
        return summary.method
    return f"{summary.method}, {'worst' if _is_worst(summary, drawn) else 'best'} of its pairs"


def _curve(axes: Axes, rows: Sequence[Row], look: dict[str, Any]) -> None:
    n = min(len(row["curve"]) for row in rows)  # a run that overflowed has fewer points
    steps = [step / 1e6 for step, _ in rows[0]["curve"][:n]]
    errors = np.array([[error for _, error in row["curve"][:n]] for row in rows])
    if not n:
        return
    low, median, high = np.percentile(errors, [25, 50, 75], axis=0)
    axes.plot(steps, median, **look)
    if len(rows) > 1:
        axes.fill_between(steps, low, high, color=look["color"], alpha=0.13, lw=0)


def _dots(axes: Axes, found: Sequence[Summary]) -> None:
    for y, summary in enumerate(found):
        colour = _colour(summary.method)
        axes.plot([summary.median.low, summary.median.high], [y, y], color=colour, lw=2.2, solid_capstyle="butt")
        axes.plot(summary.median.value, y, "o", color=colour, ms=6)
    axes.set_yticks(range(len(found)), [f"{s.method}\n" + f"{s.operations:,} op, {s.step_size:g}" for s in found])
    axes.tick_params(axis="y", labelsize=7.2)


def _scale(left: Axes, right: Axes, rows: Sequence[Row]) -> None:
    window, n_seeds = rows[0]["n_window"], len({row["seed"] for row in rows})
    left.set(yscale="log", xlabel="steps, millions", xlim=(0, None))
    left.set_title(f"squared error, median of {n_seeds} runs and quartiles", loc="left", fontsize=9.5)
    right.set(xscale="log", xlabel="mean squared error")
    right.set_title(f"the last {window:,} steps, median and 95% interval", loc="left", fontsize=9.5)
    for axis in (left.yaxis, right.xaxis):
        low, high = axis.get_view_interval()
        axis.set_ticks([tick for tick in _TICKS if low <= tick <= high])
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_formatter(NullFormatter())
