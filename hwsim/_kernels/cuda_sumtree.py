"""A sum tree in a GPU's memory: one launch samples, one launch writes.

The tree is a flat float32 array of 2 * capacity nodes, capacity a power of two: the root is node 1, the children of
node i are 2 i and 2 i + 1, the leaves are the last `capacity` nodes. All arithmetic is float32 and in the order that
`tests/naive/sum_tree.py` spells out, so that results agree bit by bit.
"""

from __future__ import annotations

import warnings

import numpy as np
from numba import cuda

#: Threads of one block: small, so that the draws of a batch spread over many multiprocessors.
SAMPLE_BLOCK = 64
#: Threads of the one block that writes; more rows are taken in strides.
UPDATE_BLOCK = 1024


@cuda.jit
def sample_kernel(tree, uniforms, indices, masses):
    """Write to `indices` the leaf that each of `uniforms`, 0 to 1, falls on, and to `masses` its mass, above 0.

    A uniform below 1 never leaves the mass of a node: parents are rounded sums, and a target below a parent's rounded
    sum, less the left child, lies below the right child. 1.0, to which float64 numbers just below it round, needs
    the look at the right child.
    """
    row = cuda.grid(1)
    if row >= len(uniforms):
        return
    root = tree[1]
    # The product never exceeds the root; the minimum keeps it from being fused with the first subtraction,
    # which would round once where the reference rounds twice.
    target = min(uniforms[row] * root, root)
    # Unsigned: an index that may be negative costs three more instructions an access.
    one, capacity = np.uint64(1), np.uint64(len(tree)) >> np.uint64(1)
    node = one
    while node < capacity:
        node = node + node
        left, right = tree[node], tree[node + one]
        goes_right = (target >= left) & (right > np.float32(0))  # no short circuit: both loads under way at once
        if goes_right:
            target = target - left
            node = node + one
    indices[row] = np.int64(node - capacity)
    masses[row] = tree[node]


@cuda.jit
def update_kernel(tree, last_row, indices, masses):
    """Write `masses` to the leaves `indices`, the last of equal ones winning, and sum again every node above.

    One block. `last_row`, int32[capacity], is -1 before and after: in between it holds the last row of each leaf.
    """
    one, thread, n_threads = np.uint64(1), np.uint64(cuda.threadIdx.x), np.uint64(cuda.blockDim.x)
    n, capacity = np.uint64(len(indices)), np.uint64(len(tree)) >> one
    row = thread
    while row < n:
        cuda.atomic.max(last_row, np.uint64(indices[row]), np.int32(row))
        row = row + n_threads
    cuda.syncthreads()
    row = thread
    while row < n:
        leaf = np.uint64(indices[row])
        if last_row[leaf] == np.int32(row):
            tree[capacity + leaf] = masses[row]
        row = row + n_threads
    cuda.syncthreads()
    first = one  # the leaf of the thread's first row stays in a register; most batches have no other
    row = thread
    while row < n:
        leaf = np.uint64(indices[row])
        last_row[leaf] = np.int32(-1)
        if row == thread:
            first = capacity + leaf
        row = row + n_threads
    level = one
    while (capacity >> level) > np.uint64(0):
        # Rows that share a parent write the same sum: its children were finished before the barrier.
        row, node = thread, first >> level
        while row < n:
            tree[node] = tree[node + node] + tree[node + node + one]
            row = row + n_threads
            if row < n:
                node = (capacity + np.uint64(indices[row])) >> level
        cuda.syncthreads()
        level = level + one


@cuda.jit
def empty_kernel(nothing):
    """Do nothing: what remains is the launch."""


@cuda.jit
def chase_kernel(successor, begin, n_steps, end):
    """Follow `successor` for `n_steps` from `begin` to `end[0]`, each access waiting for the one before."""
    node, step = np.uint64(begin), 0
    while step < n_steps:
        node = np.uint64(successor[node])
        step += 1
    end[0] = node


def sampling_launch(n, stream=0):
    """Return what enqueues `sample_kernel` for `n` draws when called with its arrays."""
    return _configured(sample_kernel, (n + SAMPLE_BLOCK - 1) // SAMPLE_BLOCK, SAMPLE_BLOCK, stream)


def update_launch(n, stream=0):
    """Return what enqueues `update_kernel` for `n` rows when called with its arrays."""
    return _configured(update_kernel, 1, min(UPDATE_BLOCK, (n + 31) // 32 * 32), stream)


def empty_launch(stream=0):
    """Return what enqueues `empty_kernel`."""
    return _configured(empty_kernel, 1, 32, stream)


def chase_launch(stream=0):
    """Return what enqueues `chase_kernel`."""
    return _configured(chase_kernel, 1, 1, stream)


def _configured(kernel, n_blocks, n_threads, stream):
    with warnings.catch_warnings():  # numba warns of grids that do not fill the GPU; these never do
        warnings.simplefilter("ignore")
        return kernel[n_blocks, n_threads, stream]


def device_array(array):
    """Return a view for kernels of what lies on the device already, a tensor for example."""
    return cuda.as_cuda_array(array)


def stream_of(pointer):
    """Return the stream behind a raw pointer; 0 is the default stream."""
    return cuda.external_stream(pointer) if pointer else 0


def reason_unavailable():
    """Return why kernels cannot run here, or None where they can."""
    try:
        if cuda.is_available():
            return None
        return " ".join(str(cuda.cuda_error() or "numba finds no CUDA GPU").split())
    except Exception as error:  # a driver without a GPU, a toolkit without its compiler: the text says which
        return f"{type(error).__name__}: {error}"
