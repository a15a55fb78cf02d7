"""How narrow and how faulty may the memory be?"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from amper.faults import NAMES as FAULTS
from experiments.priorities import known
from experiments.statistics import median_interval
from experiments.study import Answer, Cell, Parameters, Row, Stage, Study, no_stage
from experiments.tasks import task

if TYPE_CHECKING:
    from experiments.live import Snapshot
    from experiments.plots.base import Figure

WIDTH = "width"
KNOBS = (WIDTH, *FAULTS)
SOUND = (WIDTH, 16)  # 16 bits and no faults: what every other memory is held against
UNIFORM = ("uniform", 0)  # no memory at all: uniform sampling
KL_LIMIT = 0.02
LEVEL = 0.01  # of the test of returns
GROUPINGS = ("tapered", "linear")  # the default, and the paper's form
Memory = tuple[str, float]  # a knob, and where it stands
Made = tuple[str, Mapping[str, Any]]  # a sampler's name and options


def made_of(knob: str, value: float) -> Made:
    """Return the sampler of a memory with one thing changed.

    Examples
    --------
    >>> made_of("width", 8), made_of("sense_noise", 0.01)
    (('amper-fr', {'bits': 8}), ('amper-fr', {'faults': {'sense_noise': 0.01}}))
    """
    if knob == UNIFORM[0]:
        return "uniform", {}
    return "amper-fr", {"bits": int(value)} if knob == WIDTH else {"faults": {knob: float(value)}}


def cells(parameters: Parameters) -> list[Cell]:
    """Return a cell a source of priorities, grouping and seed: all memories; then a cell a training."""
    first = parameters["seed"]
    share = {"length": parameters["length"]}
    shared = {key: parameters[key] for key in ("width", "rate", "n", "n_samplings")}
    laws = [
        Cell({"kind": "law", "source": known(source), "grouping": grouping, **shared, **share}, seed)
        for source in parameters["source"]
        for grouping in GROUPINGS
        for seed in range(first, first + parameters["law_seeds"])
    ]
    trainings = [
        Cell(
            {"kind": "training", "env": task(env).env, "knob": knob, "value": value, "n": parameters["n"], **share},
            seed,
        )
        for env in parameters["env"]
        for knob, value in _memories(parameters["trained_width"], parameters["trained_rate"])
        for seed in range(first, first + parameters["seeds"])
    ]
    return laws + trainings


def _memories(widths: Sequence[int], rates: Sequence[float]) -> list[Memory]:
    """Return every memory, the sound one first; and none."""
    narrow = [(WIDTH, width) for width in widths if (WIDTH, width) != SOUND]
    return [SOUND, *narrow, *((fault, rate) for fault in FAULTS for rate in rates), UNIFORM]


def run(parameters: Parameters, seed: int, stage: Stage = no_stage) -> Row:
    """Measure all memories on one source of priorities; or train one agent with one memory."""
    return (_law if parameters["kind"] == "law" else _training)(parameters, seed, stage)


def _law(parameters: Parameters, seed: int, stage: Stage) -> Row:
    from experiments.live import follow
    from experiments.priorities import measured
    from experiments.tasks import TASKS

    source, grouping = parameters["source"], parameters["grouping"]
    memories = _memories(parameters["width"], parameters["rate"])
    wanted: dict[str, Made] = {}
    for memory in memories:
        name, options = made_of(*memory)
        wanted[words_of(*memory)] = (name, options if memory == UNIFORM else {"grouping": grouping, **options})
    if source in TASKS:
        faulty = {name: made for name, made in wanted.items() if "faults" in made[1]}
        run = follow(
            source,
            {name: made for name, made in wanted.items() if name not in faulty},
            n_steps=TASKS[source].n_steps_at(parameters["length"]),
            capacity=parameters["n"],
            seed=seed,
            measure=lambda snapshot: _with_faulty(snapshot, faulty, seed).measured(parameters["n_samplings"]),
            progress=lambda done, of: stage("training an agent", done, of),
        )
        found = run.measured[-1]
    else:
        found = measured(source, wanted, n=parameters["n"], seed=seed, n_samplings=parameters["n_samplings"])
    laws = [
        {"knob": knob, "value": value, **{key: found[words_of(knob, value)].get(key) for key in ("kl", "csp")}}
        for knob, value in memories
    ]
    return {"kind": "law", "source": source, "grouping": grouping, "seed": seed, "laws": laws}


def _with_faulty(snapshot: Snapshot, faulty: Mapping[str, Made], seed: int) -> Snapshot:
    """Return a snapshot with samplers on faulty memories: what they would hold had they followed, for less time.

    The host writes the same codes to every memory of 16 bits.
    """
    from amper import samplers

    sound = snapshot.followed[words_of(*SOUND)]
    state = sound.state_dict()
    codes = sound.codes.copy()
    followed = dict(snapshot.followed)
    for name, made in faulty.items():
        sampler = samplers.make_from(made[0], len(codes), seed, made[1])
        mine = sampler.state_dict()
        mine["search"]["codes"] = codes
        sampler.load_state_dict({**mine, "largest": state["largest"], "is_updated": state["is_updated"]})
        followed[name] = sampler
    return replace(snapshot, followed=followed)


def _training(parameters: Parameters, seed: int, stage: Stage) -> Row:
    from experiments.training import train

    env, knob, value = parameters["env"], parameters["knob"], parameters["value"]
    length, n = parameters["length"], parameters["n"]
    sampler, options = made_of(knob, value)
    found = train(env, sampler, options, capacity=n, length=length, seed=seed, stage=stage)
    mean = float(np.mean([mean for _, mean in found["curve"]]))
    return {"kind": "training", "env": env, "knob": knob, "value": value, "seed": seed, "mean_return": mean, **found}


# -- reading the rows ------------------------------------------------------------------------------------
def divergences(rows: Sequence[Row], source: str, grouping: str) -> dict[Memory, float]:
    """Return KL by memory, the mean over seeds, of one source of priorities."""
    mine = [row for row in rows if row["kind"] == "law" and (row["source"], row["grouping"]) == (source, grouping)]
    found: dict[Memory, list[float]] = {}
    for law in (law for row in mine for law in row["laws"]):
        found.setdefault((law["knob"], law["value"]), []).append(law["kl"])
    return {memory: float(np.mean(kls)) for memory, kls in found.items()}


def returns(rows: Sequence[Row], env: str, measure: str = "mean_return") -> dict[Memory, list[float]]:
    """Return what each memory's agents earned, by seed."""
    found: dict[Memory, list[float]] = {}
    for row in rows:
        if row["kind"] == "training" and row["env"] == env:
            found.setdefault((row["knob"], row["value"]), []).append(row[measure])
    return found


def _all_divergences(rows: Sequence[Row]) -> dict[tuple[str, str], dict[Memory, float]]:
    laws = dict.fromkeys((row["source"], row["grouping"]) for row in rows if row["kind"] == "law")
    return {key: divergences(rows, *key) for key in laws}


def _all_returns(rows: Sequence[Row]) -> dict[str, dict[Memory, list[float]]]:
    envs = dict.fromkeys(row["env"] for row in rows if row["kind"] == "training")
    return {env: returns(rows, env) for env in envs}


def are_less(values: Sequence[float], reference: Sequence[float]) -> bool:
    """Return whether `values` tend to lie below `reference`: one-sided Mann-Whitney test at `LEVEL`.

    Examples
    --------
    >>> are_less([1, 2, 3, 4, 5], [6, 7, 8, 9, 10]), are_less([1, 2, 3, 4, 10], [5, 6, 7, 8, 9])
    (True, False)
    """
    from scipy import stats

    return bool(stats.mannwhitneyu(values, reference, alternative="less").pvalue < LEVEL)


def bound(knob: str, holds: Mapping[float, bool]) -> float | None:
    """Return the worst setting up to which all that were tried hold; None where not even the mildest does.

    Examples
    --------
    >>> bound("width", {4: False, 8: True, 16: True}), bound("stuck_cells", {1e-3: True, 1e-2: False, 1e-1: True})
    (8, 0.001)
    """
    last = None
    for value in sorted(holds, reverse=knob == WIDTH):
        if not holds[value]:
            break
        last = value
    return last


def words_of(knob: str, value: float | None) -> str:
    """Return what a memory is called.

    Examples
    --------
    >>> words_of("width", 8), words_of("stuck_cells", 0.001), words_of("sense_noise", None)
    ('8 bits', 'stuck cells 1e-3', 'sense noise none')
    """
    if knob == UNIFORM[0]:
        return "uniform sampling"
    if knob == WIDTH:
        return "none" if value is None else f"{value:g} bits"
    return f"{knob.replace('_', ' ')} {'none' if value is None else rate_words(value)}"


def rate_words(rate: float) -> str:
    """Return a rate in digits and a power of ten.

    Examples
    --------
    >>> rate_words(0.00001), rate_words(0.025)
    ('1e-5', '2.5e-2')
    """
    digits, power = f"{rate:e}".split("e")
    return f"{float(digits):g}e{int(power)}"


def answer(rows: Sequence[Row]) -> Answer:
    """Return KL by source and returns by environment, a line a memory; and up to where both are as good."""
    kls, earned = _all_divergences(rows), _all_returns(rows)
    sources, envs = list(dict.fromkeys(source for source, _ in kls)), list(earned)
    selected = {env: returns(rows, env, "selected") for env in envs}
    known = {memory for found in kls.values() for memory in found}
    known |= {memory for by_memory in earned.values() for memory in by_memory}
    table = []
    order = (*KNOBS, UNIFORM[0])
    for memory in sorted(known, key=lambda m: (order.index(m[0]), m[1])):
        line: list[str] = [words_of(*memory)]
        for source in sources:
            line.append(" / ".join(_number(kls.get((source, form), {}).get(memory)) for form in GROUPINGS))
        for env in envs:
            line += [_interval(earned[env].get(memory)), _interval(selected[env].get(memory), short=True)]
        table.append(tuple(line))
    columns = ("memory", *(f"KL, {source}" for source in sources))
    columns += tuple(name for env in envs for name in (f"{env}, mean return [95%]", "selected"))
    return Answer(columns, tuple(table), " ".join([_law_words(kls), *_training_words(earned)]).strip())


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2g}" if abs(value) >= 5e-5 else "0"


def _interval(values: Sequence[float] | None, *, short: bool = False) -> str:
    if values is None:
        return ""
    if short or len(values) == 1:
        return f"{np.median(values):.1f}"
    return "{:.1f} [{:.1f}, {:.1f}]".format(*median_interval(values))


def _bounds(knobs: Sequence[str], holds: Callable[[str], Mapping[float, bool]]) -> str:
    found = [(knob, holds(knob)) for knob in knobs]
    return ", ".join(words_of(knob, bound(knob, held)) for knob, held in found if held)


def _law_words(kls: Mapping[tuple[str, str], Mapping[Memory, float]]) -> str:
    if not kls:
        return ""
    said = []
    for form in (form for form in GROUPINGS if any(grouping == form for _, grouping in kls)):
        worst: dict[Memory, float] = {}
        for (_, grouping), found in kls.items():
            if grouping == form:
                worst.update({memory: max(kl, worst.get(memory, kl)) for memory, kl in found.items()})
        limit = max(KL_LIMIT, 2 * worst[SOUND])

        def holds(knob: str, worst: Mapping[Memory, float] = worst, limit: float = limit) -> dict[float, bool]:
            return {value: kl <= limit for (name, value), kl in worst.items() if name == knob}

        said.append(
            f"With {form} groups it is {worst[SOUND]:.2g} on a sound memory of 16 bits, and at most {limit:.2g} up to "
            f"{_bounds(KNOBS, holds)}."
        )
    uniform = min(found[UNIFORM] for found in kls.values())
    return (
        f"KL to PER is the worst of all sources, in the table tapered / linear groups; uniform sampling's is "
        f"{uniform:.2g} or more. {' '.join(said)}"
    )


def _training_words(earned: Mapping[str, Mapping[Memory, Sequence[float]]]) -> list[str]:
    if not earned:
        return []
    n_seeds = min(len(values) for found in earned.values() for values in found.values())
    if 1 / math.comb(2 * n_seeds, n_seeds) >= LEVEL:
        return [f"To tell what agents earn apart takes 5 seeds; fewest here: {n_seeds}."]
    n_tests = sum(len(found) - 1 for found in earned.values())
    said, without = [], []
    for env, found in earned.items():

        def holds(knob: str, found: Mapping[Memory, Sequence[float]] = found) -> dict[float, bool]:
            return {v: not are_less(x, found[SOUND]) for (name, v), x in found.items() if name == knob}

        said.append(f"on {env} up to {_bounds(KNOBS, holds)}")
        if UNIFORM in found:
            less = "less" if are_less(found[UNIFORM], found[SOUND]) else "no less"
            without.append(f"{less} on {env}")
    uniform = f" Uniform sampling earns {', '.join(without)}." if without else ""
    return [
        f"Agents earn no less than on a sound memory of 16 bits {'; '.join(said)} (mean of the evaluations during "
        f"training; one-sided Mann-Whitney test at {LEVEL:g}, {n_tests} of them).{uniform}"
    ]


def figure(rows: Sequence[Row]) -> Figure:
    """Return KL and returns against width and each fault's rate."""
    from experiments.plots.precision import precision_figure

    return precision_figure(KNOBS, SOUND, UNIFORM, _all_divergences(rows), _all_returns(rows))


_DEFAULT = {
    "source": ["U[0,1]", "CartPole-v1", "Acrobot-v1"],
    "width": [4, 5, 6, 8, 10, 12, 16, 24, 32],
    "rate": [1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1],
    "n_samplings": 4_000,
    "law_seeds": 2,
    "env": ["CartPole-v1", "Acrobot-v1"],
    "trained_width": [4, 6, 8, 12, 16],
    "trained_rate": [1e-3, 1e-2, 1e-1],
    "seeds": 5,
    "n": 20_000,
    "length": 1.0,  # of the task's own number of steps
    "seed": 0,
}
STUDY = Study(
    name="amper-precision",
    question="How narrow and how faulty may the memory be?",
    settings={
        "tiny": {
            **_DEFAULT, "source": ["U[0,1]", "CartPole-v1"], "width": [4, 8, 16], "rate": [1e-3, 1e-1],
            "n_samplings": 200, "law_seeds": 1, "env": ["CartPole-v1"], "trained_width": [4, 16],
            "trained_rate": [1e-1], "seeds": 1, "n": 1_000, "length": 0.03,
        },
        "default": _DEFAULT,
        "full": {
            **_DEFAULT, "law_seeds": 5, "n_samplings": 20_000, "seeds": 20,
            "trained_width": [4, 5, 6, 8, 10, 12, 16, 24, 32], "trained_rate": [1e-5, 1e-4, 1e-3, 1e-2, 1e-1],
        },
    },
    cells=cells,
    run=run,
    answer=answer,
    figure=figure,
)  # fmt: skip
