"""Where batches are handed out: blocks of memory, and in each the columns of one batch."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from amper.fields import Field
from amper.protocols import Array, Int64

_NO_BLOCKS = np.empty((0, 0), np.uint8)
_POOL_BLOCKS, _POOL_BYTES = 16, 1 << 18


class BatchPool:
    """Room for the next batches of one size: a view of memory at hand costs a third of a new array.

    At most 16 batches, in at most 256 KB, share one piece of memory, which lives as long as any of them.

    Parameters
    ----------
    layout : int64[3 + f, 3]
        As in `_kernels.sample`; where things begin in a block is filled in.
    fields : tuple of Field
        Columns that `layout` describes.
    batch_size : int
    filled_later : tuple of Field
        Columns that have room beside them.

    Attributes
    ----------
    begins_later : int64[l]
        Where those begin in a block.
    """

    def __init__(
        self, layout: Int64, fields: tuple[Field, ...], batch_size: int, filled_later: tuple[Field, ...] = ()
    ) -> None:
        self._batch_size = b = batch_size
        self.layout = layout.copy()
        columns: list[tuple[str, tuple[int, ...], Any]] = [(f.name, (b, *f.shape), f.dtype) for f in fields]
        columns += [("indices", (b,), np.dtype(np.int64)), ("weights", (b,), np.dtype(np.float32))]
        if layout[2, 1] >= 0:
            columns.append(("discount", (b,), np.dtype(np.float32)))
        n_handed = len(columns)
        columns += [(f.name, (b, *f.shape), f.dtype) for f in filled_later]
        begins, end = [], 0
        for _, shape, dtype in columns:
            begins.append(end)
            end += -(-math.prod(shape) * dtype.itemsize // 16) * 16
        self.layout[3:, 2] = begins[: len(fields)]
        self.layout[0, : n_handed - len(fields)] = begins[len(fields) : n_handed]
        self.begins_later = np.array(begins[n_handed:], np.int64)
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

    def ids(self, block: int) -> Int64:
        """Return the ids in a block that was filled."""
        begin = int(self.layout[0, 0])
        return self.blocks[block, begin : begin + 8 * self._batch_size].view(np.int64)

    def batch(self, block: int) -> dict[str, Array]:
        """Return a block's columns; call it once a block."""
        batch = {name: column[block] for name, column in self._columns}
        if self._left == 0:  # all is handed out: the callers keep it, not this pool
            self.blocks, self._columns = _NO_BLOCKS, []
        return batch


def _strides(shape: tuple[int, ...], dtype: np.dtype[Any]) -> list[int]:
    """Return the strides of a contiguous array."""
    return [math.prod(shape[axis + 1 :]) * dtype.itemsize for axis in range(len(shape))]
