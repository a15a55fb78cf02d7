"""Which groups draw most like exact prioritized replay, for how many searches?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments.priorities import known
from experiments.statistics import median_interval
from experiments.study import Answer, Cell, Parameters, Row, Stage, Study, no_stage
from experiments.tasks import task

if TYPE_CHECKING:
    from experiments.plots.base import Figure

LAMS = (0.15, 0.5, 1.0)
N_GROUPS: Mapping[str, Sequence[Any]] = {
    "linear": (8, 16, 20, 32, 64, 128),
    "octave": ((7, 1), (7, 2), (7, 3), (7, 4), (7, 8)),
    "tapered": ((5, 1, 4), (7, 1, 4), (6, 2, 8), (7, 2, 8), (7, 3, 8), (7, 3, 12), (7, 4, 16), (7, 8, 32)),
}
DEFAULT, PAPER = "tapered (7, 2, 8) .5", "linear 20 .15"
TRAINED = ("linear", "octave", "tapered")  # each with its own defaults


def contenders() -> dict[str, tuple[str, Mapping[str, Any]]]:
    """Return every sampler by name, "grouping n_groups lambda'".

    Examples
    --------
    >>> contenders()["tapered (7, 2, 8) .5"]
    ('amper-fr', {'grouping': 'tapered', 'n_groups': (7, 2, 8), 'lam': 0.5})
    """
    return {
        f"{grouping} {n_groups} {lam:g}".replace(" 0.", " ."): (
            "amper-fr",
            {"grouping": grouping, "n_groups": n_groups, "lam": lam},
        )
        for grouping, choices in N_GROUPS.items()
        for n_groups in choices
        for lam in LAMS
    }


def cells(parameters: Parameters) -> list[Cell]:
    """Return one cell a source of priorities: all groupings; then a cell a training."""
    first, n = parameters["seed"], parameters["n"]
    measured = {"kind": "law", "n": n, **{key: parameters[key] for key in ("n_samplings", "length")}}
    laws = [Cell({**measured, "source": known(source)}, first) for source in parameters["source"]]
    trainings = [
        Cell(
            {"kind": "training", "env": task(env).env, "grouping": grouping, "n": n, "length": parameters["length"]},
            seed,
        )
        for env in parameters["env"]
        for grouping in TRAINED
        for seed in range(first, first + parameters["seeds"])
    ]
    return laws + trainings


def run(parameters: Parameters, seed: int, stage: Stage = no_stage) -> Row:
    """Measure every grouping on one source of priorities; or train one agent with one grouping."""
    return (_law if parameters["kind"] == "law" else _training)(parameters, seed, stage)


def _law(parameters: Parameters, seed: int, stage: Stage) -> Row:
    from experiments.priorities import measured

    source = parameters["source"]
    laws = measured(
        source,
        contenders(),
        n=parameters["n"],
        length=parameters["length"],
        seed=seed,
        n_samplings=parameters["n_samplings"],
        progress=lambda done, of: stage("training an agent", done, of),
    )
    return {"kind": "law", "source": source, "n": parameters["n"], "laws": laws}


def _training(parameters: Parameters, seed: int, stage: Stage) -> Row:
    from experiments.training import train

    named = {key: parameters[key] for key in ("kind", "env", "grouping")}
    options = {"grouping": parameters["grouping"]}
    length, n = parameters["length"], parameters["n"]
    return {
        **named,
        "seed": seed,
        **train(parameters["env"], "amper-fr", options, capacity=n, length=length, seed=seed, stage=stage),
    }


def summary(rows: Sequence[Row]) -> dict[str, dict[str, float]]:
    """Return by grouping its searches, and the worst of KL, and of |CSP|, over the sources."""
    found = {}
    for key in contenders():
        laws = [row["laws"][key] for row in rows]
        found[key] = {
            "kl": max(law["kl"] for law in laws),
            "n_searches": max(law["n_searches"] for law in laws),
            "csp": float(np.median([law["csp"] for law in laws])),
        }
    return found


def frontier(found: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Return the groupings that none beats with as few searches, by searches.

    Examples
    --------
    >>> costs = {"a": (8, 0.1), "b": (9, 0.2), "c": (9, 0.05)}
    >>> frontier({key: {"n_searches": n, "kl": kl} for key, (n, kl) in costs.items()})
    ['a', 'c']
    """
    best, least = [], float("inf")
    for key in sorted(found, key=lambda key: (found[key]["n_searches"], found[key]["kl"])):
        if found[key]["kl"] < least:
            best.append(key)
            least = found[key]["kl"]
    return best


def no_larger(found: Mapping[str, Mapping[str, float]]) -> dict[str, Mapping[str, float]]:
    """Return the groupings whose candidate sets are no larger than the default's."""
    return {key: mine for key, mine in found.items() if mine["csp"] <= found[DEFAULT]["csp"] * 1.05}


def answer(rows: Sequence[Row]) -> Answer:
    """Return the frontier, the default and the paper's form, with KL on every source; and what agents earned."""
    laws = [row for row in rows if row["kind"] == "law"]
    found = summary(laws)
    table = []
    comparable = no_larger(found)
    best = frontier(comparable)
    for key in sorted({*best, DEFAULT, PAPER}, key=lambda key: found[key]["n_searches"]):
        mine = found[key]
        kls = tuple(f"{row['laws'][key]['kl']:.2g}" for row in laws)
        table.append((key, f"{mine['n_searches']:.0f}", f"{mine['csp']:.1%}", *kls, "yes" if key in best else ""))
    columns = ("groups, lambda'", "searches", "median CSP", *(row["source"] for row in laws), "none better with as few")
    default, paper = found[DEFAULT], found[PAPER]
    as_cheap = [key for key in comparable if found[key]["n_searches"] <= default["n_searches"] + 0.5]
    least = min(as_cheap, key=lambda key: found[key]["kl"])
    closest = min(found, key=lambda key: found[key]["kl"])
    return Answer(
        columns,
        tuple(table),
        f"With at most {default['n_searches']:.0f} searches, and candidate sets no larger than the default's, {least} "
        f"draws closest to PER: its worst KL over these priorities is {found[least]['kl']:.2g}; of the default, "
        f"{DEFAULT}, it is {default['kl']:.2g}, of the paper's form, {PAPER}, {paper['kl']:.2g}. At any cost, "
        f"{closest} ({found[closest]['n_searches']:.0f} searches, {found[closest]['csp']:.0%} found) brings it to "
        f"{found[closest]['kl']:.2g}.{_earned(rows)}",
    )


def _earned(rows: Sequence[Row]) -> str:
    """Say what agents earned, by environment and grouping, medians over seeds."""
    said = []
    for env in dict.fromkeys(row["env"] for row in rows if row["kind"] == "training"):
        by_grouping = []
        for grouping in TRAINED:
            earned = [row["selected"] for row in rows if row.get("env") == env and row.get("grouping") == grouping]
            median, low, high = median_interval(earned)
            by_grouping.append(f"{grouping} {median:.0f} [{low:.0f}, {high:.0f}]")
        said.append(f"on {env} {', '.join(by_grouping)}")
    return f" Agents trained with each earn, median of selected checkpoints [95%], {'; '.join(said)}." if said else ""


def figure(rows: Sequence[Row]) -> Figure:
    """Return the worst KL against searches, and against |CSP|, a point a grouping."""
    from experiments.plots.divergence import grouping_costs

    found = summary([row for row in rows if row["kind"] == "law"])
    return grouping_costs(found, frontier(no_larger(found)), {"the default": DEFAULT, "the paper's form": PAPER})


_DEFAULT = {
    "source": [
        "U[0,1]", "exponential", "exponential^.6", "lognormal(0,1)",
        "CartPole-v1", "Acrobot-v1", "LunarLander-v3",
    ],
    "n": 20_000,
    "n_samplings": 10_000,
    "length": 1.0,  # of the task's own number of steps
    "env": ["CartPole-v1", "Acrobot-v1", "LunarLander-v3"],
    "seeds": 5,
    "seed": 0,
}  # fmt: skip
STUDY = Study(
    name="amper-grouping",
    question="Which groups draw most like exact prioritized replay, for how many searches?",
    settings={
        "tiny": {
            **_DEFAULT, "source": ["lognormal(0,1)", "CartPole-v1"], "n": 1_000, "n_samplings": 200,
            "length": 0.05, "env": ["CartPole-v1"], "seeds": 1,
        },
        "default": _DEFAULT,
        "full": {**_DEFAULT, "n_samplings": 100_000, "seeds": 20},
    },
    cells=cells,
    run=run,
    answer=answer,
    figure=figure,
)  # fmt: skip
