"""The replays compared, each behind the same five verbs: fill, add, sample, update, and its own form of an index.

A transition is an observation float32[4], an action, a reward, the next observation, and whether it terminated. Peers
are used by their public methods; only tianshou's bulk fill, which has none, writes its columns.
"""

from __future__ import annotations

from importlib import metadata
from typing import Any

import numpy as np

ALPHA, BETA = 0.6, 0.4
FIELDS = {
    "obs": {"shape": (4,)},
    "action": {"dtype": "int64"},
    "reward": {},
    "next_obs": {"shape": (4,)},
    "terminated": {"dtype": "bool"},
}
_CHUNK = 100_000


class Ours:
    package = "amper-sim"

    def __init__(self, n: int, sampler: str, **options: Any) -> None:
        import amper

        self.buffer = amper.ReplayBuffer(
            n, FIELDS, sampler=sampler, sampler_options=options, alpha=ALPHA, beta=BETA, seed=0
        )

    def fill(self, obs, priorities):
        for i in range(0, len(obs), _CHUNK):
            part, k = obs[i : i + _CHUNK], len(obs[i : i + _CHUNK])
            self.buffer.add(
                obs=part, action=np.zeros(k, np.int64), reward=np.ones(k, np.float32), next_obs=part,
                terminated=np.zeros(k, bool), priorities=priorities[i : i + _CHUNK],
            )  # fmt: skip

    def indices(self, slots):
        newest = self.buffer.add(
            obs=np.zeros(4, np.float32), action=0, reward=1.0, next_obs=np.zeros(4, np.float32), terminated=False
        )[0]
        oldest = newest + 1 - self.buffer.capacity
        return oldest + (slots - oldest) % self.buffer.capacity

    def add(self, obs, action, reward, terminated):
        self.buffer.add(obs=obs, action=action, reward=reward, next_obs=obs, terminated=terminated)

    def sample(self, b):
        return self.buffer.sample(b)["indices"]

    def update(self, indices, priorities):
        self.buffer.update_priorities(indices, priorities)


class Rlox:
    package = "rlox"

    def __init__(self, n: int) -> None:
        import rlox

        self.n, self.seed = n, 0
        self.action = np.zeros(1, np.float32)
        self.buffer = rlox.PrioritizedReplayBuffer(n, 4, 1, ALPHA, BETA)

    def fill(self, obs, priorities):
        for row, priority in zip(obs, priorities.tolist(), strict=True):
            self.buffer.push(row, self.action, 1.0, False, False, row, priority)

    def indices(self, slots):
        return slots.astype(self.sample(1).dtype)

    def add(self, obs, action, reward, terminated):
        self.buffer.push(obs, self.action, reward, terminated, False, obs, 1.0)

    def sample(self, b):
        self.seed += 1  # its default seed would draw the same indices every time
        return self.buffer.sample(b, self.seed)["indices"]

    def update(self, indices, priorities):
        self.buffer.update_priorities(indices, priorities)


class Cpprb:
    package = "cpprb"

    def __init__(self, n: int) -> None:
        import cpprb

        columns = {"obs": {"shape": 4}, "act": {"dtype": np.int64}, "rew": {}, "next_obs": {"shape": 4}, "done": {}}
        self.buffer = cpprb.PrioritizedReplayBuffer(n, columns, alpha=ALPHA)

    def fill(self, obs, priorities):
        for i in range(0, len(obs), _CHUNK):
            part, k = obs[i : i + _CHUNK], len(obs[i : i + _CHUNK])
            self.buffer.add(
                obs=part, act=np.zeros(k, np.int64), rew=np.ones(k, np.float32), next_obs=part,
                done=np.zeros(k, np.float32), priorities=priorities[i : i + _CHUNK],
            )  # fmt: skip

    def indices(self, slots):
        return slots.astype(np.uint64)

    def add(self, obs, action, reward, terminated):
        self.buffer.add(obs=obs, act=action, rew=reward, next_obs=obs, done=terminated)

    def sample(self, b):
        return self.buffer.sample(b, beta=BETA)["indexes"]

    def update(self, indices, priorities):
        self.buffer.update_priorities(indices, priorities)


class Tianshou:
    package = "tianshou"

    def __init__(self, n: int) -> None:
        from tianshou.data import Batch, PrioritizedReplayBuffer

        self.batch = Batch
        self.buffer = PrioritizedReplayBuffer(n, alpha=ALPHA, beta=BETA)

    def fill(self, obs, priorities):
        n = len(obs)
        self.add(obs[0], 0, 1.0, False)
        false = np.zeros(n, bool)
        self.buffer._meta = self.batch(
            obs=obs.copy(), act=np.zeros(n, np.int64), rew=np.ones(n), obs_next=obs.copy(), terminated=false,
            truncated=false.copy(), done=false.copy(), info=self.batch(),
        )  # fmt: skip
        self.buffer._size = n
        self.buffer.update_weight(np.arange(n), priorities)

    def indices(self, slots):
        return slots

    def add(self, obs, action, reward, terminated):
        self.buffer.add(
            self.batch(
                obs=obs, act=action, rew=reward, terminated=terminated, truncated=False, obs_next=obs, info={}
            )
        )  # fmt: skip

    def sample(self, b):
        return self.buffer.sample(b)[1]

    def update(self, indices, priorities):
        self.buffer.update_weight(indices, priorities)


def lam_for(fraction: float, priorities) -> float:
    """Return the lambda' whose candidate set is this share of the buffer: E|CSP| = 2 lambda' n mean / F."""
    masses = priorities**ALPHA
    return float(fraction * masses.max() / (2 * masses.mean()))


def why_no_torchrl() -> str | None:
    """Return why torchrl's PrioritizedSampler cannot be constructed here, None if it can."""
    try:
        from torchrl.data import PrioritizedSampler

        PrioritizedSampler(100, alpha=ALPHA, beta=BETA)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None


def versions(names: tuple[str, ...]) -> dict[str, str]:
    """Return what is installed of these packages."""
    found = {}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "absent"
    return found
