"""What is wrong with an associative memory: cells that are stuck, and match lines that are misread.

Faults live where searches read the rows. They change which rows match, and nothing the host keeps: its codes, their
sum and the importance weights are those it believes it has stored. `tcam_search.TcamSearch` holds both.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from amper import checks
from amper._kernels import tcam as kernels
from amper.protocols import Float64, Int64
from amper.urng import NumpySource, child

Words = npt.NDArray[np.uint64]
Events = tuple[Int64, Int64, Int64]
NO_EVENTS: Events = (np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.int64))


@dataclass(frozen=True, slots=True, kw_only=True)
class TcamFaults:
    """How often what fails; each rate in 0..1, 0 by default.

    Parameters
    ----------
    stuck_cells : float
        Permanent. Each cell, one bit of one row, is stuck with this chance, at 0 or at 1 alike, from before the first
        write on; it keeps that bit whatever is written. Where the bit to be written is the bit it holds, it does no
        harm: about every second time.
    missed_matches : float
        Transient. A match line that should stay up reads as down: a row that agrees on every care bit is not found.
    false_matches : float
        Transient. A match line reads as up whatever its cells say: a valid row that differs in any care bit is found.
    sense_noise : float
        Transient. A valid row that differs in exactly one care bit is found. A match line is charged before a search
        and every cell that differs discharges it, so that the speed tells the number of mismatches (Ni et al., Nature
        Electronics 2019, read Hamming distances from it). With one mismatch the line falls slowest, and is the first
        that a sense amplifier, which looks once, at a fixed time, takes for a match; from two on the current is about
        double or more, and no error is modelled.

    Notes
    -----
    Every fault is independent of every other. The transient ones strike anew in each ternary search and each row: a
    range that takes three covering words has three chances to be misread at every row, and a row that is found by any
    of them is found. Whom a bad sense amplifier confuses follows from the words: a search of c care bits has c blocks
    of codes one bit away, at distances in value of up to half the largest code.

    Not modelled: failures of the valid bits, the priority encoder and the population count; a ternary cell stuck so
    that it matches always or never; errors of the search lines, which would strike all rows at once; faults that
    lie together in a row, column or array; wear, retention, and dependence on temperature. A trace tells how many rows
    each search found and not which, so that machines refuse to time traces of AMPER-fr with faults.

    Raises
    ------
    TypeError, ValueError
        If a rate is no number, or outside 0..1.

    Examples
    --------
    >>> TcamFaults(stuck_cells=1e-3).to_dict()
    {'stuck_cells': 0.001}
    """

    stuck_cells: float = 0.0
    missed_matches: float = 0.0
    false_matches: float = 0.0
    sense_noise: float = 0.0

    def __post_init__(self) -> None:
        for name in NAMES:
            object.__setattr__(self, name, checks.number(name, getattr(self, name), 0.0, 1.0))

    @property
    def are_transient(self) -> bool:
        """Whether any but the stuck cells can occur."""
        return any(getattr(self, name) > 0 for name in TRANSIENT)

    def to_dict(self) -> dict[str, float]:
        """Return the rates above 0, JSON-serialisable."""
        return {name: rate for name, rate in asdict(self).items() if rate > 0}


NAMES = tuple(field.name for field in fields(TcamFaults))
TRANSIENT = NAMES[1:]  # in the order of `Events`


def from_option(value: Any) -> TcamFaults | None:
    """Return what a sampler's option `faults` says: rates by name, or None for a memory without faults.

    Raises
    ------
    TypeError, ValueError
        If it is no such mapping, or a rate is none.
    """
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise TypeError(f"faults must be a mapping of {', '.join(NAMES)} to rates, or None, got {value!r}")
    for name in value:
        if name not in NAMES:
            raise ValueError(f"faults must be among {', '.join(NAMES)}, got {name!r}")
    return TcamFaults(**{name: checks.number(f"faults[{name!r}]", rate, 0.0, 1.0) for name, rate in value.items()})


class StuckCells(NamedTuple):
    """Cells that keep their bit.

    Attributes
    ----------
    where, held : uint64[bits, w]
        Bit planes: which cells, and the bit each of them holds, 0 elsewhere.
    """

    where: Words
    held: Words


class FaultSource:
    """Decides by chance when and where the faults of one memory strike.

    A fault of small rate costs what its events cost, not what the rows would: the rows between two events are drawn as
    one geometric number, which is exact in law. Each kind has its own stream, so that one rate moves no other kind.

    Parameters
    ----------
    faults : TcamFaults
        Rates.
    seed : numpy.random.SeedSequence
        Of the sampler whose memory it is.
    """

    def __init__(self, faults: TcamFaults, seed: np.random.SeedSequence) -> None:
        self._faults = faults
        self._sources = {name: NumpySource(child(seed, f"faults/{name}")) for name in NAMES}

    def stuck_cells(self, n_rows: int, bits: int) -> StuckCells:
        """Return the stuck cells of a new memory."""
        plane, row = np.divmod(self._happen("stuck_cells", n_rows * bits), n_rows)
        bit = np.uint64(1) << (row & 63).astype(np.uint64)
        is_one = self._sources["stuck_cells"].random(len(row)) < 0.5
        where, held = np.zeros((2, bits, -(-n_rows // 64)), np.uint64)
        np.bitwise_or.at(where, (plane, row >> 6), bit)
        np.bitwise_or.at(held, (plane[is_one], row[is_one] >> 6), bit[is_one])
        return StuckCells(where, held)

    def events(self, n_searches: int, n_rows: int) -> Events:
        """Return what strikes the next searches, each kind as n_rows * search + row, ascending."""
        if not self._faults.are_transient:
            return NO_EVENTS
        missed, false, noisy = (self._happen(name, n_searches * n_rows) for name in TRANSIENT)
        return missed, false, noisy

    def _happen(self, name: str, n_trials: int) -> Int64:
        """Return which of so many independent trials come out 1, ascending."""
        rate = getattr(self._faults, name)
        if rate == 0.0 or n_trials == 0:
            return NO_EVENTS[0]
        log_miss = math.log1p(-rate) if rate < 1.0 else -math.inf
        found, begin = [], 0
        while begin < n_trials:
            mean = rate * (n_trials - begin)
            uniforms: Float64 = self._sources[name].random(int(mean + 4.0 * math.sqrt(mean)) + 8)
            positions = np.empty(len(uniforms), np.int64)
            n, begin = kernels.happen(uniforms, log_miss, begin, n_trials, positions)
            found.append(positions[:n])
        return found[0] if len(found) == 1 else np.concatenate(found)

    def state_dict(self) -> dict[str, Any]:
        """Return what makes the next events repeat exactly."""
        return {name: source.state_dict() for name, source in self._sources.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state`."""
        for name, source in self._sources.items():
            source.load_state_dict(state[name])
