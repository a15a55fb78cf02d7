"""The shapes every part of a replay agrees on: samplers, replays, uniform sources, sinks, and a draw.

A sampler never sees the data. It is told which slots hold which codes (fixed-point masses) and returns
slots; the replay around it turns transitions into slots and priorities into codes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias, runtime_checkable

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from amper.fixedpoint import PriorityFormat

Int64: TypeAlias = npt.NDArray[np.int64]
UInt32: TypeAlias = npt.NDArray[np.uint32]
Float32: TypeAlias = npt.NDArray[np.float32]
Float64: TypeAlias = npt.NDArray[np.float64]
Array: TypeAlias = npt.NDArray[Any]

#: Columns of `Draw.searches`, in order; the meaning of each is `Trace.searches`'s.
SEARCH_COLUMNS = ("group", "key", "lo", "hi", "n_neighbours", "n_ternary_words", "n_matches", "attempt")


class Draw(NamedTuple):
    """What one sampling returned, and what it took to find it.

    Attributes
    ----------
    slots : int64[b]
        The slots drawn, with replacement.
    probabilities : float64[b]
        Chance of each drawn slot in one draw, as this sampler's importance weights take it.
    n_valid : int
        Slots that held a transition.
    n_csp : int
        Size of the candidate set of priorities (CSP) that was drawn from; `n_valid` where there is none.
    n_redraws : int
        Times all representatives were drawn anew because the CSP was too small.
    fallback : bool
        Whether the draws fell back to uniform over the valid slots.
    groups : int64[b] or None
        Group whose search found each drawn slot; None for samplers without groups, -1 in a fallback.
    searches : int64[k, 8] or None
        One row a search, columns `SEARCH_COLUMNS`; valid until the sampler's next sampling.
    """

    slots: Int64
    probabilities: Float64
    n_valid: int
    n_csp: int
    n_redraws: int = 0
    fallback: bool = False
    groups: Int64 | None = None
    searches: Int64 | None = None


@runtime_checkable
class UniformSource(Protocol):
    """A stream of numbers in [0, 1)."""

    def random(self, n: int) -> Float64:
        """Return the next `n` numbers, float64[n]."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Return everything needed to continue the stream, JSON-serialisable."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue the stream that `state` was taken from."""
        ...


class Sampler(Protocol):
    """Chooses slots by their codes. Callers pass distinct slots and codes >= 1; nothing is checked again."""

    @property
    def format(self) -> PriorityFormat:
        """Width and full scale of the codes."""
        ...

    @property
    def codes(self) -> UInt32:
        """Code stored for each slot, uint32[capacity]; 0 where no transition was written."""
        ...

    @property
    def options(self) -> dict[str, Any]:
        """The options this sampler was made with, JSON-serialisable."""
        ...

    @property
    def stats(self) -> dict[str, int]:
        """Counters of this sampler's own events."""
        ...

    def insert(self, slots: Int64, codes: Int64, *, at_maximum: bool) -> Int64:
        """Write new transitions and return the codes stored. Slots fill in ascending order, without gaps.

        A slot that is filled may be inserted again at any time. `at_maximum` says that `codes` are the largest code
        in use, as new transitions get by default.
        """
        ...

    def update(self, slots: Int64, codes: Int64) -> None:
        """Write new codes to slots that hold a transition."""
        ...

    def rescale(self, n_halvings: int) -> None:
        """Halve every stored code `n_halvings` times, rounded once, at least 1."""
        ...

    def sample(self, batch_size: int) -> Draw:
        """Draw `batch_size` slots, with replacement; at least one slot holds a transition."""
        ...

    def law(self, n_samplings: int) -> Float64:
        """Return the chance of each slot in one draw, float64[capacity]: exact, or a mean over samplings."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Return arrays and JSON-serialisable values that make the next samplings repeat exactly."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state`."""
        ...


UpdateResult: TypeAlias = tuple[int, int, int, float, int, int, int]
UpdateKernel: TypeAlias = Callable[..., UpdateResult]
"""Checks an update of priorities and perhaps writes it: `_kernels.update.check` and its kin."""


@runtime_checkable
class RowDrawer(Protocol):
    """A sampler that draws and hands out the rows in one compiled call: a shortcut, the same results."""

    def sample_rows(
        self, batch_size: int, rows: Array, layout: Int64, blocks: Array, block: int, beta: float, n_issued: int,
        discount: float,
    ) -> int:  # fmt: skip
        """Draw as `Sampler.sample`; what comes with it is of `_kernels.sample.sample_tree`, and so is the result."""
        ...


@runtime_checkable
class RowWriter(Protocol):
    """A sampler whose updates are checked and written in one compiled call: a shortcut, the same results."""

    @property
    def update_rows(self) -> UpdateKernel | None:
        """What checks an update and writes it to this sampler; None where the way it is set up has no shortcut."""
        ...


@runtime_checkable
class RunningMaximum(Protocol):
    """A sampler whose law depends on the largest code written."""

    def set_maximum(self, code: int) -> None:
        """Take `code`, at which new transitions will come, or the largest stored, for the largest written."""
        ...


@runtime_checkable
class Weighing(Protocol):
    """A sampler whose importance weights do not take the mean chances that `Sampler.law` tells."""

    def probabilities(self, slots: Int64) -> Float64:
        """Return the chance of each slot in one draw, as the importance weights take it."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceHeader:
    """What a trace was recorded from.

    Parameters
    ----------
    n_rows : int
        Capacity of the replay, in slots.
    row_bytes : int
        Bytes of one stored transition.
    bits : int
        Width of the recorded codes.
    sampler : str
        Registered name of the sampler.
    options : mapping
        The sampler's options, JSON-serialisable.
    seed : int or None
        Seed of the replay.
    source : str
        What drove the replay: an agent and environment, `synthetic`, or `replay of ...`.
    version : int
        Format version of the file.
    """

    n_rows: int
    row_bytes: int
    bits: int
    sampler: str
    options: Mapping[str, Any]
    seed: int | None
    source: str = ""
    version: int = 1


class Sink(Protocol):
    """Receives what a replay does, as it does it."""

    def begin(self, header: TraceHeader) -> None:
        """Take the description of the replay; called once, before anything else."""
        ...

    def record_insert(self, slots: Int64, codes: Array, actor: int = 0, *, at_maximum: bool = False) -> None:
        """Take one insert of new transitions; `at_maximum`: they came without priorities."""
        ...

    def record_update(self, slots: Int64, codes: Array, actor: int = 0) -> None:
        """Take one update of stored codes."""
        ...

    def record_sample(self, draw: Draw, actor: int = 0) -> None:
        """Take one sampling."""
        ...


class Replay(Protocol):
    """What an agent needs of a replay; `amper.ReplayBuffer` is one."""

    @property
    def capacity(self) -> int:
        """Largest number of transitions held."""
        ...

    def __len__(self) -> int: ...

    def add(self, *, priorities: Any = None, **columns: Any) -> Int64:
        """Store transitions; return their ids."""
        ...

    def sample(self, batch_size: int, beta: float | None = None) -> dict[str, Any]:
        """Return columns, `indices` and `weights` of `batch_size` draws."""
        ...

    def update_priorities(self, indices: Any, priorities: Any) -> int:
        """Store abs(TD error) of transitions; return how many live ones were written."""
        ...
