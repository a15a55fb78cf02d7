"""n-step returns, over several environments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from amper._kernels import nstep as kernels
from amper.fields import Field, RowLayout
from amper.protocols import Array
from amper.stages import Steps, check_counts, check_priorities, need

_DISCOUNT = Field("discount", (), np.dtype(np.float32))


class NStep:
    """Joins n steps of an environment into one transition, fewer where an episode ends.

    With R the reward, G the discount: reward = R_t + G R_t+1 + .. + G**(k-1) R_t+k-1; columns `next_*`, `terminated`
    and `truncated` are those of step t + k - 1, the others of step t; `discount` = G**k, 0 if terminated. k = n, or
    the steps up to the episode's end, which issues all pending (Sutton and Barto 2018, section 7.1).

    Parameters
    ----------
    fields : tuple of Field
        Of a step.
    n : int
        Steps joined, at least 1.
    n_envs : int
        Environments.
    discount : float
        Per step.

    Raises
    ------
    ValueError
        If `terminated` or `truncated` is missing; or, for n > 1, a floating `reward` or any `next_*`.
    """

    def __init__(self, fields: tuple[Field, ...], n: int, n_envs: int, discount: float) -> None:
        names = {f.name: f for f in fields}
        need(fields, ("terminated", "truncated"), f"n_step={n}" if n > 1 else "sequences")
        following = [name for name in names if name.startswith("next_")]
        if n > 1 and ("reward" not in names or names["reward"].dtype.kind != "f" or names["reward"].shape):
            raise ValueError(f"fields must have a floating scalar 'reward' for n_step={n}, got {names.get('reward')}")
        if n > 1 and not following:
            raise ValueError(f"fields must have a column 'next_*' for n_step={n}, got {', '.join(names)}")
        self.fields = (*fields, _DISCOUNT)
        self._sums, self._names = n > 1, (*names, _DISCOUNT.name)
        self._n_envs = n_envs
        self._row = RowLayout(self.fields)
        self._spans = np.array([self._row.span(name) for name in (*following, "terminated", "truncated")], np.int64)
        self._terminated_at = self._row.offsets["terminated"]
        self._powers = discount ** np.arange(n + 1.0)
        self._largest = float(np.finfo(names["reward"].dtype).max) if n > 1 else 0.0
        self._room: tuple[Array, ...] = ()
        self._records = np.empty(0, self._row.record)
        self._pending = np.zeros((n_envs, n, self._row.stride), np.uint8)
        self._rewards, self._priorities = np.zeros((n_envs, n)), np.zeros((n_envs, n))
        self._counts, self._heads = np.zeros(n_envs, np.int64), np.zeros(n_envs, np.int64)

    @property
    def n_pending(self) -> int:
        """Steps no transition was issued for yet."""
        return int(self._counts.sum())

    @property
    def _state(self) -> tuple[Array, ...]:
        return self._pending, self._rewards, self._priorities, self._counts, self._heads

    def push(self, steps: Steps) -> Steps:
        """Take steps; return the transitions complete by them."""
        rows = self._row.pack(steps.columns, steps.k)
        rewards = steps.columns["reward"].astype(np.float64) if self._sums else np.zeros(steps.k)
        out = self._out(steps.k + self.n_pending)
        given = (rows, rewards, steps.priorities, steps.envs, steps.ends)
        n_out = kernels.push(
            self._state, self._terminated_at, given, self._spans, self._powers, self._largest, out
        )  # fmt: skip
        return self._steps(n_out)

    def flush(self, env: int) -> Steps:
        """Return the pending steps of an environment as transitions that bootstrap from its last observation."""
        out = self._out(int(self._counts[env]))
        n_out = kernels.flush(
            self._state, self._terminated_at, env, self._spans, self._powers, self._largest, out, 0
        )  # fmt: skip
        return self._steps(n_out)

    def _out(self, m: int) -> tuple[Array, ...]:
        """Return room for m transitions: the same every time, as long as it is enough."""
        if not self._room or len(self._room[0]) < m:
            rows = np.empty((m, self._row.stride), np.uint8)
            self._records = self._row.records(rows)
            self._room = (rows, np.empty(m), np.empty(m), np.empty(m), np.empty(m, np.int64), np.empty(m, np.bool_))
        return self._room

    def _steps(self, m: int) -> Steps:
        rows, returns, discounts, priorities, envs, ends = self._room
        records = self._records[:m]
        if m:
            records["discount"] = discounts[:m]
            if self._sums:
                records["reward"] = returns[:m]
        return Steps({name: records[name] for name in self._names}, envs[:m], ends[:m], priorities[:m], rows[:m])

    def __getstate__(self) -> dict[str, Any]:
        """Leave the room behind: records must be of its rows."""
        return {**self.__dict__, "_room": (), "_records": self._records[:0].copy()}

    def state_dict(self) -> dict[str, Any]:
        """Return the pending steps."""
        names = ("pending", "rewards", "priorities", "counts", "heads")
        return {name: array.copy() for name, array in zip(names, self._state, strict=True)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state`."""
        n = len(self._powers) - 1
        check_counts("counts", state["counts"], n)
        check_counts("heads", state["heads"], n)
        check_priorities(state["priorities"])
        for name, array in self.state_dict().items():
            getattr(self, f"_{name}")[...] = np.asarray(state[name], array.dtype)
