"""How long machines take: against the size of the buffer, and by phase."""

from __future__ import annotations

from collections.abc import Sequence

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
    "AMPER-fr linear, evacam-fefet45": GREEN,
    "AMPER-fr linear, camasim-fefet45": "#6CC7A9",
    "AMPER-k, evacam-fefet45": "#8A6D00",
    "AMPER-k, camasim-fefet45": YELLOW,
    "GPU tree, gtx1080 fused": ORANGE,
    "GPU tree, gtx1080 torchrl": RED,
    "GPU tree, gtx1080 eager": PURPLE,
    "GPU tree, gtx1080 host": GREY,
}


def label_of(row: Row) -> str:
    """Return what a row's machine is called in a figure.

    Examples
    --------
    >>> label_of({"machine": "amper-fr:technology=evacam-fefet45"})
    'AMPER-fr, evacam-fefet45'
    >>> label_of({"machine": "sumtree-gpu:gpu=a100,quality=fused"})
    'GPU tree, a100 fused'
    """
    if "label" in row:
        return str(row["label"])
    name, _, options = str(row["machine"]).partition(":")
    values = [part.partition("=")[2] for part in options.split(",") if part]
    if name == "sumtree-gpu":
        return "GPU tree, " + " ".join(values)
    names = {"amper-fr": "AMPER-fr", "amper-k": "AMPER-k", "sumtree-cpu": "CPU tree"}
    return ", ".join([names.get(name, name), *values])


def _time_axis(value: float, _: int | None = None) -> str:
    return units.format_time(value) if value > 0 else ""


def latency_figure(rows: Sequence[Row]) -> Figure:
    """Return sampling latency against buffer size, log-log, a line a machine."""
    with rc_context(STYLE):
        figure = Figure(figsize=(8.6, 5.2), layout="constrained")
        axes = figure.subplots()
        labels = list(dict.fromkeys(label_of(row) for row in rows))
        ends = []
        for i, label in enumerate(labels):
            mine = sorted((row for row in rows if label_of(row) == label), key=lambda row: row["n"])
            n, times = [row["n"] for row in mine], [row["sample_fs"] for row in mine]
            colour = _OF_LABEL.get(label, COLOURS[i % len(COLOURS)])
            axes.plot(n, times, "--s" if label.startswith("GPU") else "-o", color=colour, lw=1.6, ms=4.5)
            band = [row.get("interval_fs") for row in mine]
            if all(band):
                axes.fill_between(n, *zip(*band, strict=True), color=colour, alpha=0.13, lw=0)
            ends.append((times[-1], label, colour))
        axes.set(xscale="log", yscale="log", xlabel="transitions in the buffer, n")
        batch = rows[0]["batch_size"]
        axes.set_title(f"Latency of one sampling of {batch}", loc="left", fontweight="bold")
        axes.yaxis.set_major_formatter(FuncFormatter(_time_axis))
        axes.yaxis.set_minor_formatter(NullFormatter())
        ticks = sorted({row["n"] for row in rows})
        axes.set_xticks(ticks, [f"{n:,}" for n in ticks])
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.minorticks_off()
        _label_ends(axes, max(ticks), ends)
    return figure


def _label_ends(axes: Axes, x: float, ends: Sequence[tuple[float, str, str]]) -> None:
    """Write each line's name beside its end, moved apart where two would overlap."""
    low, high = axes.get_ylim()
    gap = (high / low) ** 0.052
    y = 0.0
    for value, text, colour in sorted(ends):
        y = max(value, y * gap)
        axes.annotate(
            text,
            (x, y),
            xytext=(10, 0),
            textcoords="offset points",
            va="center",
            color=colour,
            annotation_clip=False,
        )


def phases_figure(rows: Sequence[Row]) -> Figure:
    """Return where the time of one sampling goes, a bar a machine, in shares of its latency."""
    names = list(dict.fromkeys(name for row in rows for name, value in row["phases_fs"].items() if value > 0))
    with rc_context({**STYLE, "axes.grid": False}):
        figure = Figure(figsize=(8.2, 0.42 * len(rows) + 1.5), layout="constrained")
        axes = figure.subplots()
        labels = [label_of(row) for row in rows]
        left = [0.0] * len(rows)
        for i, name in enumerate(names):
            shares = [row["phases_fs"].get(name, 0.0) / sum(row["phases_fs"].values()) for row in rows]
            axes.barh(labels, shares, left=left, color=COLOURS[i % len(COLOURS)], label=name, height=0.66)
            left = [a + b for a, b in zip(left, shares, strict=True)]
        for i, row in enumerate(rows):
            axes.text(1.01, i, units.format_time(row["sample_fs"]), va="center")
        axes.invert_yaxis()
        axes.set(xlim=(0, 1), xticks=[0, 0.25, 0.5, 0.75, 1], xticklabels=["0", "25%", "50%", "75%", "100%"])
        axes.spines["left"].set_visible(False)
        axes.tick_params(axis="y", length=0)
        title = f"Where the time of one sampling goes, n = {rows[0]['n']:,}"
        axes.set_title(title, loc="left", fontweight="bold", x=-0.325, pad=30)
        axes.legend(loc="lower left", bbox_to_anchor=(-0.335, 1), ncols=len(names), frameon=False, columnspacing=1.1)
    return figure
