"""Trace patterning: the stream is the naive one, its law is the stated one, and it resumes."""

import numpy as np
import pytest
from scipy import stats

import rl
from rl.environments.trace_patterning import PATTERNS, US, TracePatterning
from rl.streams import stream
from tests.naive import trace_patterning as naive

#: Chance that a right stream fails one of the tests of its law; there are nine.
FALSE_ALARM = 1e-6


def naive_twin(env, **options):
    slow = naive.TracePatterning(set(np.flatnonzero(env.valid).tolist()), env.isi, env.iti, env.discount, **options)
    return slow, stream(env.seed, "trace patterning/steps")


@pytest.mark.nojit
@pytest.mark.parametrize("options", [{}, {"isi": (14, 26)}, {"isi": (1, 2), "iti": (1, 1)}, {"discount": 1.0}])
def test_the_stream_is_the_naive_one(options):
    env = TracePatterning(seed=3, **options)
    slow, rng = naive_twin(env)
    steps = env.stream(2_000)
    for t in range(2_000):
        x, cumulant, target = slow.step(rng.random(8).tolist())
        assert steps.xs[t].tolist() == x
        assert steps.cumulants[t] == cumulant
        assert steps.targets[t] == pytest.approx(target, rel=1e-14, abs=0)


def test_several_stretches_are_one():
    whole, parts = TracePatterning(seed=1), TracePatterning(seed=1)
    one = whole.stream(700)
    pieces = [parts.stream(n) for n in (1, 0, 300, 399)]
    for i in range(3):
        assert np.concatenate([p[i] for p in pieces]).tobytes() == one[i].tobytes()
    assert whole.n_steps == parts.n_steps == 700


def test_targets_are_the_discounted_sums_of_coming_signals_up_to_the_next_one():
    steps = TracePatterning(seed=2).stream(20_000)
    returns = np.zeros(20_001)
    for t in range(19_998, -1, -1):
        returns[t] = steps.cumulants[t + 1] + 0.9 * returns[t + 1]
    # From one US to the next lie at least 104 steps: .9^104 = 2e-5 is all that the targets leave out.
    pending = steps.targets[:19_000] > 0
    assert abs(returns[:19_000] - steps.targets[:19_000])[pending].max() < 1e-4
    assert returns[:19_000][~pending & (steps.xs[:19_000, :6].sum(1) > 0)].max() < 1e-4


def trials(steps):
    """Return the steps of the patterns, and which pattern each is."""
    at = np.flatnonzero(steps.xs[:, :6].sum(axis=1))
    index = {bits: k for k, bits in enumerate(PATTERNS)}
    return at, np.array([index[tuple(np.flatnonzero(steps.xs[t, :6]).tolist())] for t in at])


def test_patterns_intervals_and_distractors_have_their_law():
    env = TracePatterning(seed=0)
    steps = env.stream(600_000)
    at, which = trials(steps)
    assert stats.chisquare(np.bincount(which, minlength=20)).pvalue > FALSE_ALARM
    assert env.valid.sum() == 10
    us = np.flatnonzero(steps.cumulants)
    announced = at[env.valid[which]][: len(us)]
    isi = us - announced
    assert isi.min() == 24
    assert isi.max() == 36
    assert stats.chisquare(np.bincount(isi - 24, minlength=13)).pvalue > FALSE_ALARM
    after = at[np.searchsorted(at, us[:-1])] - us[:-1]
    assert after.min() == 80
    assert after.max() == 120
    assert stats.chisquare(np.bincount(after - 80, minlength=41)).pvalue > FALSE_ALARM
    gaps = np.diff(at)[~env.valid[which[:-1]]]  # an invalid pattern waits as long
    assert abs(gaps.mean() - 130) < stats.norm.isf(FALSE_ALARM / 2) * np.sqrt((14 + 140) / len(gaps))
    for k in range(1, 6):
        on = int(steps.xs[:, 6 + k].sum())
        assert stats.binomtest(on, 600_000, 1 / (10 * k)).pvalue > FALSE_ALARM


def test_the_valid_patterns_differ_from_seed_to_seed():
    valid = {TracePatterning(seed=s).valid.tobytes() for s in range(20)}
    assert len(valid) > 15


def best_guess(env):
    """Return the expected target by steps since a valid CS, its signal still out."""
    lengths = np.arange(env.isi[0], env.isi[1] + 1)
    return np.array([np.mean(0.9 ** (lengths[lengths > s] - s - 1.0)) for s in range(env.isi[1])])


def test_the_floors_are_those_stated():
    env = TracePatterning(seed=0)
    steps = env.stream(1_000_000)
    assert np.var(steps.targets) == pytest.approx(0.0188, abs=2e-4)
    guess, at = best_guess(env), trials(steps)[0]
    since = np.arange(1_000_000) - at[np.maximum(np.searchsorted(at, np.arange(1_000_000), "right") - 1, 0)]
    pending = steps.targets > 0
    predicted = np.where(pending, guess[np.clip(since, 0, 35)], 0.0)
    assert np.mean((steps.targets - predicted) ** 2) == pytest.approx(0.0017, abs=5e-5)


def test_a_saved_stream_goes_on_to_the_bit():
    env, other = TracePatterning(seed=4, dtype="float32"), TracePatterning(seed=4, dtype="float32")
    env.stream(777)
    other.load_state_dict(env.state_dict())
    for a, b in zip(env.stream(500), other.stream(500), strict=True):
        assert a.tobytes() == b.tobytes()
    assert env.stream(3).xs.dtype == np.float32


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"isi": (5, 4)}, ValueError, "isi must have its least value first"),
        ({"iti": (0, 4)}, ValueError, r"iti\[0\] must be at least 1, got 0"),
        ({"isi": 3}, TypeError, "isi must be a pair of whole numbers, got 3"),
        ({"discount": 0.0}, ValueError, r"discount must be in \(0, 1\], got 0.0"),
        ({"seed": -1}, ValueError, "seed must be at least 0"),
        ({"dtype": "float16"}, ValueError, "dtype must be one of float32, float64"),
    ],
)
def test_a_bad_parameter_is_refused(options, error, message):
    with pytest.raises(error, match=message):
        TracePatterning(**options)


def test_a_damaged_state_is_refused_and_changes_nothing():
    env = TracePatterning(seed=4)
    env.stream(300)
    good = env.state_dict()
    bad = [
        {**good, "seed": 5},
        {**good, "version": 2},
        {**good, "clock": np.array([300, 10_000, 0, 1])},
        {**good, "clock": good["clock"].astype(float)},
        {**good, "generator": {}},
        {k: v for k, v in good.items() if k != "clock"},
    ]
    for state in bad:
        with pytest.raises((ValueError, TypeError)):
            env.load_state_dict(state)
    twin = TracePatterning(seed=4)
    twin.load_state_dict(good)
    assert env.stream(50).xs.tobytes() == twin.stream(50).xs.tobytes()


def test_the_signal_is_where_it_is_said_to_be():
    assert US == 6
    assert len(PATTERNS) == 20


def test_the_package_offers_it_by_name():
    assert rl.environments.TracePatterning is TracePatterning
