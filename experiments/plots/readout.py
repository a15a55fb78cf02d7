"""Readouts and rivals: sampling latency against the size of the buffer, and what a step costs against area."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter

from experiments.plots.base import BLUE, GREEN, GREY, ORANGE, RED, SKY, STYLE, YELLOW
from experiments.study import Row
from hwsim import units

#: Colour of a label; labels of one kind of machine share one and differ by their marks.
_LOOK: Mapping[str, tuple[str, str]] = {
    "csb, 1 port": (BLUE, "o"),
    "csb, 8 x 8": (BLUE, "s"),
    "csb, 64 x 64": (BLUE, "D"),
    "burst, 8": (SKY, "s"),
    "burst, 64": (SKY, "D"),
    "rank_select, 8": (RED, "s"),
    "rank_select, 64": (RED, "D"),
    "AMPER-k, best match": (YELLOW, "v"),
    "AMPER-k, bisection": (YELLOW, "^"),
    "on-chip tree, K = 2": ("black", "<"),
    "on-chip tree, K = 4": ("black", ">"),
    "on-chip tree, K = 16": ("black", "*"),
    "on-chip rejection, 1 lane": (GREEN, "o"),
    "on-chip rejection, 8 lanes": (GREEN, "s"),
    "CPU tree": (GREY, "X"),
    "GPU tree, A100 fused": (ORANGE, "P"),
}
#: Not in the panels of latency: they lie on a line that is.
_NOT_DRAWN = ("rank_select, 8", "on-chip tree, K = 2", "on-chip tree, K = 4")
_MOST_ENERGY = 30.0  # times the least; what costs more is left out of the panel, and named there


def readout_figure(rows: Sequence[Row], csps: Sequence[float], n: int) -> Figure:
    """Return panels of sampling latency against n, one a CSP, and one of energy against area.

    Parameters
    ----------
    csps : sequence of float
        The CSPs wanted; where the rows have none of them, their largest.
    n : int
        The size of the last panel; the rows' largest where they have no such one.
    """
    known = sorted({row["csp_fraction"] for row in rows})
    csps = [csp for csp in csps if csp in known] or known[-1:]
    sizes = {row["n"] for row in rows}
    n = n if n in sizes else max(sizes)
    technologies = rows[0]["technologies"]
    with rc_context(STYLE):
        figure = Figure(figsize=(4.1 * (len(csps) + 1) + 0.4, 5.6), layout="constrained")
        *panels, last = figure.subplots(1, len(csps) + 1)
        for axes, csp in zip(panels, csps, strict=True):
            _latencies(axes, [row for row in rows if row["csp_fraction"] == csp], technologies[0])
            axes.set_title(f"One sampling, CSP {100 * csp:.3g}%, {technologies[0]}", loc="left", fontsize=9.5)
            axes.sharey(panels[0])
        for axes in panels[1:]:
            axes.tick_params(labelleft=False)
        _energy(last, next(row for row in rows if (row["n"], row["csp_fraction"]) == (n, csps[0])))
        last.set_title(f"One step, n = {n:,}, CSP {100 * csps[0]:.3g}%", loc="left", fontsize=9.5)
        drawn = {machine["label"] for row in rows for machine in row["machines"]}
        handles = [Line2D([], [], label=label, **_style(label)) for label in _LOOK if label in drawn]
        figure.legend(handles=handles, loc="outside lower center", ncols=6, frameon=False, columnspacing=1.4)
        title = "Which readout, or which rival, for a given buffer?"
        figure.suptitle(title, x=0.01, ha="left", fontweight="bold")
    return figure


def _style(label: str) -> dict[str, Any]:
    colour, mark = _LOOK[label]
    is_amper = not label.startswith(("on-chip", "CPU", "GPU"))
    return {
        "color": colour,
        "marker": mark,
        "ms": 8.0 if mark == "*" else 5.0,
        "lw": 1.4,
        "ls": "-" if is_amper else "--",
    }


def _latencies(axes: Axes, rows: Sequence[Row], technology: str) -> None:
    rows = sorted(rows, key=lambda row: row["n"])
    for label in (label for label in _LOOK if label not in _NOT_DRAWN):
        points = [
            (row["n"], machine["sample_fs"])
            for row in rows
            for machine in row["machines"]
            if machine["label"] == label and machine["technology"] in (None, technology)
        ]
        if points:
            axes.plot(*zip(*points, strict=True), **_style(label))
    axes.set(xscale="log", yscale="log", xlabel="transitions in the buffer, n")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: units.format_time(y)))
    shown = [row["n"] for row in rows]
    shown = [n for n in shown if n in (1_000, 2_000, 5_000, 20_000, 100_000, 1_000_000)] or shown
    axes.set_xticks(shown, [f"{n // 1000}k" if n < 10**6 else f"{n // 10**6}M" for n in shown])
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.minorticks_off()


def _energy(axes: Axes, row: Row) -> None:
    """Draw energy a step against area a row; a technology after the first hollow."""
    machines = [machine for machine in row["machines"] if machine["step_aj"] is not None]
    most = _MOST_ENERGY * min(machine["step_aj"] for machine in machines)
    for machine in machines:
        if machine["step_aj"] > most:
            continue
        style = {**_style(machine["label"]), "ls": ""}
        if machine["technology"] not in (None, row["technologies"][0]):
            style |= {"mfc": "none"}
        at = machine["row_um2"], machine["step_aj"]
        axes.plot([at[0]], [at[1]], **{**style, "ms": 1.35 * style["ms"]})
        if machine["label"].startswith("on-chip tree"):
            name = machine["label"].rpartition(", ")[2]
            axes.annotate(name, at, xytext=(0, -9), textcoords="offset points", ha="center", va="top", fontsize=8.5)
    left_out = list(dict.fromkeys(m["label"].partition(",")[0] for m in machines if m["step_aj"] > most))
    axes.set(xscale="log", yscale="log", xlabel="area of a row, um2", ylabel="energy of a step")
    _ticks(axes)
    first, *others = row["technologies"]
    notes = [f"filled: {first}, hollow: {', '.join(others)}"] if others else []
    notes += [f"off the top: {', '.join(left_out)}"] if left_out else []
    axes.text(0.03, 0.97, "\n".join(notes), transform=axes.transAxes, va="top", fontsize=8.5, color="#555555")


def _ticks(axes: Axes) -> None:
    """Put ticks at 1, 2 and 5 of each decade; leave room at the top for the note."""
    low, high = axes.get_ylim()
    axes.set_ylim(low / 1.25, high * 1.5)
    for axis, form in ((axes.xaxis, lambda x, _: f"{x:g}"), (axes.yaxis, lambda y, _: units.format_energy(y))):
        low, high = axis.get_view_interval()
        places = [digit * 10.0**power for power in range(-3, 18) for digit in (1, 2, 5)]
        axis.set_major_locator(FixedLocator([place for place in places if low <= place <= high]))
        axis.set_major_formatter(FuncFormatter(form))
    axes.minorticks_off()
