"""RFLO: random feedback local online learning, which leaves out the path through the recurrent weights."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np

from amper.protocols import Array
from rl import checks
from rl.cells.base import Linearised
from rl.learners import counting
from rl.learners.base import Carried, OnlineLearner
from rl.learners.counting import Cost
from rl.learners.fit import require_one_gate
from rl.protocols import Cell
from rl.streams import stream

_ONE_GATE = "what is kept of D is the leak, which must stand apart from the gate"


class Rflo(OnlineLearner):
    """Eligibility traces P' = (1 - 1/tau) P + (1/tau) phi'(.) xi^T; gradient_ij = q_i P_ij.

    (Murray 2019, equations 5 to 7.) q is dL/dh, or comes from the errors of the readout through a fixed random
    matrix instead of the readout's transpose.

    Parameters
    ----------
    feedback : "true", "random" or float[n_hidden, n_errors]
        Unless "true", `gradient` and `input_gradient` take the readout's errors dL/dy float[n_errors] in place of
        dL/dh, and q = feedback @ errors.
    n_errors : int, optional
        Columns of a random matrix, whose entries are N(0, 1/n_errors); n_hidden by default. Only with "random".
    """

    name = "rflo"

    def __init__(
        self,
        cell: Cell,
        *,
        feedback: str | Array = "true",
        n_errors: int | None = None,
        batch: int | None = None,
        seed: int = 0,
    ) -> None:
        require_one_gate(cell, self.name, _ONE_GATE)
        self.feedback = self._matrix(cell, feedback, n_errors, seed)
        super().__init__(cell, batch=batch, seed=seed)

    @classmethod
    def cost(cls, cell: Cell, n_streams: int, *, feedback: str | Array = "true", n_errors: int | None = None) -> Cost:
        """Return the cost: twice the parameters, and the feedback matrix if there is one."""
        require_one_gate(cell, cls.name, _ONE_GATE)
        n_params, width = cell.layout.n_state_params, _width(cell, feedback, n_errors)
        carried = n_streams * n_params * cell.dtype.itemsize
        matrix = cell.n_hidden * width
        return Cost(
            forward=counting.forward_products(cell, n_streams),
            sensitivities=n_streams * 2 * n_params,
            gradient=n_streams * (n_params + matrix),
            bytes_carried=carried,
            bytes_held=counting.bytes_held(cell, n_streams, carried + matrix * cell.dtype.itemsize),
        )

    def _matrix(self, cell: Cell, feedback: str | Array, n_errors: int | None, seed: int) -> Array | None:
        shape = (cell.n_hidden, _width(cell, feedback, n_errors))
        if isinstance(feedback, str):
            if feedback == "true":
                return None
            normal = stream(seed, f"learner/{self.name}/feedback").standard_normal(shape)
            return np.asarray(normal * shape[1] ** -0.5, cell.dtype)
        matrix = checks.array("feedback", feedback, shape, cell.dtype).copy()
        if not checks.all_finite(matrix):
            raise ValueError("feedback must be finite, got entries that are not")
        return matrix

    def _options(self) -> dict[str, Any]:
        return {"feedback": "true" if self.feedback is None else f"{zlib.crc32(self.feedback.tobytes()):08x}"}

    def _fresh(self, n_streams: int) -> Carried:
        return {"P": np.zeros((n_streams, self.cell.layout.n_state_params), self.cell.dtype)}

    def _advance(self, at: Linearised, carried: Carried) -> Carried:
        traces = self.cell.immediate(at).columns()[:, 0]
        leaking = at.carry[:, 0, 0].take(self.cell.layout.unit_of, axis=-1)
        leaking *= carried["P"]
        traces += leaking
        return {"P": traces}

    def _state_gradient(self, at: Linearised, q: Array) -> Array:
        return np.asarray(np.einsum("bp,bp->p", q[:, 0].take(self.cell.layout.unit_of, axis=1), self._carried["P"]))

    def _checked(self, dl_dh: Array) -> Array:
        if self.feedback is None:
            return super()._checked(dl_dh)
        where = f" at step {self.n_steps}; nothing has changed"
        errors = checks.array("dl_dy", dl_dh, self._shape(self.feedback.shape[1]), self.cell.dtype, where=where)
        return np.asarray(self._masked("dl_dy", errors) @ self.feedback.T)


def _width(cell: Cell, feedback: str | Array, n_errors: int | None) -> int:
    """Return the columns of the feedback matrix, 0 without one.

    Raises
    ------
    ValueError, TypeError
        If `feedback` is neither a known word nor a matrix for the cell, or `n_errors` has nothing to size.
    """
    word = checks.known("feedback", feedback, ("true", "random")) if isinstance(feedback, str) else "a matrix"
    if n_errors is not None and word != "random":
        raise ValueError(f"n_errors must be left out unless feedback is 'random', got {n_errors!r} and {word}")
    if word == "true":
        return 0
    if word == "random":
        return cell.n_hidden if n_errors is None else checks.whole("n_errors", n_errors, at_least=1)
    shape = np.shape(feedback)
    if len(shape) != 2 or shape[0] != cell.n_hidden:
        wanted = f"({cell.n_hidden}, {shape[1] if len(shape) == 2 else 'k'})"
        raise ValueError(f"feedback must have shape {wanted}, n_hidden by n_errors, got {shape}")
    return int(shape[1])
