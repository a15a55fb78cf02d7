"""How long a sequence does a sparse GRU learn to copy by RTRL and by its approximations?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from experiments.study import Answer, Cell, Parameters, Row, Stage, Study, no_stage

if TYPE_CHECKING:
    from experiments.plots.base import Figure

#: Adam's step size of each method: of 1e-3, 3e-3, 1e-2 the one that reached the longest sequences in seeds 100 and 101,
#: of two such the one that was there earlier; RTRL, SnAp-2 and RFLO were tried with 1e-2 in seed 100 only. That of
#: "rtrl-vanilla" is RFLO's.
STEP_SIZES = {
    "rtrl": 3e-3, "snap-1": 3e-3, "snap-2": 3e-3, "rflo": 3e-3, "uoro": 3e-3, "bptt": 1e-2, "rtrl-vanilla": 3e-3,
}  # fmt: skip


def cells(parameters: Parameters) -> list[Cell]:
    """Return one cell a method and seed.

    Raises
    ------
    ValueError
        If a method or the update is unknown, or a method cannot update once a sequence.
    """
    from experiments.recurrent_methods import METHODS, study_cells

    if parameters["update"] not in ("character", "sequence"):
        raise ValueError(f"update must be 'character' or 'sequence', got {parameters['update']!r}")
    plain = [name for name in parameters["method"] if name in METHODS and METHODS[name].cell != "gru"]
    if parameters["update"] == "sequence" and plain:
        raise ValueError(f"update must be 'character' with {', '.join(plain)}, got 'sequence'; set method without them")
    return study_cells(parameters, STEP_SIZES, ("n_units", "density", "batch", "n_characters", "update"))


def run(parameters: Parameters, seed: int, stage: Stage = no_stage) -> Row:
    """Train one learner on a number of characters; return how long the sequences had become by when."""
    from experiments.recurrent_methods import trainer
    from rl.environments import copy_task

    sizes = {key: parameters[key] for key in ("n_units", "density", "batch", "step_size")}
    learner: Any = trainer(parameters["method"], n_tokens=copy_task.N_TOKENS, n_classes=2, seed=seed, **sizes)
    options = _schedule(parameters)
    task = copy_task.CurriculumCopy(batch=parameters["batch"], seed=seed)
    n_seen, curve = 0, [[0, 1]]
    while n_seen < parameters["n_characters"]:
        stretch = task.take()
        scores = learner.run(*stretch, **options)
        n_seen += stretch.n_characters
        if task.grow(copy_task.bits_per_character(scores.losses, stretch.copying)):
            curve.append([n_seen, task.longest])
            stage(f"{parameters['method']}, copying", n_seen, parameters["n_characters"])
    return {
        "method": parameters["method"], "seed": seed, "step_size": parameters["step_size"], "longest": task.longest,
        "n_seen": n_seen, "n_updates": learner.n_updates, "curve": [*curve, [n_seen, task.longest]],
    }  # fmt: skip


def _schedule(parameters: Parameters) -> dict[str, int]:
    """Return how often `run` of the learner updates; plain learners do after every character, unasked."""
    from experiments.recurrent_methods import METHODS

    found = METHODS[parameters["method"]]
    is_online = parameters["update"] == "character" and found.every is not None
    return {"every": 1} if is_online and found.cell == "gru" else {}


def answer(rows: Sequence[Row]) -> Answer:
    """Return a line a method: L reached, and characters until shorter ones were; and the verdict."""
    from experiments.recurrent_methods import by_method, caveat, comparison, intervals, words

    found = intervals(rows, "longest")
    marks = sorted({max(2, round(share * max(each[0] for each in found.values()))) for share in (0.5, 0.75)})
    table = []
    for name, mine in by_method(rows).items():
        value, low, high = found[name]
        until = [_median_until(mine, mark) for mark in marks]
        table.append(
            (words(name), len(mine), f"{mine[0]['step_size']:g}", f"{value:g}", f"[{low:g}, {high:g}]", *until)
        )
    columns = ("learner", "runs", "step size", "L reached", "95%", *(f"characters to L = {mark}" for mark in marks))
    text = f"Longest sequences after {min(row['n_seen'] for row in rows):,} characters, medians over seeds. "
    text += " ".join(
        comparison(found, name, "uoro", unit="bits") for name in found if "uoro" in found and name != "uoro"
    )
    return Answer(columns, tuple(table), text.strip() + caveat(rows))


def _median_until(rows: Sequence[Row], mark: int) -> str:
    """Return after how many characters the middle run came to sequences of `mark` bits; - if it did not."""
    reached = sorted(next((n for n, longest in row["curve"] if longest >= mark), float("inf")) for row in rows)
    middle = reached[(len(reached) - 1) // 2]
    return "-" if middle == float("inf") else f"{middle:,}"


def figure(rows: Sequence[Row]) -> Figure:
    """Return L against the characters seen, a line a run, and L reached with its interval."""
    from experiments.plots.recurrent import runs_figure

    return runs_figure(
        rows, y="longest sequence L, bits", final="longest", title="Copying by a GRU, three quarters of it left out",
        steps=True,
    )  # fmt: skip


_DEFAULT = {
    "method": ["rtrl", "snap-1", "snap-2", "rflo", "uoro", "bptt"],
    "n_units": 32,
    "density": 0.25,
    "batch": 16,
    "n_characters": 1_000_000,
    "update": "character",  # of BPTT: sequence
    "seeds": 5,
    "seed": 0,
}
STUDY = Study(
    name="snap-copy",
    question="How long a sequence does a sparse GRU learn to copy by RTRL and by its approximations?",
    settings={
        "tiny": {**_DEFAULT, "n_units": 12, "n_characters": 6_000, "seeds": 1},
        "default": _DEFAULT,
        "full": {**_DEFAULT, "method": [*STEP_SIZES], "n_characters": 10_000_000, "seeds": 10},
    },
    cells=cells,
    run=run,
    answer=answer,
    figure=figure,
)
