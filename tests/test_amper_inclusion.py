"""Expected multiplicities in the candidate set, and the importance weights that divide by them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import amper
from amper import samplers
from amper.inclusion import expected_multiplicity
from tests import strategies
from tests.naive import associative
from tests.naive import inclusion as naive

N = 400
OPTIONS = [
    {},
    {"match": "radius"},
    {"match": "prefix", "grouping": "octave"},
    {"grouping": "linear"},
    {"grouping": "linear", "n_groups": 7, "lam": 1.3},
    {"grouping": "octave", "n_groups": (3, 2), "lam": 2.0, "unique": True},
    {"v_max": "q90", "lam": 1.0},
    {"v_max": "decay100", "unique": True},
    {"bits": 8},
    {"engine": "tcam", "urng": "lfsr"},
]


def filled(codes, **options):
    sampler = samplers.make("amper-fr", len(codes), seed=5, **options)
    sampler.insert(np.arange(len(codes)), codes, at_maximum=False)
    sampler.update(np.arange(len(codes)), codes)
    return sampler


def exponential(bits=16, n=N):
    top = 2**bits - 1
    return np.minimum((np.random.default_rng(1).exponential(0.08, n) * top).astype(np.int64) + 1, top)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.integers(4, 9), st.data())
@pytest.mark.nojit
def test_expected_multiplicities_are_those_of_every_key_and_dither(bits, data):
    _, options = data.draw(strategies.amper_options(variants=("fr",)))
    full = data.draw(st.integers(1, 2**bits))
    open_top, unique = data.draw(st.booleans()), data.draw(st.booleans())
    grouping, lam, match, top = options["grouping"], options["lam"], options["match"], 2**bits - 1
    thinned = grouping != "linear"
    groups = {
        "linear": associative.linear_groups,
        "octave": associative.octave_groups,
        "tapered": associative.tapered_groups,
    }[grouping](full, *(options["n_groups"] if thinned else (options["n_groups"],)))
    edges = np.array([*(low for low, _ in groups), float(full)])
    widths = np.diff(edges).tolist()  # the same floats, or a search at the edge of two widths may differ
    expected = naive.expected_multiplicity(
        list(zip(edges[:-1].tolist(), widths, strict=True)), full, lam, match, thinned, top, open_top, unique
    )
    found = expected_multiplicity(
        edges, full, lam, match=match, thinned=thinned, top=top, open_top=open_top, unique=unique
    )
    assert found == pytest.approx(expected, rel=1e-10, abs=1e-13)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_multiplicities_average_to_what_is_expected(options):
    n_samplings = 300 if "engine" in options else 3_000
    codes = exponential(options.get("bits", 16))
    sampler = filled(codes, weights="inclusion", max_redraws=0, **options)
    expected = sampler.expected_multiplicity[codes]
    assert np.all(expected > 0)
    counts = np.zeros((n_samplings, N))
    for i in range(n_samplings):
        counts[i] = np.bincount(sampler.candidates()[0], minlength=N)
    # Entries that lie near each other are found together: those of one bin of expectations are taken as one.
    order = np.array_split(np.argsort(expected), 8)
    for entries in order:
        ratio = (counts[:, entries] / expected[entries]).mean(axis=1)
        # False-alarm rate 6e-5 each, at a fixed seed.
        assert abs(ratio.mean() - 1) < 4 * ratio.std() / np.sqrt(n_samplings)


@pytest.mark.parametrize("options", [{}, {"grouping": "linear"}, {"match": "prefix"}, {"unique": True, "lam": 2.0}])
def test_inclusion_weights_make_every_mean_unbiased_where_nominal_ones_do_not(options):
    codes = exponential(n=3_000)
    low = (codes < np.median(codes)).astype(float)
    truth, n_samplings, errors = low.mean(), 20_000, {}
    for weights in ("inclusion", "csp"):
        sampler = filled(codes, weights=weights, **options)
        estimates = np.empty(n_samplings)
        for i in range(n_samplings):
            draw = sampler.sample(64)
            estimates[i] = np.mean(low[draw.slots] / draw.probabilities) / len(codes)
        errors[weights] = (estimates.mean() - truth) / (estimates.std() / np.sqrt(n_samplings))
        assert sampler.stats["redraws"] == 0
    # False-alarm rate 6e-5 at a fixed seed.
    assert abs(errors["inclusion"]) < 4 < abs(errors["csp"])


def test_redrawn_empty_candidate_sets_inflate_all_weights_alike():
    sampler = filled(
        np.array([20_000, 60_000]), weights="inclusion", grouping="linear", n_groups=4, lam=0.3, max_redraws=10_000
    )
    estimates, n_attempts = np.zeros((20_000, 2)), np.empty(20_000)
    for i in range(20_000):
        draw = sampler.sample(1)
        n_attempts[i] = 1 + draw.n_redraws
        estimates[i, draw.slots[0]] = 1 / (2 * draw.probabilities[0])
    inflated = n_attempts.mean()  # 1 / (1 - P(empty))
    assert inflated > 1.2
    differences = estimates * 2 - n_attempts[:, None]
    # False-alarm rate 6e-5 each, at a fixed seed.
    assert np.all(abs(differences.mean(axis=0)) < 4 * differences.std(axis=0) / np.sqrt(20_000))


def test_the_table_follows_the_full_scale_and_a_state():
    codes = np.arange(1, 301) * 100
    sampler = filled(codes, weights="inclusion")
    first = sampler.expected_multiplicity
    assert sampler.expected_multiplicity is first
    sampler.update(np.array([0]), np.array([65_535]))
    assert not np.array_equal(sampler.expected_multiplicity, first)
    other = samplers.make("amper-fr", 300, seed=9, weights="inclusion")
    other.load_state_dict(sampler.state_dict())
    draws = [s.sample(64) for s in (sampler, other)]
    assert np.array_equal(draws[0].probabilities, draws[1].probabilities)
    expected = sampler.expected_multiplicity[sampler.codes[draws[0].slots]]
    assert draws[0].probabilities == pytest.approx(expected / draws[0].n_csp)


def test_a_fallback_weighs_uniformly_and_an_unknown_candidate_set_by_its_mean_size():
    codes = np.arange(1, 41) * 1000
    sampler = filled(codes, weights="inclusion", min_csp=41)
    assert set(sampler.sample(64).probabilities) == {1 / 40}
    expected = sampler.expected_multiplicity[codes]
    assert sampler.probabilities(np.arange(40)) == pytest.approx(expected / expected.sum())


@pytest.mark.parametrize("beta", [0.4, 1.0])
def test_a_replays_weights_are_the_inverse_expectations_over_the_batchs_largest(beta):
    options = {"weights": "inclusion"}
    replay = amper.ReplayBuffer(500, {"x": {}}, sampler="amper-fr", sampler_options=options, seed=0)
    replay.add(x=np.arange(500), priorities=np.random.default_rng(0).exponential(size=500))
    batch = replay.sample(64, beta)
    expected = replay.sampler.expected_multiplicity[replay.sampler.codes[batch["indices"]]]
    assert batch["weights"] == pytest.approx((expected.min() / expected) ** beta, rel=1e-5)
    distinct = replay.sample(400, beta, replace=False)
    assert len(np.unique(distinct["indices"])) == 400
    assert distinct["weights"].max() == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("amper-k", {}, "weights must be one of 'per', 'csp', 'none' for amper-k, got 'inclusion'; how often neighb"),
        ("amper-fr", {"bits": 17}, "bits must be at most 16 where weights are 'inclusion', got 17"),
        ("amper-fr", {"weights": "ipw"}, "weights must be one of 'per', 'csp', 'none', 'inclusion', got 'ipw'"),
    ],
)
def test_weights_that_cannot_be_are_refused(name, options, message):
    with pytest.raises(ValueError, match=message):
        samplers.make(name, 4, **{"weights": "inclusion", **options})


def test_a_table_that_cannot_be_is_refused():
    groups = {"edges": np.array([0.0, 4.0]), "full": 4, "lam": 1.0, "thinned": False}
    with pytest.raises(ValueError, match=r"top must be a code of 1\.\.65535, got 65536"):
        expected_multiplicity(**groups, match="radius", top=65_536)
    with pytest.raises(ValueError, match="match must be one of 'radius', 'prefix', 'dithered', got 'exact'"):
        expected_multiplicity(**groups, match="exact", top=3)
