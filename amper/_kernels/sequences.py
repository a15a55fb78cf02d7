"""Steps that wait until their sequence is complete."""

import numpy as np
from numba import njit


@njit(cache=True)
def _emit(state, plan, columns, env, start, n_steps, out, n_out):
    # Steps start .. start + n_steps of an environment's episode as one row.
    window, priorities, _, _ = state
    length, burn_in, _, mask_at, eta = plan
    rows, entered, envs = out
    row = rows[n_out]
    row[:] = 0
    for f in range(columns.shape[0]):
        taken, placed, size = columns[f, 0], columns[f, 1], columns[f, 2]
        for s in range(n_steps):
            step = window[env, (start + s) % length]
            row[placed + s * size : placed + (s + 1) * size] = step[taken : taken + size]
    largest, mean, n_learned = 0.0, 0.0, n_steps if start == 0 else n_steps - burn_in
    for s in range(n_steps):
        if s >= burn_in or start == 0:
            row[mask_at + s] = 1
            priority = priorities[env, (start + s) % length]
            largest = max(largest, priority)
            mean += priority / n_learned  # NaN where one step has none: then the sequence has none
    entered[n_out] = np.nan if np.isnan(mean) else eta * largest + (1.0 - eta) * min(mean, largest)
    envs[n_out] = env


@njit(cache=True)
def flush(state, plan, columns, env, out, n_out):
    """End an environment's episode; return how many rows `out` holds then. As `push`."""
    _, _, counts, covered = state
    length, _, period, _, _ = plan
    count = counts[env]
    if count > covered[env]:  # steps nobody has learned from yet
        start = 0 if covered[env] == 0 else covered[env] - length + period
        _emit(state, plan, columns, env, start, count - start, out, n_out)
        n_out += 1
    counts[env] = covered[env] = 0
    return n_out


@njit(cache=True)
def push(state, plan, columns, steps, out):
    """Take steps, and issue the sequences they complete.

    Parameters
    ----------
    state
        window uint8[e, length, stride], priorities float64[e, length]: rings of an episode's last steps; counts
        int64[e]: its steps so far; covered int64[e]: those that some sequence holds already.
    plan
        length (burn-in included), burn_in, period, offset of the mask in a sequence, eta.
    columns : int64[f, 3]
        Of each column: where it lies in a step, where in a sequence, and its bytes a step.
    steps
        rows uint8[k, stride], priorities float64[k] (NaN for none), envs int64[k], ends bool[k].
    out
        rows uint8[m, sequence stride], priorities float64[m], envs int64[m]: filled from the front; m >= k.

    Returns
    -------
    int
        Sequences issued, at most one a step.
    """
    window, priorities, counts, covered = state
    length, _, period, _, _ = plan
    rows, entered, envs, ends = steps
    n_out = 0
    for i in range(rows.shape[0]):
        env = envs[i]
        place = counts[env] % length
        window[env, place, :] = rows[i]
        priorities[env, place] = entered[i]
        counts[env] += 1
        start = counts[env] - length
        if start >= 0 and start % period == 0:
            _emit(state, plan, columns, env, start, length, out, n_out)
            n_out += 1
            covered[env] = counts[env]
        if ends[i]:
            n_out = flush(state, plan, columns, env, out, n_out)
    return n_out
