"""How many entries hold each code: a tree of fan-out 16 over counts.

counts int32[16 + 256 + ... + 16**levels], one level after the other; the last holds a count a code.
"""

import numpy as np
from numba import njit


@njit(cache=True)
def _levels(counts):
    size, total, levels = 16, 16, 1
    while total < counts.shape[0]:
        size *= 16
        total += size
        levels += 1
    return levels


@njit(cache=True)
def change(counts, codes, delta):
    """Add `delta` to the count of each code."""
    levels = _levels(counts)
    for i in range(codes.shape[0]):
        offset, size = 0, 16
        for level in range(levels):
            counts[offset + (codes[i] >> (4 * (levels - 1 - level)))] += delta
            offset += size
            size *= 16


@njit(cache=True)
def select(counts, rank):
    """Return the code of the entry with this rank in code order."""
    index = np.int64(0)
    offset, size = 0, 16
    for _ in range(_levels(counts)):
        index *= 16
        while rank >= counts[offset + index]:
            rank -= counts[offset + index]
            index += 1
        offset += size
        size *= 16
    return index
