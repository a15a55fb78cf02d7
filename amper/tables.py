"""The columns of a trace: append-only structured arrays, and the rules they keep among each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from amper.protocols import Array, Int64, TraceHeader

SAMPLE = 2  # the `kind` of a sampling; inserts and updates are below it
_OPS = np.dtype([("kind", "u1"), ("actor", "i4"), ("first", "i8"), ("count", "i8"), ("at_maximum", "?")])
_WRITES = np.dtype([("slot", "i8"), ("code", "u4")])
_SEARCHES = np.dtype(
    [
        ("group", "i4"),
        ("key", "u4"),
        ("lo", "u4"),
        ("hi", "u4"),
        ("n_neighbours", "i8"),
        ("n_ternary_words", "i4"),
        ("n_matches", "i8"),
        ("attempt", "i4"),
    ]
)
_SAMPLES = np.dtype(
    [
        ("batch_size", "i8"),
        ("n_valid", "i8"),
        ("n_csp", "i8"),
        ("n_redraws", "i4"),
        ("fallback", "?"),
        ("first_search", "i8"),
        ("n_searches", "i8"),
        ("first_draw", "i8"),
    ]
)
_DRAWS = np.dtype([("slot", "i8"), ("group", "i4")])
TABLES = {"ops": _OPS, "writes": _WRITES, "searches": _SEARCHES, "samples": _SAMPLES, "draws": _DRAWS}


class Table:
    """An append-only structured array that grows by doubling."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self._data: Array = np.empty(64, dtype=dtype)
        self.n = 0

    def extend(self, k: int) -> Array:
        """Append `k` rows of undefined content and return them for writing."""
        end = self.n + k
        if end > len(self._data):
            grown = np.empty(max(end, 2 * len(self._data)), dtype=self._data.dtype)
            grown[: self.n] = self._data[: self.n]
            self._data = grown
        rows = self._data[self.n : end]
        self.n = end
        return rows

    @property
    def rows(self) -> Array:
        """What was appended; read-only."""
        view = self._data[: self.n]
        view.flags.writeable = False
        return view


def spread(first: Array, count: Array) -> Int64:
    """Return rows first[i] .. first[i] + count[i] (exclusive) of every i, one after another.

    Examples
    --------
    >>> spread(np.array([5, 0]), np.array([3, 2]))
    array([5, 6, 7, 0, 1])
    """
    before = np.cumsum(count) - count
    result: Int64 = np.arange(int(count.sum())) + np.repeat(first - before, count)
    return result


def _within(first: Array, count: Array | int, n: int) -> Array:
    """Return where rows first .. first + count exist in a table of n."""
    inside: Array = (first >= 0) & (count >= 0) & (first <= n) & (count <= n - first)
    return inside


def _require(name: str, holds: Array, values: Array, rule: str) -> None:
    """Raise ValueError naming the first value of a column that breaks its rule."""
    if not holds.all():
        at = int(np.argmin(holds))
        raise ValueError(f"{name} of a trace must be {rule}, got {int(values[at])} at row {at}")


def check_tables(header: TraceHeader, tables: Mapping[str, Array]) -> None:
    """Raise ValueError unless every row that a table refers to exists, and every slot and code is in range."""
    ops, writes, samples, searches = (tables[name] for name in ("ops", "writes", "samples", "searches"))
    n_draws = len(tables["draws"])
    top, sampled = (1 << header.bits) - 1, ops["kind"] == SAMPLE
    written = ops[~sampled]
    first, first_search, first_draw = ops["first"][sampled], samples["first_search"], samples["first_draw"]
    slot, code, neighbours = writes["slot"], writes["code"], searches["n_neighbours"]
    drawn = tables["draws"]["slot"]
    n_searches, n_redraws = samples["n_searches"], samples["n_redraws"]
    in_order = np.cumsum(n_searches) - n_searches, np.cumsum(samples["batch_size"]) - samples["batch_size"]
    rules = (
        ("kind", ops["kind"] <= SAMPLE, ops["kind"], "0, 1 or 2"),
        ("first", _within(written["first"], written["count"], len(writes)), written["first"], "a row of writes"),
        ("first", _within(first, 1, len(samples)), first, "a row of samples"),
        ("slot", (slot >= 0) & (slot < header.n_rows), slot, f"in 0 .. {header.n_rows - 1}"),
        ("code", (code >= 1) & (code <= top), code, f"in 1 .. {top}"),
        ("first_search", _within(first_search, samples["n_searches"], len(searches)), first_search,
         "a row of searches"),
        ("first_draw", _within(first_draw, samples["batch_size"], n_draws), first_draw, "a row of draws"),
        ("first", first == np.arange(len(first)), first, "the samplings' rows in order"),
        ("first_search", first_search == in_order[0], first_search, "rows one after another"),
        ("first_draw", first_draw == in_order[1], first_draw, "rows one after another"),
        ("n_redraws", (n_redraws >= 0) & (n_redraws < 2**20), n_redraws, "in 0 .. 2^20"),
        ("n_csp", samples["n_csp"] >= 0, samples["n_csp"], "at least 0"),
        ("slot of a draw", (drawn >= 0) & (drawn < header.n_rows), drawn, f"in 0 .. {header.n_rows - 1}"),
        ("group", (searches["group"] >= 0) & (searches["group"] < 2**20), searches["group"], "in 0 .. 2^20"),
        ("n_ternary_words", searches["n_ternary_words"] >= 0, searches["n_ternary_words"], "at least 0"),
        ("n_matches", searches["n_matches"] >= 0, searches["n_matches"], "at least 0"),
        ("lo", (searches["lo"] <= searches["hi"]) | (searches["n_matches"] == 0), searches["lo"], "at most hi"),
        ("n_neighbours", (neighbours >= 0) & (neighbours <= header.n_rows), neighbours, f"in 0 .. {header.n_rows}"),
    )  # fmt: skip
    for name, holds, values, rule in rules:
        _require(name, holds, values, rule)
    counts, attempt = ops["count"][sampled], searches["attempt"]
    same = counts == samples["batch_size"][: len(counts)]
    _require("count", same, counts, "the batch size of the sampling")
    sample = np.repeat(np.arange(len(samples)), n_searches)
    begins = np.diff(sample, prepend=-1) != 0
    within = (attempt >= 0) & (attempt <= n_redraws[sample])
    _require("attempt", within & (begins | (np.diff(attempt, prepend=0) >= 0)), attempt, "ascending, up to n_redraws")
