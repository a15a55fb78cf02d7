"""Sampling without replacement: distinct, complete, and by the law of successive draws."""

from itertools import permutations

import numpy as np
import pytest
from scipy import stats

import amper
from amper import samplers

X = {"x": {"dtype": "int64"}}


def filled(sampler, priorities, capacity=None, **options):
    buffer = amper.ReplayBuffer(capacity or len(priorities), X, sampler=sampler, seed=3, alpha=1.0, eps=0.0, **options)
    buffer.add(x=np.arange(len(priorities)), priorities=np.asarray(priorities, float))
    return buffer


@pytest.mark.parametrize("sampler", samplers.available())
@pytest.mark.parametrize("recorded", [False, True])
def test_draws_are_distinct_and_may_take_everything(sampler, recorded):
    priorities = np.random.default_rng(0).exponential(size=50)
    buffer = filled(sampler, priorities, capacity=60, sink=amper.Trace() if recorded else None)
    for b in (1, 10, 49, 50):
        batch = buffer.sample(b, replace=False)
        assert len(set(batch["indices"].tolist())) == b
        assert np.array_equal(batch["x"], batch["indices"])
        assert batch["weights"].max() == 1
        assert np.isfinite(batch["weights"]).all()
    with pytest.raises(ValueError, match="batch_size must be at most len, 50, without replacement, got 51"):
        buffer.sample(51, replace=False)


def successive(law, drawn):
    """Return the chance to draw these, one after another, without replacement."""
    chance, left = 1.0, 1.0
    for i in drawn:
        chance *= law[i] / left
        left -= law[i]
    return chance


@pytest.mark.parametrize(
    ("sampler", "priorities"),
    [
        ("uniform", [1.0, 1, 1, 1]),
        ("per", [4.0, 3, 2, 1]),
        ("per", [1.0, 3e-4, 2e-4, 1e-4]),  # what eight rounds seldom find: the race decides
    ],
)
def test_the_samplers_of_an_exact_law_draw_successively_by_it(sampler, priorities):
    buffer = filled(sampler, priorities)
    law = buffer.sampler.law(1)
    n = 6000
    counts = dict.fromkeys(permutations(range(4), 3), 0)
    for _ in range(n):
        counts[tuple(buffer.sample(3, replace=False)["indices"].tolist())] += 1
    expected = {drawn: n * successive(law, drawn) for drawn in counts}
    often = [drawn for drawn in counts if expected[drawn] > 5]
    rest = n - sum(counts[d] for d in often), n - sum(expected[d] for d in often)
    statistic = sum((counts[d] - expected[d]) ** 2 / expected[d] for d in often)
    if rest[1] > 1:
        statistic += (rest[0] - rest[1]) ** 2 / rest[1]
    # False-alarm rate 1e-4 at a fixed seed.
    assert stats.chi2.sf(statistic, len(often)) > 1e-4
    if sampler == "per":
        uniform = n / 24
        assert sum((counts[d] - uniform) ** 2 / uniform for d in counts) > 1000


@pytest.mark.parametrize(
    ("sampler", "options"),
    [("uniform", {}), ("per", {}), ("per-rank", {}), ("amper-fr", {}), ("amper-fr", {"weights": "none"})],
)
def test_importance_weights_of_what_the_race_found_are_the_samplers(sampler, options):
    rng = np.random.default_rng(0)
    buffer = filled(sampler, rng.exponential(size=60) ** 6, sampler_options=options)
    law = buffer.sampler.law(1)
    codes = buffer.sampler.codes.astype(float)
    if sampler == "amper-fr":
        law = np.full(60, 1 / 60) if options else codes / codes.sum()
    for _ in range(30):
        batch = buffer.sample(60, 0.7, replace=False)
        expected = (law.min() / law[batch["indices"]]) ** 0.7
        assert batch["weights"] == pytest.approx(expected, rel=1e-4)


def test_replace_is_true_or_false():
    with pytest.raises(TypeError, match="replace must be True or False, got 'no'"):
        filled("per", [1.0]).sample(1, replace="no")


def test_the_race_goes_on_after_a_file(tmp_path):
    buffer = filled("per", [1.0, *[1e-8] * 30])
    buffer.sample(20, replace=False)
    buffer.save(tmp_path / "r.npz")
    loaded = amper.ReplayBuffer.load(tmp_path / "r.npz")
    for _ in range(20):
        assert np.array_equal(buffer.sample(20, replace=False)["indices"], loaded.sample(20, replace=False)["indices"])
