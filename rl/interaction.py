"""Opening environments, and the agent-environment loop: a generator that only yields steps.

Environments are stepped in Gymnasium's autoreset mode SAME_STEP: every row is then a true transition. In the
default mode NEXT_STEP the step after an episode's end resets and would store one bogus transition an episode.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv

from amper.protocols import Array, Int64
from rl.protocols import Spaces, Step

SingleEnv: TypeAlias = "gymnasium.Env[Any, Any]"
ManyEnvs: TypeAlias = "VectorEnv[Any, Any, Any]"
#: An id that `gymnasium.make` knows, an environment, or a function that makes one.
EnvLike: TypeAlias = "str | SingleEnv | ManyEnvs | Callable[[], SingleEnv]"


def _factory(env: str | Callable[[], SingleEnv]) -> Callable[[], SingleEnv]:
    if not isinstance(env, str):
        return env
    try:
        gymnasium.spec(env)
    except gymnasium.error.Error as error:
        raise ValueError(f"env must be an id that gymnasium knows, got {env!r}; {error}") from error
    return lambda: gymnasium.make(env, disable_env_checker=True)


def open_env(env: EnvLike, n_envs: int | None = None) -> SingleEnv | ManyEnvs:
    """Return an environment ready for `steps`; a vector environment where `n_envs` > 1.

    Parameters
    ----------
    env : str, gymnasium.Env, gymnasium.vector.VectorEnv or callable
        Id, environment or factory. An environment is used as it is.
    n_envs : int, optional
        Environments stepped together; by default 1, or as many as a vector environment has.

    Raises
    ------
    ValueError
        If the id is unknown, `n_envs` cannot be had from `env`, or a vector environment resets in another
        mode.
    TypeError
        If `env` is none of these.
    """
    if n_envs is not None and n_envs < 1:
        raise ValueError(f"n_envs must be at least 1, got {n_envs!r}")
    if isinstance(env, VectorEnv):
        if n_envs not in {None, env.num_envs}:
            raise ValueError(f"n_envs must be the vector environment's own {env.num_envs}, got {n_envs!r}")
        mode = env.metadata.get("autoreset_mode")
        if mode != AutoresetMode.SAME_STEP:
            raise ValueError(
                f"autoreset_mode must be AutoresetMode.SAME_STEP, got {mode}; pass "
                'vector_kwargs={"autoreset_mode": AutoresetMode.SAME_STEP} to gymnasium.make_vec'
            )
        return env
    if isinstance(env, gymnasium.Env):
        if n_envs not in {None, 1}:
            raise ValueError(f"n_envs must be 1 for a single environment, got {n_envs!r}; pass an id")
        return env
    if not (isinstance(env, str) or callable(env)):
        raise TypeError(f"env must be an id, an environment or a factory, got {type(env).__name__}")
    factory = _factory(env)
    if n_envs in {None, 1}:
        return factory()
    return SyncVectorEnv([factory] * int(n_envs or 1), autoreset_mode=AutoresetMode.SAME_STEP)


def open_another(env: EnvLike) -> SingleEnv:
    """Return a fresh single environment like `env`, for evaluation.

    Raises
    ------
    ValueError
        If `env` is an environment that can be neither copied nor made again.
    """
    if isinstance(env, str) or not isinstance(env, gymnasium.Env | VectorEnv):
        return _factory(env)()
    members: Any = getattr(env.unwrapped, "envs", None)  # a SyncVectorEnv's
    single = members[0] if isinstance(env, VectorEnv) and isinstance(members, list) else env
    if isinstance(single, gymnasium.Env):
        try:
            return copy.deepcopy(single)
        except Exception as error:  # an environment may hold windows, sockets, processes
            if single.spec is None:
                raise ValueError("eval_env must be given for an environment that cannot be copied") from error
    if env.spec is None:
        raise ValueError("eval_env must be given for an environment that cannot be copied, got None")
    return gymnasium.make(env.spec.id, disable_env_checker=True, **env.spec.kwargs)


def spaces_of(env: SingleEnv | ManyEnvs) -> Spaces:
    """Return what `env` shows and takes."""
    if isinstance(env, VectorEnv):
        return Spaces(
            observation_space=env.single_observation_space,
            action_space=env.single_action_space,
            n_envs=env.num_envs,
        )
    return Spaces(observation_space=env.observation_space, action_space=env.action_space)


def steps(env: SingleEnv | ManyEnvs, act: Callable[[Array], Int64], *, seed: int | None = None) -> Iterator[Step]:
    """Yield step after step of `env` under `act`, without end; ended episodes are reset.

    Parameters
    ----------
    env : gymnasium.Env, or gymnasium.vector.VectorEnv in autoreset mode SAME_STEP
        As `open_env` returns it.
    act : callable
        obs [e, *observation shape] -> int64[e].
    seed : int, optional
        Of the first reset.

    Yields
    ------
    Step
        Its arrays are fresh; the caller may keep them.
    """
    return _vector_steps(env, act, seed) if isinstance(env, VectorEnv) else _single_steps(env, act, seed)


def _single_steps(env: SingleEnv, act: Callable[[Array], Int64], seed: int | None) -> Iterator[Step]:
    obs = np.array(env.reset(seed=seed)[0])[None]
    while True:
        action = act(obs)
        row, reward, terminated, truncated, _ = env.step(action.item())
        next_obs = np.array(row)[None]
        yield Step(
            obs,
            action,
            np.array([reward], np.float64),
            next_obs,
            np.array([terminated]),
            np.array([truncated]),
        )
        obs = np.array(env.reset()[0])[None] if terminated or truncated else next_obs


def _vector_steps(env: ManyEnvs, act: Callable[[Array], Int64], seed: int | None) -> Iterator[Step]:
    obs = np.array(env.reset(seed=seed)[0])
    while True:
        action = act(obs)
        rows, reward, terminated, truncated, info = env.step(action)
        after = np.array(rows)  # already of the next episode where one ended
        next_obs = after
        ended = np.flatnonzero(np.logical_or(terminated, truncated))
        if ended.size:
            next_obs = after.copy()
            for j in ended:
                next_obs[j] = info["final_obs"][j]
        yield Step(obs, action, np.array(reward, np.float64), next_obs, np.array(terminated), np.array(truncated))
        obs = after
