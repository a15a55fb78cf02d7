"""Unbiased online recurrent optimisation: sensitivities as one outer product, right on average."""

from __future__ import annotations

from typing import Any

import numpy as np

from amper.protocols import Array
from rl import checks
from rl.cells.base import Linearised
from rl.learners import counting
from rl.learners.base import Carried, OnlineLearner
from rl.learners.counting import Cost
from rl.protocols import Cell


class Uoro(OnlineLearner):
    """J ~ A B^T with A' = p0 D A + p1 nu, B' = B/p0 + (nu^T I)/p1, nu = +-1 for every entry of the state.

    (Tallec and Ollivier 2018, algorithm 1.) p0 = sqrt(|B|/|D A|) and p1 = sqrt(|nu^T I|/|nu|) make the variance
    small; where a norm is 0 its factor is 1. The gradient (q . A) B is unbiased.

    Parameters
    ----------
    start : str
        "zero", or "normal" for A and B from N(0, 1); both are unbiased.
    """

    name = "uoro"

    def __init__(self, cell: Cell, *, start: str = "zero", batch: int | None = None, seed: int = 0) -> None:
        self.start = checks.known("start", start, ("zero", "normal"))
        super().__init__(cell, batch=batch, seed=seed)

    @classmethod
    def cost(cls, cell: Cell, n_streams: int, *, start: str = "zero") -> Cost:
        """Return the cost: D A from the weights, and twice the parameters: nu^T I, and its sum with B."""
        checks.known("start", start, ("zero", "normal"))
        n_state, n_params = cell.n_components * cell.n_units, cell.layout.n_state_params
        carried = n_streams * (n_state + n_params) * cell.dtype.itemsize
        return Cost(
            forward=counting.forward_products(cell, n_streams),
            sensitivities=n_streams * (counting.carry_products(cell) + 2 * n_params),
            gradient=n_streams * (n_state + n_params) + counting.output_products(cell, n_streams),
            bytes_carried=carried,
            bytes_held=counting.bytes_held(cell, n_streams, carried),
        )

    def _options(self) -> dict[str, Any]:
        return {"start": self.start}

    def _fresh(self, n_streams: int) -> Carried:
        cell = self.cell
        shapes = {"A": (n_streams, cell.n_components, cell.n_units), "B": (n_streams, cell.layout.n_state_params)}
        if self.start == "zero":
            return {name: np.zeros(shape, cell.dtype) for name, shape in shapes.items()}
        return {name: self._rng.standard_normal(shape).astype(cell.dtype) for name, shape in shapes.items()}

    def _advance(self, at: Linearised, carried: Carried) -> Carried:
        b = carried["B"]
        nu = (2 * self._rng.integers(0, 2, at.state.shape) - 1).astype(self.cell.dtype)
        forward = self.cell.state_jvp(at, carried["A"])
        inward = self.cell.immediate(at).vjp(nu)
        p0, p1 = _balance(b, forward), _balance(inward, nu)
        inward /= p1[:, None]
        inward += b / p0[:, None]
        return {"A": p0[:, None, None] * forward + p1[:, None, None] * nu, "B": inward}

    def _state_gradient(self, at: Linearised, q: Array) -> Array:
        along = np.einsum("bsn,bsn->b", q, self._carried["A"])
        return np.asarray(along @ self._carried["B"])


def _balance(over: Array, under: Array) -> Array:
    """Return sqrt(|over| / |under|) of each stream, 1 where either is 0; float[B]."""
    norms = [np.sqrt(np.einsum("bi,bi->b", a, a)) for a in (over.reshape(len(over), -1), under.reshape(len(over), -1))]
    known = (norms[0] > 0) & (norms[1] > 0)
    return np.asarray(np.sqrt(np.divide(norms[0], norms[1], out=np.ones_like(norms[0]), where=known)))
