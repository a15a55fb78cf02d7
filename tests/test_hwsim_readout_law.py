"""Selecting a match by its rank draws by the law of a candidate-set buffer: rank for rank, and by chi-square.

The searches are those of AMPER-fr samplings; the match lines those of the bit-true memory. A readout may move every
match into a buffer (`csb`) or move none, and send a rank down a tree of counts to an array that searches again
(`rank_select`); `tests.naive.rank_select` models both. Statistical tests raise a false alarm once in a million seeds.
"""

import numpy as np
import pytest
from scipy import stats

import amper
from amper import samplers, urng
from amper.candidates import make_groups
from amper.protocols import SEARCH_COLUMNS
from amper.tcam import Tcam, cover
from amper.trace import OpKind
from tests.naive import rank_select as naive

FALSE_ALARM = 1e-6
R = 64  # rows of an array
GROUPINGS = {"tapered": {}, "linear": {"n_groups": 20}, "octave": {"n_groups": (7, 3)}}
CSBS = [(1, 1), (8, 1), (8, 8), (8, 2), (3, 2), (64, 64)]  # banks, ports


def random_codes(rng, n, bits=16):
    """Return exponential masses as codes: most far below the largest, many of them equal."""
    return np.minimum(rng.exponential(size=n) / 8 * 2**bits, 2**bits - 1).astype(np.int64) + (rng.random(n) < 0.5) + 1


def full_sampler(capacity, n_valid, seed, **options):
    rng = np.random.default_rng(seed)
    sampler = samplers.make("amper-fr", capacity, seed=seed, engine="tcam", urng="lfsr", **options)
    top = sampler.format.top
    sampler.insert(np.arange(n_valid), np.minimum(random_codes(rng, n_valid), top), at_maximum=False)
    rewritten = rng.permutation(n_valid)[: n_valid // 2]
    sampler.update(rewritten, np.minimum(random_codes(rng, len(rewritten)), top))
    return sampler


class Matches:
    """What the memory answers to the searches of one sampling: all of it at once, and array by array.

    Parameters
    ----------
    codes : uint32[n]
        0 where nothing was written.
    searches : int64[k, 8]
        Columns as `protocols.SEARCH_COLUMNS`; the last attempt counts.
    """

    def __init__(self, codes, searches, bits=16):
        self.n, self.bits = len(codes), bits
        self.n_arrays = -(-self.n // R)
        searches = searches[searches[:, 7] == searches[-1, 7]]
        self.ranges = searches[:, 2:4].tolist()
        self.of_group = searches[:, 0]
        written = np.flatnonzero(codes)
        whole = Tcam(self.n, bits)
        whole.write(written, codes[written].astype(np.int64))
        self.lines = np.zeros((len(searches), self.n_arrays * R), bool)
        for g, (lo, hi) in enumerate(self.ranges):
            self.lines[g, whole.rows(whole.search_range(lo, hi))] = True
        np.testing.assert_array_equal(self.lines.sum(axis=1), searches[:, 6])
        self.n_csp = int(self.lines.sum())
        self.tree = naive.CountTree(naive.counts_per_array(self.lines, R))
        self._again = self._search_arrays(codes, written)

    def _search_arrays(self, codes, written):
        """Search every array alone for every group, as the target of a rank does."""
        again = np.zeros((len(self.ranges), self.n_arrays, R), bool)
        top = (1 << self.bits) - 1
        for a in range(self.n_arrays):
            array, rows = Tcam(R, self.bits), written[written // R == a]
            array.write(rows % R, codes[rows].astype(np.int64))
            for g, (lo, hi) in enumerate(self.ranges):
                for key, n_dont_care in cover(lo, hi):
                    found = array.rows(array.search(key, top & ~((1 << n_dont_care) - 1)))
                    again[g, a, found] = True
        return again

    @property
    def multiplicity(self):
        """How often each row stands in the candidate set, int[n]."""
        return self.lines.sum(axis=0)[: self.n]

    def rank_select(self, ranks, **mistake):
        return naive.rank_select(self.tree, ranks, lambda g, a: self._again[g, a], R, **mistake)

    def csb(self, n_banks, n_ports, **options):
        order = naive.csb_order(self.lines, n_banks=n_banks, n_ports=n_ports, rows_per_array=R, **options)
        return np.array(order, np.int64).reshape(-1, 2)


# -- rank for rank ------------------------------------------------------------------------------------
@pytest.mark.parametrize("options", [*GROUPINGS.values(), {"match": "radius"}], ids=[*GROUPINGS, "radius"])
@pytest.mark.parametrize(("capacity", "n_valid"), [(40, 33), (64, 64), (1_000, 937), (1_089, 1_089), (20_011, 19_000)])
def test_every_rank_and_every_place_of_the_buffer_give_the_same_multiset(capacity, n_valid, options):
    sampler = full_sampler(capacity, n_valid, seed=capacity, **options)
    n_found = 0
    for _ in range(3):
        matches = Matches(sampler.codes, sampler.sample(1).searches)
        n_found += matches.n_csp
        groups, rows = matches.rank_select(np.arange(matches.n_csp))
        assert rows.min(initial=0) >= 0
        assert rows.max(initial=0) < n_valid  # neither padding rows nor rows never written
        np.testing.assert_array_equal(np.bincount(rows, minlength=capacity), matches.multiplicity)
        selected = sorted(zip(groups.tolist(), rows.tolist(), strict=True))
        for n_banks, n_ports in CSBS:
            for contiguous in (False, True):
                moved = matches.csb(n_banks, n_ports, contiguous=contiguous)
                assert sorted(map(tuple, moved.tolist())) == selected, (n_banks, n_ports)
    assert n_found > 0


def test_ports_and_banks_permute_the_buffer_so_its_order_is_not_the_ranks():
    sampler = full_sampler(1_000, 937, seed=4)
    matches = Matches(sampler.codes, sampler.sample(1).searches)
    ranks = np.stack(matches.rank_select(np.arange(matches.n_csp)), axis=1)
    np.testing.assert_array_equal(matches.csb(1, 1), ranks)
    assert not np.array_equal(matches.csb(8, 2), ranks)
    assert not np.array_equal(matches.csb(8, 2), matches.csb(8, 8))


@pytest.mark.parametrize("options", GROUPINGS.values(), ids=GROUPINGS)
def test_the_library_draws_what_rank_select_draws_by_the_same_numbers(options):
    # The bit-true engine numbers matches as the tree does: group after group, rows ascending.
    seed, b = 11, 3_000
    sampler = full_sampler(5_003, 4_800, seed, **options)
    source = urng.make("lfsr", urng.stream(seed, "sampler/amper-fr"))
    groups = make_groups(sampler.options["grouping"], sampler.options["n_groups"])
    n_keys = 2 * groups.n_groups  # a representative each, and a number for its dither
    for _ in range(3):
        draw = sampler.sample(b)
        assert (draw.n_redraws, draw.fallback) == (0, False)
        numbers = (source.random(n_keys + b)[n_keys:] * 2**32).astype(np.uint64)
        matches = Matches(sampler.codes, draw.searches)
        groups, rows = matches.rank_select(naive.rank_of(numbers, draw.n_csp))
        np.testing.assert_array_equal(rows, draw.slots)
        np.testing.assert_array_equal(matches.of_group[groups], draw.groups)


# -- by chi-square ------------------------------------------------------------------------------------
def chi_square(drawn, law):
    """Return the statistic and degrees of freedom of counts against chances; infinite where the law allows none."""
    if drawn[law == 0].any():
        return np.inf, 1
    drawn, expected = drawn[law > 0], drawn.sum() * law[law > 0]
    return np.sum((drawn - expected) ** 2 / expected), len(expected) - 1


def chi_square_of_two(drawn, other):
    """Return the statistic and degrees of freedom of two samples of one size being drawn by one law."""
    assert drawn.sum() == other.sum()
    both = (drawn + other)[drawn + other > 0]
    return np.sum((drawn - other)[drawn + other > 0] ** 2 / both), len(both) - 1


def p_value(tests):
    """Return the chance that independent tests (statistic, degrees of freedom) add up to so much."""
    statistics, degrees = zip(*tests, strict=True)
    return stats.chi2.sf(sum(statistics), sum(degrees))


class Drawing:
    """Samplings, as many uniform numbers for each as make `n_draws` in all, and what the readouts make of them."""

    def __init__(self, options, n_draws=1_000_000, n_samplings=4, seed=5):
        sampler = full_sampler(3_003, 2_900, seed, **options)
        self.samplings = [Matches(sampler.codes, sampler.sample(1).searches) for _ in range(n_samplings)]
        self.each = n_draws // n_samplings
        self.selected, self.moved = list(self.rank_select()), list(self.csb())
        self.laws = [np.append(matches.multiplicity, 0) / matches.n_csp for matches in self.samplings]

    def numbers(self, name):
        """Return an LFSR's 32-bit numbers for each sampling, of a stream of its own."""
        source = urng.make("lfsr", urng.stream(8, name))
        for matches in self.samplings:
            yield matches, (source.random(self.each) * 2**32).astype(np.uint64)

    def rank_select(self, name="rank_select", rank_of=naive.rank_of, **mistake):
        """Return how often each row was drawn, int[n + 1] a sampling; the last place counts draws of nothing."""
        for matches, numbers in self.numbers(name):
            _, rows = matches.rank_select(rank_of(numbers, matches.n_csp), **mistake)
            yield np.bincount(np.where(rows < 0, matches.n, rows), minlength=matches.n + 1)

    def csb(self, name="csb", lose=0):
        for matches, numbers in self.numbers(name):
            rows = matches.csb(8, 2)[:, 1]
            rows = rows[: len(rows) - lose]
            yield np.bincount(rows[naive.rank_of(numbers, len(rows)).astype(np.int64)], minlength=matches.n + 1)


@pytest.fixture(scope="module")
def drawing(request):
    return Drawing(GROUPINGS[request.param])


@pytest.mark.parametrize("drawing", GROUPINGS, indirect=True)
def test_a_million_draws_of_either_readout_follow_the_multiplicities_and_each_other(drawing):
    assert sum(map(np.sum, drawing.selected)) == sum(map(np.sum, drawing.moved)) == 1_000_000
    assert p_value(map(chi_square, drawing.selected, drawing.laws)) > FALSE_ALARM
    assert p_value(map(chi_square, drawing.moved, drawing.laws)) > FALSE_ALARM
    assert p_value(map(chi_square_of_two, drawing.selected, drawing.moved)) > FALSE_ALARM


@pytest.mark.parametrize("drawing", ["octave"], indirect=True)
def test_a_row_found_twice_is_drawn_twice_as_often(drawing):
    assert sum(int((matches.multiplicity > 1).sum()) for matches in drawing.samplings) > 20
    of_distinct = [(law > 0) / np.count_nonzero(law) for law in drawing.laws]
    assert p_value(map(chi_square, drawing.selected, of_distinct)) < FALSE_ALARM
    assert p_value(map(chi_square, drawing.moved, of_distinct)) < FALSE_ALARM


def of_rows(numbers, n_csp, n=3_003):
    """A rank drawn from the rows instead of the candidates, cut at the last."""
    return np.minimum(naive.rank_of(numbers, n), np.uint64(n_csp - 1))


def one_high(numbers, n_csp):
    """A rank of 1..|CSP|, the last one cut."""
    return np.minimum(naive.rank_of(numbers, n_csp) + np.uint64(1), np.uint64(n_csp - 1))


def of_few_bits(numbers, n_csp):
    """A rank of a number of 10 bits: of few numbers, some ranks get one more than others."""
    return naive.rank_of(numbers >> np.uint64(22) << np.uint64(22), n_csp)


MISTAKES = {
    "<= for < in the descent": {"passes": np.greater},
    "a rank of all rows": {"rank_of": of_rows},
    "a rank too high by one": {"rank_of": one_high},
    "a rank of too few bits": {"rank_of": of_few_bits},
}


@pytest.mark.parametrize("drawing", ["tapered"], indirect=True)
@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES)
def test_a_planted_mistake_in_the_selection_is_caught(drawing, mistake):
    selected = list(drawing.rank_select(**mistake))
    assert p_value(map(chi_square, selected, drawing.laws)) < FALSE_ALARM
    assert p_value(map(chi_square_of_two, selected, drawing.moved)) < FALSE_ALARM


@pytest.mark.parametrize("drawing", ["tapered"], indirect=True)
def test_a_buffer_that_loses_its_last_address_is_caught(drawing):
    moved = list(drawing.csb(lose=1))
    assert p_value(map(chi_square, moved, drawing.laws)) < FALSE_ALARM
    assert p_value(map(chi_square_of_two, moved, drawing.selected)) < FALSE_ALARM


def test_a_descent_that_compares_by_too_much_is_caught_rank_for_rank():
    sampler = full_sampler(1_000, 937, seed=6)
    matches = Matches(sampler.codes, sampler.sample(1).searches)
    right = matches.rank_select(np.arange(matches.n_csp))[1]
    wrong = matches.rank_select(np.arange(matches.n_csp), passes=np.greater)[1]
    assert (wrong < 0).any()  # an array was reached that has fewer matches than the rank that is left
    assert not np.array_equal(np.sort(right), np.sort(wrong))


# -- what the library records -------------------------------------------------------------------------
@pytest.mark.parametrize("options", [GROUPINGS["tapered"], GROUPINGS["linear"]], ids=["tapered", "linear"])
def test_recorded_draws_of_a_replay_follow_the_law_of_its_recorded_searches(options):
    rng, trace = np.random.default_rng(9), amper.Trace()
    buffer = amper.ReplayBuffer(
        1_003, {"x": {}}, sampler="amper-fr", sampler_options={"engine": "tcam", "urng": "lfsr", **options},
        seed=2, sink=trace,
    )  # fmt: skip
    ids = buffer.add(x=np.zeros(950), priorities=rng.exponential(size=950))
    for _ in range(12):
        buffer.sample(10_000)
        buffer.update_priorities(rng.permutation(ids)[:200], rng.exponential(size=200))
    laws, drawn, codes = [], [], np.zeros(1_003, np.uint32)
    for kind, row in trace:
        if kind is not OpKind.SAMPLE:
            op = trace.ops[row]
            written = trace.writes[op["first"] : op["first"] + op["count"]]
            codes[written["slot"]] = written["code"]
            continue
        sample = trace.samples[row]
        assert not sample["fallback"]
        searches = trace.searches[sample["first_search"] : sample["first_search"] + sample["n_searches"]]
        matches = Matches(codes, np.stack([searches[c].astype(np.int64) for c in SEARCH_COLUMNS], axis=1))
        draws = trace.draws[sample["first_draw"] : sample["first_draw"] + sample["batch_size"]]
        laws.append(matches.multiplicity / matches.n_csp)
        drawn.append(np.bincount(draws["slot"], minlength=1_003))
    assert len(drawn) == 12
    assert p_value(map(chi_square, drawn, laws)) > FALSE_ALARM
    assert p_value(map(chi_square, drawn, laws[1:] + laws[:1])) < FALSE_ALARM  # the law of another sampling
