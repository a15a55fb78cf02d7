"""What the studies of recurrent learners share: a cell with a softmax readout, trained on streams of tokens."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from amper.protocols import Array
from rl import cells, checks, learners
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

    def run(self, tokens: Array, labels: Array, counted: Array, resets: Array) -> Scores:
        """Take every step; update after each that has a counted character in some stream.

        Parameters
        ----------
        tokens, labels : int64[T, B]
        counted, resets : bool[T, B]
            Which steps have a loss; where a stream begins anew, before its step.

        Raises
        ------
        FloatingPointError
            If weights, state or sensitivities stop being finite.
        """
        scores = Scores(np.zeros(tokens.shape, self.cell.dtype), np.zeros(tokens.shape, bool))
        inputs = np.eye(self.cell.n_inputs, dtype=self.cell.dtype)
        for t in range(len(tokens)):
            if resets[t].any():
                self.learner.reset(resets[t])
            h = self.learner.step(inputs[np.maximum(tokens[t], 0)])
            scores.losses[t], scores.right[t], error = _read_out(self.readout, h, labels[t], counted[t])
            if counted[t].any():
                self._update(h, error / self.cell.dtype.type(len(h)))
        return scores

    def evaluate(self, tokens: Array, labels: Array, counted: Array, resets: Array) -> Scores:
        """Return the scores of streams that begin with these steps; nothing changes. Parameters as of `run`."""
        scores = Scores(np.zeros(tokens.shape, self.cell.dtype), np.zeros(tokens.shape, bool))
        inputs, state = np.eye(self.cell.n_inputs, dtype=self.cell.dtype), self.cell.initial_state(tokens.shape[1])
        for t in range(len(tokens)):
            state[resets[t]] = 0
            h, state = self.cell.step(self.learner.theta, inputs[np.maximum(tokens[t], 0)], state)
            scores.losses[t], scores.right[t], _ = _read_out(self.readout, h, labels[t], counted[t])
        return scores

    def _update(self, h: Array, error: Array) -> None:
        of_readout = np.concatenate([error.T @ h, error.sum(axis=0)[:, None]], axis=1)
        gradient = np.concatenate([self.learner.gradient(error @ self.readout[:, :-1]), of_readout.ravel()])
        norm = float(np.linalg.norm(gradient))
        if norm > self.clip:
            gradient *= gradient.dtype.type(self.clip / norm)
        self.n_updates += 1
        weights = np.concatenate([self.learner.theta, self.readout.ravel()])
        weights, self._moments = self.optimiser.advance(
            weights, gradient, self._moments, self.n_updates, self.step_size
        )
        self.learner.theta[:] = weights[: self.cell.n_params]
        self.readout[:] = weights[self.cell.n_params :].reshape(self.readout.shape)


def elstm_trainer(method: str, *, n_tokens: int, n_units: int, batch: int, step_size: float, seed: int) -> PlainTrainer:
    """Return an eLSTM that learns by "rtrl" or "tbptt-k", as Irie et al. (2024) set it up: float32, clip 1.

    Their public code has Adam's beta2 = .995 and eps = 1e-9.
    """
    cell = cells.make("elstm", n_inputs=n_tokens, n_units=n_units, dtype="float32", seed=seed)
    learner, _, k = method.partition("-")
    adam, options = Adam(beta2=0.995, eps=1e-9), {"k": int(k)} if k else {}
    return PlainTrainer(
        cell, n_tokens, learner, batch=batch, step_size=step_size, clip=1.0, optimiser=adam, seed=seed, **options
    )


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
