"""KF-RTRL: sensitivities as one Kronecker product, right on average."""

from __future__ import annotations

import numpy as np

from amper.protocols import Array
from rl.cells.base import Linearised
from rl.cells.jacobians import LinkedJacobian
from rl.learners import counting
from rl.learners.base import Carried, OnlineLearner
from rl.learners.counting import Cost
from rl.learners.fit import require_one_gate
from rl.protocols import Cell


class KfRtrl(OnlineLearner):
    """J ~ A (x) u with u' = c1 p1 u + c2 p2 xi, A' = (c1/p1) H A + (c2/p2) diag(phi'); c1, c2 = +-1.

    (Mujika et al. 2018, section 3.) H = D, phi' = dh/da and xi = [x, h-, 1]. p1 = sqrt(|H A|/|u|),
    p2 = sqrt(|phi'|/|xi|), Frobenius norms with 1e-12 added. The gradient (q^T A)_i u_j is unbiased. Masked cells
    read only the kept entries (i, j) from the product.
    """

    name = "kf-rtrl"

    def __init__(self, cell: Cell, *, batch: int | None = None, seed: int = 0) -> None:
        require_one_gate(
            cell, self.name, "the immediate Jacobian is one Kronecker product only with one gate and one component"
        )
        super().__init__(cell, batch=batch, seed=seed)

    @classmethod
    def cost(cls, cell: Cell, n_streams: int) -> Cost:
        """Return the cost: H A, edges times units; H is multiplied as a dense matrix, its zeros are `padding`."""
        require_one_gate(
            cell, cls.name, "the immediate Jacobian is one Kronecker product only with one gate and one component"
        )
        n, n_sources = cell.n_units, cell.n_inputs + cell.n_units + 1
        carried = n_streams * (n * n + n_sources) * cell.dtype.itemsize
        return Cost(
            forward=counting.forward_products(cell, n_streams),
            sensitivities=n_streams * (len(cell.layout.edges[0]) * n + n * n + 2 * n_sources),
            gradient=n_streams * (n * n + cell.layout.n_state_params),
            bytes_carried=carried,
            bytes_held=counting.bytes_held(cell, n_streams, carried),
            padding=n_streams * (n * n - len(cell.layout.edges[0])) * n,
        )

    def _fresh(self, n_streams: int) -> Carried:
        n, n_sources = self.cell.n_units, self.cell.n_inputs + self.cell.n_units + 1
        return {
            "A": np.zeros((n_streams, n, n), self.cell.dtype),
            "u": np.zeros((n_streams, n_sources), self.cell.dtype),
        }

    def _advance(self, at: Linearised, carried: Carried) -> Carried:
        recurrent = self.cell.recurrent(at)
        assert isinstance(recurrent, LinkedJacobian)  # require_one_gate
        forward = np.matmul(recurrent.link_matrix()[:, 0], carried["A"])
        slope, u, xi = at.coefficients[:, 0, 0], carried["u"], at.sources
        c1, c2 = (2 * self._rng.integers(0, 2, (2, len(u))) - 1).astype(self.cell.dtype)
        p1 = np.sqrt(_norm(forward) / _norm(u))
        p2 = np.sqrt(_norm(slope) / _norm(xi))
        forward *= (c1 / p1)[:, None, None]
        diagonal = np.arange(self.cell.n_units)
        forward[:, diagonal, diagonal] += (c2 / p2)[:, None] * slope
        return {"A": forward, "u": (c1 * p1)[:, None] * u + (c2 * p2)[:, None] * xi}

    def _state_gradient(self, at: Linearised, q: Array) -> Array:
        along = np.einsum("bi,bij->bj", q[:, 0], self._carried["A"])
        layout = self.cell.layout
        pairs = along.take(layout.unit_of, axis=1)
        pairs *= self._carried["u"].take(layout.source_of, axis=1)
        return np.asarray(pairs.sum(axis=0))


def _norm(a: Array) -> Array:
    """Return |a| + 1e-12 of each stream, float[B]."""
    flat = a.reshape(len(a), -1)
    return np.asarray(np.sqrt(np.einsum("bi,bi->b", flat, flat)) + a.dtype.type(1e-12))
