"""Where the matches of a trace's searches lie, for one geometry of arrays and banks."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from amper import checks
from amper.protocols import Array, Int64, TraceHeader, UInt32
from amper.tables import spread

MAPPINGS, COLUMNS = ("interleaved", "contiguous"), ("bank", "array")
_PART_BITS = 8  # of a bucket: see `_kernels.trace`
_ATTEMPTS = np.dtype([("sample", "i8"), ("attempt", "i4"), ("first_search", "i8"), ("n_searches", "i8")])


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What `Trace.match_counts` counts; its parameters."""

    rows_per_array: int
    n_banks: int
    mapping: str
    per: str
    addresses_per_word: int
    union: bool
    n_arrays: int | None

    def __post_init__(self) -> None:
        for name in ("rows_per_array", "n_banks", "addresses_per_word"):
            object.__setattr__(self, name, checks.whole(name, getattr(self, name), at_least=1))
        for name, known in (("mapping", MAPPINGS), ("per", COLUMNS)):
            value = getattr(self, name)
            if not isinstance(value, str) or value not in known:
                raise ValueError(f"{name} must be {' or '.join(map(repr, known))}, got {value!r}")
        checks.truth("union", self.union)
        if self.n_arrays is not None:
            object.__setattr__(self, "n_arrays", checks.whole("n_arrays", self.n_arrays, at_least=1))

    def column_of_array(self, n_arrays: int) -> Int64:
        """Return the column of the result that each array is counted in."""
        arrays = np.arange(n_arrays)
        if self.per == "array":
            return arrays
        if self.mapping == "interleaved":
            return arrays % self.n_banks
        return arrays // -(-max(n_arrays, self.n_arrays or 0) // self.n_banks)


def attempts(samples: Array, searches: Array) -> Array:
    """Return the runs of searches of the same sampling and attempt; as `Trace.attempts`."""
    rows = spread(samples["first_search"], samples["n_searches"])
    sample = np.repeat(np.arange(len(samples)), samples["n_searches"])
    attempt = searches["attempt"][rows]
    is_new = np.ones(len(rows), np.bool_)
    is_new[1:] = (np.diff(sample) != 0) | (np.diff(attempt) != 0)
    first = np.flatnonzero(is_new)
    result = np.empty(len(first), _ATTEMPTS)
    result["sample"], result["attempt"], result["first_search"] = sample[first], attempt[first], rows[first]
    result["n_searches"] = np.diff(first, append=len(rows))
    return result


def count(header: TraceHeader, tables: Mapping[str, Array], profile: Profile) -> dict[Profile, UInt32]:
    """Return what each column holds, uint32[searches or attempts, columns]; with words also the matches in them."""
    from amper._kernels.trace import match_counts

    n_arrays = -(-header.n_rows // profile.rows_per_array)
    column_of_array = profile.column_of_array(n_arrays)
    rows_per_array = min(profile.rows_per_array, header.n_rows)
    n_addresses = min(profile.addresses_per_word, rows_per_array)  # a word has no use for more
    cells = column_of_array if n_addresses == 1 else np.arange(n_arrays)
    rows = _rows(header, tables, union=profile.union)
    n_slots = int(tables["writes"]["slot"].max(initial=-1)) + 1
    profiles = [profile]
    if n_addresses > 1:
        profiles.append(dataclasses.replace(profile, addresses_per_word=1))
    n_columns = n_arrays if profile.per == "array" else profile.n_banks
    counts = np.zeros((len(profiles), len(rows[2]), n_columns), np.uint32)
    match_counts(
        _columns(tables),
        rows,
        np.zeros((n_slots, 2), np.uint32),
        np.empty((3, 4 * n_slots + 4096), np.uint32),
        np.zeros(((header.bits << _PART_BITS) + 1, 3), np.int64),
        cells,
        column_of_array,
        (rows_per_array, n_addresses, (1 << header.bits) - 1, header.options.get("distance") == "hamming"),
        counts,
    )
    counts.flags.writeable = False
    return dict(zip(profiles, counts, strict=True))


def _rows(header: TraceHeader, tables: Mapping[str, Array], *, union: bool) -> tuple[Array, ...]:
    """Return which searches a row of the result is of, as the kernel takes it."""
    samples, searches = tables["samples"], tables["searches"]
    if not union:
        of_sample = (np.ascontiguousarray(samples[name], np.int64) for name in ("first_search", "n_searches"))
        k = len(searches)
        return *of_sample, np.arange(k), np.ones(k, np.int64), np.ones(k, np.bool_)
    runs = attempts(samples, searches)
    n_runs = np.bincount(runs["sample"], minlength=len(samples))
    # A range row of AMPER-k counts the members of a group; what it finds enters no candidate set.
    takes_part = (searches["n_neighbours"] > 0) | (header.sampler != "amper-k")
    first, n = (np.ascontiguousarray(runs[name], np.int64) for name in ("first_search", "n_searches"))
    return np.cumsum(n_runs) - n_runs, n_runs, first, n, takes_part


def _columns(tables: Mapping[str, Array]) -> tuple[Int64, ...]:
    """Return the contiguous columns that the kernel reads."""
    names = (
        ("ops", ("kind", "first", "count")),
        ("writes", ("slot", "code")),
        ("searches", ("key", "lo", "hi", "n_neighbours")),
    )
    return tuple(np.ascontiguousarray(tables[t][c], np.int64) for t, columns in names for c in columns)
