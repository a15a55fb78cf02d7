"""The divergence of a law from PER's, and that of live priorities."""

import numpy as np
import pytest

from amper import samplers
from experiments import live
from experiments.divergence import between_halves, divergence


def skewed(n=2_000):
    codes = np.minimum((np.random.default_rng(0).exponential(600, n)).astype(np.int64) + 1, 65_535)
    sampler = samplers.make("amper-fr", n, seed=0, grouping="linear")
    sampler.insert(np.arange(n), codes, at_maximum=False)
    return sampler, codes / codes.sum()


def test_the_divergence_of_few_samplings_is_that_of_many():
    sampler, mass = skewed()
    law = sampler.law(200_000)
    truth = float(np.sum(law * np.log(law / mass)))
    few = [divergence(sampler, mass, np.arange(len(mass)), 1_000) for _ in range(40)]
    raw = [between_halves((h, h), mass).kl for h in (sampler.law(1_000) for _ in range(40))]
    assert np.mean([d.kl for d in few]) == pytest.approx(truth, rel=0.15)
    assert np.mean(raw) > 1.3 * truth
    assert np.mean([d.tv for d in few]) > np.mean([d.tv_floor for d in few]) > 0


def test_a_law_that_is_pers_diverges_by_nothing():
    mass = np.array([0.5, 0.25, 0.25])
    found = between_halves((mass, mass), mass)
    assert (found.kl, found.tv, found.tv_floor) == (0.0, 0.0, 0.0)


def test_live_priorities_are_measured_on_what_the_replay_holds():
    wanted = {"uniform": ("uniform", {}), "paper": ("amper-fr", {"grouping": "linear"}), "tree": ("per", {})}
    seen = []

    def measure(snapshot):
        seen.append((snapshot.step, len(snapshot.mass), snapshot.mass.sum()))
        return snapshot.measured(1_000)

    found = live.follow("CartPole-v1", wanted, n_steps=3_000, capacity=2_000, n_snapshots=3, measure=measure)
    assert [n for _, n, _ in seen] == pytest.approx([1000, 2000, 2000], abs=300)
    assert all(total == pytest.approx(1.0) for *_, total in seen)
    assert found.result.n_steps == 3_000
    last = found.measured[-1]
    assert last["tree"]["kl"] == pytest.approx(0.0, abs=1e-9)
    assert last["uniform"]["kl"] > 0.05
    assert 0 < last["paper"]["csp"] < 0.3
    assert "csp" not in last["uniform"]
