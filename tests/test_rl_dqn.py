"""The DQN agent: when it learns, from what, towards which target, and what it refuses."""

from __future__ import annotations

import math
from typing import Any

import gymnasium
import numpy as np
import pytest

from rl.dqn import DQN, DqnConfig
from rl.protocols import Spaces, Step
from tests.naive import dqn as naive

BOX = gymnasium.spaces.Box(-1.0, 1.0, (3,), np.float32)
SPACES = Spaces(observation_space=BOX, action_space=gymnasium.spaces.Discrete(2))


class Recorder:
    """A replay that hands out everything it holds, in order, and remembers what it was told."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.betas: list[float | None] = []
        self.updated: list[tuple[Any, Any]] = []

    capacity = 10**6

    def __len__(self) -> int:
        return len(self.rows)

    def add(self, *, priorities: Any = None, **columns: Any) -> Any:
        assert priorities is None
        first = len(self.rows)
        n = len(columns["action"])
        self.rows += [{name: column[k] for name, column in columns.items()} for k in range(n)]
        return np.arange(first, first + n)

    def sample(self, batch_size: int, beta: float | None = None) -> dict[str, Any]:
        self.betas.append(beta)
        ids = np.arange(batch_size) % len(self.rows)
        batch = {name: np.stack([self.rows[k][name] for k in ids]) for name in self.rows[0]}
        return {**batch, "indices": ids, "weights": np.ones(batch_size, np.float32)}

    def update_priorities(self, indices: Any, priorities: Any) -> int:
        self.updated.append((indices, priorities))
        return len(set(indices.tolist()))


def step(n: int = 1, seed: int = 0, **changed: Any) -> Step:
    rng = np.random.default_rng(seed)
    made = Step(
        obs=rng.normal(size=(n, 3)).astype(np.float32),
        action=rng.integers(0, 2, n),
        reward=rng.normal(size=n),
        next_obs=rng.normal(size=(n, 3)).astype(np.float32),
        terminated=np.zeros(n, bool),
        truncated=np.zeros(n, bool),
    )
    return made._replace(**changed)


def agent(n_steps: int = 1_000, spaces: Spaces = SPACES, **options: Any) -> DQN:
    chosen = {
        "hidden": (8,),
        "batch_size": 4,
        "learning_starts": 0,
        "train_every": 1,
        "n_updates": 1,
        **options,
    }
    return DQN(spaces=spaces, replay=Recorder(), n_steps=n_steps, seed=0, config=DqnConfig(**chosen))


def test_updates_come_every_so_many_steps_once_learning_has_started() -> None:
    dqn = agent(learning_starts=10, train_every=4, n_updates=3)
    counts = []
    for k in range(20):
        dqn.observe(step(seed=k))
        counts.append(dqn.n_updates)
    assert counts == [0] * 11 + [3] * 4 + [6] * 4 + [9]


@pytest.mark.parametrize("n_envs", [1, 2, 3, 8])
def test_as_many_updates_a_transition_whatever_the_number_of_environments(n_envs: int) -> None:
    dqn = agent(train_every=4, n_updates=3)
    for k in range(24 // n_envs):
        dqn.observe(step(n_envs, seed=k))
    assert dqn.n_steps_seen == 24
    assert dqn.n_updates == 18


def test_each_update_returns_its_td_errors_to_the_transitions_it_drew() -> None:
    dqn = agent()
    dqn.observe(step(5))
    replay: Any = dqn.replay
    assert len(replay.updated) == 5
    indices, priorities = replay.updated[0]
    np.testing.assert_array_equal(indices, [0, 1, 2, 3])
    assert priorities.shape == (4,)
    assert (priorities >= 0).all()


def test_beta_and_epsilon_and_lr_run_from_their_first_to_their_last_value() -> None:
    dqn = agent(n_steps=100, epsilon_fraction=0.5, lr=0.1, lr_end=0.0)
    assert (dqn.epsilon(0), dqn.epsilon(50), dqn.epsilon(100)) == (1.0, 0.04, 0.04)
    assert dqn.lr(50) == pytest.approx(0.05)
    for k in range(100):
        dqn.observe(step(seed=k))
    replay: Any = dqn.replay
    assert replay.betas[0] == pytest.approx(0.4 + 0.6 / 100)
    assert replay.betas[-1] == 1.0


def test_only_termination_cuts_the_bootstrap() -> None:
    for column, cut in (("terminated", True), ("truncated", False)):
        dqn = agent(lr=0.0, lr_end=0.0, double=False)
        batch = {
            **step(4)._asdict(),
            "weights": np.ones(4, np.float32),
            column: np.ones(4, bool),
        }
        found = dqn.update(batch)
        sizes = dqn.network.sizes
        for i in range(4):
            q = naive.q_values(dqn.theta, sizes, batch["obs"][i])[batch["action"][i]]
            after = 0.0 if cut else 0.99 * naive.q_values(dqn.target, sizes, batch["next_obs"][i]).max()
            assert found[i] == pytest.approx(abs(batch["reward"][i] + after - q), rel=1e-4)


def test_the_replays_own_discount_wins() -> None:
    dqn = agent(lr=0.0, lr_end=0.0)
    batch = {**step(4)._asdict(), "weights": np.ones(4, np.float32), "discount": np.zeros(4, np.float32)}
    q = [naive.q_values(dqn.theta, dqn.network.sizes, batch["obs"][i])[batch["action"][i]] for i in range(4)]
    np.testing.assert_allclose(dqn.update(batch), np.abs(batch["reward"] - q), rtol=1e-4)


def test_the_target_network_is_copied_every_so_many_updates_and_the_average_lags() -> None:
    dqn = agent(target_every=3, average=0.5)
    start = dqn.theta.copy()
    for k in range(3):
        assert np.array_equal(dqn.target, start)
        dqn.observe(step(seed=k))
    assert np.array_equal(dqn.target, dqn.theta)
    assert not np.array_equal(dqn.theta, start)
    between = np.abs(dqn.average - start).sum()
    assert 0 < between < np.abs(dqn.theta - start).sum()


def test_a_policy_keeps_the_weights_it_was_taken_with() -> None:
    dqn = agent()
    averaged, last = dqn.policy(), dqn.policy(averaged=False)
    before = averaged.theta.copy()
    for k in range(5):
        dqn.observe(step(seed=k))
    assert np.array_equal(averaged.theta, before)
    assert np.array_equal(last.theta, before)
    assert np.array_equal(dqn.policy().theta, dqn.average)
    assert np.array_equal(dqn.policy(averaged=False).theta, dqn.theta)
    obs = step(7).obs
    wanted = [int(np.argmax(naive.q_values(averaged.theta, dqn.network.sizes, x))) for x in obs]
    assert averaged(obs).tolist() == wanted


def test_exploration_has_the_chance_epsilon_and_is_uniform() -> None:
    spaces = Spaces(observation_space=BOX, action_space=gymnasium.spaces.Discrete(4), n_envs=16)
    dqn = agent(spaces=spaces, epsilon_start=0.5, epsilon_end=0.5)
    obs = np.zeros((16, 3), np.float32)
    greedy = dqn.policy(averaged=False)(obs)[0]
    actions = np.concatenate([dqn.act(obs) for _ in range(1_000)])
    share = np.bincount(actions, minlength=4) / actions.size
    expected = np.where(np.arange(4) == greedy, 0.625, 0.125)
    # 16,000 draws: five standard deviations are below .02
    np.testing.assert_allclose(share, expected, atol=0.02)


def test_actions_count_from_the_spaces_start() -> None:
    spaces = Spaces(observation_space=BOX, action_space=gymnasium.spaces.Discrete(2, start=5))
    dqn = agent(spaces=spaces)
    assert {int(dqn.act(step().obs)[0]) for _ in range(50)} == {5, 6}
    batch = {**step(4, action=np.array([5, 6, 5, 6]))._asdict(), "weights": np.ones(4, np.float32)}
    assert np.isfinite(dqn.update(batch)).all()
    assert dqn.policy()(step(3).obs).min() >= 5


def test_a_loss_that_is_not_finite_names_the_step_and_leaves_the_weights() -> None:
    dqn = agent()
    for k in range(3):
        dqn.observe(step(seed=k))
    before = dqn.theta.copy()
    with pytest.raises(FloatingPointError, match=r"update 4 \(environment step 4\)"):
        dqn.observe(step(reward=np.array([math.nan])))
    assert np.array_equal(dqn.theta, before)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("hidden", (8, 0)), ("hidden", (8, 2.5)), ("batch_size", 0), ("batch_size", 2.5), ("train_every", 0),
        ("n_updates", -1), ("target_every", 0), ("learning_starts", -1), ("epsilon_start", 1.5),
        ("epsilon_end", math.nan), ("epsilon_fraction", -0.1), ("discount", 1.01), ("beta_end", 2.0),
        ("average", -1.0), ("lr", -1e-3), ("lr", math.inf), ("lr_end", math.nan), ("huber_delta", 0.0),
        ("clip", 0.0), ("clip", math.nan),
    ],
)  # fmt: skip
def test_a_setting_out_of_range_is_refused_by_name(option: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"^{option} must be "):
        DqnConfig(**{option: value})


@pytest.mark.parametrize(
    ("observation", "action", "named"),
    [
        (gymnasium.spaces.Discrete(3), gymnasium.spaces.Discrete(2), "observation space must be a Box"),
        (gymnasium.spaces.Dict({"a": BOX}), gymnasium.spaces.Discrete(2), "observation space must be a Box"),
        (BOX, BOX, "action space must be Discrete"),
        (BOX, gymnasium.spaces.MultiDiscrete([2, 2]), "action space must be Discrete"),
        (BOX, gymnasium.spaces.MultiBinary(2), "action space must be Discrete"),
    ],
)
def test_spaces_of_another_kind_are_refused(observation: Any, action: Any, named: str) -> None:
    with pytest.raises(TypeError, match=named):
        agent(spaces=Spaces(observation_space=observation, action_space=action))


@pytest.mark.parametrize(
    ("changed", "error", "says"),
    [
        ({"obs": np.zeros((4, 2), np.float32)}, ValueError, r"obs must have \(4, 3\) numbers, got \(4, 2\)"),
        ({"reward": np.zeros(3)}, ValueError, r"reward must have \(4,\) numbers, got \(3,\)"),
        ({"weights": np.ones((4, 1))}, ValueError, "weights must have"),
        ({"action": np.array([0, 1, 2, 0])}, IndexError, r"action must be in \[0, 1\], got .*2"),
        ({"action": np.array([0, 1, -1, 0])}, IndexError, r"action must be in \[0, 1\]"),
    ],
)
def test_a_batch_that_does_not_fit_is_refused_and_changes_nothing(
    changed: dict[str, Any], error: type[Exception], says: str
) -> None:
    dqn = agent()
    before = dqn.theta.copy()
    with pytest.raises(error, match=says):
        dqn.update({**step(4)._asdict(), "weights": np.ones(4, np.float32), **changed})
    assert np.array_equal(dqn.theta, before)
    assert dqn.n_updates == 0


def test_a_batch_larger_than_configured_is_welcome() -> None:
    dqn = agent(batch_size=4)
    assert dqn.update({**step(40)._asdict(), "weights": np.ones(40, np.float32)}).shape == (40,)


def test_acting_takes_one_row_an_environment() -> None:
    with pytest.raises(ValueError, match="obs must have 1 rows, got 2"):
        agent().act(np.zeros((2, 3), np.float32))
