"""Exact real-time recurrent learning, and SnAp-n: the same recursion on fewer pairs."""

from __future__ import annotations

from typing import Any

import numpy as np

from amper.protocols import Array
from rl import checks
from rl.cells.base import Linearised
from rl.learners import counting
from rl.learners.base import Carried, OnlineLearner
from rl.learners.counting import Cost
from rl.learners.influence import influence, influence_cost
from rl.protocols import Cell


class Snap(OnlineLearner):
    """SnAp-n: J' = mask o (I + D J), a parameter kept in the units it reaches in fewer than n steps.

    (Menick et al. 2021, section 3.) With n >= the number of units nothing that is ever nonzero is left out. A
    cell whose units do not read each other is exact at n = 1.

    Parameters
    ----------
    n : int
        At least 1.
    """

    name = "snap"

    def __init__(self, cell: Cell, *, n: int = 1, batch: int | None = None, seed: int = 0) -> None:
        self.n = checks.whole("n", n, at_least=1)
        self._influence = influence(cell, self.n)
        super().__init__(cell, batch=batch, seed=seed)

    @classmethod
    def cost(cls, cell: Cell, n_streams: int, *, n: int = 1) -> Cost:
        """Return the cost of keeping pairs reached in fewer than `n` steps."""
        return influence_cost(cell, n, n_streams)

    def _options(self) -> dict[str, Any]:
        return {"n": self.n}

    def _fresh(self, n_streams: int) -> Carried:
        return {"J": self._influence.zeros(n_streams)}

    def _advance(self, at: Linearised, carried: Carried) -> Carried:
        return {"J": self._influence.advance(at, carried["J"])}

    def _state_gradient(self, at: Linearised, q: Array) -> Array:
        return self._influence.vjp(self._carried["J"], q)


class Rtrl(Snap):
    """Real-time recurrent learning: J' = I + D J, exact, in the structure the cell allows.

    (Williams and Zipser 1989.) As many numbers as parameters for columnar LSTM, eLSTM and recurrent trace units;
    parameters times units where every unit reads every unit; in between under sparse masks.
    """

    name = "rtrl"

    def __init__(self, cell: Cell, *, batch: int | None = None, seed: int = 0) -> None:
        super().__init__(cell, n=cell.n_units, batch=batch, seed=seed)

    @classmethod
    def cost(cls, cell: Cell, n_streams: int) -> Cost:  # type: ignore[override]  # n is not an option here
        """Return the cost of keeping every pair that is ever nonzero."""
        return influence_cost(cell, cell.n_units, n_streams)

    def _options(self) -> dict[str, Any]:
        return {}


class DenseRtrl(OnlineLearner):
    """The same recursion on whole arrays, whatever their structure: the reference, for small cells.

    J is float[B, S * n, P].
    """

    name = "rtrl-dense"

    @classmethod
    def cost(cls, cell: Cell, n_streams: int) -> Cost:
        """Return the cost of whole arrays: (S n)^2 P operations for D J."""
        n_state, n_params = cell.n_components * cell.n_units, cell.layout.n_state_params
        carried = n_streams * n_state * n_params * cell.dtype.itemsize
        return Cost(
            forward=counting.forward_products(cell, n_streams),
            sensitivities=n_streams * n_state * n_state * n_params,
            gradient=n_streams * n_state * n_params + counting.output_products(cell, n_streams),
            bytes_carried=carried,
            bytes_held=counting.bytes_held(cell, n_streams, carried),
        )

    def _fresh(self, n_streams: int) -> Carried:
        n_state = self.cell.n_components * self.cell.n_units
        return {"J": np.zeros((n_streams, n_state, self.cell.layout.n_state_params), self.cell.dtype)}

    def _advance(self, at: Linearised, carried: Carried) -> Carried:
        return {"J": self.cell.immediate(at).toarray() + self.cell.recurrent(at).toarray() @ carried["J"]}

    def _state_gradient(self, at: Linearised, q: Array) -> Array:
        return np.asarray(np.einsum("bi,bip->p", q.reshape(self.n_streams, -1), self._carried["J"]))
