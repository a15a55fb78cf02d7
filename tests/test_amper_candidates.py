"""Candidate sets: the fast index, the bit-true TCAM and the definition find the same slots."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amper import samplers
from amper.candidates import LinearGroups, OctaveGroups, aligned_full_scale, make_groups
from amper.index import CodeIndex
from amper.tcam_search import TcamSearch
from tests import strategies
from tests.naive import associative as naive

NAIVE_GROUPS = {"linear": naive.linear_groups, "octave": naive.octave_groups, "tapered": naive.tapered_groups}


def candidates(name, codes, rewrites, **options):
    sampler = samplers.make(name, len(codes), seed=3, **options)
    sampler.insert(np.arange(len(codes)), codes, at_maximum=False)
    for slots, new in rewrites:
        sampler.update(slots, new)
    return sampler, sorted(zip(*map(list, sampler.candidates()), strict=True))


@settings(max_examples=2000, deadline=None, derandomize=True)
@given(strategies.code_tables(), strategies.amper_options(), st.integers(0, 2**32 - 1), st.booleans())
def test_the_index_and_the_bit_true_tcam_find_the_same_candidate_set(codes, sampler, seed, unique):
    name, options = sampler
    options = {**options, "unique": unique and name == "amper-fr"}
    rng = np.random.default_rng(seed)
    slots = rng.permutation(len(codes))[: rng.integers(1, len(codes) + 1)]
    rewrites = [(slots, rng.permutation(codes)[: len(slots)])]
    _, fast = candidates(name, codes, rewrites, engine="index", **options)
    _, true = candidates(name, codes, rewrites, engine="tcam", **options)
    if options["unique"]:  # which of two groups a shared slot is counted for is no part of the law
        fast, true = [s for s, _ in fast], [s for s, _ in true]
    assert fast == true


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.sampled_from([4, 8, 17, 20, 24, 32]), st.data())
def test_codes_of_any_width_are_found_by_the_index_as_by_the_tcam(bits, data):
    codes = data.draw(strategies.code_tables(max_rows=80, bits=bits))
    _, options = data.draw(strategies.amper_options(variants=("fr",)))
    options = {**options, "unique": data.draw(st.booleans()), "bits": bits, "lam": data.draw(st.floats(1e-4, 2.0))}
    rewrites = [(np.arange(len(codes)), np.random.default_rng(0).permutation(codes))]
    found = {}
    for engine in ("index", "tcam"):
        sampler, members = candidates("amper-fr", codes, rewrites, engine=engine, **options)
        draw = sampler.sample(20)
        found[engine] = [s for s, _ in members], draw.n_csp, draw.fallback, draw.searches.tolist()
        allowed = np.unique(sampler._search.members()[0]) if not draw.fallback else np.arange(len(codes))
        assert np.isin(draw.slots, allowed).all()
    assert found["index"] == found["tcam"]


@settings(max_examples=300, deadline=None, derandomize=True)
@given(strategies.code_tables(max_rows=60, bits=10), strategies.amper_options(), st.integers(0, 2**32 - 1))
def test_the_candidate_set_follows_the_definition(codes, sampler, seed):
    name, options = sampler
    made = samplers.make(name, len(codes), seed=seed, bits=10, max_redraws=0, **options)
    made.insert(np.arange(len(codes)), codes, at_maximum=False)
    source = samplers.uniform_sources.make("numpy", samplers.uniform_sources.stream(seed, f"sampler/{name}"))
    groups_of, thinned = NAIVE_GROUPS[options["grouping"]], options["grouping"] != "linear"
    m = options["n_groups"] if thinned else (options["n_groups"],)
    widest = max(width for _, width in groups_of(2**20, *m)) / 2**20
    full = naive.full_scale(int(codes.max()), widest, options["lam"], 10)
    assert made.full == full
    groups = groups_of(full, *m)
    uniforms = source.random(2 * len(groups))
    if name == "amper-k":
        expected = naive.csp_k(codes, groups, uniforms, full, options["lam"], 1023)
    else:
        expected = naive.csp_fr(codes, groups, uniforms, full, options["lam"], options["match"], thinned, 1023)
    assert sorted(zip(*map(list, made.candidates()), strict=True)) == sorted(expected)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(strategies.code_tables(max_rows=150), st.integers(1, 65535), st.integers(1, 40))
def test_the_neighbours_of_amper_k_are_those_of_the_sort(codes, key, n):
    n = min(n, len(codes))
    index = CodeIndex(len(codes), 16)
    index.write(np.arange(len(codes)), codes)
    query = np.array([[0, key, 0, 65535, 0, 1, 0, 0]])
    rows = np.empty((2, 8), np.int64)
    n_rows, n_csp = index.find_nearest(query, n / key, len(codes), rows)
    assert (n_rows, n_csp) == (2, n)
    slots, _ = index.members()
    assert sorted(slots) == sorted(naive.nearest(codes, key, n))
    far = max(abs(int(codes[s]) - key) for s in slots)
    assert max(key - rows[1, 2], rows[1, 3] - key) >= far


@settings(max_examples=100, deadline=None, derandomize=True)
@given(strategies.code_tables(max_rows=80), st.integers(0, 65535), st.integers(1, 90))
def test_best_match_by_hamming_distance_is_the_sort_by_differing_bits(codes, key, n):
    search = TcamSearch(len(codes), 16, distance="hamming")
    search.write(np.arange(len(codes)), codes)
    assert list(search.tcam.nearest(key, n, "hamming")) == naive.nearest_hamming(codes, key, n)
    assert list(search.tcam.nearest(key, n, "value")) == naive.nearest(codes, key, n)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(1, 40), st.lists(st.tuples(st.integers(0, 39), st.integers(1, 255)), max_size=400))
@pytest.mark.nojit
def test_the_index_keeps_its_books_under_any_writes(capacity, writes):
    index = CodeIndex(capacity, 8)
    codes = np.zeros(capacity, np.int64)
    for slot, code in writes:
        codes[slot % capacity] = code
        index.write(np.array([slot % capacity]), np.array([code]))
    assert np.array_equal(index.codes, codes)
    assert index.code_sum == codes.sum()
    assert index.n_valid == np.count_nonzero(codes)
    rows = np.array([[0, 0, lo, lo + 30, 0, 1, 0, 0] for lo in range(0, 226, 15)])
    index.find_ranges(rows)
    assert [int(np.sum((codes >= r[2]) & (codes <= r[3]) & (codes > 0))) for r in rows] == list(rows[:, 6])
    total = index.new_tally()
    index.tally(total, 1.0)
    expected = [sum(int(q > 0 and r[2] <= q <= r[3]) for r in rows) for q in codes]
    assert np.allclose(index.tallied(total), expected)


@pytest.mark.parametrize("kind", ["spread", "few", "shrinking"])
@pytest.mark.parametrize("capacity", [1, 37, 1000])
def test_a_million_updates_stay_within_the_bound_on_memory(kind, capacity):
    rng = np.random.default_rng(0)
    index = CodeIndex(capacity, 16)
    bound = 20 * capacity + 4 * 64 + 2**20
    assert index.n_bytes <= bound
    codes = np.zeros(capacity, np.int64)
    for step in range(1000):
        slots = rng.integers(0, capacity, 1000)
        if kind == "spread":
            new = 1 + rng.integers(0, 65_535, 1000) // rng.integers(1, 5000)
        elif kind == "few":
            new = rng.integers(1, 4, 1000) << int(rng.integers(0, 14))
        else:
            new = np.full(1000, 65_535 >> (step % 16))
        index.write(slots, new)
        codes[slots] = new
        if step % 100 == 99:
            assert np.array_equal(index.codes, codes)
            rows = np.array([[0, 0, 1, 65_535, 0, 1, 0, 0]])
            assert index.find_ranges(rows) == index.n_valid == np.count_nonzero(codes)
            assert np.array_equal(np.sort(index.members()[0]), np.flatnonzero(codes))
    assert index.n_bytes <= bound
    assert index.code_sum == codes.sum()


def test_octave_groups_tile_the_full_scale():
    edges = OctaveGroups(n_octaves=7, n_parts=3).edges(65536)
    assert len(edges) == 22 + 1
    assert np.array_equal(edges[[0, 1, 4, -4, -1]], [0, 512, 1024, 32768, 65536])
    assert np.all(np.diff(edges) > 0)


def test_tapered_groups_are_of_one_width_above_and_octaves_below():
    groups = make_groups("tapered", (7, 2, 8))
    edges = groups.edges(65536)
    assert len(edges) == groups.n_groups + 1 == 23 + 1
    widths = np.diff(edges)
    assert np.all(widths[edges[:-1] >= 16384] == 4096)
    assert np.array_equal(widths[edges[:-1] < 8192], [512, 256, 256, 512, 512, 1024, 1024, 2048, 2048])
    assert groups.widest == widths.max() / 65536


def test_the_groups_are_what_their_number_fits():
    assert make_groups(None, None) == make_groups("tapered", None) == OctaveGroups(n_octaves=7, n_parts=2, n_top=8)
    assert make_groups(None, 20) == make_groups("linear", None)
    assert make_groups(None, (7, 3)) == make_groups("octave", None)
    assert make_groups(None, [7, 2, 8]).name == "tapered"


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.integers(1, 10), st.integers(1, 8), st.integers(0, 16), st.integers(1, 65536))
def test_groups_by_octave_tile_the_full_scale_as_the_definition_does(n_octaves, n_parts, more, full):
    n_top = n_parts + more if more else 0
    groups = OctaveGroups(n_octaves=n_octaves, n_parts=n_parts, n_top=n_top)
    named = (
        naive.tapered_groups(full, n_octaves, n_parts, n_top)
        if n_top
        else naive.octave_groups(full, n_octaves, n_parts)
    )
    assert np.allclose(groups.edges(full)[:-1], [low for low, _ in named], rtol=1e-12)
    assert groups.widest == pytest.approx(max(width for _, width in named) / full)


@pytest.mark.parametrize("v_max", [1, 7, 1000, 40_000, 65_535])
def test_the_full_scale_lies_above_the_maximum_and_within_one_block(v_max):
    for groups in (LinearGroups(n_groups=20), OctaveGroups(), make_groups(None, None)):
        full = aligned_full_scale(v_max, groups, 0.15, 16)
        assert v_max < full <= 65_536
        assert full - v_max <= max(4 * 0.15 * v_max * groups.widest, 1)


@pytest.mark.parametrize(
    ("grouping", "n_groups", "named"),
    [
        ("square", None, "grouping must be one of 'tapered', 'linear', 'octave', got 'square'"),
        ("linear", 0, "n_groups must be a whole number in 1..65536, got 0"),
        ("linear", (7, 3), "n_groups must be a whole number"),
        ("octave", 20, "n_groups must be a pair"),
        ("octave", (0, 3), "n_groups must hold whole numbers in 1..256, got 0 as n_octaves"),
        ("octave", (7, 2, 8), "n_groups must be a pair"),
        ("tapered", (7, 2), "n_groups must be three numbers"),
        ("tapered", (7, 4, 2), "n_groups must have n_top of at least n_parts = 4, got 2"),
        ("tapered", (7, 2, 8.0), "n_groups must hold whole numbers in 1..256, got 8.0 as n_top"),
        (None, (1, 2, 3, 4), "n_groups must be one, two or three numbers"),
        (None, "many", "n_groups must be a whole number"),
    ],
)
def test_groups_that_make_no_sense_are_refused(grouping, n_groups, named):
    with pytest.raises(ValueError, match=named.replace("(", r"\(")):
        make_groups(grouping, n_groups)
