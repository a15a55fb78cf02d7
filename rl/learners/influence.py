"""Sensitivities J = dstate/dtheta on chosen pairs (unit, parameter), stored without the rest.

J' = mask o (I + D J). Which units a parameter's column keeps depends only on the unit it feeds: `reached`
bool[n, n] has row m set in column k iff the parameters of unit k are kept in the rows of unit m. With
`reached` = everything that is ever nonzero this is real-time recurrent learning (Williams and Zipser 1989); with
fewer steps of reach it is SnAp-n (Menick et al. 2021, section 3).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np

from amper.protocols import Array
from rl._kernels.influence import multiply_edges
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
                carried = own[:, s, t].take(self.unit_of, axis=-1)
                carried *= j[:, t]
                after[:, s] += carried
        return after

    def vjp(self, j: Array, q: Array) -> Array:
        """Return q^T J summed over the streams, float[P], for `q` float[B, S, n]."""
        return np.asarray(np.einsum("bsp,bsp->p", q.take(self.unit_of, axis=-1), j))


@dataclass(frozen=True, slots=True)
class Groups:
    """Units by the rows their parameters are kept in, group after group; all indices int32.

    Attributes
    ----------
    rows, row_at : int32[sum r], int32[n_groups + 1]
        Units whose rows are kept, ascending within a group; where each group's begin.
    params, own, param_at : int32[P], int32[P], int32[n_groups + 1]
        State parameters, and where among the group's rows each one's own unit is.
    edges, places, edge_at : int32[sum e], int32[sum e], int32[n_groups + 1]
        The layout's edges between two of the group's rows, and where each lies in the matrix [r, r], flat.
    pair_at : int64[n_groups + 1]
        Where each group's pairs (unit, parameter) begin among all pairs.
    """

    rows: Array
    row_at: Array
    params: Array
    own: Array
    param_at: Array
    edges: Array
    places: Array
    edge_at: Array
    pair_at: Array

    @property
    def n_pairs(self) -> int:
        """Kept pairs (unit, parameter)."""
        return int(self.pair_at[-1])

    @property
    def n_zero_products(self) -> int:
        """Products with J that lie on no edge, of one component: those of dense blocks [r, r]."""
        return sum(
            (len(group.rows) ** 2 - len(group.edges)) * len(group.params) for group in self if not group.is_sparse
        )

    @property
    def n_bytes(self) -> int:
        """Bytes of the index arrays."""
        return sum(getattr(self, field.name).nbytes for field in fields(self))

    def __iter__(self) -> Iterator[Group]:
        """Yield views, group by group."""
        for g in range(len(self.pair_at) - 1):
            rows = slice(self.row_at[g], self.row_at[g + 1])
            params = slice(self.param_at[g], self.param_at[g + 1])
            edges = slice(self.edge_at[g], self.edge_at[g + 1])
            yield Group(
                self.rows[rows], self.params[params], self.own[params], self.edges[edges], self.places[edges],
                int(self.pair_at[g]), int(self.pair_at[g + 1]),
            )  # fmt: skip


class Group(NamedTuple):
    """One group of `Groups`; its pairs are `start` to `stop` of all."""

    rows: Array
    params: Array
    own: Array
    edges: Array
    places: Array
    start: int
    stop: int

    @property
    def is_sparse(self) -> bool:
        """Whether edges are taken one by one: faster than a dense product where at most a sixth of it is filled."""
        return 6 * len(self.edges) <= len(self.rows) ** 2


def groups_of(layout: Layout, reached: Array) -> Groups:
    """Return the groups of `reached` bool[n, n], in the order of their first unit."""
    unit, read = layout.edges
    by_rows: dict[bytes, list[int]] = {}
    for k in range(layout.n_units):
        by_rows.setdefault(np.packbits(reached[:, k]).tobytes(), []).append(k)
    parts: list[tuple[Array, ...]] = []
    for members in by_rows.values():
        kept = reached[:, members[0]]
        rows, position = np.flatnonzero(kept), np.cumsum(kept) - 1
        params = np.flatnonzero(np.isin(layout.unit_of, members))
        edges = np.flatnonzero(kept[unit] & kept[read])
        places = position[unit[edges]] * len(rows) + position[read[edges]]
        parts.append((rows, params, position[layout.unit_of[params]], edges, places))
    joined = [np.concatenate(part).astype(np.int32) for part in zip(*parts, strict=True)]
    sizes = np.array([(len(part[0]), len(part[1]), len(part[3])) for part in parts])
    row_at, param_at, edge_at = (np.append(0, sizes[:, i].cumsum()).astype(np.int32) for i in range(3))
    pair_at = np.append(0, (sizes[:, 0] * sizes[:, 1]).cumsum())
    return Groups(joined[0], row_at, joined[1], joined[2], param_at, joined[3], joined[4], edge_at, pair_at)


class GroupedInfluence:
    """J as one small dense matrix a group, [S, rows, params], end to end: float[B, S * n_pairs].

    D between a group's rows is multiplied edge by edge where few are there, else as a dense matrix, zeros included
    (`Cost.padding`).
    """

    def __init__(self, cell: Cell, reached: Array) -> None:
        self.cell = cell
        self.groups = groups_of(cell.layout, reached)

    def zeros(self, n_streams: int) -> Array:
        """Return J before the first step."""
        return np.zeros((n_streams, self.cell.n_components * self.groups.n_pairs), self.cell.dtype)

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
            if group.is_sparse:
                for b in range(len(j)):
                    multiply_edges(recurrent.link[b], group.edges, group.places, old[b], recurrent.reads, new[b])
            else:
                np.matmul(_submatrix(recurrent, group), old[:, None, recurrent.reads], out=new)
            for t in range(cell.n_components):
                if t != recurrent.reads:
                    for s in range(cell.n_components):
                        new[:, s] += recurrent.carry[:, s, t, group.rows, None] * old[:, t]
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
        part = j[:, s * group.start : s * group.stop]
        return part.reshape(len(j), s, len(group.rows), len(group.params))


def _submatrix(recurrent: LinkedJacobian, group: Group) -> Array:
    """Return D between the group's rows for the component that is read, float[B, S, r, r]."""
    r = len(group.rows)
    matrix = np.zeros((*recurrent.link.shape[:2], r * r), recurrent.link.dtype)
    matrix[:, :, group.places] = recurrent.link[:, :, group.edges]
    return matrix.reshape(*matrix.shape[:2], r, r)


def influence_cost(cell: Cell, n: int, n_streams: int) -> Cost:
    """Return what `influence` takes: S^2 products a column entry, or S times D J plus what a unit carries.

    D J counts by edges, as in Menick et al. (2021); what dense blocks multiply beyond that is `padding`.
    """
    s, n_params, itemsize = cell.n_components, cell.layout.n_state_params, cell.dtype.itemsize
    reached = cell.layout.reach(n)
    n_pairs = counting.pairs(cell, n)
    own_only = n_pairs == n_params
    recursion = s * s * n_params if own_only else s * (counting.recursion_products(cell, n) + (s - 1) * n_pairs)
    groups = None if own_only else groups_of(cell.layout, reached)
    carried = n_streams * s * n_pairs * itemsize
    return Cost(
        forward=counting.forward_products(cell, n_streams),
        sensitivities=n_streams * (recursion + s * n_params),
        gradient=n_streams * s * n_pairs + counting.output_products(cell, n_streams),
        bytes_carried=carried,
        bytes_held=counting.bytes_held(cell, n_streams, carried + (groups.n_bytes if groups else 0)),
        padding=n_streams * s * groups.n_zero_products if groups else 0,
    )


def influence(cell: Cell, n: int) -> ColumnInfluence | GroupedInfluence:
    """Return the storage of SnAp-`n` for a cell; n >= its units keeps all that is ever nonzero."""
    reached = cell.layout.reach(n)
    if (reached == np.eye(cell.n_units, dtype=bool)).all():
        return ColumnInfluence(cell)
    return GroupedInfluence(cell, reached)
