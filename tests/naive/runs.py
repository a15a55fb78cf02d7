"""Statistics of runs by their definitions: sorted lists, every pair, one resample after another."""

import math
import random


def iqm(values):
    """Return the mean of what remains of `values` when floor(n / 4) are taken off each end."""
    ascending = sorted(values)
    cut = len(ascending) // 4
    return math.fsum(ascending[cut : len(ascending) - cut]) / (len(ascending) - 2 * cut)


def chance_of_more(a, b):
    """Return the share of pairs in which `a` has more; of equals, half."""
    return sum(1.0 if x > y else 0.5 if x == y else 0.0 for x in a for y in b) / (len(a) * len(b))


def bootstrap(statistic, algorithms, *, level, n_resamples, seed):
    """Return the percentile interval of `statistic`; each stratum of each algorithm is resampled by itself."""
    rng, found = random.Random(seed), []
    for _ in range(n_resamples):
        resampled = [[rng.choices(runs, k=len(runs)) for runs in strata] for strata in algorithms]
        found.append(statistic(*resampled))
    found.sort()
    tail = (1 - level) / 2
    return found[round(tail * (n_resamples - 1))], found[round((1 - tail) * (n_resamples - 1))]
