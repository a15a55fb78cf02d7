"""What a replay did: writes, searches and draws; no time, and no geometry of any machine.

One recording serves every machine: `Trace.match_counts` recomputes where the matches of each search lay
for any array geometry, and `Trace.replay` puts the same writes and batch sizes through another sampler.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator, Mapping
from enum import IntEnum
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from amper import matches
from amper.checks import whole
from amper.protocols import SEARCH_COLUMNS, Array, Draw, Int64, TraceHeader
from amper.state import read_npz, write_npz
from amper.tables import SAMPLE, TABLES, Table, check_tables, spread

__all__ = ["FORMAT_VERSION", "Draw", "OpKind", "Trace", "TraceHeader"]

FORMAT_VERSION = 1

Mapping_ = Literal["interleaved", "contiguous"]


class OpKind(IntEnum):
    """What an op is; `Trace.ops["kind"]` holds these."""

    INSERT = 0
    UPDATE = 1
    SAMPLE = SAMPLE


class Trace:
    """An append-only record of inserts, updates and samplings, in order.

    Pass it as `sink=` to a `ReplayBuffer`, or fill it through `begin` and the `record_*` methods.

    Attributes
    ----------
    header : TraceHeader
        What was recorded. Reading it before `begin` raises RuntimeError.
    ops : structured[k]
        `kind` (`OpKind`), `actor`, `first`, `count`, `at_maximum`. For an insert or update, rows
        `first .. first+count` of `writes`; for a sampling, `first` is its row in `samples` and `count` its
        batch size. `at_maximum` marks inserts of new transitions without a priority of their own. A
        negative actor -h marks the replay's own rescale: every stored code, halved h times.
    writes : structured[k]
        `slot`, `code`.
    searches : structured[k]
        `group`; `key` (the representative V); `lo`, `hi` (inclusive codes); `n_neighbours` (0: a range
        search); `n_ternary_words` (searches in hardware; 0 for a best-match search); `n_matches`;
        `attempt` (0, then redraws). A best-match row covers its `n_neighbours` searches one after another:
        all codes nearer than max(key - lo, hi - key), and the lowest slots at that distance.
    samples : structured[k]
        `batch_size`, `n_valid`, `n_csp`, `n_redraws`, `fallback`, `first_search`, `n_searches`,
        `first_draw`; rows in `searches` and `draws` are consecutive.
    draws : structured[k]
        `slot`, `group` (-1: none).

    Examples
    --------
    >>> import numpy as np
    >>> trace = Trace()
    >>> trace.begin(TraceHeader(n_rows=4, row_bytes=16, bits=8, sampler="per", options={}, seed=0))
    >>> trace.record_insert(np.array([0, 1]), np.array([255, 255]))
    >>> len(trace), int(trace.writes["code"][1])
    (1, 255)
    """

    def __init__(self) -> None:
        self._header: TraceHeader | None = None
        self._tables = {name: Table(dtype) for name, dtype in TABLES.items()}
        self._match_counts: dict[tuple[int, matches.Profile], npt.NDArray[np.uint32]] = {}
        self._n_checked = -1

    # -- reading ------------------------------------------------------------------------------------
    @property
    def header(self) -> TraceHeader:
        """What was recorded."""
        if self._header is None:
            msg = "trace has no header yet; pass it as sink= to a ReplayBuffer, or call begin"
            raise RuntimeError(msg)
        return self._header

    ops = property(lambda self: self._tables["ops"].rows)
    writes = property(lambda self: self._tables["writes"].rows)
    searches = property(lambda self: self._tables["searches"].rows)
    samples = property(lambda self: self._tables["samples"].rows)
    draws = property(lambda self: self._tables["draws"].rows)

    @property
    def attempts(self) -> Array:
        """The attempts that searched at all, in order: `sample`, `attempt`; their rows in `searches`.

        Structured, with `first_search` and `n_searches`: runs of consecutive searches of one sampling and attempt.
        """
        self.check()
        return matches.attempts(self.samples, self.searches)

    def __len__(self) -> int:
        return self._tables["ops"].n

    def __repr__(self) -> str:
        if self._header is None:
            return "Trace(not begun)"
        kinds = np.bincount(self.ops["kind"], minlength=3)
        return (
            f"Trace({self._header.sampler}, n_rows={self._header.n_rows}, inserts={kinds[0]}, "
            f"updates={kinds[1]}, samplings={kinds[2]})"
        )

    # -- recording ----------------------------------------------------------------------------------
    def begin(self, header: TraceHeader) -> None:
        """Take the description of what will be recorded.

        Raises
        ------
        ValueError, TypeError
            If the trace already has one, for a trace records one replay; or a field is out of range.
        """
        whole("n_rows", header.n_rows, at_least=1)
        whole("row_bytes", header.row_bytes, at_least=0)
        if whole("bits", header.bits, at_least=1) > 32:
            raise ValueError(f"bits must be at most 32, got {header.bits!r}")
        if not isinstance(header.options, Mapping) or not isinstance(header.sampler, str):
            raise TypeError(f"sampler and options must be a name and a mapping, got {header!r}")
        if self._header is not None:
            msg = f"sink must be a new Trace, got one that already records {self._header.sampler!r}"
            raise ValueError(msg)
        self._header = header

    def record_insert(self, slots: Int64, codes: Array, actor: int = 0, *, at_maximum: bool = False) -> None:
        """Append one insert: `codes[i]` written to the new row `slots[i]`.

        `at_maximum`: the transitions came without priorities and entered at the largest seen.
        """
        self._record_writes(OpKind.INSERT, slots, codes, actor, at_maximum)

    def record_update(self, slots: Int64, codes: Array, actor: int = 0) -> None:
        """Append one update: `codes[i]` written to the row `slots[i]`."""
        self._record_writes(OpKind.UPDATE, slots, codes, actor)

    def record_sample(self, draw: Draw, actor: int = 0) -> None:
        """Append one sampling with its searches and draws."""
        tables = self._tables
        batch_size = len(draw.slots)
        searches = draw.searches if draw.searches is not None else np.empty((0, len(SEARCH_COLUMNS)), np.int64)
        tables["ops"].extend(1)[0] = (OpKind.SAMPLE, actor, tables["samples"].n, batch_size, False)
        tables["samples"].extend(1)[0] = (
            batch_size,
            draw.n_valid,
            draw.n_csp,
            draw.n_redraws,
            draw.fallback,
            tables["searches"].n,
            len(searches),
            tables["draws"].n,
        )
        rows = tables["searches"].extend(len(searches))
        for column, name in enumerate(SEARCH_COLUMNS):
            rows[name] = searches[:, column]
        rows = tables["draws"].extend(batch_size)
        rows["slot"] = draw.slots
        rows["group"] = -1 if draw.groups is None else draw.groups

    def _record_writes(self, kind: OpKind, slots: Int64, codes: Array, actor: int, at_maximum: bool = False) -> None:
        if len(slots) != len(codes):
            raise ValueError(f"codes must have one value a slot, {len(slots)}, got {len(codes)}")
        writes = self._tables["writes"]
        self._tables["ops"].extend(1)[0] = (kind, actor, writes.n, len(slots), at_maximum)
        rows = writes.extend(len(slots))
        rows["slot"] = slots
        rows["code"] = codes

    def check(self) -> None:
        """Raise ValueError unless every op refers to rows there are, and every write to a slot and code.

        What a replay records is right by construction; a file, or a trace built by hand, is checked once
        before anything is derived from it.
        """
        if self._n_checked != len(self):
            check_tables(self.header, self._rows)
            self._n_checked = len(self)

    # -- deriving -----------------------------------------------------------------------------------
    def match_counts(
        self,
        rows_per_array: int,
        n_banks: int,
        mapping: Mapping_ = "interleaved",
        *,
        per: Literal["bank", "array"] = "bank",
        addresses_per_word: int = 1,
        union: bool = False,
        n_arrays: int | None = None,
    ) -> npt.NDArray[np.uint32]:
        """Return where the matches of every search lay: a profile of the trace for one geometry.

        Parameters
        ----------
        rows_per_array : int
            Rows of one array; array a holds slots a * rows_per_array and up.
        n_banks : int
            Number of banks.
        mapping : {"interleaved", "contiguous"}
            Array a lies in bank a mod n_banks, or in bank a div ceil(arrays / n_banks).
        per : {"bank", "array"}
            What a column counts.
        addresses_per_word : int
            Addresses of one array that a word of its readout holds: words are counted, ceil(matches of the array /
            `addresses_per_word`) of each array. With 1, matches.
        union : bool
            Count, for every attempt instead of every search, the slots that at least one of its searches matched:
            what stands in a candidate set without repetition. Rows that count an AMPER-k group's members find none.
        n_arrays : int, optional
            Arrays over which banks are contiguous, where they are more than the trace's rows fill.

        Returns
        -------
        uint32[searches, banks] or uint32[searches, arrays]
            Matches of each search, recomputed from writes and searches; read-only, cached until the trace grows.
            With `union` a row an attempt, as `attempts` lists them. Some 1 to 4 ns a match and 25 ns a code written;
            a search by Hamming distance scans.

        Raises
        ------
        ValueError
            If a parameter is out of range; or if the trace is of a memory with faults, whose matches do not follow
            from what was written.
        TypeError
            If one is of another type.
        """
        if self.header.options.get("faults"):
            raise ValueError(f"faults must be None where matches are located, got {self.header.options['faults']!r}")
        profile = matches.Profile(
            rows_per_array=rows_per_array,
            n_banks=n_banks,
            mapping=mapping,
            per=per,
            addresses_per_word=addresses_per_word,
            union=union,
            n_arrays=n_arrays,
        )
        self.check()
        key = (len(self), profile)
        if key not in self._match_counts:
            self._match_counts = {k: v for k, v in self._match_counts.items() if k[0] == len(self)}
            counts = matches.count(self.header, self._rows, profile)
            for each, found in counts.items():
                self._match_counts.setdefault((len(self), each), found)
        return self._match_counts[key]

    @property
    def _rows(self) -> dict[str, Array]:
        """The rows of every table."""
        return {name: table.rows for name, table in self._tables.items()}

    def replay(self, sampler: str, *, seed: int | None = None, **options: Any) -> Trace:
        """Return the trace of another sampler under the same writes and batch sizes.

        New transitions recorded at the maximum enter as the other sampler enters those; codes are converted
        to its width. Codes are fractions of the recording's full scale: `full_scale` is no option here.

        Parameters
        ----------
        sampler : str
            A registered name.
        seed : int, optional
            Seed of its draws; the recording's by default.
        **options
            Its `sampler_options`.

        Raises
        ------
        ValueError
            If the name or an option is unknown, or the trace samples before anything was stored.
        """
        from amper import samplers

        return samplers.replay_trace(self, sampler, seed=seed, **options)[0]

    def window(self, first: int, last: int) -> Trace:
        """Return ops `first .. last` (exclusive) as a trace of their own.

        What was stored before them becomes one insert, in slot order, at the front; `window(0, k)` is the
        plain prefix. A machine with as many rows as slots were used by then fits: `n_rows` shrinks to it.

        Raises
        ------
        IndexError
            If the bounds are not 0 <= first <= last <= len(trace).
        """
        first, last = whole("first", first, at_least=0), whole("last", last, at_least=0)
        if not first <= last <= len(self):
            raise IndexError(f"first, last must satisfy 0 <= first <= last <= {len(self)}, got {first}, {last}")
        self.check()
        codes = np.zeros(self.header.n_rows, np.uint32)
        ops, writes = self.ops, self.writes
        before = ops[:first][ops["kind"][:first] != OpKind.SAMPLE]
        rows = writes[spread(before["first"], before["count"])]
        codes[rows["slot"]] = rows["code"]  # of several writes to a slot the last one stays
        result = Trace()
        stored = np.flatnonzero(codes)
        if len(stored):
            result.record_insert(stored.astype(np.int64), codes[stored])
        for op in ops[first:last]:
            if op["kind"] == OpKind.SAMPLE:
                result.record_sample(self._draw(int(op["first"])), int(op["actor"]))
            else:
                rows = writes[op["first"] : op["first"] + op["count"]]
                kind, flag = OpKind(int(op["kind"])), bool(op["at_maximum"])
                result._record_writes(kind, rows["slot"], rows["code"], int(op["actor"]), flag)
        used = int(result.writes["slot"].max(initial=0)) + 1
        result.begin(dataclasses.replace(self.header, n_rows=used))
        return result

    def _draw(self, row: int) -> Draw:
        """Return sampling `row` as the draw it was recorded from."""
        s = self.samples[row]
        searches = self.searches[s["first_search"] : s["first_search"] + s["n_searches"]]
        draws = self.draws[s["first_draw"] : s["first_draw"] + s["batch_size"]]
        return Draw(
            slots=draws["slot"],
            probabilities=np.empty(0),
            n_valid=int(s["n_valid"]),
            n_csp=int(s["n_csp"]),
            n_redraws=int(s["n_redraws"]),
            fallback=bool(s["fallback"]),
            groups=draws["group"],
            searches=np.stack([searches[name].astype(np.int64) for name in SEARCH_COLUMNS], axis=1),
        )

    # -- files --------------------------------------------------------------------------------------
    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the trace as one .npz: temporary file first, then renamed into place."""
        header = json.dumps({**dataclasses.asdict(self.header), "options": dict(self.header.options)})
        write_npz(Path(path), header, self._rows)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Trace:
        """Read a trace written by `save`.

        Raises
        ------
        ValueError
            If the file is not a trace, or of a newer format.
        FileNotFoundError
            If there is no such file.
        """
        header, tables = read_npz(Path(path), "a trace written by Trace.save", FORMAT_VERSION)
        trace = cls()
        for name, dtype in TABLES.items():
            if name not in tables or tables[name].dtype != dtype or tables[name].ndim != 1:
                raise ValueError(f"path must name a trace written by Trace.save, got {str(path)!r}: bad table {name}")
            trace._tables[name].extend(len(tables[name]))[:] = tables[name]
        try:
            trace.begin(TraceHeader(**header))
            trace.check()
        except (TypeError, ValueError) as error:
            raise ValueError(f"path must name a trace written by Trace.save, got {str(path)!r}: {error}") from error
        return trace

    def __iter__(self) -> Iterator[tuple[OpKind, int]]:
        """Yield (kind, row) of every op: row in `samples` for samplings, in `ops` for writes."""
        for i, op in enumerate(self.ops):
            kind = OpKind(int(op["kind"]))
            yield kind, int(op["first"]) if kind is OpKind.SAMPLE else i
