"""What all learners share: weights, state, refusal of bad steps, reset, and saving; a method adds what it carries."""

from __future__ import annotations

import abc
import dataclasses
from typing import Any, ClassVar

import numpy as np

from amper.protocols import Array
from rl import checks
from rl.cells.base import Linearised
from rl.learners import fit
from rl.protocols import Cell
from rl.streams import stream

#: Of what `state_dict` returns; a reader refuses later ones.
_VERSION = 1
#: A step's arrays; the weights aside, which steps share.
_FIELDS = tuple(field.name for field in dataclasses.fields(Linearised) if field.name != "theta")

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
        fit.require_cell(cell)
        fit.require_declared_carry(cell)
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

    @theta.setter
    def theta(self, value: Array) -> None:
        # `learner.theta -= step` writes in place, and then assigns the array it has written to.
        if value is not self._theta:
            raise AttributeError("theta must be written in place, got another array; write learner.theta[:] = ...")

    @property
    def state(self) -> Array:
        """A copy of the cell's state, float[B, S, n]."""
        return self._state.copy()

    def step(self, x: Array) -> Array:
        """Advance by one input; see `rl.protocols.Learner`."""
        number = self.n_steps + 1
        unchanged = f" at step {number}; nothing has changed"
        x = checks.array("x", x, self._shape(self.cell.n_inputs), self.cell.dtype, where=unchanged)
        if not checks.all_finite(x):
            raise ValueError(f"x must be finite, got {_first_bad(x)}{unchanged}")
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
        where = f" at step {self.n_steps}; nothing has changed"
        dl_dh = checks.array("dl_dh", dl_dh, self._shape(self.cell.n_hidden), self.cell.dtype, where=where)
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
        self._state = np.where(chosen[:, None, None], self.cell.initial_state(self.n_streams), self._state)
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

    def _most_steps(self) -> int | None:
        """Return how many of them there can be; None is no limit."""
        return 1

    def state_dict(self) -> dict[str, Any]:
        """Return everything, copied; `rl.learners.save` writes it to a file.

        Weights that several steps were taken with are there once, in "thetas"; a step's "theta" is their index.
        """
        steps = self._steps()
        thetas = list({id(at.theta): at.theta for at in steps}.values())
        index = {id(theta): i for i, theta in enumerate(thetas)}
        return {
            "version": _VERSION,
            **self._identity(),
            "n_steps": self.n_steps,
            "generator": self._rng.bit_generator.state,
            "theta": self._theta.copy(),
            "state": self._state.copy(),
            "stepped": self._stepped.copy(),
            "carried": {name: values.copy() for name, values in self._carried.items()},
            "thetas": [theta.copy() for theta in thetas],
            "steps": [{"theta": index[id(at.theta)], **{n: getattr(at, n).copy() for n in _FIELDS}} for at in steps],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on exactly where `state` was taken; weights are written in place, so that `theta` stays live.

        Raises
        ------
        ValueError, TypeError
            If it was taken from another method, cell, batch or option, or by a later version, or is damaged;
            nothing has changed.
        """
        checks.saved_version(state, _VERSION)
        self._put(self._read(state))

    def _identity(self) -> dict[str, Any]:
        return {
            "learner": self.name,
            "cell": self.cell.signature,
            "options": self._options(),
            "batch": self.batch,
        }

    def _read(self, state: dict[str, Any]) -> dict[str, Any]:
        """Return what is to be held, checked and copied; `state` has every key of `state_dict`, and no other."""
        keys = ("n_steps", "generator", "theta", "state", "stepped", "carried", "thetas", "steps")
        checks.saved_keys("state", state, ("version", *self._identity(), *keys))
        checks.saved_alike(state, self._identity(), "a learner")
        checks.saved_keys("state['carried']", state["carried"], self._carried)
        arrays = {"theta": self._theta, "state": self._state, "stepped": self._stepped}
        read: dict[str, Any] = {
            "n_steps": checks.whole("state['n_steps']", state["n_steps"], at_least=0),
            "generator": self._read_generator(state["generator"]),
            **{n: checks.saved_array(f"state[{n!r}]", state[n], a.shape, a.dtype) for n, a in arrays.items()},
            "carried": {
                n: checks.saved_array(f"state['carried'][{n!r}]", state["carried"][n], a.shape, a.dtype)
                for n, a in self._carried.items()
            },
        }
        read["steps"] = self._read_steps(state["thetas"], state["steps"])
        self._refuse_mismatch(read)
        return read

    def _read_generator(self, saved: Any) -> Any:
        scratch = type(self._rng.bit_generator)(0)
        try:
            scratch.state = saved
            same = bool(scratch.state == saved)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
            same = False
        if not same:
            name = type(scratch).__name__
            raise ValueError(f"state['generator'] must be the state of a {name}, got {saved!r}")
        return scratch.state

    def _read_steps(self, thetas: Any, steps: Any) -> list[Linearised]:
        for name, value in {"thetas": thetas, "steps": steps}.items():
            if not isinstance(value, list):
                raise TypeError(f"state[{name!r}] must be a list, got {type(value).__name__}")
        weights = [
            checks.saved_array(f"state['thetas'][{i}]", theta, self._theta.shape, self.cell.dtype)
            for i, theta in enumerate(thetas)
        ]
        if not steps:
            return []
        x = np.zeros((self.n_streams, self.cell.n_inputs), self.cell.dtype)
        with np.errstate(all="ignore"):
            like = self.cell.linearise(self._theta, x, self.cell.initial_state(self.n_streams))
        read: list[Linearised] = []
        for i, saved in enumerate(steps):
            at = f"state['steps'][{i}]"
            checks.saved_keys(at, saved, ("theta", *_FIELDS))
            which = checks.whole(f"{at}['theta']", saved["theta"], at_least=0)
            if which >= len(weights):
                raise ValueError(f"{at}['theta'] must be an index into thetas, got {which} of {len(weights)}")
            arrays = {
                n: checks.saved_array(f"{at}[{n!r}]", saved[n], getattr(like, n).shape, getattr(like, n).dtype)
                for n in _FIELDS
            }
            if read and arrays["before"].tobytes() == read[-1].state.tobytes():
                arrays["before"] = read[-1].state  # held once, as in the run that was saved
            read.append(Linearised(theta=weights[which], **arrays))
        return read

    def _refuse_mismatch(self, read: dict[str, Any]) -> None:
        """Refuse parts that no run could have left together."""
        steps, stepped, most = read["steps"], read["stepped"], self._most_steps()
        if bool(steps) != bool(stepped.any()):
            raise ValueError(
                f"state['steps'] must hold a step exactly if a stream has stepped, got {len(steps)} steps "
                f"and stepped {stepped.tolist()}"
            )
        if len(steps) > (read["n_steps"] if most is None else min(most, read["n_steps"])):
            raise ValueError(
                f"state['steps'] must hold at most {'n_steps' if most is None else most} steps, got {len(steps)} of "
                f"{read['n_steps']}"
            )
        if steps and not np.array_equal(steps[-1].state[stepped], read["state"][stepped]):
            raise ValueError("state['state'] must be the state after the last of its steps, got another")

    def _put(self, read: dict[str, Any]) -> None:
        """Hold what `_read` returned; nothing here can fail."""
        self._rng.bit_generator.state = read["generator"]
        self.n_steps = read["n_steps"]
        self._theta[:] = read["theta"]
        self._state, self._stepped, self._carried = read["state"], read["stepped"], read["carried"]
        self._at = read["steps"][-1] if read["steps"] else None
        self._used = None if self._at is None else self._at.theta


def _first_bad(values: Array) -> str:
    at = np.unravel_index(int(np.argmin(np.isfinite(values))), values.shape)
    return f"{values[at]} at index {tuple(int(i) for i in at)}"
