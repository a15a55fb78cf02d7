"""How recurrent learners get better: their runs against the characters seen, and what each reached in the end."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from amper.protocols import Float64
from experiments.plots.base import BLUE, COLOURS, GREEN, GREY, ORANGE, PURPLE, RED, SKY, STYLE
from experiments.recurrent_methods import MIN_RUNS, by_method, intervals, words
from experiments.study import Row

#: Every T-BPTT is grey, in whatever cell: no study shows two of them beside each other.
_OF_METHOD = {
    "rtrl": BLUE, "snap-1": GREEN, "snap-2": SKY, "uoro": RED, "bptt": "black", "rflo": ORANGE, "rtrl-vanilla": PURPLE,
}  # fmt: skip
_N_POINTS = 400  # of a median curve


def runs_figure(rows: Sequence[Row], *, y: str, final: str, title: str, steps: bool = False) -> Figure:
    """Return two panels: row["curve"], a thin line a run and a thick one for their median; and row[final].

    Parameters
    ----------
    y : str
        What a curve shows against the characters seen.
    final : str
        The entry of a row that the right panel shows, with the median and its 95% interval.
    steps : bool
        Whether a curve keeps its value up to its next point, or leads straight there.
    """
    groups = by_method(rows)
    with rc_context(STYLE):
        figure = Figure(figsize=(10.4, 4.4), layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=(2.2, 1), sharey=True)
        for i, (name, mine) in enumerate(groups.items()):
            _curves(left, mine, _colour(name, i), words(name), steps=steps)
            _reached(right, mine, final, i, _colour(name, i))
        left.set(xlabel="characters seen", ylabel=y, xlim=(0, None))
        left.yaxis.set_major_locator(MaxNLocator(integer=steps))
        left.xaxis.set_major_formatter(FuncFormatter(_thousands))
        left.legend(frameon=False, ncols=2)
        right.set_xticks(range(len(groups)), [words(name).replace(", ", ",\n") for name in groups], rotation=30)
        n_runs = max(len(mine) for mine in groups.values())
        right.set_title("in the end" + (", median and 95% interval" if n_runs >= MIN_RUNS else ""), loc="left")
        runs = f"{n_runs} runs each and their median" if n_runs > 1 else "one run each"
        figure.suptitle(f"{title}: {runs}", x=0.01, ha="left", fontweight="bold")
    return figure


def _colour(name: str, i: int) -> str:
    return GREY if name.startswith("tbptt") else _OF_METHOD.get(name, COLOURS[i % len(COLOURS)])


def _curves(axes: Axes, rows: Sequence[Row], colour: str, label: str, *, steps: bool) -> None:
    grid = np.linspace(0, max(row["curve"][-1][0] for row in rows), _N_POINTS)  # one that ended early stays as it was
    values = np.array([_at(grid, row["curve"], steps=steps) for row in rows])
    for each in values if len(values) > 1 else []:
        axes.plot(grid, each, color=colour, lw=0.6, alpha=0.45, drawstyle="steps-post" if steps else "default")
    axes.plot(
        grid, np.median(values, axis=0), color=colour, lw=2, label=label, drawstyle="steps-post" if steps else "default"
    )


def _at(grid: Float64, curve: Sequence[Sequence[float]], *, steps: bool) -> Float64:
    """Return the values of a curve at the points of `grid`; before its first point, that point's."""
    x, y = np.array(curve, float).T
    if not steps:
        return np.asarray(np.interp(grid, x, y))
    return np.asarray(y[np.maximum(np.searchsorted(x, grid, side="right") - 1, 0)])


def _reached(axes: Axes, rows: Sequence[Row], final: str, place: int, colour: str) -> None:
    values = [row[final] for row in rows]
    spread = np.linspace(-0.12, 0.12, len(values)) if len(values) > 1 else [0.0]
    axes.plot(place + np.asarray(spread), values, "o", color=colour, ms=3.5, alpha=0.6)
    if len(values) >= MIN_RUNS:
        ((value, low, high),) = intervals(rows, final).values()
        axes.errorbar(
            place, value, [[value - low], [high - value]], fmt="_", color=colour, ms=16, mew=2, capsize=5, lw=1.4
        )


def _thousands(value: float, _: int | None = None) -> str:
    """Return a number of characters in words.

    Examples
    --------
    >>> _thousands(0), _thousands(250_000), _thousands(1_500_000)
    ('0', '250 k', '1.5 M')
    """
    return f"{value / 1e6:g} M" if value >= 1e6 else f"{value / 1e3:g} k" if value >= 1e3 else f"{value:g}"
