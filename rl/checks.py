"""Checks of what enters the public face of cells and learners."""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from amper.protocols import Array


def whole(name: str, value: Any, *, at_least: int) -> int:
    """Return a whole number of at least `at_least`.

    Examples
    --------
    >>> whole("n_units", np.int64(3), at_least=1)
    3
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"{name} must be a whole number, got {value!r}")
    if value < at_least:
        raise ValueError(f"{name} must be at least {at_least}, got {value!r}")
    return int(value)


def truth(name: str, value: Any) -> bool:
    """Return a truth value; nothing else counts as one."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} must be True or False, got {value!r}")
    return bool(value)


def real(name: str, value: Any) -> float:
    """Return a number, not necessarily finite."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        raise TypeError(f"{name} must be a number, got {value!r}")
    try:
        return float(value)
    except OverflowError:  # a whole number that no float holds
        return math.inf if value > 0 else -math.inf


def number(name: str, value: Any, *, above: float = -math.inf, below: float = math.inf) -> float:
    """Return a finite number with above < value < below."""
    found = real(name, value)
    if not (math.isfinite(found) and above < found < below):
        raise ValueError(f"{name} must lie between {above:g} and {below:g}, both left out, got {value!r}")
    return found


def known(what: str, name: Any, names: Iterable[str]) -> str:
    """Return `name` if it is one of `names`; else the message lists them."""
    names = tuple(names)
    if not isinstance(name, str) or name not in names:
        close = difflib.get_close_matches(str(name), names, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"{what} must be one of {', '.join(names)}, got {name!r}{hint}")
    return name


def registration(name: Any, factory: Any, registered: Iterable[str]) -> None:
    """Refuse a name that is no word or is taken, and a factory that cannot be called."""
    if not isinstance(name, str) or not name:
        raise TypeError(f"name must be a string that is not empty, got {name!r}")
    if not callable(factory):
        raise TypeError(f"factory must be a class or another callable, got {factory!r}")
    if name in registered:
        raise ValueError(f"name must be new, got {name!r}, which is registered")


def having(name: str, value: Any, members: Iterable[str], wanted: str) -> None:
    """Refuse an object that lacks one of `members`, and a class in place of an object."""
    if isinstance(value, type) or not all(hasattr(value, member) for member in members):
        raise TypeError(f"{name} must be {wanted}, got {value!r}")


def options(what: str, kind: Any, given: Iterable[str]) -> None:
    """Refuse keywords that no constructor of the class `kind` takes; another callable is not asked.

    Examples
    --------
    >>> class Base:
    ...     def __init__(self, *, size: int = 1) -> None: ...
    >>> class Derived(Base):
    ...     def __init__(self, *, rate: float = 0.5, **options: int) -> None: ...
    >>> options("base", Derived, ["size", "rate"])
    >>> options("base", Derived, ["speed"])
    Traceback (most recent call last):
    ValueError: an option of base must be one of rate, size, got 'speed'
    """
    if not inspect.isclass(kind):
        return
    names: list[str] = []
    for base in kind.__mro__:
        if "__init__" in vars(base):
            parameters = inspect.signature(vars(base)["__init__"]).parameters.values()
            names += [p.name for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY]
            if not any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters):
                break  # nothing is passed on
    for name in given:
        if name not in names:
            raise ValueError(f"an option of {what} must be one of {', '.join(names)}, got {name!r}")


def as_array(name: str, value: Any, *, where: str = "") -> Array:
    """Return `value` as an array of any shape and type; `where` ends the message."""
    try:
        return np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{name} must be an array, got rows of different lengths{where}") from error


def array(name: str, value: Any, shape: tuple[int, ...], dtype: np.dtype[Any], *, where: str = "") -> Array:
    """Return `value` as an array of real numbers of this shape and type, not necessarily finite.

    `where` ends the messages.
    """
    given = as_array(name, value, where=where)
    if given.dtype.kind not in "fiub":
        raise TypeError(f"{name} must hold real numbers, got {given.dtype}{where}")
    if given.shape != shape:
        raise ValueError(f"{name} must have shape {shape}, got {given.shape}{where}")
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is refused as that
        return given.astype(dtype, copy=False)


def plain_numbers(instance: Any) -> None:
    """Make NumPy's numbers in a frozen dataclass Python's, and whole ones floats where it has floats.

    Two that are equal then have the same repr, which is what saved states are told apart by.
    """
    for field in dataclasses.fields(instance):
        value = getattr(instance, field.name)
        if isinstance(value, np.generic):
            value = value.item()
        if str(field.type).startswith("float") and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        object.__setattr__(instance, field.name, value)


# -- saved states ------------------------------------------------------------------------------------------------
def saved_keys(name: str, state: Any, keys: Iterable[str]) -> None:
    """Refuse what is not a dict of exactly these keys."""
    if not isinstance(state, dict):
        raise TypeError(f"{name} must be a dict, got {type(state).__name__}")
    keys = tuple(keys)
    if set(state) != set(keys):
        raise ValueError(f"{name} must hold {', '.join(keys) or 'nothing'}, got {', '.join(map(str, state)) or 'none'}")


def saved_version(state: Any, newest: int) -> None:
    """Refuse a state without a version, or with one that came later than `newest`."""
    if not isinstance(state, dict):
        raise TypeError(f"state must be a dict, got {type(state).__name__}")
    if "version" not in state:
        raise ValueError(f"state must hold a version, got {', '.join(map(str, state)) or 'none'}")
    if whole("state['version']", state["version"], at_least=1) > newest:
        raise ValueError(
            f"state['version'] must be at most {newest}, got {state['version']!r}; it was saved by a later rl"
        )


def saved_alike(state: dict[str, Any], here: dict[str, Any], owner: str) -> None:
    """Refuse a state whose numbers and strings differ from those `here`, by name."""
    for name, value in here.items():
        if repr(state[name]) != repr(value):  # == of a damaged entry may be an array
            raise ValueError(f"state must be of {owner} whose {name} is {value!r}, got {state[name]!r}")


def saved_array(name: str, value: Any, shape: tuple[int, ...], dtype: Any) -> Array:
    """Return a copy of an array of exactly this shape and type, every entry finite."""
    wanted = f"{np.dtype(dtype)}{list(shape)}"
    if not isinstance(value, np.ndarray):
        raise TypeError(f"{name} must be {wanted}, got {type(value).__name__}")
    if value.shape != shape or value.dtype != dtype:
        raise ValueError(f"{name} must be {wanted}, got {value.dtype}{list(value.shape)}")
    if not np.isfinite(value).all():
        raise ValueError(f"{name} must be finite, got {value[~np.isfinite(value)][0]}")
    return np.array(value, order="C")  # in one order, so that sums over it are the same to the bit


def all_finite(values: Array) -> bool:
    """Return whether every entry is finite; one reduction where they are.

    Examples
    --------
    >>> all_finite(np.array([1.0, 1e308, 1e308])), all_finite(np.array([1.0, np.nan]))
    (True, False)
    """
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(values.sum())) or bool(np.isfinite(values).all())
