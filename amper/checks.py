"""Checks where values enter a replay: each error names the parameter, the rule and the value."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from amper.protocols import Array, Float64, Int64

if TYPE_CHECKING:
    from amper.fields import Field

_LARGEST = {np.dtype(name).itemsize: float(np.finfo(name).max) for name in ("f2", "f4", "f8", "longdouble")}
_INT64, _FLOAT64 = np.dtype(np.int64), np.dtype(np.float64)
LARGEST_EPS, LARGEST_PRIORITY = 1e300, 1.7e308  # so that their sum is finite
MOST_SLOTS = 2**29  # three places a slot, and their numbers are int32 (index.CodeIndex)
DONE, NEGATIVE_ID, UNKNOWN_ID, BAD_PRIORITY, GROW = range(5)


def whole(name: str, value: Any, *, at_least: int, at_most: int | None = None) -> int:
    """Return a whole number of at least `at_least`."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"{name} must be a whole number, got {value!r}")
    if value < at_least:
        raise ValueError(f"{name} must be at least {at_least}, got {shortened(value)}")
    if at_most is not None and value > at_most:
        raise ValueError(f"{name} must be at most {at_most}, got {shortened(value)}")
    return int(value)


def shortened(value: Any) -> str:
    """Return a value as a message shows it: Python refuses to print whole numbers of more than 4,300 digits."""
    return f"a number of {value.bit_length()} bits" if isinstance(value, int) and abs(value) >> 1024 else repr(value)


def number(name: str, value: Any, low: float, high: float) -> float:
    """Return a finite number in low .. high."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        raise TypeError(f"{name} must be a number, got {value!r}")
    if not low <= value <= min(high, _LARGEST[8]):
        rule = f"lie in {low:g}..{high:g}" if math.isfinite(high) else f"be at least {low:g} and finite"
        raise ValueError(f"{name} must {rule}, got {shortened(value)}")
    return float(value)


def truth(name: str, value: Any) -> None:
    """Refuse what is neither True nor False."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, got {value!r}")


def columns(fields: Mapping[str, Field], values: Mapping[str, Any]) -> tuple[int, dict[str, Array]]:
    """Return the number of rows and the columns, shaped [k, ...] and convertible without loss of kind."""
    if values.keys() != fields.keys():
        _raise_names(fields, values)
    rows: dict[str, Array] = {}
    k = -1
    for name, field in fields.items():
        array = as_array(name, values[name])
        if array.dtype is not field.dtype and array.dtype != field.dtype:
            array = _convert(field, array)
        shape, wanted = array.shape, field.shape
        if shape[1:] == wanted and len(shape) > len(wanted):
            n = shape[0]
        elif shape == wanted:
            array, n = array[np.newaxis], 1
        else:
            raise ValueError(f"{name} must have shape {wanted} or (k, *{wanted}), got {shape}")
        if n != k:
            if k >= 0:
                raise ValueError(f"{name} must have as many rows as {next(iter(fields))}, {k}, got {n}")
            k = n
        rows[name] = array
    return k, rows


def batch(
    fields: Mapping[str, Field], values: Mapping[str, Any], n_envs: int, capacity: int
) -> tuple[int, dict[str, Array]]:
    """Return the number of rows and the columns of what is added to a replay."""
    k, rows = columns(fields, values)
    if n_envs > 1 and k != n_envs:
        raise ValueError(f"columns must have n_envs={n_envs} rows, one an environment, got {k}")
    if k > capacity:
        raise ValueError(f"columns must have at most capacity={capacity} rows, got {k}; add them in parts")
    return k, rows


def envs(env: Any, n_envs: int) -> range:
    """Return the environment `env`, or all for None."""
    if env is None:
        return range(n_envs)
    if not 0 <= whole("env", env, at_least=0) < n_envs:
        raise IndexError(f"env must be below n_envs={n_envs}, got {env!r}")
    return range(int(env), int(env) + 1)


def terminated(fields: tuple[Field, ...]) -> None:
    """Refuse a column `terminated` that is not one truth value: `discount` is made from it."""
    for field in fields:
        if field.name == "terminated" and (field.dtype != np.bool_ or field.shape != ()):
            raise ValueError(
                f"fields['terminated'] must be {{'dtype': 'bool'}}, got {field.dtype} of shape {field.shape}"
            )


def as_array(name: str, value: Any) -> Array:
    """Return `value` as an array; a ragged list is refused by name."""
    try:
        return value if value.__class__ is np.ndarray else np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{name} must have rows of one shape, got {value!r}") from error


def _raise_names(fields: Mapping[str, Field], values: Mapping[str, Any]) -> NoReturn:
    for name in values:
        if name not in fields:
            raise ValueError(f"columns must be among {', '.join(fields)}, got {name!r}")
    missing = [name for name in fields if name not in values]
    raise ValueError(f"columns must include every field, missing {', '.join(missing)}")


def _convert(field: Field, array: Array) -> Array:
    """Return `array` in the field's dtype if that keeps its kind and its values fit."""
    target = field.dtype
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{field.name} must hold numbers convertible to {target}, got dtype {array.dtype}")
    if target.kind in "iu" and array.dtype.kind in "iub":
        limits = np.iinfo(target)
        low, high = int(array.min(initial=0)), int(array.max(initial=0))
        if low < limits.min or high > limits.max:
            raise ValueError(f"{field.name} must fit {target}, got {low if low < limits.min else high}")
    elif target.kind == "b" and array.dtype.kind in "iu":
        if array.size and not np.isin(array, (0, 1)).all():
            raise ValueError(f"{field.name} must hold True or False, got {int(array[~np.isin(array, (0, 1))].flat[0])}")
    elif not np.can_cast(array.dtype, target, "same_kind"):
        raise TypeError(f"{field.name} must be convertible to {target}, got dtype {array.dtype}")
    if target.kind == "f" and array.size:
        largest = (
            abs(array.item()) if array.size == 1 else float(np.max(np.abs(array), where=np.isfinite(array), initial=0))
        )
        if _LARGEST[target.itemsize] < largest < math.inf:
            raise ValueError(f"{field.name} must fit {target}, got {largest:g}")
    return array.astype(target)


def floats(name: str, values: Any) -> Float64:
    """Return a one-dimensional float64 array."""
    if values.__class__ is np.ndarray and values.dtype is _FLOAT64 and values.ndim == 1 and values.flags.carray:
        return values
    array = as_array(name, values)
    if array.dtype.kind not in "iuf" and array.size:
        raise TypeError(f"{name} must hold numbers, got dtype {array.dtype}")
    if array.ndim > 1:
        raise ValueError(f"{name} must be one-dimensional, got shape {array.shape}")
    return np.array(np.atleast_1d(array), np.float64)


def priorities(values: Any, k: int) -> Float64:
    """Return k finite priorities of at least 0."""
    array = floats("priorities", values)
    if len(array) != k:
        raise ValueError(f"priorities must have one value a transition, {k}, got {len(array)}")
    bad = ~((array >= 0) & (array <= LARGEST_PRIORITY))
    if bad.any():
        raise_priority(array, int(np.argmax(bad)))
    return array


def ids(values: Any) -> Int64:
    """Return transition ids as int64[b]."""
    if values.__class__ is np.ndarray and values.dtype is _INT64 and values.ndim == 1 and values.flags.carray:
        return values
    array = as_array("indices", values)
    if array.dtype == object and array.size and all(isinstance(value, int) for value in array.flat):
        raise IndexError(f"indices must be ids this buffer issued, got {max(array.flat, key=abs)}")
    if array.dtype.kind not in "iu" and array.size:
        raise TypeError(f"indices must be whole numbers, got dtype {array.dtype}")
    if array.ndim > 1:
        raise ValueError(f"indices must be one-dimensional, got shape {array.shape}")
    if array.dtype == np.uint64 and array.size and array.max() > np.iinfo(np.int64).max:
        raise IndexError(f"indices must be ids this buffer issued, got {array.max()}")
    return np.array(np.atleast_1d(array), np.int64)


def raise_update(status: int, at: int, indices: Int64, values: Float64, n_issued: int) -> NoReturn:
    """Raise what `_kernels.update.check` found wrong."""
    if status == NEGATIVE_ID:
        raise IndexError(f"indices must be at least 0, got {indices[at]} at position {at}")
    if status == UNKNOWN_ID:
        raise IndexError(
            f"indices must be ids this buffer issued, below {n_issued}, got {indices[at]} at position {at}"
        )
    raise_priority(values, at)


def raise_priority(values: Float64, at: int) -> NoReturn:
    """Refuse the priority at one position."""
    rule = "be finite and at least 0" if not 0 <= values[at] < math.inf else f"be at most {LARGEST_PRIORITY:g}"
    raise ValueError(f"priorities must {rule}, got {values[at]} at position {at}")


def sink(value: Any) -> None:
    """Refuse what cannot record."""
    if not all(hasattr(value, verb) for verb in ("begin", "record_insert", "record_update", "record_sample")):
        raise TypeError(f"sink must be a Trace, or record as one does, got {value!r}")


def same_config(mine: Mapping[str, Any], d: Any) -> None:
    """Raise ValueError unless the state `d` is of a buffer configured like `mine`; seeds may differ."""
    theirs = d.get("config") if isinstance(d, Mapping) else None
    for key, value in mine.items():
        other = theirs.get(key) if isinstance(theirs, Mapping) else None
        if key != "seed" and value != other:
            raise ValueError(f"d must be the state of a buffer with {key}={value!r}, got {other!r}")


def stored(codes: Array, n_issued: int) -> None:
    """Raise ValueError unless exactly the slots of the transitions issued hold a code."""
    n = min(n_issued, len(codes))
    written = codes > 0
    if not 0 <= n_issued <= 2**62:
        raise ValueError(f"n_issued must lie in 0..2**62, got {shortened(n_issued)}")
    if not written[:n].all() or written[n:].any():
        raise ValueError(f"codes must be stored for {n} transitions, got {int(written.sum())} slots written")


def counters(found: Mapping[str, int], known: Mapping[str, int]) -> None:
    """Raise ValueError unless `found` has the keys of `known`, and counts."""
    if found.keys() != known.keys() or not all(0 <= value <= 2**62 for value in found.values()):
        raise ValueError(f"stats must count {', '.join(known)}, got {found}")


def same_layout(name: str, mine: Any, theirs: Any, path: str = "") -> None:
    """Raise ValueError unless `theirs` has the keys, shapes and dtypes of `mine`."""
    if isinstance(mine, bool | int | float | str) and not isinstance(theirs, type(mine)):
        raise ValueError(f"{name}{path} must be of type {type(mine).__name__}, got {theirs!r}")
    if isinstance(mine, np.ndarray):
        if not isinstance(theirs, np.ndarray) or mine.shape != theirs.shape or mine.dtype != theirs.dtype:
            raise ValueError(f"{name}{path} must be {mine.dtype}{list(mine.shape)}, got {type(theirs).__name__}")
    elif isinstance(mine, dict):
        if not isinstance(theirs, Mapping):
            raise ValueError(f"{name}{path} must be a mapping, got {type(theirs).__name__}")
        for key, value in mine.items():
            if key not in theirs:
                raise ValueError(f"{name}{path} must have the key {key!r}, got {', '.join(map(str, theirs))}")
            same_layout(name, value, theirs[key], f"{path}[{key!r}]")
