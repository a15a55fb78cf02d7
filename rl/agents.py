"""The registry of agents: make one by name, list them, add one."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from amper.protocols import Replay
from rl.protocols import Agent, Spaces


class Factory(Protocol):
    """Makes an agent."""

    def __call__(
        self,
        *,
        spaces: Spaces,
        make_replay: Callable[..., Replay],
        n_steps: int,
        seed: int,
        options: Mapping[str, Any],
    ) -> Agent:
        """Return the agent; see `make`."""
        ...


def _dqn(
    *,
    spaces: Spaces,
    make_replay: Callable[..., Replay],
    n_steps: int,
    seed: int,
    options: Mapping[str, Any],
) -> Agent:
    from rl.dqn import DQN, DqnConfig, check_spaces

    known = [field.name for field in dataclasses.fields(DqnConfig)]
    for name in options:
        if name not in known:
            raise ValueError(f"an option of dqn must be one of {', '.join(known)}, got {name!r}")
    config = DqnConfig(**options)
    check_spaces(spaces)  # before the replay, which may be large
    replay = make_replay(discount=config.discount)
    return DQN(spaces=spaces, replay=replay, n_steps=n_steps, seed=seed, config=config)


_FACTORIES: dict[str, Factory] = {"dqn": _dqn}


def available() -> tuple[str, ...]:
    """Return the names `make` knows, in order of registration.

    Examples
    --------
    >>> "dqn" in available()
    True
    """
    return tuple(_FACTORIES)


def register(name: str, factory: Factory) -> None:
    """Make `name` known to `make`.

    Raises
    ------
    ValueError
        If `name` is taken.
    """
    if name in _FACTORIES:
        raise ValueError(f"name must be new, got {name!r}, which is registered")
    _FACTORIES[name] = factory


def make(
    name: str,
    *,
    spaces: Spaces,
    make_replay: Callable[..., Replay],
    n_steps: int,
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
) -> Agent:
    """Return a new agent.

    Parameters
    ----------
    name : str
        One of `available()`.
    spaces : Spaces
        What a single environment shows and takes, and how many there are.
    make_replay : callable
        Called once with what the agent asks of its replay (`discount`); returns the replay.
    n_steps : int
        Environment steps of the whole run, >= 1; schedules end there.
    seed : int
        The run's seed.
    options : mapping, optional
        Fields of the agent's configuration: for dqn, `rl.DqnConfig`.

    Raises
    ------
    ValueError
        If the name or an option is unknown, or an option is out of range.
    TypeError
        If the agent cannot live in these spaces.
    """
    if name not in _FACTORIES:
        raise ValueError(f"agent must be one of {', '.join(available())}, got {name!r}")
    if n_steps < 1:
        raise ValueError(f"n_steps must be at least 1, got {n_steps!r}")
    return _FACTORIES[name](spaces=spaces, make_replay=make_replay, n_steps=n_steps, seed=seed, options=options or {})
