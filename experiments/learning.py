"""What runs of several replays say of each other: every replay against exact prioritized replay (PER).

Returns are those of selected checkpoints. A difference is read against PER's range, its interquartile mean (IQM) less
what a random policy earns, taken as known: an AMPER is as good as PER where the interval of its difference lies above
-10% of that.
Over tasks and capacities together, returns are normalised: 0 is the random policy's, 1 the task's goal.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from experiments.statistics import Interval, Strata, improvement, iqm, iqm_difference, iqm_interval
from experiments.study import Answer, Row
from experiments.tasks import task

REFERENCE = "per"
AMPERS = {"amper-fr": "AMPER-fr", "amper-k": "AMPER-k"}
MARGIN = -0.1  # of the reference's range
MIN_RUNS = 5  # of a cell: the bootstrap of fewer runs (35 resamples of four differ) says nothing of their spread
ALL = "all"

Place = tuple[str, int]  # an environment and a capacity


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One replay against the reference, in one place or over all of them.

    Parameters
    ----------
    env, capacity : str
        As printed; "all" capacities of a task are strata of its own, "all" tasks together are in normalised returns.
    n_runs : int
        Of this replay.
    is_enough : bool
        Whether this replay and the reference have `MIN_RUNS` runs in every place; intervals mean nothing otherwise.
    median, last : float
        Median of the selected checkpoints; IQM of the last iterates.
    reaches_goal : bool
        Whether the median does.
    iqm : Interval
        Of the selected checkpoints.
    difference, share, chance : Interval, optional
        IQM less the reference's; the same over the reference's range, where it has one; the chance that a run earns
        more than one of the reference's. None of the reference itself, and where it was not run.
    """

    env: str
    capacity: str
    replay: str
    n_runs: int
    is_enough: bool
    median: float
    last: float
    reaches_goal: bool
    iqm: Interval
    difference: Interval | None = None
    share: Interval | None = None
    chance: Interval | None = None


class Runs:
    """The returns of rows, by place and replay, as they are or normalised."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self._rows: dict[tuple[Place, str], list[Row]] = {}
        for row in rows:
            self._rows.setdefault(((row["env"], row["capacity"]), row["replay"]), []).append(row)
        self.places = list(dict.fromkeys(place for place, _ in self._rows))
        self.replays = list(dict.fromkeys(replay for _, replay in self._rows))

    def has(self, place: Place, replay: str) -> bool:
        """Return whether there is a row."""
        return (place, replay) in self._rows

    def of_all(self, places: Sequence[Place]) -> list[str]:
        """Return the replays that were run in all of these places."""
        return [replay for replay in self.replays if all(self.has(place, replay) for place in places)]

    def returns(self, place: Place, replay: str, key: str = "selected", *, normalised: bool = False) -> list[float]:
        """Return what the runs earned."""
        values = [float(row[key]) for row in self._rows[place, replay]]
        if not normalised:
            return values
        chosen = task(place[0])
        return [(value - chosen.random_return) / (chosen.goal - chosen.random_return) for value in values]


def comparisons(rows: Sequence[Row]) -> list[Comparison]:
    """Return a comparison a place and replay; then one a task over its capacities; then one over all tasks.

    The latter where there is more than one, and of each replay that was run in all of them.
    """
    runs = Runs(rows)
    found = [
        _compare(runs, [place], replay, place[0], f"{place[1]:,}")
        for place in runs.places
        for replay in runs.replays
        if runs.has(place, replay)
    ]
    envs = list(dict.fromkeys(env for env, _ in runs.places))
    for env in envs:
        places = [place for place in runs.places if place[0] == env]
        if len(places) > 1:
            found += [_compare(runs, places, replay, env, ALL) for replay in runs.of_all(places)]
    if len(envs) > 1:
        found += [_compare(runs, runs.places, replay, ALL, ALL) for replay in runs.of_all(runs.places)]
    return found


def _compare(runs: Runs, places: Sequence[Place], replay: str, env: str, capacity: str) -> Comparison:
    """Compare over places, a stratum each: returns as they are where they are of one task, else normalised."""

    def strata_of(name: str, key: str = "selected") -> list[list[float]]:
        return [runs.returns(place, name, key, normalised=env == ALL) for place in places]

    strata = strata_of(replay)
    reference = strata_of(REFERENCE) if REFERENCE in runs.of_all(places) else None
    median = float(np.median(np.concatenate(strata)))
    floor, goal = (0.0, 1.0) if env == ALL else (task(env).random_return, task(env).goal)
    return Comparison(
        env=env,
        capacity=capacity,
        replay=replay,
        n_runs=sum(len(stratum) for stratum in strata),
        is_enough=_is_enough(strata, reference),
        median=median,
        last=float(iqm(np.concatenate(strata_of(replay, "last_iterate")))),
        reaches_goal=median >= goal,
        iqm=iqm_interval(strata),
        **_against(strata, None if replay == REFERENCE else reference, floor),
    )


def _is_enough(*algorithms: Strata | None) -> bool:
    return all(len(runs) >= MIN_RUNS for strata in algorithms for runs in strata or ())


def _against(strata: Strata, reference: Strata | None, floor: float) -> dict[str, Interval]:
    """Return difference, share and chance; no share where the reference earns no more than `floor`."""
    if reference is None:
        return {}
    difference = iqm_difference(strata, reference)
    found = {"difference": difference, "chance": improvement(strata, reference)}
    span = float(iqm(np.concatenate([np.asarray(runs) for runs in reference]))) - floor
    if span > 0:
        found["share"] = Interval(*(value / span for value in difference))
    return found


# -- in words -------------------------------------------------------------------------------------------
COLUMNS = (
    "environment", "capacity", "replay", "runs", "median", "goal", "IQM [95%]", "last iterate, IQM",
    "IQM - PER's [95%]", "of PER's range [95%]", "above -10%", "P(more than PER) [95%]",
)  # fmt: skip


def answer(rows: Sequence[Row]) -> Answer:
    """Return the comparisons as a table, and the question answered in words."""
    found = comparisons(rows)
    return Answer(COLUMNS, tuple(_cells(comparison) for comparison in found), f"{verdict(found)} {_LEGEND}")


_LEGEND = (
    "Returns of selected checkpoints. IQM: mean of the middle half of the runs; intervals: stratified bootstrap over "
    "runs; PER's range: its IQM less a random policy's return; all: returns normalised to 0 for a random policy, 1 for "
    "the goal."
)


def _cells(c: Comparison) -> tuple[str, ...]:
    number = "{:.3f}" if c.env == ALL else "{:.1f}"
    above = "" if c.share is None or not c.is_enough else "yes" if c.share.low > MARGIN else "no"
    return (
        c.env,
        c.capacity,
        c.replay,
        str(c.n_runs),
        number.format(c.median),
        "reached" if c.reaches_goal else "missed",
        _spelled(c.iqm, number, c),
        number.format(c.last),
        _spelled(c.difference, number.replace(":", ":+"), c),
        _spelled(c.share, "{:+.1%}", c),
        above,
        _spelled(c.chance, "{:.2f}", c),
    )


def _spelled(found: Interval | None, number: str, c: Comparison) -> str:
    if found is None:
        return ""
    value, low, high = (number.format(x) for x in found)
    return f"{value} [{low}, {high}]" if c.is_enough else f"{value} [n/a]"


def verdict(found: Sequence[Comparison]) -> str:
    """Return the sentences that answer whether an AMPER learns as well as PER."""
    sentences = [_of_amper(found, replay) for replay in AMPERS if any(c.replay == replay for c in found)]
    if not sentences:
        return "No AMPER was run: nothing to compare."
    reference = [c for c in found if c.replay == REFERENCE and c.capacity != ALL]
    if reference:
        missed = [f"{c.env} at {c.capacity}" for c in reference if not c.reaches_goal]
        sentences.append(
            f"PER's own median reaches the goal in {len(reference) - len(missed)} of {len(reference)}"
            + (f" (not in {', '.join(missed)})." if missed else ".")
        )
    return " ".join(sentences)


def _of_amper(found: Sequence[Comparison], replay: str) -> str:
    """Return one sentence on one AMPER."""
    name = AMPERS[replay]
    mine = [c for c in found if c.replay == replay and c.capacity != ALL]
    read = [c for c in mine if c.difference is not None]
    if not read:
        return f"{name} was run without PER: nothing to compare with."
    if not all(c.is_enough for c in read):
        return f"Too few runs to say whether {name} learns as well as PER: an interval takes {MIN_RUNS} of each."
    able = [c for c in read if c.share is not None]
    if not able:
        return f"Nothing can be said of {name}: PER itself earned no more than a random policy."
    worse = [c for c in able if c.share and c.share.high < MARGIN]
    as_good = [c for c in able if c.share and c.share.low > MARGIN]
    undecided = [c for c in able if c not in worse and c not in as_good]
    over_capacities = [c for c in found if c.replay == replay and c.capacity == ALL and c.env != ALL and c.share]
    judged = over_capacities or able
    if worse:
        lead = f"No, {name} does not learn as well as PER everywhere"
    elif all(c.share and c.share.low > MARGIN for c in judged):
        lead = f"Yes, {name} learns as well as PER"
    else:
        lead = f"{name} is not shown to learn as well as PER"
    where = "" if len(able) == len(read) else " where PER beats a random policy"
    return (
        f"{lead}{_aggregate(found, replay)}: its IQM is at most 10% of PER's range below PER's (95% interval) in "
        f"{len(as_good)} of {len(able)} pairs of task and capacity{where}"
        + (f", further below in {_places(worse)}" if worse else "")
        + (f", undecided in {_places(undecided)}" if undecided else "")
        + "."
    )


def _places(found: Iterable[Comparison]) -> str:
    return ", ".join(f"{c.env} at {c.capacity} ({c.share.value:+.0%})" for c in found if c.share)


def _aggregate(found: Sequence[Comparison], replay: str) -> str:
    """Say the differences over the capacities of each task together, and over all."""
    pooled = [(c, c.share) for c in found if c.replay == replay and c.capacity == ALL and c.share]
    said = [
        f"{'all tasks' if c.env == ALL else c.env} {share.value:+.1%} [{share.low:+.1%}, {share.high:+.1%}]"
        for c, share in pooled
    ]
    return f" (difference of IQMs over PER's range, capacities together: {', '.join(said)})" if said else ""
