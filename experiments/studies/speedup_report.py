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
    from experiments import contenders, speedups
    from experiments.recording import law, record
    from experiments.summary import summary

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
    for i, (name, (sampler, options, _)) in enumerate(contenders.SEARCHED.items()):
        stage("putting it through the other samplers", i, len(contenders.SEARCHED))
        traces[name], searched = samplers.replay_trace(recording.trace, sampler, **options)
        laws.append(law(name, reference, searched, n_samplings=N_LAW))
    binned = [_binned(found) for found in laws]
    jobs = [(c, n) for n in parameters["n"] for c in contenders.CONTENDERS]
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
        **summary(rows, binned, traces, stage),
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
    """Return a line an AMPER machine and size, its ratios beside it under the baselines' keys, and the verdict.

    What a terminal has room for: every machine, and every ratio with interval and terms, are in the report's files.
    """
    from experiments.contenders import ON_A_TERMINAL

    columns = ("machine", "n", "CSP", "sample", "step", "energy a step", *ON_A_TERMINAL)
    table = tuple(line for result in rows for line in _lines(result))
    return Answer(columns, table, "\n\n".join(row["verdict"] for row in rows))


def _lines(result: Row) -> list[tuple[str, ...]]:
    """Return the lines of one report: a ratio is the baseline's sampling latency over the machine's."""
    from experiments.contenders import ON_A_TERMINAL
    from experiments.speedups import times
    from experiments.tables import csp
    from hwsim import units

    ratios = {(s["label"], s["n"], s["against"]): s["ratio"] for s in result["speedups"] if s["quantity"] == "sample"}
    return [
        (
            row["label"],
            f"{row['n']:,}",
            csp(row),
            *(units.format_time(row[f"{kind}_fs"]) for kind in ("sample", "step")),
            units.format_energy(row["step_aj"]),
            *(times(ratios[row["label"], row["n"], key]) for key in ON_A_TERMINAL),
        )
        for row in result["rows"]
        if row["is_amper"]
    ]


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
