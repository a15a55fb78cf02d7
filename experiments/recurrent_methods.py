"""The learners that the studies of recurrent learning compare, by name; and how their runs are summed up."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from experiments.recurrent import PlainTrainer
from experiments.statistics import median_interval
from experiments.study import Cell, Parameters, Row
from rl import cells, checks
from rl.masked_gru import MaskedGruTrainer

#: Of fewer runs the bootstrap's interval is from the least to the largest, and holds the median too seldom: that of 3
#: runs in 3 of 4 cases, of 4 in 7 of 8, of 5 in 15 of 16.
MIN_RUNS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """How a cell's gradient is had.

    Parameters
    ----------
    learner : str
        As `rl.learners` knows it.
    options : mapping
        Of the learner.
    cell, cell_options
        As `rl.cells.make` takes them.
    words : str
        What figures and tables call it.
    every : int, optional
        Steps between updates, which BPTT goes back through; None is a whole sequence.
    """

    learner: str
    words: str
    options: Mapping[str, Any] = field(default_factory=dict)
    cell: str = "gru"
    cell_options: Mapping[str, Any] = field(default_factory=dict)
    every: int | None = 1


METHODS = {
    "rtrl": Method(learner="rtrl", words="RTRL"),
    "snap-1": Method(learner="snap", options={"n": 1}, words="SnAp-1"),
    "snap-2": Method(learner="snap", options={"n": 2}, words="SnAp-2"),
    "uoro": Method(learner="uoro", words="UORO"),
    "tbptt-8": Method(learner="bptt", words="T-BPTT(8)", every=8),
    "bptt": Method(learner="bptt", words="BPTT", every=None),
    # RFLO is for cells of one gate (`rl.learners.rflo`): a leaky vanilla of as many units, and exact RTRL on the same.
    "rflo": Method(learner="rflo", cell="vanilla", cell_options={"tau": 2.0}, words="RFLO, vanilla"),
    "rtrl-vanilla": Method(learner="rtrl", cell="vanilla", cell_options={"tau": 2.0}, words="RTRL, vanilla"),
}


def known(names: Sequence[str], among: Sequence[str]) -> Sequence[str]:
    """Return `names` if all are `among` those a study knows.

    Raises
    ------
    ValueError
        If one is not.
    """
    return [checks.known("method", name, among) for name in names]


def trainer(
    name: str,
    *,
    n_tokens: int,
    n_classes: int,
    n_units: int,
    density: float,
    batch: int,
    step_size: float,
    seed: int,
) -> MaskedGruTrainer | PlainTrainer:
    """Return a fresh cell in float32 with its readout, its learner and Adam."""
    found = METHODS[name]
    cell = cells.make(
        found.cell, n_inputs=n_tokens, n_units=n_units, density=density, dtype="float32", seed=seed,
        **found.cell_options,
    )  # fmt: skip
    kind: Callable[..., Any] = MaskedGruTrainer if found.cell == "gru" else PlainTrainer
    made: MaskedGruTrainer | PlainTrainer = kind(
        cell, n_classes, found.learner, batch=batch, step_size=step_size, seed=seed, **found.options
    )
    return made


def study_cells(parameters: Parameters, step_sizes: Mapping[str, float], kept: Sequence[str]) -> list[Cell]:
    """Return one cell a method and seed, with its step size and the parameters that are `kept`.

    Raises
    ------
    ValueError
        If a method has no step size.
    """
    shared = {key: parameters[key] for key in kept}
    seeds = range(parameters["seed"], parameters["seed"] + parameters["seeds"])
    return [
        Cell({**shared, "method": name, "step_size": step_sizes[name]}, seed)
        for name in known(parameters["method"], tuple(step_sizes))
        for seed in seeds
    ]


def by_method(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Return the rows of each method, in the order in which methods come first."""
    return {name: [row for row in rows if row["method"] == name] for name in dict.fromkeys(r["method"] for r in rows)}


def intervals(rows: Sequence[Row], key: str) -> dict[str, tuple[float, float, float]]:
    """Return of each method the median over its runs of row[key], and the 95% bootstrap interval.

    Examples
    --------
    >>> intervals([{"method": "rtrl", "longest": 12}, {"method": "rtrl", "longest": 12}], "longest")
    {'rtrl': (12.0, 12.0, 12.0)}
    """
    return {name: median_interval([row[key] for row in mine]) for name, mine in by_method(rows).items()}


def caveat(rows: Sequence[Row]) -> str:
    """Return a sentence where there are too few runs for the intervals of `rows`, else nothing.

    Examples
    --------
    >>> caveat([{"method": "rtrl"}, {"method": "rtrl"}])
    ' Brackets are the least and the largest of 2 runs: 95% intervals take 5.'
    """
    fewest = min(len(mine) for mine in by_method(rows).values())
    if fewest >= MIN_RUNS:
        return ""
    return f" Brackets are the least and the largest of {fewest} runs: 95% intervals take {MIN_RUNS}."


def words(name: str) -> str:
    """Return what a method is called in figures and tables."""
    return METHODS[name].words if name in METHODS else name.replace("tbptt-", "T-BPTT ")


def comparison(found: Mapping[str, tuple[float, float, float]], one: str, other: str, *, unit: str) -> str:
    """Return a sentence on whether the intervals of two methods overlap.

    Examples
    --------
    >>> comparison({"rtrl": (12.0, 11.0, 13.0), "uoro": (7.0, 6.0, 7.0)}, "rtrl", "uoro", unit="bits")
    'RTRL 12 bits [11, 13] lies above UORO 7 [6, 7].'
    """
    (a, a_low, a_high), (b, b_low, b_high) = found[one], found[other]
    relation = "lies above" if a_low > b_high else "lies below" if a_high < b_low else "overlaps with"
    return (
        f"{words(one)} {a:.3g} {unit} [{a_low:.3g}, {a_high:.3g}] {relation} {words(other)} {b:.3g} "
        f"[{b_low:.3g}, {b_high:.3g}]."
    )
