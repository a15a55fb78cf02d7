"""What should the groups take for the largest code in use?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments.study import Answer, Cell, Parameters, Row, Stage, Study, no_stage
from experiments.tasks import task

if TYPE_CHECKING:
    from experiments.live import Snapshot
    from experiments.plots.base import Figure

N_SNAPSHOTS = 10  # over a training; its later half is what the table gives


def cells(parameters: Parameters) -> list[Cell]:
    """Return one cell a training: environment, rule, grouping, seed; and exact prioritized replay beside them."""
    shared = {key: parameters[key] for key in ("capacity", "n_samplings", "length")}
    seeds = range(parameters["seed"], parameters["seed"] + parameters["seeds"])
    choices = [{"sampler": "per", "grouping": "", "v_max": ""}] + [
        {"sampler": "amper-fr", "grouping": grouping, "v_max": v_max}
        for grouping in parameters["grouping"]
        for v_max in parameters["v_max"]
    ]
    return [
        Cell({**shared, "env": task(env).env, **choice}, seed)
        for env in parameters["env"]
        for choice in choices
        for seed in seeds
    ]


def run(parameters: Parameters, seed: int, stage: Stage = no_stage) -> Row:
    """Train one agent; look at its own replay as it goes."""
    from experiments.live import follow

    sampler, env = parameters["sampler"], parameters["env"]
    options = {} if sampler == "per" else {key: parameters[key] for key in ("grouping", "v_max")}

    def measure(snapshot: Snapshot) -> Row:
        found = snapshot.measured(parameters["n_samplings"])["own"]
        return {"step": snapshot.step, **found, "full": getattr(snapshot.followed["own"], "full", 0)}

    run = follow(
        env,
        {"own": (sampler, options)},
        n_steps=task(env).n_steps_at(parameters["length"]),
        capacity=parameters["capacity"],
        seed=seed,
        n_snapshots=N_SNAPSHOTS,
        measure=measure,
        replay={"sampler": sampler, "sampler_options": options},
        progress=lambda done, of: stage("training an agent", done, of),
    )
    stats: dict[str, int] = run.result.replay.stats  # type: ignore[attr-defined]  # a ReplayBuffer
    n_overwritten = max(run.result.n_steps - parameters["capacity"], 0)
    return {
        "env": env,
        "seed": seed,
        "sampler": sampler,
        **options,
        "snapshots": run.measured,
        "never_sampled": stats["never_sampled"] / n_overwritten if n_overwritten else 0.0,
        "fallbacks": stats.get("fallbacks", 0),
        "redraws": stats.get("redraws", 0),
    }


def label(row: Row) -> str:
    """Return what a row's sampler is called.

    Examples
    --------
    >>> label({"sampler": "amper-fr", "grouping": "linear", "v_max": "q99"})
    'linear, q99'
    """
    return "per" if row["sampler"] == "per" else f"{row['grouping']}, {row['v_max']}"


def later(row: Row, measure: str) -> float:
    """Return the mean of a measure over the later half of the training."""
    late = row["snapshots"][len(row["snapshots"]) // 2 :]
    return float(np.mean([snapshot.get(measure, 0.0) for snapshot in late]))


def answer(rows: Sequence[Row]) -> Answer:
    """Return a line an environment and rule: medians over seeds."""
    table = []
    worst: dict[str, dict[str, float]] = {}
    for env in dict.fromkeys(row["env"] for row in rows):
        mine = [row for row in rows if row["env"] == env]
        for name in dict.fromkeys(label(row) for row in mine):
            found = [row for row in mine if label(row) == name]
            kl = float(np.median([later(row, "kl") for row in found]))
            peak = float(np.max([snapshot["kl"] for row in found for snapshot in row["snapshots"]]))
            csp = float(np.median([later(row, "csp") for row in found]))
            never = float(np.median([row["never_sampled"] for row in found]))
            table.append((env, name, f"{kl:.2g}", f"{peak:.2g}", f"{csp:.2%}", f"{never:.2%}"))
            entry = worst.setdefault(name, {"kl": 0.0, "never": 0.0, "csp": 1.0})
            entry["kl"], entry["never"] = max(entry["kl"], kl), max(entry["never"], never)
            entry["csp"] = min(entry["csp"], csp)
    columns = ("env", "groups, full scale", "KL", "largest KL", "CSP", "never sampled")
    return Answer(columns, tuple(table), _verdict(worst))


def _verdict(worst: dict[str, dict[str, float]]) -> str:
    exact = worst.pop("per", {"never": 0.0})
    best = min(worst, key=lambda name: worst[name]["kl"])
    groupings = dict.fromkeys(name.split(", ")[0] for name in worst)
    running = " and ".join(
        f"{worst[name]['kl']:.2g} with {grouping} groups ({worst[name]['never']:.2%} overwritten unsampled, PER "
        f"{exact['never']:.2%})"
        for grouping in groupings
        if (name := f"{grouping}, running") in worst
    )
    return (
        f"Means over the later half of each training, medians over seeds. {best} draws closest to PER where each "
        f"rule is at its worst, by KL {worst[best]['kl']:.2g}; the running maximum strays by {running}."
    )


def figure(rows: Sequence[Row]) -> Figure:
    """Return KL, candidates and starvation by rule, a column an environment."""
    from experiments.plots.divergence import full_scale_rules

    points: list[dict[str, Any]] = [
        {"env": row["env"], "grouping": row["grouping"], "v_max": row["v_max"], "never": row["never_sampled"],
         "kl": later(row, "kl"), "csp": later(row, "csp")}
        for row in rows if row["sampler"] != "per"
    ]  # fmt: skip
    exact = {row["env"]: row["never_sampled"] for row in rows if row["sampler"] == "per"}
    return full_scale_rules(points, exact)


_DEFAULT = {
    "env": ["CartPole-v1", "Acrobot-v1", "LunarLander-v3"],
    "grouping": ["linear", "tapered"],
    "v_max": ["running", "decay100000", "decay10000", "q99.9", "q99"],
    "capacity": 20_000,
    "n_samplings": 8_000,
    "length": 1.0,  # of the task's own number of steps
    "seeds": 2,
    "seed": 0,
}
STUDY = Study(
    name="amper-vmax",
    question="What should the groups take for the largest code in use?",
    settings={
        "tiny": {
            **_DEFAULT, "env": ["CartPole-v1"], "v_max": ["running", "decay10000"], "capacity": 1_000,
            "n_samplings": 200, "length": 0.03, "seeds": 1,
        },
        "default": _DEFAULT,
        "full": {**_DEFAULT, "seeds": 10},
    },
    cells=cells,
    run=run,
    answer=answer,
    figure=figure,
)  # fmt: skip
