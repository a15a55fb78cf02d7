"""Steps that wait for their n-step return."""

import numpy as np
from numba import njit


@njit(cache=True)
def _issue(state, terminated_at, env, spans, powers, largest, out, n_out):
    # The oldest pending step of an environment, with what followed it up to the newest.
    pending, rewards, priorities, counts, heads = state
    rows, returns, discounts, entered, envs, ends = out
    n = pending.shape[1]
    head, count = heads[env], counts[env]
    newest = pending[env, (head + count - 1) % n]
    rows[n_out, :] = pending[env, head]
    for s in range(spans.shape[0]):
        begin, end = spans[s, 0], spans[s, 0] + spans[s, 1]
        rows[n_out, begin:end] = newest[begin:end]
    total = 0.0
    for i in range(count):
        if powers[i] > 0.0:  # nothing of it, were it infinite
            total += powers[i] * rewards[env, (head + i) % n]
    returns[n_out] = total if not abs(total) > largest else np.copysign(np.inf, total)
    discounts[n_out] = 0.0 if newest[terminated_at] else powers[count]
    entered[n_out] = priorities[env, head]
    envs[n_out] = env
    ends[n_out] = False
    heads[env] = (head + 1) % n
    counts[env] = count - 1


@njit(cache=True)
def flush(state, terminated_at, env, spans, powers, largest, out, n_out):
    """Issue all pending steps of an environment; return how many rows `out` holds then. As `push`."""
    counts = state[3]
    any_pending = counts[env] > 0
    while counts[env] > 0:
        _issue(state, terminated_at, env, spans, powers, largest, out, n_out)
        n_out += 1
    if any_pending:
        out[5][n_out - 1] = True
    return n_out


@njit(cache=True)
def push(state, terminated_at, steps, spans, powers, largest, out):
    """Take steps, and issue those whose n steps are complete or whose episode ended.

    Parameters
    ----------
    state
        pending uint8[e, n, stride], rewards and priorities float64[e, n], counts and heads int64[e]: rings of steps.
    terminated_at : int
        Offset of the boolean `terminated` in a row.
    steps
        rows uint8[k, stride], rewards float64[k], priorities float64[k], envs int64[k], ends bool[k].
    spans : int64[s, 2]
        Offset and size of what a row takes from the last step it sums.
    powers : float64[n + 1]
        discount ** k.
    largest : float
        Largest reward the column holds; a sum beyond it is infinite.
    out
        rows uint8[m, stride], returns float64[m], discounts float64[m], priorities float64[m], envs int64[m],
        ends bool[m]: filled from the front; m is at least the steps pending and given.

    Returns
    -------
    int
        Rows issued.
    """
    pending, rewards, priorities, counts, heads = state
    rows, row_rewards, entered, envs, ends = steps
    n = pending.shape[1]
    n_out = 0
    for i in range(rows.shape[0]):
        env = envs[i]
        place = (heads[env] + counts[env]) % n
        pending[env, place, :] = rows[i]
        rewards[env, place] = row_rewards[i]
        priorities[env, place] = entered[i]
        counts[env] += 1
        if ends[i]:
            n_out = flush(state, terminated_at, env, spans, powers, largest, out, n_out)
        elif counts[env] == n:
            _issue(state, terminated_at, env, spans, powers, largest, out, n_out)
            n_out += 1
    return n_out
