"""The law of one draw to first order in 1 / |CSP|, by adding up every representative and dither of every group."""

import math

import numpy as np


def outcomes(groups, g, full, lam, match, thinned, top):
    """Yield (chance, lo, hi) of everything that group g may search."""
    low, width = groups[g]
    for key in range(int(low), math.ceil(low + width)):
        chance = (min(key + 1, low + width) - max(key, low)) / width
        if chance <= 0 or key > top:
            continue
        delta = lam * key * width / full
        if thinned and 2 * delta < 1:
            yield chance * 2 * delta, key, key
            yield chance * (1 - 2 * delta), 1, 0
        elif match == "radius":
            yield chance, max(math.ceil(key - delta), 0), min(math.floor(key + delta), top)
        else:
            block = max(2 * delta, 1)
            k = math.floor(math.log2(block) + (0.5 if match == "prefix" else 0.0))
            wider = 0.0 if match == "prefix" else block / 2**k - 1
            for part, bits in ((1 - wider, k), (wider, k + 1)):
                lo = key // 2**bits * 2**bits
                yield chance * part, lo, min(lo + 2**bits - 1, top)


def first_order(codes, groups, full, lam, match, thinned, top):
    """Return (chance of each entry in one draw, expected multiplicity of each entry), float64[n] both.

    E[x / C] = E x / E C - Cov(x, C) / (E C)^2 + E x Var C / (E C)^3, x the multiplicity, C = |CSP|, a sum over
    independent groups.
    """
    below = np.concatenate([[0], np.cumsum(np.bincount(codes, minlength=top + 1))])
    found = np.zeros(top + 2)
    shared = np.zeros(top + 2)
    size = variance = 0.0
    for g in range(len(groups)):
        mine, crowd = np.zeros(top + 2), np.zeros(top + 2)
        mean = square = 0.0
        for chance, lo, hi in outcomes(groups, g, full, lam, match, thinned, top):
            if lo > hi:
                continue
            n = float(below[hi + 1] - below[max(lo, 1)])
            mine[lo] += chance
            mine[hi + 1] -= chance
            crowd[lo] += chance * n
            crowd[hi + 1] -= chance * n
            mean += chance * n
            square += chance * n * n
        found += np.cumsum(mine)
        shared += np.cumsum(crowd) - np.cumsum(mine) * mean
        size += mean
        variance += square - mean * mean
    law = found / size - shared / size**2 + found * variance / size**3
    return law[codes], found[codes]
