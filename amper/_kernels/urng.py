"""The hardware's uniform source: a 32-bit linear feedback shift register."""

import numpy as np
from numba import njit


@njit(cache=True)
def lfsr_numbers(state, numbers):
    """Fill `numbers` with states / 2**32, 32 steps (leaps) apart; return the state after them.

    Galois form of x^32 + x^22 + x^2 + x + 1 (period 2^32 - 1).
    """
    state = np.int64(state)
    for i in range(numbers.shape[0]):
        for _ in range(32):
            low = state & 1
            state >>= 1
            if low:
                state ^= 0x80200003
        numbers[i] = state / 4294967296.0
    return state
