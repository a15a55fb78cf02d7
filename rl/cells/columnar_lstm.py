"""The columnar LSTM: every unit an LSTM of its own (Javed et al. 2023)."""

from __future__ import annotations

import numpy as np

from amper.protocols import Array
from rl.cells import gates
from rl.cells.base import GatedCell
from rl.cells.layout import Block


class ColumnarLstm(GatedCell):
    """i, f, o = sigmoid(.), g = tanh(.) of W x + u h- + b, u a unit's own weight; c = f c- + i g; h = o tanh(c).

    Columns do not see each other, so exact sensitivities cost as much as the parameters, 4(n_inputs + 2) a
    column: TC' = f TC + A TH + k_G phi (no term for o), TH' = B TC' + E TH (+ kO phi for o), where
    A = kF u_f + kG u_g + kI u_i and E = kO u_o. Views: W_G [n, n_inputs], u_G [n], b_G [n], G = i, f, o, g.
    """

    name = "columnar-lstm"
    gates = ("i", "f", "o", "g")
    components = ("c", "h")
    reads = 1

    def _blocks(self) -> list[Block]:
        return [
            block
            for gate, name in enumerate(self.gates)
            for block in (
                Block(name=f"W_{name}", gate=gate, reads="x"),
                Block(name=f"u_{name}", gate=gate, reads="own"),
                Block(name=f"b_{name}", gate=gate, reads="one"),
            )
        ]

    def _advance(self, theta: Array, a: Array, state: Array) -> tuple[Array, Array, Array]:
        return gates.lstm(a, state)

    def _init_block(self, rng: np.random.Generator, block: Block, shape: tuple[int, ...]) -> Array:
        """Return uniform values in +-.01, as Javed et al. (2023)."""
        return rng.uniform(-0.01, 0.01, shape)
