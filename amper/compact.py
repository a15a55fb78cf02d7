"""Rows that keep an observation once: `next_obs` of a transition is `obs` of the row that follows it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from amper._kernels import compact as kernels
from amper.batches import BatchPool
from amper.fields import Field, RowLayout
from amper.protocols import Int64
from amper.stages import Steps
from amper.storage import RowStorage

_LINK = Field(" link", (), np.dtype(np.int32))  # no identifier: it can be no caller's


class CompactStorage(RowStorage):
    """Rows without the columns `next_X` that repeat `X` of the row that follows, n_step rows of its environment later.

    Whether a row does follow is seen from the values, byte for byte, and not from flags: where they differ - at an
    episode's end, after a cut, for the newest rows - the successor is kept apart. What is handed out is therefore
    what was added, whatever the caller does.

    Parameters
    ----------
    capacity : int
        Rows.
    fields : tuple of Field
    n_envs, lag : int
        Environments; rows of an environment from one to what follows it.

    Raises
    ------
    ValueError
        If there is no column `next_X` beside a column `X` of its shape and type.
    """

    def __init__(self, capacity: int, fields: tuple[Field, ...], n_envs: int, lag: int) -> None:
        kept_names = {f.name: f for f in fields}
        names = tuple(kept_names)
        for field in sorted(fields, key=lambda f: len(f.name)):  # `obs` is looked at before `next_obs`
            if field.name.startswith("next_") and _alike(kept_names.get(field.name.removeprefix("next_")), field):
                del kept_names[field.name]
        self._shared = tuple(f for f in fields if f.name not in kept_names)
        if not self._shared:
            raise ValueError(
                f"fields must have a column 'next_X' like a column 'X' to be compact, got {', '.join(names)}"
            )
        kept = tuple(f for f in fields if f not in self._shared)
        super().__init__(capacity, kept, hidden=(_LINK,))
        self._apart_row = RowLayout(self._shared)
        spans = [self._row.span(f.name.removeprefix("next_")) for f in self._shared]
        self._pairs = np.array(
            [(at, self._apart_row.offsets[f.name], size) for f, (at, size) in zip(self._shared, spans, strict=True)],
            np.int64,
        )
        self._link_at = self._row.offsets[_LINK.name]
        self._apart = np.zeros((64, self._apart_row.stride), np.uint8)
        self._free = np.arange(-1, 64)
        self._free[0] = 64
        self._waiting = np.full((n_envs, 1 + lag), -1, np.int64)
        self._waiting[:, 0] = 0

    @property
    def n_apart(self) -> int:
        """Successors kept apart."""
        return len(self._apart) - int(self._free[0])

    def write(self, first: int, steps: Steps) -> tuple[Int64, int]:
        """Write transitions, already checked, with ids from `first` on."""
        k = steps.k
        while self._free[0] < k:
            self._grow()
        slots = np.arange(first, first + k) % self._capacity
        n_sampled = int(np.count_nonzero(self._flags[slots]))
        packed, following = self._row.pack(steps.columns, k), self._apart_row.pack(steps.columns, k)
        kernels.write(
            self.rows, self._link_at, self._apart, self._free, self._waiting, self._pairs,
            packed, following, steps.envs, first,
        )  # fmt: skip
        self.n_sampled -= n_sampled
        return slots, n_sampled

    def _grow(self) -> None:
        """Double the room for successors kept apart."""
        n = len(self._apart)
        apart, free = np.zeros((2 * n, self._apart.shape[1]), np.uint8), np.zeros(1 + 2 * n, np.int64)
        apart[:n] = self._apart
        n_free = int(self._free[0])
        free[: 1 + n_free] = self._free[: 1 + n_free]
        free[1 + n_free : 1 + n_free + n] = np.arange(n, 2 * n)
        free[0] = n_free + n
        self._apart, self._free = apart, free

    def _new_pool(self, batch_size: int) -> BatchPool:
        pool = BatchPool(self._layout, tuple(self.fields.values()), batch_size, filled_later=self._shared)
        return self._keep(pool, batch_size)

    def finish(self, pool: BatchPool, block: int) -> int:
        """Fill the columns that the rows of a batch do not hold themselves."""
        out = pool.blocks[block]
        kernels.hand_out(
            self.rows, self._link_at, self._apart, self._pairs, pool.begins_later, pool.ids(block) % self._capacity, out
        )
        return 0

    def state_dict(self) -> dict[str, Any]:
        """Return the rows, and the successors kept apart."""
        return {**super().state_dict(), "apart": self._apart.copy(), "waiting": self._waiting.copy()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state`."""
        apart, waiting = state["apart"], state["waiting"]
        if apart.dtype != np.uint8 or apart.ndim != 2 or apart.shape[1] != self._apart.shape[1]:
            raise ValueError(f"apart must be uint8[n, {self._apart.shape[1]}], got {apart.dtype}{list(apart.shape)}")
        if waiting.shape != self._waiting.shape or waiting.dtype != np.int64 or waiting.min() < -1:
            raise ValueError(f"waiting must be int64{list(self._waiting.shape)} of -1 or ids, got others")
        if waiting[:, 0].min() < 0 or waiting[:, 0].max() >= waiting.shape[1] - 1:
            raise ValueError(f"waiting must begin with a place in the ring, got {waiting[:, 0].tolist()}")
        super().load_state_dict(state)
        links = self._row.records(self.rows)[_LINK.name]
        used = ~links[links < 0]
        if links.max(initial=0) >= self._capacity or used.max(initial=0) >= len(apart):
            raise ValueError("links of rows must name a row or a successor kept apart, got one that does not exist")
        if len(np.unique(used)) != len(used):
            raise ValueError("links of rows must differ where they name a successor kept apart, got two alike")
        self._apart, self._waiting = apart.copy(), waiting.copy()
        left = np.setdiff1d(np.arange(len(apart)), used)
        self._free = np.zeros(1 + len(apart), np.int64)
        self._free[0], self._free[1 : 1 + len(left)] = len(left), left


def _alike(field: Field | None, other: Field) -> bool:
    return field is not None and field.shape == other.shape and field.dtype == other.dtype
