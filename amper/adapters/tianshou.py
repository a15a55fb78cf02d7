"""Tianshou: its prioritized replay buffers, drawn from by amper's samplers in place of a segment tree."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

try:
    from tianshou import data as theirs
    from tianshou.data.types import PrioBatchProtocol
except ImportError as error:
    raise ImportError(
        'amper.adapters.tianshou needs tianshou: pip install ".[adapters]" from a clone of this repository '
        "(where there is no GPU, torch's CPU build first)"
    ) from error

from amper import checks
from amper.adapters.slots import SlotPriorities
from amper.protocols import Array, Float64, Int64

_EPS = float(np.finfo(np.float32).eps)  # added to priorities by Tianshou


class Weights(SlotPriorities):
    """The priorities of a buffer, in the place of Tianshou's segment tree."""

    def __getitem__(self, slots: Any) -> Float64:
        return self.masses(slots)


class PrioritizedReplayBuffer(theirs.PrioritizedReplayBuffer):
    """Tianshou's `PrioritizedReplayBuffer`, drawn from by one of amper's samplers.

    Parameters
    ----------
    size : int
        Transitions held.
    alpha, beta : float
        A transition's mass is (abs(TD error) + eps) ** alpha, with float32's eps; `batch.weight` is
        (mass / least priority given so far) ** -beta.
    weight_norm : bool
        Divide the weights of a batch by the largest of them.
    sampler, sampler_options, seed
        As in `amper.ReplayBuffer`.
    **kwargs
        `stack_num`, `ignore_obs_next`, `save_only_last_obs`, `sample_avail` and `random_seed`, as in Tianshou's
        class; prioritized draws look at neither of the last two there, and here.

    Raises
    ------
    TypeError, ValueError
        If a parameter is of the wrong type or out of range.

    Notes
    -----
    New transitions get the largest priority seen, and 1.0 at least. A sampler whose draws do not go by mass weighs
    them by its probabilities. Unlike Tianshou's, `reset` forgets the priorities, a weight that is not a finite
    number is refused, a slot that holds no transition weighs 0, and `weight_norm` and `set_beta` reach the buffers
    of several environments.
    """

    weight: Weights  # type: ignore[assignment]  # in place of a SegmentTree

    def __init__(
        self,
        size: int,
        alpha: float,
        beta: float,
        weight_norm: bool = True,
        *,
        sampler: str = "per",
        sampler_options: Mapping[str, Any] | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        theirs.ReplayBuffer.__init__(self, size, **kwargs)  # the next class in line would make a segment tree
        self._prioritize(alpha, beta, weight_norm, sampler=sampler, sampler_options=sampler_options, seed=seed)

    def _prioritize(self, alpha: float, beta: float, weight_norm: bool, *, sampler: str, **options: Any) -> None:
        """Set the attributes that Tianshou's buffer has beyond a plain one."""
        self.weight = Weights(
            self.maxsize, sampler=sampler, alpha=alpha, beta=beta, eps=_EPS, largest=1.0 - _EPS, **options
        )
        self._alpha, self._beta, self._weight_norm = self.weight.alpha, float(beta), weight_norm
        self._max_prio = self._min_prio = 1.0
        self.options.update(alpha=alpha, beta=beta, weight_norm=weight_norm, sampler=sampler, **options)

    def init_weight(self, index: int | Array) -> None:
        """Take in new transitions at `index`."""
        self.weight.insert(index)

    def update_weight(self, index: Array, new_weight: Any) -> None:
        """Store new priorities.

        Parameters
        ----------
        index : int[b]
            Slots; one named twice takes its last value.
        new_weight : array or tensor [b], or one number
            TD errors, of either sign.

        Raises
        ------
        IndexError
            If a slot does not exist, or holds no transition.
        ValueError
            If a weight is not finite, or shapes differ.
        TypeError
            If slots are not whole numbers, or weights not numbers. Nothing is changed in any of these cases.
        """
        priorities = np.abs(checks.as_array("new_weight", theirs.to_numpy(new_weight)))
        if priorities.ndim == 0:
            priorities = np.broadcast_to(priorities, np.shape(index))
        if self.weight.update(index, priorities):
            self._max_prio = self.weight.largest + _EPS
            self._min_prio = min(self._min_prio, float(priorities.min()) + _EPS)

    def get_weight(self, index: int | Array) -> Array:
        """Return the importance weights of slots, by their masses and before `weight_norm`."""
        masses = self.weight.masses(index)
        held = masses > 0  # elsewhere the power of 0 is infinite
        return np.asarray((np.where(held, masses, 1.0) / self._min_prio) ** -self._beta * held)

    def sample_indices(self, batch_size: int | None) -> Int64:
        """Draw slots by priority, with replacement; all of them in order for 0, in any for None, none below."""
        if batch_size is not None and batch_size > 0 and len(self) > 0:
            return self.weight.draw(int(batch_size))[0]
        return np.asarray(super().sample_indices(batch_size))

    def sample(self, batch_size: int | None) -> tuple[PrioBatchProtocol, Int64]:
        """Draw transitions by priority; all of them for 0.

        Returns
        -------
        Batch
            The transitions, with the attribute `weight` float[b].
        int64[b]
            Their slots.
        """
        if self.weight.weighs_masses or not batch_size or batch_size < 0 or len(self) == 0:
            return super().sample(batch_size)
        indices, probabilities, _ = self.weight.draw(int(batch_size))
        batch = self[indices]
        weight = (len(self) * probabilities) ** -self._beta
        batch.weight = weight / weight.max() if self._weight_norm else weight
        return batch, indices

    def set_beta(self, beta: float) -> None:
        """Set the exponent of the importance weights."""
        self._beta = checks.number("beta", beta, 0.0, math.inf)

    def reset(self, keep_statistics: bool = False) -> None:
        """Hold nothing, and no priorities either."""
        super().reset(keep_statistics=keep_statistics)
        if "weight" in self.__dict__:  # the buffers of a manager have none
            self.weight.clear()
            self._max_prio = self._min_prio = 1.0


class PrioritizedReplayBufferManager(PrioritizedReplayBuffer, theirs.PrioritizedReplayBufferManager):
    """Tianshou's `PrioritizedReplayBufferManager`: several `PrioritizedReplayBuffer` in one, with one law.

    Parameters
    ----------
    buffer_list : sequence of PrioritizedReplayBuffer
        Empty ones, alike but for their sizes. Their priorities are given up.
    """

    def __init__(self, buffer_list: Sequence[PrioritizedReplayBuffer]) -> None:
        plain: list[theirs.ReplayBuffer] = list(buffer_list)
        theirs.ReplayBufferManager.__init__(self, plain)
        for buffer in buffer_list:
            del buffer.weight
        names = ("alpha", "beta", "weight_norm", "sampler", "sampler_options", "seed")
        self._prioritize(**{name: buffer_list[0].options[name] for name in names})

    def set_beta(self, beta: float) -> None:
        """Set the exponent of the importance weights, of every buffer too."""
        super().set_beta(beta)
        for buffer in self.buffers:
            buffer.set_beta(beta)


class PrioritizedVectorReplayBuffer(PrioritizedReplayBufferManager, theirs.PrioritizedVectorReplayBuffer):
    """Tianshou's `PrioritizedVectorReplayBuffer`: a ring for each of several environments, with one law.

    Parameters
    ----------
    total_size : int
        Transitions held, rounded up to a multiple of `buffer_num`.
    buffer_num : int
        Environments.
    **kwargs
        As in `PrioritizedReplayBuffer`.
    """

    def __init__(self, total_size: int, buffer_num: int, **kwargs: Any) -> None:
        buffer_num = checks.whole("buffer_num", buffer_num, at_least=1)
        size = math.ceil(total_size / buffer_num)
        super().__init__([PrioritizedReplayBuffer(size, **kwargs) for _ in range(buffer_num)])
