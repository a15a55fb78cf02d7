"""Tianshou's prioritized buffers drawn from by amper's samplers: as documented, and by its trainer."""

import copy
import importlib
import pickle
import re
import sys

import numpy as np
import pytest
from scipy import stats

torch = pytest.importorskip("torch")
pytest.importorskip("tianshou")

from tianshou import data as theirs  # noqa: E402
from tianshou.data import Batch  # noqa: E402

from amper import samplers  # noqa: E402
from amper.adapters.tianshou import (  # noqa: E402
    PrioritizedReplayBuffer,
    PrioritizedReplayBufferManager,
    PrioritizedVectorReplayBuffer,
)

EPS = np.finfo(np.float32).eps.item()


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def step(number, *, done=False):
    """A transition; its observation and reward tell which."""
    return Batch(
        obs=np.full(3, number, np.float32), act=number % 2, rew=float(number), terminated=done, truncated=False,
        obs_next=np.full(3, number + 1, np.float32), info={"number": number},
    )  # fmt: skip


def made(size=20, n=0, alpha=1.0, beta=0.5, **parameters):
    buffer = PrioritizedReplayBuffer(size, alpha, beta, **{"seed": 0, **parameters})
    for number in range(n):
        buffer.add(step(number, done=number % 7 == 6))
    return buffer


def vector(total_size=20, buffer_num=4, n=0, **parameters):
    parameters = {"alpha": 1.0, "beta": 0.5, "seed": 0, **parameters}
    buffer = PrioritizedVectorReplayBuffer(total_size, buffer_num, **parameters)
    for number in range(0, n, buffer_num):
        buffer.add(Batch.stack([step(number + env) for env in range(buffer_num)]))
    return buffer


def masses(buffer):
    return buffer.weight[np.arange(buffer.maxsize)]


def digest(buffer):
    return pickle.dumps((buffer.weight.state_dict(), buffer._max_prio, buffer._min_prio))


def draws(buffer, n=1000, batch_size=3):
    drawn = []
    for _ in range(n):
        batch, indices = buffer.sample(batch_size)
        drawn.append((indices.tolist(), batch.weight.tolist(), batch.rew.tolist()))
    return drawn


# -- as documented --------------------------------------------------------------------------------------
@pytest.mark.parametrize("sampler", ["per", "amper-fr"])
def test_a_single_buffer_is_used_as_documented(sampler):
    buf = PrioritizedReplayBuffer(15, 0.5, 0.5, sampler=sampler)
    for number in range(25):
        ptr, _, ep_len, _ = buf.add(step(number, done=number % 5 == 4))
        assert ptr == [number % 15]
        assert ep_len == [5 if number % 5 == 4 else 0]
        assert len(buf) == min(15, number + 1)
        batch, indices = buf.sample(len(buf) // 2)
        assert len(batch) == len(indices) == (len(buf) // 2 or len(buf))
        assert batch.rew.tolist() == batch.info.number.tolist()
    batch, indices = buf.sample(7)
    new = -batch.weight / 2 * np.arange(1, 8)
    last = dict(zip(indices, new, strict=True))
    buf.update_weight(indices, new)
    expected = [(abs(last[index]) + EPS) ** 0.5 for index in indices]
    assert buf.weight[indices] == pytest.approx(expected, rel=1e-3, abs=1e-4)
    assert buf[:].obs.shape == (15, 3)
    assert buf[:].weight.max() == 1


@pytest.mark.parametrize("sampler", ["per", "amper-fr"])
def test_a_buffer_of_several_environments_is_used_as_documented(sampler):
    buf = PrioritizedVectorReplayBuffer(15, buffer_num=3, alpha=0.5, beta=0.5, sampler=sampler)
    for number in range(8):
        transition = step(number)
        ptr, *_ = buf.add(Batch.stack([transition, transition, transition]), buffer_ids=[0, 1, 2])
        assert ptr.tolist() == [number % 5, 5 + number % 5, 10 + number % 5]
        assert len(buf) == min(15, 3 * (number + 1))
    everything = np.arange(buf.maxsize)
    assert np.allclose(buf[everything].weight, 1)
    batch, indices = buf.sample(10)
    buf.update_weight(indices, batch.weight * 0)
    weight = buf[everything].weight
    drawn = np.isin(everything, indices)
    assert len(set(weight[drawn])) == len(set(weight[~drawn])) == 1
    assert weight[~drawn][0] < weight[drawn][0] <= 1


def test_the_buffers_are_tianshous():
    single, several = made(), vector()
    assert isinstance(single, theirs.PrioritizedReplayBuffer)
    assert isinstance(several, theirs.PrioritizedVectorReplayBuffer)
    assert isinstance(several, theirs.PrioritizedReplayBufferManager)
    assert isinstance(several, theirs.ReplayBufferManager)
    assert isinstance(several, PrioritizedReplayBufferManager)
    assert all(isinstance(buffer, PrioritizedReplayBuffer) for buffer in several.buffers)
    assert several.subbuffer_edges.tolist() == [0, 5, 10, 15, 20]


@pytest.mark.parametrize("weight_norm", [True, False])
def test_weights_and_masses_are_those_of_tianshous_buffer(weight_norm):
    mine = PrioritizedReplayBuffer(20, 0.6, 0.4, weight_norm)
    other = theirs.PrioritizedReplayBuffer(20, 0.6, 0.4, weight_norm)
    rng = np.random.default_rng(0)
    for number in range(30):
        mine.add(step(number))
        other.add(step(number))
        index = rng.permutation(len(mine))[:4]
        errors = rng.normal(size=len(index)) * (1 + number / 10)
        mine.update_weight(index, torch.as_tensor(errors))
        other.update_weight(index, torch.as_tensor(errors))
        held = np.arange(len(mine))
        assert mine.weight[held] == pytest.approx(other.weight[held], rel=1e-6)
        assert mine.get_weight(held) == pytest.approx(other.get_weight(held), rel=1e-6)
        assert mine[held].weight == pytest.approx(other[held].weight, rel=1e-6)
        assert mine[:].obs.tolist() == other[:].obs.tolist()
        if number == 20:
            mine.set_beta(0.9)
            other.set_beta(0.9)
    batch, indices = mine.sample(6)
    assert batch.weight == pytest.approx(other[indices].weight, rel=1e-6)
    assert mine[3].weight == pytest.approx(other[3].weight, rel=1e-6)
    assert mine[2:9].weight == pytest.approx(other[2:9].weight, rel=1e-6)


# -- what is drawn --------------------------------------------------------------------------------------
@pytest.mark.parametrize("several", [False, True])
def test_per_draws_in_proportion_to_the_priorities(several):
    buffer = vector(24, 4, n=24, seed=3) if several else made(24, 24, seed=3)
    priorities = np.arange(1.0, 25.0)
    buffer.update_weight(np.arange(24), -priorities)
    n = 200_000
    indices = buffer.sample_indices(n)
    # A true law fails one seed in a thousand; this seed is fixed.
    assert stats.chisquare(np.bincount(indices, minlength=24), n * priorities / priorities.sum()).pvalue > 1e-3


def test_rings_that_fill_unevenly_are_drawn_from_in_proportion():
    buffer = vector(20, 4, seed=1)
    numbers = iter(range(1000))
    for env, times in ((2, 8), (0, 1), (3, 6), (0, 1)):
        for _ in range(times):
            buffer.add(Batch.stack([step(next(numbers))]), buffer_ids=[env])
    held = np.array([0, 1, *range(10, 20)])
    assert len(buffer) == len(buffer.weight) == 12
    assert np.flatnonzero(masses(buffer)).tolist() == held.tolist()
    buffer.update_weight(held, np.arange(1.0, 13.0))
    counts = np.bincount(buffer.sample_indices(100_000), minlength=20)
    assert counts.sum() == counts[held].sum()
    assert stats.chisquare(counts[held], 100_000 * np.arange(1, 13) / 78).pvalue > 1e-3
    buffer.add(Batch.stack([step(next(numbers))]), buffer_ids=[1])
    assert masses(buffer)[5] == pytest.approx(12, rel=1e-6)


@pytest.mark.parametrize("sampler", samplers.available())
@pytest.mark.parametrize("several", [False, True])
def test_a_sample_holds_what_lies_at_its_indices(sampler, several):
    buffer = vector(sampler=sampler) if several else made(sampler=sampler)
    rng = np.random.default_rng(0)
    for number in range(0, 60, 4):
        if several:
            buffer.add(Batch.stack([step(number + env) for env in range(4)]))
        else:
            for env in range(4):
                buffer.add(step(number + env))
        batch, indices = buffer.sample(8)
        assert batch.obs[:, 0].tolist() == buffer.obs[indices, 0].tolist()
        assert batch.weight.max() == 1
        assert buffer.done.shape == (20,)
        buffer.update_weight(indices, rng.normal(size=8))
    assert len(buffer) == len(buffer.weight) == 20


def test_uniform_draws_weigh_alike():
    buffer = made(20, 20, sampler="uniform")
    buffer.update_weight(np.arange(20), np.arange(20.0))
    batch, indices = buffer.sample(50)
    assert (batch.weight == 1).all()
    assert len(set(indices)) > 15


def test_amper_draws_high_priorities_more_often():
    buffer = made(1000, sampler="amper-fr")
    for number in range(1000):
        buffer.add(step(number))
    buffer.update_weight(np.arange(1000), np.linspace(0.01, 1.0, 1000))
    assert buffer.sample_indices(20_000).mean() / 1000 == pytest.approx(2 / 3, abs=0.03)  # of a triangular law


def test_new_transitions_enter_at_the_largest_priority_seen_and_one_at_least():
    buffer = made(4, 2)
    buffer.update_weight(np.array([0, 1]), np.array([0.25, 0.5]))
    buffer.add(step(2))
    assert masses(buffer) == pytest.approx([0.25, 0.5, 1.0, 0.0], rel=1e-5)
    buffer.update_weight(np.array([1]), np.array([-8.0]))
    for number in range(3, 6):
        buffer.add(step(number))
    assert masses(buffer) == pytest.approx([8.0, 8.0, 1.0, 8.0], rel=1e-5)


def test_of_a_slot_named_twice_the_last_weight_counts_and_one_weight_is_everyones():
    buffer = made(4, 4)
    buffer.update_weight(np.array([1, 2, 1]), np.array([5.0, 3.0, 2.0]))
    assert masses(buffer) == pytest.approx([1, 2, 3, 1], rel=1e-5)
    buffer.update_weight(np.array([0, 3]), 0.5)
    assert masses(buffer) == pytest.approx([0.5, 2, 3, 0.5], rel=1e-5)


def test_a_slot_that_holds_nothing_weighs_nothing():
    buffer = made(6, 2)
    assert buffer[np.arange(6)].weight.tolist() == [1, 1, 0, 0, 0, 0]


def test_all_indices_are_handed_out_as_tianshou_does():
    for buffer in (made(6, 9), vector(8, 2, n=12)):
        everything = buffer.sample_indices(0)
        assert sorted(everything) == list(range(len(buffer)))
        assert len(buffer.sample(0)[1]) == len(buffer)
        assert len(buffer.sample_indices(-1)) == 0
        assert len(buffer[:]) == len(buffer)
    assert made(6, 9).sample_indices(0).tolist() == [3, 4, 5, 0, 1, 2]  # the oldest first


@pytest.mark.parametrize("sample_avail", [False, True])
def test_frames_are_stacked_and_priorities_look_at_no_availability(sample_avail):
    options = {"stack_num": 3, "ignore_obs_next": True, "sample_avail": sample_avail}
    for buffer, other in (
        (made(10, **options), theirs.PrioritizedReplayBuffer(10, 1.0, 0.5, **options)),
        (vector(12, 2, **options), theirs.PrioritizedVectorReplayBuffer(12, 2, alpha=1.0, beta=0.5, **options)),
    ):
        for number in range(9):
            each = [step(number, done=number == 4)] * getattr(buffer, "buffer_num", 1)
            for filled in (buffer, other):
                filled.add(Batch.stack(each), buffer_ids=list(range(len(each))))
        batch, indices = buffer.sample(400)
        assert batch.obs.shape == (400, 3, 3)
        assert batch.obs.tolist() == other[indices].obs.tolist()
        assert batch.obs_next.tolist() == other[indices].obs_next.tolist()
        assert set(indices) == set(range(9)) if len(buffer) == 9 else len(set(indices)) == 12
        assert buffer.sample_indices(0).tolist() == other.sample_indices(0).tolist()


BAD = [
    (([20], [1.0]), IndexError, "slots must lie in 0..19, got 20 at position 0"),
    (([3, -1], [1.0, 1.0]), IndexError, "slots must lie in 0..19, got -1 at position 1"),
    (([3, 18], [9.0, 1.0]), IndexError, "slots must hold a transition, got 18 at position 1"),
    (([3], [np.nan]), ValueError, "priorities must be finite and at least 0, got nan at position 0"),
    (([3, 4], [1.0, -np.inf]), ValueError, "priorities must be finite and at least 0, got inf at position 1"),
    (([3, 4], [1.0, 2.0, 3.0]), ValueError, "priorities must have one value a slot, 2, got 3"),
    (([3.0], [1.0]), TypeError, "slots must be whole numbers, got dtype float64"),
]


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize(("arguments", "error", "message"), BAD, ids=[case[2][:40] for case in BAD])
def test_bad_weights_are_refused_and_change_nothing(several, arguments, error, message):
    buffer = vector(20, 2, n=8) if several else made(20, 8)
    before = digest(buffer)
    index = np.array(arguments[0])
    if several and index[0] in (3, 4):
        index[index == 4] = 2
    with pytest.raises(error, match=re.escape(message)):
        buffer.update_weight(index, torch.tensor(arguments[1]))
    assert digest(buffer) == before


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"alpha": -1.0}, "alpha must be at least 0"),
        ({"beta": float("nan")}, "beta must be at least 0"),
        ({"sampler": "perr"}, "did you mean 'per'?"),
        ({"size": 0}, "capacity must be at least 1, got 0"),
    ],
)
def test_bad_parameters_are_refused(parameters, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        PrioritizedReplayBuffer(**{"size": 10, "alpha": 0.6, "beta": 0.4, **parameters})


def test_a_beta_that_is_none_is_refused():
    buffer = vector()
    with pytest.raises(ValueError, match="beta must be at least 0"):
        buffer.set_beta(-1.0)
    assert buffer._beta == 0.5


def test_settings_reach_every_buffer():
    buffer = vector(20, 4, n=20, weight_norm=False)
    buffer.update_weight(np.arange(20), np.arange(1.0, 21.0))
    assert buffer[[3]].weight == pytest.approx(4**-0.5, rel=1e-5)
    buffer.set_beta(1.0)
    assert buffer[[3]].weight == pytest.approx(1 / 4, rel=1e-5)
    assert all(each._beta == 1.0 for each in buffer.buffers)


@pytest.mark.parametrize("several", [False, True])
def test_a_reset_buffer_holds_nothing(several):
    buffer = vector(20, 4, n=40) if several else made(20, 40)
    buffer.update_weight(np.arange(20), np.arange(1.0, 21.0))
    buffer.reset()
    assert len(buffer) == len(buffer.weight) == 0
    for number in range(2):
        buffer.add(Batch.stack([step(number)] * 4) if several else step(number))
    expected = {0, 1, 5, 6, 10, 11, 15, 16} if several else {0, 1}
    assert set(buffer.sample(200)[1]) == expected
    assert masses(buffer)[sorted(expected)] == pytest.approx(1.0)


def test_what_another_buffer_holds_enters_as_new():
    source = made(10, 4)
    buffer = made(6, 3)
    buffer.update_weight(np.arange(3), np.array([0.5, 2.0, 0.5]))
    assert buffer.update(source).tolist() == [3, 4, 5, 0]
    assert masses(buffer) == pytest.approx([2.0, 2.0, 0.5, 2.0, 2.0, 2.0], rel=1e-5)
    assert buffer.update(made(10)).tolist() == []
    with pytest.raises(NotImplementedError):
        vector().update(source)


# -- keeping --------------------------------------------------------------------------------------------
@pytest.mark.parametrize("way", ["pickle", "deepcopy", "hdf5", "state_dict"])
@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("sampler", samplers.available())
def test_a_buffer_kept_draws_the_next_thousand_samples_alike(sampler, several, way, tmp_path):
    make = vector if several else made
    buffer = make(20, **({"n": 32} if several else {"n": 30}), sampler=sampler, alpha=0.6)
    buffer.update_weight(np.arange(20), np.random.default_rng(0).normal(size=20) * 3)
    buffer.sample(5)
    if way == "pickle":
        other = pickle.loads(pickle.dumps(buffer))
    elif way == "deepcopy":
        other = copy.deepcopy(buffer)
    elif way == "hdf5":
        buffer.save_hdf5(str(tmp_path / "buffer.hdf5"))
        other = type(buffer).load_hdf5(str(tmp_path / "buffer.hdf5"))
    else:
        other = make(20, **({"n": 32} if several else {"n": 30}), sampler=sampler, alpha=0.6, seed=9)
        other.weight.load_state_dict(buffer.weight.state_dict())
        other._min_prio = buffer._min_prio
    assert draws(buffer) == draws(other)
    for each in (buffer, other):
        each.add(Batch.stack([step(50)] * 4) if several else step(50))
        each.update_weight(np.array([1, 2]), np.array([90.0, 0.0]))
    assert draws(buffer, 50) == draws(other, 50)


def test_without_tianshou_the_import_names_the_extra(monkeypatch):
    monkeypatch.delitem(sys.modules, "amper.adapters.tianshou")
    monkeypatch.setitem(sys.modules, "tianshou", None)
    with pytest.raises(ImportError, match=re.escape('needs tianshou: pip install ".[adapters]"')):
        importlib.import_module("amper.adapters.tianshou")


# -- its trainer ----------------------------------------------------------------------------------------
def cartpole(sampler, n_epochs, epoch_num_steps, seed=0, save_best_fn=None, n_random=1000):
    """A DQN of Tianshou on ten CartPoles, trained by its off-policy trainer; returns algorithm and buffer."""
    gym = pytest.importorskip("gymnasium")
    from tianshou.algorithm.modelfree.dqn import DQN, DiscreteQLearningPolicy
    from tianshou.algorithm.optim import AdamOptimizerFactory
    from tianshou.data import Collector
    from tianshou.env import DummyVectorEnv
    from tianshou.trainer import OffPolicyTrainerParams
    from tianshou.utils.net.common import Net

    np.random.seed(seed)  # noqa: NPY002  # Tianshou's
    torch.manual_seed(seed)
    envs = DummyVectorEnv([lambda: gym.make("CartPole-v1") for _ in range(10)])
    envs.seed(seed)
    policy = DiscreteQLearningPolicy(
        model=Net(state_shape=4, action_shape=2, hidden_sizes=[64, 64]), action_space=gym.spaces.Discrete(2),
        eps_training=0.1,
    )  # fmt: skip
    algorithm = DQN(
        policy=policy, optim=AdamOptimizerFactory(lr=1e-3), gamma=0.99, n_step_return_horizon=3, target_update_freq=200
    )
    buffer = PrioritizedVectorReplayBuffer(
        20_000, buffer_num=len(envs), alpha=0.6, beta=0.4, sampler=sampler, seed=seed
    )
    training = Collector(policy, envs, buffer, exploration_noise=True)
    training.reset()
    training.collect(n_step=n_random, random=True)
    algorithm.run_training(
        OffPolicyTrainerParams(
            training_collector=training, test_collector=Collector(policy, evaluation_envs(10_000)), max_epochs=n_epochs,
            epoch_num_steps=epoch_num_steps, collection_step_num_env_steps=10, batch_size=64,
            update_step_num_gradient_steps_per_sample=0.2, test_step_num_episodes=20, save_best_fn=save_best_fn,
            verbose=False, show_progress=False,
        )
    )  # fmt: skip
    return algorithm, buffer


def evaluation_envs(seed, n=20):
    """Environments to evaluate a policy in."""
    import gymnasium as gym
    from tianshou.env import DummyVectorEnv

    envs = DummyVectorEnv([lambda: gym.make("CartPole-v1") for _ in range(n)])
    envs.seed(seed)
    return envs


@pytest.mark.parametrize("sampler", samplers.available())
def test_tianshous_trainer_moves_the_priorities(sampler):
    _, buffer = cartpole(sampler, n_epochs=1, epoch_num_steps=300, n_random=100)
    assert len(buffer) == len(buffer.weight) == 400
    stored = masses(buffer)
    assert np.count_nonzero(stored) == 400
    assert len(set(stored.tolist())) > 100  # 60 batches of 64


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["per", "amper-fr"])
def test_a_dqn_of_tianshous_trainer_learns(sampler):
    from tianshou.data import Collector

    best = {}
    algorithm, _ = cartpole(
        sampler, n_epochs=7, epoch_num_steps=2000,
        save_best_fn=lambda algorithm: best.update(copy.deepcopy(algorithm.state_dict())),
    )  # fmt: skip
    algorithm.load_state_dict(best)
    collector = Collector(algorithm.policy, evaluation_envs(20_000))  # episodes that chose nothing
    collector.reset()
    result = collector.collect(n_episode=20).returns_stat.mean  # a random policy's is 22
    print(f"tianshou {sampler}: {result:.1f}")
    assert result >= 195
