"""Quantities that change over a run, as functions of the steps taken."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from amper import checks


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


def exponent(name: str, value: Any) -> float | Linear:
    """Return an exponent, or a schedule of exponents, all at least 0 and finite.

    Raises
    ------
    TypeError, ValueError
        If it is neither, or out of range.
    """
    if not isinstance(value, Linear):
        return checks.number(name, value, 0.0, math.inf)
    start, end = (checks.number(f"{name}.{end}", getattr(value, end), 0.0, math.inf) for end in ("start", "end"))
    return Linear(start, end, checks.whole(f"{name}.n_steps", value.n_steps, at_least=0))


def from_json(value: Any) -> Any:
    """Return a number as it is, and the schedule that a mapping describes."""
    return Linear(**value) if isinstance(value, Mapping) else value
