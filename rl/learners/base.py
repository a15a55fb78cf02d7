"""What all learners share: weights, state, refusal of bad steps, reset, and saving; a method adds what it carries."""

from __future__ import annotations

import abc
import copy
import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from amper.protocols import Array
from rl import checks
from rl.cells.base import Linearised
from rl.protocols import Cell
from rl.streams import stream

#: Arrays by name, the first axis over the streams.
Carried = dict[str, Array]


class OnlineLearner(abc.ABC):
    """A cell that runs, and what is carried along to know the gradient of each step's loss.

    Parameters
    ----------
    cell : Cell
    batch : int, optional
        Independent streams B; None is one stream, and no axis for it.
    seed : int
        Of the learner's own randomness, where it has any.
    """

    name: ClassVar[str]

    def __init__(self, cell: Cell, *, batch: int | None = None, seed: int = 0) -> None:
        self.cell = cell
        self.batch = None if batch is None else checks.whole("batch", batch, at_least=1)
        self.n_streams = self.batch or 1
        self.n_steps = 0
        self._rng = stream(checks.whole("seed", seed, at_least=0), f"learner/{self.name}")
        self._theta = cell.init()
        self._used: Array | None = None
        self._state = cell.initial_state(self.n_streams)
        self._stepped = np.zeros(self.n_streams, bool)
        self._at: Linearised | None = None
        self._carried = self._fresh(self.n_streams)

    # -- what a method says ------------------------------------------------------------------------------
    def _fresh(self, n_streams: int) -> Carried:
        """Return what new streams carry before their first step."""
        return {}

    @abc.abstractmethod
    def _advance(self, at: Linearised, carried: Carried) -> Carried:
        """Return what is carried after the step `at`, as new arrays."""

    @abc.abstractmethod
    def _state_gradient(self, at: Linearised, q: Array) -> Array:
        """Return the estimate of dL/dtheta through the state, float[n_state_params], for `q` = dL/dstate."""

    def _options(self) -> dict[str, Any]:
        """Return what another learner must agree on to take this one's state: numbers and strings."""
        return {}

    # -- running -----------------------------------------------------------------------------------------
    @property
    def theta(self) -> Array:
        """The weights, float[P]; what is written here takes effect at the next step."""
        return self._theta

    @property
    def state(self) -> Array:
        """A copy of the cell's state, float[B, S, n]."""
        return self._state.copy()

    def step(self, x: Array) -> Array:
        """Advance by one input; see `rl.protocols.Learner`."""
        number = self.n_steps + 1
        x = checks.array("x", x, self._shape(self.cell.n_inputs), self.cell.dtype)
        if not checks.all_finite(x):
            raise ValueError(f"x must be finite, got {_first_bad(x)} at step {number}; nothing has changed")
        generator = self._rng.bit_generator.state
        with np.errstate(all="ignore"):  # what overflows is found below
            x = x.reshape(self.n_streams, -1).copy()
            at = self.cell.linearise(self._weights(), x, self._state)
            carried = {name: np.ascontiguousarray(a) for name, a in self._advance(at, self._carried).items()}
        for what, values in {"h": at.h, "state": at.state, **carried}.items():
            if not checks.all_finite(values):
                self._rng.bit_generator.state = generator
                raise FloatingPointError(
                    f"state and sensitivities must stay finite, got {_first_bad(values)} in {what} at step {number}; "
                    "nothing has changed; look at theta, or lower the step size"
                )
        self._commit(at, carried)
        return at.h.reshape(self._shape(self.cell.n_hidden)).copy()

    def _commit(self, at: Linearised, carried: Carried) -> None:
        self.n_steps += 1
        self._at, self._state, self._carried = at, at.state, carried
        self._used = at.theta
        self._stepped[:] = True

    def _weights(self) -> Array:
        # A step keeps the weights it was taken with: its gradient must not move when theta is written to.
        same = self._used is not None and np.array_equal(self._used, self._theta)
        return self._used if same and self._used is not None else self._theta.copy()

    def _shape(self, n: int) -> tuple[int, ...]:
        return (n,) if self.batch is None else (self.batch, n)

    # -- gradients ---------------------------------------------------------------------------------------
    def gradient(self, dl_dh: Array) -> Array:
        """Return this learner's dL/dtheta of the last step's loss; see `rl.protocols.Learner`."""
        at, dl_dh = self._last(), self._checked(dl_dh)
        with np.errstate(all="ignore"):
            q, past_state, _ = self.cell.output_vjp(at, dl_dh)
            gradient = np.concatenate([self._state_gradient(at, q), past_state])
        return self._finite("gradient", gradient)

    def input_gradient(self, dl_dh: Array) -> Array:
        """Return dL/dx of the last step; see `rl.protocols.Learner`."""
        at, dl_dh = self._last(), self._checked(dl_dh)
        with np.errstate(all="ignore"):
            q, _, past_state = self.cell.output_vjp(at, dl_dh)
            gradient = past_state + self.cell.input_vjp(at, q)
        return self._finite("input gradient", gradient).reshape(self._shape(self.cell.n_inputs))

    def _last(self) -> Linearised:
        if self._at is None:
            raise RuntimeError("step must come before gradient: there is no step since the start or the last reset")
        return self._at

    def _checked(self, dl_dh: Array) -> Array:
        """Return dL/dh as float[B, n_hidden]; 0 for streams that were reset and have no step yet."""
        dl_dh = checks.array("dl_dh", dl_dh, self._shape(self.cell.n_hidden), self.cell.dtype)
        return self._masked("dl_dh", dl_dh)

    def _masked(self, name: str, values: Array) -> Array:
        if not checks.all_finite(values):
            raise ValueError(f"{name} must be finite, got {_first_bad(values)} at step {self.n_steps}")
        return np.asarray(values.reshape(self.n_streams, -1) * self._stepped[:, None])

    def _finite(self, what: str, values: Array) -> Array:
        if not checks.all_finite(values):
            raise FloatingPointError(f"{what} must stay finite, got {_first_bad(values)} at step {self.n_steps}")
        return values

    # -- streams that start anew -------------------------------------------------------------------------
    def reset(self, mask: Array | None = None) -> None:
        """Start the streams in `mask` anew, all by default; see `rl.protocols.Learner`."""
        chosen = self._chosen(mask)
        self._state = np.where(chosen[:, None, None], 0, self._state)
        for name, fresh in self._fresh(int(chosen.sum())).items():
            self._carried[name][chosen] = fresh
        self._stepped &= ~chosen
        if not self._stepped.any():
            self._at = None

    def _chosen(self, mask: Array | None) -> Array:
        if mask is None:
            return np.ones(self.n_streams, bool)
        chosen = np.asarray(mask)
        if chosen.dtype != np.bool_ or chosen.shape != (() if self.batch is None else (self.batch,)):
            wanted = "a truth value" if self.batch is None else f"bool[{self.batch}]"
            raise ValueError(f"mask must be {wanted}, got {chosen.dtype}{list(chosen.shape)}")
        return chosen.reshape(-1)

    # -- saving ------------------------------------------------------------------------------------------
    def _steps(self) -> list[Linearised]:
        """Return the steps whose derivatives a gradient needs, oldest first."""
        return [] if self._at is None else [self._at]

    def _put_steps(self, steps: list[Linearised], state: dict[str, Any]) -> None:
        self._at = steps[-1] if steps else None

    def state_dict(self) -> dict[str, Any]:
        """Return everything, copied; `rl.learners.save` writes it to a file."""
        return {
            "learner": self.name,
            "cell": self.cell.signature,
            "options": self._options(),
            "batch": self.batch,
            "n_steps": self.n_steps,
            "generator": self._rng.bit_generator.state,
            "theta": self._theta.copy(),
            "state": self._state.copy(),
            "stepped": self._stepped.copy(),
            "carried": {name: values.copy() for name, values in self._carried.items()},
            "steps": [_as_dict(at) for at in self._steps()],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on exactly where `state` was taken; weights are written in place, so that `theta` stays live.

        Raises
        ------
        ValueError
            If it was taken from another method, cell, batch or option; nothing has changed.
        """
        here = self.state_dict()
        if state.keys() != here.keys():
            raise ValueError(f"state must hold {', '.join(here)}, got {', '.join(map(str, state))}")
        for name in ("learner", "cell", "options", "batch"):
            if state[name] != here[name]:
                raise ValueError(f"state must be of a learner whose {name} is {here[name]!r}, got {state[name]!r}")
        _same_shapes(["theta", "state", "stepped"], here, state)
        if state["carried"].keys() != here["carried"].keys():
            raise ValueError(
                f"state['carried'] must hold {', '.join(here['carried'])}, got {', '.join(state['carried'])}"
            )
        _same_shapes(here["carried"], here["carried"], state["carried"])
        x = np.zeros((self.n_streams, self.cell.n_inputs), self.cell.dtype)
        template = self.cell.linearise(self.cell.init(), x, self.cell.initial_state(self.n_streams))
        steps = _as_steps(state["steps"], _as_dict(template))
        state = copy.deepcopy({name: value for name, value in state.items() if name != "steps"})
        self._rng.bit_generator.state = state["generator"]
        self.n_steps = int(state["n_steps"])
        self._theta[:] = state["theta"]
        self._state, self._stepped, self._carried = state["state"], state["stepped"], state["carried"]
        self._put_steps(steps, state)
        self._used = None if self._at is None else self._at.theta


def _as_dict(at: Linearised) -> dict[str, Array]:
    return {field.name: getattr(at, field.name).copy() for field in dataclasses.fields(at)}


def _as_steps(saved: list[dict[str, Array]], template: dict[str, Array]) -> list[Linearised]:
    """Return copies of saved steps; weights that are equal from one to the next are held once."""
    steps: list[Linearised] = []
    for fields in saved:
        if fields.keys() != template.keys():
            raise ValueError(f"state['steps'] must hold {', '.join(template)}, got {', '.join(fields)}")
        _same_shapes(template, template, fields)
        same = bool(steps) and np.array_equal(steps[-1].theta, fields["theta"])
        theta = steps[-1].theta if same else fields["theta"].copy()
        steps.append(Linearised(theta=theta, **{k: v.copy() for k, v in fields.items() if k != "theta"}))
    return steps


def _same_shapes(names: Any, here: Mapping[str, Array], state: Mapping[str, Array]) -> None:
    for name in names:
        if state[name].shape != here[name].shape or state[name].dtype != here[name].dtype:
            raise ValueError(
                f"state[{name!r}] must be {here[name].dtype}{list(here[name].shape)}, "
                f"got {state[name].dtype}{list(state[name].shape)}"
            )


def _first_bad(values: Array) -> str:
    at = np.unravel_index(int(np.argmin(np.isfinite(values))), values.shape)
    return f"{values[at]} at index {tuple(int(i) for i in at)}"
