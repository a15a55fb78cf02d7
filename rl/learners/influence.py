"""Sensitivities J = dstate/dtheta on chosen pairs (unit, parameter), stored without the rest.

J' = mask o (I + D J). Which units a parameter's column keeps depends only on the unit it feeds: `reached`
bool[n, n] has row m set in column k iff the parameters of unit k are kept in the rows of unit m. With
`reached` = everything that is ever nonzero this is real-time recurrent learning (Williams and Zipser 1989); with
fewer steps of reach it is SnAp-n (Menick et al. 2021, section 3).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from amper.protocols import Array, Int64
from rl.cells.base import Linearised
from rl.cells.jacobians import LinkedJacobian
from rl.cells.layout import Layout
from rl.learners import counting
from rl.learners.counting import Cost
from rl.protocols import Cell


class ColumnInfluence:
    """Every parameter's column kept in the rows of its own unit only: J is float[B, S, P].

    TC' = D_cc TC + D_ch TH + I_c and TH' = D_hc TC + D_hh TH + I_h, written for a unit of two components.
    """

    def __init__(self, cell: Cell) -> None:
        self.cell = cell
        self.unit_of = cell.layout.unit_of

    def zeros(self, n_streams: int) -> Array:
        """Return J before the first step."""
        return np.zeros((n_streams, self.cell.n_components, len(self.unit_of)), self.cell.dtype)

    def advance(self, at: Linearised, j: Array) -> Array:
        """Return J'."""
        cell = self.cell
        own = cell.recurrent(at).own_blocks()
        after = cell.immediate(at).columns()
        for s in range(cell.n_components):
            for t in range(cell.n_components):
                after[:, s] += own[:, s, t][:, self.unit_of] * j[:, t]
        return after

    def vjp(self, j: Array, q: Array) -> Array:
        """Return q^T J summed over the streams, float[P], for `q` float[B, S, n]."""
        return np.asarray(np.einsum("bsp,bsp->p", q[:, :, self.unit_of], j))


@dataclass(frozen=True, slots=True)
class Group:
    """Units whose parameters are kept in the same rows.

    Attributes
    ----------
    rows : int64[r]
        Units, ascending.
    params : int64[p]
        State parameters.
    own : int64[p]
        Where in `rows` each parameter's own unit is.
    edges : int64[e]
        Indices into the layout's edges: those between two of `rows`.
    places : int64[e]
        Where each lies in the matrix [r, r], flat.
    start : int
        Of the group's pairs among all pairs.
    """

    rows: Int64
    params: Int64
    own: Int64
    edges: Int64
    places: Int64
    start: int

    @property
    def n_pairs(self) -> int:
        """Kept pairs (unit, parameter)."""
        return len(self.rows) * len(self.params)

    @property
    def n_bytes(self) -> int:
        """Bytes of the index arrays."""
        return sum(a.nbytes for a in (self.rows, self.params, self.own, self.edges, self.places))


def groups_of(layout: Layout, reached: Array) -> tuple[Group, ...]:
    """Return the groups of `reached` bool[n, n], in the order of their first unit."""
    unit, read = layout.edges
    by_rows: dict[bytes, list[int]] = {}
    for k in range(layout.n_units):
        by_rows.setdefault(np.packbits(reached[:, k]).tobytes(), []).append(k)
    groups: list[Group] = []
    start = 0
    for members in by_rows.values():
        kept = reached[:, members[0]]
        rows = np.flatnonzero(kept)
        position = np.cumsum(kept) - 1
        params = np.flatnonzero(np.isin(layout.unit_of, members))
        edges = np.flatnonzero(kept[unit] & kept[read])
        places = position[unit[edges]] * len(rows) + position[read[edges]]
        group = Group(rows, params, position[layout.unit_of[params]], edges, places, start)
        groups.append(group)
        start += group.n_pairs
    return tuple(groups)


class GroupedInfluence:
    """J as one small dense matrix a group, [S, rows, params], end to end: float[B, S * n_pairs]."""

    def __init__(self, cell: Cell, reached: Array) -> None:
        self.cell = cell
        self.groups = groups_of(cell.layout, reached)
        self.n_pairs = sum(group.n_pairs for group in self.groups)

    def zeros(self, n_streams: int) -> Array:
        """Return J before the first step."""
        return np.zeros((n_streams, self.cell.n_components * self.n_pairs), self.cell.dtype)

    def advance(self, at: Linearised, j: Array) -> Array:
        """Return J'."""
        cell = self.cell
        after = np.empty_like(j)
        recurrent = cell.recurrent(at)
        if not isinstance(recurrent, LinkedJacobian):
            raise TypeError(f"cell must have units that read each other, got {cell.name!r}")
        immediate = cell.immediate(at).columns()
        for group in self.groups:
            old, new = self._part(group, j), self._part(group, after)
            np.matmul(_submatrix(recurrent, group), old[:, None, recurrent.reads], out=new)
            for t in range(cell.n_components):
                if t != recurrent.reads:
                    new += recurrent.carry[:, :, t, group.rows, None] * old[:, None, t]
            new[:, :, group.own, np.arange(len(group.params))] += immediate[:, :, group.params]
        return after

    def vjp(self, j: Array, q: Array) -> Array:
        """Return q^T J summed over the streams, float[P], for `q` float[B, S, n]."""
        out = np.zeros(self.cell.layout.n_state_params, self.cell.dtype)
        for group in self.groups:
            rows = q[:, :, group.rows].reshape(len(q), 1, -1)
            part = self._part(group, j).reshape(len(q), -1, len(group.params))
            out[group.params] = np.matmul(rows, part).sum(axis=(0, 1))
        return out

    def _part(self, group: Group, j: Array) -> Array:
        s = self.cell.n_components
        part = j[:, s * group.start : s * (group.start + group.n_pairs)]
        return part.reshape(len(j), s, len(group.rows), len(group.params))


def _submatrix(recurrent: LinkedJacobian, group: Group) -> Array:
    """Return D between the group's rows for the component that is read, float[B, S, r, r]."""
    r = len(group.rows)
    matrix = np.zeros((*recurrent.link.shape[:2], r * r), recurrent.link.dtype)
    matrix[:, :, group.places] = recurrent.link[:, :, group.edges]
    return matrix.reshape(*matrix.shape[:2], r, r)


def influence_cost(cell: Cell, n: int, n_streams: int) -> Cost:
    """Return what `influence` takes: S^2 products a column entry, or S times D J plus what a unit carries."""
    s, n_params, itemsize = cell.n_components, cell.layout.n_state_params, cell.dtype.itemsize
    reached = cell.layout.reach(n)
    n_pairs = counting.pairs(cell, n)
    own_only = n_pairs == n_params
    recursion = s * s * n_params if own_only else s * (counting.recursion_products(cell, n) + (s - 1) * n_pairs)
    index = 0 if own_only else sum(group.n_bytes for group in groups_of(cell.layout, reached))
    carried = n_streams * s * n_pairs * itemsize
    return Cost(
        forward=counting.forward_products(cell, n_streams),
        sensitivities=n_streams * (recursion + s * n_params),
        gradient=n_streams * s * n_pairs + counting.output_products(cell, n_streams),
        bytes_carried=carried,
        bytes_held=counting.bytes_held(cell, n_streams, carried + index),
    )


def influence(cell: Cell, n: int) -> ColumnInfluence | GroupedInfluence:
    """Return the storage of SnAp-`n` for a cell; n >= its units keeps all that is ever nonzero."""
    reached = cell.layout.reach(n)
    if (reached == np.eye(cell.n_units, dtype=bool)).all():
        return ColumnInfluence(cell)
    return GroupedInfluence(cell, reached)
