"""A run's activity as lanes to draw: signals that change with time, and spans of which no two overlap."""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hwsim.activity import UNKNOWN, Activity

Int64 = npt.NDArray[np.int64]
#: Of signals: no value.
NONE = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """A value that holds from each of `times_fs` until the next; before the first it is `rest`."""

    times_fs: Int64
    values: Int64
    rest: int


def component_signals(activity: Activity, number: int) -> dict[str, Signal]:
    """Return what one component does over time.

    `busy` is 1 while at least one unit works; `stalled` is 1 while none works and one waits; `units` counts those at
    work, -1 where a formula does not say; `op` is the oldest op it works or waits for, -1 where there is none.
    """
    mine = (activity.component == number) & (activity.duration_fs > 0)
    start, n_units = activity.start_fs[mine], activity.n_units[mine]
    end = start + activity.duration_fs[mine]
    works = activity.cause[mine] == 0
    times = np.unique(np.concatenate((start, end)))
    working = _level(times, start, end, works)
    waiting = _level(times, start, end, ~works)
    units = _level(times, start, end, np.where(n_units == UNKNOWN, 0, n_units))
    unknown = _level(times, start, end, n_units == UNKNOWN)
    return {
        "busy": _signal(times, working > 0, 0),
        "stalled": _signal(times, (working == 0) & (waiting > 0), 0),
        "units": _signal(times, np.where(unknown > 0, NONE, units), 0),
        "op": _signal(times, _oldest(times, start, end, activity.op[mine]), NONE),
    }


def op_signals(activity: Activity, kinds: Mapping[str, int]) -> dict[str, Signal]:
    """Return how many ops of each kind are between arrival and end, and the `op` that has been so longest."""
    start, end = activity.span_start_fs, activity.span_end_fs
    times = np.unique(np.concatenate((start, end)))
    counts = {
        name: _signal(times, _level(times, start, end, activity.span_kind == kind), 0) for name, kind in kinds.items()
    }
    return {**counts, "op": _signal(times, _oldest(times, start, end, activity.span_op), NONE)}


def _level(times: Int64, start: Int64, end: Int64, weight: npt.NDArray[np.int64] | npt.NDArray[np.bool_]) -> Int64:
    """Return the sum of the weights of the intervals [start, end) that hold each time, int64[times]."""
    steps = np.zeros(len(times), np.int64)
    np.add.at(steps, np.searchsorted(times, start), weight)
    np.subtract.at(steps, np.searchsorted(times, end), weight)
    return np.cumsum(steps)


def _oldest(times: Int64, start: Int64, end: Int64, op: Int64) -> Int64:
    """Return the lowest op of the intervals that hold each time, NONE where none does, int64[times]."""
    result = np.full(len(times), NONE)
    arriving = np.argsort(start, kind="stable")
    begins, waiting, k = start[arriving].tolist(), list[tuple[int, int]](), 0
    for i, now in enumerate(times.tolist()):
        while k < len(begins) and begins[k] <= now:
            heapq.heappush(waiting, (int(op[arriving[k]]), int(end[arriving[k]])))
            k += 1
        while waiting and waiting[0][1] <= now:
            heapq.heappop(waiting)
        if waiting:
            result[i] = waiting[0][0]
    return result


def _signal(times: Int64, values: npt.NDArray[np.int64] | npt.NDArray[np.bool_], rest: int) -> Signal:
    """Return the signal without the times at which it does not change."""
    whole = values.astype(np.int64)
    changes = whole != np.append(rest, whole)[:-1]
    return Signal(times_fs=times[changes], values=whole[changes], rest=rest)


def merged(activity: Activity, number: int) -> dict[str, Int64]:
    """Return one component's entries by column, those of one op, moment, length and cause as one.

    Their units and energies add up; unknown units stay unknown. Entries that take no time and no energy are left out.
    """
    mine = (activity.component == number) & ((activity.duration_fs > 0) | (activity.energy_aj > 0))
    names = ("start_fs", "duration_fs", "op", "cause")
    keys = np.stack([getattr(activity, name)[mine] for name in names])
    unique, inverse = np.unique(keys, axis=1, return_inverse=True)
    n_units, energy = activity.n_units[mine], np.zeros(unique.shape[1], np.int64)
    units, unknown = np.zeros_like(energy), np.zeros(len(energy), np.bool_)
    np.add.at(energy, inverse, activity.energy_aj[mine])
    np.add.at(units, inverse, n_units)
    np.logical_or.at(unknown, inverse, n_units == UNKNOWN)
    units[unknown] = UNKNOWN
    return {**dict(zip(names, unique, strict=True)), "n_units": units, "energy_aj": energy}


def sublanes(start: Int64, end: Int64) -> Int64:
    """Return a lane for each interval, in ascending order of start, so that no two of a lane overlap; the fewest.

    Examples
    --------
    >>> import numpy as np
    >>> sublanes(np.array([0, 1, 2]), np.array([2, 3, 4])).tolist()
    [0, 1, 0]
    """
    lanes = np.zeros(len(start), np.int64)
    free: list[int] = []
    held: list[tuple[int, int]] = []
    n_lanes = 0
    for i, (begins, ends) in enumerate(zip(start.tolist(), end.tolist(), strict=True)):
        while held and held[0][0] <= begins:
            heapq.heappush(free, heapq.heappop(held)[1])
        if free:
            lane = heapq.heappop(free)
        else:
            lane, n_lanes = n_lanes, n_lanes + 1
        lanes[i] = lane
        heapq.heappush(held, (ends, lane))
    return lanes
