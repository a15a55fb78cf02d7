"""Do approximations of RTRL learn a character language model as fast as BPTT does?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.study import Answer, Cell, Parameters, Row, Stage, Study, no_stage

if TYPE_CHECKING:
    from experiments.plots.base import Figure

#: Adam's step size of each method: of 1e-3, 3e-3, 1e-2, 3e-2 the one with the fewest bits a character after 100,000
#: characters in seed 100; SnAp-2 and RTRL take SnAp-1's.
STEP_SIZES = {"rtrl": 1e-2, "snap-1": 1e-2, "snap-2": 1e-2, "uoro": 3e-3, "tbptt-8": 3e-2, "bptt": 3e-2}
STANDARD_LIBRARY = "standard-library"
N_POINTS = 20  # of a curve
N_CROPS = 64  # of the held-out part that is scored


def cells(parameters: Parameters) -> list[Cell]:
    """Return one cell a method and seed.

    Raises
    ------
    ValueError
        If a method is unknown, or there is no such text.
    """
    from experiments.recurrent_methods import study_cells

    if parameters["path"] != STANDARD_LIBRARY and not Path(parameters["path"]).is_file():
        raise ValueError(f"path must be {STANDARD_LIBRARY} or a text file, got {parameters['path']!r}")
    kept = ("n_units", "density", "batch", "length", "n_characters", "path")
    return study_cells(parameters, STEP_SIZES, kept)


def run(parameters: Parameters, seed: int, stage: Stage = no_stage) -> Row:
    """Train one learner on crops of a text; return the bits a character of the held-out part on the way."""
    from experiments.recurrent_methods import METHODS, trainer
    from rl.environments.text import Text

    name, n_characters = parameters["method"], parameters["n_characters"]
    path = None if parameters["path"] == STANDARD_LIBRARY else parameters["path"]
    text = Text(path, batch=parameters["batch"], length=parameters["length"], seed=seed)
    sizes = {key: parameters[key] for key in ("n_units", "density", "batch", "step_size")}
    learner: Any = trainer(name, n_tokens=text.n_tokens, n_classes=text.n_tokens, seed=seed, **sizes)
    held_out = text.held_out(N_CROPS)

    def bits() -> float:
        return float(learner.evaluate(*held_out).losses.mean(dtype=float) / math.log(2.0))

    n_seen, curve = 0, [[0, bits()]]
    while n_seen < n_characters:
        learner.run(*text.take(), every=METHODS[name].every)
        n_seen += parameters["batch"] * parameters["length"]
        if n_seen >= min(len(curve) * n_characters / N_POINTS, n_characters):
            curve.append([n_seen, bits()])
            stage(f"{name}, reading", n_seen, n_characters)
    return {
        "method": name, "seed": seed, "step_size": parameters["step_size"], "bits": curve[-1][1], "n_seen": n_seen,
        "n_updates": learner.n_updates, "curve": curve, "n_text": list(text.n_characters),
    }  # fmt: skip


def answer(rows: Sequence[Row]) -> Answer:
    """Return a line a method, and how its bits a character lie to BPTT's."""
    from experiments.recurrent_methods import by_method, caveat, comparison, intervals, words

    found, half = intervals(rows, "bits"), intervals([{**row, "bits": _half(row)} for row in rows], "bits")
    table = [
        (words(name), len(mine), f"{mine[0]['step_size']:g}", f"{mine[0]['n_updates']:,}", f"{half[name][0]:.3f}",
         f"{found[name][0]:.3f}", f"[{found[name][1]:.3f}, {found[name][2]:.3f}]")
        for name, mine in by_method(rows).items()
    ]  # fmt: skip
    columns = ("learner", "runs", "step size", "updates", "bits at half", "bits a character", "95%")
    n_learned, n_held_out = rows[0]["n_text"]
    text = (
        f"Bits a character on {n_held_out:,} held-out characters after {rows[0]['n_seen']:,} drawn from {n_learned:,}, "
        "medians over seeds. "
    )
    text += " ".join(
        comparison(found, name, "bptt", unit="bits") for name in found if "bptt" in found and name != "bptt"
    )
    return Answer(columns, tuple(table), text.strip() + caveat(rows))


def _half(row: Row) -> float:
    return float(row["curve"][len(row["curve"]) // 2][1])


def figure(rows: Sequence[Row]) -> Figure:
    """Return bits a character against the characters seen, a line a run, and the last ones with their interval."""
    from experiments.plots.recurrent import runs_figure

    return runs_figure(
        rows, y="bits a character, held out", final="bits", title="Predicting Python sources by a sparse GRU",
    )  # fmt: skip


_DEFAULT = {
    "method": ["rtrl", "snap-1", "snap-2", "uoro", "tbptt-8", "bptt"],
    "n_units": 64,
    "density": 0.125,
    "batch": 16,
    "length": 128,
    "n_characters": 200_000,
    "path": STANDARD_LIBRARY,  # or a text file, such as WikiText103's
    "seeds": 3,
    "seed": 0,
}
STUDY = Study(
    name="snap-charlm",
    question="Do approximations of RTRL learn a character language model as fast as BPTT does?",
    settings={
        "tiny": {**_DEFAULT, "n_units": 8, "density": 0.5, "length": 16, "n_characters": 4_000, "seeds": 1},
        "default": _DEFAULT,
        "full": {**_DEFAULT, "n_units": 128, "density": 0.0625, "n_characters": 2_000_000, "seeds": 5},
    },
    cells=cells,
    run=run,
    answer=answer,
    figure=figure,
)
