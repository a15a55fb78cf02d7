"""A sum tree on a GPU: launches and one dependent access a level, in the qualities that exist; or as measured."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from amper.trace import OpKind, Trace
from hwsim import checks, units
from hwsim.closedform import ClosedTimes
from hwsim.component import Charge, Component, ComponentSpec
from hwsim.cost import GpuCosts, gpu_costs
from hwsim.measurement import FIGURES, Measurement, measurement
from hwsim.technology import Technology, technology

if TYPE_CHECKING:
    import simpy

#: Range of one launch, printed with every figure [preset gpus.toml, model.t_op_low_us and t_op_high_us].
T_OP_INTERVAL_US = (2.6, 10.0)
QUALITIES = ("fused", "torchrl", "eager", "host")
GPUS = ("gtx1080", "v100", "a100", "h100")
#: What a measurement calls each quality; a loop on the host is not measured, graphs are not modelled.
VARIANT_OF = {
    "fused": "fused",
    "torchrl": "torchrl",
    "eager": "torch",
    "graph": "torch-graph",
    "fused-graph": "fused-graph",
}
_KIND_OF = {OpKind.SAMPLE: "sample", OpKind.UPDATE: "update", OpKind.INSERT: "update"}


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
    measurement : str or Path, optional
        A file that `amper calibrate-gpu` wrote, or the name of one that comes with the package. Times are then the
        measured medians, and `quality` names what was measured: "fused", "eager", "torchrl"; also "graph", the
        eager operations in a CUDA graph, and "fused-graph". `gpu`, `t_op_us` and `technology` have no effect, and
        must be left alone.
    figure : {"idle", "queued", "device", "host"}
        Which of the measured figures: see `hwsim.calibrate_clock`.

    Notes
    -----
    Measured times are interpolated linearly in log n and in the rows of an op; nothing is extrapolated. A write of
    more rows than were measured is made in pieces of the largest size that was, the rest taking no less than the
    smallest.

    Modelled, T = n_op * t_op + (L + c_alu) / f for each of D = ceil(log2 n_rows) levels, L that of the L2 cache for
    levels that fit it with all above them, else DRAM's; these terms are hidden behind the launches of `eager` and
    `host`. An insert costs what an update costs. Neither energy nor area is known.
    """

    n_rows: int
    gpu: str = "a100"
    quality: str = "fused"
    t_op_us: float = 5.0
    technology: str | Path | Technology = "gpus"
    measurement: str | Path | None = None
    figure: str = "idle"
    _costs: GpuCosts = field(init=False, repr=False, compare=False)
    _measured: Measurement | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        checks.store_whole(self, "n_rows")
        object.__setattr__(self, "_measured", None if self.measurement is None else self._load(self.measurement))
        checks.one_of("gpu", self.gpu, GPUS)
        if self._measured is None:
            checks.one_of("quality", self.quality, QUALITIES)
            self._refuse_changed("figure", "without a measurement")
        checks.store_positive(self, "t_op_us", maximum=1e6)
        costs = gpu_costs(technology(self.technology), self.gpu, self.n_rows, self.t_op_us)
        object.__setattr__(self, "_costs", costs)

    def _load(self, name_or_path: str | Path) -> Measurement:
        """Return what was measured, where it serves this machine."""
        found = measurement(name_or_path)
        for name in ("gpu", "t_op_us", "technology"):
            self._refuse_changed(name, "with a measurement")
        checks.one_of("figure", self.figure, [name.removesuffix("_us") for name in FIGURES])
        checks.one_of("quality", self.quality, VARIANT_OF)
        variant = VARIANT_OF[self.quality]
        if variant not in found.variants:
            reason = found.absent.get(variant, "nothing was measured")
            known = [quality for quality, name in VARIANT_OF.items() if name in found.variants]
            checks.one_of(f"quality measured in {found.name!r}", self.quality, known, reason)
        for kind in ("sample", "update"):  # refuses an n_rows that was not measured
            found.latency_us(variant, kind, self.n_rows, found.batches(variant, kind)[0])
        return found

    def _refuse_changed(self, name: str, when: str) -> None:
        default = type(self).__dataclass_fields__[name].default
        if getattr(self, name) != default:
            raise ValueError(
                f"{name} must be left at {default!r} {when}, where it has no effect, got {getattr(self, name)!r}"
            )

    @property
    def is_measured(self) -> bool:
        """Whether the times were measured on a GPU, rather than modelled."""
        return self._measured is not None

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
        """Launches and memory, or the GPU as a whole where it was measured; energy and area unknown."""
        names = ("gpu",) if self.is_measured else self.phases
        return tuple(ComponentSpec(name=name, has_energy=False) for name in names)

    @property
    def phases(self) -> tuple[str, ...]:
        """What the latency of a sampling is split into."""
        return ("measured",) if self.is_measured else ("launches", "memory")

    @property
    def not_covered(self) -> tuple[str, ...]:
        """What the numbers leave out."""
        if self._measured is None:
            known = "" if self.gpu == "h100" else f"not validated on this GPU ({self.gpu}), only on an H100; "
            return ("energy and area of a GPU", f"{known}errors against an H100: amper validate", *_nearest(self.gpu))
        return (
            "energy and area of a GPU",
            f"measured on one {self._measured.gpu} with nothing else on it, fresh inputs, warm code: not what an "
            "agent's own kernels evict from its caches",
        )

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
        if self._measured is not None:
            return {
                "name": self.name,
                "n_rows": self.n_rows,
                "gpu": self._measured.gpu,
                "quality": self.quality,
                "figure": self.figure,
                "measurement": str(self.measurement),
            }
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

    def split_fs(self, kind: OpKind, count: int) -> tuple[int, ...]:
        """Return each phase's share of one op, femtoseconds: launches and memory, or what was measured.

        Raises
        ------
        ValueError
            If a sampling of so many draws lies outside what was measured.
        """
        if self._measured is not None:
            return (self._measured_fs(self._measured, kind, count),)
        hidden = self.quality in ("eager", "host")
        return self.n_launches(kind, count) * self._costs.t_op_fs, 0 if hidden else self._costs.descent_fs

    def _measured_fs(self, measured: Measurement, kind: OpKind, count: int) -> int:
        variant, name = VARIANT_OF[self.quality], _KIND_OF[kind]

        def at(b: int) -> int:
            return units.fs_from_ns(1000 * measured.latency_us(variant, name, self.n_rows, b, f"{self.figure}_us"))

        known = measured.batches(variant, name)
        if kind is OpKind.SAMPLE or count <= known[-1]:
            return at(count) if count else 0
        pieces, rest = divmod(count, known[-1])
        return pieces * at(known[-1]) + (at(max(rest, known[0])) if rest else 0)

    def closed(self, trace: Trace) -> ClosedTimes:
        """Return the times of every op of the trace."""
        ops = trace.ops
        sizes = zip(ops["kind"].tolist(), ops["count"].tolist(), strict=True)
        split = np.array([self.split_fs(OpKind(kind), count) for kind, count in sizes], np.int64)
        split = split.reshape(-1, len(self.phases))
        begins, nothing = np.cumsum(split, axis=1) - split, np.zeros(len(ops), np.int64)
        charges = [
            Charge(component=part.name, op=np.arange(len(ops)), offset_fs=begins[:, i], duration_fs=split[:, i],
                   energy_aj=nothing)
            for i, part in enumerate(self.components)
        ]  # fmt: skip
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
        split = self._machine.split_fs(kind, int(row["count"]))
        parts = [self._components[part.name] for part in self._machine.components]
        with self._stream.request() as grant:
            asked = int(self._env.now)
            yield grant
            if self._env.now > asked:
                parts[0].wait(op, asked, int(self._env.now) - asked, "stream")
            for part, duration in zip(parts, split, strict=True):
                part.work(op, int(self._env.now), duration)
                yield self._env.timeout(duration)
        return dict(zip(self._machine.phases, split, strict=True)) if kind is OpKind.SAMPLE else {}


def _nearest(gpu: str) -> tuple[str, ...]:
    return ("GTX 1080: memory latencies of the nearest measured Pascal (Quadro P6000)",) if gpu == "gtx1080" else ()
