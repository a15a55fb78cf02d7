"""The samplers of an exact law, uniform and proportional: the baselines AMPER is measured against."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np

from amper import urng as uniform_sources
from amper._kernels import proportional as kernels
from amper.fixedpoint import FullScale, PriorityFormat, halve
from amper.protocols import Draw, Float64, Int64, UInt32


class SumTree:
    """Integer masses by slot, and draws in proportion to them.

    Parameters
    ----------
    capacity : int
        Slots.

    Notes
    -----
    A draw descends, an update climbs, ceil(log16 capacity) levels. Sums are exact, so the total equals the sum of
    the masses after any number of writes. 4 bytes a slot for the mass, 8.6 for the nodes.

    Examples
    --------
    >>> tree = SumTree(3)
    >>> tree.write(np.array([0, 1, 2]), np.array([1, 0, 3]))
    >>> slots, probabilities = tree.draw(np.array([0.0, 0.2, 0.3, 0.99]))
    >>> slots, probabilities, tree.total
    (array([0, 0, 2, 2]), array([0.25, 0.25, 0.75, 0.75]), 4)
    """

    def __init__(self, capacity: int) -> None:
        n_groups = -(-capacity // kernels.FAN_OUT)
        sizes = [-(-n_groups // kernels.FAN_OUT)]
        while sizes[0] > 1:
            sizes.insert(0, -(-sizes[0] // kernels.FAN_OUT))
        self._nodes = np.zeros((1 + sum(sizes), kernels.FAN_OUT), np.int64)
        self._nodes[0, kernels.LEVELS] = len(sizes)
        self._nodes[0, kernels.FIRST : kernels.FIRST + len(sizes)] = np.cumsum([1, *sizes[:-1]])
        self._padded: UInt32 = np.zeros(n_groups * kernels.FAN_OUT, np.uint32)
        self._capacity = capacity

    @property
    def leaves(self) -> UInt32:
        """Masses, uint32[capacity]."""
        return self._padded[: self._capacity]

    @property
    def total(self) -> int:
        """Exact sum of the masses."""
        return int(self._nodes[0, kernels.TOTAL])

    @property
    def n_bytes(self) -> int:
        """Memory held."""
        return self._nodes.nbytes + self._padded.nbytes

    def write(self, slots: Int64, masses: Int64) -> None:
        """Store `masses` in `slots`, in order."""
        kernels.write(self._nodes, self._padded, slots, masses)

    def draw(self, uniforms: Float64) -> tuple[Int64, Float64]:
        """Return the slots that `uniforms` (float64[b] in [0, 1)) fall on, and their probabilities."""
        slots, probabilities = np.empty(len(uniforms), np.int64), np.empty(len(uniforms))
        kernels.draw(self._nodes, self._padded, uniforms, slots, probabilities)
        return slots, probabilities

    def state_dict(self) -> dict[str, Any]:
        """Return the masses: the sums follow from them exactly."""
        return {"leaves": self.leaves.copy()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state`."""
        self.leaves[...] = state["leaves"]
        kernels.rebuild(self._nodes, self._padded)


class ExactSampler(ABC):
    """What the samplers with an exact law share: codes of a format, a source, a count of stored slots.

    Parameters
    ----------
    capacity : int
        Slots.
    seed : numpy.random.SeedSequence
        Of the draws.
    bits, full_scale
        As in `fixedpoint.PriorityFormat`.
    """

    def __init__(self, capacity: int, seed: np.random.SeedSequence, bits: int, full_scale: FullScale) -> None:
        self.format = PriorityFormat(bits=bits, full_scale=full_scale)
        self.options: dict[str, Any] = {"bits": bits, "full_scale": full_scale}
        self.stats: dict[str, int] = {}
        self._source = uniform_sources.make("numpy", seed)
        self._capacity = capacity
        self._n_valid = 0

    @property
    @abstractmethod
    def _codes(self) -> UInt32:
        """Code stored for each slot, uint32[capacity]."""

    @abstractmethod
    def update(self, slots: Int64, codes: Int64) -> None:
        """Write new codes."""

    @property
    @abstractmethod
    def n_bytes(self) -> int:
        """Memory held."""

    @property
    def codes(self) -> UInt32:
        """Code stored for each slot, uint32[capacity]; read-only."""
        view = self._codes.view()
        view.flags.writeable = False
        return view

    def insert(self, slots: Int64, codes: Int64, *, at_maximum: bool) -> Int64:
        """Write new transitions and return the codes stored: as given, at the maximum too."""
        self._n_valid = min(self._n_valid + len(slots), self._capacity)  # slots fill in order
        self.update(slots, codes)
        return codes

    def rescale(self, n_halvings: int) -> None:
        """Halve every stored code."""
        slots = np.flatnonzero(self._codes)
        self.update(slots, halve(self._codes[slots].astype(np.int64), n_halvings))


class ProportionalSampler(ExactSampler):
    """Exact prioritized sampling (Schaul et al. 2016): P(i) = code_i / sum, draws independent."""

    def __init__(
        self, capacity: int, seed: np.random.SeedSequence, *, bits: int = 32, full_scale: FullScale = "auto"
    ) -> None:
        super().__init__(capacity, seed, bits, full_scale)
        self._tree = SumTree(capacity)

    @property
    def _codes(self) -> UInt32:
        return self._tree.leaves

    @property
    def n_bytes(self) -> int:
        """Memory held."""
        return self._tree.n_bytes

    def update(self, slots: Int64, codes: Int64) -> None:
        """Write new codes."""
        self._tree.write(slots, codes)

    def sample(self, batch_size: int) -> Draw:
        """Draw in proportion to the codes."""
        slots, probabilities = self._tree.draw(self._source.random(batch_size))
        return Draw(slots, probabilities, self._n_valid, self._n_valid)

    def law(self, n_samplings: int) -> Float64:
        """Return the chance of each slot in one draw, float64[capacity]."""
        return self._tree.leaves / self._tree.total

    def state_dict(self) -> dict[str, Any]:
        """Return tree and source."""
        return {"tree": self._tree.state_dict(), "source": self._source.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state`."""
        self._tree.load_state_dict(state["tree"])
        self._n_valid = int(np.count_nonzero(self._codes))
        self._source.load_state_dict(state["source"])


class UniformSampler(ExactSampler):
    """Every stored transition alike; codes are kept only so that a trace can replay them elsewhere."""

    def __init__(
        self, capacity: int, seed: np.random.SeedSequence, *, bits: int = 32, full_scale: FullScale = "auto"
    ) -> None:
        super().__init__(capacity, seed, bits, full_scale)
        self._stored: UInt32 = np.zeros(capacity, np.uint32)

    @property
    def _codes(self) -> UInt32:
        return self._stored

    @property
    def n_bytes(self) -> int:
        """Memory held."""
        return self._stored.nbytes

    def update(self, slots: Int64, codes: Int64) -> None:
        """Write new codes."""
        kernels.store(self._stored, slots, codes)

    def sample(self, batch_size: int) -> Draw:
        """Draw uniformly from the stored slots."""
        slots, probabilities = np.empty(batch_size, np.int64), np.empty(batch_size)
        kernels.draw_uniform(self._n_valid, self._source.random(batch_size), slots, probabilities)
        return Draw(slots, probabilities, self._n_valid, self._n_valid)

    def law(self, n_samplings: int) -> Float64:
        """Return the chance of each slot in one draw, float64[capacity]."""
        return (self._stored > 0) / self._n_valid

    def state_dict(self) -> dict[str, Any]:
        """Return codes and source."""
        return {"codes": self._stored.copy(), "source": self._source.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state`."""
        self._stored[...] = state["codes"]
        self._n_valid = int(np.count_nonzero(self._stored))
        self._source.load_state_dict(state["source"])
