"""Divergence from PER: against options, searches and rules."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from experiments.plots.base import BLUE, GREEN, GREY, RED, SKY, STYLE
from experiments.study import Row

LOWEST = 1e-4  # what the noise of a debiased estimate leaves undecided; smaller ones are drawn here
_LIVE = {"CartPole-v1": BLUE, "Acrobot-v1": GREEN, "LunarLander-v3": RED}
_AXIS_WORDS = {
    "n_groups": "number of groups",
    "lam": "\u03bb\u2032, scale of the search",
    "bits": "bits of a code",
    "match": "how it matches",
}


def kl_axis(axes: Axes, top: float = 3.0) -> None:
    """Make the y axis one of KL."""
    axes.set(yscale="log", ylim=(LOWEST * 0.7, top))
    axes.set_yticks([1e-4, 1e-3, 1e-2, 1e-1, 1])
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"\u2264 {y:g}" if y <= LOWEST else f"{y:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def line_of(source: str, i: int) -> dict[str, Any]:
    """Return the style of a source: agents solid and in colour, distributions thin and grey."""
    if source in _LIVE:
        return {"color": _LIVE[source], "lw": 2.0, "marker": "o", "ms": 4.5, "zorder": 3}
    marks = "sD^vP"
    return {"color": GREY, "lw": 0.9, "marker": marks[i % len(marks)], "ms": 4, "zorder": 2}


def law_sweeps(
    rows: Sequence[Row], axes_of: Mapping[str, Mapping[str, Sequence[Any]]], name: Callable[[str, str, Any], str]
) -> Figure:
    """Return KL against each option, a line a source of priorities, a row of panels a form of the groups."""
    forms = ("linear", "tapered")
    with rc_context(STYLE):
        figure = Figure(figsize=(11.6, 6.4), layout="constrained")
        grid = figure.subplots(len(forms), len(axes_of), sharey=True)
        for across, form in zip(grid, forms, strict=True):
            for axes, (axis, values) in zip(across, axes_of.items(), strict=True):
                _sweep(axes, rows, form, axis, values[form], name)
            title = "20 linear groups, \u03bb\u2032 .15 (the paper's form)" if form == "linear" else (
                "Tapered groups, 7 octaves in 8, 4, 2, ... parts, \u03bb\u2032 .5 (the default)")  # fmt: skip
            across[0].set_title(f"{title}: one option changed", loc="left", fontweight="bold")
            across[0].set_ylabel("KL to PER")
        handles, labels = grid[0][0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    return figure


def _sweep(
    axes: Axes, rows: Sequence[Row], form: str, axis: str, values: Sequence[Any], name: Callable[[str, str, Any], str]
) -> None:
    keys = [name(form, axis, value) for value in values]
    ticks = [_value_words(axis, value) for value in values]
    if axis == "match":
        keys += [f"{form} k {distance}" for distance in ("value", "hamming")]
        ticks += ["k,\nvalue", "k,\nHamming"]
    for i, row in enumerate(rows):
        kls = [max(row["laws"][key]["kl"], LOWEST) for key in keys]
        style = line_of(row["source"], i) | ({"ls": ""} if axis == "match" else {})
        axes.plot(range(len(keys)), kls, label=row["source"], **style)
    axes.set_xticks(range(len(keys)), ticks)
    axes.set_xlabel(_AXIS_WORDS[axis])
    kl_axis(axes)


def _value_words(axis: str, value: Any) -> str:
    from amper.candidates import make_groups

    return str(make_groups(None, value).n_groups) if axis == "n_groups" else f"{value}"


_GROUPING_STYLE = {"linear": (GREY, "s"), "octave": (SKY, "^"), "tapered": (BLUE, "o")}


def grouping_costs(
    found: Mapping[str, Mapping[str, float]], frontier: Sequence[str], named: Mapping[str, str]
) -> Figure:
    """Return the worst KL of groupings against their searches and their candidate sets.

    Parameters
    ----------
    found : mapping
        "grouping n_groups lambda'" -> n_searches, csp, kl.
    frontier : sequence of str
        Those that none beats with as few searches.
    named : mapping
        Words -> a grouping to point out.
    """
    with rc_context(STYLE):
        figure = Figure(figsize=(10.6, 4.6), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True)
        for axes, cost, words in (
            (left, "n_searches", "searches of the memory in one sampling"),
            (right, "csp", "candidates found, share of the buffer (median source)"),
        ):
            for key, mine in found.items():
                colour, marker = _GROUPING_STYLE[key.split()[0]]
                axes.plot(mine[cost], max(mine["kl"], LOWEST), marker, color=colour, ms=5, alpha=0.75)
            for i, (label, key) in enumerate(named.items()):
                x, y = found[key][cost], max(found[key]["kl"], LOWEST)
                axes.plot(x, y, "o", ms=12, mfc="none", mec=RED, mew=1.5)
                axes.annotate(
                    label, (x, y), (12, 12 if i else -16), textcoords="offset points", color=RED, fontweight="bold"
                )
            axes.set(xscale="log", xlabel=words)
            kl_axis(axes)
            percent = cost == "csp"
            axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _, p=percent: f"{x:.0%}" if p else f"{x:g}"))
            axes.xaxis.set_minor_formatter(NullFormatter())
        left.set_xticks([8, 16, 32, 64, 128])
        right.set_xticks([0.01, 0.02, 0.05, 0.1, 0.2, 0.4])
        left.set_ylabel("KL to PER, the worst of all sources")
        left.step(
            [found[key]["n_searches"] for key in frontier], [max(found[key]["kl"], LOWEST) for key in frontier],
            where="post", color="black", lw=0.8, zorder=1,
        )  # fmt: skip
        for grouping, (colour, marker) in _GROUPING_STYLE.items():
            right.plot([], [], marker, color=colour, label=f"{grouping} groups")
        left.plot(
            [],
            [],
            "-",
            color="black",
            lw=0.8,
            label="none better with as few searches\nand no more candidates than the default",
        )
        left.legend(frameon=False, loc="upper right")
        right.legend(frameon=False, loc="upper right")
        figure.suptitle("How close to PER groups draw, and what they cost", x=0.01, ha="left", fontweight="bold")
    return figure


_RULE_WORDS = {"running": "running\nmaximum", "decay": "halved in\n{} codes", "q": "quantile\n{} %"}


def _rule_words(v_max: str) -> str:
    r"""Return what a rule is called under an axis.

    Examples
    --------
    >>> _rule_words("decay10000")
    'halved in\n10,000 codes'
    """
    for start, words in _RULE_WORDS.items():
        if v_max.startswith(start):
            number = v_max[len(start) :]
            return words.format(f"{int(number):,}" if number.isdigit() else number)
    return v_max


def full_scale_rules(points: Sequence[Mapping[str, Any]], exact: Mapping[str, float]) -> Figure:
    """Return KL, |CSP| and what is never sampled, by rule: a column an environment, a colour a grouping.

    Parameters
    ----------
    points : sequence
        Of each training: env, grouping, v_max, kl, csp, never.
    exact : mapping
        Share never sampled by exact prioritized replay, by environment.
    """
    envs = list(dict.fromkeys(point["env"] for point in points))
    rules = list(dict.fromkeys(point["v_max"] for point in points))
    measures = (
        ("kl", "KL to PER"),
        ("csp", "candidates found,\nshare of the buffer"),
        ("never", "overwritten without\nhaving been sampled"),
    )
    with rc_context(STYLE):
        figure = Figure(figsize=(max(3.9 * len(envs), 6.4), 7.2), layout="constrained")
        grid = figure.subplots(len(measures), len(envs), sharey="row", sharex=True, squeeze=False)
        for across, (measure, words) in zip(grid, measures, strict=True):
            for axes, env in zip(across, envs, strict=True):
                for shift, (grouping, colour) in zip((-0.12, 0.12), (("linear", GREY), ("tapered", BLUE)), strict=True):
                    mine = [p for p in points if p["env"] == env and p["grouping"] == grouping]
                    x = [rules.index(p["v_max"]) + shift for p in mine]
                    y = [max(p[measure], LOWEST) if measure == "kl" else p[measure] for p in mine]
                    axes.plot(x, y, "o", color=colour, ms=6, alpha=0.8, label=f"{grouping} groups")
                if measure == "kl":
                    kl_axis(axes)
                    axes.set_title(env, loc="left")
                else:
                    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{100 * y:g}%"))
                    axes.set_ylim(bottom=0)
                if measure == "never" and env in exact:
                    axes.axhline(exact[env], color="black", lw=1, ls="--", label="exact prioritized replay")
                axes.set_xticks(range(len(rules)), [_rule_words(rule) for rule in rules], fontsize=7.5)
                axes.set_xlim(-0.5, len(rules) - 0.5)
            across[0].set_ylabel(words)
        handles, labels = grid[-1][0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
        figure.suptitle("What the groups take for full scale", x=0.01, ha="left", fontweight="bold")
    return figure
