"""Which assumption moves a ratio most: one number at a time from one end of its interval to the other."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from experiments.plots.base import BLUE, ORANGE, STYLE
from experiments.study import Row

N_SHOWN = 8
#: A number that moves a ratio by less, from end to end, is not drawn.
_LEAST = 1.005


def tornado_figure(rows: Sequence[Row], names: Mapping[str, str]) -> Figure:
    """Return a panel a ratio, a bar a number, the largest above; `names` of baselines and quantities."""
    panels = list(dict.fromkeys(_of(row) for row in rows))
    shown = [[row for row in rows if _of(row) == panel and _swing(row) >= _LEAST][:N_SHOWN] for panel in panels]
    heights = [max(1, len(mine)) + 1.8 for mine in shown]
    with rc_context(STYLE):
        figure = Figure(figsize=(8.6, 0.3 * sum(heights) + 0.4), layout="constrained")
        axes_of = figure.subplots(len(panels), 1, height_ratios=heights, squeeze=False)[:, 0]
        for axes, (label, against, quantity), mine in zip(axes_of, panels, shown, strict=True):
            nominal = next(row["ratio"] for row in rows if _of(row) == (label, against, quantity))
            _panel(axes, mine, nominal)
            axes.set_title(" ")  # keeps the room that the annotation takes: a title cannot begin at the figure's edge
            axes.annotate(
                f"{names[quantity].capitalize()}: {names[against]} / {label} = {nominal:.3g}",
                (0, 1), xycoords=("figure fraction", "axes fraction"), xytext=(6, 7), textcoords="offset points",
                fontweight="bold",
            )  # fmt: skip
        axes_of[-1].set_xlabel("ratio with one number at the low (orange) or the high (blue) end of its interval")
    return figure


def _of(row: Row) -> tuple[str, str, str]:
    return row["label"], row["against"], row["quantity"]


def _swing(row: Row) -> float:
    """Return the larger of the two ratios over the smaller one."""
    return math.exp(abs(math.log(row["ratios"][1] / row["ratios"][0])))


def _panel(axes: Axes, rows: Sequence[Row], nominal: float) -> None:
    for i, row in enumerate(rows):
        for end, colour in zip(row["ratios"], (ORANGE, BLUE), strict=True):
            axes.barh(i, end - nominal, left=nominal, color=colour, height=0.62)
    axes.axvline(nominal, color="black", lw=0.8)
    axes.set_yticks(
        range(len(rows)), [f"{row['name']}  x {row['factors'][0]:.3g} .. {row['factors'][1]:.3g}" for row in rows]
    )
    axes.set_ylim(len(rows) - 0.4 if rows else 0.5, -0.6)
    if not rows:
        axes.text(0.5, 0.5, "nothing declared moves it", transform=axes.transAxes, ha="center", va="center")
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    _ticks(axes, [nominal, *(end for row in rows for end in row["ratios"])])
    axes.grid(axis="y", visible=False)


def _ticks(axes: Axes, values: Sequence[float]) -> None:
    """Mark both ends and the nominal value: a logarithmic axis over less than a decade has no tick of its own."""
    low, high = min(values), max(values)
    margin = (high / low) ** 0.06 if high > low else 1.05
    axes.set_xlim(low / margin, high * margin)
    inner = [values[0]] if min(values[0] / low, high / values[0]) > (high / low) ** 0.15 else []
    axes.set_xticks(sorted({low, high, *inner}))
