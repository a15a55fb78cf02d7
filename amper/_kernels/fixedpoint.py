"""Priorities to fixed-point codes, with every check before the first change."""

import numpy as np
from numba import njit


@njit(cache=True)
def encode_masses(masses, scale, top, codes):
    """Round masses to codes, 1 .. top; return how many saturated."""
    saturated = 0
    for i in range(masses.shape[0]):
        code = np.floor(masses[i] / scale * top + 0.5)
        if code > top:
            saturated += 1
            code = float(top)
        codes[i] = max(np.int64(code), 1)
    return saturated


@njit(cache=True)
def encode_update(ids, priorities, n_issued, capacity, eps, alpha, scale, fixed, top, flags, slots, codes):
    """Check one update, and turn it into distinct slots and codes; nothing but `flags` is touched.

    Parameters
    ----------
    ids : int64[b]
        Transition ids.
    priorities : float64[b]
        Raw abs(TD error).
    n_issued : int
        Ids given out so far.
    scale, fixed, top
        Mass of the largest code `top`; whether that is fixed.
    flags : uint8[capacity]
        Bit 1 is borrowed to find duplicates and is clear again on return.
    slots, codes : int64[b]
        Filled from the end: the last n_live entries hold the result, in order.

    Returns
    -------
    status : int
        0 done; 1 negative id; 2 id not yet issued; 3 bad priority; 4 mass beyond a scale that may grow.
    at : int
        Position of the offending entry.
    n_live : int
        Distinct live ids.
    largest : float
        Largest priority kept, eps included.
    n_stale, n_saturated : int
        Entries skipped because their transition was overwritten; entries that saturated.
    """
    b = ids.shape[0]
    n_stale = 0
    for i in range(b):
        if ids[i] < 0:
            return 1, i, 0, 0.0, 0, 0
        if ids[i] >= n_issued:
            return 2, i, 0, 0.0, 0, 0
        if not (0.0 <= priorities[i] < np.inf):
            return 3, i, 0, 0.0, 0, 0
        n_stale += ids[i] < n_issued - capacity
    largest = 0.0
    free = b
    for i in range(b - 1, -1, -1):
        slot = ids[i] % capacity
        if ids[i] < n_issued - capacity or flags[slot] & 2:
            continue
        flags[slot] |= 2
        free -= 1
        slots[free] = slot
        codes[free] = i
        largest = max(largest, priorities[i] + eps)
    for i in range(free, b):
        flags[slots[i]] &= 0xFD
    if not fixed and largest**alpha > scale:
        return 4, 0, 0, largest, 0, 0
    n_saturated = 0
    for i in range(free, b):
        code = np.floor((priorities[codes[i]] + eps) ** alpha / scale * top + 0.5)
        if code > top:
            n_saturated += 1
            code = float(top)
        codes[i] = max(np.int64(code), 1)
    return 0, 0, b - free, largest, n_stale, n_saturated
