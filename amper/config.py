"""What a replay is asked to be, checked once."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from amper import checks


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayConfig:
    """The parameters of `ReplayBuffer` that are numbers and words; documented there.

    Raises
    ------
    TypeError, ValueError
        If one is of the wrong type or out of range.
    """

    capacity: int
    alpha: float
    beta: float
    eps: float
    n_envs: int
    n_step: int
    discount: float
    seed: int | None
    storage: str
    threads: bool

    def __post_init__(self) -> None:
        self._set("capacity", checks.whole("capacity", self.capacity, at_least=1, at_most=checks.MOST_SLOTS))
        for name in ("alpha", "beta"):
            self._set(name, checks.number(name, getattr(self, name), 0.0, math.inf))
        self._set("eps", checks.number("eps", self.eps, 0.0, checks.LARGEST_EPS))
        self._set("discount", checks.number("discount", self.discount, 0.0, 1.0))
        self._set("n_envs", checks.whole("n_envs", self.n_envs, at_least=1))
        if self.n_envs > self.capacity:
            raise ValueError(f"n_envs must be at most the capacity {self.capacity}, got {self.n_envs!r}")
        checks.only("n_step", self.n_step, 1, "store one-step transitions")
        checks.only("storage", self.storage, "memory", "keep the rows in memory")
        checks.only("threads", self.threads, False, "guard calls from several threads by a lock of your own")
        if self.seed is not None:
            self._set("seed", checks.whole("seed", self.seed, at_least=0))

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)  # a plain Python number in place of what was given

    def to_dict(self) -> dict[str, Any]:
        """Return what a saved replay must be constructed with again, JSON-serialisable."""
        only = ("n_step", "storage", "threads")
        return {name: value for name, value in asdict(self).items() if name not in only}
