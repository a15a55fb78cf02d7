"""Compare the kernels of the GPU's sum tree, run by numba's CUDA simulator, with the naive tree.

Run with NUMBA_ENABLE_CUDASIM=1 set before numba is imported, so in a process of its own. An argument names a mistake
to plant: the comparison must then fail.
"""

import importlib.util
import os
import sys
from pathlib import Path

import numpy as np
from numba import cuda

ROOT = Path(__file__).parent.parent.parent
MISTAKES = {
    "first wins": (
        "last_row, np.uint64(indices[row]), np.int32(row)",
        "last_row, np.uint64(indices[row]), np.int32(n - row)",
    ),
    "no stride": ("row = row + n_threads", "row = n"),
    "rows not released": ("last_row[leaf] = np.int32(-1)", "last_row[leaf] = np.int32(row)"),
    "a level short": ("while (capacity >> level) > np.uint64(0):", "while (capacity >> level) > np.uint64(1):"),
    "nudged": ("tree[node + node] + tree[node + node + one]", "tree[node] + masses[row]"),
    "one row a thread": ("            if row < n:\n", "            if row < np.uint64(0):\n"),
    "on the boundary left": ("target >= left", "target > left"),
    "empty leaves drawn": (" & (right > np.float32(0))", ""),
    "no subtraction": ("target = target - left", "target = target"),
}


def load(name, path, old="", new=""):
    source = (ROOT / path).read_text()
    if old:
        assert old in source, f"{old!r} must be in {path}"
        source = source.replace(old, new)
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(name, None))
    exec(compile(source, path, "exec"), module.__dict__)
    return module


def compare(kernels, naive, n, b, rng, duplicates):
    masses = rng.exponential(size=n).astype(np.float32) * (rng.random(n) < 0.8)
    masses[rng.integers(n)] = 1  # some mass at least
    tree = naive.build(masses)
    on_device, last_row = cuda.to_device(tree), cuda.to_device(np.full(len(tree) // 2, -1, np.int32))
    for _ in range(2):
        drawn, found = cuda.to_device(np.full(b, -7, np.int64)), cuda.to_device(np.full(b, -7, np.float32))
        # Multiples of 1/8 fall on boundaries; 1, and the largest float below it, on the last leaf with a mass.
        uniforms = np.where(rng.random(b) < 0.3, rng.integers(0, 8, b) / 8, rng.random(b)).astype(np.float32)
        uniforms[-1] = 1 if duplicates else np.nextafter(np.float32(1), np.float32(0))
        kernels.sampling_launch(b)(on_device, cuda.to_device(uniforms), drawn, found)
        leaves, expected = naive.sample(tree, uniforms)
        np.testing.assert_array_equal(drawn.copy_to_host(), leaves)
        np.testing.assert_array_equal(found.copy_to_host(), expected)
        assert (expected > 0).all(), "an empty leaf was drawn"
        indices = rng.integers(0, max(1, n // 4) if duplicates else n, b)
        values = rng.exponential(size=b).astype(np.float32)
        kernels.update_launch(b)(on_device, last_row, cuda.to_device(indices), cuda.to_device(values))
        naive.update(tree, indices, values)
        np.testing.assert_array_equal(on_device.copy_to_host(), tree)
        assert (last_row.copy_to_host() == -1).all(), "a row was left behind"


def compare_integers(kernels, naive):
    """Masses 1, 2, 3, ... and targets exactly on their boundaries: the leaf after the boundary is drawn."""
    masses = np.array([1, 3, 0, 4, 8, 0, 0], np.float32)
    tree = naive.build(masses)
    uniforms = (np.arange(16) / 16).astype(np.float32)
    drawn, found = cuda.to_device(np.zeros(16, np.int64)), cuda.to_device(np.zeros(16, np.float32))
    kernels.sampling_launch(16)(cuda.to_device(tree), cuda.to_device(uniforms), drawn, found)
    np.testing.assert_array_equal(drawn.copy_to_host(), np.repeat(np.arange(7), masses.astype(int)))


def main(mistake=None):
    assert os.environ.get("NUMBA_ENABLE_CUDASIM") == "1", "set NUMBA_ENABLE_CUDASIM=1"
    naive = load("naive", "tests/naive/sum_tree.py")
    kernels = load("kernels", "hwsim/_kernels/cuda_sumtree.py", *(MISTAKES[mistake] if mistake else ()))
    kernels.UPDATE_BLOCK = 64  # the simulator runs a thread a thread; strides are taken all the same
    rng = np.random.default_rng(0)
    compare_integers(kernels, naive)
    for n, b in ((1, 1), (2, 3), (3, 5), (5, 33), (33, 70), (100, 64), (130, 200)):
        for duplicates in (False, True):
            compare(kernels, naive, n, b, rng, duplicates)
    end = cuda.to_device(np.zeros(1, np.int32))
    kernels.chase_launch()(cuda.to_device(np.array([2, 0, 1], np.int32)), 1, 4, end)
    assert end.copy_to_host()[0] == 0, "1 -> 0 -> 2 -> 1 -> 0"
    kernels.empty_launch()(end)
    print("equal")


if __name__ == "__main__":
    main(*sys.argv[1:])
