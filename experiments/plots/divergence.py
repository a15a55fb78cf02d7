"""Divergence from PER: against options, searches and rules."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from amper.candidates import make_groups
from experiments.plots.base import BLUE, GREEN, GREY, RED, SKY, STYLE
from experiments.study import Row

LOWEST = 1e-4  # what the noise of a debiased estimate leaves undecided; smaller ones are drawn here
_LIVE = {"CartPole-v1": BLUE, "Acrobot-v1": GREEN, "LunarLander-v3": RED}
_OPTION_WORDS = {
    "n_groups": "number of groups",
    "lam": "scale of the search, \u03bb\u2032 or \u03bb",
    "bits": "bits of a code",
    "match": "how a search matches",
    "distance": "what nearest means",
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


_FORM_WORDS = {
    "linear": "AMPER-fr, 20 linear groups, \u03bb\u2032 .15 (the paper's form)",
    "tapered": "AMPER-fr, tapered groups in 8, 4, 2, 2, ... parts, \u03bb\u2032 .5 (the default)",
    "k": "AMPER-k, 20 linear groups, \u03bb .3",
}


def law_sweeps(
    rows: Sequence[Row], axes_of: Mapping[str, Mapping[str, Sequence[Any]]], name: Callable[[str, str, Any], str]
) -> Figure:
    """Return KL against each option, a line a source of priorities, a row of panels a form.

    Parameters
    ----------
    axes_of : mapping
        Form -> option -> its values.
    name : callable
        (form, option, value) -> the key of a row's laws.
    """
    with rc_context(STYLE):
        figure = Figure(figsize=(11.6, 8.6), layout="constrained")
        parts = figure.subfigures(len(axes_of), 1, squeeze=False)[:, 0]
        for part, (form, options) in zip(parts, axes_of.items(), strict=True):
            across = part.subplots(1, len(options), sharey=True)
            for axes, (option, values) in zip(across, options.items(), strict=True):
                _sweep(axes, rows, option, values, [name(form, option, value) for value in values])
            part.suptitle(f"{_FORM_WORDS[form]}: one option changed", x=0.01, ha="left", fontweight="bold")
            across[0].set_ylabel("KL to PER")
        handles, labels = across[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    return figure


def _sweep(axes: Axes, rows: Sequence[Row], option: str, values: Sequence[Any], keys: Sequence[str]) -> None:
    is_ordered = option not in ("match", "distance")
    for i, row in enumerate(rows):
        kls = [max(row["laws"][key]["kl"], LOWEST) for key in keys]
        style = line_of(row["source"], i) | ({} if is_ordered else {"ls": ""})
        axes.plot(range(len(keys)), kls, label=row["source"], **style)
    is_mixed = len({type(value) for value in values}) > 1
    axes.set_xticks(range(len(keys)), [_value_words(option, value, with_kind=is_mixed) for value in values])
    axes.set_xlabel(_OPTION_WORDS[option])
    axes.set_xlim(-0.4, len(keys) - 0.6)
    kl_axis(axes)


def _value_words(option: str, value: Any, *, with_kind: bool = False) -> str:
    """Return what a value is called under an axis.

    Examples
    --------
    >>> _value_words("n_groups", (7, 2, 8)), _value_words("lam", 0.15)
    ('23', '0.15')
    """
    if option != "n_groups":
        return f"{value}"
    groups = make_groups(None, value)
    return f"{groups.n_groups}\ntapered" if with_kind and groups.name == "tapered" else f"{groups.n_groups}"


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
    'halved in\n10k codes'
    """
    for start, words in _RULE_WORDS.items():
        if v_max.startswith(start):
            number = v_max[len(start) :]
            return words.format(f"{int(number) // 1000}k" if number.endswith("000") else number)
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
                    axes.plot(x, y, "o", color=colour, ms=6, alpha=0.8, clip_on=False, label=f"{grouping} groups")
                if measure == "kl":
                    kl_axis(axes)
                    axes.set_title(env, loc="left")
                else:
                    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{100 * y:g}%"))
                    axes.set_ylim(0, max(axes.get_ylim()[1], 0.01))  # a point where nothing is found lies on the axis
                if measure == "never" and env in exact:
                    axes.axhline(exact[env], color="black", lw=1, ls="--", label="exact prioritized replay")
                axes.set_xticks(range(len(rules)), [_rule_words(rule) for rule in rules], fontsize=7.5)
                axes.set_xlim(-0.5, len(rules) - 0.5)
            across[0].set_ylabel(words)
        handles, labels = grid[-1][0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
        figure.suptitle("What the groups take for full scale", x=0.01, ha="left", fontweight="bold")
    return figure
