"""A sum tree on a GPU in the qualities that exist: launches, and one dependent access a level."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from amper.trace import OpKind, Trace
from hwsim import checks
from hwsim.closedform import ClosedTimes
from hwsim.component import Charge, Component, ComponentSpec
from hwsim.cost import GpuCosts, gpu_costs
from hwsim.technology import Technology, technology

if TYPE_CHECKING:
    import simpy

#: Range of one launch, printed with every figure [preset gpus.toml, model.t_op_low_us and t_op_high_us].
T_OP_INTERVAL_US = (2.6, 10.0)
QUALITIES = ("fused", "torchrl", "eager", "host")
GPUS = ("gtx1080", "v100", "a100", "h100")


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuSumtree:
    """A sum tree in the memory of one GPU.

    Parameters
    ----------
    n_rows : int
        Leaves.
    gpu : {"gtx1080", "v100", "a100", "h100"}
        Clock and memory latencies; "gtx1080" takes them from the nearest Pascal that was measured.
    quality : {"fused", "torchrl", "eager", "host"}
        One kernel an op; TorchRL's extension, 12 and 2 (1 + D) launches; an eager framework, 7 D; a loop on
        the host, 2 D a row.
    t_op_us : float
        One launch, microseconds; see `T_OP_INTERVAL_US`.
    technology : str, Path or Technology
        Where the GPUs' numbers stand.

    Notes
    -----
    T = n_op * t_op + D (L + c_alu) / f with D = ceil(log2 n_rows); the second term is hidden behind the
    launches of `eager` and `host`. An insert costs what an update costs. Neither energy nor area is known.
    """

    n_rows: int
    gpu: str = "a100"
    quality: str = "fused"
    t_op_us: float = 5.0
    technology: str | Path | Technology = "gpus"
    _costs: GpuCosts = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        checks.store_whole(self, "n_rows")
        checks.one_of("gpu", self.gpu, GPUS)
        checks.one_of("quality", self.quality, QUALITIES)
        checks.store_positive(self, "t_op_us", maximum=1e6)
        costs = gpu_costs(technology(self.technology), self.gpu, self.n_rows, self.t_op_us)
        object.__setattr__(self, "_costs", costs)

    @property
    def name(self) -> str:
        """Registered name."""
        return "sumtree-gpu"

    @property
    def clock_fs(self) -> int:
        """One femtosecond: the model has no clock."""
        return 1

    @property
    def components(self) -> tuple[ComponentSpec, ...]:
        """Launches and memory; energy and area unknown."""
        return tuple(ComponentSpec(name=name, has_energy=False) for name in self.phases)

    @property
    def phases(self) -> tuple[str, ...]:
        """What the latency of a sampling is split into."""
        return ("launches", "memory")

    @property
    def not_covered(self) -> tuple[str, ...]:
        """What the numbers leave out."""
        return ("energy and area of a GPU", "not validated on a GPU yet", *_nearest(self.gpu))

    def with_t_op(self, t_op_us: float) -> GpuSumtree:
        """Return the same machine with another launch time.

        Examples
        --------
        >>> machine = GpuSumtree(n_rows=20_000, gpu="gtx1080")
        >>> [machine.with_t_op(t).t_op_us for t in T_OP_INTERVAL_US]
        [2.6, 10.0]
        """
        return dataclasses.replace(self, t_op_us=t_op_us)

    def parameters(self) -> dict[str, Any]:
        """Return what it was made with, JSON-serialisable."""
        return {
            "name": self.name,
            "n_rows": self.n_rows,
            "gpu": self.gpu,
            "quality": self.quality,
            "t_op_us": self.t_op_us,
            "technology": str(self.technology),
        }

    def check(self, trace: Trace) -> None:
        """Accept every trace: a sum tree reads kinds and sizes only."""

    def n_dropped(self, trace: Trace) -> int:
        """Return 0: there is no candidate-set buffer."""
        del trace
        return 0

    def n_launches(self, kind: OpKind, count: int) -> int:
        """Return n_op of one op of `count` draws or rows."""
        depth = max(1, self._costs.depth)
        if self.quality == "fused":
            return 1
        if self.quality == "torchrl":
            return 12 if kind is OpKind.SAMPLE else 2 * (1 + depth)
        return 7 * depth if self.quality == "eager" else 2 * depth * count

    def split_fs(self, kind: OpKind, count: int) -> tuple[int, int]:
        """Return the launches' and the memory's share of one op, femtoseconds."""
        hidden = self.quality in ("eager", "host")
        return self.n_launches(kind, count) * self._costs.t_op_fs, 0 if hidden else self._costs.descent_fs

    def closed(self, trace: Trace) -> ClosedTimes:
        """Return the times of every op of the trace."""
        ops = trace.ops
        sizes = zip(ops["kind"].tolist(), ops["count"].tolist(), strict=True)
        split = np.array([self.split_fs(OpKind(kind), count) for kind, count in sizes], np.int64).reshape(-1, 2)
        index = np.arange(len(ops))
        nothing = np.zeros(len(ops), np.int64)
        charges = [
            Charge(component=name, op=index, offset_fs=at, duration_fs=split[:, i], energy_aj=nothing)
            for i, (name, at) in enumerate(zip(self.phases, (nothing, split[:, 0]), strict=True))
        ]
        sampled = ops["kind"] == OpKind.SAMPLE
        phases = {name: split[sampled, i] for i, name in enumerate(self.phases)}
        return ClosedTimes(latency_fs=split.sum(axis=1), phases_fs=phases, charges=charges)

    def processes(self, env: simpy.Environment, trace: Trace, components: Mapping[str, Component]) -> GpuProcesses:
        """Return the GPU at work on a trace."""
        return GpuProcesses(self, env, trace, components)


class GpuProcesses:
    """The GPU's one stream: ops pass through it in order, launches first, then the dependent accesses."""

    def __init__(
        self, machine: GpuSumtree, env: simpy.Environment, trace: Trace, components: Mapping[str, Component]
    ) -> None:
        import simpy as sp

        self._machine, self._env, self._components = machine, env, components
        self._ops = trace.ops
        self._stream = sp.Resource(env, capacity=1)

    def perform(self, op: int) -> Generator[simpy.Event, Any, dict[str, int]]:
        """Run op number `op` of the trace."""
        row = self._ops[op]
        kind = OpKind(int(row["kind"]))
        split = dict(zip(self._machine.phases, self._machine.split_fs(kind, int(row["count"])), strict=True))
        with self._stream.request() as grant:
            asked = int(self._env.now)
            yield grant
            if self._env.now > asked:
                self._components["launches"].wait(op, asked, int(self._env.now) - asked, "stream")
            for name, duration in split.items():
                self._components[name].work(op, int(self._env.now), duration)
                yield self._env.timeout(duration)
        return split if kind is OpKind.SAMPLE else {}


def _nearest(gpu: str) -> tuple[str, ...]:
    return ("GTX 1080: memory latencies of the nearest measured Pascal (Quadro P6000)",) if gpu == "gtx1080" else ()
