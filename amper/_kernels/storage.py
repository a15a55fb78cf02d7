"""Rows of one transition side by side, gathered in one pass and handed out as columns."""

import numpy as np
from numba import njit


@njit(cache=True)
def _copy_column(rows, offset, size, slots, out):
    # Most columns are a few words: a copy spelled out takes a third of the time of a call of memcpy, which is
    # what the last loop becomes. Offsets are multiples of the item size (RowStorage).
    if size == 1:
        for i in range(slots.shape[0]):
            out[i] = rows[slots[i], offset]
    elif size % 4 == 0 and size <= 32 and offset % 4 == 0:
        n_words = size // 4
        words = out.view(np.uint32)
        stored = rows.reshape(-1).view(np.uint32)
        stride, first = rows.shape[1] // 4, offset // 4
        for i in range(slots.shape[0]):
            begin = slots[i] * stride + first
            words[i * n_words] = stored[begin]
            if n_words > 1:
                words[i * n_words + 1] = stored[begin + 1]
            for j in range(2, n_words):
                words[i * n_words + j] = stored[begin + j]
    else:
        for i in range(slots.shape[0]):
            for j in range(size):
                out[i * size + j] = rows[slots[i], offset + j]


@njit(cache=True)
def gather(
    rows,
    layout,
    slots,
    probabilities,
    beta,
    n_issued,
    flags,
    terminated_at,
    discount,
    out,
    ids,
    weights,
    ends,
):
    """Copy rows out as columns, with ids, importance weights and discounts; mark the rows as sampled.

    Parameters
    ----------
    rows : uint8[capacity, row_bytes]
        Stored transitions.
    layout : int64[f, 3]
        For each column: offset in a row, bytes, and where its block of `out` begins.
    slots : int64[b]
    probabilities : float64[b]
        Chance of each; w = (n P)**-beta over the batch's largest, so n cancels.
    n_issued : int
        Ids given out so far; slot = id mod capacity.
    flags : uint8[capacity]
        Bit 0 is set for sampled rows.
    terminated_at : int
        Offset of the boolean `terminated` in a row, -1 for none.
    discount : float32
    out : uint8[...]
    ids : int64[b]
    weights : float32[b]
    ends : float32[b]
        discount where the transition did not terminate, else 0.
    """
    b = slots.shape[0]
    capacity = rows.shape[0]
    newest = n_issued - 1
    smallest = probabilities[0]
    for i in range(1, b):
        smallest = min(smallest, probabilities[i])
    for i in range(b):
        slot = slots[i]
        ids[i] = newest - (newest - slot) % capacity
        flags[slot] |= 1
        if beta == 0.0 or probabilities[i] == smallest:
            weights[i] = 1.0
        else:
            weights[i] = (smallest / probabilities[i]) ** beta
        if terminated_at >= 0:
            ends[i] = np.float32(0.0) if rows[slot, terminated_at] else discount
    for f in range(layout.shape[0]):
        _copy_column(rows, layout[f, 0], layout[f, 1], slots, out[layout[f, 2] : layout[f, 2] + b * layout[f, 1]])
