"""What waits for whom: 99th percentiles of latency against the offered load, a line a machine."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from experiments.plots.base import BLUE, COLOURS, GREEN, ORANGE, RED, SKY, STYLE
from experiments.study import Row
from hwsim import units

_OF_MACHINE = {
    "csb, 1 port": BLUE,
    "csb, 8 x 8": SKY,
    "csb, 64 x 64": GREEN,
    "rank_select, 8": RED,
    "rank_select, 64": "#8C2D04",
    "on-chip tree, K = 16": "black",
    "GPU tree, A100 fused": ORANGE,
}
_KINDS = {"insert": "an insert", "sample": "a sampling"}


def concurrency_figure(rows: Sequence[Row]) -> Figure:
    """Return a row of panels a kind of op, a column a CSP and number of inserts; saturation is a dotted line."""
    mixes = list(dict.fromkeys((row["csp_fraction"], row["n_inserts"]) for row in rows))
    machines = list(dict.fromkeys(row["machine"] for row in rows))
    with rc_context(STYLE):
        figure = Figure(figsize=(max(5.2, 3.1 * len(mixes) + 0.8), 6.6), layout="constrained")
        grid = figure.subplots(2, len(mixes), sharex=True, sharey="row", squeeze=False)
        for panels, (kind, words) in zip(grid, _KINDS.items(), strict=True):
            for axes, mix in zip(panels, mixes, strict=True):
                mine = [row for row in rows if (row["csp_fraction"], row["n_inserts"]) == mix]
                for row in mine:
                    _line(axes, row, kind, machines)
                _scale(axes)
            panels[0].set_ylabel(f"latency of {words}, 99th percentile")
        for axes, (csp, n_inserts) in zip(grid[0], mixes, strict=True):
            axes.set_title(f"CSP {100 * csp:.3g}%, {n_inserts} inserts a step", loc="left", fontsize=9.5)
        for axes in grid[1]:
            axes.set_xlabel("ops offered a second")
        handles = [Line2D([], [], color=_colour(m, machines), marker="o", ms=3.5, label=m) for m in machines]
        handles.append(Line2D([], [], color="#555555", ls=":", label="saturated"))
        figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 6), frameon=False)
        title = f"Actors insert while one learner samples and updates, n = {rows[0]['n']:,}"
        figure.suptitle(title, x=0.01, ha="left", fontweight="bold")
    return figure


def _colour(machine: str, machines: Sequence[str]) -> str:
    return _OF_MACHINE.get(machine, COLOURS[machines.index(machine) % len(COLOURS)])


def _line(axes: Axes, row: Row, kind: str, machines: Sequence[str]) -> None:
    colour = _colour(row["machine"], machines)
    runs = [(each["offered_hz"], each["latency_fs"][kind][-1]) for each in row["loads"]]
    axes.plot(*zip(*runs, strict=True), "-o", color=colour, lw=1.4, ms=3.5)
    axes.axvline(row["saturation_hz"], color=colour, ls=":", lw=1.1, zorder=1)


def _scale(axes: Axes) -> None:
    axes.set(xscale="log", yscale="log")
    axes.xaxis.set_major_locator(LogLocator(10))
    axes.yaxis.set_major_locator(LogLocator(10))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x / 1e6:g} M" if x >= 1e6 else f"{x / 1e3:g} k"))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: units.format_time(y)))
