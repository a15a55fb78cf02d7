"""Every sampler under one suite, and the laws each must follow."""

import numpy as np
import pytest
from scipy import stats

import amper
from amper import samplers
from amper.options import AmperOptions
from amper.proportional import SumTree
from tests.naive import associative as naive
from tests.naive.associative import kl

NAMES = samplers.available()


def filled(name, codes, **options):
    sampler = samplers.make(name, len(codes), seed=5, **options)
    sampler.insert(np.arange(len(codes)), np.asarray(codes, np.int64), at_maximum=False)
    return sampler


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.nojit
def test_a_sampler_draws_only_slots_that_were_written(name):
    sampler = samplers.make(name, 50, seed=1)
    slots = np.arange(3)
    sampler.insert(slots, np.full(3, sampler.format.top), at_maximum=True)
    draw = sampler.sample(500)
    assert set(draw.slots) <= set(slots)
    assert draw.n_valid == 3
    assert np.all(draw.probabilities > 0)


@pytest.mark.parametrize("name", NAMES)
def test_a_sampler_repeats_itself_from_its_state(name):
    rng = np.random.default_rng(0)
    sampler = filled(name, rng.integers(1, 60_000, 300))
    sampler.update(rng.permutation(300)[:100], rng.integers(1, 60_000, 100))
    state = sampler.state_dict()
    first = [sampler.sample(32).slots for _ in range(5)]
    other = samplers.make(name, 300, seed=99)
    other.load_state_dict(state)
    assert np.array_equal(first, [other.sample(32).slots for _ in range(5)])


@pytest.mark.parametrize("name", NAMES)
def test_halving_keeps_every_transition(name):
    sampler = filled(name, np.arange(1, 101))
    sampler.rescale(3)
    assert list(sampler.codes) == [max((c + 4) >> 3, 1) for c in range(1, 101)]
    assert np.all(sampler.law(2000) >= 0)
    assert sampler.law(2000).sum() == pytest.approx(1)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("per", {}),
        ("amper-fr", {}),
        ("amper-fr", {"match": "radius"}),
        ("amper-fr", {"grouping": "octave"}),
        ("amper-fr", {"grouping": "linear"}),
        ("amper-fr", {"urng": "lfsr"}),
        ("amper-fr", {"engine": "tcam", "bits": 20}),
        ("amper-k", {}),
    ],
)
def test_a_prioritized_sampler_is_near_proportional_where_uniform_sampling_is_not(name, options):
    codes = (np.random.default_rng(3).exponential(0.1, 500) * 65_535).astype(np.int64) + 1
    codes = np.minimum(codes, 65_535)
    target = codes / codes.sum()
    if options.get("bits") == 20:
        codes = codes << 4
    sampler = filled(name, codes, **options)
    # Few entries a group make the neighbour counts of AMPER-k coarse.
    assert kl(sampler.law(4000), target) < (0.2 if name == "amper-k" else 0.03)
    assert kl(np.full(500, 1 / 500), target) > 0.3


def test_per_is_exactly_proportional():
    n, n_draws = 1000, 2_000_000
    codes = np.random.default_rng(1).integers(1, 2**32, n)
    sampler = filled("per", codes)
    drawn = np.bincount(sampler.sample(n_draws).slots, minlength=n)
    expected = codes / codes.sum() * n_draws
    # False-alarm rate 1e-6 at a fixed seed.
    assert stats.chi2.sf(np.sum((drawn - expected) ** 2 / expected), n - 1) > 1e-6
    wrong = expected * np.where(np.arange(n) % 2, 1.02, 0.98)
    wrong *= n_draws / wrong.sum()
    assert stats.chi2.sf(np.sum((drawn - wrong) ** 2 / wrong), n - 1) < 1e-6


@pytest.mark.parametrize("alpha", [0.0, 0.7, 1.0])
def test_per_rank_draws_by_rank_and_ties_share_alike(alpha):
    rng = np.random.default_rng(1)
    codes = (2.0 ** rng.uniform(0, 32, 400)).astype(np.int64)
    codes[300:340] = codes[0]  # ties
    sampler = samplers.make("per-rank", 500, seed=5, alpha=alpha)
    sampler.insert(np.arange(400), codes, at_maximum=False)
    moved = rng.permutation(400)[:200]
    codes[moved] = (2.0 ** rng.uniform(0, 32, 200)).astype(np.int64)
    sampler.update(moved, codes[moved])
    law = naive.rank_law(codes.tolist(), alpha)
    assert sampler.law(1)[:400] == pytest.approx(law)
    draw = sampler.sample(1_000_000)
    assert draw.probabilities == pytest.approx(np.array(law)[draw.slots])
    drawn, expected = np.bincount(draw.slots, minlength=400), np.array(law) * 1_000_000
    # False-alarm rate 1e-6 at a fixed seed.
    assert stats.chi2.sf(np.sum((drawn - expected) ** 2 / expected), 399) > 1e-6
    if alpha:
        other = 1_000_000 * np.array(naive.rank_law(codes.tolist(), 0.9 * alpha))
        assert stats.chi2.sf(np.sum((drawn - other) ** 2 / other), 399) < 1e-6


def test_the_exponent_of_the_ranks_is_the_replays_unless_told_otherwise():
    assert amper.ReplayBuffer(9, {"x": {}}, sampler="per-rank", alpha=0.8).sampler.options["alpha"] == 0.8
    own = amper.ReplayBuffer(9, {"x": {}}, sampler="per-rank", alpha=0.8, sampler_options={"alpha": 0.3})
    assert own.sampler.options["alpha"] == 0.3
    with pytest.raises(ValueError, match=r"alpha must be a number for 'per-rank', whose law it is, got Linear\("):
        amper.ReplayBuffer(9, {"x": {}}, sampler="per-rank", alpha=amper.Linear(0.5, 0.6, 9))


@pytest.mark.parametrize("capacity", [1, 2, 15, 16, 17, 255, 257, 1000])
@pytest.mark.nojit
def test_the_root_of_the_sum_tree_is_the_sum_of_its_masses(capacity):
    rng = np.random.default_rng(capacity)
    tree = SumTree(capacity)
    for _ in range(30):
        slots = rng.integers(0, capacity, 20)
        tree.write(slots, rng.integers(0, 2**32, 20))
        assert tree.total == int(tree.leaves.sum(dtype=np.int64))
    slots, probabilities = tree.draw(np.linspace(0, 1, 50, endpoint=False))
    assert np.all(tree.leaves[slots] > 0)
    assert probabilities == pytest.approx(tree.leaves[slots] / tree.total)


def test_small_candidate_sets_are_drawn_anew_and_then_fall_back_to_uniform():
    sampler = filled("amper-fr", [1, 65_535], n_groups=2, lam=0.01, max_redraws=2)
    draws = [sampler.sample(8) for _ in range(400)]
    assert max(d.n_redraws for d in draws) == 2
    assert any(d.fallback for d in draws)
    for d in draws:
        assert d.fallback == (d.n_csp == 0)
        assert len(set(d.searches[:, 7])) == d.n_redraws + 1
        assert set(d.groups) == {-1} if d.fallback else -1 not in d.groups
    assert sampler.stats["fallbacks"] == sum(d.fallback for d in draws)
    assert sampler.stats["redraws"] == sum(d.n_redraws for d in draws)


def test_min_csp_asks_for_larger_candidate_sets():
    codes = np.full(100, 65_535)
    assert filled("amper-fr", codes, min_csp=101).sample(4).fallback
    assert not filled("amper-fr", codes, min_csp=100, max_redraws=60).sample(4).fallback


def test_importance_weights_can_use_the_candidate_set():
    rng = np.random.default_rng(0)
    codes = rng.integers(1, 65_536, 300)
    sampler = filled("amper-fr", codes, weights="csp", lam=1.0)
    draw = sampler.sample(64)
    slots, _ = sampler._search.members()
    assert draw.probabilities == pytest.approx(np.bincount(slots, minlength=300)[draw.slots] / draw.n_csp)
    assert set(filled("amper-fr", codes, weights="none").sample(64).probabilities) == {1 / 300}
    assert filled("amper-fr", codes).sample(64).probabilities.max() <= codes.max() / codes.sum()


def test_a_quantile_full_scale_ignores_outliers_and_still_finds_them():
    rng = np.random.default_rng(0)
    codes = np.append(rng.integers(1, 1000, 999), 65_535)
    sampler = samplers.make("amper-fr", 1000, seed=0, v_max="q99")
    sampler.insert(np.arange(1000), np.full(1000, 65_535), at_maximum=True)
    sampler.update(np.arange(1000), codes)
    assert 980 < sampler.full < 1100
    assert sampler.law(3000)[-1] > 0
    running = samplers.make("amper-fr", 1000, seed=0)
    running.insert(np.arange(1000), np.full(1000, 65_535), at_maximum=True)
    running.update(np.arange(1000), codes)
    assert running.full == 65_536


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("amper", {}, "sampler must be one of uniform, per, per-rank, amper-k, amper-fr, got 'amper'; did you mean"),
        ("per", {"lam": 1}, "sampler_options must be among bits, full_scale for 'per', got 'lam'"),
        ("amper-fr", {"variant": "k"}, "sampler_options must be among"),
        ("amper-fr", {"lam": 0}, "lam must be a number of 1e-9 to 1e6, got 0"),
        ("amper-fr", {"lam": float("nan")}, "lam must be a number of 1e-9 to 1e6, got nan"),
        ("amper-fr", {"match": "exact"}, "match must be one of 'radius', 'prefix', 'dithered', got 'exact'"),
        ("amper-fr", {"bits": 3}, "bits must be a whole number in 4..32, got 3"),
        ("amper-fr", {"bits": 33}, "bits must be a whole number in 4..32, got 33"),
        ("amper-k", {"bits": 20, "engine": "index"}, "engine must be 'tcam' or 'auto' for bits=20"),
        ("amper-fr", {"distance": "hamming"}, "distance must be 'value' for amper-fr"),
        ("amper-k", {"distance": "cosine"}, "distance must be one of"),
        ("amper-fr", {"full_scale": -1.0}, "full_scale must be 'auto' or a positive finite number of at most"),
        ("amper-fr", {"min_csp": 0}, "min_csp must be a whole number in 1..2"),
        ("amper-fr", {"max_redraws": -1}, "max_redraws must be a whole number in 0..10000, got -1"),
        ("amper-fr", {"min_csp": 10**30}, "min_csp must be a whole number in 1..2"),
        ("amper-fr", {"max_redraws": 10**15}, "max_redraws must be a whole number in 0..10000"),
        ("amper-fr", {"n_groups": 10**15}, "n_groups must be a whole number in 1..65536"),
        ("amper-fr", {"lam": 5e-324}, "lam must be a number of 1e-9 to 1e6, got 5e-324"),
        ("amper-fr", {"v_max": "q0"}, "v_max must be 'running' or 'q' and a percentage"),
        ("amper-fr", {"v_max": "decay0.5"}, "v_max must be 'running' or .*at least 1, such as 'decay100000', got"),
        ("amper-k", {"v_max": "decay1000"}, "v_max must be 'running' for amper-k, got 'decay1000'"),
        ("amper-fr", {"weights": np.array(["per", "csp"])}, "weights must be one of 'per', 'csp', .*, got "),
        ("amper-fr", {"faults": {"stuck_cells": 2}}, r"faults\['stuck_cells'\] must lie in 0..1, got 2"),
        ("amper-fr", {"urng": ["numpy"]}, "urng must be one of 'numpy', 'lfsr', got"),
        ("amper-fr", {"v_max": "max"}, "v_max must be 'running' or 'q' and a percentage"),
        (
            "amper-fr",
            {"v_max": "q99", "bits": 20},
            "bits must be at most 16 where v_max is a quantile, got 20",
        ),
        ("amper-fr", {"weights": "is"}, "weights must be one of 'per', 'csp', 'none', 'inclusion', got 'is'"),
        ("amper-fr", {"unique": 1}, "unique must be True or False, got 1"),
        ("amper-fr", {"urng": "mt"}, "urng must be one of 'numpy', 'lfsr', got 'mt'"),
    ],
)
def test_options_that_make_no_sense_are_refused_by_name(name, options, message):
    with pytest.raises(ValueError, match="^" + message.replace("(", r"\(")):
        samplers.make(name, 10, seed=0, **options)


def test_a_sampler_can_be_registered_once(monkeypatch):
    monkeypatch.setattr(samplers, "_REGISTRY", dict(samplers._REGISTRY))
    samplers.register("mine", samplers.UniformSampler)
    assert samplers.make("mine", 4, seed=0).options == {"bits": 32, "full_scale": "auto"}
    with pytest.raises(ValueError, match="name must be new, got 'mine'"):
        samplers.register("mine", samplers.UniformSampler)


DRAWN = [
    ("amper-fr", {}),
    ("amper-fr", {"engine": "tcam"}),
    ("amper-fr", {"unique": True, "lam": 2.0}),
    ("amper-fr", {"lam": 0.01, "match": "radius"}),
    ("amper-fr", {"bits": 24, "match": "radius"}),
    ("amper-k", {}),
    ("amper-k", {"engine": "tcam"}),
    ("amper-k", {"distance": "hamming"}),
]


@pytest.mark.parametrize(("name", "options"), DRAWN)
def test_draws_are_uniform_over_the_candidate_set(name, options):
    rng = np.random.default_rng(5)
    codes = rng.choice([20_000, 40_000, 40_001, 65_535], 60)  # few codes: many ties
    codes[:20] += rng.integers(-300, 1, 20)  # and some that share a bucket with codes beyond a search
    sampler = filled(name, codes, n_groups=4, max_redraws=100, **{"lam": 0.5, "min_csp": 4, **options})
    draw = sampler.sample(40_000)
    slots, groups = sampler._search.members()
    n_csp = draw.n_csp
    assert len(slots) == n_csp > 3
    expected = np.zeros(60 * 4)
    np.add.at(expected, slots * 4 + groups, 40_000 / n_csp)
    found = np.bincount(draw.slots * 4 + draw.groups, minlength=60 * 4)
    assert not found[expected == 0].any()
    inside = expected > 0
    statistic = np.sum((found[inside] - expected[inside]) ** 2 / expected[inside])
    # False-alarm rate 1e-4 at a fixed seed.
    assert stats.chi2.sf(statistic, inside.sum() - 1) > 1e-4
    assert np.array_equal(sampler._search.multiplicity(np.arange(60)), np.bincount(slots, minlength=60))


@pytest.mark.parametrize("engine", ["index", "tcam"])
def test_a_fallback_draws_uniformly_from_everything(engine):
    sampler = filled("amper-fr", np.arange(1, 41) * 1000, engine=engine, min_csp=41, weights="csp")
    draw = sampler.sample(40_000)
    assert draw.fallback
    found = np.bincount(draw.slots, minlength=40)
    assert stats.chi2.sf(np.sum((found - 1000) ** 2 / 1000), 39) > 1e-4
    assert set(draw.probabilities) == {1 / 40}


def test_nearest_by_hamming_distance_is_another_law():
    codes = np.array([0b0111_1111_1111_1111, 0b1000_0000_0000_0000, 0b1111_1111_1111_1111])
    query = np.array([[0, 0b1000_0000_0000_0001, 0, 65_535, 0, 1, 0, 0]])
    found = {}
    for distance in ("value", "hamming"):
        sampler = filled("amper-k", codes, distance=distance)
        sampler._search.find_nearest(query, 2.0, 3 * 0b1000_0000_0000_0001, np.empty((2, 8), np.int64))
        found[distance] = sorted(sampler._search.members()[0])
    assert found == {"value": [0, 1], "hamming": [1, 2]}


def test_a_quantile_full_scale_still_finds_the_largest_codes():
    codes = np.append(np.random.default_rng(0).integers(1, 1000, 950), np.full(50, 60_000))
    sampler = samplers.make("amper-fr", 1000, seed=0, v_max="q90")
    sampler.insert(np.arange(1000), np.full(1000, 65_535), at_maximum=True)
    sampler.update(np.arange(1000), codes)
    assert sampler.full < 1100
    assert sampler.law(2000)[950:].sum() > 0.05
    # Overwritten and halved codes leave the quantile.
    sampler.rescale(1)
    assert sampler.full < 550
    sampler.insert(np.arange(950), np.full(950, 65_535), at_maximum=True)
    assert sampler.full > 29_000


def test_an_options_value_of_numpy_is_stored_as_pythons():
    options = samplers.make("amper-fr", 4, n_groups=np.int64(5), lam=np.float32(0.25)).options
    assert (type(options["n_groups"]), type(options["lam"])) == (int, float)


def test_an_array_as_an_option_is_what_its_list_is():
    options = samplers.make("amper-fr", 4, n_groups=np.array([7, 3]), weights=np.array("csp")).options
    assert (options["grouping"], options["n_groups"], options["weights"]) == ("octave", [7, 3], "csp")


def test_faults_of_rate_0_leave_the_fast_index():
    sampler = samplers.make("amper-fr", 4, faults={"stuck_cells": 0.0})
    assert (sampler.engine, sampler.options["faults"]) == ("index", None)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"variant": "zzz"}, "variant must be one of 'fr', 'k', got 'zzz'"),
        ({"variant": "fr", "bits": "x"}, "bits must be"),
        ({"variant": "fr", "v_max": "no"}, "v_max must be 'running'"),
        ({"variant": "fr", "bits": -1, "weights": "inclusion"}, "bits must be"),
    ],
)
def test_options_are_checked_wherever_they_are_made(options, named):
    with pytest.raises(ValueError, match=named):
        AmperOptions(**options)
