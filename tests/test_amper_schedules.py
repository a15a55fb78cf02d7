"""Exponents that follow a schedule: where they stand, what they change, and that they are kept."""

import numpy as np
import pytest

import amper
from tests.naive.replay import code_of

X = {"x": {}}


def test_beta_follows_its_schedule_over_the_transitions_issued():
    scheduled = amper.ReplayBuffer(100, X, sampler="per", seed=0, beta=amper.Linear(0.2, 1.0, 40))
    plain = amper.ReplayBuffer(100, X, sampler="per", seed=0)
    for n, beta in ((10, 0.4), (20, 0.6), (40, 1.0), (60, 1.0)):
        for buffer in (scheduled, plain):
            k = n - len(buffer)
            buffer.add(x=np.zeros(k), priorities=np.linspace(0.1, 2, k))
        assert np.array_equal(scheduled.sample(20)["weights"], plain.sample(20, beta)["weights"])


@pytest.mark.parametrize("batch", [1, 5])
def test_alpha_applies_to_what_is_written_from_then_on(batch):
    buffer = amper.ReplayBuffer(100, X, sampler="per", seed=0, alpha=amper.Linear(1.0, 0.5, 10), eps=0.0)
    for first in range(0, 20, batch):
        buffer.add(x=np.zeros(batch), priorities=np.full(batch, 0.25))
        alpha = max(1.0 - 0.05 * first, 0.5)
        assert buffer.sampler.codes[first] == code_of(0.25**alpha, 1.0, 32)
    buffer.update_priorities([0], [0.25])
    assert buffer.sampler.codes[0] == code_of(0.5, 1.0, 32)
    buffer.add(x=0.0)  # at the largest seen, by the alpha of now
    assert buffer.sampler.codes[20] == code_of(0.5, 1.0, 32)


@pytest.mark.parametrize("sampler", ["per", "amper-fr"])
def test_a_growing_alpha_takes_the_full_scale_along(sampler):
    buffer = amper.ReplayBuffer(100, X, sampler=sampler, seed=0, alpha=amper.Linear(0.1, 2.0, 50))
    buffer.add(x=0.0, priorities=100.0)
    for _ in range(60):
        buffer.add(x=0.0)
    assert buffer.stats["saturated"] == 0
    assert buffer.stats["rescales"] == 14  # 2**14 > 100**2
    assert abs(buffer.sampler.codes[60] / buffer.sampler.format.top - 1e4 / 2**14) < 0.02


def test_a_schedule_is_kept_in_a_file(tmp_path):
    schedules = {"alpha": amper.Linear(0.9, 0.3, 60), "beta": amper.Linear(0.4, 1.0, 60)}
    buffer = amper.ReplayBuffer(30, X, sampler="amper-fr", seed=0, **schedules)
    for i in range(40):
        buffer.add(x=i)
    buffer.save(tmp_path / "r.npz")
    loaded = amper.ReplayBuffer.load(tmp_path / "r.npz")
    for i in range(40):
        batches = [b.sample(8) for b in (buffer, loaded)]
        assert all(np.array_equal(batches[0][name], batches[1][name]) for name in batches[0])
        for b in (buffer, loaded):
            b.update_priorities(batches[0]["indices"], np.linspace(0, 3, 8))
            b.add(x=i)
    assert np.array_equal(buffer.sampler.codes, loaded.sampler.codes)


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (amper.Linear(-0.1, 1.0, 5), ValueError, "beta.start must be at least 0 and finite, got -0.1"),
        (amper.Linear(0.1, -1.0, 5), ValueError, "beta.end must be at least 0"),
        (amper.Linear(0.1, 1.0, 2.5), TypeError, "beta.n_steps must be a whole number, got 2.5"),
        (lambda n: 0.4, TypeError, "beta must be a number"),
    ],
)
def test_a_schedule_that_makes_no_sense_is_refused(value, error, message):
    with pytest.raises(error, match=message):
        amper.ReplayBuffer(10, X, beta=value)


def test_a_trace_of_a_changing_alpha_is_refused():
    with pytest.raises(ValueError, match="sink must be absent where alpha follows a schedule"):
        amper.ReplayBuffer(10, X, alpha=amper.Linear(0.5, 0.6, 9), sink=amper.Trace())
