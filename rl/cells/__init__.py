"""Recurrent cells by name: steps with exact immediate and recurrent Jacobians.

Example: `cell = rl.cells.make("columnar-lstm", n_inputs=8, n_units=32, seed=0)`.

Sources: columnar LSTM, Javed et al. 2023 (arXiv 2302.05326); eLSTM, Irie et al. 2024 (arXiv 2305.19044); recurrent
trace units, Elelimy et al. 2024; LSTM, Hochreiter and Schmidhuber 1997 with the forget gate of Gers et al. 2000; GRU,
Cho et al. 2014 with the reset gate after the product, as in cuDNN; leaky vanilla, Murray 2019.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rl import checks
from rl.cells.columnar_lstm import ColumnarLstm
from rl.cells.elstm import Elstm
from rl.cells.gru import Gru
from rl.cells.lstm import Lstm
from rl.cells.rtu import NonlinearRtu, Rtu
from rl.cells.vanilla import Vanilla
from rl.protocols import Cell

Factory = Callable[..., Cell]

_REGISTRY: dict[str, Factory] = {
    cell.name: cell for cell in (ColumnarLstm, Elstm, Vanilla, Lstm, Gru, Rtu, NonlinearRtu)
}


def available() -> tuple[str, ...]:
    """Return the registered names, in order of registration.

    Examples
    --------
    >>> available()
    ('columnar-lstm', 'elstm', 'vanilla', 'lstm', 'gru', 'rtu', 'rtu-nonlinear')
    """
    return tuple(_REGISTRY)


def register(name: str, factory: Factory) -> None:
    """Make `factory(n_inputs=..., n_units=..., seed=..., dtype=..., **options)` available as `name`.

    Raises
    ------
    ValueError, TypeError
        If the name is taken or empty, or is no string, or the factory cannot be called.
    """
    checks.registration(name, factory, _REGISTRY)
    _REGISTRY[name] = factory


def make(name: str, *, n_inputs: int, n_units: int, seed: int = 0, dtype: str = "float64", **options: Any) -> Cell:
    """Return a cell.

    Parameters
    ----------
    name : str
        One of `available()`.
    n_inputs, n_units : int
        At least 1.
    seed : int
        Of the initial weights and of drawn masks.
    dtype : str
        "float32" or "float64".
    **options
        `density`, `exact_count`, `mask`, `bias` (see `rl.cells.base.GatedCell`); "vanilla" takes `tau`.

    Raises
    ------
    ValueError, TypeError
        If a name or an option is unknown or out of range, or a unit has no incoming weight in any gate.
    """
    factory = _REGISTRY[checks.known("cell", name, _REGISTRY)]
    checks.options(name, factory, options)
    return factory(n_inputs=n_inputs, n_units=n_units, seed=seed, dtype=dtype, **options)
