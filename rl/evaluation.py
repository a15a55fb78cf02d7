"""Greedy episodes of a fixed policy."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np

from amper.protocols import Float64, Int64
from rl.protocols import Policy

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Evaluation:
    """What a policy earned over whole episodes.

    Parameters
    ----------
    step : int
        Environment steps the agent had learned from.
    averaged : bool
        Whether the weights were the averaged ones; False: the last iterate.
    returns : float64[k]
        Undiscounted return of each episode.
    lengths : int64[k]
        Steps of each episode.
    """

    step: int
    averaged: bool
    returns: Float64
    lengths: Int64

    @property
    def mean(self) -> float:
        """Mean return."""
        return float(self.returns.mean())

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers as JSON-serialisable values."""
        return {
            "step": self.step,
            "averaged": self.averaged,
            "mean": self.mean,
            "returns": self.returns.tolist(),
            "lengths": self.lengths.tolist(),
        }


def evaluate(
    policy: Policy,
    env: gymnasium.Env[Any, Any],
    n_episodes: int,
    *,
    seed: int | None = None,
    step: int = 0,
    averaged: bool = True,
    max_steps: int = 100_000,
) -> Evaluation:
    """Return what `policy` earns in `n_episodes` episodes of `env`.

    Parameters
    ----------
    policy : Policy
    env : gymnasium.Env
        A single environment; it is reset first.
    n_episodes : int
        >= 1.
    seed : int, optional
        Of the first reset; later episodes continue the environment's own stream.
    step, averaged
        Copied into the result.
    max_steps : int
        An episode is cut here, so that an environment without a time limit cannot hold up a run.

    Raises
    ------
    ValueError
        If `n_episodes` or `max_steps` is below 1.
    """
    if n_episodes < 1 or max_steps < 1:
        raise ValueError(f"n_episodes and max_steps must be at least 1, got {n_episodes!r} and {max_steps!r}")
    returns = np.zeros(n_episodes)
    lengths = np.zeros(n_episodes, np.int64)
    for episode in range(n_episodes):
        obs, _ = env.reset(seed=seed if episode == 0 else None)
        ended = False
        while not ended:
            obs, reward, terminated, truncated, _ = env.step(policy(np.asarray(obs)[None]).item())
            returns[episode] += float(reward)
            lengths[episode] += 1
            ended = terminated or truncated
            if not ended and lengths[episode] == max_steps:
                _log.warning("an evaluation episode was cut after %d steps", max_steps)
                ended = True
    return Evaluation(step=step, averaged=averaged, returns=returns, lengths=lengths)
