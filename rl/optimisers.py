"""Optimisers: their parameters, the coefficients their compiled loops take, and the same steps over arrays.

`advance` is a pure function: it returns new weights and moments and leaves the old ones as they are, so that a step
that overflows can be refused.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from amper.protocols import Array
from rl import checks

#: Running averages by name, each of the shape of the weights.
Moments = dict[str, Array]


class Optimiser(Protocol):
    """How a gradient becomes a step."""

    def start(self, theta: Array) -> Moments:
        """Return the moments before the first step."""
        ...

    def advance(
        self, theta: Array, gradient: Array, moments: Moments, t: int, step_size: float
    ) -> tuple[Array, Moments]:
        """Return weights and moments after the `t`-th step, counted from 1, with this step size."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Sgd:
    """theta -= step_size * gradient.

    Examples
    --------
    >>> Sgd().advance(np.array([1.0]), np.array([2.0]), {}, 1, 0.25)
    (array([0.5]), {})
    """

    def start(self, theta: Array) -> Moments:
        """Return no moments."""
        return {}

    def advance(
        self, theta: Array, gradient: Array, moments: Moments, t: int, step_size: float
    ) -> tuple[Array, Moments]:
        """Return weights and moments after a step; see `Optimiser`."""
        return theta - theta.dtype.type(step_size) * gradient, {}


@dataclass(frozen=True, slots=True, kw_only=True)
class RmsProp:
    """v = decay v + (1 - decay) gradient^2; theta -= step_size * gradient / (sqrt(v) + eps) (Tieleman and Hinton 2012).

    Parameters
    ----------
    decay : float
        In [0, 1). Javed et al. (2023) take .9999, Irie et al. (2024) .99.
    eps : float
        Added to the root, > 0 and finite.
    initial : float
        v before the first step, >= 0; Javed et al. start at 1.

    Raises
    ------
    ValueError, TypeError
        If a parameter is out of range.
    """

    decay: float = 0.99
    eps: float = 1e-8
    initial: float = 0.0

    def __post_init__(self) -> None:
        _refuse_decay("decay", self.decay)
        _refuse_eps(self.eps)
        if not 0.0 <= checks.real("initial", self.initial) < math.inf:
            raise ValueError(f"initial must be finite and at least 0, got {self.initial!r}")

    def start(self, theta: Array) -> Moments:
        """Return v before the first step."""
        return {"v": np.full_like(theta, self.initial)}

    def advance(
        self, theta: Array, gradient: Array, moments: Moments, t: int, step_size: float
    ) -> tuple[Array, Moments]:
        """Return weights and moments after a step; see `Optimiser`."""
        real = theta.dtype.type
        v = real(self.decay) * moments["v"] + real(1.0 - self.decay) * gradient**2
        return theta - real(step_size) * gradient / (np.sqrt(v) + real(self.eps)), {"v": v}


@dataclass(frozen=True, slots=True, kw_only=True)
class Adam:
    """Adam with bias correction (Kingma and Ba 2015, algorithm 1).

    Parameters
    ----------
    beta1, beta2 : float
        Decay of the first and second moment, in [0, 1).
    eps : float
        Added to the denominator, > 0 and finite.

    Raises
    ------
    ValueError, TypeError
        If a parameter is out of range.
    """

    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8

    def __post_init__(self) -> None:
        for name in ("beta1", "beta2"):
            _refuse_decay(name, getattr(self, name))
        _refuse_eps(self.eps)

    def coefficients(self, t: int, step_size: float) -> tuple[float, float]:
        """Return (m_scale, v_scale) of the `t`-th step, counted from 1.

        theta -= m_scale * m / (sqrt(v) * v_scale + eps) is then algorithm 1's step of this step size.

        Examples
        --------
        >>> m_scale, v_scale = Adam(beta1=0.5, beta2=0.75).coefficients(1, 0.1)
        >>> m_scale, v_scale
        (0.2, 2.0)
        """
        return step_size / (1.0 - self.beta1**t), float((1.0 - self.beta2**t) ** -0.5)

    def start(self, theta: Array) -> Moments:
        """Return both moments before the first step: 0."""
        return {"m": np.zeros_like(theta), "v": np.zeros_like(theta)}

    def advance(
        self, theta: Array, gradient: Array, moments: Moments, t: int, step_size: float
    ) -> tuple[Array, Moments]:
        """Return weights and moments after a step; see `Optimiser`."""
        real = theta.dtype.type
        m = real(self.beta1) * moments["m"] + real(1.0 - self.beta1) * gradient
        v = real(self.beta2) * moments["v"] + real(1.0 - self.beta2) * gradient**2
        m_scale, v_scale = self.coefficients(t, step_size)
        after = theta - real(m_scale) * m / (np.sqrt(v) * real(v_scale) + real(self.eps))
        return after, {"m": m, "v": v}


def _refuse_decay(name: str, value: float) -> None:
    if not 0.0 <= checks.real(name, value) < 1.0:
        raise ValueError(f"{name} must be in [0, 1), got {value!r}")


def _refuse_eps(value: float) -> None:
    if not 0.0 < checks.real("eps", value) < math.inf:
        raise ValueError(f"eps must be positive and finite, got {value!r}")
