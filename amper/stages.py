"""What stands between a step and a stored transition: stages that take steps and issue rows, per environment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from amper import checks
from amper.fields import Field
from amper.protocols import Array, Float64, Int64


class Steps(NamedTuple):
    """Rows on their way into a replay, each environment's in order.

    Attributes
    ----------
    columns : mapping
        Arrays [k, ...] by name.
    envs : int64[k]
        Environment of each.
    ends : bool[k]
        Whether an episode's last step is in it, so that nothing may be joined across.
    priorities : float64[k]
        Raw abs(TD error); NaN for none.
    rows : uint8[k, stride], optional
        The same columns as rows of a `RowLayout` of theirs. What a stage issues lasts until it is given the next steps.
    """

    columns: Mapping[str, Array]
    envs: Int64
    ends: Array
    priorities: Float64
    rows: Array | None = None

    @property
    def k(self) -> int:
        """Rows."""
        return len(self.envs)

    @classmethod
    def of(cls, columns: Mapping[str, Array], k: int, n_envs: int, priorities: Float64, *, in_stages: bool) -> Steps:
        """Return k steps as they are added: of one stream, or row j of environment j; ends are for stages."""
        envs = np.arange(k) if n_envs > 1 else np.zeros(k, np.int64)
        ends = columns["terminated"] | columns["truncated"] if in_stages else np.zeros(k, np.bool_)
        return cls(columns, envs, ends, priorities)

    def part(self, begin: int, end: int) -> Steps:
        """Return rows begin .. end - 1."""
        columns = {name: column[begin:end] for name, column in self.columns.items()}
        rows = None if self.rows is None else self.rows[begin:end]
        return Steps(columns, self.envs[begin:end], self.ends[begin:end], self.priorities[begin:end], rows)


class Stage(Protocol):
    """Holds steps back until what it makes of them is complete."""

    @property
    def fields(self) -> tuple[Field, ...]:
        """Columns of what it issues."""
        ...

    @property
    def n_pending(self) -> int:
        """Steps that no row issued so far begins with or holds."""
        ...

    def push(self, steps: Steps) -> Steps:
        """Take steps; return what is complete by them."""
        ...

    def flush(self, env: int) -> Steps:
        """Return what is pending of an environment whose stream was cut."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Return the pending steps."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state`; ValueError if it cannot be."""
        ...


def push(stages: Sequence[Stage], steps: Steps) -> Steps:
    """Return what `steps` complete after all stages."""
    for stage in stages:
        steps = stage.push(steps)
    return steps


def flush(stages: Sequence[Stage], env: int) -> list[Steps]:
    """Return what is pending of an environment in any stage, in order."""
    return [push(stages[i + 1 :], stage.flush(env)) for i, stage in enumerate(stages)]


def need(fields: tuple[Field, ...], names: Sequence[str], what: str) -> None:
    """Raise ValueError unless there are columns `names`, each one truth value."""
    by_name = {f.name: f for f in fields}
    for name in names:
        field = by_name.get(name)
        if field is None:
            raise ValueError(f"fields must have a column {name!r} for {what}, got {', '.join(by_name)}")
        if field.dtype != np.bool_ or field.shape:
            raise ValueError(f"fields[{name!r}] must be {{'dtype': 'bool'}} for {what}, got {field.dtype}")


def check_counts(name: str, counts: Int64, below: int | None = None) -> None:
    """Raise ValueError unless all counts of a state lie in 0 .. below - 1."""
    if counts.size and (counts.min() < 0 or (below is not None and counts.max() >= below)):
        raise ValueError(f"{name} must lie in 0..{'' if below is None else below - 1}, got {counts.tolist()}")


def check_priorities(priorities: Float64) -> None:
    """Raise ValueError unless the pending priorities of a state are some that could be added, or NaN for none."""
    if not (np.isnan(priorities) | ((priorities >= 0) & (priorities <= checks.LARGEST_PRIORITY))).all():
        raise ValueError("priorities must be finite and at least 0, or NaN for none, got others")
