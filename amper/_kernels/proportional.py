"""A sum tree of fan-out 16 over integer masses: parents are exact integers, so any order of writes agrees.

nodes int64, one level after the other, root first; level l has ceil(n / 16**(levels - l)) nodes, each the
exact sum of up to 16 children; leaves uint32[n] are the masses.
"""

import numpy as np
from numba import njit


@njit(cache=True)
def write(nodes, offsets, leaves, slots, masses):
    """Store masses in slots, in order, and carry the differences to the root."""
    levels = offsets.shape[0]
    for i in range(slots.shape[0]):
        index = slots[i]
        change = np.int64(masses[i]) - np.int64(leaves[index])
        leaves[index] = masses[i]
        for level in range(levels - 1, -1, -1):
            index >>= 4
            nodes[offsets[level] + index] += change


@njit(cache=True)
def rebuild(nodes, offsets, leaves):
    """Recompute every node from its children."""
    nodes[:] = 0
    levels = offsets.shape[0]
    for slot in range(leaves.shape[0]):
        index = slot
        for level in range(levels - 1, -1, -1):
            index >>= 4
            nodes[offsets[level] + index] += np.int64(leaves[slot])


@njit(cache=True)
def draw(nodes, offsets, leaves, uniforms, slots, probabilities):
    """Draw slots in proportion to their mass; the root is positive."""
    total = nodes[0]
    levels = offsets.shape[0]
    for i in range(uniforms.shape[0]):
        target = min(np.int64(uniforms[i] * total), total - 1)
        index = 0
        for level in range(1, levels):
            index <<= 4
            while target >= nodes[offsets[level] + index]:
                target -= nodes[offsets[level] + index]
                index += 1
        index <<= 4
        while target >= np.int64(leaves[index]):
            target -= np.int64(leaves[index])
            index += 1
        slots[i] = index
        probabilities[i] = leaves[index] / total
