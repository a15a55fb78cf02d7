"""Statistics of runs against their definitions, against SciPy, and where the answer is known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu, trim_mean

from experiments.statistics import (
    bootstrap,
    chance_of_more,
    improvement,
    iqm,
    iqm_difference,
    iqm_interval,
    median_interval,
)
from tests.naive import runs as naive

RETURNS = st.lists(st.integers(-500, 500).map(float), min_size=1, max_size=20)


@given(RETURNS)
def test_the_interquartile_mean_is_that_of_its_definition_and_of_scipy(values):
    assert iqm(values) == pytest.approx(naive.iqm(values))
    assert iqm(values) == pytest.approx(trim_mean(values, 0.25))


@given(RETURNS, RETURNS)
def test_the_chance_of_more_counts_every_pair_and_is_mann_whitneys_u(a, b):
    assert chance_of_more(a, b) == pytest.approx(naive.chance_of_more(a, b))
    assert chance_of_more(a, b) == pytest.approx(mannwhitneyu(a, b).statistic / (len(a) * len(b)))
    assert chance_of_more(a, b) + chance_of_more(b, a) == pytest.approx(1.0)


def test_resamples_along_leading_axes_are_taken_one_by_one():
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 5, (3, 6)), rng.integers(0, 5, (3, 7))
    assert iqm(a) == pytest.approx([naive.iqm(row) for row in a.tolist()])
    assert chance_of_more(a, b) == pytest.approx([naive.chance_of_more(x, y) for x, y in zip(a, b, strict=True)])


def test_one_failed_run_of_ten_does_not_move_the_interquartile_mean():
    assert iqm([500.0] * 9 + [9.0]) == 500.0


@pytest.mark.parametrize("seed", range(3))
def test_intervals_are_those_of_resampling_one_after_another(seed):
    rng = np.random.default_rng(seed)
    a = [rng.normal(0, 1, 8).tolist(), rng.normal(5, 2, 12).tolist()]
    b = [rng.normal(0.5, 1, 9).tolist(), rng.normal(4, 2, 7).tolist()]

    def difference(x, y):
        return naive.iqm([*x[0], *x[1]]) - naive.iqm([*y[0], *y[1]])

    def chance(x, y):
        return (naive.chance_of_more(x[0], y[0]) + naive.chance_of_more(x[1], y[1])) / 2

    for fast, slow in ((iqm_difference(a, b), difference), (improvement(a, b), chance)):
        low, high = naive.bootstrap(slow, (a, b), level=0.95, n_resamples=4_000, seed=1)
        # An end of 4,000 resamples is off by some 4% of the interval's width (standard error of a 2.5% quantile).
        assert fast.value == pytest.approx(slow(a, b))
        assert (fast.low, fast.high) == pytest.approx((low, high), abs=0.15 * (high - low))


def test_each_stratum_keeps_its_share_of_every_resample():
    # Were both drawn from one pot, a resample might hold more of the one: its mean would not stay at 50.
    assert iqm_interval([[0.0] * 5, [100.0] * 5]) == (50.0, 50.0, 50.0)


def test_an_interval_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(0)
    n_trials, covered = 300, 0
    for _ in range(n_trials):
        _, low, high = iqm_interval([rng.normal(size=20)], n_resamples=1_000)
        covered += low <= 0.0 <= high
    # Percentile intervals of 20 runs cover less than 95%; under 86% of 300 would be five standard errors below 93%.
    assert covered / n_trials > 0.86


def test_an_algorithm_against_itself_differs_by_nothing():
    runs = [np.arange(10.0), np.arange(5.0)]
    difference, chance = iqm_difference(runs, runs), improvement(runs, runs)
    assert difference.value == 0.0
    assert chance.value == 0.5
    assert difference.low < 0 < difference.high
    assert chance.low < 0.5 < chance.high


def test_a_better_algorithm_is_told_from_a_worse():
    assert iqm_difference([[5.0, 6.0, 7.0]], [[1.0, 2.0, 3.0]]).low > 0
    assert improvement([[5.0, 6.0, 7.0]], [[1.0, 2.0, 3.0]]) == (1.0, 1.0, 1.0)


def test_the_same_runs_give_the_same_interval():
    runs = [np.random.default_rng(0).normal(size=10)]
    assert iqm_interval(runs) == iqm_interval(runs) != iqm_interval(runs, seed=1)
    assert iqm_interval(runs, level=0.5).low > iqm_interval(runs).low


def test_strata_without_runs_or_partners_are_refused():
    with pytest.raises(ValueError, match=r"every stratum must have a run, got \[\[1, 0\]\]"):
        bootstrap(lambda runs: runs[0].mean(axis=-1), [[1.0], []])
    with pytest.raises(ValueError, match="a and b must have the same strata, got 1 and 2"):
        improvement([[1.0]], [[1.0], [2.0]])


def test_a_median_has_an_interval_too():
    assert median_interval([1.0, 2.0, 3.0]) == (2.0, 1.0, 3.0)
