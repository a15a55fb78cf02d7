"""The environments that studies train in: how long, with which settings, and what counts as learned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One environment.

    Parameters
    ----------
    env : str
        Gymnasium id.
    n_steps : int
        Environment steps of a run.
    agent_options : mapping
        Fields of `rl.DqnConfig`.
    random_return : float
        What a uniformly random policy earns in an episode, mean.
    goal : float
        Return from which the task counts as learned.
    """

    env: str
    n_steps: int
    agent_options: Mapping[str, Any]
    random_return: float
    goal: float


_TASKS = (
    Task(env="CartPole-v1", n_steps=60_000, agent_options={}, random_return=22.0, goal=450.0),
    Task(env="Acrobot-v1", n_steps=60_000, agent_options={}, random_return=-499.0, goal=-100.0),
    Task(
        env="LunarLander-v3",
        n_steps=200_000,
        agent_options={"lr": 6.3e-4, "train_every": 4, "n_updates": 2, "target_every": 250},
        random_return=-180.0,
        goal=200.0,
    ),
)
TASKS: Mapping[str, Task] = {task.env: task for task in _TASKS}


def task(env: str) -> Task:
    """Return the task of an environment; of one that has no settings here, the agent's defaults.

    Examples
    --------
    >>> task("CartPole-v1").goal
    450.0
    """
    if env in TASKS:
        return TASKS[env]
    raise ValueError(f"env must be one of {', '.join(TASKS)}, got {env!r}")
