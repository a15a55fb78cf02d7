"""What a run kept of its ledger: every entry, and every op from its arrival to its end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from amper.trace import OpKind, Trace

if TYPE_CHECKING:
    from hwsim.component import ComponentSpec
    from hwsim.events import Times
    from hwsim.ledger import Ledger

Int64 = npt.NDArray[np.int64]

#: By number: the kinds of op of a trace, and the fetch that follows a sampling.
KINDS = ("insert", "update", "sample", "fetch")
FETCH = 3
UNKNOWN = -1


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Activity:
    """Who worked or waited when, for which op, and paid what; read-only columns, int64.

    Parameters
    ----------
    components : tuple of str
        Names, in the order of the report's breakdown.
    causes : tuple of str
        What stalls waited for; number 0, "", is work.
    component, op, start_fs, duration_fs, n_units, energy_aj, cause : int64[entries]
        By entry: its component's number, the row of its op in the trace's `ops`, when, units at work together (0 for
        a stall; -1 where a formula's entry stands for several units and says their time added up only), energy, and
        the number of its cause. An entry of a formula begins with its op's part in it and lasts as long as the
        component works; the events may show the same work with pauses between.
    span_op, span_kind, span_start_fs, span_end_fs : int64[spans]
        By op in trace order, then by fetch: from arrival to end; a fetch begins where its sampling ends. `span_kind`
        numbers `KINDS`.
    """

    components: tuple[str, ...]
    causes: tuple[str, ...]
    component: Int64
    op: Int64
    start_fs: Int64
    duration_fs: Int64
    n_units: Int64
    energy_aj: Int64
    cause: Int64
    span_op: Int64
    span_kind: Int64
    span_start_fs: Int64
    span_end_fs: Int64

    def __repr__(self) -> str:
        return f"Activity({len(self.components)} components, {len(self.op)} entries, {len(self.span_op)} spans)"


def activity(
    ledger: Ledger, specs: Sequence[ComponentSpec], trace: Trace, times: Times, *, by_formula: bool
) -> Activity:
    """Return what the ledger holds, and when the trace's ops arrived and ended."""
    columns = ledger.columns()
    busy = columns.pop("unit_busy_fs")
    columns["n_units"] = _n_units(columns, busy, np.array([s.n_units for s in specs]), by_formula=by_formula)
    kept: Mapping[str, Int64] = {**columns, **_spans(trace, times)}
    for column in kept.values():
        column.flags.writeable = False
    return Activity(components=tuple(s.name for s in specs), causes=ledger.causes, **kept)


def _n_units(columns: Mapping[str, Int64], busy: Int64, built: Int64, *, by_formula: bool) -> Int64:
    """Return how many units each entry has at work; a formula's are known where they are one, or all there are."""
    duration = np.maximum(1, columns["duration_fs"])
    n_units = busy // duration
    if by_formula:
        all_of_them = built[columns["component"]]
        known = (busy % duration == 0) & ((n_units <= 1) | (n_units == all_of_them))
        n_units[~known] = UNKNOWN
    return n_units


def _spans(trace: Trace, times: Times) -> dict[str, Int64]:
    kinds = trace.ops["kind"].astype(np.int64)
    ended = times.arrived_fs + times.latency_fs
    sampled = np.flatnonzero(kinds == OpKind.SAMPLE)
    return {
        "span_op": np.concatenate((np.arange(len(kinds)), sampled)),
        "span_kind": np.concatenate((kinds, np.full(len(sampled), FETCH))),
        "span_start_fs": np.concatenate((times.arrived_fs, ended[sampled])),
        "span_end_fs": np.concatenate((ended, ended[sampled] + times.fetch_fs)),
    }
