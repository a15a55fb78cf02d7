"""Checks of what enters the public API; every message reads `<parameter> must <rule>, got <value!r>`."""

from __future__ import annotations

import math
from collections.abc import Iterable
from numbers import Integral

import numpy as np


def whole(name: str, value: object, minimum: int) -> int:
    """Return `value` as an int of at least `minimum`; TypeError or ValueError otherwise."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name} must be a whole number, got {value!r}")
    if int(value) < minimum:
        raise ValueError(f"{name} must be at least {minimum}, got {value!r}")
    return int(value)


def positive(name: str, value: object) -> float:
    """Return `value` as a finite float above 0; TypeError or ValueError otherwise."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        raise TypeError(f"{name} must be a number, got {value!r}")
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{name} must be finite and above 0, got {value!r}")
    return float(value)


def one_of(name: str, value: object, known: Iterable[str], advice: str = "") -> str:
    """Return `value` if it is one of the known names; ValueError lists them otherwise."""
    names = list(known)
    if not isinstance(value, str) or value not in names:
        listed = ", ".join(repr(n) for n in names)
        raise ValueError(f"{name} must be one of {listed}, got {value!r}{'; ' + advice if advice else ''}")
    return value


def flag(name: str, value: object) -> bool:
    """Return `value` if it is True or False; TypeError otherwise."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, got {value!r}")
    return value
