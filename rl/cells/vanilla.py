"""The vanilla cell, with or without leak."""

from __future__ import annotations

from typing import Any

import numpy as np

from amper.protocols import Array
from rl import checks
from rl.cells.base import GatedCell
from rl.cells.layout import Block


class Vanilla(GatedCell):
    """h = (1 - 1/tau) h- + (1/tau) tanh(U h- + W x + b).

    D = (1 - 1/tau) 1 + (1/tau) diag(tanh') U. Views: U [n, n], W [n, n_inputs], b [n].

    Parameters
    ----------
    tau : float
        Time constant of the leak, >= 1; 1 is the plain cell.
    **options
        See `GatedCell`.

    Examples
    --------
    >>> cell = Vanilla(n_inputs=3, n_units=4, tau=2.0)
    >>> {name: view.shape for name, view in cell.views(cell.init()).items()}
    {'U': (4, 4), 'W': (4, 3), 'b': (4,)}
    """

    name = "vanilla"
    gates = ("h",)

    def __init__(self, *, tau: float = 1.0, **options: Any) -> None:
        if checks.number("tau", tau) < 1.0:
            raise ValueError(f"tau must be at least 1, got {tau!r}")
        self.tau = float(tau)
        self.carries = self.tau != 1.0
        super().__init__(**options)

    @property
    def signature(self) -> str:
        """The same, with the time constant."""
        return f"{super().signature} tau={self.tau}"

    def _blocks(self) -> list[Block]:
        return [
            Block(name="U", gate=0, reads="state"),
            Block(name="W", gate=0, reads="x"),
            Block(name="b", gate=0, reads="one"),
        ]

    def _advance(self, theta: Array, a: Array, state: Array) -> tuple[Array, Array, Array]:
        rate = self.dtype.type(1.0 / self.tau)
        leak = 1 - rate
        phi = np.tanh(a)
        return leak * state + rate * phi, (rate * (1 - phi**2))[:, None], np.full_like(state, leak)[:, :, None]
