"""The library's own sum tree on one CPU core, as measured: a call, and a share for each row."""

from __future__ import annotations

import math
import re
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from amper.trace import OpKind, Trace
from hwsim import checks, units
from hwsim.closedform import ClosedTimes
from hwsim.component import Charge, Component, ComponentSpec
from hwsim.technology import Technology, technology

if TYPE_CHECKING:
    import simpy

_NAME_OF = {OpKind.INSERT: "insert", OpKind.UPDATE: "update", OpKind.SAMPLE: "sample"}


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuSumtree:
    """A sum tree in the memory of one CPU, worked on by one core.

    Parameters
    ----------
    n_rows : int
        Leaves; at most the largest size that was measured.
    technology : str, Path or Technology
        Where the measured times stand: a preset, or a file that `amper calibrate-cpu` wrote.

    Notes
    -----
    T = call + b * row for an op of b rows. A sampling runs from the request to b indices with their masses; an
    update writes b masses, an insert likewise, to consecutive slots. Between two measured sizes call and row are
    interpolated linearly in log n; below the smallest they are the smallest's. Neither energy nor area is known.
    """

    n_rows: int
    technology: str | Path | Technology = "cpu-epyc"
    _costs_fs: Mapping[OpKind, tuple[int, int]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        checks.store_whole(self, "n_rows")
        object.__setattr__(self, "_costs_fs", _cpu_costs(technology(self.technology), int(self.n_rows)))

    @property
    def name(self) -> str:
        """Registered name."""
        return "sumtree-cpu"

    @property
    def clock_fs(self) -> int:
        """One femtosecond: the model has no clock."""
        return 1

    @property
    def components(self) -> tuple[ComponentSpec, ...]:
        """The core; energy and area unknown."""
        return (ComponentSpec(name="core", has_energy=False),)

    @property
    def phases(self) -> tuple[str, ...]:
        """What the latency of a sampling is split into."""
        return ("call", "rows")

    @property
    def not_covered(self) -> tuple[str, ...]:
        """What the numbers leave out."""
        return (
            "energy and area of a CPU",
            "measured on one core with warm code, fresh indices: neither what an agent evicts from the caches "
            "between two ops, nor what other cores do",
        )

    def parameters(self) -> dict[str, Any]:
        """Return what it was made with, JSON-serialisable."""
        return {"name": self.name, "n_rows": self.n_rows, "technology": str(self.technology)}

    def check(self, trace: Trace) -> None:
        """Accept every trace: a sum tree reads kinds and sizes only."""

    def n_dropped(self, trace: Trace) -> int:
        """Return 0: there is no candidate-set buffer."""
        del trace
        return 0

    def split_fs(self, kind: OpKind, count: int) -> tuple[int, int]:
        """Return the call's and the rows' share of one op, femtoseconds."""
        call, row = self._costs_fs[kind]
        return call, count * row

    def closed(self, trace: Trace) -> ClosedTimes:
        """Return the times of every op of the trace."""
        ops = trace.ops
        sizes = zip(ops["kind"].tolist(), ops["count"].tolist(), strict=True)
        split = np.array([self.split_fs(OpKind(kind), count) for kind, count in sizes], np.int64).reshape(-1, 2)
        latency, nothing = split.sum(axis=1), np.zeros(len(ops), np.int64)
        charge = Charge(
            component="core", op=np.arange(len(ops)), offset_fs=nothing, duration_fs=latency, energy_aj=nothing
        )
        sampled = ops["kind"] == OpKind.SAMPLE
        phases = {name: split[sampled, i] for i, name in enumerate(self.phases)}
        return ClosedTimes(latency_fs=latency, phases_fs=phases, charges=[charge])

    def processes(self, env: simpy.Environment, trace: Trace, components: Mapping[str, Component]) -> CpuProcesses:
        """Return the core at work on a trace."""
        return CpuProcesses(self, env, trace, components)


class CpuProcesses:
    """The one core: ops take it in the order in which they ask for it, and hold it to their end."""

    def __init__(
        self, machine: CpuSumtree, env: simpy.Environment, trace: Trace, components: Mapping[str, Component]
    ) -> None:
        import simpy as sp

        self._machine, self._env, self._core = machine, env, components["core"]
        self._ops = trace.ops
        self._turn = sp.Resource(env, capacity=1)

    def perform(self, op: int) -> Generator[simpy.Event, Any, dict[str, int]]:
        """Run op number `op` of the trace."""
        row = self._ops[op]
        kind = OpKind(int(row["kind"]))
        split = dict(zip(self._machine.phases, self._machine.split_fs(kind, int(row["count"])), strict=True))
        with self._turn.request() as grant:
            asked = int(self._env.now)
            yield grant
            if self._env.now > asked:
                self._core.wait(op, asked, int(self._env.now) - asked, "core")
            duration = sum(split.values())
            self._core.work(op, int(self._env.now), duration)
            yield self._env.timeout(duration)
        return split if kind is OpKind.SAMPLE else {}


def _cpu_costs(tech: Technology, n_rows: int) -> dict[OpKind, tuple[int, int]]:
    """Return (call, row) of each kind of op at `n_rows`, femtoseconds.

    Raises
    ------
    ValueError
        If nothing was measured, a number is missing, or `n_rows` lies above the largest size.
    """
    sizes = sorted(int(name[1:]) for name in tech.sections if re.fullmatch(r"n[1-9]\d*", name))
    if not sizes:
        raise ValueError(f"technology must hold measured sizes of a CPU ([n10000], ...), got none in {tech.name!r}")
    if n_rows > sizes[-1]:
        raise ValueError(
            f"n_rows must be at most {sizes[-1]}, the largest size measured in {tech.name!r}, got {n_rows}; "
            f"measure it: amper calibrate-cpu --n ... {n_rows} --out FILE, then technology=FILE"
        )

    def at(key: str) -> int:
        # Nothing is extrapolated: np.interp keeps the end values, and above the largest size was refused.
        values = [tech.number(f"n{n}.{key}") for n in sizes]
        return units.fs_from_ns(float(np.interp(math.log(n_rows), [math.log(n) for n in sizes], values)))

    return {kind: (at(f"{name}_call_ns"), at(f"{name}_row_ns")) for kind, name in _NAME_OF.items()}
