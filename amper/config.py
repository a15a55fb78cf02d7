"""What a replay is asked to be, checked once."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from amper import checks, schedules
from amper.sequences import Sequences


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayConfig:
    """The parameters of `ReplayBuffer` that are numbers and words; documented there.

    Raises
    ------
    TypeError, ValueError
        If one is of the wrong type or out of range.
    """

    capacity: int
    alpha: float | schedules.Linear
    beta: float | schedules.Linear
    eps: float
    n_envs: int
    n_step: int
    discount: float
    seed: int | None
    sequences: Sequences | None
    compact: bool
    storage: str | os.PathLike[str]
    threads: bool

    def __post_init__(self) -> None:
        self._set("capacity", checks.whole("capacity", self.capacity, at_least=1, at_most=checks.MOST_SLOTS))
        for name in ("alpha", "beta"):
            self._set(name, schedules.exponent(name, getattr(self, name)))
        self._set("eps", checks.number("eps", self.eps, 0.0, checks.LARGEST_EPS))
        self._set("discount", checks.number("discount", self.discount, 0.0, 1.0))
        self._set("n_envs", checks.whole("n_envs", self.n_envs, at_least=1))
        if self.n_envs > self.capacity and self.sequences is None:
            raise ValueError(f"n_envs must be at most the capacity {self.capacity}, got {self.n_envs!r}")
        self._set("n_step", checks.whole("n_step", self.n_step, at_least=1, at_most=2**20))
        if self.seed is not None:
            self._set("seed", checks.whole("seed", self.seed, at_least=0))
        if not isinstance(self.sequences, Sequences | None):
            raise TypeError(f"sequences must be an amper.Sequences or None, got {self.sequences!r}")
        for name in ("compact", "threads"):
            checks.truth(name, getattr(self, name))
        if self.compact and self.sequences:
            raise ValueError("compact must be False for sequences, got True")
        if not isinstance(self.storage, str | os.PathLike) or not os.fspath(self.storage):
            raise TypeError(f"storage must be 'memory' or a folder, got {self.storage!r}")
        if self.storage != "memory":  # another one may change the working folder
            self._set("storage", os.path.abspath(os.fspath(self.storage)))
        if self.compact and self.on_disk:
            raise ValueError(f"compact must be False on disk, got True with storage={self.storage!r}")

    @property
    def on_disk(self) -> bool:
        """Whether the rows are in a folder."""
        return self.storage != "memory"

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)  # a plain Python number in place of what was given

    def to_dict(self) -> dict[str, Any]:
        """Return what a saved replay must be constructed with again, JSON-serialisable."""
        return {name: value for name, value in asdict(self).items() if name not in ("storage", "threads")}


def from_dict(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keyword arguments of `ReplayBuffer` that a saved configuration stands for."""
    options = dict(config)
    for name in ("alpha", "beta"):
        options[name] = schedules.from_json(options[name])
    if options["sequences"] is not None:
        options["sequences"] = Sequences(**options["sequences"])
    return options
