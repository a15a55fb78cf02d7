"""Which cells a method makes sense for, and the reason given where it does not."""

from __future__ import annotations

from rl.protocols import Cell


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
