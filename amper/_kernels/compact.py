"""Rows whose successor's observation is kept once: in the following row, or apart where none follows."""

import numpy as np
from numba import njit


@njit(cache=True)
def _same(row, apart, pairs):
    for p in range(pairs.shape[0]):
        here, there = pairs[p, 0], pairs[p, 1]
        for j in range(pairs[p, 2]):
            if row[here + j] != apart[there + j]:
                return False
    return True


@njit(cache=True)
def write(rows, link_at, apart, free, waiting, pairs, packed, following, envs, first):
    """Write rows with ids from `first` on, and link each to what follows it.

    Parameters
    ----------
    rows : uint8[capacity, stride]
        In each row, at `link_at`, an int32: the slot of the row that follows it, or ~place of its successor in `apart`.
    apart : uint8[n, stride]
        Successors that are no row's.
    free : int64[1 + n]
        How many places of `apart` are free, and which; at least as many as there are rows to write.
    waiting : int64[e, 1 + lag]
        Of each environment: a place in the ring that follows, and the ids of its last rows, -1 for none. The row that
        comes `lag` rows after another may be what follows it.
    pairs : int64[p, 3]
        Offset of a column in a row, of its successor in `apart`, bytes.
    packed : uint8[k, stride]
        Rows.
    following : uint8[k, apart's stride]
        Their successors.
    envs : int64[k]
    first : int

    """
    capacity = rows.shape[0]
    links = rows.reshape(-1)[link_at:]
    stride, lag = rows.shape[1], waiting.shape[1] - 1
    for i in range(packed.shape[0]):
        id_, env = first + i, envs[i]
        slot = id_ % capacity
        if id_ >= capacity:
            old = links[slot * stride : slot * stride + 4].view(np.int32)[0]
            if old < 0:
                free[0] += 1
                free[free[0]] = ~old
        rows[slot, :] = packed[i]
        ring = waiting[env]
        waits = ring[1 + ring[0]]
        if waits >= 0 and id_ - capacity < waits < id_:
            at = waits % capacity * stride
            link = links[at : at + 4].view(np.int32)
            if link[0] < 0 and _same(packed[i], apart[~link[0]], pairs):
                free[0] += 1
                free[free[0]] = ~link[0]
                link[0] = slot
        place = free[free[0]]
        free[0] -= 1
        apart[place, :] = following[i]
        links[slot * stride : slot * stride + 4].view(np.int32)[0] = ~place
        ring[1 + ring[0]] = id_
        ring[0] = (ring[0] + 1) % lag


@njit(cache=True)
def hand_out(rows, link_at, apart, pairs, begins, slots, out):
    """Fill the successors' columns of a batch: out[begins[p] ..] with what follows the rows `slots`, column p."""
    links = rows.reshape(-1)
    stride = rows.shape[1]
    for i in range(slots.shape[0]):
        at = slots[i] * stride + link_at
        link = links[at : at + 4].view(np.int32)[0]
        for p in range(pairs.shape[0]):
            size = pairs[p, 2]
            begin = begins[p] + i * size
            if link >= 0:
                out[begin : begin + size] = rows[link, pairs[p, 0] : pairs[p, 0] + size]
            else:
                out[begin : begin + size] = apart[~link, pairs[p, 1] : pairs[p, 1] + size]
