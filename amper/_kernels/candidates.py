"""The query generator: representatives, radii and masks, from uniforms."""

import numpy as np
from numba import njit


@njit(cache=True)
def cover_words(lo, hi):
    """Return how many ternary words (aligned power-of-two blocks) cover the codes lo .. hi."""
    n = 0
    while lo <= hi:
        size = lo & -lo if lo > 0 else np.int64(1) << 40
        while size > hi - lo + 1:
            size >>= 1
        lo += size
        n += 1
    return n


@njit(cache=True)
def _block_bits(width, dithered, u):
    # 1 <= width <= 2**33. Dithered: E[2**k] = width exactly; otherwise the nearest power of two.
    if not dithered:
        return np.int64(np.floor(np.log2(width) + 0.5))
    k = np.int64(np.floor(np.log2(width)))
    return k + (u < width / (np.int64(1) << k) - 1.0)


@njit(cache=True)
def range_queries(uniforms, edges, full, lam, match, octave, top, open_top, attempt, rows):
    """Write one range search a group and return how many there are.

    Parameters
    ----------
    uniforms : float64[2 m]
        For each group: its representative, its dither.
    edges : float64[m + 1]
        Where the groups begin and the last one ends, in codes.
    full : int
        F, the groups' full scale, in codes.
    lam : float
        lambda'; radius Delta_i = lambda' V_i width_i / F.
    match : int
        0 radius, 1 prefix, 2 dithered.
    octave : bool
        Below a width of one code, search one code with probability 2 Delta.
    top : int
        Largest code.
    open_top : bool
        Let a block that reaches F - 1 take every code above it as well: those are stored items whose code
        exceeds a full scale that is no maximum.
    attempt : int
        Number of this redraw.
    rows : int64[m, 8]
        Searches; columns group, key, lo, hi, n_neighbours, n_ternary_words, n_matches, attempt.
    """
    n = 0
    for g in range(edges.shape[0] - 1):
        width = edges[g + 1] - edges[g]
        key = min(np.int64(edges[g] + uniforms[2 * g] * width), top)
        radius = lam * key * width / full
        dither = uniforms[2 * g + 1]
        if octave and 2.0 * radius < 1.0:
            if dither >= 2.0 * radius:
                continue
            lo, hi = key, key
        elif match == 0:
            reach = np.int64(np.floor(min(radius, float(top))))
            lo, hi = key - reach, key + reach
        else:
            k = _block_bits(min(max(2.0 * radius, 1.0), 2.0 * (top + 1)), match == 2, dither)
            lo = (key >> k) << k
            hi = lo + (np.int64(1) << k) - 1
        lo, hi = max(lo, 0), min(hi, top)
        words = cover_words(lo, hi) if match == 0 else 1
        if open_top and full <= top and hi >= full - 1:
            words += cover_words(hi + 1, top)
            hi = top
        rows[n, 0], rows[n, 1], rows[n, 2], rows[n, 3] = g, key, lo, hi
        rows[n, 4], rows[n, 5], rows[n, 6], rows[n, 7] = 0, words, 0, attempt
        n += 1
    return n


@njit(cache=True)
def group_queries(uniforms, edges, top, attempt, rows):
    """Write one count search a group: its representative V, and its own codes as lo .. hi."""
    for g in range(edges.shape[0] - 1):
        key = min(np.int64(edges[g] + uniforms[2 * g] * (edges[g + 1] - edges[g])), top)
        lo = np.int64(np.ceil(edges[g]))
        hi = min(np.int64(np.ceil(edges[g + 1])) - 1, top)
        rows[g, 0], rows[g, 1], rows[g, 2], rows[g, 3] = g, key, lo, hi
        rows[g, 4], rows[g, 5], rows[g, 6], rows[g, 7] = 0, cover_words(lo, hi), 0, attempt
