"""What the studies of recurrent learners share: a cell with a softmax readout, trained on streams of tokens."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from amper.protocols import Array
from rl import cells, checks, fused, learners
from rl.masked_gru import Scores
from rl.optimisers import Adam
from rl.protocols import Cell


class PlainTrainer:
    """A cell on one-hot tokens, carried by any learner of `rl.learners`, and its readout: updated by Adam every step.

    Parameters
    ----------
    cell : Cell
    n_classes : int
        Of the readout, which starts at 0.
    method : str
        A learner's name.
    batch : int
        Streams B.
    step_size : float
    clip : float, optional
        Largest norm of the gradient of cell and readout together.
    optimiser : Adam, optional
    **options
        Of the learner.

    Notes
    -----
    `run` and `evaluate` are those of `rl.masked_gru.MaskedGruTrainer`, for cells and learners it does not know.
    """

    def __init__(
        self,
        cell: Cell,
        n_classes: int,
        method: str,
        *,
        batch: int,
        step_size: float,
        clip: float | None = None,
        optimiser: Adam | None = None,
        **options: Any,
    ) -> None:
        self.cell, self.n_classes = cell, checks.whole("n_classes", n_classes, at_least=1)
        self.learner = learners.make(method, cell, batch=batch, **options)
        self.step_size = checks.number("step_size", step_size, above=0.0)
        self.clip = math.inf if clip is None else checks.number("clip", clip, above=0.0)
        self.optimiser = Adam() if optimiser is None else optimiser
        self.readout = np.zeros((n_classes, cell.n_hidden + 1), cell.dtype)
        self._moments = self.optimiser.start(np.concatenate([self.learner.theta, self.readout.ravel()]))
        self.n_updates = 0

    def run(
        self, tokens: Array, labels: Array, counted: Array, resets: Array, *, step_size: float | None = None
    ) -> Scores:
        """Take every step; update after each that has a counted character in some stream.

        Parameters
        ----------
        tokens, labels : int64[T, B]
        counted, resets : bool[T, B]
            Which steps have a loss; where a stream begins anew, before its step.
        step_size : float, optional
            In place of the trainer's.

        Raises
        ------
        ValueError
            If a token or a counted label is out of range; nothing has changed.
        FloatingPointError
            If weights, state or sensitivities stop being finite.
        """
        _refuse_characters(tokens, labels, counted, self.cell.n_inputs, self.n_classes)
        step_size = self.step_size if step_size is None else checks.number("step_size", step_size, above=0.0)
        scores = Scores(np.zeros(tokens.shape, self.cell.dtype), np.zeros(tokens.shape, bool))
        inputs = np.eye(self.cell.n_inputs, dtype=self.cell.dtype)
        for t in range(len(tokens)):
            if resets[t].any():
                self.learner.reset(resets[t])
            h = self.learner.step(inputs[np.maximum(tokens[t], 0)])
            scores.losses[t], scores.right[t], error = _read_out(self.readout, h, labels[t], counted[t])
            if counted[t].any():
                self._update(h, error / self.cell.dtype.type(len(h)), step_size)
        return scores

    def evaluate(self, tokens: Array, labels: Array, counted: Array, resets: Array) -> Scores:
        """Return the scores of streams that begin with these steps; nothing changes. Parameters as of `run`."""
        return scored(self.cell, self.learner.theta, self.readout, (tokens, labels, counted, resets))

    def _update(self, h: Array, error: Array, step_size: float) -> None:
        of_readout = np.concatenate([error.T @ h, error.sum(axis=0)[:, None]], axis=1)
        gradient = np.concatenate([self.learner.gradient(error @ self.readout[:, :-1]), of_readout.ravel()])
        norm = float(np.linalg.norm(gradient))
        if not math.isfinite(norm):
            raise FloatingPointError(f"gradient must stay finite, got a norm of {norm}; lower step_size")
        if norm > self.clip:
            gradient *= gradient.dtype.type(self.clip / norm)
        self.n_updates += 1
        weights = np.concatenate([self.learner.theta, self.readout.ravel()])
        weights, self._moments = self.optimiser.advance(weights, gradient, self._moments, self.n_updates, step_size)
        if not checks.all_finite(weights):
            raise FloatingPointError(
                f"weights must stay finite, got others by update {self.n_updates}; lower step_size"
            )
        self.learner.theta[:] = weights[: self.cell.n_params]
        self.readout[:] = weights[self.cell.n_params :].reshape(self.readout.shape)


class FusedTrainer:
    """What `PlainTrainer` does with exact RTRL and no clip, for the cells of `rl.fused`, in compiled stretches.

    Parameters
    ----------
    cell, n_classes, batch, step_size, optimiser
        As of `PlainTrainer`.
    """

    def __init__(
        self, cell: Cell, n_classes: int, *, batch: int, step_size: float, optimiser: Adam | None = None
    ) -> None:
        self.cell, self.n_classes, self.batch = cell, n_classes, batch
        self.optimiser = Adam() if optimiser is None else optimiser
        self._fused = self._made(step_size)

    def _made(self, step_size: float) -> fused.Fused:
        return fused.make(
            self.cell, batch=self.batch, optimiser=self.optimiser, step_size=step_size, loss="cross-entropy",
            n_outputs=self.n_classes,
        )  # fmt: skip

    def run(
        self, tokens: Array, labels: Array, counted: Array, resets: Array, *, step_size: float | None = None
    ) -> Scores:
        """Take every step and update after it; with another step size, Adam and all streams begin anew before.

        Parameters
        ----------
        tokens, labels, counted, resets, step_size
            As of `PlainTrainer.run`.
        """
        _refuse_characters(tokens, labels, counted, self.cell.n_inputs, self.n_classes)
        if step_size is not None and step_size != self._fused.step_size:
            last, self._fused = self._fused, self._made(step_size)
            self._fused.theta, self._fused.readout = last.theta, last.readout
        inputs = np.eye(self.cell.n_inputs, dtype=self.cell.dtype)
        losses = self._fused.run(inputs[np.maximum(tokens, 0)], np.where(counted, labels, -1), resets=resets)
        return Scores(losses, (self._fused.outputs.argmax(axis=-1) == labels) & counted)

    def evaluate(self, tokens: Array, labels: Array, counted: Array, resets: Array) -> Scores:
        """Return the scores of streams that begin with these steps; nothing changes. Parameters as of `run`."""
        return scored(self.cell, self._fused.theta, self._fused.readout, (tokens, labels, counted, resets))


def elstm_trainer(
    method: str, *, n_tokens: int, n_units: int, batch: int, step_size: float, seed: int
) -> PlainTrainer | FusedTrainer:
    """Return an eLSTM that learns by "rtrl" or "tbptt-k", in float32; T-BPTT with clip 1.

    Irie et al. (2024) clip both; their public code has Adam's beta2 = .995 and eps = 1e-9, as here.
    """
    cell = cells.make("elstm", n_inputs=n_tokens, n_units=n_units, dtype="float32", seed=seed)
    learner, _, k = method.partition("-")
    adam = Adam(beta2=0.995, eps=1e-9)
    if learner == "rtrl":
        return FusedTrainer(cell, n_tokens, batch=batch, step_size=step_size, optimiser=adam)
    return PlainTrainer(
        cell, n_tokens, learner, batch=batch, step_size=step_size, clip=1.0, optimiser=adam, seed=seed, k=int(k)
    )


def _refuse_characters(tokens: Array, labels: Array, counted: Array, n_tokens: int, n_classes: int) -> None:
    """Refuse tokens that there are not, and counted labels that no class has or no token asks for."""
    if tokens.size and not -1 <= tokens.min() <= tokens.max() < n_tokens:
        raise ValueError(f"tokens must lie in -1 .. {n_tokens - 1}, got {tokens.min()} .. {tokens.max()}")
    of = labels[counted]
    if of.size and not 0 <= of.min() <= of.max() < n_classes:
        raise ValueError(f"labels must lie in 0 .. {n_classes - 1}, got {of.min()} .. {of.max()}")
    if (counted & (tokens < 0)).any():
        raise ValueError("counted must be False where tokens are -1, got True")


def scored(cell: Cell, theta: Array, readout: Array, data: tuple[Array, Array, Array, Array]) -> Scores:
    """Return the scores of a cell and a readout on fresh streams; `data` as `PlainTrainer.run` takes it."""
    tokens, labels, counted, resets = data
    scores = Scores(np.zeros(tokens.shape, cell.dtype), np.zeros(tokens.shape, bool))
    inputs, state = np.eye(cell.n_inputs, dtype=cell.dtype), cell.initial_state(tokens.shape[1])
    for t in range(len(tokens)):
        state[resets[t]] = 0
        h, state = cell.step(theta, inputs[np.maximum(tokens[t], 0)], state)
        scores.losses[t], scores.right[t], _ = _read_out(readout, h, labels[t], counted[t])
    return scores


def _read_out(readout: Array, h: Array, labels: Array, counted: Array) -> tuple[Array, Array, Array]:
    """Return losses [B], whether each label is the likeliest [B], and dloss/dlogits [B, classes]; 0 if not counted."""
    logits = h @ readout[:, :-1].T + readout[:, -1]
    logits -= logits.max(axis=1, keepdims=True)
    total = np.exp(logits).sum(axis=1)
    each, wanted = np.arange(len(h)), np.where(counted, labels, 0)
    error = np.exp(logits) / total[:, None]
    error[each, wanted] -= 1
    losses = np.log(total) - logits[each, wanted]
    right = (logits.argmax(axis=1) == wanted) & counted
    return losses * counted, right, error * counted[:, None]
