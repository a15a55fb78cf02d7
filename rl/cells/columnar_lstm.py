"""The columnar LSTM: every unit an LSTM of its own (Javed et al. 2023)."""

from __future__ import annotations

import numpy as np

from amper.protocols import Array
from rl.cells.layout import Block
from rl.cells.lstm import Lstm


class ColumnarLstm(Lstm):
    """i, f, o = sigmoid(.), g = tanh(.) of W x + u h- + b, u a unit's own weight; c = f c- + i g; h = o tanh(c).

    Columns do not see each other, so exact sensitivities cost as much as the parameters, 4(n_inputs + 2) a
    column: TC' = f TC + A TH + k_G phi (no term for o), TH' = B TC' + E TH (+ kO phi for o), where
    A = kF u_f + kG u_g + kI u_i and E = kO u_o. Views: W_G [n, n_inputs], u_G [n], b_G [n], G = i, f, o, g.
    """

    name = "columnar-lstm"
    recurrent_weights = ("u", "own")

    def _init_block(self, rng: np.random.Generator, block: Block, shape: tuple[int, ...]) -> Array:
        """Return uniform values in +-.01, as Javed et al. (2023)."""
        return rng.uniform(-0.01, 0.01, shape)
