"""How long machines take: against the size of the buffer, and by phase."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from experiments.plots.base import BLUE, COLOURS, GREEN, GREY, ORANGE, PURPLE, RED, SKY, STYLE, YELLOW
from experiments.study import Row
from hwsim import units

#: What the report's machines are drawn in, whatever else is in the figure.
_OF_LABEL = {
    "AMPER-fr, evacam-fefet45": BLUE,
    "AMPER-fr, camasim-fefet45": SKY,
    "AMPER-fr rank_select, evacam-fefet45": "#1B2A8A",
    "AMPER-fr rank_select, camasim-fefet45": "#6F7FDB",
    "AMPER-fr linear, evacam-fefet45": GREEN,
    "AMPER-fr linear, camasim-fefet45": "#6CC7A9",
    "AMPER-k, evacam-fefet45": "#8A6D00",
    "AMPER-k, camasim-fefet45": YELLOW,
    "GPU tree, gtx1080 fused": ORANGE,
    "GPU tree, gtx1080 torchrl": RED,
    "GPU tree, gtx1080 eager": PURPLE,
    "GPU tree, gtx1080 host": GREY,
    "GPU tree, h100 fused-graph": "#B35C00",
    "GPU tree, h100 eager": "#8E4585",
    "CPU tree, cpu-epyc": "black",
    "On-chip tree, fan-out 16": "#A3195B",
    "On-chip tree, fan-out 2": "#D96BA0",
    "On-chip rejection, 8 lanes": "#6B4226",
    "On-chip rejection, 64 lanes": "#B08968",
}
#: Line and marker by the first word of a label: what stands beside AMPER's machines is not solid.
_LINES = {"GPU": "--s", "CPU": "--s", "On-chip": ":^"}
#: Families of machines, each with phases and a panel of its own, by how a machine's name begins.
_FAMILIES = {
    "amper-": "Associative memory",
    "sumtree-onchip": "On-chip sum tree",
    "rejection-onchip": "On-chip rejection",
    "sumtree-gpu": "Sum tree on a GPU",
    "sumtree-cpu": "Sum tree on a CPU (measured)",
}


def label_of(row: Row) -> str:
    """Return what a row's machine is called in a figure.

    Examples
    --------
    >>> label_of({"machine": "amper-fr:technology=evacam-fefet45"})
    'AMPER-fr, evacam-fefet45'
    >>> label_of({"machine": "sumtree-gpu:gpu=a100,quality=fused"})
    'GPU tree, a100 fused'
    >>> label_of({"machine": "sumtree-onchip:fan_out=16"})
    'On-chip tree, 16'
    """
    if "label" in row:
        return str(row["label"])
    name, _, options = str(row["machine"]).partition(":")
    values = [part.partition("=")[2] for part in options.split(",") if part]
    if name == "sumtree-gpu":
        return "GPU tree, " + " ".join(values)
    names = {
        "amper-fr": "AMPER-fr",
        "amper-k": "AMPER-k",
        "sumtree-cpu": "CPU tree",
        "sumtree-onchip": "On-chip tree",
        "rejection-onchip": "On-chip rejection",
    }
    return ", ".join([names.get(name, name), *values])


def _time_axis(value: float, _: int | None = None) -> str:
    return units.format_time(value) if value > 0 else ""


def latency_figure(rows: Sequence[Row]) -> Figure:
    """Return sampling latency against buffer size, log-log, a line a machine."""
    labels = list(dict.fromkeys(label_of(row) for row in rows))
    with rc_context(STYLE):
        figure = Figure(figsize=(8.6, max(5.2, 1.2 + 0.34 * len(labels))), layout="constrained")
        axes = figure.subplots()
        ends = []
        for i, label in enumerate(labels):
            mine = sorted((row for row in rows if label_of(row) == label), key=lambda row: row["n"])
            n, times = [row["n"] for row in mine], [row["sample_fs"] for row in mine]
            colour = _OF_LABEL.get(label, COLOURS[i % len(COLOURS)])
            axes.plot(n, times, _LINES.get(label.split()[0], "-o"), color=colour, lw=1.6, ms=4.5)
            band = [row.get("interval_fs") for row in mine]
            if all(band):
                axes.fill_between(n, *zip(*band, strict=True), color=colour, alpha=0.13, lw=0)
            ends.append((times[-1], label + (" (measured)" if mine[0]["source"] == "measured" else ""), colour))
        axes.set(xscale="log", yscale="log", xlabel="transitions in the buffer, n")
        batch = rows[0]["batch_size"]
        axes.set_title(f"Latency of one sampling of {batch}", loc="left", fontweight="bold")
        axes.yaxis.set_major_formatter(FuncFormatter(_time_axis))
        axes.yaxis.set_minor_formatter(NullFormatter())
        ticks = sorted({row["n"] for row in rows})
        axes.set_xticks(ticks, [f"{n:,}" for n in ticks])
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.minorticks_off()
        _label_ends(axes, max(ticks), ends, 0.22 / figure.get_figheight())
    return figure


def _label_ends(axes: Axes, x: float, ends: Sequence[tuple[float, str, str]], gap: float) -> None:
    """Write each line's name beside its end, `gap` of the axis apart at least, and a thin line between them."""
    low, high = (math.log(limit) for limit in axes.get_ylim())
    ordered = sorted(ends)
    places = spread([(math.log(value) - low) / (high - low) for value, _, _ in ordered], gap)
    for i, ((value, text, colour), place) in enumerate(zip(ordered, places, strict=True)):
        axes.annotate(
            text,
            (x, value),
            xytext=(1.045, max(place, i * gap)),  # none below the axis
            textcoords="axes fraction",
            va="center",
            color=colour,
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": colour, "lw": 0.6, "shrinkA": 1, "shrinkB": 3, "relpos": (0, 0.5)},
        )


def spread(places: Sequence[float], gap: float) -> list[float]:
    """Return ascending places moved as little as may be (least squares) so that none is nearer than `gap` to the next.

    Examples
    --------
    >>> spread([0.0, 0.5, 0.5], 0.25)
    [0.0, 0.375, 0.625]
    """
    blocks: list[tuple[float, int]] = []  # mean of place - index * gap, members: pooled until they ascend
    for i, place in enumerate(places):
        mean, n = place - i * gap, 1
        while blocks and blocks[-1][0] > mean:
            other, m = blocks.pop()
            mean, n = (mean * n + other * m) / (n + m), n + m
        blocks.append((mean, n))
    means = [mean for mean, n in blocks for _ in range(n)]
    return [mean + i * gap for i, mean in enumerate(means)]


def phases_figure(rows: Sequence[Row]) -> Figure:
    """Return where the time of one sampling goes, a bar a machine, in shares of its latency; a panel a family."""
    families = {
        title: mine
        for start, title in _FAMILIES.items()
        if (mine := [row for row in rows if str(row["machine"]).startswith(start)])
    }
    heights = [len(mine) + 0.9 for mine in families.values()]
    with rc_context({**STYLE, "axes.grid": False}):
        figure = Figure(figsize=(8.6, 0.34 * sum(heights) + 0.5), layout="constrained")
        panels = figure.subplots(len(families), 1, height_ratios=heights, squeeze=False)[:, 0]
        for axes, (title, mine) in zip(panels, families.items(), strict=True):
            _bars(axes, title, mine)
            axes.set_xticks(
                [0, 0.25, 0.5, 0.75, 1], [] if axes is not panels[-1] else ["0", "25%", "50%", "75%", "100%"]
            )
        figure.suptitle(
            f"Where the time of one sampling goes, n = {rows[0]['n']:,}",
            x=0.01,
            ha="left",
            fontweight="bold",
            fontsize=11.5,
        )
    return figure


def _bars(axes: Axes, title: str, rows: Sequence[Row]) -> None:
    """Draw the machines of one family, its own phases in a legend beside its title."""
    names = in_order([name for name, value in row["phases_fs"].items() if value > 0] for row in rows)
    labels, left = [label_of(row) for row in rows], [0.0] * len(rows)
    for i, name in enumerate(names):
        shares = [row["phases_fs"].get(name, 0.0) / sum(row["phases_fs"].values()) for row in rows]
        axes.barh(labels, shares, left=left, color=COLOURS[i % len(COLOURS)], label=name, height=0.7)
        left = [a + b for a, b in zip(left, shares, strict=True)]
    for i, row in enumerate(rows):
        axes.text(1.01, i, units.format_time(row["sample_fs"]), va="center")
    axes.set(xlim=(0, 1), ylim=(len(rows) - 0.5, -0.5))
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.annotate(
        title, (0, 1), xytext=(-4, 4), xycoords="axes fraction", textcoords="offset points", ha="right",
        fontweight="bold",
    )  # fmt: skip
    axes.legend(
        loc="lower left", bbox_to_anchor=(0, 1), ncols=len(names), frameon=False, columnspacing=1.0,
        handlelength=1.0, handletextpad=0.4, borderaxespad=0.0, borderpad=0.2,
    )  # fmt: skip


def in_order(lists: Iterable[Sequence[str]]) -> list[str]:
    """Return the names of all lists once each, a new one behind the one it follows in its own.

    Examples
    --------
    >>> in_order([["query", "search", "draw"], ["query", "count", "search", "draw", "select"]])
    ['query', 'count', 'search', 'draw', 'select']
    """
    merged: list[str] = []
    for names in lists:
        at = 0
        for name in names:
            if name not in merged:
                merged.insert(at, name)
            at = merged.index(name) + 1
    return merged
