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


@pytest.mark.parametrize("sampler", ["per", "amper-fr", "amper-k"])
def test_a_schedule_that_stands_still_is_a_number(sampler):
    still, plain = (
        amper.ReplayBuffer(300, X, sampler=sampler, seed=0, alpha=alpha) for alpha in (amper.Linear(0.6, 0.6, 9), 0.6)
    )
    rng = np.random.default_rng(0)
    for _ in range(40):
        priorities = rng.uniform(0.001, 0.01, 5)
        updates = rng.uniform(0.001, 0.01, 16)
        drawn = []
        for buffer in (still, plain):
            buffer.add(x=np.zeros(5), priorities=priorities)
            batch = buffer.sample(16)
            buffer.update_priorities(batch["indices"], updates)
            drawn.append(batch["indices"].tolist())
        assert drawn[0] == drawn[1]
    assert np.array_equal(still.sampler.codes, plain.sampler.codes)


@pytest.mark.parametrize("sampler", ["amper-fr", "amper-k"])
@pytest.mark.parametrize("options", [{}, {"bits": 20}, {"engine": "tcam"}])
def test_new_transitions_follow_a_falling_alpha(sampler, options):
    buffer = amper.ReplayBuffer(
        100, X, sampler=sampler, sampler_options=options, seed=0, alpha=amper.Linear(1.0, 0.4, 50), eps=0.0
    )
    buffer.add(x=np.zeros(60), priorities=np.linspace(1, 100, 60))
    buffer.update_priorities(range(60), np.linspace(1, 100, 60))  # all at .4 now
    buffer.add(x=0.0)
    mass = buffer.sampler.codes[60] / buffer.sampler.format.top * buffer._encoder.scale
    assert mass == pytest.approx(100**0.4, rel=0.05)


def test_a_priority_that_a_later_alpha_cannot_hold_is_refused_at_once():
    buffer = amper.ReplayBuffer(10, X, sampler="per", alpha=amper.Linear(0.5, 4.0, 10), seed=0)
    buffer.add(x=np.zeros(3))
    for call in (lambda: buffer.add(x=0.0, priorities=1e100), lambda: buffer.update_priorities([0], [1e100])):
        with pytest.raises(ValueError, match=r"priorities must be at most .* for the alphas to come, got 1e\+100"):
            call()
    for _ in range(20):
        buffer.add(x=0.0)


@pytest.mark.parametrize(
    ("ids", "values", "error"), [([99], [1.0], IndexError), ([-1], [1.0], IndexError), ([0], [np.nan], ValueError)]
)
def test_a_refused_update_moves_no_alpha(ids, values, error):
    buffer = amper.ReplayBuffer(10, X, sampler="per", alpha=amper.Linear(0.1, 3.0, 5), seed=0)
    buffer.add(x=0.0, priorities=50.0)
    buffer.add(x=np.zeros(4))
    before = buffer.state_dict()
    with pytest.raises(error):
        buffer.update_priorities(ids, values)
    after = buffer.state_dict()
    assert before["encoder"] == after["encoder"]
    assert np.array_equal(before["sampler"]["tree"]["leaves"], after["sampler"]["tree"]["leaves"])


def test_a_saturated_priority_is_counted_once():
    buffer = amper.ReplayBuffer(
        90, X, sampler="amper-fr", sampler_options={"full_scale": 1.0}, alpha=amper.Linear(0.5, 0.6, 50), seed=0
    )
    buffer.add(x=0.0, priorities=9.0)
    for _ in range(5):
        buffer.update_priorities([0], [0.5])
    assert buffer.stats["saturated"] == 1


def test_a_trace_of_a_changing_alpha_is_refused():
    with pytest.raises(ValueError, match="sink must be absent where alpha follows a schedule"):
        amper.ReplayBuffer(10, X, alpha=amper.Linear(0.5, 0.6, 9), sink=amper.Trace())


def test_a_loaded_replay_of_a_changing_alpha_is_not_recorded(tmp_path):
    amper.ReplayBuffer(10, X, alpha=amper.Linear(0.5, 0.6, 9)).save(tmp_path / "r.npz")
    with pytest.raises(ValueError, match="sink must be absent where alpha follows a schedule"):
        amper.ReplayBuffer.load(tmp_path / "r.npz", sink=amper.Trace())
