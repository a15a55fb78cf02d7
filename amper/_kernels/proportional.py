"""A sum tree of fan-out 16 over integer masses: exact, so any order of writes agrees.

nodes int64[1 + k, 16]. Row 0 holds the total, the number of levels, and the row at which each level begins,
root first. Every other row is a node: entry j is the sum of its first j children, so that a draw finds its child
by four comparisons without a branch. leaves uint32[n], n a multiple of 16: the masses; the lowest nodes' children
are groups of 16 leaves, one cache line.
"""

import numpy as np
from numba import njit

FAN_OUT, TOTAL, LEVELS, FIRST = 16, 0, 1, 2


@njit(cache=True)
def write(nodes, leaves, slots, masses):
    """Store masses in slots, in order, and carry the differences to the root."""
    fan_out = nodes.shape[1]  # as a variable: the compiler makes vectors of the loop below, not sixteen steps
    levels = nodes[0, 1]
    touched = np.int64(0)
    for i in range(slots.shape[0]):
        touched += np.int64(leaves[slots[i]])  # all misses at once, not one at a time
    change = np.int64(0)
    for i in range(slots.shape[0]):
        slot = slots[i]
        delta = np.int64(masses[i]) - np.int64(leaves[slot])
        leaves[slot] = masses[i]
        change += delta
        index = slot >> 4
        for level in range(levels - 1, -1, -1):
            child = index & 15
            index >>= 4
            node = nodes[nodes[0, 2 + level] + index]
            for j in range(fan_out):
                node[j] += delta if j > child else 0
    nodes[0, 0] += change
    return touched


@njit(cache=True)
def rebuild(nodes, leaves):
    """Recompute every node from the leaves."""
    levels = nodes[0, 1]
    nodes[1:] = 0
    nodes[0, 0] = 0
    for group in range(leaves.shape[0] // 16):
        mass = np.int64(0)
        for j in range(16):
            mass += np.int64(leaves[16 * group + j])
        nodes[0, 0] += mass
        index = group
        for level in range(levels - 1, -1, -1):
            child = index & 15
            index >>= 4
            node = nodes[0, 2 + level] + index
            for j in range(child + 1, 16):
                nodes[node, j] += mass


@njit(cache=True)
def draw(nodes, leaves, uniforms, slots, probabilities):
    """Draw slots in proportion to their mass; the total is positive.

    All draws go down one level before any goes down the next: their cache misses overlap.
    """
    total, levels = nodes[0, 0], nodes[0, 1]
    b = uniforms.shape[0]
    targets = probabilities.view(np.int64)  # room of the right size that is not needed yet
    for i in range(b):
        targets[i] = min(np.int64(uniforms[i] * total), total - 1)
        slots[i] = 0
    for level in range(levels):
        first = nodes[0, 2 + level]
        for i in range(b):
            target, row = targets[i], first + slots[i]
            child = 8 if nodes[row, 8] <= target else 0
            child += 4 if nodes[row, child + 4] <= target else 0
            child += 2 if nodes[row, child + 2] <= target else 0
            child += 1 if nodes[row, child + 1] <= target else 0
            targets[i] = target - nodes[row, child]
            slots[i] = 16 * slots[i] + child
    touched = np.int64(0)
    for i in range(b):
        touched += np.int64(leaves[16 * slots[i]])  # all misses at once
    for i in range(b):
        at, target = 16 * slots[i], targets[i]
        mass = np.int64(0)
        for j in range(8):
            mass += np.int64(leaves[at + j])
        right = mass <= target
        target -= mass if right else 0
        at += 8 if right else 0
        mass = np.int64(leaves[at]) + np.int64(leaves[at + 1]) + np.int64(leaves[at + 2]) + np.int64(leaves[at + 3])
        right = mass <= target
        target -= mass if right else 0
        at += 4 if right else 0
        mass = np.int64(leaves[at]) + np.int64(leaves[at + 1])
        right = mass <= target
        target -= mass if right else 0
        at += 2 if right else 0
        at += 1 if np.int64(leaves[at]) <= target else 0
        slots[i] = at
        probabilities[i] = np.int64(leaves[at]) / total
    return touched


@njit(cache=True)
def draw_uniform(n, uniforms, slots, probabilities):
    """Draw from the first n slots, all alike."""
    for i in range(uniforms.shape[0]):
        slots[i] = min(np.int64(uniforms[i] * n), n - 1)
        probabilities[i] = 1.0 / n


@njit(cache=True)
def store(leaves, slots, masses):
    """Store masses in slots, in order."""
    for i in range(slots.shape[0]):
        leaves[slots[i]] = masses[i]
