"""What the declared uncertainty of technology numbers does to the report's ratios: Monte-Carlo, and one at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

import hwsim
from amper.trace import Trace
from experiments.contenders import Contender
from experiments.recording import prefix_end, window
from experiments.speedups import QUANTITIES, Speedup, quantities
from experiments.study import Row
from hwsim import uncertainty
from hwsim.cost_amper import largest_clock_ghz
from hwsim.cost_onchip import fastest_clock_ghz
from hwsim.technology import Technology
from hwsim.uncertainty import Assumption

Float64 = npt.NDArray[np.float64]
Transform = Callable[[Technology], Technology]

N_DRAWS = 100
N_SAMPLINGS = 8  # at the end of each prefix: what moves a latency moves every sampling's
PERCENTS = (2.5, 97.5)
#: Ratios whose assumptions are ranked: AMPER machine, baseline, quantity.
RANKED = (
    ("AMPER-fr, evacam-fefet45", "fused", "sample"),
    ("AMPER-fr rank_select, evacam-fefet45", "tree16", "sample"),
    ("AMPER-fr rank_select, evacam-fefet45", "tree16", "step_energy"),
)


def known(contenders: Iterable[Contender], n: int) -> list[Assumption]:
    """Return what is declared uncertain of the technologies of these machines."""
    return uncertainty.assumptions({t.name: t for t in (_technology(c, n) for c in contenders)}.values())


def intervals(
    contenders: Sequence[Contender], ratios: Sequence[Speedup], traces: Mapping[str, Trace], n: int, seed: int = 0
) -> list[Speedup]:
    """Return the ratios at n rows with their 95% intervals.

    An interval is the ratio as reported, times percentiles of how much draws of all uncertain numbers at once move
    it; both machines of a ratio see the same draw.
    """
    assumed = known(contenders, n)
    z = uncertainty.draw(len(assumed), N_DRAWS, seed)
    moved = {c: _moved(c, n, _end(traces, c, n), [_drawing(assumed, row) for row in z]) for c in contenders}
    of = {(c.key, c.replay, c.label): values for c, values in moved.items()}
    return [_with_interval(s, of) for s in ratios if s.n == n]


def _with_interval(ratio: Speedup, moved: Mapping[tuple[str, str, str], Mapping[str, Float64]]) -> Speedup:
    field = QUANTITIES[ratio.quantity][0]
    mine = next(values for (_, _, label), values in moved.items() if label == ratio.label)
    theirs = next(
        values for (key, replay, _), values in moved.items() if key == ratio.against and replay in ("per", ratio.replay)
    )
    moved_by = theirs[field] / mine[field]
    if np.ptp(moved_by) == 0:
        return ratio
    low, high = np.percentile(moved_by, PERCENTS)
    return replace(ratio, low=ratio.ratio * float(low), high=ratio.ratio * float(high))


def ranking(
    contenders: Sequence[Contender], ratios: Sequence[Speedup], traces: Mapping[str, Trace], n: int
) -> list[Row]:
    """Return, for each ratio of `RANKED`, what it becomes with one number at an end of its interval; largest first.

    As an interval, what moves is found on a few samplings and applied to the ratio as reported.
    """
    reported = {(s.label, s.against, s.quantity): s.ratio for s in ratios if s.n == n}
    labels = {c.label: c for c in contenders}
    rows: list[Row] = []
    for label, key, quantity in RANKED:
        mine, theirs = labels[label], next(c for c in contenders if c.key == key)
        assumed = known((mine, theirs), n)
        ends = [_at_end(a, end) for a in assumed for end in (0, 1)]
        field = QUANTITIES[quantity][0]
        ours, others = (_values(c, n, _end(traces, c, n), [_unchanged, *ends])[field] for c in (mine, theirs))
        nominal = reported[label, key, quantity]
        moved = [nominal * float(by) for by in (others / ours)[1:] / (others / ours)[0]]
        found = [
            {"label": label, "against": key, "quantity": quantity, "ratio": nominal, "name": a.name,
             "factors": list(a.ends), "value": a.value, "unit": a.unit, "source": a.source,
             "ratios": moved[2 * i : 2 * i + 2]}
            for i, a in enumerate(assumed)
        ]  # fmt: skip
        rows += sorted(found, key=lambda row: -abs(np.log(row["ratios"][1] / row["ratios"][0])))
    return rows


# -- one machine under many technologies --------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class _Drawn:
    """A technology with every uncertain number drawn."""

    assumed: Sequence[Assumption]
    z: Float64

    def __call__(self, tech: Technology) -> Technology:
        return uncertainty.drawn(tech, self.assumed, self.z)


def _drawing(assumed: Sequence[Assumption], z: Float64) -> Transform:
    return _Drawn(assumed, z)


def _at_end(assumption: Assumption, end: int) -> Transform:
    return lambda tech: uncertainty.at_end(tech, assumption, end)


def _unchanged(tech: Technology) -> Technology:
    return tech


def _moved(contender: Contender, n: int, trace: Trace, transforms: Sequence[Transform]) -> dict[str, Float64]:
    """Return by how much each draw multiplies each quantity; NaN where it is not known."""
    values = _values(contender, n, trace, [_unchanged, *transforms])
    return {field: column[1:] / column[0] for field, column in values.items()}


def _values(contender: Contender, n: int, trace: Trace, transforms: Sequence[Transform]) -> dict[str, Float64]:
    """Return every quantity under every technology, float64[transforms]; NaN where it is not known."""
    nominal = contender.machine.make(n)
    rows = [quantities(_made(contender, nominal, transform), trace)[1] for transform in transforms]
    return {field: np.array([row[field] for row in rows], np.float64) for field, _ in QUANTITIES.values()}


def _made(contender: Contender, nominal: Any, transform: Transform) -> Any:
    """Return the machine in another technology, at its own clock or the fastest that technology allows."""
    if getattr(nominal, "measurement", None) is not None:
        return nominal
    spec, before = contender.machine, hwsim.technology(nominal.technology)
    after = transform(before)
    options = (*_options(spec.options, nominal, before, after), ("technology", after))
    return replace(spec, options=options).make(nominal.n_rows)


def _options(
    options: Iterable[tuple[str, Any]], nominal: Any, before: Technology, after: Technology
) -> Iterator[tuple[str, Any]]:
    yield from ((key, value) for key, value in options if key not in ("technology", "clock_ghz", "t_op_us"))
    limits = {"amper-fr": largest_clock_ghz, "amper-k": largest_clock_ghz,
              "sumtree-onchip": fastest_clock_ghz, "rejection-onchip": fastest_clock_ghz}  # fmt: skip
    if nominal.name in limits:
        yield "clock_ghz", min(nominal.clock_ghz, limits[nominal.name](after))
    if nominal.name == "amper-k" and nominal.neighbours == "best_match":
        moved = after.number("best_match.factor") / before.number("best_match.factor")
        yield "best_match_factor", nominal.best_match_factor * moved
    if nominal.name == "sumtree-gpu":
        yield "t_op_us", nominal.t_op_us * after.number("model.t_op_us") / before.number("model.t_op_us")


def _technology(contender: Contender, n: int) -> Technology:
    return hwsim.technology(contender.machine.make(n).technology)


def _end(traces: Mapping[str, Trace], contender: Contender, n: int) -> Trace:
    trace = traces[contender.replay]
    return window(trace, prefix_end(trace, n), N_SAMPLINGS)
