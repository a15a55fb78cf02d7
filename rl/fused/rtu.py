"""Recurrent trace units, linear and non-linear, with their exact sensitivities, fused."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from amper.protocols import Array, Int64
from rl._kernels import fused_rtu
from rl.fused.base import Fused
from rl.fused.packing import LANES, aligned_zeros, lanes_of


class FusedRtu(Fused):
    """See `Fused`; layouts as `rl._kernels.fused_rtu` says."""

    learners = ("rtrl", "snap")
    linear: ClassVar[bool] = True

    @property
    def _cut(self) -> int:
        return 2 * self.cell.n_inputs * self.n_lanes

    def _packing(self) -> tuple[Int64, int]:
        placed = self.cell.layout.placed
        parts = [self._in_block(name, p.rows, p.columns) for name, p in placed.items()]
        return np.concatenate(parts), self._cut + 2 * self.n_lanes

    def _all_places(self) -> Int64:
        rows, read = np.indices((self.cell.n_units, self.cell.n_inputs)).reshape(2, -1)
        return np.concatenate([self._in_block(name, rows, read) for name in ("W1", "W2")])

    def _in_block(self, name: str, units: Array, columns: Array) -> Int64:
        """Return where a block's entries lie among the packed weights."""
        if name in ("W1", "W2"):
            return lanes_of(columns, units, self.cell.n_inputs, 2) + (name == "W2") * LANES
        return np.asarray(self._cut + (name == "vartheta") * self.n_lanes + units)

    def _fresh(self) -> dict[str, Array]:
        n, k, b = self.n_lanes, self.cell.n_inputs, self.n_streams
        sizes = {
            "trace": k * n * b * (2 if self.linear else 4),
            "unit_trace": 4 * n * b,
            "source": k * b,
            "state": 2 * n * b,
            "turn": 4 * n * b,
            "to_maps": 2 * n * b,
            "to_units": 4 * n * b,
            "h": (2 * n + LANES) * b,
            "q": (2 * n + LANES) * b,
            "scratch": 2 * LANES * b,
        }
        return {name: aligned_zeros(size, self.cell.dtype) for name, size in sizes.items()}

    def _packed(self) -> tuple[Any, ...]:
        cut, (m, v) = self._cut, self._opt.moments
        weights = (self._weights[:cut], self._weights[cut:], self._kept[:cut])
        return weights, (m[:cut], v[:cut], m[cut:], v[cut:])

    def _kernel(self) -> Any:
        return fused_rtu.run

    def _sizes(self, n_steps: int, loss: int, learn: bool, finish: bool = False) -> tuple[int, ...]:
        return *super()._sizes(n_steps, loss, learn, finish), int(self.linear)

    def _blocks(self, name: str, n_vectors: int) -> Array:
        """Return float[n_vectors, B, n] of a held float[N/16, B, n_vectors, 16]."""
        values = self._held[name].reshape(-1, self.n_streams, n_vectors, LANES).transpose(2, 1, 0, 3)
        return values.reshape(n_vectors, self.n_streams, -1)[:, :, : self.cell.n_units]

    def _gradient(self, dl_dh: Array) -> Array:
        h = self._hidden().reshape(self.n_streams, -1)
        q = (dl_dh * (1 - h**2) if self.linear else dl_dh).reshape(self.n_streams, 2, -1).transpose(1, 0, 2)
        turn, to_maps, to_units = self._blocks("turn", 4), self._blocks("to_maps", 2), self._blocks("to_units", 4)
        unit_trace = self._blocks("unit_trace", 4)
        traces, source = self._traces(), self._held["source"].reshape(self.n_streams, -1)
        by_name: dict[str, Array] = {}
        for i, name in enumerate(("W1", "W2", "nu", "vartheta")):
            if i < 2:
                reads = np.zeros((2, *traces[i][0].shape), self.cell.dtype)
                reads[i] = to_maps[i][:, None] * source[:, :, None]
                a, b, d = *traces[i], turn[:, :, None]
            else:
                reads, d = to_units[2 * i - 4 : 2 * i - 2], turn
                a, b = unit_trace[2 * i - 4 : 2 * i - 2]
            after = (d[0] * a + d[1] * b + reads[0], d[2] * a + d[3] * b + reads[1])
            q_here = q[:, :, None] if i < 2 else q
            by_name[name] = (q_here[0] * after[0] + q_here[1] * after[1]).sum(axis=0)
        placed = self.cell.layout.placed
        parts: list[Any] = [
            by_name[name].T[p.rows, p.columns] if p.block.is_matrix else by_name[name] for name, p in placed.items()
        ]
        return np.concatenate(parts)

    def _traces(self) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
        """Return the sensitivities of (s1, s2) to W1 and to W2 before the last step, each float[B, n_inputs, n]."""
        n_vectors = 2 if self.linear else 4
        trace = self._held["trace"].reshape(-1, self.cell.n_inputs, self.n_streams, n_vectors, LANES)
        a = trace.transpose(3, 2, 1, 0, 4).reshape(n_vectors, self.n_streams, self.cell.n_inputs, -1)
        a = a[..., : self.cell.n_units]
        return ((a[0], a[1]), (-a[1], a[0])) if self.linear else ((a[0], a[1]), (a[2], a[3]))

    def _forget(self, chosen: Array) -> None:
        b = self.n_streams
        vectors = (2 if self.linear else 4) * LANES
        self._held["trace"].reshape(-1, b, vectors)[:, chosen] = 0
        self._held["unit_trace"].reshape(-1, b, 4 * LANES)[:, chosen] = 0
        self._held["state"].reshape(-1, b, 2 * LANES)[:, chosen] = 0


class FusedNonlinearRtu(FusedRtu):
    """The same with the state inside the non-linearity."""

    linear = False
