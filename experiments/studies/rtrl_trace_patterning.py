"""Does a network of columns learned by exact RTRL predict better than T-BPTT at equal operations?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

from experiments import predictors
from experiments.study import Answer, Cell, Parameters, Row, Stage, Study, no_stage

if TYPE_CHECKING:
    from experiments.plots.base import Figure

_GRID = [1e-4, 3e-4, 1e-3]
#: Step size by method, of the grid, with the least median error over three seeds that the default setting does not
#: use; found by `amper run rtrl-trace-patterning --setting choose --workers 2`, whose answer is this table.
CHOSEN: Mapping[str, float] = MappingProxyType(
    {
        "columnar 7": 3e-4, "constructive 10:1": 1e-4, "ccn 20:4": 1e-4,
        "tbptt 3:10": 1e-3, "tbptt 5:8": 3e-4, "tbptt 8:5": 1e-4, "tbptt 10:5": 1e-4, "tbptt 15:4": 1e-4,
        "tbptt 20:3": 3e-4, "tbptt 30:2": 3e-4, "snap-1 7": 1e-4, "uoro 12": 3e-4,
    }
)  # fmt: skip


def cells(parameters: Parameters) -> list[Cell]:
    """Return one cell a method, step size and seed.

    Raises
    ------
    ValueError
        If a method or choice is unknown, step sizes are given that the choice passes over, or the run is shorter
        than its window or has fewer steps than a network has stages.
    """
    choice, sizes = parameters["choice"], parameters["step_size"]
    if choice not in ("table", "each"):
        raise ValueError(f"choice must be table or each, got {choice!r}")
    if choice == "table" and sizes != _GRID:
        raise ValueError(f"choice must be each where step_size is given, got {choice!r}; add --set choice=each")
    if parameters["n_window"] > parameters["n_steps"] or parameters["n_points"] > parameters["n_steps"]:
        raise ValueError(f"n_steps must be at least n_window and n_points, got {parameters['n_steps']!r}")
    shared = {key: parameters[key] for key in ("n_steps", "n_window", "n_points")}
    names = [predictors.method(name).name for name in parameters["method"]]
    n_stages = max(predictors.method(name).n_stages for name in names)
    if n_stages > parameters["n_steps"]:
        raise ValueError(f"n_steps must be at least the {n_stages} stages of a method, got {parameters['n_steps']!r}")
    return [
        Cell({"method": name, "step_size": size, **shared}, seed)
        for name in names
        for size in ([CHOSEN[name]] if choice == "table" else sizes)
        for seed in range(parameters["seed"], parameters["seed"] + parameters["seeds"])
    ]


def run(parameters: Parameters, seed: int, stage: Stage = no_stage) -> Row:
    """Let one method predict; return its error on the way and in the end."""
    options = {key: parameters[key] for key in ("step_size", "n_steps", "n_window", "n_points")}
    found = predictors.predict(parameters["method"], seed=seed, stage=stage, **options)
    return {"method": parameters["method"], "seed": seed, **options, **found}


def answer(rows: Sequence[Row]) -> Answer:
    """Return a line a method and step size, and the verdict; or the best step sizes where there are several."""
    from experiments import predictions

    return predictions.answer(rows)


def figure(rows: Sequence[Row]) -> Figure:
    """Return error against steps, and the final errors of all methods beside it."""
    from experiments.plots.prediction import prediction_figure

    return prediction_figure(rows)


_DEFAULT = {
    "method": [method.name for method in predictors.METHODS],
    "choice": "table",  # of step sizes: "table" takes CHOSEN, "each" every one of step_size
    "step_size": _GRID,
    "n_steps": 5_000_000,
    "n_window": 100_000,
    "n_points": 50,
    "seeds": 20,
    "seed": 0,
}
STUDY = Study(
    name="rtrl-trace-patterning",
    question="Does a network of columns learned by exact RTRL predict better than T-BPTT at equal operations?",
    settings={
        "tiny": {
            **_DEFAULT,
            "method": ["columnar 7", "ccn 20:4", "tbptt 3:10", "tbptt 30:2", "uoro 12"],
            "n_steps": 20_000,
            "n_window": 5_000,
            "n_points": 10,
            "seeds": 2,
        },
        "choose": {**_DEFAULT, "choice": "each", "seeds": 3, "seed": 1_000},
        "default": _DEFAULT,
        "full": {**_DEFAULT, "n_steps": 50_000_000},
    },
    cells=cells,
    run=run,
    answer=answer,
    figure=figure,
)
