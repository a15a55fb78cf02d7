"""rl.train: what a run returns, that it repeats, what it takes as replay and environment, what it refuses."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

import amper
import rl
from rl.protocols import Spaces

SMALL = {"hidden": (16,), "learning_starts": 100, "train_every": 50, "n_updates": 5}
QUICK: dict[str, Any] = {
    "n_steps": 600, "n_evaluations": 3, "n_eval_episodes": 2, "n_test_episodes": 4, "agent_options": SMALL,
}  # fmt: skip
REPLAYS = ("uniform", "per", "amper-k", "amper-fr")


def cart_pole(limit: int = 500) -> Any:
    return gymnasium.make("CartPole-v1", max_episode_steps=limit, disable_env_checker=True)


@pytest.mark.parametrize("replay", REPLAYS)
def test_the_same_seed_gives_the_same_run_and_another_seed_another(replay: str) -> None:
    a, b, c = (rl.train("CartPole-v1", replay=replay, seed=seed, **QUICK) for seed in (3, 3, 4))
    assert a.returns.tolist() == b.returns.tolist() != c.returns.tolist()
    assert a.evaluation.returns.tolist() == b.evaluation.returns.tolist()
    assert a.last_evaluation.to_dict() == b.last_evaluation.to_dict()
    first, second, third = (run.agent for run in (a, b, c))
    assert np.array_equal(first.theta, second.theta)
    assert not np.array_equal(first.theta, third.theta)


def test_a_run_accounts_for_every_step_and_every_evaluation() -> None:
    run = rl.train("CartPole-v1", replay="per", **QUICK)
    assert run.returns.dtype == np.float64
    assert run.n_steps == 600 == len(run.replay)
    assert run.agent.n_updates == 5 * (600 // 50 - 1)
    assert run.lengths.tolist() == run.returns.tolist()  # CartPole pays 1 a step
    assert run.ended_at.tolist() == np.cumsum(run.lengths).tolist()
    assert [entry.step for entry in run.curve] == [200, 400, 600]
    assert all(entry.averaged and entry.returns.shape == (2,) for entry in run.curve)
    best = max(entry.mean for entry in run.curve)
    assert run.evaluation.step == max(entry.step for entry in run.curve if entry.mean == best)
    assert run.evaluation.averaged
    assert run.evaluation.returns.shape == (4,)
    assert not run.last_evaluation.averaged
    assert run.last_evaluation.step == 600
    assert run.policy(np.zeros((3, 4), np.float32)).shape == (3,)


def test_the_reported_policy_is_the_selected_one() -> None:
    run = rl.train("CartPole-v1", replay="uniform", **QUICK)
    seed = rl.training.derived_seed(0, "test episodes")
    again = rl.evaluate(run.policy, cart_pole(), 4, seed=seed)
    assert again.returns.tolist() == run.evaluation.returns.tolist()


def test_a_replay_comes_by_name_by_options_or_as_it_is() -> None:
    by_name = rl.train("CartPole-v1", replay="per", **QUICK)
    by_options = rl.train("CartPole-v1", replay={"sampler": "per", "capacity": 50_000}, **QUICK)
    assert by_name.replay.capacity == 50_000
    spaces = Spaces(observation_space=cart_pole().observation_space, action_space=cart_pole().action_space)
    buffer = amper.ReplayBuffer.for_env(spaces, 50_000, sampler="per", seed=0)
    as_it_is = rl.train("CartPole-v1", replay=buffer, **QUICK)
    assert as_it_is.replay is buffer
    assert by_name.returns.tolist() == by_options.returns.tolist() == as_it_is.returns.tolist()
    other = rl.train("CartPole-v1", replay={"sampler": "per", "capacity": 64}, **QUICK)
    assert other.replay.capacity == len(other.replay) == 64


def test_the_agents_discount_reaches_the_replay_made_for_it() -> None:
    options = {**QUICK, "agent_options": {**SMALL, "discount": 0.5}}
    batch = rl.train("CartPole-v1", replay="uniform", **options).replay.sample(64)
    np.testing.assert_array_equal(batch["discount"], np.where(batch["terminated"], 0.0, np.float32(0.5)))


def test_a_sink_hears_everything_the_run_does() -> None:
    trace = amper.Trace()
    run = rl.train("CartPole-v1", replay={"sampler": "per", "capacity": 1_000, "sink": trace}, **QUICK)
    kinds = [kind.name for kind, _ in trace]
    assert kinds.count("INSERT") == run.n_steps
    assert kinds.count("SAMPLE") == run.agent.n_updates
    assert kinds.count("UPDATE") >= run.agent.n_updates


def test_terminated_and_truncated_reach_the_replay_apart() -> None:
    run = rl.train(lambda: cart_pole(limit=20), replay="uniform", **QUICK)
    batch = run.replay.sample(4_000)
    assert batch["terminated"].any()
    assert batch["truncated"].any()
    np.testing.assert_array_equal(batch["discount"] == 0, batch["terminated"])
    short = np.sum(run.lengths == 20)
    assert 0 < short < len(run.lengths)


@pytest.mark.parametrize("kind", ["id", "factory", "vector", "environment"])
def test_an_environment_comes_in_each_of_its_forms(kind: str) -> None:
    env: Any = {
        "id": "CartPole-v1",
        "factory": cart_pole,
        "vector": SyncVectorEnv([cart_pole] * 2, autoreset_mode=AutoresetMode.SAME_STEP),
        "environment": cart_pole(),
    }[kind]
    run = rl.train(env, replay="uniform", **QUICK)
    assert len(run.replay) == 600
    if kind in {"environment", "vector"}:
        env.reset()  # an environment that was handed in is left open
    else:
        reference = rl.train("CartPole-v1", replay="uniform", **QUICK)
        assert run.returns.tolist() == reference.returns.tolist()


@pytest.mark.parametrize("n_envs", [1, 4])
def test_the_replay_holds_the_transitions_of_true_episodes_and_no_more(n_envs: int) -> None:
    run = rl.train("CartPole-v1", replay={"sampler": "uniform", "capacity": 600}, n_envs=n_envs, **QUICK)
    assert len(run.replay) == run.n_steps == 600
    batch = run.replay.sample(20_000)
    order = np.unique(batch["indices"], return_index=True)[1]
    stored = {name: column[order] for name, column in batch.items()}
    assert len(order) == 600
    ended = stored["terminated"] | stored["truncated"]
    assert ended.sum() == len(run.returns)
    for j in range(n_envs):  # row j of each step is environment j's
        obs, after, over = (stored[name][j::n_envs] for name in ("obs", "next_obs", "terminated"))
        np.testing.assert_array_equal(obs[1:][~over[:-1]], after[:-1][~over[:-1]])
        # one step of CartPole moves the cart by .02 of its speed: no row jumps into the next episode
        np.testing.assert_allclose(after[:, 0], obs[:, 0] + 0.02 * obs[:, 1], atol=1e-5)


def test_progress_is_told_about_a_hundred_times() -> None:
    told: list[tuple[int, int]] = []
    rl.train("CartPole-v1", replay="uniform", progress=lambda done, of: told.append((done, of)), **QUICK)
    assert len(told) == 100
    assert told[-1] == (600, 600)


def test_a_run_too_short_to_learn_says_so(caplog: pytest.LogCaptureFixture) -> None:
    run = rl.train("CartPole-v1", replay="uniform", **{**QUICK, "n_steps": 20})
    assert run.agent.n_updates == 0
    assert "nothing was learned" in caplog.text


@pytest.mark.parametrize(
    ("changed", "error", "says"),
    [
        ({"n_steps": 0}, ValueError, "n_steps must be a whole number of at least 1, got 0"),
        ({"n_steps": 1e4}, ValueError, "n_steps must be a whole number"),
        ({"n_evaluations": 0}, ValueError, "n_evaluations must be"),
        ({"n_eval_episodes": -1}, ValueError, "n_eval_episodes must be"),
        ({"n_test_episodes": 0}, ValueError, "n_test_episodes must be"),
        ({"seed": -1}, ValueError, "seed must be a whole number of at least 0, got -1"),
        ({"agent": "ppo"}, ValueError, "agent must be one of dqn, got 'ppo'"),
        (
            {"agent_options": {"width": 3}},
            ValueError,
            "an option of dqn must be one of hidden, double, .*'width'",
        ),
        ({"agent_options": {"lr": -1.0}}, ValueError, "lr must be finite and at least 0, got -1.0"),
        ({"replay": "sumtree"}, ValueError, "uniform.*per.*amper-k.*amper-fr"),
        ({"replay": {"sampler": "per", "size": 3}}, TypeError, "size"),
        ({"replay": 3}, TypeError, r"replay must be a name, .* got int without add\(\)"),
        ({"env": "FrozenLake-v1"}, TypeError, "observation space must be a Box, got Discrete"),
        ({"env": "Pendulum-v1"}, TypeError, "action space must be Discrete, got Box"),
    ],
)
def test_what_a_run_cannot_use_is_refused_with_what_it_can(
    changed: dict[str, Any], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        rl.train(**{"env": "CartPole-v1", **QUICK, **changed})


def test_a_diverging_run_names_the_step() -> None:
    class Rewarding(gymnasium.RewardWrapper[Any, Any]):
        def reward(self, reward: Any) -> float:
            return float("nan")

    with pytest.raises(FloatingPointError, match=r"at update 1 \(environment step 100\)"):
        rl.train(lambda: Rewarding(cart_pole()), replay="uniform", **QUICK)


def test_registering_an_agent_makes_it_available_once() -> None:
    with pytest.raises(ValueError, match="name must be new, got 'dqn'"):
        rl.agents.register("dqn", rl.agents._dqn)
    assert "dqn" in rl.agents.available()


def test_importing_the_package_loads_neither_numba_nor_gymnasium() -> None:
    code = "import rl, sys; rl.agents.available(); print({'numba', 'gymnasium'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_the_function_stays_the_function_whichever_module_was_imported_first() -> None:
    code = "import rl.training, rl.evaluation, rl; print(callable(rl.train), callable(rl.evaluate))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True True"


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'ppo'"):
        rl.ppo  # noqa: B018


@pytest.mark.slow
@pytest.mark.parametrize("replay", REPLAYS)
def test_cart_pole_is_solved_with_the_defaults(replay: str) -> None:
    means = [rl.train("CartPole-v1", replay=replay, n_steps=60_000, seed=seed).evaluation.mean for seed in range(5)]
    assert np.median(means) >= 475


@pytest.mark.parametrize("n_envs", [1, 3])
def test_dqn_learns_from_n_step_returns_of_a_compact_replay(n_envs):
    replay = {"sampler": "per", "capacity": 2_000, "n_step": 3, "compact": True, "threads": True}
    result = rl.train("CartPole-v1", replay=replay, n_steps=1_200, n_envs=n_envs, n_evaluations=1, n_eval_episodes=1)
    assert result.agent.n_updates > 100
    batch = result.replay.sample(500)
    assert set(np.unique(batch["discount"]).tolist()) <= {0.0, *(np.float32(0.99**k).item() for k in (1, 2, 3))}
    assert batch["reward"].max() == pytest.approx(1 + 0.99 + 0.99**2)
