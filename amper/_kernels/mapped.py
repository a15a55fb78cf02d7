"""Rows in a file: a stamp for each, which tells a whole row from a torn one."""

import numpy as np
from numba import njit


@njit(cache=True)
def _stamp(words, begin, n, id_):
    # Not cryptographic: told from a row torn anywhere, or of another id, but for one in 2**64. Steps as in MurmurHash3.
    h = np.uint64(id_) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(0x2545F4914F6CDD1D)
    for j in range(n):
        h = (h ^ words[begin + j]) * np.uint64(0xFF51AFD7ED558CCD)
        h ^= h >> np.uint64(32)
    return h


@njit(cache=True)
def stamp_of(rows, first):
    """Return one stamp for rows, uint8[k, stride], with ids from `first` on."""
    words, n = rows.reshape(-1).view(np.uint64), rows.shape[1] // 8
    h = np.uint64(rows.shape[0])
    for i in range(rows.shape[0]):
        h = (h ^ _stamp(words, i * n, n, first + i)) * np.uint64(0xC4CEB9FE1A85EC53)
    return np.int64(h)


@njit(cache=True)
def store(written, rows, stamps, first):
    """Copy rows, uint8[k, stride], to their places among `rows`, uint8[capacity, stride], and stamp each."""
    capacity, n = rows.shape[0], rows.shape[1] // 8
    words = written.reshape(-1).view(np.uint64)
    for i in range(written.shape[0]):
        slot = (first + i) % capacity
        rows[slot, :] = written[i]
        stamps[slot] = _stamp(words, i * n, n, first + i)


@njit(cache=True)
def whole(rows, stamps, first, good):
    """Fill good, bool[k]: whether the rows with ids from `first` on are what was stamped."""
    capacity, n = rows.shape[0], rows.shape[1] // 8
    words = rows.reshape(-1).view(np.uint64)
    for i in range(good.shape[0]):
        slot = (first + i) % capacity
        good[i] = stamps[slot] == _stamp(words, slot * n, n, first + i)


@njit(cache=True)
def take(rows, stamps, first, out):
    """Copy rows with ids from `first` on to `out`, uint8[k, stride], as long as they are whole; return how many.

    What was copied is looked at, not what may still change: so neither order nor time of another process's stores
    matters.
    """
    capacity, n = rows.shape[0], rows.shape[1] // 8
    words = out.reshape(-1).view(np.uint64)
    for i in range(out.shape[0]):
        slot = (first + i) % capacity
        out[i, :] = rows[slot]
        if stamps[slot] != _stamp(words, i * n, n, first + i):
            return i
    return out.shape[0]
