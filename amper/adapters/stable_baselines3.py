"""stable-baselines3: the replay as its replay buffer, for every off-policy algorithm; and a DQN that prioritizes.

`PrioritizedReplayBuffer` alone serves DQN, SAC, TD3 and DDPG as `replay_buffer_class`: they draw by the sampler's law,
leave the importance weights unread and hand no errors back. `PrioritizedDQN` does both. One file an ecosystem, and
longer than most for the two interfaces it stands in.
"""

from __future__ import annotations

import pathlib
import re
from collections.abc import Mapping
from io import BufferedIOBase
from typing import Any, NamedTuple

import numpy as np

try:
    import torch as th
    from stable_baselines3 import DQN
    from stable_baselines3.common.buffers import ReplayBuffer
    from stable_baselines3.common.vec_env import VecNormalize
    from torch.nn import functional
except ImportError as error:
    raise ImportError(
        'amper.adapters.stable_baselines3 needs stable-baselines3: pip install ".[adapters]" from a clone of this '
        "repository (where there is no GPU, torch's CPU build first)"
    ) from error

from amper.protocols import Array, Int64
from amper.replay import ReplayBuffer as AmperReplayBuffer
from amper.schedules import Linear

_ARRAYS = ("observations", "next_observations", "actions", "rewards", "dones", "timeouts")


class PrioritizedReplayBufferSamples(NamedTuple):
    """A batch: the fields of stable-baselines3's, in their order, then what prioritizing needs.

    observations, next_observations: [b, *shape], or a dict of such. actions: [b, action_dim]. dones, rewards, weights:
    float32[b, 1]; dones is 1 where the episode terminated, 0 where a time limit cut it. discounts: float32[b, 1] for
    n-step returns, else None. indices: the ids of the transitions, a NumPy array.
    """

    observations: Any
    actions: th.Tensor
    next_observations: Any
    dones: th.Tensor
    rewards: th.Tensor
    discounts: th.Tensor | None
    weights: th.Tensor
    indices: Int64


class PrioritizedReplayBuffer(ReplayBuffer):  # type: ignore[misc,unused-ignore]  # Any where it is not installed
    """An `amper.ReplayBuffer` in the place of stable-baselines3's replay buffer.

    Parameters
    ----------
    buffer_size, observation_space, action_space, device, n_envs, handle_timeout_termination
        As in stable-baselines3, Dict observations included. `buffer_size` counts transitions of all environments and
        is rounded down to a multiple of `n_envs`.
    optimize_memory_usage : bool
        False; `compact` does what it is for.
    sampler, sampler_options, alpha, beta, eps, compact
        As in `amper.ReplayBuffer`. `compact` keeps each observation once, time limits and Dict spaces included.
    n_steps : int
        Steps a reward is summed over. An environment that is reset from outside, as a second `learn` does, ends the
        sum there.
    gamma : float
        Discount of an n-step sum; the algorithm's own.
    seed : int, optional
        Of every draw. By default drawn from NumPy's global generator, which an algorithm's `seed` sets.

    Attributes
    ----------
    replay : amper.ReplayBuffer
        Where the transitions are.
    pos, full : int, bool
        Next row, and whether all rows are written; a row holds one transition of each environment. Steps still
        waiting to be summed do not count.

    Raises
    ------
    ValueError, TypeError
        If a parameter is out of range or of the wrong type.

    Notes
    -----
    Under VecNormalize observations and rewards are stored as they are and normalised when sampled. An n-step sum is
    divided by the standard deviation of the returns and clipped as one number; stable-baselines3 clips each of its
    rewards before it sums them. The two agree where nothing is clipped.

    Examples
    --------
    >>> from stable_baselines3 import DQN
    >>> options = {"sampler": "amper-fr", "beta": 0.5}
    >>> model = DQN("MlpPolicy", "CartPole-v1", buffer_size=500, replay_buffer_class=PrioritizedReplayBuffer,
    ...             replay_buffer_kwargs=options, device="cpu", seed=0).learn(200)
    >>> model.replay_buffer.size(), model.replay_buffer.sample(32).weights.shape
    (200, torch.Size([32, 1]))
    """

    n_envs: int

    def __init__(
        self,
        buffer_size: int,
        observation_space: Any,
        action_space: Any,
        device: th.device | str = "auto",
        n_envs: int = 1,
        optimize_memory_usage: bool = False,
        handle_timeout_termination: bool = True,
        *,
        sampler: str = "per",
        sampler_options: Mapping[str, Any] | None = None,
        alpha: float | Linear = 0.6,
        beta: float | Linear = 0.4,
        eps: float = 1e-6,
        compact: bool = False,
        n_steps: int = 1,
        gamma: float = 0.99,
        seed: int | None = None,
    ) -> None:
        # Not ReplayBuffer's constructor, which allocates its arrays.
        super(ReplayBuffer, self).__init__(buffer_size, observation_space, action_space, device, n_envs=n_envs)
        if optimize_memory_usage:
            raise ValueError(
                "optimize_memory_usage must be False, got True; to keep each observation once, pass "
                "replay_buffer_kwargs={'compact': True}"
            )
        self.buffer_size = max(buffer_size // n_envs, 1)
        self.optimize_memory_usage = False
        self.handle_timeout_termination = handle_timeout_termination
        self.n_steps = n_steps
        if seed is None:
            # stable-baselines3 draws everything from this generator: an algorithm's seed then decides here as well.
            seed = int(np.random.randint(2**31 - 1))  # noqa: NPY002
        shapes: Any = self.obs_shape
        #: for a Dict space, each key's ending of its two columns
        self._endings = _endings(shapes) if isinstance(shapes, dict) else {}
        fields = self._fields()
        # With one environment a transition comes without an axis for environments: the shortest way in.
        lead = (n_envs,) if n_envs > 1 else ()
        self._none = np.zeros(n_envs, bool)
        self._shapes = {name: lead + spec.get("shape", ()) for name, spec in fields.items()}
        self._options: dict[str, Any] = {
            "capacity": self.buffer_size * n_envs, "fields": fields, "n_envs": n_envs,
            "sampler": sampler, "sampler_options": sampler_options, "alpha": alpha, "beta": beta, "eps": eps,
            "compact": compact, "n_step": n_steps, "discount": gamma, "seed": seed,
        }  # fmt: skip
        self.reset()

    def _fields(self) -> dict[str, dict[str, Any]]:
        """Return the columns: obs and next_obs, or for a Dict space two a key; action, reward and the two ends."""
        space: Any = self.observation_space
        if self._endings:
            shapes: Any = self.obs_shape
            observations = {
                ending: {"shape": shapes[key], "dtype": space[key].dtype} for key, ending in self._endings.items()
            }
        else:
            observations = {"": {"shape": self.obs_shape, "dtype": space.dtype}}
        return {
            **{f"obs{ending}": spec for ending, spec in observations.items()},
            "action": {"shape": (self.action_dim,), "dtype": self._maybe_cast_dtype(self.action_space.dtype)},
            "reward": {"dtype": "float32"},
            **{f"next_obs{ending}": spec for ending, spec in observations.items()},
            "terminated": {"dtype": "bool"},
            "truncated": {"dtype": "bool"},
        }

    def __getattr__(self, name: str) -> Any:
        """Say where the transitions are to who looks for stable-baselines3's arrays."""
        if name in _ARRAYS:
            raise AttributeError(f"{type(self).__name__} keeps no array {name!r}; use sample(), or .replay")
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def size(self) -> int:
        """Return the number of rows that can be drawn; a row holds one transition of each environment."""
        return len(self.replay) // self.n_envs

    def reset(self) -> None:
        """Empty the buffer: it is as newly constructed, and draws what it drew then."""
        super().reset()
        self.replay = AmperReplayBuffer(**self._options)
        self._n_issued = 0
        #: each environment's last observation, None where none follows it; what n-step returns alone need
        self._led_to: list[bytes | None] = [None] * self.n_envs

    def add(
        self, obs: Any, next_obs: Any, action: Array, reward: Array, done: Array, infos: list[dict[str, Any]]
    ) -> None:
        """Store one step of every environment, at the largest priority seen.

        Parameters
        ----------
        obs, next_obs : array[n_envs, ...] or dict of such
        action : array[n_envs, ...]
        reward, done : array[n_envs]
        infos : list of dict
            `TimeLimit.truncated` is read where timeouts are handled.

        Raises
        ------
        ValueError, TypeError
            If an array does not fit its space. The step is not stored then.
        """
        terminated, truncated = np.asarray(done, bool), self._none
        if self.handle_timeout_termination and terminated.any():
            truncated = terminated & np.array([bool(info.get("TimeLimit.truncated", False)) for info in infos])
            terminated = terminated & ~truncated
        columns = {
            **self._observation("obs", obs),
            "action": action,
            "reward": reward,
            **self._observation("next_obs", next_obs),
            "terminated": terminated,
            "truncated": truncated,
        }
        columns = {name: np.asarray(value).reshape(self._shapes[name]) for name, value in columns.items()}
        if self.n_steps > 1:
            self._end_cut_episodes(columns)
        self._count(self.replay.add(**columns))

    def _observation(self, prefix: str, obs: Any) -> dict[str, Any]:
        """Return an observation's columns."""
        if not self._endings:
            return {prefix: obs}
        return {f"{prefix}{ending}": obs[key] for key, ending in self._endings.items()}

    def _count(self, ids: Int64) -> None:
        self._n_issued += len(ids)
        rows = self._n_issued // self.n_envs
        self.pos, self.full = rows % self.buffer_size, rows >= self.buffer_size

    def _end_cut_episodes(self, columns: Mapping[str, Array]) -> None:
        """Flush the pending steps of each environment that was reset from outside, which raises no flag.

        Its observation, byte for byte, is not the one the last step led to.
        """
        endings, envs = tuple(self._endings.values()) or ("",), range(self.n_envs)
        before, after = (
            [
                b"".join(columns[prefix + ending].reshape(len(envs), -1)[env].tobytes() for ending in endings)
                for env in envs
            ]
            for prefix in ("obs", "next_obs")
        )
        for env in envs:
            if self._led_to[env] not in (None, before[env]):
                self._count(self.replay.end_episode(env))
        ended = (columns["terminated"] | columns["truncated"]).reshape(len(envs))
        self._led_to = [None if end else place for end, place in zip(ended, after, strict=True)]

    def sample(  # type: ignore[override,unused-ignore]  # returns more fields
        self, batch_size: int, env: VecNormalize | None = None
    ) -> PrioritizedReplayBufferSamples:
        """Draw transitions, with replacement.

        Parameters
        ----------
        batch_size : int
            Draws, b.
        env : VecNormalize, optional
            Normalises observations and rewards.

        Returns
        -------
        PrioritizedReplayBufferSamples
            Fresh tensors, the caller's to keep.

        Raises
        ------
        ValueError
            If there is nothing to draw, or `batch_size` < 1.
        """
        if self.n_steps > 1 and not len(self.replay):
            raise ValueError(
                f"sample must follow n_steps={self.n_steps} steps of an environment, got fewer; raise learning_starts"
            )
        batch = self.replay.sample(batch_size)
        discounts = batch["discount"][:, np.newaxis] if self.n_steps > 1 else None
        return PrioritizedReplayBufferSamples(
            observations=self._tensors("obs", batch, env),
            actions=self._tensor(batch["action"]),
            next_observations=self._tensors("next_obs", batch, env),
            dones=self._tensor(batch["terminated"][:, np.newaxis].astype(np.float32)),
            rewards=self._tensor(self._normalize_reward(batch["reward"][:, np.newaxis], env)),
            discounts=None if discounts is None else self._tensor(discounts),
            weights=self._tensor(batch["weights"][:, np.newaxis]),
            indices=batch["indices"],
        )

    def _tensors(self, prefix: str, batch: Mapping[str, Array], env: VecNormalize | None) -> Any:
        """Return an observation as the policies take it."""
        if not self._endings:
            return self._tensor(self._normalize_obs(batch[prefix], env))
        obs: Any = self._normalize_obs({key: batch[prefix + ending] for key, ending in self._endings.items()}, env)
        return {key: self._tensor(value) for key, value in obs.items()}

    def _tensor(self, array: Any) -> th.Tensor:
        return self.to_torch(array, copy=False)  # the replay hands out fresh arrays

    def update_priorities(self, indices: Any, td_errors: Any) -> int:
        """Store new priorities and return how many distinct live transitions were written.

        Parameters
        ----------
        indices : int64[b]
            As `sample` returned them.
        td_errors : tensor or array of b numbers
            TD errors of either sign.

        Raises
        ------
        IndexError, TypeError, ValueError
            As `amper.ReplayBuffer.update_priorities`.
        """
        if isinstance(td_errors, th.Tensor):
            td_errors = td_errors.detach().cpu().numpy()
        return self.replay.update_priorities(indices, np.abs(td_errors).reshape(-1))

    def _get_samples(self, batch_inds: Array, env: VecNormalize | None = None) -> Any:
        raise NotImplementedError(
            f"{type(self).__name__} draws by its sampler and reads no rows by number; use sample()"
        )


def _endings(keys: Mapping[str, Any]) -> dict[str, str]:
    """Return for each key an ending that makes identifiers of `obs` and `next_obs`, no two alike."""
    endings: dict[str, str] = {}
    for key in keys:
        ending = "_" + re.sub(r"\W", "_", str(key), flags=re.ASCII)
        while ending in endings.values():
            ending += "_"
        endings[key] = ending
    return endings


class PrioritizedDQN(DQN):  # type: ignore[misc,unused-ignore]  # Any where it is not installed
    """stable-baselines3's DQN over a prioritized replay: weighted errors, and priorities that follow them.

    Constructed as DQN is. `replay_buffer_class` is `PrioritizedReplayBuffer` unless another one with an
    `update_priorities` is given, `replay_buffer_kwargs` are its options, and `n_steps` and `gamma` reach it.

    Raises
    ------
    TypeError
        If `replay_buffer_class`, or a buffer loaded, has no `update_priorities`.
    ValueError
        If `n_steps` and `replay_buffer_kwargs` name different numbers of steps.

    Examples
    --------
    >>> model = PrioritizedDQN("MlpPolicy", "CartPole-v1", buffer_size=500, n_steps=1, device="cpu", seed=0,
    ...                        replay_buffer_kwargs={"sampler": "amper-fr"}).learn(200)
    >>> model.replay_buffer.replay
    ReplayBuffer(amper-fr, 200 of 500)
    """

    replay_buffer: Any
    replay_buffer_class: Any
    replay_buffer_kwargs: dict[str, Any]
    n_steps: int

    def _setup_model(self) -> None:
        chosen = self.replay_buffer_class = self.replay_buffer_class or PrioritizedReplayBuffer
        _check_updatable("replay_buffer_class", chosen)
        given, n_steps = self.replay_buffer_kwargs, self.n_steps
        if not issubclass(chosen, PrioritizedReplayBuffer):
            super()._setup_model()
            return
        if n_steps > 1 and given.get("n_steps", n_steps) != n_steps:
            raise ValueError(f"replay_buffer_kwargs['n_steps'] must be n_steps={n_steps}, got {given['n_steps']!r}")
        self.replay_buffer_kwargs = {"n_steps": n_steps, "gamma": self.gamma, **given}
        self.n_steps = 1  # or a warning says that a replay_buffer_class of one's own does not hear of it
        try:
            super()._setup_model()
        finally:
            self.replay_buffer_kwargs, self.n_steps = given, n_steps

    def load_replay_buffer(self, path: str | pathlib.Path | BufferedIOBase, truncate_last_traj: bool = True) -> None:
        """Continue with a buffer that `save_replay_buffer` wrote; as in DQN."""
        before = self.replay_buffer
        super().load_replay_buffer(path, truncate_last_traj)
        loaded, self.replay_buffer = self.replay_buffer, before
        _check_updatable("path", type(loaded))
        self.replay_buffer = loaded

    def train(self, gradient_steps: int, batch_size: int = 100) -> None:
        """Take DQN's gradient steps on the weighted errors, and hand the errors back as priorities.

        The loss is mean(weight * huber(TD error)) (Schaul et al. 2016, algorithm 1).
        """
        self.policy.set_training_mode(True)
        optimizer = self.policy.optimizer
        self._update_learning_rate(optimizer)
        losses = []
        for _ in range(gradient_steps):
            batch = self.replay_buffer.sample(batch_size, env=self._vec_normalize_env)
            discounts = self.gamma if batch.discounts is None else batch.discounts
            with th.no_grad():
                next_values = self.q_net_target(batch.next_observations).amax(dim=1, keepdim=True)
                targets = batch.rewards + (1 - batch.dones) * discounts * next_values
            values = self.q_net(batch.observations).gather(1, batch.actions.long())
            loss = (batch.weights * functional.smooth_l1_loss(values, targets, reduction="none")).mean()
            optimizer.zero_grad()
            loss.backward()
            th.nn.utils.clip_grad_norm_(self.policy.parameters(), self.max_grad_norm)
            optimizer.step()
            losses.append(loss.item())
            self.replay_buffer.update_priorities(batch.indices, targets - values.detach())
        self._n_updates += gradient_steps
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")
        self.logger.record("train/loss", np.mean(losses))


def _check_updatable(name: str, chosen: type) -> None:
    """Refuse a buffer that takes no priorities."""
    if not callable(getattr(chosen, "update_priorities", None)):
        raise TypeError(f"{name} must have an update_priorities, as PrioritizedReplayBuffer has, got {chosen.__name__}")
