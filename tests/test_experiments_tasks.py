"""The tasks: settings that an agent takes, returns that frame what can be earned."""

import gymnasium
import numpy as np
import pytest

import rl
from experiments.tasks import TASKS, task


@pytest.mark.parametrize("env", TASKS)
def test_a_tasks_settings_are_an_agents(env):
    chosen = task(env)
    assert chosen.env == env
    assert rl.DqnConfig(**chosen.agent_options)
    assert chosen.random_return < chosen.goal
    assert chosen.n_evaluations <= chosen.n_steps


@pytest.mark.parametrize("env", ["CartPole-v1", "Acrobot-v1"])
def test_a_random_policy_earns_what_is_stated(env):
    stated, opened = task(env).random_return, gymnasium.make(env, disable_env_checker=True)
    opened.action_space.seed(1)
    returns = []
    for episode in range(100):
        opened.reset(seed=1 if episode == 0 else None)
        earned, ended = 0.0, False
        while not ended:
            _, reward, terminated, truncated, _ = opened.step(opened.action_space.sample())
            earned += float(reward)
            ended = terminated or truncated
        returns.append(earned)
    # Four standard errors: a false alarm in 16,000 seeds. At least 1: few episodes of Acrobot differ at all.
    assert np.mean(returns) == pytest.approx(stated, abs=max(1.0, 4 * np.std(returns) / 10))


def test_a_run_takes_a_tasks_settings():
    chosen = task("CartPole-v1")
    result = rl.train(
        chosen.env, replay="per", n_steps=1_200, agent_options=chosen.agent_options, **chosen.evaluations()
    )
    assert len(result.curve) == chosen.n_evaluations
    assert len(result.evaluation.returns) == chosen.n_test_episodes


def test_an_environment_without_settings_is_answered_by_those_that_have_some():
    with pytest.raises(ValueError, match="env must be one of CartPole-v1, Acrobot-v1, LunarLander-v3, got 'Pong'"):
        task("Pong")
