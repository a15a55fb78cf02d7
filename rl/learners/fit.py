"""Which cells a method makes sense for, and the reason given where it does not."""

from __future__ import annotations

from typing import Any

import numpy as np

from rl import checks
from rl.protocols import Cell


def require_cell(cell: Any) -> None:
    """Refuse what is no cell, a cell's name or class among it."""
    checks.having("cell", cell, ("layout", "init", "initial_state", "linearise"), "a cell, as rl.cells.make returns")


def require_declared_carry(cell: Cell) -> None:
    """Refuse a cell that says `carries = False` and yet hands a unit's own state on.

    The layout's edges, and with them the pairs that sensitivities are kept for, follow from what the cell says.
    """
    if cell.layout.carries:
        return
    state = np.full_like(cell.initial_state(1), 0.5)
    x = np.full((1, cell.n_inputs), 0.5, cell.dtype)
    with np.errstate(all="ignore"):
        carry = cell.linearise(cell.init(), x, state).carry
    if np.any(carry):
        raise ValueError(
            f"cell must have carries = True where its units take over their own state, got False with {cell.name!r}"
        )


def require_one_gate(cell: Cell, learner: str, why: str) -> None:
    """Refuse a cell unless its units have one state component and one gate reading vectors all units share.

    Then the immediate Jacobian is diag(phi') (x) xi, xi = [x, h-, 1].
    """
    layout = cell.layout
    shared = all(p.block.reads != "own" and p.block.summed for p in layout.state_blocks)
    if cell.n_components != 1 or layout.n_gates != 1 or layout.is_columnar or not shared:
        raise ValueError(
            f"cell must be 'vanilla', or like it have a single gate, for {learner}, got {cell.name!r}; {why}"
        )
