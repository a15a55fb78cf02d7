"""The LSTM, fully connected."""

from __future__ import annotations

from typing import ClassVar, Literal

from amper.protocols import Array
from rl.cells import gates
from rl.cells.base import GatedCell
from rl.cells.layout import Block


class Lstm(GatedCell):
    """i, f, o = sigmoid(.), g = tanh(.) of W x + U h- + b; c = f c- + i g; h = o tanh(c).

    State [c; h]. D = [[diag f, A], [diag(B f), diag(B) A + diag(kO) U_o]], A = kI U_i + kF U_f + kG U_g (see
    `gates.lstm`). Views: W_G [n, n_inputs], U_G [n, n], b_G [n] of each gate G = i, f, o, g.
    """

    name = "lstm"
    gates = ("i", "f", "o", "g")
    components = ("c", "h")
    reads = 1
    #: Name of the recurrent weights, and what they read.
    recurrent_weights: ClassVar[tuple[str, Literal["state", "own"]]] = ("U", "state")

    def _blocks(self) -> list[Block]:
        weights, read = self.recurrent_weights
        return [
            block
            for gate, name in enumerate(self.gates)
            for block in (
                Block(name=f"W_{name}", gate=gate, reads="x"),
                Block(name=f"{weights}_{name}", gate=gate, reads=read),
                Block(name=f"b_{name}", gate=gate, reads="one"),
            )
        ]

    def _advance(self, theta: Array, a: Array, state: Array) -> tuple[Array, Array, Array]:
        return gates.lstm(a, state)
