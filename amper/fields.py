"""Columns: their shapes and types, and how one transition's values lie side by side in a row."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from amper.protocols import Array

RESERVED = ("indices", "weights", "priorities", "discount", "mask")
_KINDS = "biuf"
_MOST_VALUES = 2**31


@dataclass(frozen=True, slots=True)
class Field:
    """Shape and dtype of one column."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def n_bytes(self) -> int:
        """Bytes of one value."""
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize


def parse_fields(fields: Mapping[str, Mapping[str, Any]]) -> tuple[Field, ...]:
    """Return the columns that `fields` describes, in order.

    Raises
    ------
    TypeError
        If `fields` is no mapping of mappings.
    ValueError
        If it is empty, a name is reserved, or a shape, dtype or key is not understood.
    """
    if not isinstance(fields, Mapping):
        raise TypeError(f"fields must map column names to {{'shape': ..., 'dtype': ...}}, got {fields!r}")
    if not fields:
        raise ValueError("fields must name at least one column, got none")
    return tuple(_parse_field(name, spec) for name, spec in fields.items())


def _parse_field(name: Any, spec: Any) -> Field:
    if not isinstance(name, str) or not name.isidentifier():
        raise ValueError(f"fields must have identifiers as names, got {name!r}")
    if name in RESERVED:
        raise ValueError(f"fields must not use the reserved names {', '.join(RESERVED)}, got {name!r}")
    if not isinstance(spec, Mapping):
        raise TypeError(f"fields[{name!r}] must be a mapping such as {{'shape': (4,)}}, got {spec!r}")
    unknown = set(spec) - {"shape", "dtype"}
    if unknown:
        raise ValueError(f"fields[{name!r}] must have no keys but shape and dtype, got {sorted(unknown)[0]!r}")
    try:
        dtype = np.dtype(spec.get("dtype", "float32") or "none")
    except TypeError as error:
        raise ValueError(f"fields[{name!r}] must have a NumPy dtype, got {spec['dtype']!r}") from error
    if dtype.kind not in _KINDS:
        raise ValueError(f"fields[{name!r}] must have a boolean, integer or floating dtype, got {dtype}")
    given = spec.get("shape", ())
    shape = (given,) if isinstance(given, int | np.integer) else given
    if not isinstance(shape, tuple | list) or not all(
        isinstance(n, int | np.integer) and not isinstance(n, bool) and n >= 1 for n in shape
    ):
        raise ValueError(f"fields[{name!r}] must have a shape of positive whole numbers, got {given!r}")
    if math.prod(int(n) for n in shape) > _MOST_VALUES:
        raise ValueError(f"fields[{name!r}] must hold at most {_MOST_VALUES} values a transition, got {given!r}")
    return Field(name, tuple(int(n) for n in shape), dtype)


def fields_of_env(env: Any) -> dict[str, dict[str, Any]]:
    """Return the columns that fit a Gymnasium environment, single or vector; imports no gymnasium.

    Raises
    ------
    TypeError
        If `env` has no spaces of a fixed shape.
    """
    observation: Any = getattr(env, "single_observation_space", getattr(env, "observation_space", None))
    action: Any = getattr(env, "single_action_space", getattr(env, "action_space", None))
    if getattr(observation, "shape", None) is None or getattr(action, "shape", None) is None:
        raise TypeError(f"env must have observation and action spaces of a fixed shape, got {env!r}")
    discrete = hasattr(action, "n") and action.shape == ()
    obs = {"shape": observation.shape, "dtype": observation.dtype}
    return {
        "obs": obs,
        "action": {"dtype": "int64"} if discrete else {"shape": action.shape, "dtype": action.dtype},
        "reward": {},
        "next_obs": obs,
        "terminated": {"dtype": "bool"},
        "truncated": {"dtype": "bool"},
    }


def scalars(field: Field) -> tuple[frozenset[type], Any, Any]:
    """Return the classes of single values a column takes as they are, and between which limits."""
    if field.shape:
        return frozenset(), 0, 0
    if field.dtype.kind == "b":
        return frozenset({bool, np.bool_}), False, True
    if field.dtype.kind == "f":
        largest = float(np.finfo(field.dtype).max)
        return frozenset({float, np.float64, np.float32, np.float16}), -largest, largest
    limits = np.iinfo(field.dtype)
    integers = frozenset({int, *(np.dtype(code).type for code in np.typecodes["AllInteger"])})
    return integers, int(limits.min), int(limits.max)


class RowLayout:
    """Where each column lies in a row.

    Parameters
    ----------
    fields : tuple of Field
        Columns, in the order they are handed out.

    Attributes
    ----------
    offsets : dict
        Where each column begins, in bytes.
    flag_at : int
        Offset of one byte that is no column's.
    row_bytes, stride : int
        Bytes of the columns, and of the columns and that byte, each rounded up to 8.
    record : numpy.dtype
        A row as a record of the columns.
    """

    def __init__(self, fields: tuple[Field, ...]) -> None:
        self.fields = fields
        self.offsets, end = {}, 0
        # Widest items first keeps every value aligned without padding between columns.
        for field in sorted(fields, key=lambda f: -f.dtype.itemsize):
            self.offsets[field.name] = end
            end += field.n_bytes
        self.flag_at = end
        self.row_bytes = -(-end // 8) * 8
        self.stride = -(-(end + 1) // 8) * 8
        self.record = np.dtype(
            {
                "names": [f.name for f in fields],
                "formats": [(f.dtype, f.shape) for f in fields],
                "offsets": [self.offsets[f.name] for f in fields],
                "itemsize": self.stride,
            }
        )

    def span(self, name: str) -> tuple[int, int]:
        """Return where a column begins in a row and how many bytes it has."""
        return self.offsets[name], next(f.n_bytes for f in self.fields if f.name == name)

    def records(self, rows: Array) -> Array:
        """Return rows, uint8[k, stride], as k records: the same memory."""
        return rows.reshape(-1).view(self.record)

    def pack(self, columns: Mapping[str, Array], k: int) -> Array:
        """Return columns of k values each as rows, uint8[k, stride]; zeros where a column is not given."""
        rows = np.zeros((k, self.stride), np.uint8)
        records = self.records(rows)
        for name, column in columns.items():
            if name in self.offsets:
                records[name] = column
        return rows
