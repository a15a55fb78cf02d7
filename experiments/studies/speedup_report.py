"""How much faster would associative-memory replay have been for the replay of a real agent?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments.study import Answer, Cell, Parameters, Row, Stage, Study, no_stage

if TYPE_CHECKING:
    from experiments.recording import Law

N_LAW = 20_000  # candidate sets behind a law: the estimate's bias falls as 1 / N_LAW


def cells(parameters: Parameters) -> list[Cell]:
    """Return the one run."""
    return [Cell({k: v for k, v in parameters.items() if k != "seed"}, parameters["seed"])]


def run(parameters: Parameters, seed: int, stage: Stage = no_stage) -> Row:
    """Record a run, put its trace through the samplers, time the machines on it."""
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
    traces = {"per": recording.trace}
    reference = samplers.replay_trace(recording.trace, "per")[1]
    uniform = samplers.replay_trace(recording.trace, "uniform")[1]
    laws = [law("uniform", reference, uniform), law("per", reference, reference)]
    for i, (name, (sampler, options, _)) in enumerate(speedups.SEARCHED.items()):
        stage("putting it through the other samplers", i, len(speedups.SEARCHED))
        traces[name], searched = samplers.replay_trace(recording.trace, sampler, **options)
        laws.append(law(name, reference, searched, n_samplings=N_LAW))
    binned = [_binned(found) for found in laws]
    jobs = [(c, n) for n in parameters["n"] for c in (*speedups.AMPER, *speedups.GPU.values())]
    rows = []
    for i, (contender, n) in enumerate(jobs):
        stage("simulating the machines", i, len(jobs))
        rows.append(speedups.machine_row(contender, n, traces[contender.replay]))
    stage("simulating the machines", len(jobs), len(jobs))
    return {
        "recording": recording.description,
        "evaluation": recording.evaluation,
        "n_samplings": len(recording.trace.samples),
        "laws": binned,
        "gpus": speedups.gpu_rows(max(parameters["n"]), traces["per"]),
        **speedups.summary(rows, binned),
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
    found = [s for row in rows for s in row["speedups"]]
    table = tuple((s["label"], f"{s['n']:,}", s["quality"], s["text"]) for s in found)
    columns = ("machine", "n", "GPU tree", "modelled speedup [launch interval] = terms")
    return Answer(columns, table, " ".join(row["verdict"] for row in rows))


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
