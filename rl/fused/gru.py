"""The GRU with SnAp-1, fused."""

from __future__ import annotations

from typing import Any

import numpy as np

from amper.protocols import Array, Int64
from rl._kernels import fused_gru
from rl.fused.base import Fused
from rl.fused.packing import LANES, aligned_zeros, lanes_of


class FusedGru(Fused):
    """See `Fused`; layouts as `rl._kernels.fused_gru` says."""

    learners = ("snap",)

    @property
    def _n_rows(self) -> int:
        return self.n_lanes + self.cell.n_inputs + 1

    def _packing(self) -> tuple[Int64, int]:
        placed = self.cell.layout.placed
        parts = [self._in_block(name, p.rows, p.columns) for name, p in placed.items()]
        return np.concatenate(parts), self._n_rows * 3 * self.n_lanes

    def _all_places(self) -> Int64:
        n, parts = self.cell.n_units, []
        for kind, columns in {"W": self.cell.n_inputs, "U": n, "b": 1}.items():
            rows, read = np.indices((n, columns)).reshape(2, -1)
            parts += [self._in_block(f"{kind}_{gate}", rows, read) for gate in "zra"]
        return np.concatenate(parts)

    def _in_block(self, name: str, units: Array, columns: Array) -> Int64:
        """Return where a block's entries lie among the packed weights."""
        row = columns + {"U": 0, "W": self.n_lanes, "b": self._n_rows - 1}[name[0]]
        return lanes_of(row, units, self._n_rows, 3) + "zra".index(name[-1]) * LANES

    def _fresh(self) -> dict[str, Array]:
        n, b, rows = self.n_lanes, self.n_streams, self._n_rows
        sizes = {
            "trace": rows * 3 * n * b,
            "source": rows * b,
            "factors": 5 * n * b,
            "h": (n + LANES) * b,
            "q": (n + LANES) * b,
            "after": n * b,
            "one": 1,
            "scratch": 3 * LANES,
        }
        held = {name: aligned_zeros(size, self.cell.dtype) for name, size in sizes.items()}
        held["source"].reshape(b, -1)[:, -1] = 1.0
        held["one"][:] = 1.0
        return held

    def _packed(self) -> tuple[Any, ...]:
        return (self._weights, self._kept), tuple(self._opt.moments)

    def _kernel(self) -> Any:
        return fused_gru.run

    def _gradient(self, dl_dh: Array) -> Array:
        n, b, rows = self.cell.n_units, self.n_streams, self._n_rows
        layout = self.cell.layout
        factors = self._held["factors"].reshape(-1, b, 5, LANES).transpose(2, 1, 0, 3).reshape(5, b, -1)[:, :, :n]
        row, lane = self._place // (3 * LANES), self._place % (3 * LANES)
        trace = self._held["trace"][(row * b + np.arange(b)[:, None]) * 3 * LANES + lane]
        reads = self._held["source"].reshape(b, -1)[:, row % rows]
        unit = layout.unit_of
        # Gates z, r, a, u: see `rl.cells.gru`.
        j = factors[0][:, unit] * trace + factors[1 + layout.gate_of, :, unit].T * reads
        return np.asarray((dl_dh[:, unit] * j).sum(axis=0))

    def _forget(self, chosen: Array) -> None:
        b = self.n_streams
        self._held["trace"].reshape(-1, b, 3 * LANES)[:, chosen] = 0
        self._held["h"].reshape(b, -1)[chosen, : self.n_lanes] = 0
