"""Where each parameter of a cell lies in theta, what it multiplies, and whom it feeds.

Every cell here is written as weighted sums, gate by gate and unit by unit, followed by element-wise arithmetic:

    a[g, m] = sum over the parameters p of gate g and unit m of theta[p] * source[p].

A parameter therefore belongs to one unit and one gate and multiplies one source, and the immediate Jacobian is
ds_m/dtheta_p = (ds_m/da[g, m]) * source[p]. That is all a learner needs to know about a parameter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from amper.protocols import Array, Int64

#: What a block multiplies: the input, every unit's h of the step before, the own unit's, or 1.
Reads = Literal["x", "state", "own", "one"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A named matrix or vector of parameters.

    Parameters
    ----------
    name : str
        As in the cell's equations.
    gate : int
        Which sum of its unit the block feeds; -1 for the parameters of an output map.
    reads : str
        "x" and "state" are matrices, one row a unit; "own" and "one" are vectors, one entry a unit.
    summed : bool
        False where the parameter enters its unit by another way than the sum (then it reads "one").
    """

    name: str
    gate: int
    reads: Reads
    summed: bool = True

    @property
    def is_matrix(self) -> bool:
        """Whether a mask can thin the block out."""
        return self.reads in ("x", "state")

    @property
    def is_bias(self) -> bool:
        """Whether the block is added to a sum."""
        return self.reads == "one" and self.summed


@dataclass(frozen=True, slots=True)
class Placed:
    """A block in theta.

    Attributes
    ----------
    block : Block
    at : slice
        Its parameters in theta, row by row, kept ones only.
    shape : tuple of int
        Of the matrix or vector, left-out entries included.
    rows, columns : int64[k]
        Of the kept entries: unit, and index into what the block reads.
    starts : int64[n_units + 1]
        Where each row begins among the kept entries.
    masked : bool
        Whether entries are left out.
    """

    block: Block
    at: slice
    shape: tuple[int, ...]
    rows: Int64
    columns: Int64
    starts: Int64
    masked: bool

    def view(self, theta: Array) -> Array:
        """Return the block of `theta` [P] as a view: shaped if dense, else the kept entries, row by row."""
        part = theta[self.at]
        return part if self.masked else part.reshape(self.shape)

    def dense(self, theta: Array) -> Array:
        """Return the block with zeros where entries are left out."""
        if not self.masked:
            return self.view(theta)
        matrix = np.zeros(self.shape, theta.dtype)
        matrix[self.rows, self.columns] = theta[self.at]
        return matrix

    def dot(self, theta: Array, source: Array) -> Array:
        """Return the block's part of the sums, [B, n_units]; `source` is [B, k], [B, n_units] or [B, 1]."""
        if not self.block.is_matrix:
            return theta[self.at] * source
        if not self.masked:
            return np.asarray(source @ self.view(theta).T)
        return segment_sum(theta[self.at] * source[:, self.columns], self.starts)

    def vjp(self, theta: Array, q: Array) -> Array:
        """Return the transposed block times `q` [B, n_units], [B, k]; of a vector, entry by entry."""
        if not self.block.is_matrix:
            return theta[self.at] * q
        if not self.masked:
            return np.asarray(q @ self.view(theta))
        out = np.zeros((self.shape[1], len(q)), theta.dtype)
        np.add.at(out, self.columns, (theta[self.at] * q[:, self.rows]).T)
        return out.T

    def outer(self, q: Array, source: Array) -> Array:
        """Return the derivative of sum(q * dot(theta, source)) by the block's parameters, summed over B."""
        if not self.block.is_matrix:
            return np.asarray((q * source).sum(axis=0))
        if not self.masked:
            return np.asarray(q.T @ source).ravel()
        return np.asarray(np.einsum("bp,bp->p", q[:, self.rows], source[:, self.columns]))


def segment_sum(values: Array, starts: Int64) -> Array:
    """Return the sums of `values` [..., k] over the stretches that begin at `starts` [n + 1], empty ones 0.

    Examples
    --------
    >>> segment_sum(np.array([[1.0, 2.0, 4.0]]), np.array([0, 2, 2, 3]))
    array([[3., 0., 4.]])
    """
    out = np.zeros((*values.shape[:-1], len(starts) - 1), values.dtype)
    filled = starts[:-1] < starts[1:]
    if filled.any():
        out[..., filled] = np.add.reduceat(values, starts[:-1][filled], axis=-1)
    return out


@dataclass(frozen=True)
class Layout:
    """The blocks of a cell, in the order they have in theta.

    Parameters
    ----------
    n_inputs, n_units, n_gates : int
    blocks : sequence of Block
        Those that feed the state first, those of an output map (gate -1) last.
    masks : mapping of name to bool[shape], optional
        Kept entries of a matrix; matrices not named are dense.
    carries : bool
        Whether a unit's state depends on its own last state besides the sums.
    """

    n_inputs: int
    n_units: int
    n_gates: int
    blocks: Sequence[Block]
    masks: Mapping[str, Array]
    carries: bool

    @cached_property
    def placed(self) -> dict[str, Placed]:
        """The blocks by name."""
        placed: dict[str, Placed] = {}
        at = 0
        for block in self.blocks:
            width = {"x": self.n_inputs, "state": self.n_units}.get(block.reads, 1)
            shape = (self.n_units, width) if block.is_matrix else (self.n_units,)
            mask = self.masks.get(block.name, np.ones((self.n_units, width), bool))
            rows, columns = map(np.ascontiguousarray, np.nonzero(mask))  # `take` would copy them at every step
            starts = np.concatenate(([0], np.cumsum(mask.sum(axis=1))))
            size = len(rows)
            masked = size < mask.size
            placed[block.name] = Placed(block, slice(at, at + size), shape, rows, columns, starts, masked)
            at += size
        return placed

    @cached_property
    def n_params(self) -> int:
        """Length P of theta."""
        return int(max(p.at.stop for p in self.placed.values()))

    @cached_property
    def n_state_params(self) -> int:
        """Length of theta's beginning that the state depends on; the rest belongs to an output map."""
        return int(max(p.at.stop for p in self.state_blocks))

    @cached_property
    def state_blocks(self) -> tuple[Placed, ...]:
        """The blocks the state depends on."""
        return tuple(p for p in self.placed.values() if p.block.gate >= 0)

    @cached_property
    def unit_of(self) -> Int64:
        """The unit each state parameter feeds, int64[n_state_params]."""
        return np.concatenate([p.rows for p in self.state_blocks])

    @cached_property
    def gate_of(self) -> Int64:
        """The gate each state parameter feeds, int64[n_state_params]."""
        return np.concatenate([np.full(len(p.rows), p.block.gate) for p in self.state_blocks])

    @cached_property
    def sum_of(self) -> Int64:
        """The sum each state parameter feeds, an index into [n_gates * n_units]."""
        return self.gate_of * self.n_units + self.unit_of

    @cached_property
    def source_of(self) -> Int64:
        """What each state parameter multiplies, an index into the sources (see `sources`)."""
        start = {"x": 0, "state": self.n_inputs, "one": self.n_inputs + self.n_units}
        own = self.n_inputs
        return np.concatenate(
            [own + p.rows if p.block.reads == "own" else start[p.block.reads] + p.columns for p in self.state_blocks]
        )

    @property
    def is_columnar(self) -> bool:
        """Whether no unit reads another: every recurrent weight is a unit's own."""
        return not any(p.block.reads == "state" for p in self.state_blocks)

    @cached_property
    def edges(self) -> tuple[Int64, Int64]:
        """Units (m, l) such that m reads l in any gate, itself included where it carries its state; row by row."""
        reads = np.eye(self.n_units, dtype=bool) if self.carries else np.zeros((self.n_units, self.n_units), bool)
        for p in self.state_blocks:
            if p.block.reads == "state":
                reads[p.rows, p.columns] = True
            elif p.block.reads == "own":
                np.fill_diagonal(reads, True)
        unit, read = np.nonzero(reads)
        return np.ascontiguousarray(unit), np.ascontiguousarray(read)

    @cached_property
    def linking(self) -> tuple[Placed, ...]:
        """The blocks that read the state of the step before."""
        return tuple(p for p in self.state_blocks if p.block.reads in ("state", "own"))

    @cached_property
    def links(self) -> tuple[tuple[Placed, slice | Int64], ...]:
        """Of each linking block, the edge every kept entry lies on; a slice where they are all edges in order."""
        unit, read = self.edges
        found: list[tuple[Placed, slice | Int64]] = []
        for p in self.linking:
            at = np.searchsorted(unit * self.n_units + read, p.rows * self.n_units + _read_by(p))
            found.append((p, slice(None) if len(at) == len(unit) else at))
        return tuple(found)

    @cached_property
    def own_links(self) -> tuple[tuple[Placed, Int64, Int64], ...]:
        """Of each linking block, which kept entries are a unit's weight of itself, and those units."""
        kept = [np.flatnonzero(p.rows == _read_by(p)) for p in self.linking]
        return tuple((p, at, p.rows[at]) for p, at in zip(self.linking, kept, strict=True))

    def reach(self, n: int) -> Array:
        """Return bool[n_units, n_units]: entry (m, k) is set iff unit k reaches unit m in fewer than `n` steps.

        The union of A^j over 0 <= j < n, A the matrix of `edges` (Menick et al. 2021, section 3).
        """
        a = np.zeros((self.n_units, self.n_units), bool)
        a[self.edges] = True
        reached = np.eye(self.n_units, dtype=bool)
        for _ in range(n - 1):
            further = reached | (a.astype(np.float32) @ reached.astype(np.float32) > 0)
            if (further == reached).all():
                break
            reached = further
        return reached

    def read(self, p: Placed, sources: Array) -> Array:
        """Return the part of `sources` that block `p` multiplies, [B, k]."""
        n, m = self.n_inputs, self.n_inputs + self.n_units
        return {"x": sources[:, :n], "state": sources[:, n:m], "own": sources[:, n:m], "one": sources[:, m:]}[
            p.block.reads
        ]

    def sums(self, theta: Array, sources: Array) -> Array:
        """Return every gate's sum, [B, n_gates, n_units], from [x, h of the step before, 1] as `sources`."""
        a = np.zeros((len(sources), self.n_gates, self.n_units), theta.dtype)
        for p in self.state_blocks:
            if p.block.summed:
                a[:, p.block.gate] += p.dot(theta, self.read(p, sources))
        return a


def _read_by(p: Placed) -> Int64:
    """Return the unit each kept entry of a linking block reads."""
    return p.rows if p.block.reads == "own" else p.columns
