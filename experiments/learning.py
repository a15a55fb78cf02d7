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
        As printed; "all" of both is the aggregate, in normalised returns.
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

    def returns(self, place: Place, replay: str, key: str = "selected", *, normalised: bool = False) -> list[float]:
        """Return what the runs earned."""
        values = [float(row[key]) for row in self._rows[place, replay]]
        if not normalised:
            return values
        chosen = task(place[0])
        return [(value - chosen.random_return) / (chosen.goal - chosen.random_return) for value in values]


def comparisons(rows: Sequence[Row]) -> list[Comparison]:
    """Return a comparison a place and replay, then one a replay over all places where more than one was run."""
    runs = Runs(rows)
    found = [
        _in_place(runs, place, replay) for place in runs.places for replay in runs.replays if runs.has(place, replay)
    ]
    everywhere = [replay for replay in runs.replays if all(runs.has(place, replay) for place in runs.places)]
    if len(runs.places) > 1:
        found += [_over_all(runs, replay, everywhere) for replay in everywhere]
    return found


def _in_place(runs: Runs, place: Place, replay: str) -> Comparison:
    chosen, strata = task(place[0]), [runs.returns(place, replay)]
    reference = [runs.returns(place, REFERENCE)] if runs.has(place, REFERENCE) else None
    median = float(np.median(strata[0]))
    return Comparison(
        env=place[0],
        capacity=f"{place[1]:,}",
        replay=replay,
        n_runs=len(strata[0]),
        is_enough=_is_enough(strata, reference),
        median=median,
        last=float(iqm(runs.returns(place, replay, "last_iterate"))),
        reaches_goal=median >= chosen.goal,
        iqm=iqm_interval(strata),
        **_against(strata, None if replay == REFERENCE else reference, chosen.random_return),
    )


def _over_all(runs: Runs, replay: str, everywhere: Sequence[str]) -> Comparison:
    def strata_of(name: str, key: str = "selected") -> list[list[float]]:
        return [runs.returns(place, name, key, normalised=True) for place in runs.places]

    strata = strata_of(replay)
    reference = strata_of(REFERENCE) if REFERENCE in everywhere else None
    median = float(np.median(np.concatenate(strata)))
    return Comparison(
        env=ALL,
        capacity=ALL,
        replay=replay,
        n_runs=sum(len(stratum) for stratum in strata),
        is_enough=_is_enough(strata, reference),
        median=median,
        last=float(iqm(np.concatenate(strata_of(replay, "last_iterate")))),
        reaches_goal=median >= 1.0,
        iqm=iqm_interval(strata),
        **_against(strata, None if replay == REFERENCE else reference, 0.0),
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
    reference = [c for c in found if c.replay == REFERENCE and c.env != ALL]
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
    mine = [c for c in found if c.replay == replay and c.env != ALL]
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
    if worse:
        lead = f"No, {name} does not learn as well as PER everywhere"
    elif undecided:
        lead = f"{name} is not shown to learn as well as PER everywhere"
    else:
        lead = f"Yes, {name} learns as well as PER"
    where = "" if len(able) == len(read) else " where PER beats a random policy"
    return (
        f"{lead}: its IQM is at most 10% of PER's range below PER's (95% interval) in {len(as_good)} of {len(able)} "
        f"pairs of task and capacity{where}"
        + (f", further below in {_places(worse)}" if worse else "")
        + (f", undecided in {_places(undecided)}" if undecided else "")
        + _aggregate(found, replay)
        + "."
    )


def _places(found: Iterable[Comparison]) -> str:
    return ", ".join(f"{c.env} at {c.capacity} ({c.share.value:+.0%})" for c in found if c.share)


def _aggregate(found: Sequence[Comparison], replay: str) -> str:
    pooled = [c.share for c in found if c.replay == replay and c.env == ALL and c.share]
    return "".join(f"; over all, {s.value:+.1%} [{s.low:+.1%}, {s.high:+.1%}]" for s in pooled)
