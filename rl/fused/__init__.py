"""Cells whose learning is fused with their step: one compiled call a step, or one for a whole stretch of steps.

Example: `fused = rl.fused.make(rl.cells.make("elstm", n_inputs=8, n_units=32), loss="squared", n_outputs=1)`.

Sources: eLSTM with real-time recurrent learning, Irie et al. 2024 (arXiv 2305.19044); recurrent trace units, Elelimy et
al. 2024; SnAp-1, Menick et al. 2021 (arXiv 2006.07232).
"""

from __future__ import annotations

from rl import checks
from rl.fused.base import Fused
from rl.fused.elstm import FusedElstm
from rl.fused.gru import FusedGru
from rl.fused.rtu import FusedNonlinearRtu, FusedRtu
from rl.learners import fit
from rl.optimisers import Optimiser
from rl.protocols import Cell

__all__ = ["Fused", "available", "make"]

_REGISTRY: dict[str, type[Fused]] = {
    "elstm": FusedElstm,
    "rtu": FusedRtu,
    "rtu-nonlinear": FusedNonlinearRtu,
    "gru": FusedGru,
}


def available() -> dict[str, tuple[str, ...]]:
    """Return the names of the cells that can be fused, and the learners of each.

    Examples
    --------
    >>> available()["elstm"]
    ('rtrl', 'snap')
    """
    return {name: fused.learners for name, fused in _REGISTRY.items()}


def make(
    cell: Cell,
    *,
    learner: str = "rtrl",
    batch: int | None = None,
    optimiser: Optimiser | None = None,
    step_size: float = 1e-3,
    loss: str | None = None,
    n_outputs: int | None = None,
    readout_step_size: float | None = None,
) -> Fused:
    """Return a learner that steps, carries its sensitivities and updates its weights in one compiled call.

    Parameters
    ----------
    cell : Cell
        One of `available()`; its weights are the initial ones.
    learner : str
        "rtrl", or "snap" with n = 1, where the cell has it; see `available`.
    batch : int, optional
        Independent streams; None is one, without an axis for it. Gradients are summed over them.
    optimiser : Optimiser
        `Sgd` or `Adam` of `rl.optimisers`, for the cell and for the readout.
    step_size : float
        Positive and finite.
    loss : str, optional
        "squared", half the squared error, or "cross-entropy", of the softmax in nats: of a linear readout with a
        bias, all 0 at the start, which is learned as well. None leaves readout and `run` out.
    n_outputs : int, optional
        Of the readout; given exactly where `loss` is.
    readout_step_size : float, optional
        `step_size` if left out.

    Raises
    ------
    ValueError, TypeError
        If a parameter is out of range, or the cell or the learner cannot be fused.

    Examples
    --------
    >>> import numpy as np
    >>> from rl import cells
    >>> fused = make(cells.make("elstm", n_inputs=2, n_units=3), loss="squared", n_outputs=1, step_size=0.1)
    >>> losses = fused.run(np.ones((50, 2)), np.ones((50, 1)))
    >>> float(losses[0]), bool(losses[-1] < 0.1)
    (0.5, True)
    """
    fit.require_cell(cell)
    if cell.name not in _REGISTRY:
        raise ValueError(f"cell must be one of {', '.join(_REGISTRY)} to be fused, got {cell.name!r}")
    kind = _REGISTRY[cell.name]
    if checks.known("learner", learner, ("rtrl", "snap")) not in kind.learners:
        raise ValueError(f"learner must be one of {', '.join(kind.learners)} for {cell.name!r}, got {learner!r}")
    return kind(
        cell,
        batch=batch,
        optimiser=optimiser,
        step_size=step_size,
        loss=loss,
        n_outputs=n_outputs,
        readout_step_size=readout_step_size,
    )
