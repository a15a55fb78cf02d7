"""Priorities of slots that another library fills, in any order: what its adapter drives amper's samplers by.

Longer than most files, for it does what `replay`, `writing` and `saving` do together, without the rows.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from amper import checks, samplers
from amper._kernels.update import check
from amper.fixedpoint import PriorityEncoder
from amper.protocols import Array, Float32, Float64, Int64, Sampler


class SlotPriorities:
    """A sampler over slots that somebody else stores transitions in.

    Slots may fill in any order, and again before all are filled, as the rings of several environments do in one
    buffer. A sampler wants them in ascending order: inside, a slot goes by the order of its first arrival.

    Parameters
    ----------
    capacity : int
        Slots, 0 .. capacity - 1.
    sampler, sampler_options, alpha, beta, eps, seed
        As in `ReplayBuffer`.
    largest : float, optional
        Priority that counts as seen from the start; new transitions get at least that. Without one they get the
        largest seen, 1.0 before any.

    Raises
    ------
    TypeError, ValueError
        If a parameter is of the wrong type or out of range.

    Notes
    -----
    Priorities are kept as fixed-point masses: what is read back is what was stored, rounded and within full scale.
    16 bytes a slot besides the sampler's.

    Examples
    --------
    >>> slots = SlotPriorities(10, sampler="per", alpha=1.0, eps=0.0, seed=0)
    >>> slots.insert([7, 3])
    >>> slots.update([7], [99.0])
    1
    >>> drawn, weights = slots.sample(4)
    >>> drawn, len(slots)
    (array([7, 7, 7, 7]), 2)
    """

    def __init__(
        self,
        capacity: int,
        *,
        sampler: str = "amper-fr",
        sampler_options: Mapping[str, Any] | None = None,
        alpha: float = 0.6,
        beta: float = 0.4,
        eps: float = 1e-6,
        seed: int | None = None,
        largest: float | None = None,
    ) -> None:
        alpha = checks.number("alpha", alpha, 0.0, math.inf)
        beta = checks.number("beta", beta, 0.0, math.inf)
        eps = checks.number("eps", eps, 0.0, checks.LARGEST_EPS)
        self._first_largest = -1.0 if largest is None else checks.number("largest", largest, 0.0, 1e300) + eps
        seed = None if seed is None else checks.whole("seed", seed, at_least=0)
        self._given = samplers.checked(sampler, {} if sampler_options is None else sampler_options)
        made = samplers.make_from(sampler, capacity, seed, samplers.checked(sampler, self._given, alpha))
        self._capacity, self._name, self._beta = int(capacity), sampler, beta
        self._start(made, alpha, eps)

    def _start(self, sampler: Sampler, alpha: float, eps: float) -> None:
        """Hold no slots, at an exponent, and draw by `sampler`."""
        self._sampler = sampler
        self._encoder = PriorityEncoder(sampler.format, alpha, eps)
        self._inside = np.full(self._capacity, -1, np.int64)
        self._outside = np.full(self._capacity, -1, np.int64)
        self._n = 0
        self._least = self._n_least = 0  # the least code, and how many slots have it; 0: to be looked for
        if self._first_largest >= 0:
            self._grow(self._first_largest)
            self._encoder.largest = self._first_largest

    # -- reading ------------------------------------------------------------------------------------
    @property
    def capacity(self) -> int:
        """Number of slots there are."""
        return self._capacity

    @property
    def sampler(self) -> Sampler:
        """The sampler; it knows slots by order of arrival."""
        return self._sampler

    @property
    def alpha(self) -> float:
        """Priority exponent."""
        return self._encoder.alpha

    @property
    def eps(self) -> float:
        """What is added to every priority."""
        return self._encoder.eps

    @property
    def largest(self) -> float:
        """The priority that new transitions get: the largest seen, 1.0 before any."""
        return max(self._encoder.largest - self._encoder.eps, 0.0) if self._encoder.largest >= 0 else 1.0

    @property
    def weighs_masses(self) -> bool:
        """Whether a draw's probability is its mass by the sum of all: not with uniform draws, for one."""
        return self._name == "per" or self._sampler.options.get("weights") == "per"

    def __len__(self) -> int:
        return self._n

    def __repr__(self) -> str:
        return f"SlotPriorities({self._name}, {self._n} of {self._capacity})"

    def holds(self, slots: Any) -> Array:
        """Return whether there is such a slot and it holds a transition, for each of `slots` (int[k])."""
        array = np.asarray(slots)
        inside = self._inside[np.clip(array, 0, self._capacity - 1)]
        return np.asarray((inside >= 0) & (array >= 0) & (array < self._capacity))

    def masses(self, slots: Any) -> Float64:
        """Return (priority + eps) ** alpha as stored for each of `slots`, in their shape; 0 where none is."""
        inside = self._inside[slots]
        codes = self._sampler.codes[inside] * (inside >= 0)
        return np.asarray(codes * (self._encoder.scale / self._sampler.format.top))

    def priorities(self, slots: Any) -> Float64:
        """Return the priorities, in the shape of `slots`, as far as the stored masses tell; 0 where none is.

        At alpha = 0 they tell nothing; every transition then has the largest priority.
        """
        masses = self.masses(slots)
        return np.where(masses > 0, np.maximum(self._raw(masses) - self.eps, 0.0), 0.0)

    def _raw(self, masses: Float64) -> Float64:
        """Return the priorities, eps included, of masses above 0."""
        largest = self._encoder.largest if self._encoder.largest >= 0 else 1.0
        if self.alpha == 0:
            return np.full(masses.shape, largest)
        with np.errstate(over="ignore"):
            return np.minimum(masses ** (1.0 / self.alpha), largest)

    # -- writing ------------------------------------------------------------------------------------
    def insert(self, slots: Any, priorities: Any = None) -> None:
        """Take new transitions in; of one that a slot held before nothing is left.

        Parameters
        ----------
        slots : int[k]
            Where they are stored. Of a slot named twice the last one counts.
        priorities : float[k], optional
            Raw abs(TD error); `largest` by default.

        Raises
        ------
        IndexError
            If there is no such slot.
        ValueError
            If a priority is negative or not finite, or lengths differ.
        TypeError
            If slots are not whole numbers, or priorities not numbers. Nothing is changed in any of these cases.
        """
        outside = self._checked(slots)
        raw = None if priorities is None else checks.priorities(priorities, len(outside)) + self.eps
        if len(outside) > 1 and not (outside[1:] > outside[:-1]).all():
            last = len(outside) - 1 - np.sort(np.unique(outside[::-1], return_index=True)[1])[::-1]
            outside, raw = outside[last], None if raw is None else raw[last]
        if len(outside):
            self._take(outside, raw)

    def _take(self, outside: Int64, raw: Float64 | None) -> None:
        """Take new transitions in: distinct slots, priorities eps included."""
        if raw is None:
            codes = self._encoder.defaults(len(outside))
        else:
            self._grow(float(raw.max()))
            codes = self._encoder.encode(raw)
        inside = self._inside[outside]
        is_new = inside < 0
        n_new = int(np.count_nonzero(is_new))
        if n_new:
            n = self._n + n_new
            inside[is_new] = self._inside[outside[is_new]] = np.arange(self._n, n)
            self._outside[self._n : n] = outside[is_new]
            self._n = n
        before = self._sampler.codes[inside]
        self._note(before, self._sampler.insert(inside, codes, at_maximum=raw is None))

    def update(self, slots: Any, priorities: Any) -> int:
        """Store new priorities and return how many distinct slots were written.

        Parameters
        ----------
        slots : int[b]
            Slots that hold a transition; one named twice takes its last value.
        priorities : float[b]
            Raw abs(TD error).

        Raises
        ------
        IndexError
            If there is no such slot, or it holds no transition.
        ValueError
            If a priority is negative or not finite, or lengths differ.
        TypeError
            If slots are not whole numbers, or priorities not numbers. Nothing is changed in any of these cases.
        """
        outside = self._checked(slots)
        values = checks.floats("priorities", priorities)
        if len(outside) != len(values):
            raise ValueError(f"priorities must have one value a slot, {len(outside)}, got {len(values)}")
        inside, n = self._inside[outside], self._n
        status, at, n_live, largest, _, _, _ = self._encoder.update(inside, values, n, self._capacity, check)
        if status == checks.GROW:
            self._grow(largest)
            status, at, n_live, largest, _, _, _ = self._encoder.update(inside, values, n, self._capacity, check)
        if status == checks.NEGATIVE_ID:
            raise IndexError(f"slots must hold a transition, got {outside[at]} at position {at}, which holds none")
        if status != checks.DONE:
            checks.raise_priority(values, at)
        if n_live:
            written, codes = self._encoder.written(len(inside), n_live)
            self._note(self._sampler.codes[written], codes)
            self._sampler.update(written, codes)
        return n_live

    def clear(self) -> None:
        """Hold no slots; the draws go on where they are."""
        self._start(self._fresh_sampler(self.alpha), self.alpha, self.eps)

    def with_alpha(self, alpha: float) -> SlotPriorities:
        """Return the same slots at another exponent, drawing on where these are; O(capacity).

        The priorities are those that `priorities` reads.
        """
        alpha = checks.number("alpha", alpha, 0.0, math.inf)
        slots = self._outside[: self._n]
        raw = self._raw(self.masses(slots))
        other = object.__new__(SlotPriorities)
        other._capacity, other._name, other._beta = self._capacity, self._name, self._beta
        other._first_largest = self._first_largest
        other._given = self._given
        other._start(self._fresh_sampler(alpha), alpha, self.eps)
        if self._encoder.largest >= 0:
            other._grow(self._encoder.largest)
        if self._n:
            other._take(slots, raw)
        other._encoder.largest = self._encoder.largest
        return other

    # -- drawing ------------------------------------------------------------------------------------
    def sample(self, batch_size: int, beta: float | None = None) -> tuple[Int64, Float32]:
        """Draw slots, with replacement.

        Parameters
        ----------
        batch_size : int
            Draws, b; may exceed `len`.
        beta : float, optional
            Exponent of the importance weights; the constructor's by default.

        Returns
        -------
        int64[b]
            Slots.
        float32[b]
            (least probability drawn / probability) ** beta: at most 1.

        Raises
        ------
        ValueError
            If no slot is held, `batch_size` < 1 or `beta` is negative.
        """
        beta = self._beta if beta is None else checks.number("beta", beta, 0.0, math.inf)
        slots, probabilities, _ = self.draw(batch_size)
        return slots, ((probabilities.min() / probabilities) ** beta).astype(np.float32)

    def draw(self, batch_size: int) -> tuple[Int64, Float64, float]:
        """Draw slots, with replacement, for importance weights of another library's.

        Returns
        -------
        int64[b]
            Slots.
        float64[b]
            Their probabilities, as the sampler's weights take them.
        float
            The least probability: of all slots held where `weighs_masses`, else of those drawn.

        Raises
        ------
        ValueError
            If no slot is held, or `batch_size` < 1.
        """
        batch_size = checks.whole("batch_size", batch_size, at_least=1, at_most=checks.MOST_SLOTS)
        if self._n == 0:
            raise ValueError("sample must follow an insert, got no slot that holds a transition")
        draw = self._sampler.sample(batch_size)
        if not self.weighs_masses:
            return self._outside[draw.slots], draw.probabilities, float(draw.probabilities.min())
        codes = self._sampler.codes
        if self._n_least == 0:
            self._least = int(codes[: self._n].min())
            self._n_least = int(np.count_nonzero(codes[: self._n] == self._least))
        least = float(draw.probabilities[0]) * self._least / int(codes[draw.slots[0]])
        return self._outside[draw.slots], draw.probabilities, least

    # -- keeping ------------------------------------------------------------------------------------
    def state_dict(self) -> dict[str, Any]:
        """Return a copy of everything that makes the next calls repeat exactly: arrays, and values JSON can hold."""
        return {
            "config": self._config(),
            "alpha": self.alpha, "beta": self._beta, "eps": self.eps,
            "outside": self._outside.copy(),
            "encoder": self._encoder.state_dict(), "sampler": self._sampler.state_dict(),
        }  # fmt: skip

    def load_state_dict(self, d: Mapping[str, Any]) -> None:
        """Continue from `state_dict()`; alpha, beta and eps are then those of the state.

        Raises
        ------
        ValueError
            If the state is of another capacity, sampler or options, or not a state. Nothing is changed then.
        """
        checks.same_config(self._config(), d)
        checks.same_layout("d", self.state_dict(), d)
        try:
            alpha, beta = (checks.number(name, d[name], 0.0, math.inf) for name in ("alpha", "beta"))
            eps = checks.number("eps", d["eps"], 0.0, checks.LARGEST_EPS)
            sampler = self._new_sampler(alpha)
            encoder = PriorityEncoder(sampler.format, alpha, eps)
            encoder.load_state_dict(d["encoder"])
            sampler.load_state_dict(d["sampler"])
            n, inside = _arrivals(d["outside"])
            checks.stored(sampler.codes, n)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"d must be the state of slot priorities, got a broken one: {error}") from error
        self._sampler, self._encoder, self._beta = sampler, encoder, beta
        self._n, self._inside, self._outside = n, inside, d["outside"].copy()
        self._least = self._n_least = 0

    # -- inside -------------------------------------------------------------------------------------
    def _config(self) -> dict[str, Any]:
        options = json.loads(json.dumps(self._sampler.options))
        if "alpha" not in self._given:  # then it is this object's, and may change
            options.pop("alpha", None)
        return {"capacity": self._capacity, "sampler": self._name, "sampler_options": options}

    def _new_sampler(self, alpha: float) -> Sampler:
        return samplers.make_from(self._name, self._capacity, 0, samplers.checked(self._name, self._given, alpha))

    def _fresh_sampler(self, alpha: float) -> Sampler:
        """Return a sampler without slots that draws on where this one is."""
        sampler = self._new_sampler(alpha)
        state = self._sampler.state_dict()
        if "source" in state:
            sampler.load_state_dict({**sampler.state_dict(), "source": state["source"]})
        return sampler

    def _grow(self, largest: float) -> None:
        """Double the full scale until it holds the mass of the priority `largest`, eps included."""
        n = self._encoder.doublings(largest)
        if n == 0:
            return
        self._sampler.rescale(n)
        self._encoder.double(n)
        self._n_least = 0

    def _note(self, before: Array, after: Int64) -> None:
        """Keep the least code known while `before` gives way to `after`, as long as that takes no search."""
        if self._n_least == 0:
            return
        self._n_least -= int(np.count_nonzero(before == self._least))
        low = int(after.min())
        if low < self._least:
            self._least, self._n_least = low, 0
        self._n_least += int(np.count_nonzero(after == self._least))

    def _checked(self, slots: Any) -> Int64:
        """Return slots as int64[k], all of them within the capacity."""
        array = np.atleast_1d(checks.as_array("slots", slots))
        if array.dtype.kind not in "iu" and array.size:
            raise TypeError(f"slots must be whole numbers, got dtype {array.dtype}")
        if array.ndim > 1:
            raise ValueError(f"slots must be one-dimensional, got shape {array.shape}")
        bad = (array < 0) | (array >= self._capacity)
        if bad.any():
            at = int(np.argmax(bad))
            raise IndexError(f"slots must lie in 0..{self._capacity - 1}, got {array[at]} at position {at}")
        return np.array(array, np.int64)


def _arrivals(outside: Int64) -> tuple[int, Int64]:
    """Return how many slots arrived, and the order of arrival of each, -1 of the others."""
    n, capacity = int(np.count_nonzero(outside >= 0)), len(outside)
    slots = outside[:n]
    inside = np.full(capacity, -1, np.int64)
    if (outside[n:] != -1).any() or (slots < 0).any() or (slots >= capacity).any():
        raise ValueError(f"outside must list slots of 0..{capacity - 1} first and -1 after them")
    inside[slots] = np.arange(n)
    if np.count_nonzero(inside >= 0) != n:
        raise ValueError("outside must list each slot once")
    return n, inside
