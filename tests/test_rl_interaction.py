"""The agent-environment loop: what it yields, single and vector, and the environments it refuses."""

from __future__ import annotations

from itertools import islice
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from rl.evaluation import evaluate
from rl.interaction import open_another, open_env, spaces_of, steps


class Corridor(gymnasium.Env[Any, Any]):
    """Observation = (episode, step). Episodes last 3, 4, 5, 3, ... steps and end by turns in either way."""

    observation_space = gymnasium.spaces.Box(0.0, 1e6, (2,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self) -> None:
        self.episode = -1

    def _obs(self) -> Any:
        return np.array([self.episode, self.now], np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.episode += 1
        self.now = 0
        return self._obs(), {}

    def step(self, action: Any) -> Any:
        self.now += 1
        ended = self.now == 3 + self.episode % 3
        by_itself = self.episode % 2 == 0
        return self._obs(), float(self.now), ended and by_itself, ended and not by_itself, {}


def zeros(obs: Any) -> Any:
    return np.zeros(len(obs), np.int64)


def rows(env: Any, n: int, j: int = 0) -> list[Any]:
    """Return row j of the first n steps, as plain values."""
    return [tuple(np.asarray(column)[j].tolist() for column in step) for step in islice(steps(env, zeros), n)]


def test_every_yielded_step_is_a_true_transition() -> None:
    for obs, _, reward, next_obs, terminated, truncated in rows(Corridor(), 60):
        assert next_obs == [obs[0], obs[1] + 1]
        assert reward == next_obs[1]
        ended = next_obs[1] == 3 + obs[0] % 3
        assert terminated == (ended and obs[0] % 2 == 0)
        assert truncated == (ended and obs[0] % 2 == 1)


@pytest.mark.parametrize("opened", ["by number", "sync"])
def test_a_vector_environment_yields_the_transitions_of_single_ones_and_not_one_more(opened: str) -> None:
    n = 60
    single = rows(Corridor(), n)
    if opened == "by number":
        vector: Any = open_env(Corridor, 3)
    else:
        vector = open_env(SyncVectorEnv([Corridor] * 3, autoreset_mode=AutoresetMode.SAME_STEP))
    for j in range(3):
        assert rows(open_env(Corridor, 3) if j else vector, n, j) == single


def test_the_default_autoreset_mode_would_store_a_bogus_transition_an_episode_and_is_refused() -> None:
    vector = SyncVectorEnv([Corridor] * 2)
    bogus = [row for row in _next_step_rows(vector, 60) if row[1][1] != row[0][1] + 1]
    assert len(bogus) > 5
    with pytest.raises(ValueError, match=r"autoreset_mode must be AutoresetMode\.SAME_STEP, got"):
        open_env(vector)
    with pytest.raises(ValueError, match="autoreset_mode must be"):
        open_env(gymnasium.make_vec("CartPole-v1", 2, vectorization_mode="vector_entry_point"))


def _next_step_rows(vector: Any, n: int) -> list[Any]:
    obs, found = vector.reset()[0].copy(), []
    for _ in range(n):
        next_obs = vector.step(np.zeros(2, np.int64))[0].copy()
        found.append((obs[0], next_obs[0]))
        obs = next_obs
    return found


def test_yielded_arrays_survive_an_environment_that_reuses_its_own() -> None:
    class Reusing(Corridor):
        buffer = np.zeros(2, np.float32)

        def _obs(self) -> Any:
            self.buffer[:] = self.episode, self.now
            return self.buffer

    assert rows(Reusing(), 30) == rows(Corridor(), 30)
    kept = list(islice(steps(Reusing(), zeros), 5))
    assert [step.obs[0, 1] for step in kept] == [0, 1, 2, 0, 1]


def test_an_environment_is_opened_by_id_by_factory_and_as_it_is() -> None:
    env = Corridor()
    assert open_env(env) is env
    assert isinstance(open_env(Corridor), Corridor)
    by_id: Any = open_env("CartPole-v1")
    assert by_id.spec.id == "CartPole-v1"
    spaces = spaces_of(open_env("CartPole-v1", 3))
    assert spaces.n_envs == 3
    assert spaces.observation_space.shape == (4,)
    assert spaces.action_space.n == 2


def test_another_environment_is_a_copy_and_never_the_same() -> None:
    env = gymnasium.make("CartPole-v1")
    copied = open_another(env)
    assert copied is not env
    assert copied.unwrapped is not env.unwrapped
    member = open_another(SyncVectorEnv([Corridor] * 2, autoreset_mode=AutoresetMode.SAME_STEP))
    assert isinstance(member, Corridor)
    assert isinstance(open_another(Corridor), Corridor)


def test_an_environment_that_cannot_be_copied_asks_for_another() -> None:
    class Stuck(Corridor):
        def __deepcopy__(self, memo: Any) -> Any:
            raise TypeError("holds a socket")

    with pytest.raises(ValueError, match="eval_env must be given"):
        open_another(Stuck())
    made = gymnasium.make("CartPole-v1")
    made.unwrapped.__class__ = type("Stuck", (type(made.unwrapped),), {"__deepcopy__": Stuck.__deepcopy__})
    again = open_another(made)
    assert again.spec is not None
    assert again.spec.id == "CartPole-v1"


@pytest.mark.parametrize(
    ("env", "n_envs", "error", "says"),
    [
        ("NoSuchEnvironment-v0", None, ValueError, "env must be an id that gymnasium knows, got 'NoSuch"),
        ("CartPole-v1", 0, ValueError, "n_envs must be at least 1, got 0"),
        (Corridor(), 2, ValueError, "n_envs must be 1 for a single environment, got 2"),
        (3, None, TypeError, "env must be an id, an environment or a factory, got int"),
    ],
)
def test_what_is_no_environment_is_refused(env: Any, n_envs: int | None, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        open_env(env, n_envs)


def test_the_number_of_environments_must_be_the_vectors_own() -> None:
    vector = SyncVectorEnv([Corridor] * 2, autoreset_mode=AutoresetMode.SAME_STEP)
    with pytest.raises(ValueError, match="n_envs must be the vector environment's own 2, got 3"):
        open_env(vector, 3)


def test_an_evaluation_plays_whole_episodes_and_sums_their_rewards() -> None:
    found = evaluate(zeros, Corridor(), 4, step=7, averaged=False)
    assert found.lengths.tolist() == [3, 4, 5, 3]
    assert found.returns.tolist() == [6.0, 10.0, 15.0, 6.0]
    assert found.mean == 9.25
    numbers = {"mean": 9.25, "returns": [6.0, 10.0, 15.0, 6.0], "lengths": [3, 4, 5, 3]}
    assert found.to_dict() == {"step": 7, "averaged": False, **numbers}


def test_an_evaluation_cuts_an_episode_that_never_ends(caplog: pytest.LogCaptureFixture) -> None:
    class Endless(Corridor):
        def step(self, action: Any) -> Any:
            return np.zeros(2, np.float32), 1.0, False, False, {}

    assert evaluate(zeros, Endless(), 1, max_steps=50).lengths.tolist() == [50]
    assert "cut after 50 steps" in caplog.text


@pytest.mark.parametrize("counts", [(0, 10), (1, 0)])
def test_an_evaluation_needs_an_episode_and_a_step(counts: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="n_episodes and max_steps must be at least 1"):
        evaluate(zeros, Corridor(), counts[0], max_steps=counts[1])
