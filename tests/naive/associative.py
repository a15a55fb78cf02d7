"""AMPER from its definition: loops over every stored code, nothing clever."""

import itertools
import math

import numpy as np


def linear_groups(full, m):
    edges = [i * full / m for i in range(m + 1)]
    return [(edges[i], edges[i + 1] - edges[i]) for i in range(m)]


def octave_groups(full, octaves, parts):
    edges = [0.0]
    for j in range(octaves - 1, -1, -1):
        low = full / 2 ** (j + 1)
        edges += [low + low * i / parts for i in range(parts)]
    edges.append(float(full))
    return [(a, b - a) for a, b in itertools.pairwise(edges)]


def tapered_groups(full, octaves, parts, top):
    groups = []
    for j in range(octaves):
        low, n = full / 2 ** (j + 1), max(parts, math.floor(top / 2**j + 0.5))
        groups += [(low + low * i / n, low / n) for i in range(n)]
    return sorted([*groups, (0.0, full / 2**octaves)])


def full_scale(v_max, widest_fraction, lam, bits):
    k = math.ceil(math.log2(2 * lam * v_max * widest_fraction))
    k = min(max(k, 0), bits)
    return (v_max // 2**k + 1) * 2**k


def decayed_maximum(batches, half_life):
    """Return the largest of all codes, each halved once in `half_life` codes written in later batches; at least 1."""
    later, largest = 0, 1.0
    for codes in reversed(batches):
        largest = max(largest, max(int(code) for code in codes) * 0.5 ** (later / half_life))
        later += len(codes)
    return largest


def interval(key, width, full, lam, match, thinned, dither, top):
    """Return (lo, hi) of the codes that one group's search finds, or None where it is skipped."""
    delta = lam * key * width / full
    if thinned and 2 * delta < 1:
        return (key, key) if dither < 2 * delta else None
    if match == "radius":
        codes = [q for q in range(top + 1) if abs(q - key) <= delta]
        return codes[0], codes[-1]
    block = max(2 * delta, 1)
    if match == "prefix":
        k = math.floor(math.log2(block) + 0.5)
    else:
        k = math.floor(math.log2(block))
        k += dither < block / 2**k - 1
    lo = key // 2**k * 2**k
    return lo, min(lo + 2**k - 1, top)


def nearest(codes, key, n):
    """Return the n valid slots nearest to key in value; among equals the lowest slot."""
    valid = [slot for slot, code in enumerate(codes) if code > 0]
    return sorted(valid, key=lambda slot: (abs(int(codes[slot]) - key), slot))[:n]


def nearest_hamming(codes, key, n):
    """Return the n valid slots whose words differ from key in the fewest bits; then the lowest slot."""
    valid = [slot for slot, code in enumerate(codes) if code > 0]
    return sorted(valid, key=lambda slot: ((int(codes[slot]) ^ key).bit_count(), slot))[:n]


def csp_fr(codes, groups, uniforms, full, lam, match, thinned, top):
    """Return (slot, group) pairs of AMPER-fr's candidate set."""
    found = []
    for g, (low, width) in enumerate(groups):
        key = min(int(low + uniforms[2 * g] * width), top)
        bounds = interval(key, width, full, lam, match, thinned, uniforms[2 * g + 1], top)
        if bounds is not None:
            found += [(s, g) for s, q in enumerate(codes) if q > 0 and bounds[0] <= q <= bounds[1]]
    return found


def csp_k(codes, groups, uniforms, full, lam, top):
    """Return (slot, group) pairs of AMPER-k's candidate set."""
    found = []
    for g, (low, width) in enumerate(groups):
        high = groups[g + 1][0] if g + 1 < len(groups) else full
        key = min(int(low + uniforms[2 * g] * width), top)
        count = sum(1 for q in codes if q > 0 and low <= q < high)
        n = math.floor(lam * key / full * count + 0.5)
        found += [(s, g) for s in nearest(codes, key, n)]
    return found


def kl(p, q):
    """Return KL(p || q), natural logarithm, over the support of p."""
    support = p > 0
    return float(np.sum(p[support] * np.log(p[support] / q[support])))


def rank_law(codes, alpha):
    """Return P(i) of rank-based sampling; codes in one cell of 512 an octave are tied, alike in chance."""

    def cell(code):
        octave = code.bit_length() - 1
        return octave, (code * 512 >> octave)

    order = sorted(range(len(codes)), key=lambda i: cell(codes[i]), reverse=True)
    total = sum((r + 1) ** -alpha for r in range(len(codes)))
    ranks = {}
    for r, i in enumerate(order):
        ranks.setdefault(cell(codes[i]), []).append(r + 1)
    means = {c: sum(r**-alpha for r in rs) / len(rs) / total for c, rs in ranks.items()}
    return [means[cell(code)] for code in codes]
