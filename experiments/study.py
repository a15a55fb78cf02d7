"""Named studies: a written question, the cells that answer it, and how their rows are read."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import experiments.studies

if TYPE_CHECKING:
    from experiments.plots import Figure

Row = dict[str, Any]
Parameters = Mapping[str, Any]


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
        (cell parameters, seed) -> a JSON-serialisable row. Runs in a process of its own.
    answer : callable
        The rows, in cell order -> Answer.
    figure : callable, optional
        The rows -> a figure.
    """

    name: str
    question: str
    settings: Mapping[str, Parameters]
    cells: Callable[[Parameters], Sequence[Cell]]
    run: Callable[[Parameters, int], Row]
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
                raise ValueError(
                    f"parameters of {self.name} must be among {', '.join(parameters)}, got {key!r}"
                )
            is_list = isinstance(parameters[key], list | tuple)
            parameters[key] = [value] if is_list and not isinstance(value, list | tuple) else value
        return parameters


def available() -> tuple[str, ...]:
    """Return the names of the studies, in alphabetical order.

    Examples
    --------
    >>> available()
    ('compare-replays', 'latency', 'speedup-report')
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
