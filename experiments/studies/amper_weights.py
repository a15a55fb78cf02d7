"""Which importance weights make an AMPER sample represent the whole buffer?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from amper import samplers
from amper.fixedpoint import PriorityFormat
from amper.options import WEIGHTS
from amper.protocols import Array, Float64, Sampler
from experiments import weighing
from experiments.priorities import DISTRIBUTIONS, masses
from experiments.statistics import median_interval
from experiments.study import Answer, Cell, Parameters, Row, Stage, Study, no_stage
from experiments.tasks import task

if TYPE_CHECKING:
    from experiments.live import Snapshot
    from experiments.plots.base import Figure

SAMPLERS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "amper-fr": ("amper-fr", {}),
    "amper-fr linear": ("amper-fr", {"grouping": "linear"}),
    "per": ("per", {}),
}
_REFERENCE = "per"  # the weights that learning by others is compared with
_FEW = 5  # seeds; the bootstrap interval of fewer differences hardly ever holds 0
_ALIKE = 1.02  # errors that differ by less count as alike


# -- cells ----------------------------------------------------------------------------------------------
def cells(parameters: Parameters) -> list[Cell]:
    """Return one cell a distribution, a live run, and a run of learning; a seed each.

    All samplers and weights of a live run follow the same one: they hold the same priorities.
    """
    for name, known in (("masses", tuple(DISTRIBUTIONS)), ("sampler", tuple(SAMPLERS)), ("weights", WEIGHTS)):
        for value in parameters[name]:
            if value not in known:
                raise ValueError(f"{name} must be among {', '.join(known)}, got {value!r}")
    seeds, learning_seeds = (range(parameters["seed"], parameters["seed"] + parameters[key]) for key in _SEEDS)
    sampled = {key: parameters[key] for key in ("sampler", "weights", "n", "batch", "n_samplings")}
    live = {**sampled, **{key: parameters[key] for key in ("n_snapshots", "length")}}
    learning = {key: parameters[key] for key in ("n", "length")}
    return [
        *(Cell({"kind": "masses", "source": name, **sampled}, s) for name in parameters["masses"] for s in seeds),
        *(Cell({"kind": "live", "source": task(env).env, **live}, s) for env in parameters["env"] for s in seeds),
        *(
            Cell({"kind": "learning", "source": task(env).env, "weights": weights, **learning}, s)
            for env in parameters["learning_env"]
            for weights in parameters["weights"]
            for s in learning_seeds
        ),
    ]


def run(parameters: Parameters, seed: int, stage: Stage = no_stage) -> Row:
    """Measure the errors of weighted means on one distribution or along one run; or train one agent."""
    kinds = {"masses": _on_masses, "live": _on_a_run, "learning": _learn}
    result = kinds[parameters["kind"]](parameters, seed, stage)
    return {"kind": parameters["kind"], "source": parameters["source"], "seed": seed, **result}


# -- errors of weighted means ---------------------------------------------------------------------------
def _wanted(parameters: Parameters) -> dict[str, tuple[str, dict[str, Any]]]:
    """Return every sampler with every weights it can have, named "sampler/weights"."""
    made = {}
    for name in parameters["sampler"]:
        sampler, options = SAMPLERS[name]
        kinds = parameters["weights"] if sampler == "amper-fr" else ["per"]
        for weights in kinds:
            own = {"weights": weights} if sampler == "amper-fr" else {}
            made[f"{name}/{weights}"] = (sampler, {**options, **own})
    return made


def _measured(parameters: Parameters, mass: Float64, stored: Array, made: Mapping[str, Sampler], seed: int) -> Any:
    values = weighing.functions(mass, np.random.default_rng(seed))
    found = []
    for name, sampler in made.items():
        of, _, weights = name.partition("/")
        errors = weighing.measure(sampler, values, stored, parameters["n_samplings"], parameters["batch"])
        found.append({"sampler": of, "weights": weights, **errors})
    return found


def _on_masses(parameters: Parameters, seed: int, stage: Stage) -> Row:
    stage(parameters["source"], 0, 1)
    mass = masses(parameters["source"], parameters["n"])
    slots = np.arange(len(mass))
    made = {}
    for name, (sampler, options) in _wanted(parameters).items():
        made[name] = samplers.make_from(sampler, len(mass), seed, options)
        made[name].insert(slots, _codes(mass, made[name].format), at_maximum=False)
    return {"moments": [{"step": 0, "found": _measured(parameters, mass, slots >= 0, made, seed)}]}


def _codes(mass: Float64, form: PriorityFormat) -> Any:
    return np.clip(np.rint(mass * form.top), 1, form.top).astype(np.int64)


def _on_a_run(parameters: Parameters, seed: int, stage: Stage) -> Row:
    from experiments import live

    def measure(snapshot: Snapshot) -> Row:
        found = _measured(parameters, snapshot.mass, snapshot.stored, snapshot.followed, seed)
        return {"step": snapshot.step, "found": found}

    run = live.follow(
        parameters["source"],
        _wanted(parameters),
        n_steps=task(parameters["source"]).n_steps_at(parameters["length"]),
        capacity=parameters["n"],
        seed=seed,
        n_snapshots=parameters["n_snapshots"],
        measure=measure,
        progress=lambda done, of: stage("following", done, of),
    )
    return {"moments": run.measured}


# -- learning -------------------------------------------------------------------------------------------
def _learn(parameters: Parameters, seed: int, stage: Stage) -> Row:
    from experiments.training import train

    env, options, n = parameters["source"], {"weights": parameters["weights"]}, parameters["n"]
    found = train(env, "amper-fr", options, capacity=n, length=parameters["length"], seed=seed, stage=stage)
    mean = float(np.mean([mean for _, mean in found["curve"]]))
    return {"weights": parameters["weights"], "mean_return": mean, **found}


# -- the answer -----------------------------------------------------------------------------------------
def answer(rows: Sequence[Row]) -> Answer:
    """Return a line a source, sampler and weights; which weights err least, and whether learning differs."""
    table = []
    for line in weighing.lines(rows):
        errors = [line.errors[form] for form in reversed(weighing.FORMS)]
        numbers = [f"{each[key]:.3f}" for each in errors for key in ("bias", "sd", "rmse")]
        total = "{:.3f} +- {:.3f}".format(*line.total)
        table.append((line.source, line.sampler, line.weights, *numbers, total, f"{line.ess:.2f}", f"{line.scale:.2f}"))
    columns = ("source", "sampler", "weights", "bias", "sd", "RMSE", "bias, unnormalised", "sd", "RMSE",
               "mean w +- sd", "ESS / b", "w / max w")  # fmt: skip
    parts = [*_least(weighing.lines(rows)), *_learned(rows), _LEGEND]
    return Answer(columns, tuple(table), " ".join(parts))


_LEGEND = (
    "Errors of the mean over all stored entries as one batch estimates it, in standard deviations of what is averaged "
    "(64 uniform draws: .125), root mean squares over four functions, seeds and moments of a run; beta = 1. Replays "
    "divide weights by the batch's maximum: errors as self-normalised, the first three columns."
)


def _least(found: Sequence[weighing.Line]) -> list[str]:
    """Return a sentence a sampler with weights to choose from: by which it errs least, in either form."""
    said = []
    for sampler in dict.fromkeys(line.sampler for line in found):
        mine = [line for line in found if line.sampler == sampler]
        kinds = list(dict.fromkeys(line.weights for line in mine))
        if len(kinds) < 2:
            continue
        parts = []
        for form in reversed(weighing.FORMS):
            means = {kind: _mean_rmse([line for line in mine if line.weights == kind], form) for kind in kinds}
            order = sorted(means, key=lambda kind: means[kind])
            best = [repr(kind) for kind in order if means[kind] <= _ALIKE * means[order[0]]]
            numbers = ", ".join(f"{kind} {means[kind]:.3f}" for kind in order)
            parts.append(f"{form} with {' or '.join(best)} ({numbers})")
        said.append(f"{sampler} errs least {' and '.join(parts)}: RMSE, geometric mean over sources.")
    return said


def _mean_rmse(mine: Sequence[weighing.Line], form: str) -> float:
    return float(np.exp(np.mean([np.log(line.errors[form]["rmse"]) for line in mine])))


def _learned(rows: Sequence[Row]) -> list[str]:
    """Return a sentence an environment: by how much learning with other weights than the default differs."""
    said = []
    for env in dict.fromkeys(row["source"] for row in rows if row["kind"] == "learning"):
        returns: dict[str, dict[int, float]] = {}
        for row in rows:
            if row["kind"] == "learning" and row["source"] == env:
                returns.setdefault(row["weights"], {})[row["seed"]] = row["mean_return"]
        base = returns.pop(_REFERENCE, {})
        pairs = {kind: [mine[seed] - base[seed] for seed in mine if seed in base] for kind, mine in returns.items()}
        intervals = {kind: median_interval(each) for kind, each in pairs.items() if len(each) > 1}
        if not intervals:
            continue
        differs = [repr(kind) for kind, (_, low, high) in intervals.items() if low > 0 or high < 0]
        verdict = f"shows a difference with {' and '.join(differs)}" if differs else "shows no difference"
        if min(len(each) for each in pairs.values()) < _FEW:
            verdict = "tells nothing yet, from so few seeds"
        numbers = ", ".join("{} {:+.1f} [{:+.1f}, {:+.1f}]".format(kind, *each) for kind, each in intervals.items())
        usual = float(np.median(list(base.values())))
        said.append(
            f"Learning {env} {verdict}: mean return over training less that with {_REFERENCE!r} weights ({usual:.1f}) "
            f"at the same seed, median [95% each], {len(base)} seeds: {numbers}."
        )
    return said


def figure(rows: Sequence[Row]) -> Figure:
    """Return bias and RMSE by weights, source by source."""
    from experiments.plots.weights import weights_figure

    return weights_figure(weighing.lines(rows))


_SEEDS = ("seeds", "learning_seeds")
_DEFAULT = {
    "masses": ["U[0,1]", "exponential", "lognormal(0,1)"],
    "env": ["CartPole-v1", "Acrobot-v1", "LunarLander-v3"],
    "learning_env": ["CartPole-v1", "Acrobot-v1"],
    "sampler": list(SAMPLERS),
    "weights": list(WEIGHTS),
    "n": 20_000,
    "batch": 64,
    "n_samplings": 4_000,
    "n_snapshots": 4,
    "length": 1.0,  # of the task's own number of steps
    "seeds": 2,
    "learning_seeds": 5,
    "seed": 0,
}
STUDY = Study(
    name="amper-weights",
    question="Which importance weights make an AMPER sample represent the whole buffer?",
    settings={
        "tiny": {
            **_DEFAULT, "masses": ["exponential"], "env": ["CartPole-v1"], "learning_env": ["CartPole-v1"],
            "n": 1_000, "n_samplings": 200, "n_snapshots": 1, "length": 0.02, "seeds": 1, "learning_seeds": 1,
        },
        "default": _DEFAULT,
        "full": {**_DEFAULT, "n_samplings": 20_000, "n_snapshots": 10, "seeds": 5, "learning_seeds": 20},
    },
    cells=cells,
    run=run,
    answer=answer,
    figure=figure,
)  # fmt: skip
