"""The eLSTM with its exact sensitivities, fused."""

from __future__ import annotations

from typing import Any

import numpy as np

from amper.protocols import Array, Int64
from rl._kernels import fused_elstm
from rl.fused.base import Fused
from rl.fused.packing import LANES, aligned_zeros, lanes_of

#: Where each block lies: the gate whose vector it is, and its rows x, own, 1.
_GATES = {"F": (0, "x"), "w_z": (0, "own"), "b_z": (0, "one"), "W": (1, "x"), "w_f": (1, "own"), "b_f": (1, "one")}


class FusedElstm(Fused):
    """See `Fused`; layouts as `rl._kernels.fused_elstm` says."""

    learners = ("rtrl", "snap")

    @property
    def _n_padded(self) -> int:
        """Inputs rounded up to fours."""
        return -(-self.cell.n_inputs // 4) * 4

    @property
    def _cut(self) -> int:
        """Where the output gate's weights begin among the packed ones."""
        return (self._n_padded + 2) * 2 * self.n_lanes

    def _packing(self) -> tuple[Int64, int]:
        placed = self.cell.layout.placed
        parts = [self._in_block(name, p.rows, p.columns) for name, p in placed.items()]
        return np.concatenate(parts), self._cut + (self.n_lanes + self._n_padded + 1) * self.n_lanes

    def _all_places(self) -> Int64:
        n, k = self.cell.n_units, self.cell.n_inputs
        parts = []
        for name, columns in {**dict.fromkeys(_GATES, 1), "F": k, "W": k, "W_ox": k, "W_oc": n, "b_o": 1}.items():
            rows, read = np.indices((n, columns)).reshape(2, -1)
            parts.append(self._in_block(name, rows, read))
        return np.concatenate(parts)

    def _in_block(self, name: str, units: Array, columns: Array) -> Int64:
        """Return where a block's entries lie among the packed weights."""
        n, k = self.n_lanes, self._n_padded
        if name in _GATES:
            gate, reads = _GATES[name]
            row = columns if reads == "x" else np.full_like(units, k if reads == "own" else k + 1)
            return lanes_of(row, units, k + 2, 2) + gate * LANES
        row = {"W_oc": 0, "W_ox": n, "b_o": n + k}[name] + columns
        return np.asarray(self._cut + row * n + units)

    def _fresh(self) -> dict[str, Array]:
        n, k, b, dtype = self.n_lanes, self._n_padded, self.n_streams, self.cell.dtype
        sizes = {
            "trace": (k + 2) * 2 * n * b,
            "source": (n + k + 1) * b,
            **dict.fromkeys(("before", "d", "zh", "fh", "o"), n * b),
            "h": (n + LANES) * b,
            "q": (n + LANES) * b,
            "delta": n * b,
            "sums": n * b,
            "one": 1,
            "out_scratch": (n + k + 1) * n if b > 1 else 0,
            "scratch": LANES * b,
        }
        held = {name: aligned_zeros(size, dtype) for name, size in sizes.items()}
        held["source"].reshape(b, -1)[:, -1] = 1.0
        held["one"][:] = 1.0
        return held

    def _packed(self) -> tuple[Any, ...]:
        cut, kept, (m, v) = self._cut, self._kept, self._opt.moments
        weights = (self._weights[:cut], self._weights[cut:], kept[:cut], kept[cut:])
        return weights, (m[:cut], v[:cut], m[cut:], v[cut:])

    def _kernel(self) -> Any:
        return fused_elstm.run_one if self.n_streams == 1 else fused_elstm.run_batch

    def _blocks(self, name: str) -> Array:
        """Return float[B, n] of a held float[N/16, B, 16]."""
        values = self._held[name].reshape(-1, self.n_streams, LANES).transpose(1, 0, 2)
        return values.reshape(self.n_streams, -1)[:, : self.cell.n_units]

    def _gradient(self, dl_dh: Array) -> Array:
        n, layout = self.n_lanes, self.cell.layout
        source = self._held["source"].reshape(self.n_streams, -1)
        out = self._weights[self._cut :].reshape(-1, n)
        units = self.cell.n_units
        c, o = source[:, :units], self._blocks("o")
        delta = dl_dh * c * o * (1 - o)
        q = dl_dh * o + delta @ out[:units, :units].T
        unit, gate = layout.unit_of, layout.gate_of
        own, coefficients = self._blocks("d"), np.stack([self._blocks("zh"), self._blocks("fh")])
        reads = np.concatenate([source[:, n : n + self.cell.n_inputs], self._blocks("before"), source[:, -1:]], axis=1)
        j = self._trace() * own[:, unit] + coefficients[gate, :, unit].T * reads[:, layout.source_of]
        of_state = (q[:, unit] * j).sum(axis=0)
        outer = np.zeros_like(out)
        outer[:, :units] = source.T @ delta
        full = np.concatenate([np.zeros(self._cut, self.cell.dtype), outer.ravel()])
        return np.concatenate([of_state, full[self._place[layout.n_state_params :]]])

    def _trace(self) -> Array:
        """Return the sensitivities before the last step, float[B, n_state_params]."""
        at = self._place[: self.cell.layout.n_state_params]
        return self._held["trace"][self._in_trace(at).T]

    def _in_trace(self, at: Array) -> Int64:
        """Return where the sensitivities to the gates' weights at `at` lie, int64[len(at), B]."""
        b, k = self.n_streams, self._n_padded
        row, lane = at // (2 * LANES), at % (2 * LANES)
        block, row = row // (k + 2), row % (k + 2)
        together = np.where(row < k, 4, 2)  # rows that lie side by side in a stream
        group = np.where(row < k, row // 4 * 4, k)
        first = (block * (k + 2) + group) * b
        stream = np.arange(b) * together[:, None]
        return np.asarray((first[:, None] + stream + (row - group)[:, None]) * 2 * LANES + lane[:, None])

    def _forget(self, chosen: Array) -> None:
        everywhere = np.arange(self._cut)
        self._held["trace"][self._in_trace(everywhere)[:, chosen]] = 0
        self._held["source"].reshape(self.n_streams, -1)[chosen, : self.n_lanes] = 0
