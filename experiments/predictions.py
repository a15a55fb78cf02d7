"""What the errors of predictors on trace patterning say: medians with intervals, limits, and the ranking."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from experiments.predictors import CONSTANT, FLOOR, method
from experiments.statistics import Interval, median_interval
from experiments.study import Answer, Row

#: Largest median error of a network that is as it was described: medians found beforehand with an implementation of
#: another kind, 5M steps, were .0031 and .0039 (two sets of ten seeds) and .0049.
LIMITS = (("ccn 20:4", 0.0045), ("columnar 7", 0.010))
COLUMNS = ("method", "operations a step", "step size", "median error", "95% interval", "quartiles", "seeds", "steps/s")


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """The runs of one method at one step size."""

    method: str
    step_size: float
    operations: int
    errors: tuple[float, ...]
    median: Interval
    quartiles: tuple[float, float]
    steps_per_second: float
    n_overflowed: int


def summaries(rows: Sequence[Row]) -> list[Summary]:
    """Return a summary a method and step size, in the rows' order."""
    found: dict[tuple[str, float], list[Row]] = {}
    for row in rows:
        found.setdefault((row["method"], row["step_size"]), []).append(row)
    return [_summary(name, step_size, mine) for (name, step_size), mine in found.items()]


def _summary(name: str, step_size: float, rows: Sequence[Row]) -> Summary:
    errors = tuple(row["error"] for row in rows)
    low, high = np.percentile(errors, [25, 75])
    return Summary(
        method=name,
        step_size=step_size,
        operations=rows[0]["operations"],
        errors=errors,
        median=Interval(*median_interval(errors)),
        quartiles=(float(low), float(high)),
        steps_per_second=float(np.median([row["steps_per_second"] for row in rows])),
        n_overflowed=sum(row["overflowed_at"] is not None for row in rows),
    )


def best(found: Sequence[Summary]) -> list[Summary]:
    """Return of each method the step size with the least median; the smaller one of two alike."""
    by_method: dict[str, Summary] = {}
    for summary in sorted(found, key=lambda s: (s.median.value, s.step_size)):
        by_method.setdefault(summary.method, summary)
    return [by_method[name] for name in dict.fromkeys(s.method for s in found)]


def answer(rows: Sequence[Row]) -> Answer:
    """Return a line a method and step size; in words the best step sizes if there are several, else the verdict."""
    found = summaries(rows)
    several = len(best(found)) < len(found)
    return Answer(COLUMNS, tuple(_line(summary) for summary in found), _choice(found) if several else _verdict(found))


def _line(summary: Summary) -> tuple[str, ...]:
    return (
        summary.method,
        f"{summary.operations:,}",
        f"{summary.step_size:g}",
        _error(summary.median.value),
        f"[{_error(summary.median.low)}, {_error(summary.median.high)}]",
        f"{_error(summary.quartiles[0])} to {_error(summary.quartiles[1])}",
        str(len(summary.errors)),
        f"{summary.steps_per_second:,.0f}",
    )


def _error(value: float) -> str:
    return f"{value:.4f}"


def _with_interval(summary: Summary) -> str:
    return f"{_error(summary.median.value)} [{_error(summary.median.low)}, {_error(summary.median.high)}]"


# -- several step sizes ---------------------------------------------------------------------------------------
def _choice(found: Sequence[Summary]) -> str:
    chosen = best(found)
    table = ", ".join(f"{s.method!r}: {s.step_size:g}" for s in chosen)
    edges = [s.method for s in chosen if s.step_size in _ends(found, s.method)]
    text = f"Least median error by method: {{{table}}}."
    return text + (f" At an end of what was tried: {', '.join(edges)}." if edges else "") + _overflows(found)


def _ends(found: Sequence[Summary], name: str) -> tuple[float, float]:
    tried = [summary.step_size for summary in found if summary.method == name]
    return min(tried), max(tried)


# -- the verdict ----------------------------------------------------------------------------------------------
def _verdict(found: Sequence[Summary]) -> str:
    by_name = {summary.method: summary for summary in found}
    columns = [s for s in found if method(s.method).kind == "columns"]
    pairs = [s for s in found if method(s.method).kind == "tbptt"]
    parts = [_limit(by_name[name], limit) for name, limit in LIMITS if name in by_name]
    parts += [_against(summary, pairs) for summary in columns if pairs]
    order = ", ".join(f"{s.method} {_error(s.median.value)}" for s in sorted(found, key=lambda s: s.median.value))
    parts.append(f"From the least median: {order}; a constant {CONSTANT}, validity known {FLOOR}.")
    return " ".join(parts) + _overflows(found)


def _limit(summary: Summary, limit: float) -> str:
    met = "met" if summary.median.value <= limit else "missed"
    below = "whole interval below" if summary.median.high < CONSTANT else "interval not wholly below"
    return f"{summary.method}: {_with_interval(summary)}, limit {limit:g} {met}, {below} the constant's {CONSTANT}."


def _against(columns: Summary, pairs: Sequence[Summary]) -> str:
    """Return how a network of columns ranks against every T-BPTT pair; apart: the two intervals do not overlap."""
    lower = [p for p in pairs if columns.median.value < p.median.value]
    higher = [p for p in pairs if p not in lower]
    parts = [
        f"{words} {len(group)} of {len(pairs)} T-BPTT pairs{_apart(columns, group)}"
        for words, group in (("a lower median than", lower), ("no lower median than", higher))
        if group
    ]
    return f"{columns.method} has {', '.join(parts)}."


def _apart(columns: Summary, pairs: Sequence[Summary]) -> str:
    overlapping = [p for p in pairs if p.median.low <= columns.median.high and columns.median.low <= p.median.high]
    apart = [p for p in pairs if p not in overlapping]
    groups = {"intervals apart": apart, "overlapping": overlapping}
    named = [
        f"{words}: {', '.join(p.method.removeprefix('tbptt ') for p in group)}"
        for words, group in groups.items()
        if group
    ]
    return f" ({'; '.join(named)})"


def _overflows(found: Sequence[Summary]) -> str:
    at = [f"{s.method} at {s.step_size:g} ({s.n_overflowed})" for s in found if s.n_overflowed]
    return f" Runs that overflowed count as 1: {', '.join(at)}." if at else ""
