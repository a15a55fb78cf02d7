"""E[multiplicity] in AMPER-fr's candidate set from its definition: every key, every dither, every code."""

import math

from tests.naive.associative import interval


def dither_threshold(key, width, full, lam, match, thinned):
    """Return the dither at which the search around `key` changes."""
    delta = lam * key * width / full
    if thinned and 2 * delta < 1:
        return 2 * delta
    if match != "dithered":
        return 1.0
    block = max(2 * delta, 1)
    return block / 2 ** math.floor(math.log2(block)) - 1


def found_by_group(low, width, full, lam, match, thinned, top, open_top):
    """Return for every code 0 .. top the chance that a group's search finds it."""
    chances = [0.0] * (top + 1)
    for key in range(math.floor(low), math.ceil(low + width)):
        chance = (min(key + 1, low + width) - max(key, low)) / width
        change = dither_threshold(key, width, full, lam, match, thinned)
        for dither, share in ((change / 2, change), ((1 + change) / 2, 1 - change)):
            bounds = interval(min(key, top), width, full, lam, match, thinned, dither, top) if share > 0 else None
            if bounds is None:
                continue
            lo, hi = bounds
            if open_top and hi >= full - 1:
                hi = top
            for q in range(lo, hi + 1):
                chances[q] += chance * share
    return chances


def expected_multiplicity(groups, full, lam, match, thinned, top, open_top, unique):
    """Return E[multiplicity] by code, of groups [(low, width), ...]."""
    by_group = [found_by_group(low, width, full, lam, match, thinned, top, open_top) for low, width in groups]
    expected = [
        1 - math.prod(1 - chances[q] for chances in by_group) if unique else sum(chances[q] for chances in by_group)
        for q in range(top + 1)
    ]
    return [0.0, *expected[1:]]  # a row not written has code 0
