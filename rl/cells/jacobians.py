"""The immediate and the recurrent Jacobian of one step, each in the structure its cell allows.

A state is [B, S, n]: B independent streams, S components a unit (LSTM: c and h), n units. One unit's components
count as one entry of every pattern. Indices: b stream, s component after the step, t component before it,
g gate, m unit after, l unit before, p parameter, e edge (m reads l).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from amper.protocols import Array
from rl.cells.layout import Layout


@dataclass(frozen=True, slots=True)
class Immediate:
    """I = dstate'/dtheta with the state before held fixed: a unit's own parameters only.

    Parameters
    ----------
    layout : Layout
    coefficients : float[B, S, G, n]
        ds_m / da[g, m]: how a unit's state follows each of its sums.
    sources : float[B, n_inputs + n + 1]
        What the parameters multiply: x, h of the step before, 1.
    """

    layout: Layout
    coefficients: Array
    sources: Array

    def columns(self) -> Array:
        """Return the Jacobian, float[B, S, P]: parameter p's column, in the rows of the one unit it feeds."""
        columns = self._of_params(self.coefficients)
        columns *= self.sources.take(self.layout.source_of, axis=1)[:, None]
        return columns

    def toarray(self) -> Array:
        """Return the whole Jacobian, float[B, S * n, P], most of it zeros."""
        at, columns = self.layout, self.columns()
        n_streams, n_components, n_params = columns.shape
        out = np.zeros((n_streams, n_components, at.n_units, n_params), columns.dtype)
        out[:, :, at.unit_of, np.arange(n_params)] = columns
        return out.reshape(n_streams, -1, n_params)

    def _of_params(self, of_sums: Array) -> Array:
        """Return of every state parameter the entry [..., g, m] of the sum it feeds, [..., P]; a new array."""
        return of_sums.reshape(*of_sums.shape[:-2], -1).take(self.layout.sum_of, axis=-1)

    def _by_gate(self, q: Array) -> Array:
        return np.asarray(np.einsum("bsn,bsgn->bgn", q, self.coefficients))

    def vjp(self, q: Array) -> Array:
        """Return q^T I of every stream, float[B, P], for `q` float[B, S, n]."""
        values = self._of_params(self._by_gate(q))
        values *= self.sources.take(self.layout.source_of, axis=1)
        return values

    def vjp_sum(self, q: Array) -> Array:
        """Return q^T I summed over the streams, float[P]."""
        delta = self._by_gate(q)
        blocks = self.layout.state_blocks
        return np.concatenate([p.outer(delta[:, p.block.gate], self.layout.read(p, self.sources)) for p in blocks])


@dataclass(frozen=True, slots=True)
class ColumnJacobian:
    """D of a cell whose units do not read each other: a small matrix a unit; diagonal where S = 1.

    Parameters
    ----------
    blocks : float[B, S, S, n]
        Entry (s, t) of a unit is ds'/dt.
    """

    blocks: Array

    @property
    def structure(self) -> str:
        """What the nonzeros form: "diagonal" or "columns"."""
        return "diagonal" if self.blocks.shape[1] == 1 else "columns"

    def own_blocks(self) -> Array:
        """Return every unit's own part, float[B, S, S, n]."""
        return self.blocks

    def toarray(self) -> Array:
        """Return D as float[B, S * n, S * n]."""
        n_streams, s, _, n = self.blocks.shape
        out = np.zeros((n_streams, s, n, s, n), self.blocks.dtype)
        out[:, :, np.arange(n), :, np.arange(n)] = np.moveaxis(self.blocks, 3, 0)
        return out.reshape(n_streams, s * n, s * n)


@dataclass(frozen=True)
class LinkedJacobian:
    """D of a cell whose units read one component of each other; formed as far as it is asked for.

    Parameters
    ----------
    layout : Layout
        Its `edges` (m, l) say which unit reads which.
    theta : float[P]
    coefficients : float[B, S, G, n]
    carry : float[B, S, S, n]
        ds'_m / dt_m at fixed sums: what a unit takes over from its own state.
    reads : int
        The component that is read.
    """

    layout: Layout
    theta: Array
    coefficients: Array
    carry: Array
    reads: int

    @property
    def structure(self) -> str:
        """What the nonzeros form: "dense" where every unit reads every unit, else "sparse"."""
        return "dense" if len(self.layout.edges[0]) == self.layout.n_units**2 else "sparse"

    @cached_property
    def link(self) -> Array:
        """Every ds'_m / dh_l, h the component that is read, a unit's own carry of it included; float[B, S, E]."""
        unit, read = self.layout.edges
        link = np.zeros((*self.carry.shape[:2], len(unit)), self.theta.dtype)
        for p, edge in self.layout.links:
            values = self.coefficients[:, :, p.block.gate].take(p.rows, axis=-1)
            values *= self.theta[p.at]
            link[:, :, edge] += values
        if self.layout.carries:
            link[:, :, unit == read] += self.carry[:, :, self.reads]
        return link

    def link_matrix(self) -> Array:
        """Return ds'_m / dh_l as float[B, S, n, n]; a view where every unit reads every unit."""
        n = self.layout.n_units
        if self.structure == "dense":
            return self.link.reshape(*self.link.shape[:2], n, n)
        out = np.zeros((*self.link.shape[:2], n, n), self.link.dtype)
        out[(slice(None), slice(None), *self.layout.edges)] = self.link
        return out

    def own_blocks(self) -> Array:
        """Return every unit's own part, float[B, S, S, n]; no other links are formed."""
        link = np.zeros((*self.carry.shape[:2], self.layout.n_units), self.theta.dtype)
        for p, kept, unit in self.layout.own_links:
            link[:, :, unit] += self.coefficients[:, :, p.block.gate, unit] * self.theta[p.at][kept]
        if self.layout.carries:
            link += self.carry[:, :, self.reads]
        out = self.carry.copy()
        out[:, :, self.reads] = link
        return out

    def toarray(self) -> Array:
        """Return D as float[B, S * n, S * n]."""
        n_streams, s, _, n = self.carry.shape
        out = np.zeros((n_streams, s, n, s, n), self.theta.dtype)
        out[:, :, np.arange(n), :, np.arange(n)] = np.moveaxis(self.carry, 3, 0)
        out[:, :, :, self.reads, :] = self.link_matrix()
        return out.reshape(n_streams, s * n, s * n)


Recurrent = ColumnJacobian | LinkedJacobian


def recurrent(layout: Layout, theta: Array, coefficients: Array, carry: Array, reads: int | None) -> Recurrent:
    """Return D from the weights and a step's element-wise derivatives.

    ds'_m/dt_l = sum over gates g of (ds_m/da[g, m]) U_g[m, l] for the component t that weights read, plus
    `carry` float[B, S, S, n] at l = m: what a unit takes over from its own state besides the sums.
    """
    if reads is not None and not layout.is_columnar:
        return LinkedJacobian(layout, theta, coefficients, carry, reads)
    blocks = carry.copy()
    if reads is not None:
        for p in layout.linking:
            blocks[:, :, reads] += coefficients[:, :, p.block.gate] * theta[p.at]
    return ColumnJacobian(blocks)
