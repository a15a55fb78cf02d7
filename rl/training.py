"""One run: an agent in its environment, evaluated on the way."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np

import amper
from amper.protocols import Float64, Int64, Replay
from rl import agents, blas
from rl.evaluation import Evaluation, evaluate
from rl.interaction import EnvLike, open_another, open_env, spaces_of, steps
from rl.protocols import Agent, Policy, Spaces, Step
from rl.streams import derived_seed

_log = logging.getLogger(__name__)

DEFAULT_CAPACITY = 50_000


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrainResult:
    """What a run left behind.

    Parameters
    ----------
    returns : float64[k]
        Undiscounted return of each finished training episode, in the order they ended.
    lengths : int64[k]
        Steps of each.
    ended_at : int64[k]
        Environment steps of the run, all environments together, when each ended.
    evaluation : Evaluation
        Of the selected checkpoint, on episodes no selection saw.
    last_evaluation : Evaluation
        Of the last iterate, without averaging or selection, on as many fresh episodes.
    curve : tuple of Evaluation
        The periodic evaluations of the averaged weights; the best mean, the latest of equals, was selected.
    policy : Policy
        The selected checkpoint.
    agent : Agent
        As it is after the last step.
    replay : Replay
    n_steps : int
        Environment steps taken, all environments together.
    """

    returns: Float64
    lengths: Int64
    ended_at: Int64
    evaluation: Evaluation
    last_evaluation: Evaluation
    curve: tuple[Evaluation, ...]
    policy: Policy
    agent: Agent
    replay: Replay
    n_steps: int


class _Episodes:
    """Returns of the episodes as they end, in whichever environment."""

    def __init__(self, n_envs: int) -> None:
        self._running = [(0.0, 0)] * n_envs
        self.ended: list[tuple[float, int, int]] = []

    def observe(self, step: Step, n_steps: int) -> None:
        rows = zip(step.reward.tolist(), step.terminated.tolist(), step.truncated.tolist(), strict=True)
        for j, (reward, terminated, truncated) in enumerate(rows):
            total, length = self._running[j]
            self._running[j] = (total + reward, length + 1)
            if terminated or truncated:
                self.ended.append((*self._running[j], n_steps))
                self._running[j] = (0.0, 0)

    def columns(self) -> tuple[Float64, Int64, Int64]:
        """Return the episodes' returns, lengths and the step each ended at."""
        returns, lengths, ended_at = zip(*self.ended, strict=True) if self.ended else ((), (), ())
        return np.array(returns, np.float64), np.array(lengths, np.int64), np.array(ended_at, np.int64)


class _Selection:
    """The periodic evaluations, and the best checkpoint so far."""

    def __init__(
        self, agent: Agent, judge: gymnasium.Env[Any, Any], n_episodes: int, n_steps: int, n_evaluations: int
    ) -> None:
        self.curve: list[Evaluation] = []
        self.policy: Policy = agent.policy()
        self.step = 0
        self._agent = agent
        self._judge = judge
        self._n_episodes = n_episodes
        self._due = [-(-k * n_steps // n_evaluations) for k in range(n_evaluations, 0, -1)]

    def observe(self, taken: int) -> None:
        """Evaluate where that is due after `taken` steps."""
        if not self._due or taken < self._due[-1]:
            return
        while self._due and taken >= self._due[-1]:
            self._due.pop()
        policy = self._agent.policy()
        self.curve.append(evaluate(policy, self._judge, self._n_episodes, step=taken))
        if self.curve[-1].mean >= max(entry.mean for entry in self.curve):
            self.policy, self.step = policy, taken


def _check_counts(**counts: int) -> None:
    for name, value in counts.items():
        if not isinstance(value, int | np.integer) or value < 1:
            raise ValueError(f"{name} must be a whole number of at least 1, got {value!r}")


def _replay_maker(replay: str | Mapping[str, Any] | Replay, spaces: Spaces, seed: int) -> Callable[..., Replay]:
    """Return the function that makes the run's replay from what the agent asks of it."""
    if not isinstance(replay, str | Mapping):
        for verb in ("add", "sample", "update_priorities"):
            if not callable(getattr(replay, verb, None)):
                raise TypeError(
                    f"replay must be a name, a dict of ReplayBuffer options or a Replay, got "
                    f"{type(replay).__name__} without {verb}()"
                )
        return lambda **_: replay
    chosen: dict[str, Any] = {"sampler": replay} if isinstance(replay, str) else dict(replay)
    capacity = chosen.pop("capacity", DEFAULT_CAPACITY)

    def make(**wanted: Any) -> Replay:
        options = {"n_envs": spaces.n_envs, "seed": seed, **wanted, **chosen}
        made: Replay = amper.ReplayBuffer.for_env(spaces, capacity, **options)
        return made

    return make


def train(
    env: EnvLike,
    agent: str = "dqn",
    replay: str | Mapping[str, Any] | Replay = "amper-fr",
    n_steps: int = 50_000,
    seed: int = 0,
    *,
    n_envs: int | None = None,
    agent_options: Mapping[str, Any] | None = None,
    eval_env: EnvLike | None = None,
    n_evaluations: int = 20,
    n_eval_episodes: int = 10,
    n_test_episodes: int = 20,
    progress: Callable[[int, int], None] | None = None,
) -> TrainResult:
    """Return the result of training `agent` in `env` for `n_steps` environment steps.

    The same arguments give the same result, number for number, on one machine.

    Parameters
    ----------
    env : str, gymnasium.Env, gymnasium.vector.VectorEnv or callable
        Id, environment or factory. A vector environment must reset in AutoresetMode.SAME_STEP.
    agent : str
        One of `rl.agents.available()`.
    replay : str, mapping or Replay
        A sampler's name; options of `amper.ReplayBuffer` (`sampler`, `capacity`, `alpha`, `sink`, ...); or a
        replay, whose columns are obs, action, reward, next_obs, terminated, truncated. Made here it holds
        50,000 transitions unless told otherwise, its discount is the agent's and its seed the run's.
    n_steps : int
        Environment steps, all environments together; rounded up to a multiple of their number.
    seed : int
        Of everything: weights, exploration, environments, replay.
    n_envs : int, optional
        Environments stepped together, made from an id or a factory; by default 1.
    agent_options : mapping, optional
        Fields of the agent's configuration: for dqn, `rl.DqnConfig`.
    eval_env : as `env`, optional
        Where to evaluate; by default another one like `env`.
    n_evaluations, n_eval_episodes : int
        The averaged weights are evaluated so often, at equal distances and at the end, for so many greedy
        episodes each; the best is the selected checkpoint.
    n_test_episodes : int
        Fresh episodes, after training, of the selected checkpoint and of the last iterate.
    progress : callable, optional
        Called with (steps taken, n_steps) about a hundred times.

    Raises
    ------
    ValueError
        If a number is out of range, a name or option is unknown, or a vector environment resets in another
        mode.
    TypeError
        If an argument, or a space of the environment, is of a kind the agent cannot use.
    FloatingPointError
        If the loss stops being finite; names the step.
    """
    _check_counts(
        n_steps=n_steps,
        n_evaluations=n_evaluations,
        n_eval_episodes=n_eval_episodes,
        n_test_episodes=n_test_episodes,
    )
    if not isinstance(seed, int | np.integer) or seed < 0:
        raise ValueError(f"seed must be a whole number of at least 0, got {seed!r}")
    opened = open_env(env, n_envs)
    spaces = spaces_of(opened)
    learner = agents.make(
        agent,
        spaces=spaces,
        make_replay=_replay_maker(replay, spaces, seed),
        n_steps=n_steps,
        seed=seed,
        options=agent_options,
    )
    judge = open_another(env if eval_env is None else eval_env)
    judge.reset(seed=derived_seed(seed, "periodic evaluation"))
    episodes = _Episodes(spaces.n_envs)
    selection = _Selection(learner, judge, n_eval_episodes, n_steps, n_evaluations)
    with contextlib.ExitStack() as stack:
        stack.enter_context(blas.single_threaded())
        stack.callback(judge.close)
        if opened is not env:
            stack.callback(opened.close)
        taken = 0
        for step in steps(opened, learner.act, seed=derived_seed(seed, "environment")):
            learner.observe(step)
            before, taken = taken, taken + spaces.n_envs
            episodes.observe(step, taken)
            selection.observe(taken)
            if progress is not None and taken * 100 // n_steps > before * 100 // n_steps:
                progress(min(taken, n_steps), n_steps)
            if taken >= n_steps:
                break
        test_seed = derived_seed(seed, "test episodes")  # the same first states for both
        evaluation = evaluate(selection.policy, judge, n_test_episodes, seed=test_seed, step=selection.step)
        last = evaluate(
            learner.policy(averaged=False), judge, n_test_episodes, seed=test_seed, step=taken, averaged=False
        )
    if learner.n_updates == 0:
        _log.warning("%d steps ended before the first update: nothing was learned", taken)
    returns, lengths, ended_at = episodes.columns()
    return TrainResult(
        returns=returns,
        lengths=lengths,
        ended_at=ended_at,
        evaluation=evaluation,
        last_evaluation=last,
        curve=tuple(selection.curve),
        policy=selection.policy,
        agent=learner,
        replay=learner.replay,
        n_steps=taken,
    )
