"""Named streams of randomness: one integer seed a run, one stream a consumer."""

from __future__ import annotations

import zlib

import numpy as np


def stream(seed: int, name: str) -> np.random.Generator:
    """Return the generator of the consumer called `name` in the run seeded `seed`.

    The spawn key is the name's CRC-32, so adding a consumer moves no other.

    Examples
    --------
    >>> a, b = stream(0, "explore").random(2), stream(0, "explore").random(2)
    >>> bool((a == b).all()), bool((a == stream(0, "initial weights").random(2)).any())
    (True, False)
    """
    return np.random.default_rng(np.random.SeedSequence(entropy=seed, spawn_key=(zlib.crc32(name.encode()),)))


def derived_seed(seed: int, name: str) -> int:
    """Return a whole number in [0, 2^31) for a consumer that takes a seed, such as `env.reset`."""
    return int(stream(seed, name).integers(2**31))
