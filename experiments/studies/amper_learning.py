"""Does an agent learn as well from AMPER's replay as from exact prioritized replay?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from experiments.study import Answer, Cell, Parameters, Row, Stage, Study, no_stage
from experiments.tasks import task

if TYPE_CHECKING:
    from experiments.plots.base import Figure


def cells(parameters: Parameters) -> list[Cell]:
    """Return one cell an environment, capacity, replay and seed."""
    seeds = range(parameters["seed"], parameters["seed"] + parameters["seeds"])
    return [
        Cell({"env": task(env).env, "capacity": capacity, "replay": replay, "length": parameters["length"]}, seed)
        for env in parameters["env"]
        for capacity in parameters["capacity"]
        for replay in parameters["replay"]
        for seed in seeds
    ]


def run(parameters: Parameters, seed: int, stage: Stage = no_stage) -> Row:
    """Train one agent by its task's settings; return what it earned on the way and in the end."""
    from experiments.training import train

    env, replay, capacity = (parameters[key] for key in ("env", "replay", "capacity"))
    found = train(env, replay, capacity=capacity, length=parameters["length"], seed=seed, stage=stage)
    return {"env": env, "replay": replay, "capacity": capacity, "seed": seed, **found}


def answer(rows: Sequence[Row]) -> Answer:
    """Return a line an environment, capacity and replay, one a replay over all, and the verdict."""
    from experiments import learning

    return learning.answer(rows)


def figure(rows: Sequence[Row]) -> Figure:
    """Return learning curves, a panel an environment and capacity, a line a replay."""
    from experiments.plots.learning import learning_figure

    return learning_figure(rows)


_DEFAULT = {
    "env": ["CartPole-v1", "Acrobot-v1", "LunarLander-v3"],
    "capacity": [2_000, 10_000, 20_000],
    "replay": ["uniform", "per", "amper-k", "amper-fr"],
    "length": 1.0,  # of the task's own number of steps
    "seeds": 10,
    "seed": 0,
}
STUDY = Study(
    name="amper-learning",
    question="Does an agent learn as well from AMPER's replay as from exact prioritized replay?",
    settings={
        "tiny": {
            **_DEFAULT,
            "env": ["CartPole-v1"],
            "capacity": [2_000],
            "replay": ["per", "amper-fr"],
            "length": 0.03,
            "seeds": 2,
        },
        "default": _DEFAULT,
        "full": {**_DEFAULT, "length": 2.0, "seeds": 20},
    },
    cells=cells,
    run=run,
    answer=answer,
    figure=figure,
)
