"""Does an eLSTM learn by RTRL to copy sequences that truncated backpropagation cannot see the beginning of?"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from experiments.study import Answer, Cell, Parameters, Row, Stage, Study, no_stage

if TYPE_CHECKING:
    from experiments.plots.base import Figure

N_TEST_STREAMS = 128  # of the sequences that success is measured on
N_STAGES = 40  # the step size falls from one to the next, in a straight line; success is measured after each
N_AT_ONCE = 200  # steps


def cells(parameters: Parameters) -> list[Cell]:
    """Return one cell a method and seed.

    Raises
    ------
    ValueError
        If a method is unknown, or there are too few updates to measure success so often.
    """
    from experiments.recurrent_methods import known

    if parameters["n_updates"] < N_STAGES * N_AT_ONCE:
        raise ValueError(f"n_updates must be at least {N_STAGES * N_AT_ONCE}, got {parameters['n_updates']!r}")

    kept = ("longest", "n_units", "batch", "step_size", "n_updates")
    seeds = range(parameters["seed"], parameters["seed"] + parameters["seeds"])
    names = known(parameters["method"], ("rtrl", "tbptt-5", "tbptt-10", "tbptt-20", "tbptt-50"))
    return [Cell({**{key: parameters[key] for key in kept}, "method": name}, seed) for name in names for seed in seeds]


def run(parameters: Parameters, seed: int, stage: Stage = no_stage) -> Row:
    """Train one learner until it says every test sequence without a mistake, or its updates are used up."""
    from experiments.recurrent import elstm_trainer
    from rl.environments import copy_task
    from rl.streams import derived_seed

    longest, n_updates = parameters["longest"], parameters["n_updates"]
    sizes = {key: parameters[key] for key in ("method", "n_units", "batch", "step_size")}
    learner: Any = elstm_trainer(n_tokens=copy_task.N_TOKENS, seed=seed, **sizes)
    test = copy_task.CopyStreams(batch=N_TEST_STREAMS, longest=longest, seed=2**31 - 1).take(4 * longest)
    curve: list[list[float]] = []
    n_steps, began = 0, time.process_time()
    for i in range(N_STAGES):
        task = copy_task.CopyStreams(batch=parameters["batch"], longest=longest, seed=derived_seed(seed, f"stage {i}"))
        step_size = parameters["step_size"] * (1 - i / N_STAGES)
        for _ in range(round(n_updates / N_STAGES / N_AT_ONCE)):
            learner.run(*_data(task.take(N_AT_ONCE)), step_size=step_size)
            n_steps += N_AT_ONCE
        scores = learner.evaluate(*_data(test))
        right, whole = copy_task.sequences_right(test, scores.right)
        bits = copy_task.bits_per_character(scores.losses, test.copying)
        curve.append([n_steps * parameters["batch"], right / whole, bits])
        stage(f"{parameters['method']}, copying", n_steps, n_updates)
        if right == whole:
            break
    return {
        "method": parameters["method"], "seed": seed, "longest": longest, "success": curve[-1][1], "bits": curve[-1][2],
        "best": max(point[1] for point in curve), "n_steps": n_steps, "cpu_s": time.process_time() - began,
        "curve": [[0, 0.0], *([n, success] for n, success, _ in curve)],
    }  # fmt: skip


def _data(stretch: Any) -> tuple[Any, ...]:
    """Return what a trainer takes: only the characters to be said are counted, as in the public code of S2."""
    return stretch.tokens, stretch.targets, stretch.copying, stretch.resets


def answer(rows: Sequence[Row]) -> Answer:
    """Return a line a method: success in the end and at best, and the time it took."""
    from experiments.recurrent_methods import by_method, caveat, intervals, words

    found = intervals(rows, "success")
    table = [
        (words(name), len(mine), f"{found[name][0]:.1%}", f"{max(row['best'] for row in mine):.1%}",
         f"{sum(row['bits'] for row in mine) / len(mine):.3f}", f"{max(row['n_steps'] for row in mine):,}",
         f"{max(row['cpu_s'] for row in mine) / 60:.1f} min")
        for name, mine in by_method(rows).items()
    ]  # fmt: skip
    text = f"Sequences of 1 to {rows[0]['longest']} bits said without a mistake, medians over seeds: " + ", ".join(
        f"{words(name)} {value:.1%} [{low:.1%}, {high:.1%}]" for name, (value, low, high) in found.items()
    )
    columns = ("learner", "runs", "success", "best", "bits a character", "updates", "CPU time, longest run")
    return Answer(columns, tuple(table), f"{text}.{caveat(rows)}")


def figure(rows: Sequence[Row]) -> Figure:
    """Return success against the characters seen, a line a run."""
    from experiments.plots.recurrent import runs_figure

    return runs_figure(
        rows, y="sequences without a mistake", final="success",
        title=f"An eLSTM copies 1 to {rows[0]['longest']} bits",
    )  # fmt: skip


_DEFAULT = {
    "method": ["rtrl", "tbptt-10"],
    "longest": 50,
    "n_units": 128,
    "batch": 32,
    "step_size": 3e-3,
    "n_updates": 1_000_000,
    "seeds": 1,
    "seed": 0,
}
STUDY = Study(
    name="elstm-copy",
    question=(
        "Does an eLSTM learn by RTRL to copy sequences that truncated backpropagation cannot see the beginning of?"
    ),
    settings={
        "tiny": {
            **_DEFAULT, "method": ["rtrl", "tbptt-5"], "longest": 2, "n_units": 16, "batch": 8, "step_size": 0.01,
            "n_updates": 8_000,
        },
        "default": _DEFAULT,
        "full": {**_DEFAULT, "n_units": 256, "seeds": 5, "n_updates": 5_000_000},
    },
    cells=cells,
    run=run,
    answer=answer,
    figure=figure,
)  # fmt: skip
