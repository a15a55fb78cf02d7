"""The law AMPER samples by, against PER: the table of measured divergences."""

import numpy as np
import pytest
from scipy import stats

from amper import samplers
from amper.candidates import LinearGroups
from tests.naive import associative as naive
from tests.naive.associative import kl
from tests.naive.grouping_law import first_order

N, N_SAMPLINGS = 10_000, 40_000
U = (np.arange(N) + 0.5) / N
MASSES = {
    "uniform": U,
    "exponential": -np.log1p(-U),
    "exponential^.6": (-np.log1p(-U)) ** 0.6,
    "lognormal": np.exp(stats.norm.ppf(U)),
    "5% high": np.where(U < 0.95, U / 0.95 * 0.02, 0.8 + (U - 0.95) / 0.05 * 0.2),
}
COLUMNS = {
    "k .3": ("amper-k", {"lam": 0.3}),
    "radius .15": ("amper-fr", {"lam": 0.15, "match": "radius"}),
    "radius 1": ("amper-fr", {"lam": 1.0, "match": "radius"}),
    "prefix 1": ("amper-fr", {"lam": 1.0, "match": "prefix"}),
    "dithered 1": ("amper-fr", {"lam": 1.0, "match": "dithered"}),
    "dithered .15": ("amper-fr", {"lam": 0.15, "match": "dithered"}),
}
# KL(P_bar || PER), natural logarithm, at 20 and at 4 groups, in the order of COLUMNS.
TABLE = {
    "uniform": [
        (0.0014, 0.0075), (0.0008, 0.0038), (0.0053, 0.035),
        (0.022, 0.104), (0.0029, 0.063), (0.0001, 0.0026),
    ],
    "exponential": [
        (0.0114, 0.050), (0.0008, 0.015), (0.0003, 0.010), (0.0154, 0.115), (0.0030, 0.069), (0.0006, 0.019),
    ],
    "exponential^.6": [
        (0.0041, 0.066), (0.0003, 0.014), (0.0001, 0.0073), (0.0166, 0.111), (0.0030, 0.068), (0.0003, 0.017),
    ],
    "lognormal": [
        (0.068, 0.39), (0.0054, 0.34), (0.0040, 0.28), (0.0128, 0.41), (0.0072, 0.34), (0.0053, 0.34),
    ],
    "5% high": [
        (0.84, 1.96), (0.0124, 0.13), (0.0186, 0.067), (0.0372, 0.042), (0.0117, 0.043), (0.0118, 0.23),
    ],
}  # fmt: skip


def codes_of(distribution):
    masses = MASSES[distribution]
    return np.maximum(np.floor(masses / masses.max() * 65_535 + 0.5).astype(np.int64), 1)


def divergence(codes, name, n_groups, n_updates=0, **options):
    sampler = samplers.make(name, N, seed=1, n_groups=n_groups, **options)
    sampler.insert(np.arange(N), codes, at_maximum=False)
    rng = np.random.default_rng(2)
    for _ in range(n_updates // N):
        sampler.update(rng.permutation(N), rng.permutation(codes))
    if n_updates:
        sampler.update(np.arange(N), codes)
    return kl(sampler.law(N_SAMPLINGS), codes / codes.sum())


def assert_row_holds(distribution, n_updates=0):
    codes = codes_of(distribution)
    for column, expected in zip(COLUMNS, TABLE[distribution], strict=True):
        name, options = COLUMNS[column]
        for n_groups, value in zip((20, 4), expected, strict=True):
            found = divergence(codes, name, n_groups, n_updates, **options)
            assert abs(found - value) <= max(0.25 * value, 0.0006), (
                distribution,
                column,
                n_groups,
                found,
                value,
            )


@pytest.mark.parametrize("distribution", TABLE)
def test_the_divergence_from_per_is_the_tables(distribution):
    assert_row_holds(distribution)


@pytest.mark.parametrize("distribution", TABLE)
def test_the_divergence_from_per_is_the_tables_after_a_million_updates(distribution):
    assert_row_holds(distribution, n_updates=1_000_000)


@pytest.mark.parametrize("factor", [0.8, 1.2])
@pytest.mark.parametrize("distribution", TABLE)
def test_the_table_does_not_hold_for_groups_of_a_wrong_width(distribution, factor, monkeypatch):
    right = LinearGroups.edges

    def wrong(self, full):
        return right(self, full) * factor

    monkeypatch.setattr(LinearGroups, "edges", wrong)
    with pytest.raises(AssertionError):
        assert_row_holds(distribution)


@pytest.mark.parametrize(("distribution", "percent"), [*zip(TABLE, (14.9, 3.0, 6.8, 1.0, 1.6), strict=True)])
def test_the_candidate_set_has_the_size_expected(distribution, percent):
    codes = codes_of(distribution)
    sampler = samplers.make("amper-fr", N, seed=2, match="radius", grouping="linear")
    sampler.insert(np.arange(N), codes, at_maximum=False)
    sizes = [len(sampler.candidates()[0]) for _ in range(2000)]
    assert np.mean(sizes) / N * 100 == pytest.approx(percent, rel=0.05)
    # E|CSP| = 2 lambda' n mean / F for any grouping.
    assert np.mean(sizes) == pytest.approx(2 * 0.15 * N * codes.mean() / sampler.full, rel=0.1)


@pytest.mark.parametrize(
    ("grouping", "n_groups", "lam"), [("linear", 20, 0.5), ("octave", (7, 3), 1.0), ("tapered", (7, 2, 8), 0.5)]
)
@pytest.mark.parametrize("distribution", ["uniform", "exponential^.6", "exponential", "lognormal"])
def test_the_law_of_the_groups_is_the_one_derived(distribution, grouping, n_groups, lam):
    masses, top = MASSES[distribution], 2**12 - 1
    codes = np.maximum(np.floor(masses / masses.max() * top + 0.5).astype(np.int64), 1)
    sampler = samplers.make("amper-fr", N, seed=0, grouping=grouping, n_groups=n_groups, lam=lam, bits=12)
    sampler.insert(np.arange(N), codes, at_maximum=False)
    halves = [sampler.law(8_000) for _ in range(2)]
    measured = sum(halves) / 2
    noise = np.sum((halves[0] - halves[1]) ** 2 / 4 / measured) / 2
    groups_of = {"linear": naive.linear_groups, "octave": naive.octave_groups, "tapered": naive.tapered_groups}
    groups = groups_of[grouping](sampler.full, *np.atleast_1d(n_groups))
    derived, multiplicity = first_order(codes, groups, sampler.full, lam, "dithered", grouping != "linear", top)
    target = codes / codes.sum()
    assert derived.sum() == pytest.approx(1.0, abs=1e-9)
    assert multiplicity.sum() == pytest.approx(2 * lam * codes.sum() / sampler.full, rel=0.1)
    # Nothing but noise separates the estimate from the law derived, and their distances from PER are the same.
    strays = kl(measured, target) - noise
    assert abs(strays - kl(derived, target)) <= 0.15 * strays + noise
    assert kl(measured, derived) - noise < 0.05 * strays + noise / 2


def test_indices_drawn_follow_the_law():
    codes = codes_of("exponential")[::20]
    sampler = samplers.make("amper-fr", len(codes), seed=4)
    sampler.insert(np.arange(len(codes)), codes, at_maximum=False)
    law = sampler.law(100_000)
    drawn = np.bincount(np.concatenate([sampler.sample(64).slots for _ in range(20_000)]), minlength=len(codes))
    # Draws of one sampling share their candidate set, so they vary more than a multinomial: compare deciles.
    bins = np.arange(len(codes)) * 10 // len(codes)
    expected = np.bincount(bins, law)
    assert np.bincount(bins, drawn) / drawn.sum() == pytest.approx(expected, rel=0.05)
