"""What no sum tree can be faster than: a launch that does nothing, and an access that waits for the one before."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from hwsim.calibrate_clock import N_RUNS, N_WARM, Clock, figures, on_device, spread

_CALLS, _CHASED = 50, 256
_BUSY_US = 500  # of other work, so that no launch waits for the host


class _Calls:
    """A program of calls without inputs: what the launches themselves take."""

    def __init__(self, call: Callable[[], Any], k: int) -> None:
        self._call, self._k = call, k
        self.results: list[tuple[Any, ...]] = []

    def load(self, inputs: Sequence[Any]) -> None:
        """Nothing is read."""

    def run(self) -> None:
        """Call, again and again."""
        for _ in range(self._k):
            self._call()


def launch_figures(clock: Clock, n_ops: int) -> dict[str, dict[str, float]]:
    """Return the four figures of an empty kernel."""
    return _figures_of(clock, _empty_kernel(clock), n_ops)


def operation_figures(clock: Clock, n_ops: int) -> dict[str, dict[str, float]]:
    """Return the four figures of one PyTorch operation on one number."""
    (number,) = on_device(clock.device, np.zeros(1, np.float32))
    return _figures_of(clock, number.neg_, n_ops)


def _figures_of(clock: Clock, call: Callable[[], Any], n_ops: int) -> dict[str, dict[str, float]]:
    return figures(clock, _Calls(call, 1), _Calls(call, _CALLS), _CALLS, lambda k: (), n_ops)


def _empty_kernel(clock: Clock) -> Callable[[], Any]:
    from hwsim._kernels import cuda_sumtree as kernels

    launch, (nothing,) = kernels.empty_launch(), on_device(clock.device, np.zeros(1, np.float32))
    array = kernels.device_array(nothing)
    return lambda: launch(array)


def access(clock: Clock, n: int, seed: int) -> dict[str, Any]:
    """Return what one access takes that waits for the one before, in memory of the size of the tree over n leaves."""
    from hwsim._kernels import cuda_sumtree as kernels

    rng = np.random.default_rng((seed, n))
    n_nodes = 2 << (n - 1).bit_length()
    order = rng.permutation(n_nodes).astype(np.int32)
    successor = np.empty_like(order)  # one cycle through all nodes, in random order
    successor[order] = np.roll(order, -1)
    chain, end = map(kernels.device_array, on_device(clock.device, successor, np.zeros(1, np.int32)))
    launch, times = kernels.chase_launch(), []
    for i in range(N_RUNS + N_WARM):
        begin = int(rng.integers(n_nodes))
        none, every = (clock.between_us(partial(launch, chain, begin, k, end), _BUSY_US) for k in (0, _CHASED))
        if i >= N_WARM:
            times.append((every - none) / _CHASED)
    return {"n": n, "depth": (n - 1).bit_length(), "access_us": spread(times)}
