"""Medians with intervals: what every table of runs prints."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def median_interval(values: Sequence[float], *, level: float = 0.95, seed: int = 0) -> tuple[float, float, float]:
    """Return the median and its percentile-bootstrap interval (10,000 resamples).

    Examples
    --------
    >>> median_interval([500.0, 500.0, 500.0])
    (500.0, 500.0, 500.0)
    """
    array = np.asarray(values, float)
    picks = np.random.default_rng(seed).integers(0, len(array), (10_000, len(array)))
    medians = np.median(array[picks], axis=1)
    tail = (1 - level) / 2 * 100
    low, high = np.percentile(medians, [tail, 100 - tail])
    return float(np.median(array)), float(low), float(high)
