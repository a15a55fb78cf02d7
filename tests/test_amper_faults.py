"""A memory with faults: each strikes as often as it says, where it says, and repeats from a saved state."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import amper
from amper import samplers
from amper._kernels import tcam as kernels
from amper.faults import TRANSIENT, FaultSource, StuckCells, TcamFaults
from amper.tcam import Tcam
from amper.tcam_search import TcamSearch
from tests import strategies
from tests.naive import faults as naive

ALL = {"stuck_cells": 0.01, "missed_matches": 0.05, "false_matches": 0.01, "sense_noise": 0.2}


def source(seed=0, **rates):
    return FaultSource(TcamFaults(**rates), np.random.SeedSequence(seed))


def filled(codes, name="amper-fr", seed=3, **options):
    sampler = samplers.make(name, len(codes), seed=seed, **options)
    sampler.insert(np.arange(len(codes)), np.asarray(codes, np.int64), at_maximum=False)
    return sampler


def is_as_likely_as(n_events, n_trials, rate):
    # Two-sided, exact; false-alarm rate 1e-6 at a fixed seed.
    return stats.binomtest(n_events, n_trials, rate).pvalue > 1e-6


# -- one search after another is what the definition finds ------------------------------------------------
@st.composite
def memories(draw, n_rows=90, bits=7):
    written = draw(st.dictionaries(st.integers(0, n_rows - 1), st.integers(0, 2**bits - 1), min_size=1, max_size=60))
    cells = st.tuples(st.integers(0, n_rows - 1), st.integers(0, bits - 1))
    stuck = draw(st.dictionaries(cells, st.integers(0, 1), max_size=40))
    ends = st.tuples(st.integers(0, 2**bits - 1), st.integers(0, 2**bits - 1))
    ranges = draw(st.lists(ends.map(sorted), min_size=1, max_size=5))
    n_words = sum(len(naive.blocks(lo, hi)) for lo, hi in ranges)
    events = [sorted(draw(st.sets(st.integers(0, 128 * n_words - 1), max_size=60))) for _ in range(3)]
    return written, stuck, ranges, events


class Scripted:
    """A source of faults whose events are given."""

    def __init__(self, events):
        self._events = tuple(np.array(kind, np.int64) for kind in events)

    def events(self, n_searches, n_rows):
        assert all(kind.max(initial=0) < n_searches * n_rows for kind in self._events)
        return self._events


@settings(max_examples=300, deadline=None, derandomize=True)
@given(memories())
@pytest.mark.nojit
def test_a_faulty_memory_finds_what_the_definition_finds(memory):
    written, stuck, ranges, events = memory
    where, held = np.zeros((2, 7, 2), np.uint64)
    for (row, bit), value in stuck.items():
        where[bit, row >> 6] |= np.uint64(1 << (row & 63))
        held[bit, row >> 6] |= np.uint64(value << (row & 63))
    tcam = Tcam(90, 7, stuck=StuckCells(where, held), faults=Scripted(events))
    for row, word in written.items():
        tcam.write(np.array([row]), np.array([127 - word]))
        tcam.write(np.array([row]), np.array([word]))
    words = {row: naive.stored(word, row, stuck) for row, word in written.items()}
    assert {row: tcam.words()[row] for row in words} == words
    rows = np.array([(g, 0, lo, hi, 0, 0, 0, 0) for g, (lo, hi) in enumerate(ranges)])
    lines, ends = np.empty((len(rows), 2), np.uint64), np.empty((len(rows), 1), np.int64)
    n_csp = tcam.find_ranges(rows, lines, ends)
    expected = naive.search_ranges(words, ranges, 7, events, 128)
    assert [set(tcam.rows(line)) for line in lines] == expected
    assert list(rows[:, 6]) == [len(found) for found in expected]
    assert n_csp == sum(rows[:, 6])


@settings(max_examples=200, deadline=None, derandomize=True)
@given(strategies.code_tables(), strategies.amper_options(), st.sampled_from([{}, {"stuck_cells": 0.0}]))
def test_faults_of_rate_zero_change_nothing(codes, sampler, faults):
    name, options = sampler
    found = []
    for engine in ({"engine": "index"}, {"engine": "tcam"}, {"faults": faults}):
        made = filled(codes, name, **options, **engine)
        found.append(sorted(zip(*map(list, made.candidates()), strict=True)))
    assert found[0] == found[1] == found[2]


# -- how often ------------------------------------------------------------------------------------------
def test_every_outcome_of_a_few_trials_is_as_likely_as_independence_says():
    rate, n_repeats, faulty = 0.3, 40_000, source(false_matches=0.3)
    seen = dict.fromkeys(itertools.product((0, 1), repeat=4), 0)
    for _ in range(n_repeats):
        _, false, _ = faulty.events(2, 2)
        seen[tuple(int(i in false) for i in range(4))] += 1
    expected = [n_repeats * math.prod(rate if bit else 1 - rate for bit in outcome) for outcome in seen]
    # False-alarm rate 1e-6 at a fixed seed.
    assert stats.chisquare(list(seen.values()), expected).pvalue > 1e-6


@pytest.mark.parametrize("rate", [1e-6, 1e-3, 0.1, 0.9])
def test_events_are_as_many_as_trials_and_rate_say_and_evenly_spread(rate):
    n = 5_000_000
    missed, false, noisy = source(missed_matches=rate).events(500, n // 500)
    assert len(false) == len(noisy) == 0
    assert is_as_likely_as(len(missed), n, rate)
    assert np.all(np.diff(missed) > 0)
    if len(missed) > 100:
        spread = np.bincount(missed * 20 // n, minlength=20)
        assert stats.chisquare(spread).pvalue > 1e-6


def test_certain_faults_always_strike_and_the_smallest_rates_are_allowed():
    missed, false, noisy = source(missed_matches=1.0, false_matches=5e-324).events(3, 7)
    assert list(missed) == list(range(21))
    assert len(false) == len(noisy) == 0


def test_events_that_outrun_their_uniforms_are_drawn_on():
    positions = np.empty(3, np.int64)
    assert kernels.happen(np.array([0.0, 0.5, 0.0]), math.log(0.5), 0, 10, positions) == (3, 4)
    assert list(positions) == [0, 2, 3]
    assert kernels.happen(np.array([0.999, 0.0]), math.log(0.5), 4, 10, positions) == (0, 13)


def test_transient_faults_find_and_lose_rows_as_often_as_they_say():
    # 600 searches of 64 rows of each kind: 38,400 trials a kind.
    key, n = 0b1010_1010, 64
    words = np.concatenate([np.full(n, key), key ^ (1 << np.arange(n) % 8), np.full(n, ~key & 255)])
    rates = {"missed_matches": 0.03, "false_matches": 0.01, "sense_noise": 0.2}
    tcam = Tcam(4 * n, 8, faults=source(seed=1, **rates))
    tcam.write(np.arange(3 * n), words)
    n_found = np.zeros(4, np.int64)
    for _ in range(600):
        n_found += np.bincount(tcam.rows(tcam.search(key, 255)) // n, minlength=4)
    matching, one_off, other, invalid = (int(found) for found in n_found)
    assert is_as_likely_as(matching, 600 * n, 0.97)
    assert is_as_likely_as(one_off, 600 * n, 1 - 0.99 * 0.8)
    assert is_as_likely_as(other, 600 * n, 0.01)
    assert invalid == 0
    assert not is_as_likely_as(one_off, 600 * n, 1.1 * (1 - 0.99 * 0.8))


def test_one_mismatch_is_counted_among_the_care_bits_alone():
    tcam = Tcam(3, 8, faults=source(sense_noise=1.0))
    tcam.write(np.arange(3), np.array([0b0001_0111, 0b0011_0111, 0b1011_0011]))
    assert list(tcam.rows(tcam.search(0b0001_0000, 0b1111_0000))) == [0, 1]


def test_a_range_of_three_words_has_three_chances_to_be_misread():
    n = 2_000
    faulty = TcamSearch(n, 8, faults=TcamFaults(false_matches=0.05), seed=np.random.SeedSequence(2))
    faulty.write(np.arange(n), np.full(n, 200))
    rows = np.tile(np.array([(0, 0, 3, 12, 0, 4, 0, 0)]), (25, 1))
    n_csp = faulty.find_ranges(rows)
    assert is_as_likely_as(n_csp, 25 * n, 1 - 0.95**4)  # 3, 4-7, 8-11, 12


def test_stuck_cells_are_as_many_as_they_should_be_and_half_of_them_ones():
    where, held = source(stuck_cells=0.02).stuck_cells(20_000, 16)
    n, n_ones = (int(np.bitwise_count(planes).sum()) for planes in (where, held))
    assert is_as_likely_as(n, 320_000, 0.02)
    assert is_as_likely_as(n_ones, n, 0.5)
    assert not np.any(held & ~where)
    for plane in where:
        assert is_as_likely_as(int(np.bitwise_count(plane).sum()), 20_000, 0.02)


def test_a_stuck_cell_keeps_its_bit_for_the_life_of_the_array():
    rows, random = np.arange(500), np.random.default_rng(0).integers(0, 65_536, (5, 500))
    tcam = TcamSearch(500, 16, faults=TcamFaults(stuck_cells=0.05), seed=np.random.SeedSequence(3)).tcam
    tcam.write(rows, np.zeros(500, np.int64))
    at_one = tcam.words()
    tcam.write(rows, np.full(500, 65_535))
    at_zero = 65_535 ^ tcam.words()
    assert not np.any(at_one & at_zero)
    assert is_as_likely_as(int(np.bitwise_count(at_one).sum()), 500 * 16, 0.025)
    assert is_as_likely_as(int(np.bitwise_count(at_zero).sum()), 500 * 16, 0.025)
    for words in random:
        tcam.write(rows, words)
        assert np.array_equal(tcam.words(), words & ~at_zero | at_one)
    other = TcamSearch(500, 16, faults=TcamFaults(stuck_cells=0.05), seed=np.random.SeedSequence(4)).tcam
    other.write(rows, np.zeros(500, np.int64))
    assert not np.array_equal(other.words(), at_one)


def test_one_rate_moves_no_other_fault():
    alone = source(false_matches=0.01).events(10, 640)[1]
    assert np.array_equal(source(**ALL).events(10, 640)[1], alone)
    stuck = source(stuck_cells=0.01).stuck_cells(100, 16)
    assert np.array_equal(source(**ALL).stuck_cells(100, 16).where, stuck.where)


# -- as a sampler's option ------------------------------------------------------------------------------
def test_the_host_goes_on_believing_what_it_wrote():
    codes = np.random.default_rng(0).integers(1, 65_536, 400)
    true, faulty = filled(codes, engine="tcam"), filled(codes, faults=ALL)
    assert np.array_equal(faulty.codes, true.codes)
    assert faulty._search.code_sum == codes.sum()
    draw = faulty.sample(64)
    assert np.allclose(draw.probabilities, codes[draw.slots] / codes.sum())
    assert not np.array_equal(true.law(200), faulty.law(200))


@pytest.mark.parametrize(("name", "faults"), [("amper-fr", ALL), ("amper-k", {"stuck_cells": 0.05})])
def test_a_faulty_sampler_repeats_itself_from_its_state(name, faults):
    rng = np.random.default_rng(0)
    sampler = filled(rng.integers(1, 60_000, 300), name, faults=faults)
    sampler.sample(32)
    state = sampler.state_dict()
    first = [sampler.sample(32).slots for _ in range(5)]
    other = samplers.make(name, 300, seed=99, faults=faults)
    other.load_state_dict(state)
    assert np.array_equal(first, [other.sample(32).slots for _ in range(5)])
    sampler.update(np.arange(300), np.arange(1, 301))
    other.update(np.arange(300), np.arange(1, 301))
    assert np.array_equal(sampler._search.tcam.words(), other._search.tcam.words())


def test_a_saved_replay_keeps_its_faults(tmp_path):
    options = {"faults": {"stuck_cells": np.float64(0.05), "sense_noise": 0.1}}
    buffer = amper.ReplayBuffer(300, {"x": {}}, sampler="amper-fr", sampler_options=options, seed=0)
    buffer.add(x=np.arange(300.0), priorities=np.linspace(0.1, 1.0, 300))
    buffer.save(tmp_path / "replay.npz")
    loaded = amper.ReplayBuffer.load(tmp_path / "replay.npz")
    assert loaded.sampler.options["faults"] == {"stuck_cells": 0.05, "sense_noise": 0.1}
    for _ in range(5):
        assert np.array_equal(buffer.sample(32)["indices"], loaded.sample(32)["indices"])
    state = buffer.state_dict()
    state["sampler"]["search"]["held"] = ~state["sampler"]["search"]["held"]
    with pytest.raises(ValueError, match="held must be 0 where no cell is stuck, got a 1"):
        loaded.load_state_dict(state)


def test_matches_are_not_located_in_a_trace_of_a_faulty_memory():
    trace = amper.Trace()
    options = {"faults": {"false_matches": 0.1}}
    buffer = amper.ReplayBuffer(300, {"x": {}}, sampler="amper-fr", sampler_options=options, seed=0, sink=trace)
    buffer.add(x=np.arange(300.0), priorities=np.linspace(0.1, 1.0, 300))
    buffer.sample(8)
    assert trace.samples["n_csp"].sum() == trace.searches["n_matches"].sum() > 300
    with pytest.raises(
        ValueError, match=r"faults must be None where matches are located, got \{'false_matches': 0.1\}"
    ):
        trace.match_counts(64, 1)


def test_stuck_cells_change_whom_amper_k_finds_nearest():
    codes = np.random.default_rng(0).integers(1, 65_536, 200)
    faulty = filled(codes, "amper-k", faults={"stuck_cells": 0.2})
    words = faulty._search.tcam.words()
    assert np.mean(words != codes) > 0.5
    draw = faulty.sample(16)
    for _, key, lo, hi, n, _, _, _ in draw.searches[draw.searches[:, 4] > 0]:
        assert n <= np.sum(np.abs(words - key) <= max(key - lo, hi - key))


@pytest.mark.parametrize("kind", TRANSIENT)
def test_amper_k_takes_stuck_cells_alone(kind):
    with pytest.raises(ValueError, match=f"faults must be stuck_cells alone for amper-k, got {{'{kind}': 0.1}}"):
        samplers.make("amper-k", 10, seed=0, faults={kind: 0.1})


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"faults": {"stuck": 0.1}}, ValueError, "faults must be among stuck_cells, missed_matches, .*, got 'stuck'"),
        ({"faults": {"stuck_cells": 1.5}}, ValueError, r"faults\['stuck_cells'\] must lie in 0\.\.1, got 1\.5"),
        ({"faults": {"sense_noise": float("nan")}}, ValueError, r"faults\['sense_noise'\] must lie in 0\.\.1, got nan"),
        ({"faults": {"sense_noise": "often"}}, TypeError, r"faults\['sense_noise'\] must be a number, got 'often'"),
        ({"faults": 0.1}, TypeError, "faults must be a mapping of stuck_cells, .* to rates, or None, got 0.1"),
        (
            {"faults": {"stuck_cells": 0.1}, "engine": "index"},
            ValueError,
            r"engine must be 'tcam' or 'auto' with faults=\{'stuck_cells': 0.1\}, got 'index'",
        ),
    ],
)
def test_faults_that_make_no_sense_are_refused_by_name(options, error, message):
    with pytest.raises(error, match="^" + message):
        samplers.make("amper-fr", 10, seed=0, **options)
