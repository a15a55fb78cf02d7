"""Which rows were written before they are read."""

import numpy as np
from numba import njit


@njit(cache=True)
def first_unwritten(kind, first, count, slot, first_draw, draw_slot, n_rows):
    """Return (op, draw) of the first draw of a slot that no op before it wrote, or (-1, -1).

    Ops of `kind` 2 are samplings of `count` draws, `first` their row in `first_draw`; the others write `count` rows
    from `first` on.
    """
    written = np.zeros(n_rows, np.bool_)
    for op in range(kind.shape[0]):
        if kind[op] != 2:
            for w in range(first[op], first[op] + count[op]):
                written[slot[w]] = True
            continue
        begin = first_draw[first[op]]
        for d in range(begin, begin + count[op]):
            if draw_slot[d] < 0 or draw_slot[d] >= n_rows or not written[draw_slot[d]]:
                return op, d
    return -1, -1
