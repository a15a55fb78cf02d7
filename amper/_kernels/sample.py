"""What one sampling of a batch does, in one compiled call: draw slots, and hand their rows out as columns.

By operation and not by structure, for a kernel may call kernels of its own file only, and a second call costs as much
as drawing 30 slots. The sum tree's layout stands in `update`.

A batch is one block of bytes, in which every column has its place: `layout` int64[3 + f, 3] says where.

- row 0: where ids int64[b], importance weights float32[b] and discounts float32[b] begin;
- row 1: where the slots int64[b] and their probabilities float64[b] begin;
- row 2: offset in a row of the flag of sampled rows, and of the boolean `terminated`, -1 for none;
- a row for each column: its offset in a row, its bytes, and where it begins in the block.
"""

import numpy as np
from numba import njit


@njit(cache=True)
def _copy_words(stored, stride, offset, n_words, slots, words):
    # Most columns are one or two words: those copies are spelled out. Unsigned places spare the compiler the
    # question whether an index counts from the end.
    if n_words == 1:
        for i in range(slots.shape[0]):
            words[i] = stored[np.uint64(slots[i] * stride + offset)]
    elif n_words == 2:
        for i in range(slots.shape[0]):
            begin = np.uint64(slots[i] * stride + offset)
            words[np.uint64(2 * i)] = stored[begin]
            words[np.uint64(2 * i + 1)] = stored[begin + np.uint64(1)]
    else:
        for i in range(slots.shape[0]):
            begin, end = slots[i] * stride + offset, i * n_words
            for j in range(n_words):
                words[np.uint64(end + j)] = stored[np.uint64(begin + j)]


@njit(cache=True)
def _copy_column(rows, offset, size, slots, out):
    # As the widest words that rows, column and value are whole numbers of: offsets are multiples of the item size.
    stride = rows.shape[1]
    stored = rows.reshape(-1)
    if (size | offset | stride) % 8 == 0:
        _copy_words(stored.view(np.uint64), stride // 8, offset // 8, size // 8, slots, out.view(np.uint64))
    elif (size | offset | stride) % 4 == 0:
        _copy_words(stored.view(np.uint32), stride // 4, offset // 4, size // 4, slots, out.view(np.uint32))
    else:
        _copy_words(stored, stride, offset, size, slots, out)


@njit(cache=True, error_model="numpy")
def _gather(slots, probabilities, rows, layout, out, beta, n_issued, discount):
    # Fill a block with columns, ids, weights, discounts; return how many rows were sampled for the first time.
    # w = (n P)**-beta over the batch's largest, so n cancels.
    b = slots.shape[0]
    capacity, stride = rows.shape
    ids = out[layout[0, 0] : layout[0, 0] + 8 * b].view(np.int64)
    weights = out[layout[0, 1] : layout[0, 1] + 4 * b].view(np.float32)
    n_new = 0
    if layout[2, 0] >= 0:
        flags = rows.reshape(-1)[layout[2, 0] :]
        for i in range(b):
            at = np.uint64(slots[i] * stride)
            if flags[at] == 0:
                flags[at] = 1
                n_new += 1
    # Slots up to the newest hold ids of this round through the ring, the others of the round before.
    newest = (n_issued - 1) % capacity
    this_round = n_issued - 1 - newest
    smallest = probabilities[0]
    for i in range(b):
        slot, probability = slots[i], probabilities[i]
        ids[i] = this_round + slot - (capacity if slot > newest else 0)
        smallest = probability if probability < smallest else smallest
    exponent, largest = np.float32(beta), np.float32(1.0)
    for i in range(b):
        ratio = np.float32(smallest / probabilities[i])
        weights[i] = ratio**exponent if ratio < largest else largest
    if layout[2, 1] >= 0:
        terminated = rows.reshape(-1)[layout[2, 1] :]
        ends = out[layout[0, 2] : layout[0, 2] + 4 * b].view(np.float32)
        kept = np.float32(discount)
        for i in range(b):
            ends[i] = np.float32(0.0) if terminated[np.uint64(slots[i] * stride)] else kept
    for f in range(3, layout.shape[0]):
        _copy_column(rows, layout[f, 0], layout[f, 1], slots, out[layout[f, 2] : layout[f, 2] + b * layout[f, 1]])
    return n_new


@njit(cache=True, error_model="numpy")
def draw_tree(nodes, leaves, uniforms, slots, probabilities):
    """Draw slots in proportion to their mass; the total is positive.

    All draws go down one level before any goes down the next: their cache misses overlap.
    """
    total, levels = nodes[0, 0], nodes[0, 1]
    root = nodes.reshape(-1)[528:1040]
    b = uniforms.shape[0]
    targets = probabilities.view(np.int64)  # room of the right size that is not needed yet
    for i in range(b):
        target = min(np.int64(uniforms[i] * total), total - 1)
        child = np.uint64(256) if root[256] <= target else np.uint64(0)
        child += np.uint64(128) if root[child + np.uint64(128)] <= target else np.uint64(0)
        child += np.uint64(64) if root[child + np.uint64(64)] <= target else np.uint64(0)
        child += np.uint64(32) if root[child + np.uint64(32)] <= target else np.uint64(0)
        child += np.uint64(16) if root[child + np.uint64(16)] <= target else np.uint64(0)
        child += np.uint64(8) if root[child + np.uint64(8)] <= target else np.uint64(0)
        child += np.uint64(4) if root[child + np.uint64(4)] <= target else np.uint64(0)
        child += np.uint64(2) if root[child + np.uint64(2)] <= target else np.uint64(0)
        child += np.uint64(1) if root[child + np.uint64(1)] <= target else np.uint64(0)
        targets[i] = target - root[child]
        slots[i] = child
    flat = nodes.reshape(-1)
    for level in range(levels):
        first = nodes[0, 2 + level]
        for i in range(b):
            target, at = targets[i], np.uint64(16 * (first + slots[i]))
            child = np.uint64(8) if flat[at + np.uint64(8)] <= target else np.uint64(0)
            child += np.uint64(4) if flat[at + child + np.uint64(4)] <= target else np.uint64(0)
            child += np.uint64(2) if flat[at + child + np.uint64(2)] <= target else np.uint64(0)
            child += np.uint64(1) if flat[at + child + np.uint64(1)] <= target else np.uint64(0)
            targets[i] = target - flat[at + child]
            slots[i] = 16 * slots[i] + np.int64(child)
    touched = np.int64(0)
    for i in range(b):
        touched += np.int64(leaves[np.uint64(16 * slots[i])])  # all misses at once
    for i in range(b):
        at, target = np.uint64(16 * slots[i]), targets[i]
        mass = np.int64(0)
        for j in range(8):
            mass += np.int64(leaves[at + np.uint64(j)])
        right = mass <= target
        target -= mass if right else 0
        at += np.uint64(8) if right else np.uint64(0)
        mass = np.int64(leaves[at]) + np.int64(leaves[at + np.uint64(1)])
        mass += np.int64(leaves[at + np.uint64(2)]) + np.int64(leaves[at + np.uint64(3)])
        right = mass <= target
        target -= mass if right else 0
        at += np.uint64(4) if right else np.uint64(0)
        mass = np.int64(leaves[at]) + np.int64(leaves[at + np.uint64(1)])
        right = mass <= target
        target -= mass if right else 0
        at += np.uint64(2) if right else np.uint64(0)
        at += np.uint64(1) if np.int64(leaves[at]) <= target else np.uint64(0)
        slots[i] = at
        probabilities[i] = np.int64(leaves[at]) / total
    return touched


@njit(cache=True)
def _draws(layout, out, b):
    slots = out[layout[1, 0] : layout[1, 0] + 8 * b].view(np.int64)
    return slots, out[layout[1, 1] : layout[1, 1] + 8 * b].view(np.float64)


@njit(cache=True)
def gather(slots, probabilities, rows, layout, blocks, block, beta, n_issued, discount):
    """Hand out the rows of slots drawn elsewhere; as `sample_tree`, with int64[b] and float64[b]."""
    return _gather(slots, probabilities, rows, layout, blocks[block], beta, n_issued, discount)


@njit(cache=True)
def sample_uniform(n, uniforms, rows, layout, blocks, block, beta, n_issued, discount):
    """Draw from the first n slots, all alike, and hand out their rows; as `sample_tree`."""
    out = blocks[block]
    slots, probabilities = _draws(layout, out, uniforms.shape[0])
    for i in range(uniforms.shape[0]):
        slots[i] = min(np.int64(uniforms[i] * n), n - 1)
        probabilities[i] = 1.0 / n
    return _gather(slots, probabilities, rows, layout, out, beta, n_issued, discount)


@njit(cache=True)
def sample_tree(nodes, leaves, uniforms, rows, layout, blocks, block, beta, n_issued, discount):
    """Draw slots in proportion to their mass and hand out their rows.

    Parameters
    ----------
    nodes, leaves
        A sum tree whose total is positive.
    uniforms : float64[b]
    rows : uint8[capacity, stride]
        Stored transitions.
    layout : int64[3 + f, 3]
    blocks : uint8[k, n_bytes]
    block : int
        blocks[block] is filled.
    beta : float
        Exponent of the importance weights.
    n_issued : int
        Ids given out so far; slot = id mod capacity.
    discount : float
        Handed out where the transition did not terminate, else 0.

    Returns
    -------
    int
        Rows that were sampled for the first time.
    """
    out = blocks[block]
    slots, probabilities = _draws(layout, out, uniforms.shape[0])
    draw_tree(nodes, leaves, uniforms, slots, probabilities)
    return _gather(slots, probabilities, rows, layout, out, beta, n_issued, discount)
