"""Recurrent trace units, linear and non-linear: a complex diagonal recurrence (Elelimy et al. 2024)."""

from __future__ import annotations

import numpy as np

from amper.protocols import Array
from rl.cells.base import GatedCell, Linearised
from rl.cells.layout import Block


class Rtu(GatedCell):
    """s1 = g s1- - p s2- + N W1 x; s2 = g s2- + p s1- + N W2 x; h = tanh([s1; s2]); the state stays linear.

    r = exp(-e^nu), angle = e^vartheta, g = r cos(angle), p = r sin(angle), N = sqrt(1 - r^2) + 1e-8 and
    N_nu = dN/dnu = e^nu r^2 / sqrt(1 - r^2). Views: W1, W2 [n, n_inputs], nu, vartheta [n]; n_hidden = 2 n.

    Where W1 and W2 keep the same entries, the sensitivities (a, b) of (s1, s2) to an entry of W1 give those to the
    same entry of W2, (-b, a): half of them would do. Both are carried here, by the one recursion of all cells.
    """

    name = "rtu"
    gates = ("w1", "w2", "nu", "vartheta")
    components = ("1", "2")
    reads = None
    n_outputs_per_unit = 2

    def _blocks(self) -> list[Block]:
        return [
            Block(name="W1", gate=0, reads="x"),
            Block(name="W2", gate=1, reads="x"),
            Block(name="nu", gate=2, reads="one", summed=False),
            Block(name="vartheta", gate=3, reads="one", summed=False),
        ]

    def _advance(self, theta: Array, a: Array, state: Array) -> tuple[Array, Array, Array]:
        nu, vartheta = (self.layout.placed[name].view(theta) for name in ("nu", "vartheta"))
        # Outside these bounds r is exactly 0 or 1: nothing changes there, and neither inf * 0 nor 0 / 0 arises.
        rate, angle = np.exp(np.clip(nu, np.log(np.finfo(self.dtype).tiny), 7.0)), np.exp(vartheta)
        r = np.exp(-rate)
        g, p = r * np.cos(angle), r * np.sin(angle)
        root = np.sqrt(-np.expm1(-2 * rate))  # sqrt(1 - r^2) cancels for slow units
        n, n_nu = root + 1e-8, rate * np.exp(-2 * rate) / root
        s1, s2, w1x, w2x = state[:, 0], state[:, 1], a[:, 0], a[:, 1]
        turned1, turned2 = g * s1 - p * s2, g * s2 + p * s1
        coefficients = np.zeros((len(a), 2, 4, self.n_units), self.dtype)
        coefficients[:, 0, 0] = coefficients[:, 1, 1] = n
        coefficients[:, 0, 2], coefficients[:, 1, 2] = n_nu * w1x - rate * turned1, n_nu * w2x - rate * turned2
        # By vartheta: dg = -p e^vartheta, dp = g e^vartheta.
        coefficients[:, 0, 3], coefficients[:, 1, 3] = -angle * turned2, angle * turned1
        turn = np.array([[g, -p], [p, g]])
        carry = np.broadcast_to(turn, (len(a), *turn.shape)).copy()
        return np.stack([turned1 + n * w1x, turned2 + n * w2x], axis=1), coefficients, carry

    def _output(self, theta: Array, x: Array, state: Array) -> Array:
        return np.asarray(np.tanh(state)).reshape(len(state), -1)

    def output_vjp(self, at: Linearised, dl_dh: Array) -> tuple[Array, Array, Array]:
        """Return dL/ds = q tanh'(s); nothing passes the state by."""
        q = (dl_dh * (1 - at.h**2)).reshape(at.state.shape)
        return q, np.zeros(0, self.dtype), np.zeros_like(at.x)

    def _init_block(self, rng: np.random.Generator, block: Block, shape: tuple[int, ...]) -> Array:
        """Return nu = log(-log(u)/2), vartheta = log(6.28 u), u uniform in (0, 1); W uniform in +-1/sqrt(n_inputs)."""
        if block.reads == "x":
            return np.asarray(rng.uniform(-1.0, 1.0, shape) * self.n_inputs**-0.5)
        u = rng.uniform(1e-3, 1.0 - 1e-3, shape)
        return np.log(-np.log(u) / 2.0) if block.name == "nu" else np.log(6.28 * u)


class NonlinearRtu(Rtu):
    """The same recurrence with h = tanh(.) of its right-hand sides as the state itself.

    Every derivative is that of the linear unit times tanh' of its row.
    """

    name = "rtu-nonlinear"

    def _advance(self, theta: Array, a: Array, state: Array) -> tuple[Array, Array, Array]:
        before, coefficients, carry = super()._advance(theta, a, state)
        h = np.tanh(before)
        slope = 1 - h**2
        return h, coefficients * slope[:, :, None], carry * slope[:, :, None]

    def _output(self, theta: Array, x: Array, state: Array) -> Array:
        return state.reshape(len(state), -1)

    def output_vjp(self, at: Linearised, dl_dh: Array) -> tuple[Array, Array, Array]:
        """Return dL/dh itself; nothing passes the state by."""
        return dl_dh.reshape(at.state.shape).copy(), np.zeros(0, self.dtype), np.zeros_like(at.x)
