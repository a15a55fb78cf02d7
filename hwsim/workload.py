"""Workloads that grow op by op: masses uniform in [0, 1], searched by the laws of the two AMPER variants."""

from __future__ import annotations

import math
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt

from amper.trace import Draw, Trace, TraceHeader
from hwsim import checks

Int64 = npt.NDArray[np.int64]

_BITS = 16
_FULL_SCALE = 2**_BITS
_N_GROUPS = 20
_SAMPLERS = ("amper-fr", "amper-k")


def n_ternary_words(lo: int, hi: int) -> int:
    """Return the fewest ternary words that together match exactly the codes lo .. hi (inclusive).

    Each word is an aligned block of a power of two; the greedy choice of the largest block that fits is
    minimal for prefixes.

    Examples
    --------
    >>> n_ternary_words(0, 65_535), n_ternary_words(1, 65_534), n_ternary_words(7, 7)
    (1, 30, 1)
    """
    from hwsim._kernels import amper as kernels

    return int(kernels.n_ternary_words(lo, hi))


class _Rows:
    """The stored codes, kept sorted: slots below a count, that grows. Codes stored only change places."""

    def __init__(self, codes: Int64) -> None:
        self._codes = codes  # of each slot when its first row enters
        self.slot_at = np.zeros(0, np.int64)
        self.sorted_codes = np.zeros(0, np.int64)
        self._place_of = np.zeros(len(codes), np.int64)

    def store(self, n: int) -> None:
        """Let slots below `n` be stored."""
        before = len(self.slot_at)
        if n == before:
            return
        new = before + np.argsort(self._codes[before:n], kind="stable")
        at = np.searchsorted(self.sorted_codes, self._codes[new], side="right")
        self.slot_at = np.insert(self.slot_at, at, new)
        self.sorted_codes = np.insert(self.sorted_codes, at, self._codes[new])
        self._place_of[self.slot_at] = np.arange(n)

    def codes_of(self, slots: Int64) -> Int64:
        """Return the codes that slots hold, or will enter with."""
        codes = self._codes[slots]
        stored = slots < len(self.slot_at)
        codes[stored] = self.sorted_codes[self._place_of[slots[stored]]]
        return codes

    def span(self, lo: int, hi: int) -> tuple[int, int]:
        """Return the sorted places [left, right) of the codes lo .. hi."""
        left, right = np.searchsorted(self.sorted_codes, [lo, hi + 1])
        return int(left), int(right)

    def nearest(self, key: int, n: int) -> tuple[Int64, int]:
        """Return the `n` slots nearest to `key` in value (ties: lowest slot), and the farthest distance."""
        at = int(np.searchsorted(self.sorted_codes, key))
        lo, hi = max(0, at - n), min(len(self.sorted_codes), at + n)
        distance = np.abs(self.sorted_codes[lo:hi] - key)
        farthest = int(np.partition(distance, n - 1)[n - 1])
        left, right = self.span(key - farthest, key + farthest)
        distance = np.abs(self.sorted_codes[left:right] - key)
        slots = self.slot_at[left:right]
        inside, ties = slots[distance < farthest], np.sort(slots[distance == farthest])
        return np.concatenate((inside, ties[: n - len(inside)])), farthest

    def permute(self, slots: Int64, order: Int64) -> None:
        """Let the distinct `slots` exchange their codes as `order` says."""
        places = self._place_of[slots][order]
        self._place_of[slots] = places
        self.slot_at[places] = slots


class Workload:
    """A trace that grows op by op, on masses uniform in [0, 1]; parameters as `synthetic_trace` has them.

    Rows enter the slots in turn, the oldest first once all are full; a row has the code its slot held.
    """

    def __init__(
        self,
        n_rows: int,
        csp_fraction: float,
        seed: int,
        sampler: str,
        clustering: float,
        unique: bool,
        source: str = "synthetic",
    ) -> None:
        n_rows, seed = checks.whole("n_rows", n_rows, 1), checks.whole("seed", seed, 0, 2**63)
        checks.one_of("sampler", sampler, _SAMPLERS)
        csp_fraction = checks.fraction("csp_fraction", csp_fraction)
        clustering = checks.fraction("clustering", clustering)
        self._unique = checks.flag("unique", unique)
        self._random = np.random.default_rng(seed)
        codes = np.maximum(1, np.floor(self._random.random(n_rows) * (_FULL_SCALE - 1) + 0.5)).astype(np.int64)
        if clustering > 0:
            codes = _clustered(np.sort(codes), clustering, seed)
        self._rows = _Rows(codes)
        self._n_rows, self.n_stored, self._next = n_rows, 0, 0
        self._lam = csp_fraction if sampler == "amper-fr" else 2 * csp_fraction
        self._search = _range_searches if sampler == "amper-fr" else _nearest_searches
        options: dict[str, Any] = {"n_groups": _N_GROUPS, "lam": self._lam, "csp_fraction": csp_fraction}
        if clustering > 0:
            options["clustering"] = clustering
        if unique:
            options["unique"] = True
        self.trace = Trace()
        self.trace.begin(
            TraceHeader(
                n_rows=n_rows, row_bytes=64, bits=_BITS, sampler=sampler, options=options, seed=seed, source=source
            )
        )

    def insert(self, size: int) -> None:
        """Insert `size` rows, `n_rows` at most."""
        slots = (self._next + np.arange(size)) % self._n_rows
        self._next = (self._next + size) % self._n_rows
        self.trace.record_insert(slots, self._rows.codes_of(slots))
        self.n_stored = min(self._n_rows, self.n_stored + size)

    def sample(self, size: int) -> Int64:
        """Search, draw `size` times from what was found, and return the slots drawn."""
        rows = self._rows
        rows.store(self.n_stored)
        draw = _draw(rows, *self._search(rows, self._lam, self._random), size, self._random, unique=self._unique)
        self.trace.record_sample(draw)
        slots: Int64 = draw.slots
        return slots

    def update(self, slots: Int64) -> None:
        """Write `slots` in that order, once their codes have changed places among them."""
        self._rows.store(self.n_stored)
        distinct = np.unique(slots)
        self._rows.permute(distinct, self._random.permutation(len(distinct)))
        self.trace.record_update(slots, self._rows.codes_of(slots))


def _clustered(codes: Int64, clustering: float, seed: int) -> Int64:
    """Return ascending codes in another order: cut in runs, that stand one after another in any order.

    The stream is its own, so that searches and the ranks of draws are those of independent codes.
    """
    random = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(zlib.crc32(b"clustering"),)))
    begins = np.flatnonzero(np.append(True, random.random(len(codes) - 1) >= clustering))
    lengths = np.diff(begins, append=len(codes))
    order = random.permutation(len(begins))
    # The run at place i of the new order begins where all before it end.
    ends = np.cumsum(lengths[order])
    result: Int64 = codes[np.arange(len(codes)) + np.repeat(begins[order] - ends + lengths[order], lengths[order])]
    return result


def _representatives(random: np.random.Generator) -> list[int]:
    """Return V_i, one uniform code in each group."""
    real = (np.arange(_N_GROUPS) + random.random(_N_GROUPS)) * (_FULL_SCALE / _N_GROUPS)
    return [int(v) for v in real]


def _range_searches(rows: _Rows, lam: float, random: np.random.Generator) -> tuple[list[tuple[int, ...]], list[Int64]]:
    """Return the searches of one AMPER-fr sampling and the slots each of them found."""
    searches: list[tuple[int, ...]] = []
    found: list[Int64] = []
    for group, key in enumerate(_representatives(random)):
        radius = math.floor(lam / _N_GROUPS * key)
        lo, hi = max(0, key - radius), min(_FULL_SCALE - 1, key + radius)
        left, right = rows.span(lo, hi)
        searches.append((group, key, lo, hi, 0, 1, right - left, 0))
        found.append(rows.slot_at[left:right])
    return searches, found


def _nearest_searches(
    rows: _Rows, lam: float, random: np.random.Generator
) -> tuple[list[tuple[int, ...]], list[Int64]]:
    """Return the count and nearest rows of one AMPER-k sampling and the slots each of them found."""
    nothing = np.zeros(0, np.int64)
    searches: list[tuple[int, ...]] = []
    found: list[Int64] = []
    for group, key in enumerate(_representatives(random)):
        lo = -(-group * _FULL_SCALE // _N_GROUPS)
        hi = -(-(group + 1) * _FULL_SCALE // _N_GROUPS) - 1
        left, right = rows.span(lo, hi)
        searches.append((group, key, lo, hi, 0, n_ternary_words(lo, hi), right - left, 0))
        found.append(nothing)
        n = min(math.floor(lam * key / _FULL_SCALE * (right - left) + 0.5), len(rows.slot_at))
        if n:
            slots, far = rows.nearest(key, n)
            lo, hi = max(0, key - far), min(_FULL_SCALE - 1, key + far)
            searches.append((group, key, lo, hi, n, 0, n, 0))
            found.append(slots)
    return searches, found


def _draw(
    rows: _Rows,
    searches: list[tuple[int, ...]],
    found: list[Int64],
    batch_size: int,
    random: np.random.Generator,
    *,
    unique: bool,
) -> Draw:
    """Return uniform draws from what was found, or from all rows where nothing was."""
    members = np.concatenate(found)
    if unique:
        is_member = np.zeros(len(rows.slot_at), np.bool_)
        is_member[members] = True
        members = np.flatnonzero(is_member)
        groups = np.full(len(members), -1)
    else:
        groups = np.repeat([s[0] for s in searches], [len(slots) for slots in found])
    n_csp, n = len(members), len(rows.slot_at)
    table = np.array(searches, np.int64)
    if n_csp == 0:
        slots = random.integers(0, n, batch_size)
        return Draw(slots, np.full(batch_size, 1 / n), n_valid=n, n_csp=n, fallback=True, searches=table)
    ranks = random.integers(0, n_csp, batch_size)
    return Draw(
        members[ranks],
        np.full(batch_size, 1 / n_csp),
        n_valid=n,
        n_csp=n_csp,
        groups=groups[ranks],
        searches=table,
    )
