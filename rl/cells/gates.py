"""Gate arithmetic shared by the cells: functions of sums and their derivatives."""

from __future__ import annotations

import numpy as np

from amper.protocols import Array


def sigmoid(a: Array) -> Array:
    """Return 1 / (1 + exp(-a)), to the last few bits on both sides and without overflow.

    Examples
    --------
    >>> sigmoid(np.array([-1000.0, 0.0, 1000.0]))
    array([0. , 0.5, 1. ])
    """
    e = np.exp(-np.abs(a))  # 1 + tanh(a/2) cancels where the result is small
    return np.asarray(np.where(a >= 0, e.dtype.type(1), e) / (1 + e))


def lstm(a: Array, state: Array) -> tuple[Array, Array, Array]:
    """Advance LSTM units: c = f c- + i g, h = o tanh(c).

    Parameters
    ----------
    a : float[B, 4, n]
        Sums of i, f, o (sigmoid) and g (tanh).
    state : float[B, 2, n]
        c-, h-.

    Returns
    -------
    state : float[B, 2, n]
        c, h.
    coefficients : float[B, 2, 4, n]
        dc/da = kI, kF, 0, kG; dh/da = B kI, B kF, kO, B kG, with kI = g i(1-i), kF = c- f(1-f),
        kG = i(1-g^2), kO = tanh(c) o(1-o), B = o(1 - tanh^2 c).
    carry : float[B, 2, 2, n]
        dc/dc- = f and dh/dc- = B f at fixed sums; 0 by h-, which only the sums read.
    """
    i, f, o = (sigmoid(a[:, gate]) for gate in range(3))
    g = np.tanh(a[:, 3])
    c_before = state[:, 0]
    c = f * c_before + i * g
    tanh_c = np.tanh(c)
    b = o * (1 - tanh_c**2)
    k_i, k_f, k_g = g * i * (1 - i), c_before * f * (1 - f), i * (1 - g**2)
    k_o = tanh_c * o * (1 - o)
    of_c = np.stack([k_i, k_f, np.zeros_like(c), k_g], axis=1)
    of_h = np.stack([b * k_i, b * k_f, k_o, b * k_g], axis=1)
    carry = np.zeros((len(a), 2, 2, c.shape[1]), a.dtype)
    carry[:, 0, 0] = f
    carry[:, 1, 0] = b * f
    return np.stack([c, o * tanh_c], axis=1), np.stack([of_c, of_h], axis=1), carry
