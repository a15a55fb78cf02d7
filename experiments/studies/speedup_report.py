"""How much faster would associative-memory replay have been for the replay of a real agent?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments.study import Answer, Cell, Parameters, Row, Study

if TYPE_CHECKING:
    from experiments.recording import Law

Stage = Callable[[str, int, int], None]
LAW_SAMPLERS = ("uniform", "per", "amper-k", "amper-fr")


def _no_stage(name: str, done: int, of: int) -> None:
    """Report progress to nobody."""


def cells(parameters: Parameters) -> list[Cell]:
    """Return the one run."""
    return [Cell({k: v for k, v in parameters.items() if k != "seed"}, parameters["seed"])]


def run(parameters: Parameters, seed: int, stage: Stage = _no_stage) -> Row:
    """Record a run, put its trace through the samplers, time the machines on it.

    `stage(name, done, of)` hears of progress.
    """
    from amper import samplers
    from experiments import speedups
    from experiments.recording import law, record

    recording = record(
        env=parameters["env"],
        n_steps=parameters["n_steps"],
        capacity=parameters["capacity"],
        seed=seed,
        progress=lambda done, of: stage("recording an agent's replay", done, of),
    )
    traces, laws = {"per": recording.trace}, []
    _, reference = samplers.replay_trace(recording.trace, "per")
    for i, name in enumerate(LAW_SAMPLERS):
        stage("putting it through the other samplers", i, len(LAW_SAMPLERS))
        trace, sampler = samplers.replay_trace(recording.trace, name)
        if name.startswith("amper-"):
            traces[name] = trace
        laws.append(_binned(law(name, reference, sampler)))
    jobs = [(spec, n) for n in parameters["n"] for spec in (*speedups.AMPER, *speedups.GPU)]
    rows = []
    for i, (spec, n) in enumerate(jobs):
        stage("simulating the machines", i, len(jobs))
        rows.append(speedups.machine_row(spec, n, traces))
    stage("simulating the machines", len(jobs), len(jobs))
    return {
        "recording": recording.description,
        "evaluation": recording.evaluation,
        "n_samplings": len(recording.trace.samples),
        "laws": laws,
        "gpus": speedups.gpu_rows(max(parameters["n"]), traces["per"]),
        **speedups.summary(rows, speedups.speedups(rows)),
    }


def _binned(law: Law, n_bins: int = 24) -> dict[str, Any]:
    """Return a law as means over bins of equal count, by mass."""
    order = np.argsort(law.mass, kind="stable")
    bins = np.array_split(order, min(n_bins, len(order)))
    chance = [law.probability[b] for b in bins]
    return {
        "sampler": law.sampler,
        "divergence": law.divergence,
        "mass": [float(law.mass[b].mean()) for b in bins],
        "probability": [float(c.mean()) for c in chance],
        "low": [float(np.percentile(c, 10)) for c in chance],
        "high": [float(np.percentile(c, 90)) for c in chance],
    }


def answer(rows: Sequence[Row]) -> Answer:
    """Return the speedup table and the verdict."""
    table = tuple(
        (s["machine"], f"{s['n']:,}", s["baseline"], s["text"]) for row in rows for s in row["speedups"]
    )
    return Answer(
        ("machine", "n", "baseline", "speedup [launch interval] = terms"), table, rows[0]["verdict"]
    )


_DEFAULT = {
    "env": "CartPole-v1",
    "n_steps": 30_000,
    "capacity": 20_000,
    "n": [5_000, 10_000, 20_000],
    "seed": 0,
}
STUDY = Study(
    name="speedup-report",
    question="How much faster would associative-memory replay have been for the replay of a real agent?",
    settings={
        "tiny": {**_DEFAULT, "n_steps": 5_000, "n": [5_000]},
        "default": _DEFAULT,
        "full": {**_DEFAULT, "n_steps": 60_000},
    },
    cells=cells,
    run=run,
    answer=answer,
)
