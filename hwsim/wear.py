"""How long a machine's cells last: writes to a row, a step at a time, against what the technology's cells survive."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from amper.trace import OpKind, Trace
from hwsim import checks
from hwsim.machines import Machine
from hwsim.technology import Cited, Technology, technology

SECONDS_A_YEAR = 365.25 * 86400


@dataclass(frozen=True, slots=True, kw_only=True)
class Endurance:
    """How soon cells wear out.

    Parameters
    ----------
    writes_per_step_busiest, writes_per_step_mean : float
        Writes a step to the row that is written most often, and to a row if all rows in use shared the writes
        evenly. A short trace overstates the first: in one step, one row has one write.
    steps_per_second : float
        The rate that was asked for.
    years_busiest, years_mean : float or None
        Until such a row has had as many writes as its cells survive; None where they have no limit, or where
        nothing is written.
    source : str or None
        Where the number of writes comes from; None where there is none.
    """

    writes_per_step_busiest: float
    writes_per_step_mean: float
    steps_per_second: float
    years_busiest: float | None
    years_mean: float | None
    source: str | None


def endurance(
    trace: Trace, machine: Machine | Technology | str | Path, *, steps_per_second: float, n_ops: int | None = None
) -> Endurance:
    """Return how many years a machine's cells last if it goes on as in `trace`.

    Parameters
    ----------
    trace : Trace
        A step is a sampling with the writes behind it, inserts and updates; what came before the first sampling
        filled the buffer and is not counted.
    machine : Machine, Technology, str or Path
        Whose cells: a machine without TCAM arrays holds its rows in cells without a limit; a technology, or its name,
        has the limit that it states as `endurance.writes`.
    steps_per_second : float
    n_ops : int, optional
        The trace's first ops only.

    Raises
    ------
    TypeError
        If a parameter is something else.
    ValueError
        If nothing is sampled, or a number is out of range.

    Notes
    -----
    years = writes survived / (writes a step * steps a second) / (365.25 * 86,400 s). A write is taken to wear every
    cell of its row, also those whose code does not change.

    Examples
    --------
    >>> import hwsim
    >>> trace = hwsim.synthetic_trace(1_000, batch_size=32, csp_fraction=0.1, n_ops=50, seed=0)
    >>> found = endurance(trace, "evacam-fefet45", steps_per_second=1_000.0)
    >>> found.writes_per_step_mean < 32 / 1_000 < found.writes_per_step_busiest
    True
    """
    if not isinstance(trace, Trace):
        raise TypeError(f"trace must be an amper.Trace, got {trace!r}")
    rate = checks.positive("steps_per_second", steps_per_second)
    busiest, mean = writes_per_step(trace, n_ops)
    limit = _limit(machine)

    def years(writes: float) -> float | None:
        return limit.value / (writes * rate) / SECONDS_A_YEAR if limit and writes else None

    return Endurance(
        writes_per_step_busiest=busiest,
        writes_per_step_mean=mean,
        steps_per_second=rate,
        years_busiest=years(busiest),
        years_mean=years(mean),
        source=None if limit is None else limit.source,
    )


def writes_per_step(trace: Trace, n_ops: int | None = None) -> tuple[float, float]:
    """Return the writes a step to the row written most often, and to a row in use on average, once it samples.

    Raises
    ------
    ValueError
        If nothing is sampled.
    """
    ops = trace.ops[: len(trace) if n_ops is None else checks.whole("n_ops", n_ops, 1, max(1, len(trace)))]
    sampled = np.flatnonzero(ops["kind"] == OpKind.SAMPLE)
    if not len(sampled):
        raise ValueError(f"trace must sample at least once, got {len(ops)} ops without a sampling")
    writing = ops["kind"] != OpKind.SAMPLE
    n_rows = 1 + int(_slots(trace, ops[writing]).max(initial=0))
    counts = np.bincount(_slots(trace, ops[sampled[0] :][writing[sampled[0] :]]), minlength=n_rows)
    return int(counts.max()) / len(sampled), int(counts.sum()) / n_rows / len(sampled)


def _slots(trace: Trace, written: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Return the slots that those ops write, one behind the other."""
    first, count = written["first"].astype(np.int64), written["count"].astype(np.int64)
    index = np.repeat(first - (np.cumsum(count) - count), count) + np.arange(int(count.sum()))
    slots: npt.NDArray[np.int64] = trace.writes["slot"][index].astype(np.int64)
    return slots


def _limit(machine: Machine | Technology | str | Path) -> Cited | None:
    """Return how many writes the cells that hold the rows survive; None where no limit is known."""
    if isinstance(machine, Machine):
        if not any(part.name == "arrays" for part in machine.components):
            return None
        # One that was scaled has a name that leads nowhere.
        machine = getattr(machine, "technology", machine.parameters()["technology"])
    if isinstance(machine, str | Path):
        machine = technology(machine)
    if not isinstance(machine, Technology):
        raise TypeError(f"machine must be a machine, a technology or its name, got {machine!r}")
    return machine.sections.get("endurance", {}).get("writes")
