"""Sequences of steps for recurrent agents: burn-in, mask, and their priorities."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from amper import checks
from amper._kernels import sequences as kernels
from amper.fields import Field, RowLayout
from amper.protocols import Array, Float64
from amper.stages import Steps, check_counts, check_priorities

_LONGEST = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Sequences:
    """What `ReplayBuffer(sequences=...)` stores and samples instead of single transitions.

    Sequence i of an episode holds its steps i * period and on: `burn_in` steps to warm up a recurrent state, then
    `length` steps to learn from. The last one of an episode ends where the episode ends; none crosses it. `mask` says
    which steps to learn from: those after the burn-in, up to the episode's end; and where a sequence begins the
    episode, and the recurrent state is therefore known, the steps of the burn-in as well. What lies beyond an
    episode's end is zeros.

    Parameters
    ----------
    length : int
        Steps to learn from.
    burn_in : int
        Steps before them.
    period : int, optional
        Steps from the beginning of one sequence to that of the next; `length` by default, so that every step is
        learned from in one sequence; at most that.
    eta : float
        Priority of a sequence: eta * max + (1 - eta) * mean of its steps' abs(TD error), over the mask
        (Kapturowski et al. 2019, section 2.3).

    Raises
    ------
    TypeError, ValueError
        If one is of the wrong type or out of range.
    """

    length: int
    burn_in: int = 0
    period: int | None = None
    eta: float = 0.9

    def __post_init__(self) -> None:
        length = checks.whole("length", self.length, at_least=1, at_most=_LONGEST)
        period = length if self.period is None else self.period
        kept = {
            "length": length,
            "burn_in": checks.whole("burn_in", self.burn_in, at_least=0, at_most=_LONGEST),
            "period": checks.whole("period", period, at_least=1, at_most=length),
            "eta": checks.number("eta", self.eta, 0.0, 1.0),
        }
        for name, value in kept.items():
            object.__setattr__(self, name, value)  # a plain Python number in place of what was given

    @property
    def n_steps(self) -> int:
        """Steps of a sequence, burn-in included."""
        return self.burn_in + self.length


def sequence_priorities(td_abs: Array, mask: Array, eta: float = 0.9) -> Float64:
    """Return eta * max + (1 - eta) * mean over each row's masked steps.

    Parameters
    ----------
    td_abs : float[b, t]
        Raw abs(TD error); entries outside the mask are not looked at.
    mask : bool[b, t]
        At least one True a row.
    eta : float

    Returns
    -------
    float64[b]

    Examples
    --------
    >>> sequence_priorities(np.array([[1.0, 3.0, 99.0]]), np.array([[True, True, False]]))
    array([2.9])
    """
    values = np.where(mask, td_abs, 0.0).astype(np.float64)
    largest = values.max(axis=1)
    mean = np.minimum((values / mask.sum(axis=1)[:, np.newaxis]).sum(axis=1), largest)
    priorities: Float64 = eta * largest + (1.0 - eta) * mean
    return priorities


class SequenceStage:
    """Joins the steps of an environment into sequences; see `Sequences`.

    Parameters
    ----------
    fields : tuple of Field
        Of a step.
    sequences : Sequences
    n_envs : int
        Environments.
    """

    def __init__(self, fields: tuple[Field, ...], sequences: Sequences, n_envs: int) -> None:
        n = sequences.n_steps
        self.fields = (
            *(Field(f.name, (n, *f.shape), f.dtype) for f in fields), Field("mask", (n,), np.dtype(np.bool_)),
        )  # fmt: skip
        self._step, self._row = RowLayout(fields), RowLayout(self.fields)
        self._columns = np.array([(*self._step.span(f.name), self._row.offsets[f.name]) for f in fields], np.int64)
        self._columns = self._columns[:, [0, 2, 1]].copy()
        period = sequences.period or sequences.length
        self._plan = (n, sequences.burn_in, period, self._row.offsets["mask"], sequences.eta)
        self._window = np.zeros((n_envs, n, self._step.stride), np.uint8)
        self._priorities = np.zeros((n_envs, n))
        self._counts, self._covered = np.zeros(n_envs, np.int64), np.zeros(n_envs, np.int64)

    @property
    def n_pending(self) -> int:
        """Steps no sequence was issued for yet."""
        return int((self._counts - self._covered).sum())

    @property
    def _state(self) -> tuple[Array, ...]:
        return self._window, self._priorities, self._counts, self._covered

    def push(self, steps: Steps) -> Steps:
        """Take steps; return the sequences complete by them."""
        out = self._room(steps.k)
        rows = self._step.pack(steps.columns, steps.k) if steps.rows is None else steps.rows
        given = (rows, steps.priorities, steps.envs, steps.ends)
        return self._steps(out, kernels.push(self._state, self._plan, self._columns, given, out))

    def flush(self, env: int) -> Steps:
        """Return the sequence that an environment's cut stream leaves, if any."""
        out = self._room(1)
        return self._steps(out, kernels.flush(self._state, self._plan, self._columns, env, out, 0))

    def _room(self, m: int) -> tuple[Array, ...]:
        return np.empty((m, self._row.stride), np.uint8), np.empty(m), np.empty(m, np.int64)

    def _steps(self, out: tuple[Array, ...], m: int) -> Steps:
        rows, priorities, envs = (array[:m] for array in out)
        records = self._row.records(rows)
        columns = {f.name: records[f.name] for f in self.fields}
        return Steps(columns, envs, np.zeros(m, np.bool_), priorities, rows)

    def state_dict(self) -> dict[str, Any]:
        """Return the pending steps."""
        names = ("window", "priorities", "counts", "covered")
        return {name: array.copy() for name, array in zip(names, self._state, strict=True)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state`."""
        check_counts("counts", state["counts"], 2**62)
        check_counts("covered", state["covered"], 2**62)
        check_priorities(state["priorities"])
        n, _, period, _, _ = self._plan
        gap = state["counts"] - state["covered"]
        whole = (state["covered"] == 0) | ((state["covered"] >= n) & ((state["covered"] - n) % period == 0))
        if (gap < 0).any() or (gap >= np.where(state["covered"] == 0, n, period)).any() or not whole.all():
            raise ValueError(f"covered must fit counts {state['counts'].tolist()}, got {state['covered'].tolist()}")
        for name, array in self.state_dict().items():
            getattr(self, f"_{name}")[...] = np.asarray(state[name], array.dtype)
