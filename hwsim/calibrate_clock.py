"""What times a GPU: CUDA events, the wall clock, and the four figures made of them.

Figures are microseconds, each the median with the 10 % and the 90 % quantile:

- `idle`: between CUDA events around one op, on a stream with nothing to do. What the host needs to enqueue the op's
  launches is inside, since the GPU waits for them.
- `queued`: between events around many ops, enqueued one after the other as fast as the host can, by their number.
- `device`: the same, but all enqueued while the GPU is kept busy: no launch waits for the host.
- `host`: wall clock from the call to the synchronised result.

A graph's figures of one op (`idle`, `host`) replay a graph of that op; `queued` and `device` replay one graph of many,
as a whole learning step in a graph would. Its inputs lie where it reads them before the clock starts.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hwsim.measurement import FIGURES

if TYPE_CHECKING:
    from hwsim.calibrate_trees import Program

N_RUNS, N_WARM = 20, 3


class Clock:
    """CUDA events on the default stream, and a kernel that keeps the GPU busy for a while."""

    def __init__(self) -> None:
        import torch

        self._cuda = torch.cuda
        self.device = "cuda"
        self.between_us(lambda: self._sleep(10**6))
        self._cycles_per_us = 10**6 / self.between_us(lambda: self._sleep(10**6))

    def synchronise(self) -> None:
        """Wait until the GPU has nothing to do."""
        self._cuda.synchronize()

    def between_us(self, enqueue: Callable[[], None], busy_us: float = 0.0) -> float:
        """Return the time between events around what `enqueue` enqueues, after `busy_us` of other work."""
        begin, end = (self._cuda.Event(enable_timing=True) for _ in range(2))
        self.synchronise()
        if busy_us:
            self._sleep(int(busy_us * self._cycles_per_us))
        begin.record()
        enqueue()
        end.record()
        self.synchronise()
        return float(begin.elapsed_time(end)) * 1000

    def _sleep(self, cycles: int) -> None:
        self._cuda._sleep(cycles)


def spread(times: Sequence[float]) -> dict[str, float]:
    """Return median and quantiles as they stand in the file, to the nanosecond.

    Examples
    --------
    >>> spread([1.0, 2.0, 9.0])
    {'median': 2.0, 'p10': 1.2, 'p90': 7.6}
    """
    p10, median, p90 = np.quantile(times, (0.1, 0.5, 0.9))
    return {"median": round(float(median), 3), "p10": round(float(p10), 3), "p90": round(float(p90), 3)}


def figures(
    clock: Clock,
    one: Program,
    many: Program,
    n_many: int,
    fresh: Callable[[int], Sequence[Any]],
    n_ops: int,
) -> dict[str, dict[str, float]]:
    """Return the four figures of an op: programs of one op and of `n_many`, inputs from `fresh(ops)`."""
    for _ in range(N_WARM):
        for ops, k in ((one, 1), (many, n_many)):
            ops.load(fresh(k))
            ops.run()
            clock.synchronise()
    idle, host, queued, device = [], [], [], []
    for _ in range(n_ops):
        one.load(fresh(1))
        idle.append(clock.between_us(one.run))
    for _ in range(n_ops):
        one.load(fresh(1))
        host.append(_wall_us(clock, one.run, and_wait=True))
    many.load(fresh(n_many))
    busy_us = 2 * _wall_us(clock, many.run, and_wait=False) + 100
    for _ in range(max(N_RUNS, -(-n_ops // n_many))):
        many.load(fresh(n_many))
        queued.append(clock.between_us(many.run) / n_many)
        many.load(fresh(n_many))
        device.append(clock.between_us(many.run, busy_us) / n_many)
    times = {"idle_us": idle, "queued_us": queued, "device_us": device, "host_us": host}
    return {name: spread(times[name]) for name in FIGURES}


def _wall_us(clock: Clock, enqueue: Callable[[], None], *, and_wait: bool) -> float:
    clock.synchronise()
    begin = perf_counter_ns()
    enqueue()
    if and_wait:
        clock.synchronise()
    end = perf_counter_ns()
    clock.synchronise()
    return (end - begin) / 1000


class Fresh:
    """Inputs on the device, made beforehand; no op gets what another had, until all were used."""

    def __init__(self, device: Any, kind: str, n: int, b: int, n_ops: int, rng: np.random.Generator) -> None:
        if kind == "sample":
            arrays: tuple[npt.NDArray[Any], ...] = (rng.random((n_ops, b), np.float32),)
        else:
            arrays = rng.integers(0, n, (n_ops, b)), rng.exponential(size=(n_ops, b)).astype(np.float32)
        self._arrays, self._n_ops, self._next = on_device(device, *arrays), n_ops, 0

    def __call__(self, k: int) -> list[Any]:
        """Return the inputs of the next k ops, a row each."""
        if self._next + k > self._n_ops:
            self._next = 0
        self._next += k
        return [array[self._next - k : self._next] for array in self._arrays]


def on_device(device: Any, *arrays: npt.NDArray[Any]) -> list[Any]:
    """Return the arrays as tensors on a device."""
    torch = importlib.import_module("torch")
    return [torch.from_numpy(array).to(device) for array in arrays]
