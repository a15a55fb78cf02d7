"""Checks of what enters the public API; every message reads `<parameter> must <rule>, got <value!r>`."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable
from numbers import Integral

import numpy as np

#: No count of parts, rows or addresses is larger: a machine of 2^31 rows would take tens of square centimetres.
LARGEST = 2**31


def whole(name: str, value: object, minimum: int, maximum: int = LARGEST) -> int:
    """Return `value` as an int from `minimum` to `maximum`; TypeError or ValueError otherwise."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name} must be a whole number, got {value!r}")
    if int(value) < minimum:
        raise ValueError(f"{name} must be at least {minimum}, got {value!r}")
    if int(value) > maximum:
        raise ValueError(f"{name} must be at most {maximum}, got {value!r}")
    return int(value)


def positive(name: str, value: object, minimum: float = 0.0, maximum: float = math.inf) -> float:
    """Return `value` as a finite float above 0 and from `minimum` to `maximum`; TypeError or ValueError otherwise."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        raise TypeError(f"{name} must be a number, got {value!r}")
    if not 0 < value < math.inf or (isinstance(value, int) and value > sys.float_info.max):
        raise ValueError(f"{name} must be finite and above 0, got {value!r}")
    if not minimum <= float(value) <= maximum:
        raise ValueError(f"{name} must lie between {minimum:g} and {maximum:g}, got {value!r}")
    return float(value)


def fraction(name: str, value: object) -> float:
    """Return `value` as a float from 0 to 1; TypeError or ValueError otherwise."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        raise TypeError(f"{name} must be a number, got {value!r}")
    if not 0 <= value <= 1:
        raise ValueError(f"{name} must lie between 0 and 1, got {value!r}")
    return float(value)


def store_whole(parameters: object, *names: str, minimum: int = 1, maximum: int = LARGEST) -> None:
    """Check fields of frozen parameters as `whole` does, and keep them as plain ints, whatever came in."""
    for name in names:
        object.__setattr__(parameters, name, whole(name, getattr(parameters, name), minimum, maximum))


def store_positive(parameters: object, name: str, minimum: float = 0.0, maximum: float = math.inf) -> None:
    """Check a field of frozen parameters as `positive` does, and keep it as a plain float."""
    object.__setattr__(parameters, name, positive(name, getattr(parameters, name), minimum, maximum))


#: Clocks slower than a megahertz are typing errors.
SLOWEST_GHZ = 1e-3


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
