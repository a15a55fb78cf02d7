"""Where a trace's matches lie: the index against a look at every row."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hwsim
from amper.protocols import Draw
from amper.trace import Trace, TraceHeader
from tests.naive import trace as naive


def random_trace(seed, *, sampler="amper-fr", bits=16, n_rows=60, kind="spread", distance="value", n_ops=6, n_groups=4):
    """Return a trace of single and bulk inserts, updates, overwritten slots and samplings with redraws."""
    rng = np.random.default_rng(seed)
    top = 2**bits - 1
    few = rng.integers(1, top + 1, 100 if kind == "shared" else 3)
    stored = {}
    trace = Trace()
    trace.begin(
        TraceHeader(n_rows=n_rows, row_bytes=8, bits=bits, sampler=sampler, options={"distance": distance}, seed=0)
    )

    def codes(k):
        if kind == "spread":
            return rng.integers(1, top + 1, k)
        if kind == "tail":
            return np.minimum((rng.exponential(0.02, k) * top).astype(np.int64) + 1, top)
        return np.full(k, few[0]) if kind == "equal" else rng.choice(few, k)

    def write(record, slots):
        values = codes(len(slots))
        record(slots, values)
        stored.update(zip(slots.tolist(), values.tolist(), strict=True))

    write(trace.record_insert, rng.permutation(n_rows)[: rng.integers(1, n_rows + 1)])
    for _ in range(n_ops):
        what = rng.integers(0, 4)
        if what == 0:
            write(trace.record_insert, rng.permutation(n_rows)[: rng.integers(0, n_rows + 1)])
        elif what == 1:
            write(trace.record_update, rng.permutation(list(stored))[: rng.integers(0, 20)])
        else:
            trace.record_sample(_sampling(rng, trace.header, stored, n_groups))
    trace.record_sample(_sampling(rng, trace.header, stored, n_groups))
    return trace


def _sampling(rng, header, stored, n_groups):
    rows = []
    n_attempts = int(rng.integers(1, 4))
    for attempt in range(n_attempts):
        for group in range(rng.integers(0, n_groups + 1)):
            rows += _searches(rng, header, stored, group, attempt)
    slots = np.array(rng.choice(list(stored), 5))
    searches = np.array(rows, np.int64).reshape(-1, 8)
    return Draw(slots, np.ones(5), n_valid=len(stored), n_csp=1, n_redraws=n_attempts - 1, searches=searches)


def _searches(rng, header, stored, group, attempt):
    top = 2**header.bits - 1
    # Keys at, beside and away from what is stored.
    near = rng.choice(list(stored.values())) + rng.integers(-2, 3)
    key = int(np.clip(near if rng.random() < 0.7 else rng.integers(0, top + 1), 0, top))
    half = int(rng.choice([0, 1, int(rng.random() ** 3 * top)]))
    lo, hi = max(0, key - half), min(top, key + half)
    n = sum(lo <= code <= hi for code in stored.values())
    rows = [(group, key, lo, hi, 0, 1, n, attempt)]
    n = int(rng.integers(0, min(len(stored), rng.choice([3, len(stored)])) + 1))
    if header.sampler == "amper-k" and n > 0:
        found = naive.nearest(stored, key, n, header.options["distance"] == "hamming")
        far = max(abs(stored[slot] - key) for slot in found)
        rows.append((group, key, max(0, key - far), min(top, key + far), n, 0, n, attempt))
    return rows


cases = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 2**32 - 1),
        "sampler": st.sampled_from(["amper-fr", "amper-k"]),
        "bits": st.sampled_from([1, 3, 8, 16, 17, 32]),
        "n_rows": st.one_of(st.integers(1, 5), st.integers(6, 300)),
        "kind": st.sampled_from(["spread", "tail", "equal", "few", "shared"]),
    }
)
geometries = st.fixed_dictionaries(
    {
        "rows_per_array": st.integers(1, 70),
        "n_banks": st.integers(1, 9),
        "mapping": st.sampled_from(["interleaved", "contiguous"]),
        "per": st.sampled_from(["bank", "array"]),
        "addresses_per_word": st.sampled_from([1, 3, 8]),
        "union": st.booleans(),
    }
)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(cases, geometries)
def test_match_counts_are_those_of_every_row_looked_at(case, geometry):
    trace = random_trace(**case)
    assert np.array_equal(trace.match_counts(**geometry), naive.match_counts(trace, **geometry))


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.integers(0, 2**32 - 1), st.integers(1, 90), st.sampled_from([2, 16]), geometries)
def test_match_counts_of_hamming_neighbours_are_those_of_every_row_looked_at(seed, n_rows, bits, geometry):
    trace = random_trace(seed, sampler="amper-k", bits=bits, n_rows=n_rows, distance="hamming")
    assert np.array_equal(trace.match_counts(**geometry), naive.match_counts(trace, **geometry))


@pytest.mark.nojit
@pytest.mark.parametrize("sampler", ["amper-fr", "amper-k"])
@pytest.mark.parametrize("union", [False, True])
@pytest.mark.parametrize("addresses_per_word", [1, 3])
def test_match_counts_of_a_small_trace_are_those_of_every_row_looked_at(sampler, union, addresses_per_word):
    for kind in ("spread", "equal"):
        trace = random_trace(5, sampler=sampler, n_rows=40, kind=kind)
        words = {"addresses_per_word": addresses_per_word, "union": union}
        assert np.array_equal(
            trace.match_counts(7, 3, **words), naive.match_counts(trace, 7, 3, "interleaved", **words)
        )


def test_buckets_that_grow_move_and_empty_lose_no_slot():
    rng = np.random.default_rng(3)
    n, trace = 500, Trace()
    trace.begin(TraceHeader(n_rows=n, row_bytes=8, bits=16, sampler="amper-fr", options={}, seed=0))
    stored = np.zeros(n, np.int64)
    expected = []
    for step in range(300):
        # All slots gather at a few codes, elsewhere each time, so that every bucket is outgrown and left behind.
        slots = rng.permutation(n)[: rng.integers(1, n + 1)]
        stored[slots] = rng.integers(1, 2**16) if step % 3 else rng.integers(1, 2**16, len(slots))
        trace.record_update(slots, stored[slots])
        lo, hi = np.sort(rng.choice(stored[slots], 2))
        searches = np.array([(0, lo, lo, hi, 0, 1, 0, 0), (0, 1, 1, 2**16 - 1, 0, 1, 0, 0)])
        trace.record_sample(Draw(slots[:1], np.ones(1), n_valid=n, n_csp=1, searches=searches))
        arrays = np.arange(n) // 64
        expected.append(np.bincount(arrays[(stored >= lo) & (stored <= hi)], minlength=8))
        expected.append(np.bincount(arrays[stored > 0], minlength=8))
    assert np.array_equal(trace.match_counts(64, 1, per="array"), expected)


@pytest.mark.parametrize("sampler", ["amper-fr", "amper-k"])
def test_rows_not_written_and_rows_of_padding_never_match(sampler):
    trace = Trace()
    trace.begin(TraceHeader(n_rows=10, row_bytes=8, bits=8, sampler=sampler, options={}, seed=0))
    trace.record_insert(np.array([3, 8]), np.array([1, 255]))
    # Everything from code 0 up; and the two nearest of code 0, which only rows never written would hold.
    rows = [(0, 0, 0, 255, 0, 1, 2, 0)]
    if sampler == "amper-k":
        rows.append((0, 0, 0, 255, 2, 0, 2, 0))
    trace.record_sample(Draw(np.array([3]), np.ones(1), n_valid=2, n_csp=2, searches=np.array(rows)))
    for union in (False, True):
        # Arrays of 4 rows: the last one holds rows 8 and 9, and two of padding.
        arrays = trace.match_counts(4, 1, per="array", union=union)
        assert np.array_equal(arrays, [[1, 0, 1]] * len(arrays))
        assert np.array_equal(trace.match_counts(64, 2, union=union)[0], [2, 0])


def test_words_are_counted_array_by_array():
    trace = hwsim.synthetic_trace(500, 8, 0.5, 3, seed=1)
    arrays = trace.match_counts(64, 1, per="array").astype(int)
    words = trace.match_counts(64, 3, addresses_per_word=4)
    for bank in range(3):
        assert np.array_equal(words[:, bank], -(-arrays[:, bank::3] // 4).sum(axis=1))
    assert np.array_equal(
        trace.match_counts(64, 3, addresses_per_word=10**9), trace.match_counts(64, 3, addresses_per_word=64)
    )


def test_an_array_may_have_more_rows_than_there_are():
    trace = random_trace(4)
    assert np.array_equal(trace.match_counts(10**30, 2), trace.match_counts(60, 2))


@pytest.mark.parametrize("sampler", ["amper-fr", "amper-k"])
def test_a_union_holds_no_slot_twice_and_no_attempt_is_left_out(sampler):
    trace = random_trace(11, sampler=sampler, n_rows=80, n_ops=20)
    attempts = trace.attempts
    assert attempts[["sample", "attempt", "n_searches"]].tolist() == naive.attempts(trace)
    assert len(set(attempts["attempt"])) > 1
    union = trace.match_counts(8, 1, union=True)[:, 0].astype(int)
    counts = trace.match_counts(8, 1)[:, 0].astype(int)
    for row, run in zip(union, attempts, strict=True):
        mine = slice(run["first_search"], run["first_search"] + run["n_searches"])
        takes_part = (trace.searches["n_neighbours"][mine] > 0) | (sampler == "amper-fr")
        found = counts[mine][takes_part]
        assert found.max(initial=0) <= row <= min(found.sum(), 80)


def test_a_trace_without_searches_has_no_attempts():
    trace = Trace()
    trace.begin(TraceHeader(n_rows=4, row_bytes=8, bits=8, sampler="per", options={}, seed=0))
    for union in (False, True):
        assert trace.match_counts(4, 2, union=union).shape == (0, 2)
    assert len(trace.attempts) == 0


def test_the_form_of_a_profile_belongs_to_what_is_kept():
    trace = random_trace(1)
    forms = ({}, {"union": True}, {"addresses_per_word": 2}, {"per": "array"})
    kept = [trace.match_counts(8, 2, **form) for form in forms]
    for counts, form in zip(kept, forms, strict=True):
        assert trace.match_counts(8, 2, **form) is counts
        assert not counts.flags.writeable


def test_counting_words_counts_the_matches_in_them_too():
    for per in ("bank", "array"):
        trace, again = random_trace(3), random_trace(3)
        trace.match_counts(8, 2, per=per, addresses_per_word=3)
        np.testing.assert_array_equal(trace.match_counts(8, 2, per=per), again.match_counts(8, 2, per=per))


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"rows_per_array": 0}, ValueError, "rows_per_array must be at least 1, got 0"),
        ({"n_banks": 0}, ValueError, "n_banks must be at least 1, got 0"),
        ({"n_banks": 2.0}, TypeError, r"n_banks must be a whole number, got 2\.0"),
        ({"mapping": "striped"}, ValueError, "mapping must be 'interleaved' or 'contiguous', got 'striped'"),
        ({"per": "row"}, ValueError, "per must be 'bank' or 'array', got 'row'"),
        ({"addresses_per_word": 0}, ValueError, "addresses_per_word must be at least 1, got 0"),
        ({"addresses_per_word": True}, TypeError, "addresses_per_word must be a whole number, got True"),
        ({"union": 1}, TypeError, "union must be True or False, got 1"),
    ],
)
def test_a_profile_that_makes_no_sense_is_refused(parameters, error, message):
    trace = random_trace(1)
    with pytest.raises(error, match=message):
        trace.match_counts(**{"rows_per_array": 8, "n_banks": 2, **parameters})
