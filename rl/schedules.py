"""Quantities that change over a run, as functions of the steps taken."""

from __future__ import annotations

import math
from dataclasses import dataclass


def _check_finite(name: str, value: float) -> None:
    if not math.isfinite(value):
        raise ValueError(f"{name} must be finite, got {value!r}")


@dataclass(frozen=True, slots=True)
class Linear:
    """A straight line from `start` at step 0 to `end` at step `n_steps`, and `end` from there on.

    Raises
    ------
    ValueError
        If an end point is not finite or `n_steps` is negative.

    Examples
    --------
    >>> epsilon = Linear(1.0, 0.5, 100)
    >>> epsilon(0), epsilon(50), epsilon(1000)
    (1.0, 0.75, 0.5)
    """

    start: float
    end: float
    n_steps: int

    def __post_init__(self) -> None:
        _check_finite("start", self.start)
        _check_finite("end", self.end)
        if self.n_steps < 0:
            raise ValueError(f"n_steps must be at least 0, got {self.n_steps!r}")

    def __call__(self, step: int) -> float:
        """Return the value after `step` >= 0 steps."""
        if step >= self.n_steps:
            return self.end
        return self.start + (self.end - self.start) * (step / self.n_steps)
