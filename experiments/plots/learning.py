"""Learning curves: what the replays' agents earn against the steps they took, a panel a task and capacity."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from experiments.learning import MIN_RUNS
from experiments.plots.base import COLOURS, OF_REPLAY, STYLE
from experiments.statistics import iqm_interval
from experiments.study import Row
from experiments.tasks import task

_NAMES = {"uniform": "uniform", "per": "PER", "amper-k": "AMPER-k", "amper-fr": "AMPER-fr"}
_GOAL: dict[str, Any] = {"color": "#B03030", "lw": 0.9, "ls": (0, (5, 3))}
_RANDOM: dict[str, Any] = {"color": "#B03030", "lw": 0.9, "ls": (0, (1, 2))}
_N_RESAMPLES = 2_000  # of a band's edge: a pixel's worth of noise


def learning_figure(rows: Sequence[Row]) -> Figure:
    """Return the interquartile mean over runs of the periodic evaluations, with its 95% band, a line a replay."""
    envs = list(dict.fromkeys(row["env"] for row in rows))
    capacities = sorted({row["capacity"] for row in rows})
    replays = [name for name in _NAMES if any(row["replay"] == name for row in rows)]
    replays += sorted({row["replay"] for row in rows} - set(replays))
    with rc_context(STYLE):
        size = (max(6.4, 3.1 * len(capacities) + 0.9), 2.25 * len(envs) + 1.5)
        figure = Figure(figsize=size, layout="constrained")
        panels = figure.subplots(len(envs), len(capacities), sharex="row", sharey="row", squeeze=False)
        for line, env in zip(panels, envs, strict=True):
            for axes, capacity in zip(line, capacities, strict=True):
                mine = [row for row in rows if (row["env"], row["capacity"]) == (env, capacity)]
                _panel(axes, mine, replays)
                axes.axhline(task(env).goal, **_GOAL)
                axes.axhline(task(env).random_return, **_RANDOM)
            line[0].set_ylabel(f"{env}\nreturn an episode")
        for axes, capacity in zip(panels[0], capacities, strict=True):
            axes.set_title(f"{capacity:,} transitions held", fontsize=9.5)
        for axes in panels[-1]:
            axes.set_xlabel("environment steps, thousands")
        _legend(figure, replays, len({row["seed"] for row in rows}))
        title = "Does an agent learn as well from AMPER's replay as from PER's?"
        figure.suptitle(title, x=0.01, ha="left", fontweight="bold")
    return figure


def _panel(axes: Axes, rows: Sequence[Row], replays: Sequence[str]) -> None:
    for replay in replays:
        curves = [row["curve"] for row in rows if row["replay"] == replay]
        if not curves:
            continue
        look = _look(replay, replays)
        thousands = [step / 1_000 for step, _ in curves[0]]
        earned = [[mean for _, mean in column] for column in zip(*curves, strict=True)]
        at = [iqm_interval([returns], n_resamples=_N_RESAMPLES) for returns in earned]
        axes.plot(thousands, [point.value for point in at], **look)
        if len(curves) >= MIN_RUNS:
            band = [point.low for point in at], [point.high for point in at]
            axes.fill_between(thousands, *band, color=look["color"], alpha=0.15, lw=0)
    axes.set_xlim(left=0)


def _look(replay: str, replays: Sequence[str]) -> dict[str, Any]:
    colour = OF_REPLAY.get(replay, COLOURS[replays.index(replay) % len(COLOURS)])
    return {"color": colour, "ls": "--" if replay == "uniform" else "-", "lw": 1.6, "marker": "o", "ms": 2.6}


def _legend(figure: Figure, replays: Sequence[str], n_runs: int) -> None:
    handles = [Line2D([], [], **_look(replay, replays), label=_NAMES.get(replay, replay)) for replay in replays]
    handles += [Line2D([], [], **_GOAL, label="goal"), Line2D([], [], **_RANDOM, label="random policy")]
    title = f"interquartile mean of {n_runs} runs" if n_runs > 1 else "one run a line"
    title += ", shaded: its 95% interval" if n_runs >= MIN_RUNS else ""
    figure.legend(handles=handles, title=title, loc="outside lower center", ncols=len(handles), frameon=False)
