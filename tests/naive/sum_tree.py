"""A binary sum tree in float32, node by node: what the kernels of a GPU must compute, bit by bit."""

import numpy as np

F32 = np.float32


def capacity_of(n):
    """Return the least power of two that holds n leaves."""
    capacity = 1
    while capacity < n:
        capacity *= 2
    return capacity


def build(masses):
    """Return the nodes of the tree over `masses`: the root is node 1, node 0 is unused."""
    capacity = capacity_of(len(masses))
    tree = np.zeros(2 * capacity, F32)
    for i, mass in enumerate(masses):
        tree[capacity + i] = mass
    for node in range(capacity - 1, 0, -1):
        tree[node] = F32(tree[2 * node] + tree[2 * node + 1])
    return tree


def sample(tree, uniforms):
    """Return (leaf, mass) of every uniform: right where the target is not below the left sum, and mass lies there."""
    capacity = len(tree) // 2
    leaves, masses = [], []
    for uniform in uniforms:
        target, node = F32(F32(uniform) * tree[1]), 1
        while node < capacity:
            left, right = 2 * node, 2 * node + 1
            if target >= tree[left] and tree[right] > 0:
                target, node = F32(target - tree[left]), right
            else:
                node = left
        leaves.append(node - capacity)
        masses.append(tree[node])
    return np.array(leaves, np.int64), np.array(masses, F32)


def update(tree, indices, masses):
    """Write masses to leaves one after the other; sum again the nodes above each."""
    capacity = len(tree) // 2
    for index, mass in zip(indices, masses, strict=True):
        node = capacity + int(index)
        tree[node] = mass
        while node > 1:
            node //= 2
            tree[node] = F32(tree[2 * node] + tree[2 * node + 1])
