"""UORO and KF-RTRL are right on average: max |z| over all components under a Bonferroni bound."""

import dataclasses

import numpy as np
import pytest
import scipy.stats

from rl import cells, learners
from rl.learners.kf_rtrl import KfRtrl
from rl.learners.uoro import Uoro
from tests.rl_cases import random_theta

GROUPS, STREAMS, STEPS, FALSE_ALARM = 250, 400, 6, 1e-4


def z_of_means(make, cell, seed):
    """Return (max |z|, rms z, bound): means of 250 groups of 400 streams, each of 6 steps, against exact RTRL.

    The loss is that of the last step. An estimate that never varies counts as varying by 1e-12, so that it must
    be exact. The bound is the t quantile that any of P components exceeds with a probability of at most 1e-4.
    """
    rng = np.random.default_rng(seed)
    theta, xs, q = random_theta(cell, rng), rng.normal(size=(STEPS, cell.n_inputs)), rng.normal(size=cell.n_hidden)
    exact, estimate = learners.make("rtrl", cell), make(cell, batch=STREAMS, seed=seed)
    for learner in (exact, estimate):
        learner.theta[:] = theta
    for x in xs:
        exact.step(x)
    means = np.empty((GROUPS, cell.n_params))
    for group in range(GROUPS):
        estimate.reset()
        for x in xs:
            estimate.step(np.tile(x, (STREAMS, 1)))
        means[group] = estimate.gradient(np.tile(q, (STREAMS, 1))) / STREAMS
    off = means.mean(axis=0) - exact.gradient(q)
    deviation = means.std(axis=0, ddof=1) / GROUPS**0.5
    z = off / np.maximum(deviation, 1e-12)
    bound = scipy.stats.t.isf(FALSE_ALARM / 2 / len(z), GROUPS - 1)
    return np.abs(z).max(), np.sqrt((z**2).mean()), bound


CASES = [
    ("vanilla", {}), ("vanilla", {"tau": 2.0, "density": 0.6}), ("lstm", {}), ("gru", {"density": 0.6}),
    ("columnar-lstm", {}), ("elstm", {}), ("rtu", {}), ("rtu-nonlinear", {}),
]  # fmt: skip


def cell_of(name, options):
    return cells.make(name, n_inputs=3, n_units=4, seed=2, **options)


@pytest.mark.parametrize(("name", "options"), CASES)
def test_uoro_is_unbiased_for_every_cell(name, options):
    largest, rms, bound = z_of_means(Uoro, cell_of(name, options), seed=1)
    print(f"uoro {name}: max |z| {largest:.2f} under {bound:.2f}, rms {rms:.2f}")
    assert largest < bound


def test_uoro_started_from_normal_numbers_is_unbiased():
    largest, _, bound = z_of_means(
        lambda cell, **options: Uoro(cell, start="normal", **options), cell_of("vanilla", {}), seed=3
    )
    assert largest < bound


@pytest.mark.parametrize("options", [{}, {"tau": 2.0}, {"tau": 2.0, "density": 0.6}, {"bias": False}])
def test_kf_rtrl_is_unbiased(options):
    largest, rms, bound = z_of_means(KfRtrl, cell_of("vanilla", options), seed=1)
    print(f"kf-rtrl {options}: max |z| {largest:.2f} under {bound:.2f}, rms {rms:.2f}")
    assert largest < bound


class WithoutImmediate(Uoro):
    """The planted mistake: B' = B/p0, without the nu I term."""

    def _advance(self, at, carried):
        silent = dataclasses.replace(at, sources=np.zeros_like(at.sources))  # I = 0
        return super()._advance(silent, carried)


class WithoutCarry(Uoro):
    """A' without p0 D A."""

    def _advance(self, at, carried):
        return super()._advance(at, {**carried, "A": np.zeros_like(carried["A"])})


class Ones:
    """A generator whose signs are all +1."""

    def __init__(self, rng):
        self.bit_generator = rng.bit_generator

    def integers(self, low, high, size):
        return np.ones(size, int)


class WithoutSigns(KfRtrl):
    def __init__(self, cell, **options):
        super().__init__(cell, **options)
        self._rng = Ones(self._rng)


class WithoutHistory(KfRtrl):
    """A' without H A: the newest Kronecker product only."""

    def _advance(self, at, carried):
        return super()._advance(at, {**carried, "A": np.zeros_like(carried["A"])})


@pytest.mark.parametrize("planted", [WithoutImmediate, WithoutCarry])
@pytest.mark.parametrize("start", ["zero", "normal"])
@pytest.mark.parametrize("name", ["vanilla", "elstm"])
def test_planted_mistakes_in_uoro_are_caught(name, start, planted):
    largest, _, bound = z_of_means(
        lambda cell, **options: planted(cell, start=start, **options), cell_of(name, {}), seed=1
    )
    print(f"{planted.__name__} {name} {start}: max |z| {largest:.1f} over {bound:.2f}")
    assert largest > 2 * bound


@pytest.mark.parametrize("planted", [WithoutSigns, WithoutHistory])
def test_planted_mistakes_in_kf_rtrl_are_caught(planted):
    largest, _, bound = z_of_means(planted, cell_of("vanilla", {}), seed=1)
    assert largest > 2 * bound
