"""The GRU with the reset gate after the recurrent product."""

from __future__ import annotations

import numpy as np

from amper.protocols import Array
from rl.cells.base import GatedCell
from rl.cells.gates import sigmoid
from rl.cells.layout import Block


class Gru(GatedCell):
    """z, r = sigmoid(W x + U h- + b); a = tanh(W_a x + b_a + r (U_a h-)); h = (1 - z) h- + z a.

    Resetting after the product keeps the immediate Jacobian of a unit's weights in that unit's row; resetting h-
    before it would not. dz = (a - h-) z(1-z), da = z(1-a^2), dr = da (U_a h-) r(1-r);
    D = diag(1-z) + diag(dz) U_z + diag(dr) U_r + diag(da r) U_a. U_a h- is a sum of its own here, called u, whose
    derivative is da r. Views: W_G [n, n_inputs], U_G [n, n], b_G [n] of each gate G = z, r, a.
    """

    name = "gru"
    gates = ("z", "r", "a", "u")
    carries = True

    def _blocks(self) -> list[Block]:
        return [
            block
            for gate, name in enumerate("zra")
            for block in (
                Block(name=f"W_{name}", gate=gate, reads="x"),
                Block(name=f"U_{name}", gate=3 if name == "a" else gate, reads="state"),
                Block(name=f"b_{name}", gate=gate, reads="one"),
            )
        ]

    def _advance(self, theta: Array, a: Array, state: Array) -> tuple[Array, Array, Array]:
        before, u = state[:, 0], a[:, 3]
        z, r = sigmoid(a[:, 0]), sigmoid(a[:, 1])
        candidate = np.tanh(a[:, 2] + r * u)
        h = (1 - z) * before + z * candidate
        dz, da = (candidate - before) * z * (1 - z), z * (1 - candidate**2)
        dr = da * u * r * (1 - r)
        coefficients = np.stack([dz, dr, da, da * r], axis=1)
        return h[:, None], coefficients[:, None], (1 - z)[:, None, None]
