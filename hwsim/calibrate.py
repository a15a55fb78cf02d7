"""Measure a sum tree on the CUDA GPU at hand: what `hwsim.machine("sumtree-gpu", measurement=...)` reads.

Each variant is first verified against the tree computed here by NumPy, bit by bit; one that differs is not timed.
Every op has inputs of its own, drawn afresh: uniforms, or slots with duplicates and exponential masses. What
the figures mean is said in `hwsim.calibrate_clock`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hwsim import calibrate_floors as floors
from hwsim import checks
from hwsim.calibrate_clock import N_RUNS, N_WARM, Clock, Fresh, figures, on_device
from hwsim.calibrate_device import describe, require_gpu
from hwsim.measurement import FORMAT

if TYPE_CHECKING:
    from hwsim.calibrate_trees import Program, Tree

Float32 = npt.NDArray[np.float32]
Int64 = npt.NDArray[np.int64]
Stage = Callable[[str, int, int], None]

SIZES = (5_000, 20_000, 100_000, 1_000_000, 10_000_000)
BATCHES = (1, 32, 64, 256, 1024)
N_OPS = 200
QUICK_SIZES, QUICK_BATCHES, N_QUICK_OPS = (5_000, 100_000), (1, 64), 50
LARGEST_BATCH = 4096
KINDS = ("sample", "update")
_MAX_LAUNCHES, _MAX_RUN = 800, 50  # enqueued at once: a GPU's queue takes about 1,000 launches before the host waits


# -- the reference --------------------------------------------------------------------------------------
def build(masses: Float32) -> Float32:
    """Return float32[2 * capacity]: the root at 1, the children of i at 2 i and 2 i + 1, the leaves last."""
    capacity = 1 << (len(masses) - 1).bit_length()
    nodes = np.zeros(2 * capacity, np.float32)
    nodes[capacity : capacity + len(masses)] = masses
    while capacity > 1:
        children = nodes[capacity : 2 * capacity]
        capacity //= 2
        nodes[capacity : 2 * capacity] = children[0::2] + children[1::2]
    return nodes


def sample(nodes: Float32, uniforms: Float32) -> tuple[Int64, Float32]:
    """Return the leaves that uniforms fall on, and their masses; float32 throughout."""
    capacity = len(nodes) // 2
    node, target = np.ones(len(uniforms), np.int64), uniforms * nodes[1]
    for _ in range(capacity.bit_length() - 1):
        left, right = nodes[2 * node], nodes[2 * node + 1]
        goes_right = (target >= left) & (right > 0)
        target = np.where(goes_right, target - left, target)
        node = 2 * node + goes_right
    return node - capacity, nodes[node]


def update(nodes: Float32, indices: Int64, masses: Float32) -> None:
    """Write masses to leaves in place, the last of equal ones winning, and sum again what lies above."""
    node = indices + len(nodes) // 2
    last = dict(zip(node.tolist(), range(len(node)), strict=True))
    nodes[list(last)] = masses[list(last.values())]
    while node[0] > 1:
        node = node >> 1
        nodes[node] = nodes[2 * node] + nodes[2 * node + 1]


def differences(
    program: Callable[[str, int, int], Program], tree: Tree, nodes: Float32, n: int, batches: Sequence[int], seed: int
) -> str:
    """Return how a tree's results differ from the reference's; "" where all are equal, bit by bit.

    Parameters
    ----------
    program : callable
        (kind, rows of one op, ops) -> a program of the tree.
    tree : Tree
        Made of `nodes`; both are written to.
    nodes : float32[2 * capacity]
        The reference's.
    n : int
        Leaves in use.
    batches : sequence of int
        Rows of one op: each is sampled and written twice, once slot by slot at random, once with every slot doubled.
    seed : int
        Of the inputs.
    """
    rng = np.random.default_rng(seed)
    device = tree.nodes.device
    for b in batches:
        for span in (n, max(1, min(n, b) // 2)):
            uniforms = rng.random((2, b), np.float32)
            ops = program("sample", b, 2)
            ops.load(on_device(device, uniforms))
            ops.run()
            for row, (found, masses) in zip(uniforms, ops.results, strict=True):
                leaves, expected = sample(nodes, row)
                if not (np.array_equal(found.cpu(), leaves) and np.array_equal(masses.cpu(), expected)):
                    wrong = int((found.cpu().numpy() != leaves).sum())
                    return f"{wrong} of {b} sampled leaves differ at n = {n}, or their masses"
            indices, written = rng.integers(0, span, (2, b)), rng.exponential(size=(2, b)).astype(np.float32)
            ops = program("update", b, 2)
            ops.load(on_device(device, indices, written))
            ops.run()
            for row, masses in zip(indices, written, strict=True):
                update(nodes, row, masses)
            found = tree.nodes.cpu().numpy()
            unequal = (found != nodes) & ~np.isnan(found)  # NaN: a node that the tree does not show
            if unequal.any():
                return f"{int(unequal.sum())} nodes differ after updates of {b} rows at n = {n}"
    return ""


# -- the whole ------------------------------------------------------------------------------------------
def measure(
    sizes: Sequence[int] = SIZES,
    batches: Sequence[int] = BATCHES,
    n_ops: int = N_OPS,
    seed: int = 0,
    stage: Stage = lambda *_: None,
    variants: Sequence[str] | None = None,
    clock: Clock | None = None,
) -> dict[str, Any]:
    """Return the measurement as one JSON-serialisable document: see `hwsim.measurement`.

    Parameters
    ----------
    sizes, batches : sequence of int
        Leaves of the trees, and rows of one op.
    n_ops : int
        Ops timed for a figure; `queued` and `device` take more.
    seed : int
        Of masses, uniforms and slots.
    stage : callable
        Told how far the work is.
    variants : sequence of str, optional
        Some of `calibrate_trees.VARIANTS`; all by default.
    clock : Clock, optional
        What times; by default CUDA events on the GPU.

    Raises
    ------
    ValueError
        If a size, a batch or a name is out of range.
    CalibrationError
        If there is no GPU that PyTorch can use; the message says what is missing.
    """
    sizes, batches = _checked("n", sizes, 2, 2**27), _checked("batch", batches, 1, LARGEST_BATCH)
    n_ops = checks.whole("n_ops", n_ops, 1)
    if clock is None:
        require_gpu()
        clock = Clock()
    from hwsim.calibrate_trees import VARIANTS

    names = [checks.one_of("variant", name, VARIANTS) for name in (VARIANTS if variants is None else variants)]
    absent: dict[str, str] = {}
    mismatches: dict[str, str] = {}
    rows: list[dict[str, Any]] = []
    with importlib.import_module("torch").no_grad():
        floor = _floors(clock, sizes, n_ops, seed, absent)
        # A variant after the other: what one leaves the GPU in, if it fails, spoils none before it.
        for i, name in enumerate(names):
            try:
                for k, n in enumerate(sizes):
                    stage("timing the GPU's sum tree", i * len(sizes) + k, len(sizes) * len(names))
                    rows += _variant_rows(clock, name, n, batches, n_ops, seed)
            except _DifferentError as error:
                mismatches[name] = str(error)
            except Exception as error:  # whatever it is, the others are measured all the same
                absent[name] = _reason(name, error)
    stage("timing the GPU's sum tree", len(sizes) * len(names), len(sizes) * len(names))
    rows = [row for row in rows if row["variant"] not in mismatches]
    return {
        "format": FORMAT, "kind": "gpu-sum-tree", **describe(), "seed": seed, "n_ops": n_ops,
        "verified": "indices, masses and all nodes equal the CPU's float32 results bit by bit, at every n before "
        f"timing, with b = {', '.join(map(str, _verified(batches)))}, with and without duplicate slots",
        "floor": floor, "rows": rows, "absent": absent, "mismatches": mismatches,
    }  # fmt: skip


class _DifferentError(Exception):
    """A tree computes something else than the reference."""


def _checked(name: str, values: Sequence[int], minimum: int, maximum: int) -> list[int]:
    if not values:
        raise ValueError(f"{name} must be one number or more, got {list(values)!r}")
    return sorted({checks.whole(name, value, minimum, maximum) for value in values})


def _verified(batches: Sequence[int]) -> list[int]:
    return sorted({1, 33, batches[-1]})


def _floors(clock: Clock, sizes: Sequence[int], n_ops: int, seed: int, absent: dict[str, str]) -> dict[str, Any]:
    found = {
        "empty_kernel": _tried(absent, "empty_kernel", partial(floors.launch_figures, clock, n_ops)),
        "torch_operation": _tried(absent, "torch_operation", partial(floors.operation_figures, clock, n_ops)),
    }
    access = [_tried(absent, f"access at n = {n}", partial(floors.access, clock, n, seed)) for n in sizes]
    return {**found, "access": [row for row in access if row is not None]}


def _variant_rows(
    clock: Clock, name: str, n: int, batches: Sequence[int], n_ops: int, seed: int
) -> list[dict[str, Any]]:
    """Return the rows of one variant at one n, verified first."""
    from hwsim.calibrate_trees import VARIANTS

    make, program = VARIANTS[name]
    nodes = build(np.random.default_rng((seed, n)).exponential(size=n).astype(np.float32))
    tree = make(nodes, clock.device)

    def programs(kind: str, b: int, k: int) -> Program:
        return program(tree, kind, b, k)

    different = differences(programs, tree, nodes.copy(), n, _verified(batches), seed)
    if different:
        raise _DifferentError(different)
    rows = []
    for kind in KINDS:
        n_many = max(1, min(_MAX_RUN, _MAX_LAUNCHES // tree.n_launches[kind]))
        for b in batches:
            n_fresh = (2 * n_ops + 2 * max(N_RUNS, -(-n_ops // n_many)) * n_many) + (N_WARM + 1) * (n_many + 1)
            fresh = Fresh(clock.device, kind, n, b, n_fresh, np.random.default_rng((seed, n, b)))
            one, many = programs(kind, b, 1), programs(kind, b, n_many)
            times = figures(clock, one, many, n_many, fresh, n_ops)
            rows.append({"variant": name, "kind": kind, "n": n, "b": b, "ops_a_run": n_many, **times})
    return rows


def _tried(absent: dict[str, str], name: str, measured: Callable[[], Any]) -> Any:
    """Return what was measured; None, with the reason in `absent`, where it could not be."""
    try:
        return measured()
    except Exception as error:
        absent[name] = _reason(name, error)
        return None


def _reason(name: str, error: Exception) -> str:
    if name == "torchrl" and isinstance(error, ImportError):
        return f"TorchRL with its CUDA tree is not installed (the package index has none built for CUDA): {error}"
    return f"{type(error).__name__}: {' '.join(str(error).split())[:500]}"
