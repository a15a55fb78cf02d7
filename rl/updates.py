"""From a learner's gradients to its weights: every step, or the sum over k steps; clipped, by any optimiser."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import numpy as np

from amper.protocols import Array
from rl import checks
from rl.optimisers import Moments, Optimiser, Sgd
from rl.protocols import Learner

#: Of what `state_dict` returns; a reader refuses later ones.
_VERSION = 1


class Updates:
    """Updates the weights of `learner` by the gradients of its steps' losses.

    Parameters
    ----------
    learner : Learner
    optimiser : Optimiser
        `Sgd`, `RmsProp` or `Adam` of `rl.optimisers`.
    step_size : float
        Positive and finite.
    every : int
        Losses whose gradients are summed into one update, >= 1.
    clip : float, optional
        The summed gradient is scaled down to at most this norm, > 0.

    Raises
    ------
    ValueError, TypeError
        If a parameter is out of range.

    Examples
    --------
    >>> from rl import cells, learners
    >>> learner = learners.make("rtrl", cells.make("elstm", n_inputs=2, n_units=3))
    >>> updates = Updates(learner, step_size=0.1, every=2)
    >>> h = learner.step(np.ones(2))
    >>> updates.add(h), updates.add(h)  # of the loss h . h / 2
    (False, True)
    """

    def __init__(
        self,
        learner: Learner,
        *,
        optimiser: Optimiser | None = None,
        step_size: float = 1e-3,
        every: int = 1,
        clip: float | None = None,
    ) -> None:
        checks.having("learner", learner, ("theta", "gradient"), "a learner, as rl.learners.make returns")
        self.learner = learner
        self.optimiser: Optimiser = Sgd() if optimiser is None else optimiser
        checks.having("optimiser", self.optimiser, ("start", "advance"), "Sgd(), RmsProp() or Adam() of rl.optimisers")
        self.step_size = checks.number("step_size", step_size, above=0.0)
        self.every = checks.whole("every", every, at_least=1)
        self.clip = None if clip is None else checks.number("clip", clip, above=0.0)
        self.n_updates = 0
        self._n_summed = 0
        self._sum = np.zeros_like(learner.theta)
        self._moments: Moments = self.optimiser.start(learner.theta)

    def add(self, dl_dh: Array) -> bool:
        """Add the gradient of the last step's loss; update the weights if it is due, and return whether it was.

        Raises
        ------
        ValueError, FloatingPointError
            If `dl_dh`, the gradient or the updated weights are not finite; names the step, and nothing has changed.
        """
        with np.errstate(all="ignore"):
            total = self._sum + self.learner.gradient(dl_dh)
        self._refuse_overflow("summed gradient", total)
        if self._n_summed + 1 < self.every:
            self._sum, self._n_summed = total, self._n_summed + 1
            return False
        with np.errstate(all="ignore"):
            theta, moments = self.optimiser.advance(
                self.learner.theta, self._clipped(total), self._moments, self.n_updates + 1, self.step_size
            )
        for name, values in {"theta": theta, **moments}.items():
            self._refuse_overflow(name, values)
        self.learner.theta[:] = theta
        self._moments = moments
        self._sum, self._n_summed = np.zeros_like(total), 0
        self.n_updates += 1
        return True

    def _clipped(self, gradient: Array) -> Array:
        if self.clip is None:
            return gradient
        largest = float(np.abs(gradient).max(initial=0.0))
        if largest == 0.0:
            return gradient
        # Squares of large entries overflow where the norm does not, and the norm where the entries do not.
        scaled = gradient / gradient.dtype.type(largest)
        norm = float(np.linalg.norm(scaled))
        return gradient if largest * norm <= self.clip else scaled * gradient.dtype.type(self.clip / norm)

    def _refuse_overflow(self, name: str, values: Array) -> None:
        if not checks.all_finite(values):
            bad = values[~np.isfinite(values)][0]
            raise FloatingPointError(
                f"{name} must stay finite, got {bad} in update {self.n_updates + 1} at step "
                f"{self.learner.n_steps}; nothing has changed; lower step_size, or set clip"
            )

    def state_dict(self) -> dict[str, Any]:
        """Return everything but the learner, copied; `rl.learners.save` writes it to a file."""
        return {
            "version": _VERSION,
            **self._identity(),
            "n_updates": self.n_updates,
            "n_summed": self._n_summed,
            "sum": self._sum.copy(),
            "moments": copy.deepcopy(self._moments),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on exactly where `state` was taken, with the same parameters.

        Raises
        ------
        ValueError, TypeError
            If it was taken with other parameters, another number of weights or by a later version, or is damaged;
            nothing has changed.
        """
        checks.saved_version(state, _VERSION)
        checks.saved_keys("state", state, ("version", *self._identity(), "n_updates", "n_summed", "sum", "moments"))
        checks.saved_alike(state, self._identity(), "updates")
        checks.saved_keys("state['moments']", state["moments"], self._moments)
        n_updates = checks.whole("state['n_updates']", state["n_updates"], at_least=0)
        n_summed = checks.whole("state['n_summed']", state["n_summed"], at_least=0)
        if n_summed >= self.every:
            raise ValueError(f"state['n_summed'] must be below every = {self.every}, got {n_summed}")
        total = checks.saved_array("state['sum']", state["sum"], self._sum.shape, self._sum.dtype)
        moments = {
            name: checks.saved_array(f"state['moments'][{name!r}]", state["moments"][name], here.shape, here.dtype)
            for name, here in self._moments.items()
        }
        self.n_updates, self._n_summed, self._sum, self._moments = n_updates, n_summed, total, moments

    def _identity(self) -> dict[str, Any]:
        optimiser = self.optimiser
        # The repr of a user's own class may hold an address.
        named = repr(optimiser) if dataclasses.is_dataclass(optimiser) else type(optimiser).__name__
        return {"optimiser": named, "step_size": self.step_size, "every": self.every, "clip": self.clip}
