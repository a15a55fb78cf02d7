"""Transitions as rows: every column of one transition side by side, so that a draw touches one place."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from amper import memory
from amper.protocols import Array, Int64

RESERVED = ("indices", "weights", "priorities", "discount", "mask")
_KINDS = "biuf"
_MOST_VALUES = 2**31
_NO_BLOCKS = np.empty((0, 0), np.uint8)
_VIEWS = ("_records", "_views", "_flags", "_pools")
_POOLS, _POOL_BLOCKS, _POOL_BYTES = 4, 16, 1 << 18


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


def _scalars(field: Field) -> tuple[frozenset[type], Any, Any]:
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


class BatchPool:
    """Room for the next batches of one size: a view of memory at hand costs a third of a new array.

    At most 16 batches, in at most 256 KB, share one piece of memory, which lives as long as any of them.

    Parameters
    ----------
    layout : int64[3 + f, 3]
        As in `_kernels.sample`; where things begin in a block is filled in.
    fields : tuple of Field
    batch_size : int
    """

    def __init__(self, layout: Int64, fields: tuple[Field, ...], batch_size: int) -> None:
        b = batch_size
        self.layout = layout.copy()
        columns: list[tuple[str, tuple[int, ...], Any]] = [(f.name, (b, *f.shape), f.dtype) for f in fields]
        columns += [("indices", (b,), np.dtype(np.int64)), ("weights", (b,), np.dtype(np.float32))]
        if layout[2, 1] >= 0:
            columns.append(("discount", (b,), np.dtype(np.float32)))
        begins, end = [], 0
        for _, shape, dtype in columns:
            begins.append(end)
            end += -(-math.prod(shape) * dtype.itemsize // 16) * 16
        self.layout[3:, 2] = begins[: len(fields)]
        self.layout[0, : len(columns) - len(fields)] = begins[len(fields) :]
        self.layout[1, :2] = end, end + 8 * b  # slots and probabilities, which nobody is handed
        end += 16 * b
        self._size = n_blocks, n_bytes = max(1, min(_POOL_BLOCKS, _POOL_BYTES // end)), end
        self._arrays = [
            (name, (n_blocks, *shape), dtype, begin, (n_bytes, *_strides(shape, dtype)))
            for (name, shape, dtype), begin in zip(columns, begins, strict=True)
        ]
        self._left = 0
        self.blocks: Array = _NO_BLOCKS
        self._columns: list[tuple[str, Array]] = []

    def take(self) -> int:
        """Return the number of a block nobody has yet."""
        if self._left == 0:
            # New memory: the callers keep the old.
            try:
                self.blocks = blocks = np.empty(self._size, np.uint8)
            except MemoryError as error:
                n_bytes = self._size[0] * self._size[1]
                raise ValueError(f"batch_size must fit in memory, got one of {n_bytes / 2**30:,.0f} GiB") from error
            self._columns = [
                (name, np.ndarray(shape, dtype, blocks, begin, strides))
                for name, shape, dtype, begin, strides in self._arrays
            ]
            self._left = self._size[0]
        self._left -= 1
        return self._left

    def batch(self, block: int) -> dict[str, Array]:
        """Return a block's columns; call it once a block."""
        batch = {name: column[block] for name, column in self._columns}
        if self._left == 0:  # all is handed out: the callers keep it, not this pool
            self.blocks, self._columns = _NO_BLOCKS, []
        return batch


def _strides(shape: tuple[int, ...], dtype: np.dtype[Any]) -> list[int]:
    """Return the strides of a contiguous array."""
    return [math.prod(shape[axis + 1 :]) * dtype.itemsize for axis in range(len(shape))]


class RowStorage:
    """Rows in memory, and for each whether it was sampled since it was written.

    Parameters
    ----------
    capacity : int
        Rows.
    fields : tuple of Field
        Columns, in the order they are handed out.

    Attributes
    ----------
    rows : uint8[capacity, stride]
        The rows as the kernels see them, `_kernels.sample`.
    row_bytes : int
        Bytes of one transition, rounded up to 8.
    n_sampled : int
        Rows sampled since they were written.
    """

    def __init__(self, capacity: int, fields: tuple[Field, ...]) -> None:
        self.fields = {field.name: field for field in fields}
        offsets, end = {}, 0
        # Widest items first keeps every value aligned without padding between columns.
        for field in sorted(fields, key=lambda f: -f.dtype.itemsize):
            offsets[field.name] = end
            end += field.n_bytes
        self.row_bytes = -(-end // 8) * 8
        # The flag shares the row's cache line: an array of flags would miss once more a draw.
        self._flag_at, stride = end, -(-(end + 1) // 8) * 8
        (self.rows,) = memory.zeros(((capacity, stride), np.uint8))
        self._offsets = offsets
        self._make_views()
        self.n_sampled = 0
        self._takes = [(f.name, f.dtype, f.shape, *_scalars(f)) for f in fields]
        flags = [(0, 0, 0), (0, 0, 0), (end, offsets.get("terminated", -1), 0)]
        self._layout = np.array([*flags, *((offsets[f.name], f.n_bytes, 0) for f in fields)], np.int64)
        self._pools: dict[int, BatchPool] = {}

    def _make_views(self) -> None:
        """Make the rows as records, each column as a strided view of them, and the flags."""
        record = np.dtype(
            {
                "names": list(self.fields),
                "formats": [(f.dtype, f.shape) for f in self.fields.values()],
                "offsets": [self._offsets[name] for name in self.fields],
                "itemsize": self.rows.shape[1],
            }
        )
        self._records = self.rows.reshape(-1).view(record)
        self._views = {name: self._records[name] for name in self.fields}
        self._flags = self.rows[:, self._flag_at]

    def __getstate__(self) -> dict[str, Any]:
        """Leave the views behind: a copy must see its own rows."""
        return {name: value for name, value in self.__dict__.items() if name not in _VIEWS}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._pools = {}
        self._make_views()

    def as_row(self, columns: Mapping[str, Any]) -> tuple[Any, ...] | None:
        """Return one transition, its values in order, if each is of its column's shape and type; else None."""
        if len(columns) != len(self._takes):
            return None
        row = []
        for name, dtype, shape, classes, low, high in self._takes:
            value = columns.get(name)
            if value.__class__ is np.ndarray:
                if value.dtype is not dtype or value.shape != shape:
                    return None
            elif value.__class__ not in classes or not low <= value <= high:
                return None
            row.append(value)
        return tuple(row)

    def write_row(self, slot: int, row: tuple[Any, ...]) -> int:
        """Write what `as_row` returned to `slot`; return 1 if what it overwrites had been sampled, else 0."""
        self._records[slot] = row
        if not self._flags[slot]:
            return 0
        self._flags[slot] = 0
        self.n_sampled -= 1
        return 1

    def write(self, slots: Int64 | slice, columns: Mapping[str, Array]) -> int:
        """Write columns of k rows each, already checked; return how many rows overwritten had been sampled."""
        for name, view in self._views.items():
            view[slots] = columns[name]
        n_sampled = int(np.count_nonzero(self._flags[slots]))
        self._flags[slots] = 0
        self.n_sampled -= n_sampled
        return n_sampled

    def read(self, slots: Int64) -> dict[str, Array]:
        """Return columns of `slots`, without marking anything as sampled."""
        return {name: view[slots] for name, view in self._views.items()}

    def pool(self, batch_size: int) -> BatchPool:
        """Return room for batches of a size."""
        return self._pools.get(batch_size) or self._new_pool(batch_size)

    def _new_pool(self, batch_size: int) -> BatchPool:
        if len(self._pools) >= _POOLS:
            self._pools.clear()
        self._pools[batch_size] = pool = BatchPool(self._layout, tuple(self.fields.values()), batch_size)
        return pool

    def check_flags(self, n: int) -> None:
        """Raise ValueError if a row beyond the first `n` was sampled."""
        if self._flags[n:].any():
            raise ValueError(f"flags must be set in the first {n} rows only, got one beyond")

    def state_dict(self) -> dict[str, Any]:
        """Return the rows, flags included."""
        return {"rows": self.rows.copy()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state`.

        Raises
        ------
        ValueError
            If a flag is neither 0 nor 1.
        """
        self.rows[...] = state["rows"]
        if self._flags.max(initial=0) > 1:
            raise ValueError(f"flags of rows must be 0 or 1, got {self._flags.max()}")
        self.n_sampled = int(np.count_nonzero(self._flags))
