"""Rank-based prioritized sampling: what depends on the order of priorities, not on their size."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from amper import checks
from amper._kernels.ranks import draw_ranks
from amper._kernels.update import update_index
from amper.fixedpoint import FullScale
from amper.index import CodeIndex
from amper.proportional import ExactSampler
from amper.protocols import Draw, Float64, Int64, UInt32, UpdateResult

_PART_BITS = 9


class RankSampler(ExactSampler):
    """P(i) proportional to rank(i) ** -alpha, rank 1 the largest priority (Schaul et al. 2016, section 3.3).

    Parameters
    ----------
    alpha : float
        Exponent of the rank; by default that of the replay.
    bits, full_scale
        As in `fixedpoint.PriorityFormat`.

    Notes
    -----
    Codes that agree in their logarithm and in nine bits below the leading one, within 0.2% of each other, are tied:
    they share the chances of their ranks alike, where the paper leaves the order to an array that is sorted from time
    to time. Codes are fixed-point: masses further below the full scale
    than 2**bits are tied as well. A draw looks at 16,384 buckets at most, whatever the capacity.
    """

    def __init__(
        self,
        capacity: int,
        seed: np.random.SeedSequence,
        *,
        alpha: float = 0.6,
        bits: int = 32,
        full_scale: FullScale = "auto",
    ) -> None:
        super().__init__(capacity, seed, bits, full_scale)
        self.options = {"alpha": checks.number("alpha", alpha, 0.0, math.inf), **self.options}
        self._index = CodeIndex(capacity, bits, _PART_BITS)
        self._harmonic = np.zeros(capacity + 1)
        np.cumsum(np.arange(1.0, capacity + 1) ** -self.options["alpha"], out=self._harmonic[1:])

    @property
    def _codes(self) -> UInt32:
        return self._index.codes

    def update(self, slots: Int64, codes: Int64) -> None:
        """Write new codes."""
        self._index.write(slots, codes)

    def update_rows(self, *update: Any) -> UpdateResult:
        """Check an update and write it, in one compiled call."""
        result: UpdateResult = update_index(*self._index.arrays, *update)
        return result

    def sample(self, batch_size: int) -> Draw:
        """Draw by rank."""
        slots, probabilities = np.empty(batch_size, np.int64), np.empty(batch_size)
        _, arena, tables = self._index.arrays
        draw_ranks(arena, tables, self._harmonic, self._source.random(batch_size), slots, probabilities)
        return Draw(slots, probabilities, self._n_valid, self._n_valid)

    def law(self, n_samplings: int) -> Float64:
        """Return the chance of each slot in one draw, float64[capacity]."""
        bucket = self._codes.astype(np.float64).view(np.int64) >> (52 - _PART_BITS)
        bucket[self._codes == 0] = -1
        _, inverse, counts = np.unique(-bucket, return_inverse=True, return_counts=True)  # the largest first
        ends = np.minimum(np.cumsum(counts), self._n_valid)
        masses = np.diff(self._harmonic[ends], prepend=0.0) / counts / self._harmonic[self._n_valid]
        law: Float64 = masses[inverse]
        return law

    def state_dict(self) -> dict[str, Any]:
        """Return index and source."""
        return {"index": self._index.state_dict(), "source": self._source.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state`."""
        self._index.load_state_dict(state["index"])
        self._n_valid = self._index.n_valid
        self._source.load_state_dict(state["source"])
