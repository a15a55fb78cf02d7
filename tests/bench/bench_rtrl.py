"""Time a step of every learner against its counted operations: `python tests/bench/bench_rtrl.py` prints it.

Each learner runs at three sizes, every size with twice the operations of the one before or more. "grows" is the ratio
of the median times from one size to the next, "counted" the ratio of `rl.learners.cost(...).operations`, "multiplied"
that of `.multiplied`, which has the zeros in dense blocks as well. At small
sizes the interpreter's share of a step, about a tenth of a millisecond, hides the growth; the sizes are chosen beyond.
One process, one thread; medians of 15 stretches.
"""

from __future__ import annotations

import time

import numpy as np

CASES = [
    # cell, learner, options of the cell, options of the learner, inputs, units, streams
    ("columnar-lstm", "rtrl", {}, {}, 64, (512, 1024, 2048), None),
    ("elstm", "rtrl", {}, {}, 64, (512, 1024, 2048), 8),
    ("rtu", "rtrl", {}, {}, 64, (1024, 2048, 4096), None),
    ("rtu-nonlinear", "rtrl", {}, {}, 64, (1024, 2048, 4096), None),
    ("vanilla", "rtrl", {}, {}, 32, (64, 96, 128), None),
    ("gru", "rtrl", {}, {}, 32, (48, 64, 96), None),
    ("lstm", "rtrl", {}, {}, 32, (32, 48, 64), None),
    ("vanilla", "rtrl-dense", {}, {}, 32, (64, 96, 128), None),
    ("vanilla", "snap", {}, {"n": 1}, 32, (256, 512, 1024), None),
    ("gru", "snap", {"density": 0.1}, {"n": 2}, 32, (216, 324, 486), None),
    ("vanilla", "rtrl", {"density": 0.1}, {}, 32, (64, 96, 128), None),
    ("vanilla", "uoro", {}, {}, 32, (256, 512, 1024), None),
    ("lstm", "uoro", {}, {}, 32, (128, 256, 512), None),
    ("vanilla", "kf-rtrl", {}, {}, 32, (256, 384, 512), None),
    ("vanilla", "rflo", {"tau": 2.0}, {}, 32, (256, 512, 1024), None),
    ("lstm", "tbptt", {}, {"k": 10}, 32, (128, 256, 512), None),
]


def median_step(learner, n_inputs, n_streams):
    """Return the median seconds of a step and its gradient, over 15 stretches of at least 20 ms."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=n_inputs if n_streams is None else (n_streams, n_inputs))
    q = rng.normal(size=np.shape(learner.step(x)))
    n = 0
    start = time.perf_counter()
    while time.perf_counter() - start < 0.02 or n < 12:  # also fills the window
        learner.step(x)
        learner.gradient(q)
        n += 1
    times = []
    for _ in range(15):
        start = time.perf_counter()
        for _ in range(max(n // 4, 1)):
            learner.step(x)
            learner.gradient(q)
        times.append((time.perf_counter() - start) / max(n // 4, 1))
    return float(np.median(times))


def main():
    from rl import cells, learners

    print(
        f"{'cell':14} {'learner':10} {'units':>18}  {'ms a step':>22}  {'grows':>11}  {'counted':>11}"
        f"  {'multiplied':>11}"
    )
    for name, learner, cell_options, options, n_inputs, sizes, n_streams in CASES:
        times, counts, products = [], [], []
        for n_units in sizes:
            cell = cells.make(name, n_inputs=n_inputs, n_units=n_units, **cell_options)
            times.append(median_step(learners.make(learner, cell, n_streams, **options), n_inputs, n_streams))
            cost = learners.cost(learner, cell, n_streams, **options)
            counts.append(cost.operations)
            products.append(cost.multiplied)
        ratios = [
            " ".join(f"{values[i + 1] / values[i]:5.2f}" for i in range(2)) for values in (times, counts, products)
        ]
        print(
            f"{name:14} {learner:10} {'/'.join(map(str, sizes)):>18}  {' '.join(f'{1e3 * t:7.3f}' for t in times):>22}"
            f"  {ratios[0]:>11}  {ratios[1]:>11}  {ratios[2]:>11}"
        )


if __name__ == "__main__":
    main()
