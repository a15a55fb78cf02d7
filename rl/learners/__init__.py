"""Learners by name: how a cell's gradient is carried from step to step.

Example: `learner = rl.learners.make("rtrl", rl.cells.make("columnar-lstm", n_inputs=8, n_units=32))`.

Sources: RTRL, Williams and Zipser 1989; SnAp-n, Menick et al. 2021 (arXiv 2006.07232); UORO, Tallec and Ollivier 2018;
KF-RTRL, Mujika et al. 2018; RFLO, Murray 2019; BPTT, Werbos 1990.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rl import checks
from rl.learners.bptt import Bptt, TruncatedBptt
from rl.learners.counting import Cost
from rl.learners.files import load, save
from rl.learners.kf_rtrl import KfRtrl
from rl.learners.rflo import Rflo
from rl.learners.rtrl import DenseRtrl, Rtrl, Snap
from rl.learners.uoro import Uoro
from rl.protocols import Cell, Learner

__all__ = ["Cost", "available", "cost", "load", "make", "register", "save"]

Factory = Callable[..., Learner]

_REGISTRY: dict[str, Factory] = {
    Rtrl.name: Rtrl,
    DenseRtrl.name: DenseRtrl,
    Snap.name: Snap,
    Uoro.name: Uoro,
    KfRtrl.name: KfRtrl,
    Rflo.name: Rflo,
    TruncatedBptt.name: TruncatedBptt,
    Bptt.name: Bptt,
}


def available() -> tuple[str, ...]:
    """Return the registered names, in order of registration.

    Examples
    --------
    >>> available()
    ('rtrl', 'rtrl-dense', 'snap', 'uoro', 'kf-rtrl', 'rflo', 'tbptt', 'bptt')
    """
    return tuple(_REGISTRY)


def register(name: str, factory: Factory) -> None:
    """Make `factory(cell, batch=..., **options)` available as `name`.

    Raises
    ------
    ValueError
        If the name is taken.
    """
    if name in _REGISTRY:
        raise ValueError(f"name must be new, got {name!r}, which is registered")
    _REGISTRY[name] = factory


def make(name: str, cell: Cell, batch: int | None = None, **options: Any) -> Learner:
    """Return a learner with the cell's initial weights and a fresh state.

    Parameters
    ----------
    name : str
        One of `available()`.
    cell : Cell
    batch : int, optional
        Independent streams; None is one, without an axis for it.
    **options
        `seed` of the learner's own randomness; "snap" takes `n`, "uoro" `start`, "rflo" `feedback` and
        `n_errors`, "tbptt" `k`.

    Raises
    ------
    ValueError, TypeError
        If the name or an option is unknown or out of range, or the method makes no sense for the cell.

    Examples
    --------
    >>> import numpy as np
    >>> from rl import cells
    >>> learner = make("rtrl", cells.make("vanilla", n_inputs=2, n_units=3))
    >>> h = learner.step(np.ones(2))
    >>> learner.gradient(h).shape  # of the loss h . h / 2
    (18,)
    """
    factory = _REGISTRY[checks.known("learner", name, _REGISTRY)]
    checks.options(name, factory, options)
    return factory(cell, batch=batch, **options)


def cost(name: str, cell: Cell, batch: int | None = None, **options: Any) -> Cost:
    """Return the operations and bytes of the learner `make` would return; none is made.

    Parameters
    ----------
    name, cell, batch
        As for `make`.
    **options
        Those of `make` that change the cost: `n`, `k`, `feedback`, `n_errors`. "bptt" needs `n_steps`, the steps since
        the start; it and "tbptt" take `n_weights`, how many different weights the window's steps were taken with.

    Raises
    ------
    ValueError
        If the name is unknown, or registered without a method `cost`.

    Examples
    --------
    >>> from rl import cells
    >>> cell = cells.make("columnar-lstm", n_inputs=8, n_units=32, dtype="float32")
    >>> cost("rtrl", cell).bytes_carried == 2 * cell.n_params * 4  # TC and TH
    True
    """
    factory = _REGISTRY[checks.known("learner", name, _REGISTRY)]
    if not hasattr(factory, "cost"):
        raise ValueError(f"learner must have a method cost to be counted, got {name!r}, which has none")
    n_streams = 1 if batch is None else checks.whole("batch", batch, at_least=1)
    counted: Cost = factory.cost(cell, n_streams, **options)
    return counted
