"""Trace patterning, step after step, from rows of uniforms."""

import numpy as np
from numba import njit


@njit(cache=True, error_model="numpy")
def fill(uniforms, patterns, valid, bounds, powers, clock, xs, targets):
    """Fill `xs` and `targets` with the next steps.

    Parameters
    ----------
    uniforms : float64[n, 8]
        Of each step: five for the distractors, then pattern, ISI and ITI, which count where they are needed.
    patterns : int64[20, 3]
        The bits each pattern sets.
    valid : bool[20]
        Whether the US follows.
    bounds : int64[4]
        Least and largest ISI, least and largest ITI.
    powers : float64[largest ISI]
        discount ** 0, 1, ...
    clock : int64[4], changed
        Step, step of the US (or where it would be), step of the next CS, whether a US is pending.
    xs : float[n, 12], of zeros
    targets : float64[n]
    """
    for t in range(len(xs)):
        now = clock[0]
        if now == clock[1]:
            if clock[3]:
                xs[t, 6] = 1
            clock[3] = 0
            clock[2] = now + bounds[2] + np.int64(uniforms[t, 7] * (bounds[3] - bounds[2] + 1))
        elif now == clock[2]:
            pattern = np.int64(uniforms[t, 5] * 20)
            for j in range(3):
                xs[t, patterns[pattern, j]] = 1
            clock[3] = valid[pattern]
            clock[1] = now + bounds[0] + np.int64(uniforms[t, 6] * (bounds[1] - bounds[0] + 1))
        for k in range(5):
            if uniforms[t, k] < 1 / (10 * (k + 1)):
                xs[t, 7 + k] = 1
        targets[t] = powers[clock[1] - now - 1] if clock[3] else 0.0
        clock[0] = now + 1
