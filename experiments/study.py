"""Named studies: a written question, the cells that answer it, and how their rows are read."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import experiments.studies

if TYPE_CHECKING:
    from experiments.plots.base import Figure

Row = dict[str, Any]
Parameters = Mapping[str, Any]
Stage = Callable[[str, int, int], None]  # (what is being done, how much, of how much)


@dataclass(frozen=True, slots=True)
class Cell:
    """One row to be computed: JSON-serialisable parameters, and a seed."""

    parameters: Parameters
    seed: int


@dataclass(frozen=True, slots=True)
class Answer:
    """What the rows say: a table, and the question answered in words."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """A question, and the way to its answer.

    Parameters
    ----------
    name : str
        As typed; the module is of the same name with _ for -.
    question : str
        One sentence.
    settings : mapping
        Parameters by setting: "tiny" (seconds), "default", "full".
    cells : callable
        Parameters -> the cells to compute.
    run : callable
        (cell parameters, seed, stage) -> a JSON-serialisable row; tells `stage` how far it is. May run in a
        process of its own.
    answer : callable
        The rows, in cell order -> Answer.
    figure : callable, optional
        The rows -> a figure.
    """

    name: str
    question: str
    settings: Mapping[str, Parameters]
    cells: Callable[[Parameters], Sequence[Cell]]
    run: Callable[[Parameters, int, Stage], Row]
    answer: Callable[[Sequence[Row]], Answer]
    figure: Callable[[Sequence[Row]], Figure] | None = None

    def parameters(self, setting: str = "default", changes: Parameters | None = None) -> dict[str, Any]:
        """Return the parameters of a setting with `changes` made.

        Raises
        ------
        ValueError
            If the setting or a parameter is unknown.
        """
        if setting not in self.settings:
            raise ValueError(f"setting must be one of {', '.join(self.settings)}, got {setting!r}")
        parameters = dict(self.settings[setting])
        for key, value in (changes or {}).items():
            if key not in parameters:
                raise ValueError(f"parameters of {self.name} must be among {', '.join(parameters)}, got {key!r}")
            parameters[key] = _like(key, parameters[key], value)
        return parameters


def no_stage(name: str, done: int, of: int) -> None:
    """Tell nobody."""


def _like(name: str, default: Any, value: Any) -> Any:
    """Return `value` if it is of the default's kind: a list of such, without repeats, where that is a list."""
    if isinstance(default, list):
        values = value if isinstance(value, list | tuple) else [value]
        return list(dict.fromkeys(_like(name, default[0], entry) for entry in values))
    kinds: tuple[type, ...] = (int, float) if isinstance(default, float) else (type(default),)
    if not isinstance(value, kinds) or (isinstance(value, bool) and not isinstance(default, bool)):
        raise ValueError(f"{name} must be of the kind of {default!r}, got {value!r}")
    number = float(value) if isinstance(value, int | float) else 1.0
    if not (number >= 0 if name == "seed" else number > 0):
        raise ValueError(f"{name} must be {'at least 0' if name == 'seed' else 'positive'}, got {value!r}")
    return value


def available() -> tuple[str, ...]:
    """Return the names of the studies, in alphabetical order.

    Examples
    --------
    >>> [name for name in available() if not name.startswith(("amper-", "snap-"))]
    ['compare-replays', 'concurrent-actors', 'elstm-copy', 'latency', 'rtrl-trace-patterning', 'speedup-report']
    """
    modules = pkgutil.iter_modules(experiments.studies.__path__)
    return tuple(sorted(module.name.replace("_", "-") for module in modules))


def get(name: str) -> Study:
    """Return the study called `name`.

    Raises
    ------
    ValueError
        If there is none.
    """
    if name not in available():
        raise ValueError(f"study must be one of {', '.join(available())}, got {name!r}")
    module = importlib.import_module(f"experiments.studies.{name.replace('-', '_')}")
    study: Study = module.STUDY
    return study
