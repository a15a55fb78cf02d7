"""eLSTM: element-wise recurrence, and an output gate over input and cell (Irie et al. 2024)."""

from __future__ import annotations

import numpy as np

from amper.protocols import Array
from rl.cells.base import GatedCell, Linearised
from rl.cells.gates import sigmoid
from rl.cells.layout import Block


class Elstm(GatedCell):
    """z = tanh(F x + w_z c- + b_z); f = sigmoid(W x + w_f c- + b_f); c = f c- + (1-f) z; h = c o.

    The output gate o = sigmoid(W_ox x + W_oc c + b_o) is no part of the recurrence: its weights need no
    sensitivity, but dL/dc has a path through it. Views: F, W, W_ox [n, n_inputs], W_oc [n, n],
    w_z, w_f, b_z, b_f, b_o [n].
    """

    name = "elstm"
    gates = ("z", "f")
    components = ("c",)

    def _blocks(self) -> list[Block]:
        return [
            Block(name="F", gate=0, reads="x"),
            Block(name="w_z", gate=0, reads="own"),
            Block(name="b_z", gate=0, reads="one"),
            Block(name="W", gate=1, reads="x"),
            Block(name="w_f", gate=1, reads="own"),
            Block(name="b_f", gate=1, reads="one"),
            Block(name="W_ox", gate=-1, reads="x"),
            Block(name="W_oc", gate=-1, reads="state"),
            Block(name="b_o", gate=-1, reads="one"),
        ]

    def _advance(self, theta: Array, a: Array, state: Array) -> tuple[Array, Array, Array]:
        """Return the step; zh = dc/da_z = (1-f)(1-z^2), fh = dc/da_f = (c- - z) f(1-f)."""
        before = state[:, 0]
        z, f = np.tanh(a[:, 0]), sigmoid(a[:, 1])
        c = f * before + (1 - f) * z
        zh, fh = (1 - f) * (1 - z**2), (before - z) * f * (1 - f)
        return c[:, None], np.stack([zh, fh], axis=1)[:, None], f[:, None, None]

    def _gate(self, theta: Array, x: Array, c: Array) -> Array:
        placed = self.layout.placed
        a = placed["W_ox"].dot(theta, x) + placed["W_oc"].dot(theta, c)
        return sigmoid(a + placed["b_o"].view(theta) if "b_o" in placed else a)

    def _output(self, theta: Array, x: Array, state: Array) -> Array:
        c = state[:, 0]
        return c * self._gate(theta, x, c)

    def output_vjp(self, at: Linearised, dl_dh: Array) -> tuple[Array, Array, Array]:
        """Return dL/dc = q o + W_oc^T (q c o(1-o)), and the gate's own gradient and way to x."""
        c, placed = at.state[:, 0], self.layout.placed
        o = self._gate(at.theta, at.x, c)
        delta = dl_dh * c * o * (1 - o)
        dl_dc = dl_dh * o + placed["W_oc"].vjp(at.theta, delta)
        reads = {"W_ox": at.x, "W_oc": c, "b_o": np.ones((len(c), 1), self.dtype)}
        own = [placed[name].outer(delta, source) for name, source in reads.items() if name in placed]
        return dl_dc[:, None], np.concatenate(own), placed["W_ox"].vjp(at.theta, delta)

    def _init_block(self, rng: np.random.Generator, block: Block, shape: tuple[int, ...]) -> Array:
        """Return normal values of standard deviation .1, biases 0, as Irie et al. (2024)."""
        return np.zeros(shape) if block.is_bias else 0.1 * rng.standard_normal(shape)
