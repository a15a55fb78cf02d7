"""Policies: fixed weights, and the rule that turns their outputs into actions."""

from __future__ import annotations

import numpy as np

from amper.protocols import Array, Float32, Int64
from rl._kernels import dqn as kernels
from rl.networks import Mlp


def rows(obs: Array) -> Float32:
    """Return `obs` [n, ...] as contiguous float32[n, d]."""
    return np.ascontiguousarray(obs.reshape(obs.shape[0], -1), np.float32)


class GreedyPolicy:
    """The action of largest value under fixed weights.

    Parameters
    ----------
    network : Mlp
    theta : float32[P]
        Copied.
    first_action : int
        Number of the first action, `Discrete.start`.
    """

    def __init__(self, network: Mlp, theta: Array, first_action: int = 0) -> None:
        self.network = network
        self.theta: Float32 = np.array(theta, np.float32)
        self._first_action = first_action
        self._sizes = network.shape
        self._work = np.empty(0, np.float32)

    def __call__(self, obs: Array) -> Int64:
        """Return int64[n], the action for each row of `obs` [n, *observation shape]."""
        x = rows(obs)
        if self._work.size < x.shape[0] * self.network.n_units:
            self._work = np.empty(x.shape[0] * self.network.n_units, np.float32)
        actions = np.empty(x.shape[0], np.int64)
        kernels.greedy(self.theta, self._sizes, x, self._work, actions)
        return actions + self._first_action
