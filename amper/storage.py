"""Transitions as rows: every column of one transition side by side, so that a draw touches one place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from amper._kernels.storage import gather
from amper.protocols import Array, Float32, Float64, Int64

RESERVED = ("indices", "weights", "priorities", "discount", "mask")
_KINDS = "biuf"


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


class RowStorage:
    """Rows in memory.

    Parameters
    ----------
    capacity : int
        Rows.
    fields : tuple of Field
        Columns, in the order they are handed out.
    """

    def __init__(self, capacity: int, fields: tuple[Field, ...]) -> None:
        self.fields = {field.name: field for field in fields}
        offsets, end = {}, 0
        # Widest items first keeps every value aligned without padding between columns.
        for field in sorted(fields, key=lambda f: -f.dtype.itemsize):
            offsets[field.name] = end
            end += field.n_bytes
        self.row_bytes = -(-end // 8) * 8
        self._rows = np.zeros((capacity, self.row_bytes), np.uint8)
        self._offsets = offsets
        self._views = self._make_views()
        self._layout = np.array([(offsets[f.name], f.n_bytes, 0) for f in fields], np.int64)
        self._terminated_at = offsets.get("terminated", -1)
        self._plans: dict[int, tuple[Int64, int, list[tuple[str, tuple[int, ...], np.dtype[Any], int]]]] = {}

    def _make_views(self) -> dict[str, Array]:
        """Return each column as a strided view of the rows."""
        record = np.dtype(
            {
                "names": list(self.fields),
                "formats": [(f.dtype, f.shape) for f in self.fields.values()],
                "offsets": [self._offsets[name] for name in self.fields],
                "itemsize": self.row_bytes,
            }
        )
        records = self._rows.reshape(-1).view(record)
        return {name: records[name] for name in self.fields}

    def __getstate__(self) -> dict[str, Any]:
        """Leave the views behind: a copy must see its own rows."""
        return {name: value for name, value in self.__dict__.items() if name != "_views"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._views = self._make_views()

    def write(self, slots: Int64 | slice, columns: Mapping[str, Array]) -> None:
        """Write columns of k rows each, already checked, to `slots`."""
        for name, view in self._views.items():
            view[slots] = columns[name]

    def read(self, slots: Int64) -> dict[str, Array]:
        """Return columns of `slots`, without marking anything as sampled."""
        return {name: view[slots] for name, view in self._views.items()}

    def gather(
        self, slots: Int64, probabilities: Float64, beta: float, n_issued: int, flags: Array, discount: float
    ) -> tuple[dict[str, Array], Int64, Float32, Float32 | None]:
        """Return fresh columns, ids, importance weights and discounts of `slots`; mark them in `flags`."""
        b = len(slots)
        layout, n_bytes, columns = self._plan(b)
        out = np.empty(n_bytes, np.uint8)
        ids, weights, ends = np.empty(b, np.int64), np.empty(b, np.float32), np.empty(b, np.float32)
        gather(
            self._rows, layout, slots, probabilities, beta, n_issued, flags,
            self._terminated_at, np.float32(discount), out, ids, weights, ends,
        )  # fmt: skip
        batch = {name: np.ndarray(shape, dtype, out, begin) for name, shape, dtype, begin in columns}
        return batch, ids, weights, ends if self._terminated_at >= 0 else None

    def _plan(self, b: int) -> tuple[Int64, int, list[tuple[str, tuple[int, ...], np.dtype[Any], int]]]:
        """Return where each column of a batch of `b` goes in one buffer, each block on a 16-byte boundary."""
        if b not in self._plans:
            layout, columns, end = self._layout.copy(), [], 0
            for row, field in zip(layout, self.fields.values(), strict=True):
                row[2] = end
                columns.append((field.name, (b, *field.shape), field.dtype, end))
                end += -(-b * field.n_bytes // 16) * 16
            self._plans = {b: (layout, end, columns)}
        return self._plans[b]

    def state_dict(self) -> dict[str, Any]:
        """Return the rows."""
        return {"rows": self._rows.copy()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state`."""
        self._rows[...] = state["rows"]
