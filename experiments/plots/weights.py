"""How far weighted means lie from what they estimate: bias and RMSE, source by source."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter

from experiments.plots.base import BLUE, GREEN, GREY, ORANGE, STYLE

if TYPE_CHECKING:
    from experiments.weighing import Line

_LEAST = 0.003  # what lies below is noise; drawn here
#: Colour, marker and place within a line of every weights.
_MARKS = {
    "none": (GREY, "s", -0.24),
    "csp": (ORANGE, "X", -0.08),
    "per": (BLUE, "o", 0.08),
    "inclusion": (GREEN, "D", 0.24),
}
_PANELS = (
    ("unnormalised", "bias", "bias of the mean of w f"),
    ("unnormalised", "rmse", "RMSE of the mean of w f"),
    ("self-normalised", "rmse", "RMSE of sum w f / sum w"),
)
_SAMPLERS = {"amper-fr": "AMPER-fr", "amper-fr linear": "AMPER-fr, linear groups"}


def weights_figure(lines: Sequence[Line]) -> Figure:
    """Return bias and RMSE of weighted means, a row of panels an AMPER sampler, a line a source."""
    shown = list(dict.fromkeys(line.sampler for line in lines if line.sampler != "per")) or ["per"]
    sources = list(dict.fromkeys(line.source for line in lines))
    with rc_context(STYLE):
        figure = Figure(figsize=(9.2, (0.42 * len(sources) + 0.5) * len(shown) + 1.5), layout="constrained")
        panels = figure.subplots(len(shown), len(_PANELS), sharex="col", sharey=True, squeeze=False)
        for row, sampler in zip(panels, shown, strict=True):
            for axes, (form, measure, _) in zip(row, _PANELS, strict=True):
                _panel(axes, lines, sampler, form, measure, sources)
            row[0].set_title(_SAMPLERS.get(sampler, sampler), loc="left", fontsize=9.5, fontweight="bold")
        for axes, (_, _, label) in zip(panels[-1], _PANELS, strict=True):
            axes.set_xlabel(f"{label}, in sd of f")
        handles, labels = panels[0, 1].get_legend_handles_labels()
        figure.legend(
            handles, labels, loc="outside lower center", ncols=len(labels), frameon=False, handlelength=1.4,
            columnspacing=1.4,
        )  # fmt: skip
        figure.suptitle(
            "How far a batch's weighted mean lies from the buffer's, by importance weights",
            x=0.01, ha="left", fontsize=11, fontweight="bold",
        )  # fmt: skip
    return figure


def _panel(axes: Axes, lines: Sequence[Line], sampler: str, form: str, measure: str, sources: Sequence[str]) -> None:
    def points(mine: Sequence[Line], shift: float) -> tuple[list[float], list[float]]:
        x = [max(line.errors[form][measure], _LEAST) for line in mine]
        return x, [sources.index(line.source) + shift for line in mine]

    for weights, (colour, marker, shift) in _MARKS.items():
        mine = [line for line in lines if line.sampler == sampler and line.weights == weights]
        if mine:
            label = f"weights {weights!r}"
            axes.plot(*points(mine, shift), marker, color=colour, ms=6, mec="white", mew=0.5, label=label)
    exact = [line for line in lines if line.sampler == "per"]
    if exact:
        axes.plot(*points(exact, 0.0), "|", color="black", ms=20, mew=1.3, label="exact PER")
    if measure == "rmse":
        batch = lines[0].batch
        axes.axvline(batch**-0.5, color="black", lw=1, ls=":", label=f"{batch} uniform draws")
    axes.set(xscale="log", ylim=(len(sources) - 0.5, -0.5))
    axes.set_yticks(range(len(sources)), list(sources))
    axes.tick_params(axis="y", length=0)
    if measure == "bias":
        axes.set_xlim(left=_LEAST * 0.8)
        axes.axvspan(_LEAST * 0.8, _LEAST * 1.25, color="#EAEAEA", lw=0)
        axes.xaxis.set_major_locator(FixedLocator([_LEAST, 0.01, 0.1, 1, 10]))
    else:
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=12))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: "noise" if value == _LEAST else f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(axis="y", visible=False)
    for i in range(1, len(sources)):
        axes.axhline(i - 0.5, color="#E4E4E4", lw=0.8)
