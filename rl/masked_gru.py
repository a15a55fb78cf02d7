"""A masked GRU on one-hot tokens with a softmax readout, trained by whole stretches of steps in one compiled call.

The same numbers as a plain learner (`rl.learners.make`) with a readout and Adam beside it, in a fraction of the time.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import numpy as np

from amper.protocols import Array
from rl import checks
from rl._kernels import masked_gru as kernel
from rl.cells.gru import Gru
from rl.learners.influence import groups_of
from rl.optimisers import Adam
from rl.streams import stream

#: Methods by name, and what the kernel calls them.
METHODS = {"rtrl": 1, "snap": 1, "uoro": 2, "bptt": 3}


class Scores(NamedTuple):
    """What a stretch of steps showed, [T, B]; 0 where nothing is counted.

    Attributes
    ----------
    losses : float[T, B]
        Cross entropies in nats.
    right : bool[T, B]
        Whether the label was the likeliest class.
    """

    losses: Array
    right: Array


class MaskedGruTrainer:
    """A GRU with its readout and optimiser; `run` learns from a stretch of steps.

    Parameters
    ----------
    cell : Gru
        With a mask or without; its inputs are tokens, one-hot.
    n_classes : int
        Of the readout, whose weights are uniform in +-1/sqrt(n_units), biases 0.
    method : str
        "rtrl", "snap", "uoro" or "bptt" (through `every` steps, or those of `run` if they are fewer).
    batch : int
        Streams B, >= 1.
    step_size : float
        Positive and finite.
    n : int
        Of "snap"; >= 1.
    optimiser : Adam, optional
    seed : int
        Of the readout's weights and of UORO's signs.

    Raises
    ------
    ValueError, TypeError
        If a parameter is out of range.

    Examples
    --------
    >>> from rl import cells
    >>> cell = cells.make("gru", n_inputs=3, n_units=8, density=0.5, dtype="float32")
    >>> trainer = MaskedGruTrainer(cell, 2, "snap", batch=1, step_size=0.01)
    >>> tokens = np.array([[1], [2]])
    >>> counted = np.array([[False], [True]])
    >>> scores = [trainer.run(tokens, tokens % 2, counted, ~counted).losses[1, 0] for _ in range(100)]
    >>> bool(scores[-1] < 0.5 * scores[0])
    True
    """

    def __init__(
        self,
        cell: Gru,
        n_classes: int,
        method: str,
        *,
        batch: int,
        step_size: float,
        n: int = 1,
        optimiser: Adam | None = None,
        seed: int = 0,
    ) -> None:
        if not isinstance(cell, Gru):
            raise TypeError(f"cell must be a GRU, got {getattr(cell, 'name', cell)!r}")
        self.cell, self.method = cell, checks.known("method", method, METHODS)
        self.n_classes, self.batch = (
            checks.whole(name, value, at_least=1) for name, value in (("n_classes", n_classes), ("batch", batch))
        )
        self.n = cell.n_units if method == "rtrl" else checks.whole("n", n, at_least=1)
        self.step_size = checks.number("step_size", step_size, above=0.0)
        self.optimiser = Adam() if optimiser is None else optimiser
        if not isinstance(self.optimiser, Adam):
            raise TypeError(f"optimiser must be an Adam of rl.optimisers, got {optimiser!r}")
        self._rng = stream(checks.whole("seed", seed, at_least=0), "learner/uoro")
        width = cell.n_units**-0.5
        readout = stream(seed, "initial weights/readout").uniform(-width, width, self.n_classes * cell.n_units)
        self.weights = np.concatenate([cell.init(), readout, np.zeros(self.n_classes)]).astype(cell.dtype)
        self._moments = tuple(np.zeros_like(self.weights) for _ in range(3))
        self._counts = np.zeros(1, np.int64)
        self._wiring, self._groups = _wiring(cell), _groups(cell, self.n if METHODS[method] == 1 else 1)
        self._held = self._fresh()

    @property
    def n_updates(self) -> int:
        """Updates made."""
        return int(self._counts[0])

    def run(
        self,
        tokens: Array,
        labels: Array,
        counted: Array,
        resets: Array,
        *,
        every: int | None = None,
        signs: Array | None = None,
    ) -> Scores:
        """Take every step and learn from the counted ones.

        Gradients are those of the mean loss over the streams, summed over `every` steps and those before the end;
        nothing is updated where none was counted. State and sensitivities go on to the next call.

        Parameters
        ----------
        tokens : int64[T, B]
            Inputs in 0 .. n_inputs - 1; -1 where a stream pauses.
        labels : int64[T, B]
            Classes in 0 .. n_classes - 1, where counted.
        counted : bool[T, B]
            Which steps have a loss; False where a stream pauses.
        resets : bool[T, B]
            Where a stream begins anew, before its step.
        every : int, optional
            Steps an update; T by default.
        signs : float[T, B, n_units], optional
            UORO's nu, +-1; drawn if left out.

        Raises
        ------
        ValueError, TypeError
            If shapes, kinds, tokens, labels or signs are out of range; nothing has changed.
        FloatingPointError
            If weights or state stop being finite.
        """
        data = self._checked(tokens, labels, counted, resets)
        n_steps, n_streams = data[0].shape
        if n_streams != self.batch:
            raise ValueError(f"tokens must be of {self.batch} streams, the trainer's batch, got {n_streams}")
        every = n_steps if every is None else checks.whole("every", every, at_least=1)
        if self.method != "uoro" or signs is None:
            signs = self._signs(n_steps if self.method == "uoro" else 0)
        else:
            signs = self._checked_signs(signs, n_steps)
        scores = self._go(data, METHODS[self.method], every, self._held, signs)
        if not (np.isfinite(self.weights).all() and np.isfinite(self._held[0]).all()):
            raise FloatingPointError(
                f"weights and state must stay finite, got others by update {self.n_updates}; lower step_size"
            )
        return scores

    def evaluate(self, tokens: Array, labels: Array, counted: Array, resets: Array) -> Scores:
        """Return the scores of streams that begin with these steps; nothing changes. Parameters as of `run`."""
        data = self._checked(tokens, labels, counted, resets)
        held = (np.zeros((data[0].shape[1], self.cell.n_units), self.cell.dtype), *self._empty(data[0].shape[1]))
        return self._go(data, 0, 1, held, self._signs(0))

    def _go(self, data: Any, method: int, every: int, held: Any, signs: Array) -> Scores:
        scores = Scores(np.zeros(data[0].shape, self.cell.dtype), np.zeros(data[0].shape, bool))
        adam = self.optimiser
        rates = (self.step_size, adam.beta1, adam.beta2, adam.eps)
        sizes = (method, every, self.cell.n_params, len(self.cell.layout.edges[0]))
        kernel.run(
            self.weights, self._moments, self._counts, rates, self._wiring, self._groups, held, (*data, signs), sizes,
            scores,
        )  # fmt: skip
        return scores

    def _checked(self, tokens: Array, labels: Array, counted: Array, resets: Array) -> tuple[Array, ...]:
        whole = [_of_kind(name, a, "iu") for name, a in (("tokens", tokens), ("labels", labels))]
        truths = [_of_kind(name, a, "b") for name, a in (("counted", counted), ("resets", resets))]
        shapes = [a.shape for a in (*whole, *truths)]
        if len(shapes[0]) != 2 or len(set(shapes)) != 1:
            raise ValueError(f"tokens must be [T, B], the rest alike, got shapes {shapes}")
        given = whole[0]
        if given.size and not -1 <= given.min() <= given.max() < self.cell.n_inputs:
            raise ValueError(f"tokens must lie in -1 .. {self.cell.n_inputs - 1}, got {given.min()}..{given.max()}")
        of = whole[1][truths[0]]
        if of.size and not 0 <= of.min() <= of.max() < self.n_classes:
            raise ValueError(f"labels must lie in 0 .. {self.n_classes - 1}, got {of.min()} .. {of.max()}")
        if (truths[0] & (given < 0)).any():
            raise ValueError("counted must be False where tokens are -1, got True")
        return *(np.ascontiguousarray(a, np.int64) for a in whole), *map(np.ascontiguousarray, truths)

    def _checked_signs(self, signs: Array, n_steps: int) -> Array:
        signs = checks.array("signs", signs, (n_steps, self.batch, self.cell.n_units), self.cell.dtype)
        if not (abs(signs) == 1).all():
            raise ValueError(f"signs must be 1 or -1, got {signs[abs(signs) != 1][0]}")
        return np.ascontiguousarray(signs)

    def _signs(self, n_steps: int) -> Array:
        shape = (n_steps, self.batch if n_steps else 0, self.cell.n_units)
        return (2 * self._rng.integers(0, 2, shape) - 1).astype(self.cell.dtype)

    def _fresh(self) -> tuple[Array, ...]:
        n_streams, n, dtype = self.batch, self.cell.n_units, self.cell.dtype
        kind, n_pairs = METHODS[self.method], int(self._groups[-1][-1])
        return (
            np.zeros((n_streams, n), dtype),
            np.zeros((2, n_streams, n_pairs if kind == 1 else 0), dtype),
            np.zeros((n_streams, n if kind == 2 else 0), dtype),
            np.zeros((n_streams, self.cell.n_params if kind == 2 else 0), dtype),
        )

    def _empty(self, n_streams: int) -> tuple[Array, ...]:
        dtype = self.cell.dtype
        return np.zeros((2, n_streams, 0), dtype), np.zeros((n_streams, 0), dtype), np.zeros((n_streams, 0), dtype)


def _of_kind(name: str, value: Array, kinds: str) -> Array:
    """Return an array whose entries are of one of the `kinds` that NumPy has letters for."""
    given = checks.as_array(name, value)
    if given.dtype.kind not in kinds:
        wanted = "True or False" if kinds == "b" else "whole numbers"
        raise TypeError(f"{name} must hold {wanted}, got {given.dtype}")
    return given


def _wiring(cell: Gru) -> tuple[Array, ...]:
    """Return what the kernel calls wiring."""
    layout = cell.layout
    unit, read = layout.edges
    tokens = np.flatnonzero(layout.source_of < cell.n_inputs)
    tokens = tokens[np.argsort(layout.source_of[tokens], kind="stable")]
    token_at = np.searchsorted(layout.source_of[tokens], np.arange(cell.n_inputs + 1))
    is_link = (layout.source_of >= cell.n_inputs) & (layout.source_of < cell.n_inputs + cell.n_units)
    links = np.flatnonzero(is_link)
    link_reads = layout.source_of[links] - cell.n_inputs
    at = np.searchsorted(unit * cell.n_units + read, layout.unit_of[links] * cell.n_units + link_reads)
    biases = np.flatnonzero(layout.source_of == cell.n_inputs + cell.n_units)
    own = np.flatnonzero(unit == read)
    arrays = (
        layout.sum_of, layout.source_of, biases, token_at, tokens, links, layout.sum_of[links], at, link_reads, own,
    )  # fmt: skip
    return tuple(np.ascontiguousarray(a, np.int64) for a in arrays)


def _groups(cell: Gru, n: int) -> tuple[Array, ...]:
    """Return what the kernel calls groups, of pairs reached in fewer than `n` steps."""
    found = groups_of(cell.layout, cell.layout.reach(n))
    return tuple(np.ascontiguousarray(getattr(found, field.name), np.int64) for field in dataclasses.fields(found))
