"""Divergence and returns against what is wrong with the memory: a column a kind of damage, worse to the right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter

from experiments.plots.base import GREY, STYLE
from experiments.plots.divergence import LOWEST, kl_axis, line_of
from experiments.statistics import median_interval

Memory = tuple[str, float]
WIDTH = "width"
_WORDS = {
    WIDTH: ("Width of a word", "bits"),
    "stuck_cells": ("Stuck cells", "share of the cells"),
    "missed_matches": ("Missed matches", "share of the matches"),
    "false_matches": ("False matches", "share of the mismatches"),
    "sense_noise": ("Sense noise", "share of the rows\none bit off"),
}


def precision_figure(
    knobs: Sequence[str],
    sound: Memory,
    uniform: Memory,
    kls: Mapping[tuple[str, str], Mapping[Memory, float]],
    earned: Mapping[str, Mapping[Memory, Sequence[float]]],
) -> Figure:
    """Return a row of panels of KL, and one of returns an environment.

    Parameters
    ----------
    knobs : sequence of str
        What is turned; a column each, where any memory is known.
    sound : Memory
        (knob, value) of the memory that nothing is wrong with; drawn at rate 0.
    uniform : Memory
        That of uniform sampling; drawn as a line.
    kls : mapping
        (source of priorities, grouping) -> KL to PER by memory.
    earned : mapping
        Environment -> returns of the trainings by memory.
    """
    n_rows = bool(kls) + len(earned)
    known = {memory for found in (*kls.values(), *earned.values()) for memory in found}
    knobs = [knob for knob in knobs if any(name == knob for name, _ in known)]
    with rc_context(STYLE):
        figure = Figure(figsize=(2.5 * len(knobs) + 0.8, 2.35 * n_rows + 0.9), layout="constrained")
        grid = figure.subplots(n_rows, len(knobs), sharey="row", sharex="col", squeeze=False)
        for i, knob in enumerate(knobs):
            column = [row[i] for row in grid]
            places = _places(knob, sound, sorted(value for name, value in known if name == knob))
            if kls:
                _kl_panel(column[0], places, uniform, kls)
            for axes, (env, found) in zip(column[bool(kls) :], earned.items(), strict=True):
                _return_panel(axes, places, found, (sound, uniform), line_of(env, 0)["color"])
            column[0].set_title(_WORDS[knob][0], loc="left", fontweight="bold")
            column[-1].set_xlabel(_WORDS[knob][1])
            _x_axis(column[-1], knob, places)
        if kls:
            grid[0][0].set_ylabel("KL to PER")
        for across, env in zip(grid[bool(kls) :], earned, strict=True):
            across[0].set_ylabel(f"{env},\nmean return in training")
        figure.legend(handles=_legend(kls, earned), loc="outside lower center", ncols=4, frameon=False)
        figure.suptitle("A narrower and a faultier memory, worse to the right", x=0.01, ha="left", fontweight="bold")
    return figure


def _places(knob: str, sound: Memory, values: Sequence[float]) -> dict[Memory, float]:
    """Return where each memory stands on the x axis; the sound one a decade before the smallest rate."""
    if knob == WIDTH:
        return {(knob, value): value for value in sorted(values, reverse=True)}
    rates = {(knob, value): value for value in values}
    return {sound: min(values) / 10, **rates}


def _x_axis(axes: Axes, knob: str, places: Mapping[Memory, float]) -> None:
    if knob == WIDTH:
        axes.set_xscale("log", base=2)
        shown = [x for x in places.values() if x in (4, 6, 8, 12, 16, 24, 32)]
        axes.set_xticks(shown, [f"{x:g}" for x in shown])
        axes.set_xlim(max(places.values()) * 1.15, min(places.values()) / 1.15)
    else:
        axes.set_xscale("log")
        first, *rates = places.values()
        shown = rates[len(rates) % 2 == 0 :: 2]
        axes.set_xticks([first, *shown], ["0", *(f"$10^{{{round(_exponent(rate))}}}$" for rate in shown)])
        axes.set_xlim(first / 2, max(rates) * 2)
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.minorticks_off()


def _exponent(rate: float) -> float:
    from math import log10

    return log10(rate)


def _kl_panel(
    axes: Axes,
    places: Mapping[Memory, float],
    uniform: Memory,
    kls: Mapping[tuple[str, str], Mapping[Memory, float]],
) -> None:
    sources = list(dict.fromkeys(source for source, _ in kls))
    for (source, grouping), found in kls.items():
        style = line_of(source, sources.index(source))
        if grouping == "linear":
            style |= {"ls": "--", "lw": 1.0, "marker": "", "zorder": 2}
        mine = [memory for memory in places if memory in found]
        axes.plot([places[m] for m in mine], [max(found[m], LOWEST) for m in mine], **style)
        if uniform in found:
            axes.axhline(found[uniform], color=style["color"], lw=1.0, ls=":", zorder=1)
    kl_axis(axes)
    axes.minorticks_off()


def _return_panel(
    axes: Axes,
    places: Mapping[Memory, float],
    found: Mapping[Memory, Sequence[float]],
    references: tuple[Memory, Memory],
    colour: str,
) -> None:
    sound, uniform = references
    if uniform in found:
        axes.axhline(median_interval(found[uniform])[0], color=colour, lw=1.0, ls=":", zorder=1)
    if sound in found:
        _, low, high = median_interval(found[sound])
        axes.axhspan(low, high, color=GREY, alpha=0.22, lw=0, zorder=0)
    mine = [memory for memory in places if memory in found]
    x, medians = [places[m] for m in mine], [median_interval(found[m]) for m in mine]
    for memory in mine:
        axes.plot([places[memory]] * len(found[memory]), found[memory], ".", color=colour, ms=4, alpha=0.4, mew=0)
    spread = [[mid - low for mid, low, _ in medians], [high - mid for mid, _, high in medians]]
    axes.errorbar(x, [mid for mid, _, _ in medians], spread, color=colour, fmt="-o", lw=1.6, ms=4.5, capsize=2.5)


def _legend(
    kls: Mapping[tuple[str, str], Mapping[Memory, float]], earned: Mapping[str, Mapping[Memory, Sequence[float]]]
) -> list[Line2D]:
    sources = list(dict.fromkeys(source for source, _ in kls)) or list(earned)
    handles = [Line2D([], [], label=source, **line_of(source, i)) for i, source in enumerate(sources)]
    if kls:
        handles += [
            Line2D([], [], color="black", lw=1.6, label="tapered groups (default)"),
            Line2D([], [], color="black", lw=1.0, ls="--", label="20 linear groups"),
        ]
    handles.append(Line2D([], [], color="black", lw=1.0, ls=":", label="uniform sampling"))
    if earned:
        handles += [
            Line2D([], [], color="black", marker="o", ms=4.5, lw=1.6, label="return: median of seeds [95%]"),
            Line2D([], [], color=GREY, alpha=0.4, lw=8, label="the same on 16 sound bits"),
        ]
    return handles
