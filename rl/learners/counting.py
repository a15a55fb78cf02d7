"""How many operations and bytes a learner takes, counted from the sizes and masks of its cell.

An operation is one multiplication with its addition. Element-wise work on the units alone (gates, activations,
norms) is left out, as in the counts of the papers, and so are the products that form D from the weights, one a
recurrent weight and component.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from amper.protocols import Array
from rl.cells.layout import Layout
from rl.protocols import Cell


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What one step of a learner takes, all streams together, and what it holds.

    Attributes
    ----------
    forward, sensitivities, gradient : int
        Operations of a step: the cell's sums; what is carried; one call of `gradient`. D counts by its edges, as in
        Menick et al. (2021): a product with an entry of D that is always zero is none.
    padding : int
        Products with such zeros that are multiplied all the same, where a dense matrix is faster than its edges.
    bytes_carried : int
        Sensitivities, or the steps a window holds.
    bytes_held : int
        All arrays the learner holds between two steps, those included, its cell's excluded. Calls need more while
        they run. A step: its own arrays; what sensitivities it carries a second time, so that a refused step changes
        nothing; and scratch of up to as much again ("kf-rtrl" under masks: the links besides). A gradient: up to
        twice theta, and a number a stream, component and parameter ("kf-rtrl": two).
    """

    forward: int
    sensitivities: int
    gradient: int
    bytes_carried: int
    bytes_held: int
    padding: int = 0

    @property
    def operations(self) -> int:
        """Operations of a step: forward, carried and gradient; the papers' count."""
        return self.forward + self.sensitivities + self.gradient

    @property
    def multiplied(self) -> int:
        """What a step here multiplies: its operations and the padding."""
        return self.operations + self.padding


# -- SnAp: pairs and products ---------------------------------------------------------------------------------
def pairs(cell: Cell, n: int) -> int:
    """Return how many pairs (unit, parameter) SnAp-`n` keeps; a unit's c and h count as one.

    Examples
    --------
    >>> from rl import cells
    >>> lstm = cells.make("lstm", n_inputs=3, n_units=32, bias=False)
    >>> pairs(lstm, 1), pairs(lstm, 32)
    (4480, 143360)
    """
    return int(cell.layout.reach(n).sum(axis=0) @ _params_of_units(cell.layout))


def recursion_products(cell: Cell, n: int) -> int:
    """Return the multiply-adds of the kept entries of D J in SnAp-`n`, a unit's c and h counted as one.

    For every kept pair (m, p): the units l that m reads (itself where it carries its state) with (l, p) kept.
    """
    at = cell.layout
    reached = at.reach(n).astype(np.float64)
    reads = np.zeros_like(reached)
    reads[at.edges] = 1.0
    within = (reached * (reads @ reached)).sum(axis=0)  # edges between two kept rows, of each column
    return int(within @ _params_of_units(at))


def full_products(cell: Cell) -> int:
    """Return the multiply-adds of D J with every entry of J kept: edges times parameters."""
    return len(cell.layout.edges[0]) * cell.layout.n_state_params


def _params_of_units(at: Layout) -> Array:
    return np.bincount(at.unit_of, minlength=at.n_units)


def tbptt_budget(n_inputs: int, n_units: int, k: int) -> int:
    """Return 4 d (n + d + 1)(k + 1), the operations Javed et al. (2023) give T-BPTT(k) of a dense LSTM.

    Every parameter once forward and once in each of the k steps back: what budgets are matched by. `Cost` counts
    the products with U^T besides.

    Examples
    --------
    >>> tbptt_budget(12, 10, 3)
    3680
    """
    return 4 * n_units * (n_inputs + n_units + 1) * (k + 1)


# -- what the learners' own counts are made of -----------------------------------------------------------------
def forward_products(cell: Cell, n_streams: int) -> int:
    """Return the products of a step's sums, output map included."""
    return n_streams * sum(len(p.rows) for p in cell.layout.placed.values() if p.block.reads != "one")


def output_products(cell: Cell, n_streams: int) -> int:
    """Return the products `output_vjp` takes: its map once more, transposed, and its own gradient."""
    return 3 * n_streams * sum(len(p.rows) for p in cell.layout.placed.values() if p.block.gate < 0)


def carry_products(cell: Cell) -> int:
    """Return the products of D v or D^T q from the weights: recurrent weights once, and the units' own."""
    linking = sum(len(p.rows) for p in cell.layout.state_blocks if p.block.reads in ("state", "own"))
    return linking + cell.n_components * (cell.layout.n_gates + cell.n_components) * cell.n_units


def step_bytes(cell: Cell) -> int:
    """Return the bytes of one stream's `Linearised`, weights and state before aside."""
    zeros = np.zeros((1, cell.n_inputs), cell.dtype)
    at = cell.linearise(cell.init(), zeros, cell.initial_state(1))
    arrays = {field.name: getattr(at, field.name) for field in dataclasses.fields(at)}
    for name in ("theta", "before"):
        del arrays[name]
    if np.shares_memory(at.h, at.state):
        del arrays["h"]
    return sum(values.nbytes for values in arrays.values())


def bytes_held(cell: Cell, n_streams: int, carried: int) -> int:
    """Return the bytes of theta, the weights of the last step, that step, and `carried`."""
    state = cell.n_components * cell.n_units * cell.dtype.itemsize
    return 2 * cell.n_params * cell.dtype.itemsize + n_streams * (state + step_bytes(cell)) + carried
