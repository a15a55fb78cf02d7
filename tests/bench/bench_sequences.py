"""Time to sample sequences against capacity: `python tests/bench/bench_sequences.py` prints it.

64 sequences of 10 steps after 5 of burn-in, of 17 bytes a step; full buffers of 1e4 to 1e7 sequences. The buffers take
turns, call by call, in one process; medians of 4,000 calls, after 500.
"""

from __future__ import annotations

import gc
import time

import numpy as np

CAPACITIES = (10_000, 100_000, 1_000_000, 10_000_000)
SAMPLERS = ("uniform", "per", "amper-fr")
BATCH, LENGTH, BURN_IN, CALLS, CHUNK = 64, 10, 5, 4_000, 150_000
FIELDS = {
    "obs": {"shape": (2,)},
    "action": {"dtype": "int8"},
    "reward": {},
    "terminated": {"dtype": "bool"},
    "truncated": {"dtype": "bool"},
}


def full(capacity, sampler):
    import amper

    sequences = amper.Sequences(length=LENGTH, burn_in=BURN_IN)
    buffer = amper.ReplayBuffer(capacity, FIELDS, sampler=sampler, sequences=sequences, seed=0)
    k = min(CHUNK, capacity)
    no = np.zeros(k, bool)
    rng = np.random.default_rng(0)
    while len(buffer) < capacity:
        buffer.add(
            obs=np.zeros((k, 2), np.float32), action=np.zeros(k, np.int8), reward=np.ones(k, np.float32),
            terminated=no, truncated=no, priorities=rng.exponential(size=k),
        )  # fmt: skip
    return buffer


def medians(buffers):
    """Return the median time of a sampling and of an update by step, in us, of each buffer."""
    rng = np.random.default_rng(1)
    times = np.zeros((CALLS + 500, len(buffers), 2))
    for i in range(len(times)):
        for j, buffer in enumerate(buffers):
            td_abs = rng.exponential(size=(BATCH, LENGTH + BURN_IN))
            t0 = time.perf_counter()
            batch = buffer.sample(BATCH)
            t1 = time.perf_counter()
            buffer.update_priorities(batch["indices"], td_abs)
            times[i, j] = t1 - t0, time.perf_counter() - t1
    return np.median(times[500:], axis=0) * 1e6


def main():
    for sampler in SAMPLERS:
        us = medians([full(capacity, sampler) for capacity in CAPACITIES])
        for capacity, (sample, update) in zip(CAPACITIES, us, strict=True):
            print(f"{sampler:9s} {capacity:>10,} sequences: sample {sample:6.1f} us, update by step {update:6.1f} us")
        print(f"{sampler:9s} sample, largest / smallest capacity: {us[-1, 0] / us[0, 0]:.2f}")
        gc.collect()


if __name__ == "__main__":
    main()
