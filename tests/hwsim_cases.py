"""Random traces for the machines, and a plain count of where their matches lie."""

from dataclasses import dataclass

import numpy as np

from amper.protocols import Draw
from amper.trace import Trace, TraceHeader

BITS = 16
TOP = 2**BITS - 1


@dataclass
class Case:
    """A trace, and what a naive machine needs of its samplings and writes."""

    trace: Trace
    #: per sampling: (searches as dicts with `slots` found, batch_size, n_redraws)
    samplings: list
    #: per write op: slots
    writes: list


def random_case(rng, *, variant, n_rows, n_groups, n_samplings=2, n_writes=2, max_csp=1.0, redraws=False, unique=False):
    """Return a case: an insert, then samplings with updates and inserts between them."""
    trace, case = Trace(), Case(None, [], [])
    options = {"unique": True} if unique else {}
    trace.begin(
        TraceHeader(n_rows=n_rows, row_bytes=100, bits=BITS, sampler=variant, options=options, seed=0, source="random")
    )
    case.trace = trace
    codes = np.zeros(n_rows, np.int64)

    def write(record, slots, actor=0):
        codes[slots] = rng.integers(1, TOP + 1, len(slots))
        record(slots, codes[slots], actor)
        case.writes.append(slots)

    write(trace.record_insert, rng.permutation(n_rows)[: rng.integers(1, n_rows + 1)])
    for _ in range(n_samplings):
        draw, searches = _sampling(rng, variant, codes, n_groups, max_csp, redraws, unique)
        trace.record_sample(draw)
        case.samplings.append((searches, len(draw.slots), draw.n_redraws))
        for _ in range(n_writes):
            k = int(rng.integers(0, min(n_rows, 100) + 1))
            valid = np.flatnonzero(codes)
            if rng.random() < 0.5:
                write(trace.record_update, rng.permutation(valid)[:k], actor=-1 if rng.random() < 0.2 else 0)
            else:
                write(trace.record_insert, np.arange(k))
    return case


def _sampling(rng, variant, codes, n_groups, max_csp, redraws, unique):
    n_redraws = int(rng.integers(0, 4)) if redraws else 0
    searches = []
    for attempt in range(n_redraws + 1):
        if redraws and rng.random() < 0.3:
            continue  # every group skipped
        for group in range(n_groups):
            searches += _search(rng, variant, codes, group, attempt, max_csp)
    rows = [
        [s["group"], s["key"], s["lo"], s["hi"], s["neighbours"], s["words"], len(s["slots"]), s["attempt"]]
        for s in searches
    ]
    valid = np.flatnonzero(codes)
    b = int(rng.integers(1, 80))
    members = [
        (slot, s["group"])
        for s in searches
        if s["attempt"] == n_redraws and (variant == "amper-fr" or s["neighbours"])
        for slot in s["slots"]
    ]
    if unique:
        members = [(slot, -1) for slot in {slot for slot, _ in members}]
    drawn = (
        [members[i] for i in rng.integers(0, len(members), b)] if members else [(s, -1) for s in rng.choice(valid, b)]
    )
    draw = Draw(
        slots=np.array([slot for slot, _ in drawn]),
        groups=np.array([group for _, group in drawn]),
        probabilities=np.ones(b),
        n_valid=len(valid),
        n_csp=len(members) or len(valid),
        n_redraws=n_redraws,
        fallback=not members,
        searches=np.array(rows, np.int64).reshape(-1, 8),
    )
    return draw, searches


def _search(rng, variant, codes, group, attempt, max_csp):
    key = int(rng.integers(0, TOP + 1))
    half = int(rng.random() ** 2 * max_csp * TOP)
    lo, hi = max(0, key - half), min(TOP, key + half)
    found = np.flatnonzero((codes >= max(lo, 1)) & (codes <= hi))
    common = {"group": group, "key": key, "attempt": attempt}
    ranged = {**common, "lo": lo, "hi": hi, "neighbours": 0, "words": int(rng.integers(1, 5)), "slots": found}
    if variant == "amper-fr" or len(found) == 0:
        return [ranged]
    return [ranged, {**common, "lo": lo, "hi": hi, "neighbours": len(found), "words": 0, "slots": found}]


def bank_counts(slots, *, n_rows, rows_per_array, n_banks, mapping):
    """Return how many of `slots` lie in each bank, one by one."""
    n_arrays = -(-n_rows // rows_per_array)
    counts = [0] * n_banks
    for slot in slots:
        array = int(slot) // rows_per_array
        counts[array % n_banks if mapping == "interleaved" else array // -(-n_arrays // n_banks)] += 1
    return counts


def array_counts(slots, *, rows_per_array):
    """Return how many of `slots` lie in each array, by array, one by one."""
    counts = {}
    for slot in slots:
        array = int(slot) // rows_per_array
        counts[array] = counts.get(array, 0) + 1
    return counts
