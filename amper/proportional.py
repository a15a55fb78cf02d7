"""The samplers of an exact law, uniform and proportional: the baselines AMPER is measured against."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np

from amper import memory
from amper import urng as uniform_sources
from amper._kernels import sample as drawing
from amper._kernels import update as writing
from amper.fixedpoint import FullScale, PriorityFormat, halve
from amper.protocols import Array, Draw, Float64, Int64, UInt32, UpdateResult

_FAN_OUT, _ROOT, _FIRST_NODE = 16, 512, 65  # see `_kernels.update`
_TOTAL, _LEVELS, _CHILDREN, _FIRST = 0, 1, 2, 3
_BEYOND = 2**62


class SumTree:
    """Integer masses by slot, and draws in proportion to them.

    Parameters
    ----------
    capacity : int
        Slots.

    Attributes
    ----------
    nodes, padded
        The tree as the kernels see it, `_kernels.update`.

    Notes
    -----
    A uniform has 53 bits: where the total exceeds 2**53, draws are exact to one part in 2**53 of it.
    A draw descends, an update climbs, about log16 capacity levels. Sums are exact, so the total equals the sum of
    the masses after any number of writes. 4 bytes a slot for the masses, 1/2 for the nodes.

    Examples
    --------
    >>> tree = SumTree(3)
    >>> tree.write(np.array([0, 1, 2]), np.array([1, 0, 3]))
    >>> slots, probabilities = tree.draw(np.array([0.0, 0.2, 0.3, 0.99]))
    >>> slots, probabilities, tree.total
    (array([0, 0, 2, 2]), array([0.25, 0.25, 0.75, 0.75]), 4)
    """

    def __init__(self, capacity: int) -> None:
        n_groups = -(-capacity // _FAN_OUT)
        sizes: list[int] = []
        n_children = n_groups
        while n_children > _ROOT:
            n_children = -(-n_children // _FAN_OUT)
            sizes.insert(0, n_children)
        self.nodes, self.padded = memory.zeros(
            ((_FIRST_NODE + sum(sizes), _FAN_OUT), np.int64), ((n_groups * _FAN_OUT,), np.uint32)
        )
        self.nodes[33:65] = _BEYOND
        self.nodes[0, _LEVELS], self.nodes[0, _CHILDREN] = len(sizes), n_children
        self.nodes[0, _FIRST : _FIRST + len(sizes)] = np.cumsum([_FIRST_NODE, *sizes])[:-1]
        self._capacity = capacity

    @property
    def leaves(self) -> UInt32:
        """Masses, uint32[capacity]."""
        return self.padded[: self._capacity]

    @property
    def total(self) -> int:
        """Exact sum of the masses."""
        return int(self.nodes[0, _TOTAL])

    def write(self, slots: Int64, masses: Int64) -> None:
        """Store `masses` in `slots`, in order."""
        writing.write_tree(self.nodes, self.padded, slots, masses)

    def draw(self, uniforms: Float64) -> tuple[Int64, Float64]:
        """Return the slots that `uniforms` (float64[b] in [0, 1)) fall on, and their probabilities."""
        slots, probabilities = np.empty(len(uniforms), np.int64), np.empty(len(uniforms))
        drawing.draw_tree(self.nodes, self.padded, uniforms, slots, probabilities)
        return slots, probabilities

    def state_dict(self) -> dict[str, Any]:
        """Return the masses: the sums follow from them exactly."""
        return {"leaves": self.leaves.copy()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state`."""
        self.leaves[...] = state["leaves"]
        writing.rebuild_tree(self.nodes, self.padded)


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
    def codes(self) -> UInt32:
        """Code stored for each slot, uint32[capacity]; read-only."""
        view = self._codes.view()
        view.flags.writeable = False
        return view

    def insert(self, slots: Int64, codes: Int64, *, at_maximum: bool) -> Int64:
        """Write new transitions and return the codes stored: as given, at the maximum too."""
        if self._n_valid < self._capacity:  # slots fill in order
            self._n_valid = max(self._n_valid, int(slots.max(initial=-1)) + 1)
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

    def update(self, slots: Int64, codes: Int64) -> None:
        """Write new codes."""
        self._tree.write(slots, codes)

    def update_rows(self, *update: Any) -> UpdateResult:
        """Check an update and write it, in one compiled call."""
        result: UpdateResult = writing.update_tree(self._tree.nodes, self._tree.padded, *update)
        return result

    def sample_rows(
        self, batch_size: int, rows: Array, layout: Int64, blocks: Array, block: int, beta: float, n_issued: int,
        discount: float,
    ) -> int:  # fmt: skip
        """Draw in proportion to the codes and hand out the rows, in one compiled call."""
        n_new: int = drawing.sample_tree(
            self._tree.nodes, self._tree.padded, self._source.random(batch_size),
            rows, layout, blocks, block, beta, n_issued, discount,
        )  # fmt: skip
        return n_new

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
        self._stored: UInt32
        (self._stored,) = memory.zeros(((capacity,), np.uint32))

    @property
    def _codes(self) -> UInt32:
        return self._stored

    def update(self, slots: Int64, codes: Int64) -> None:
        """Write new codes."""
        writing.store(self._stored, slots, codes)

    def sample(self, batch_size: int) -> Draw:
        """Draw uniformly from the stored slots."""
        n = self._n_valid
        slots = np.minimum((self._source.random(batch_size) * n).astype(np.int64), n - 1)
        return Draw(slots, np.full(batch_size, 1.0 / n), n, n)

    def update_rows(self, *update: Any) -> UpdateResult:
        """Check an update and write it, in one compiled call."""
        result: UpdateResult = writing.update_codes(self._stored, *update)
        return result

    def sample_rows(
        self, batch_size: int, rows: Array, layout: Int64, blocks: Array, block: int, beta: float, n_issued: int,
        discount: float,
    ) -> int:  # fmt: skip
        """Draw uniformly and hand out the rows, in one compiled call."""
        n_new: int = drawing.sample_uniform(
            self._n_valid, self._source.random(batch_size),
            rows, layout, blocks, block, beta, n_issued, discount,
        )  # fmt: skip
        return n_new

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
