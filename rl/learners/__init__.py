"""Learners by name: how a cell's gradient is carried from step to step.

Example: `learner = rl.learners.make("rtrl", rl.cells.make("columnar-lstm", n_inputs=8, n_units=32))`.

Sources: RTRL, Williams and Zipser 1989; SnAp-n, Menick et al. 2021 (arXiv 2006.07232); UORO, Tallec and Ollivier 2018;
KF-RTRL, Mujika et al. 2018; RFLO, Murray 2019; BPTT, Werbos 1990.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from rl import checks
from rl.learners import fit
from rl.learners.base import OnlineLearner
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
    ValueError, TypeError
        If the name is taken or empty, or is no string, or the factory cannot be called.
    """
    checks.registration(name, factory, _REGISTRY)
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
    fit.require_cell(cell)
    checks.options(name, factory, options)
    return factory(cell, batch=batch, **options)


def cost(name: str, cell: Cell, batch: int | None = None, **options: Any) -> Cost:
    """Return the operations and bytes of the learner `make` would return; none is made.

    Parameters
    ----------
    name, cell, batch
        As for `make`.
    **options
        As for `make`. "bptt" needs `n_steps`, the steps since the start; it and "tbptt" take `n_weights`, how many
        different weights the window's steps were taken with.

    Raises
    ------
    ValueError, TypeError
        If the name or an option is unknown or out of range, the method makes no sense for the cell, or the name is
        registered without a method `cost`.

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
    fit.require_cell(cell)
    n_streams = 1 if batch is None else checks.whole("batch", batch, at_least=1)
    counted: Cost = factory.cost(cell, n_streams, **_counted_options(name, factory, options))
    return counted


def _counted_options(name: str, factory: Any, options: dict[str, Any]) -> dict[str, Any]:
    """Return the options `factory.cost` takes, after the checks a learner made with them would do."""
    parameters = list(inspect.signature(factory.cost).parameters.values())[2:]  # after cell and n_streams
    named = [p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    taken = {p.name: p.default is p.empty for p in named}
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters)
    for option in options:
        if not takes_any and option not in (*taken, "seed"):
            raise ValueError(f"an option of {name}'s cost must be one of {', '.join((*taken, 'seed'))}, got {option!r}")
    for option, needed in taken.items():
        if needed and option not in options:
            raise TypeError(f"{option} must be given for the cost of {name}, got none")
    if inspect.isclass(factory) and issubclass(factory, OnlineLearner):
        for option, value in options.items():
            _check_option(option, value)
    return {option: value for option, value in options.items() if takes_any or option in taken}


def _check_option(option: str, value: Any) -> None:
    if option in ("n", "k", "n_steps", "n_weights") or (option == "n_errors" and value is not None):
        checks.whole(option, value, at_least=1)
    elif option == "seed":
        checks.whole(option, value, at_least=0)
