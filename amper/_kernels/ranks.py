"""Draws by rank from slots in buckets of neighbouring codes."""

import numpy as np
from numba import njit


@njit(cache=True)
def draw_ranks(arena, tables, harmonic, uniforms, slots, probabilities):
    """Draw slots with P(i) proportional to the mean of rank ** -alpha over the ranks of i's bucket.

    Parameters
    ----------
    arena, tables
        An index that holds codes; laid out in `update`. Buckets ascend, ranks begin at the largest code.
    harmonic : float64[capacity + 1]
        harmonic[r] = 1 ** -alpha + .. + r ** -alpha.
    uniforms : float64[b]
    slots : int64[b]
    probabilities : float64[b]
    """
    buckets = tables[69904:].reshape((-1, 4))
    n = buckets.shape[0]
    of, ends = np.empty(n, np.int64), np.empty(n)
    n_filled, rank = 0, 0
    for k in range(n - 1, -1, -1):
        if buckets[k, 0] > 0:
            rank += buckets[k, 0]
            of[n_filled], ends[n_filled] = k, harmonic[rank]
            n_filled += 1
    total = ends[n_filled - 1]
    for i in range(uniforms.shape[0]):
        target = uniforms[i] * total
        low, high = 0, n_filled - 1
        while low < high:
            middle = (low + high) >> 1
            if ends[middle] > target:
                high = middle
            else:
                low = middle + 1
        begin = ends[low - 1] if low > 0 else 0.0
        mass, count = ends[low] - begin, np.int64(buckets[of[low], 0])
        # The rest of the uniform chooses within the bucket: those are of one rank.
        place = min(np.int64((target - begin) / mass * count), count - 1)
        slots[i] = arena[buckets[of[low], 1] + place]
        probabilities[i] = mass / count / total
