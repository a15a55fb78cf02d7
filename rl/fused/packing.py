"""How arrays are laid out for the fused kernels: whole vectors of units, beginning on cache lines."""

from __future__ import annotations

from typing import Any

import numpy as np

from amper.protocols import Array, Int64
from rl.optimisers import Adam, Optimiser, Sgd

#: Units are rounded up to whole vectors of this many.
LANES = 16


def rounded(n_units: int) -> int:
    """Return the units and the padding after them.

    Examples
    --------
    >>> rounded(16), rounded(17)
    (16, 32)
    """
    return -(-n_units // LANES) * LANES


def lanes_of(rows: Array, units: Array, n_rows: int, n_vectors: int) -> Int64:
    """Return where (row, unit) lies in float[N/16, n_rows, n_vectors, 16], vector 0.

    Examples
    --------
    >>> lanes_of(np.array([0, 1, 0]), np.array([0, 0, 16]), 2, 3)
    array([ 0, 48, 96])
    """
    return np.asarray(((units // LANES * n_rows + rows) * n_vectors) * LANES + units % LANES)


def aligned_zeros(shape: int | tuple[int, int], dtype: np.dtype[Any]) -> Array:
    """Return zeros that begin on a cache line: a vector that lies across two costs twice as much.

    Examples
    --------
    >>> aligned_zeros(3, np.dtype("float32")).ctypes.data % 64
    0
    """
    size = int(np.prod(shape)) * dtype.itemsize
    raw = np.zeros(size + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + size].view(dtype).reshape(shape)


class Coefficients:
    """An optimiser as the kernels take it.

    Attributes
    ----------
    hyper : float[8]
        -step size, or 1 for Adam and then what `lanes.learned` says.
    rates : float64[3]
        Step size, beta1, beta2; -1 for both of plain gradient descent.
    moments : float[2, n], or float[2, 0]
    """

    def __init__(self, optimiser: Optimiser, step_size: float, n_weights: int, dtype: np.dtype[Any]) -> None:
        self.hyper = np.zeros(8, dtype)
        self.moments = aligned_zeros((2, n_weights if isinstance(optimiser, Adam) else 0), dtype)
        if isinstance(optimiser, Adam):
            b1, b2 = optimiser.beta1, optimiser.beta2
            self.hyper[:] = (1.0, b1, 1.0 - b1, b2, 1.0 - b2, 0.0, 0.0, optimiser.eps)
            self.rates = np.array([step_size, b1, b2])
        elif isinstance(optimiser, Sgd):
            self.hyper[0] = -step_size
            self.rates = np.array([step_size, -1.0, -1.0])
        else:
            raise ValueError(f"optimiser must be Sgd() or Adam() of rl.optimisers, got {optimiser!r}")
