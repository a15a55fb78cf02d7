"""Traces without an agent: masses uniform in [0, 1], searched by the laws of the two AMPER variants."""

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
    """The stored codes, kept sorted: codes only change places, so counts by value never change."""

    def __init__(self, codes: Int64) -> None:
        self.slot_at = np.argsort(codes, kind="stable")
        self.sorted_codes = codes[self.slot_at]
        self._place_of = np.empty(len(codes), np.int64)
        self._place_of[self.slot_at] = np.arange(len(codes))

    def codes_of(self, slots: Int64) -> Int64:
        """Return the codes that slots hold."""
        codes: Int64 = self.sorted_codes[self._place_of[slots]]
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

    def permute(self, slots: Int64, order: Int64) -> Int64:
        """Let the distinct `slots` exchange their codes as `order` says; return the codes they get."""
        places = self._place_of[slots][order]
        self._place_of[slots] = places
        self.slot_at[places] = slots
        return self.sorted_codes[places]


def synthetic_trace(
    n_rows: int,
    batch_size: int = 64,
    csp_fraction: float = 0.15,
    n_ops: int = 10,
    seed: int = 0,
    sampler: str = "amper-fr",
    clustering: float = 0.0,
    unique: bool = False,
    n_inserts: int = 0,
) -> Trace:
    """Return a trace of one insert of `n_rows` rows, then `n_ops` times a sampling, its update, and inserts.

    Parameters
    ----------
    n_rows : int
        Rows, all valid, with 16-bit codes of masses uniform in [0, 1].
    batch_size : int
        Draws of a sampling.
    csp_fraction : float
        Expected size of the candidate set over `n_rows`, 0 to 1; with `unique`, before slots found twice are counted
        once. The radius law's lambda' equals it for these masses; AMPER-k's lambda is twice it.
    n_ops : int
        Samplings.
    seed : int
        Of the codes, the searches and the draws.
    sampler : {"amper-fr", "amper-k"}
        Whose searches are recorded: 20 linear groups of [0, 2^16), one masked search each (AMPER-fr), or one
        count and N_i best matches each (AMPER-k).
    clustering : float
        Chance, 0 to 1, that a slot holds the code that follows its predecessor's in ascending order: runs of
        neighbouring slots, 1 / (1 - clustering) long in the mean, hold neighbouring codes and are found together. With
        0 slots are independent, with 1 codes ascend with the slots; the codes are the same ones in every case.
    unique : bool
        Draw from the union of the groups' matches: a slot found twice stands in the candidate set once, `n_csp` is
        the size of the union, and draws name no group.
    n_inserts : int
        Inserts of one row after every update, over the oldest slots in turn; a row has the code its slot held.

    Returns
    -------
    Trace
        Each update lets the drawn slots exchange their codes, so that every `n_matches` is exact. It takes them out of
        their runs, so that clusters wear down: slowly where few of the rows are drawn, `n_ops` * `batch_size` at most.

    Raises
    ------
    TypeError, ValueError
        If a parameter is out of range.

    Examples
    --------
    >>> synthetic_trace(1_000, batch_size=8, csp_fraction=0.1, n_ops=2, seed=1)
    Trace(amper-fr, n_rows=1000, inserts=1, updates=2, samplings=2)
    """
    n_rows, batch_size = checks.whole("n_rows", n_rows, 1), checks.whole("batch_size", batch_size, 1)
    n_ops, seed = checks.whole("n_ops", n_ops, 0), checks.whole("seed", seed, 0, 2**63)
    checks.one_of("sampler", sampler, _SAMPLERS)
    csp_fraction, clustering = checks.fraction("csp_fraction", csp_fraction), checks.fraction("clustering", clustering)
    if not isinstance(unique, bool):
        raise TypeError(f"unique must be True or False, got {unique!r}")
    n_inserts = checks.whole("n_inserts", n_inserts, 0)
    random = np.random.default_rng(seed)
    codes = np.maximum(1, np.floor(random.random(n_rows) * (_FULL_SCALE - 1) + 0.5)).astype(np.int64)
    if clustering > 0:
        codes = _clustered(np.sort(codes), clustering, seed)
    rows = _Rows(codes)
    trace = Trace()
    lam = csp_fraction if sampler == "amper-fr" else 2 * csp_fraction
    options: dict[str, Any] = {"n_groups": _N_GROUPS, "lam": lam, "csp_fraction": csp_fraction}
    if clustering > 0:
        options["clustering"] = clustering
    if unique:
        options["unique"] = True
    trace.begin(
        TraceHeader(
            n_rows=n_rows,
            row_bytes=64,
            bits=_BITS,
            sampler=sampler,
            options=options,
            seed=seed,
            source="synthetic",
        )
    )
    trace.record_insert(np.arange(n_rows), codes)
    search = _range_searches if sampler == "amper-fr" else _nearest_searches
    for number in range(n_ops):
        draw = _draw(rows, *search(rows, lam, random), batch_size, random, unique=unique)
        trace.record_sample(draw)
        drawn = np.unique(draw.slots)
        trace.record_update(drawn, rows.permute(drawn, random.permutation(len(drawn))))
        for slot in (number * n_inserts + np.arange(n_inserts)) % n_rows:
            trace.record_insert(np.array([slot]), rows.codes_of(np.array([slot])))
    return trace


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
