"""Arrays that begin at a cache line, so that what shares a line in a layout shares it in memory."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from amper.protocols import Array

CACHE_LINE_BYTES = 64


def zeros(*layouts: tuple[tuple[int, ...], Any]) -> list[Array]:
    """Return an array of zeros for each (shape, dtype), one after the other in memory, each beginning at a cache line.

    One piece of memory, for NumPy asks the system for large pages only where a piece has 4 MB or more: small tables
    beside a large array then cost no misses of the page table either.

    Raises
    ------
    ValueError
        If there is not as much memory; all of it is what a capacity asks for.

    Examples
    --------
    >>> a, b = zeros(((3, 2), np.uint32), ((5,), np.int64))
    >>> a.ctypes.data % 64, b.ctypes.data - a.ctypes.data, b.shape
    (0, 64, (5,))
    """
    sizes = [math.prod(shape) * np.dtype(dtype).itemsize for shape, dtype in layouts]
    rooms = [-(-size // CACHE_LINE_BYTES) * CACHE_LINE_BYTES for size in sizes]
    try:
        memory = np.zeros(sum(rooms) + CACHE_LINE_BYTES, np.uint8)
    except MemoryError as error:
        raise ValueError(f"capacity must fit in memory, got one that needs {sum(rooms) / 2**30:,.0f} GiB") from error
    begin = -memory.ctypes.data % CACHE_LINE_BYTES
    arrays = []
    for (shape, dtype), size, room in zip(layouts, sizes, rooms, strict=True):
        arrays.append(memory[begin : begin + size].view(dtype).reshape(shape))
        begin += room
    return arrays
