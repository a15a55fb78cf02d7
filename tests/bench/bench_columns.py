"""Steps a second of predicting networks of columns: `python tests/bench/bench_columns.py` prints it.

Processor time of one core, float32, after compiling; the best of five stretches, each one compiled call: TD(lambda),
RMSProp and normalisation of everything. The peak of fused multiply-adds is measured before and after, by a kernel that
stays in registers: on a machine that others use, compare shares of it. Two floors of a step, as shares of it: "roots",
a square root and a division a parameter, at the measured rate of the unit that takes them; "bytes", five arrays read
and written, at the measured bandwidth of a sweep over as many bytes. They overlap in time, so that the larger counts.
A parameter takes 19 operations a step: e 3, m 4, w 2, TC 5, TH 3, sums 2; the two roots are not counted.
"""

from __future__ import annotations

import time

import numpy as np
from numba import njit

from rl.ccn import ColumnNetwork
from rl.dense import DenseNetwork
from rl.learners.counting import tbptt_budget
from rl.prediction import TDLambda

SIZES = [(32, 8), (32, 64), (128, 8), (128, 64), (512, 8), (512, 64)]
NETWORKS = [(7, 7), (20, 4), (10, 1)]
DENSE = [("tbptt", k, d) for k, d in ((3, 10), (5, 8), (8, 5), (10, 5), (15, 4), (20, 3), (30, 2))]
FLOPS = 19


@njit(fastmath={"contract"}, error_model="numpy")
def multiply_adds(x, out, n):
    """Take n rounds of 32 fused multiply-adds of every entry, each of the one before; entries are independent."""
    for _ in range(n):
        for j in range(x.shape[0]):
            y = x[j]
            q = y
            q = q * y + y
            q = q * y + y
            q = q * y + y
            q = q * y + y
            q = q * y + y
            q = q * y + y
            q = q * y + y
            q = q * y + y
            q = q * y + y
            q = q * y + y
            q = q * y + y
            q = q * y + y
            q = q * y + y
            q = q * y + y
            q = q * y + y
            q = q * y + y
            q = q * y + y
            q = q * y + y
            q = q * y + y
            q = q * y + y
            q = q * y + y
            q = q * y + y
            q = q * y + y
            q = q * y + y
            q = q * y + y
            q = q * y + y
            q = q * y + y
            q = q * y + y
            q = q * y + y
            q = q * y + y
            q = q * y + y
            q = q * y + y
            out[j] = q


@njit(fastmath={"contract"}, error_model="numpy")
def roots(x, out, n):
    """Take n rounds of a square root and a division of every entry."""
    for _ in range(n):
        for j in range(x.shape[0]):
            out[j] = x[j] / (np.sqrt(x[j]) + np.float32(1e-8))


@njit(fastmath={"contract"}, error_model="numpy")
def sweep(x, n):
    """Read and write every entry n times."""
    for _ in range(n):
        for j in range(x.shape[0]):
            x[j] = x[j] * np.float32(0.999)


def best(function, *arguments, repeats=5):
    """Return the least processor time of `repeats` calls, after one that compiles."""
    function(*arguments)
    times = []
    for _ in range(repeats):
        start = time.process_time()
        function(*arguments)
        times.append(time.process_time() - start)
    return min(times)


def peak():
    """Return fused multiply-adds of one core as GFLOP/s, everything in registers."""
    x = np.full(1024, 0.5, np.float32)
    return 2 * 32 * 1024 * 2_000 / best(multiply_adds, x, np.empty_like(x), 2_000) / 1e9


def columnar(n_units, n_inputs, n):
    """Return the seconds of a step."""
    network = ColumnNetwork(n_inputs=n_inputs, n_features=n_units, dtype="float32")
    td = TDLambda(network, step_size=1e-4)
    rng = np.random.default_rng(0)
    xs, cumulants = rng.normal(size=(n, n_inputs)).astype("f4"), rng.normal(size=n).astype("f4")
    td.run(xs, cumulants)
    return best(td.run, xs, cumulants) / n


def network_rate(network, n=100_000):
    """Return steps a second on noise, every stage open."""
    td = TDLambda(network, step_size=1e-4)
    rng = np.random.default_rng(0)
    xs, cumulants = rng.normal(size=(n, 12)).astype("f4"), rng.normal(size=n).astype("f4")
    td.run(xs, cumulants)
    return n / best(td.run, xs, cumulants, repeats=3)


def main():
    before = peak()
    x = np.random.default_rng(0).random(4096).astype("f4") + 1
    ns_root = best(roots, x, np.empty_like(x), 500) / 500 / 4096 * 1e9
    print(f"peak {before:.0f} GFLOP/s; a square root and a division {ns_root:.3f} ns\n")
    print("units x inputs   steps/s  GFLOP/s  of peak  roots/full  bytes/full")
    for n_units, n_inputs in SIZES:
        n_params = 4 * n_units * (n_inputs + 2)
        full = columnar(n_units, n_inputs, max(20_000_000 // n_params, 300))
        memory = np.ones(5 * n_params, "f4")
        moved = best(sweep, memory, 50) / 50
        rate = FLOPS * n_params / full / 1e9
        print(
            f"{n_units:5} x {n_inputs:<6} {1 / full:10,.0f} {rate:8.1f} {rate / before:8.1%} "
            f"{ns_root * 1e-9 * n_params / full:11.2f} {moved / full:11.2f}"
        )
    print("\nnetwork                      steps/s")
    for n_features, u in NETWORKS:
        network = ColumnNetwork(
            n_inputs=12, n_features=n_features, features_per_stage=u, steps_per_stage=100, dtype="float32"
        )
        print(f"columns {n_features}:{u:<18} {network_rate(network):10,.0f}")
    for method, k, d in DENSE:
        network = DenseNetwork(n_inputs=12, n_units=d, method=method, k=k, dtype="float32")
        rate = network_rate(network, 30_000)
        print(f"{method} {k}:{d:<20} {rate:10,.0f}  {2e-9 * rate * tbptt_budget(12, d, k):5.1f} GFLOP/s")
    for method, d in (("snap", 6), ("uoro", 10)):
        network = DenseNetwork(n_inputs=12, n_units=d, method=method, dtype="float32")
        print(f"{method} {d:<22} {network_rate(network, 30_000):10,.0f}")
    print(f"\npeak afterwards {peak():.0f} GFLOP/s")


if __name__ == "__main__":
    main()
