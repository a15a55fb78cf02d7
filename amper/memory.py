"""Arrays that begin at a cache line, so that what shares a line in a layout shares it in memory."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from amper.protocols import Array

CACHE_LINE_BYTES = 64


def zeros(shape: tuple[int, ...], dtype: Any) -> Array:
    """Return zeros of a shape and dtype that begin at a multiple of 64 bytes.

    Examples
    --------
    >>> zeros((3, 2), np.uint32).ctypes.data % 64
    0
    """
    n_bytes = math.prod(shape) * np.dtype(dtype).itemsize
    room = np.zeros(n_bytes + CACHE_LINE_BYTES, np.uint8)
    skipped = -room.ctypes.data % CACHE_LINE_BYTES
    array: Array = room[skipped : skipped + n_bytes].view(dtype).reshape(shape)
    return array
