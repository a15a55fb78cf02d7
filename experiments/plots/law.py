"""Whom a sampler draws: chance against mass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from experiments.plots.base import OF_REPLAY, PURPLE, STYLE


def law_figure(laws: Sequence[Mapping[str, Any]]) -> Figure:
    """Return the chance of a transition against its mass: PER is the diagonal."""
    with rc_context(STYLE):
        figure = Figure(figsize=(8.2, 4.4), layout="constrained")
        axes = figure.subplots()
        for law in laws:
            name, colour = law["sampler"], OF_REPLAY.get(law["sampler"], PURPLE)
            label = f"{name} (the target)" if name == "per" else f"{name}, KL to PER {law['divergence']:.3g}"
            style = "--" if name == "per" else "-"
            axes.plot(law["mass"], law["probability"], style, color=colour, lw=1.6, label=label)
            if name.startswith("amper-"):
                axes.fill_between(law["mass"], law["low"], law["high"], color=colour, alpha=0.15, lw=0)
        axes.set(
            xscale="log",
            yscale="log",
            xlabel="mass of a transition, mean = 1",
            ylabel="chance to be drawn, uniform = 1",
        )
        # A chance of zero has no place on a logarithmic axis: the bands run out of it.
        axes.set_ylim(0.2 * min(min(law["mass"]) for law in laws), 4 * max(max(law["mass"]) for law in laws))
        axes.set_title("Whom each sampler draws, on the priorities the agent left", loc="left", fontweight="bold")
        axes.legend(frameon=False, loc="upper left")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axis.set_minor_formatter(NullFormatter())
    return figure
