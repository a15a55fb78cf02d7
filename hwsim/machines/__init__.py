"""The registry of machines, and what every machine must be able to say of itself."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from hwsim.checks import one_of

if TYPE_CHECKING:
    import simpy

    from amper.trace import Trace
    from hwsim.closedform import ClosedTimes
    from hwsim.component import Component, ComponentSpec

__all__ = ["Machine", "Processes", "available", "make", "register"]


class Processes(Protocol):
    """A machine at work in an event simulation."""

    def perform(self, op: int) -> Generator[simpy.Event, Any, dict[str, int]]:
        """Run op number `op` of the trace; return its phases in femtoseconds (empty for writes)."""
        ...


@runtime_checkable
class Machine(Protocol):
    """Hardware that could have served a trace.

    A machine may also have `closed(trace) -> ClosedTimes`; without it fidelity "closed" does not apply.
    """

    @property
    def name(self) -> str:
        """Registered name."""
        ...

    @property
    def n_rows(self) -> int:
        """Slots it holds."""
        ...

    @property
    def clock_fs(self) -> int:
        """One clock cycle in femtoseconds, at whose edges it takes ops in; 1 where it has no clock."""
        ...

    @property
    def components(self) -> tuple[ComponentSpec, ...]:
        """What it is built of."""
        ...

    @property
    def phases(self) -> tuple[str, ...]:
        """What the latency of a sampling is split into."""
        ...

    @property
    def not_covered(self) -> tuple[str, ...]:
        """What its numbers leave out."""
        ...

    def parameters(self) -> dict[str, Any]:
        """Return what it was made with, JSON-serialisable."""
        ...

    def check(self, trace: Trace) -> None:
        """Raise ValueError if it could not have served the trace."""
        ...

    def n_dropped(self, trace: Trace) -> int:
        """Return how many matches a full candidate-set buffer lost."""
        ...

    def processes(self, env: simpy.Environment, trace: Trace, components: Mapping[str, Component]) -> Processes:
        """Return the machine at work on a trace."""
        ...


@runtime_checkable
class HasClosedForm(Protocol):
    """A machine with a formula."""

    def closed(self, trace: Trace) -> ClosedTimes:
        """Return the times and charges of every op of the trace."""
        ...


@runtime_checkable
class HasArrays(Protocol):
    """A machine with a slower reference of its own, array by array."""

    def array_processes(self, env: simpy.Environment, trace: Trace, components: Mapping[str, Component]) -> Processes:
        """Return the machine at work on a trace, nothing summed up inside an op."""
        ...


_factories: dict[str, str | Callable[..., Machine]] = {
    "amper-fr": "hwsim.machines.amper:amper_fr",
    "amper-k": "hwsim.machines.amper:amper_k",
    "rejection-onchip": "hwsim.machines.onchip_rejection:RejectionMachine",
    "sumtree-cpu": "hwsim.machines.cpu_sumtree:CpuSumtree",
    "sumtree-gpu": "hwsim.machines.gpu_sumtree:GpuSumtree",
    "sumtree-onchip": "hwsim.machines.onchip_sumtree:TreeMachine",
}


def available() -> list[str]:
    """Return the registered names."""
    return sorted(_factories)


def register(name: str, factory: Callable[..., Machine]) -> None:
    """Make `machine(name, n_rows=..., ...)` call `factory(n_rows=..., ...)`.

    Raises
    ------
    ValueError
        If the name is taken.
    """
    if name in _factories:
        raise ValueError(f"name must be new, got {name!r}; registered: {', '.join(available())}")
    _factories[name] = factory


def make(name: str | Path, **parameters: Any) -> Machine:
    """Return the machine of that name, or of a machine file.

    Parameters
    ----------
    name : str or Path
        One of `available()`; or the path of a TOML file (`hwsim.configuration`), a string if it ends in ".toml".
    **parameters
        `n_rows`, and what the machine's factory takes; they win over a file's.

    Raises
    ------
    ValueError
        If the name is unknown, a parameter is out of range, or the file is not valid.
    TypeError
        If a parameter is missing or not one of the machine's.

    Examples
    --------
    >>> make("amper-fr", n_rows=20_000, n_csb_ports=8).n_rows
    20000
    """
    if isinstance(name, Path) or (isinstance(name, str) and name.endswith(".toml")):
        from hwsim.configuration import load_machine

        return load_machine(name).make(**parameters)
    factory = _factories[one_of("name", name, available(), "or give the path of a .toml file")]
    if isinstance(factory, str):
        module, _, attribute = factory.partition(":")
        factory = getattr(importlib.import_module(module), attribute)
    assert callable(factory)
    known = dict(inspect.signature(factory).parameters)
    for fixed in getattr(factory, "keywords", {}):
        del known[fixed]
    takes_any = any(p.kind is p.VAR_KEYWORD for p in known.values())
    for parameter in parameters:
        if parameter not in known and not takes_any:
            raise TypeError(f"parameters of {name!r} must be among {', '.join(known)}, got {parameter!r}")
    if "n_rows" in known and "n_rows" not in parameters:
        raise TypeError(f"n_rows must be given for {name!r}, got nothing")
    return factory(**parameters)
