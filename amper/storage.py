"""Transitions as rows: every column of one transition side by side, so that a draw touches one place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from amper import memory
from amper.batches import BatchPool
from amper.fields import Field, RowLayout, scalars
from amper.protocols import Array, Int64
from amper.stages import Steps

_VIEWS = ("_records", "_views", "_flags", "_pools")
_POOLS = 4


class RowStorage:
    """Rows in memory, and for each whether it was sampled since it was written.

    Parameters
    ----------
    capacity : int
        Rows.
    fields : tuple of Field
        Columns, in the order they are handed out.
    hidden : tuple of Field
        Further columns, which are not handed out.

    Attributes
    ----------
    rows : uint8[capacity, stride]
        The rows as the kernels see them, `_kernels.sample`.
    row_bytes : int
        Bytes of one transition, rounded up to 8.
    n_sampled : int
        Rows sampled since they were written.
    """

    def __init__(self, capacity: int, fields: tuple[Field, ...], *, hidden: tuple[Field, ...] = ()) -> None:
        self.fields = {field.name: field for field in fields}
        self._capacity = capacity
        self._row = RowLayout((*fields, *hidden))
        self.row_bytes = self._row.row_bytes
        self.rows = self._allocate(capacity, self._row.stride)
        self._make_views()
        self.n_sampled = 0
        self._takes = [(f.name, f.dtype, f.shape, *scalars(f)) for f in fields]
        # The flag shares the row's cache line: an array of flags would miss once more a draw.
        offsets = self._row.offsets
        flags = [(0, 0, 0), (0, 0, 0), (self._row.flag_at, offsets.get("terminated", -1), 0)]
        self._layout = np.array([*flags, *((offsets[f.name], f.n_bytes, 0) for f in fields)], np.int64)
        if "discount" in offsets:  # stored with each row, not made from `terminated`
            self._layout[2, 1] = -1
        self._pools: dict[int, BatchPool] = {}

    def _allocate(self, capacity: int, stride: int) -> Array:
        """Return room for the rows, uint8[capacity, stride]."""
        return memory.zeros(((capacity, stride), np.uint8))[0]

    def _make_views(self) -> None:
        """Make the rows as records, each column as a strided view of them, and the flags."""
        self._records = self._row.records(self.rows)
        self._views = {name: self._records[name] for name in self.fields}
        self._flags = self.rows[:, self._row.flag_at]

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

    def write(self, first: int, steps: Steps) -> tuple[Int64, int]:
        """Write transitions, already checked, with ids from `first` on.

        Returns
        -------
        slots : int64[k]
        n_sampled : int
            How many of the rows overwritten had been sampled.
        """
        k, slot = steps.k, first % self._capacity
        slots = np.arange(slot, slot + k)
        place: slice | Int64 = slice(slot, slot + k)  # as cheap an index as there is
        if slot + k > self._capacity:
            place = slots = slots % self._capacity
        n_sampled = int(np.count_nonzero(self._flags[place]))
        if steps.rows is not None:
            self.rows[place] = steps.rows
        else:
            for name, view in self._views.items():
                view[place] = steps.columns[name]
        self._flags[place] = 0
        self.n_sampled -= n_sampled
        return slots, n_sampled

    def read(self, name: str, slots: Int64) -> Array:
        """Return a column of `slots`, without marking anything as sampled."""
        values: Array = self._views[name][slots]
        return values

    def pool(self, batch_size: int) -> BatchPool:
        """Return room for batches of a size."""
        return self._pools.get(batch_size) or self._new_pool(batch_size)

    def _new_pool(self, batch_size: int) -> BatchPool:
        return self._keep(BatchPool(self._layout, tuple(self.fields.values()), batch_size), batch_size)

    def _keep(self, pool: BatchPool, batch_size: int) -> BatchPool:
        if len(self._pools) >= _POOLS:
            self._pools.clear()
        self._pools[batch_size] = pool
        return pool

    def finish(self, pool: BatchPool, block: int) -> int:
        """Complete a batch the compiled call has filled; return how many more rows were sampled for the first time."""
        return 0

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
            If the rows are of another shape, or a flag is neither 0 nor 1.
        """
        rows = state["rows"]
        if rows.shape != self.rows.shape or rows.dtype != np.uint8:
            raise ValueError(f"rows must be uint8{list(self.rows.shape)}, got {rows.dtype}{list(rows.shape)}")
        self.rows[...] = rows
        if self._flags.max(initial=0) > 1:
            raise ValueError(f"flags of rows must be 0 or 1, got {self._flags.max()}")
        self.n_sampled = int(np.count_nonzero(self._flags))
