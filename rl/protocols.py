"""What the loop, the agents and their evaluation agree on: spaces, steps, policies, agents."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from amper.protocols import Array, Float64, Int64, Replay


@dataclass(frozen=True, slots=True, kw_only=True)
class Spaces:
    """What an agent is told about its environments.

    Parameters
    ----------
    observation_space, action_space : gymnasium.Space
        Of a single environment.
    n_envs : int
        Environments stepped together.
    """

    observation_space: Any
    action_space: Any
    n_envs: int = 1


class Step(NamedTuple):
    """One step of every environment; row j is environment j.

    Attributes
    ----------
    obs : [e, *observation shape]
        Before the step.
    action : int64[e]
    reward : float64[e]
    next_obs : [e, *observation shape]
        After the step and before any reset: an ended episode's own last observation.
    terminated : bool[e]
        The episode ended inside the task: nothing follows, the value of `next_obs` is 0.
    truncated : bool[e]
        The episode was cut from outside: the value of `next_obs` still counts.
    """

    obs: Array
    action: Int64
    reward: Float64
    next_obs: Array
    terminated: Array
    truncated: Array


class Policy(Protocol):
    """Maps observations to actions and never changes."""

    def __call__(self, obs: Array) -> Int64:
        """Return int64[n], an action for each row of `obs` [n, *observation shape]."""
        ...


class Agent(Protocol):
    """Acts, and learns from the steps it is shown."""

    @property
    def replay(self) -> Replay:
        """Where the transitions are kept."""
        ...

    @property
    def n_updates(self) -> int:
        """Gradient steps taken so far."""
        ...

    def act(self, obs: Array) -> Int64:
        """Return int64[e], an exploring action for each environment's row of `obs`."""
        ...

    def observe(self, step: Step) -> None:
        """Store `step` and learn as much as is due."""
        ...

    def policy(self, *, averaged: bool = True) -> Policy:
        """Return the present greedy policy, by the averaged weights or by the last iterate."""
        ...
