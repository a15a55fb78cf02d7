"""What all fused learners share; a long file, for what waits, the weights handed out and what is saved must agree."""

from __future__ import annotations

import abc
from typing import Any, ClassVar

import numpy as np

from amper.protocols import Array, Int64
from rl import checks
from rl.fused.packing import LANES, Coefficients, aligned_zeros, rounded
from rl.learners import fit
from rl.optimisers import Optimiser, Sgd
from rl.protocols import Cell

#: Of what `state_dict` returns; a reader refuses later ones.
_VERSION = 1
_UNCHANGED = "; nothing has changed"
_LOSSES = {"squared": 1, "cross-entropy": 2}


class Fused(abc.ABC):
    """A cell that learns online by exact real-time gradients, a step or a stretch of steps a compiled call.

    What `rl.learners` and `rl.Updates` do together, for given cells, up to rounding: see `rl.fused.make`. A step's
    weights are updated on the way through memory that the next step takes anyway; `theta` and everything else that
    can be looked at is as if they had been at once.

    Parameters
    ----------
    cell, batch, optimiser, step_size, loss, n_outputs, readout_step_size
        See `rl.fused.make`.
    """

    learners: ClassVar[tuple[str, ...]]

    def __init__(
        self,
        cell: Cell,
        *,
        batch: int | None,
        optimiser: Optimiser | None,
        step_size: float,
        loss: str | None,
        n_outputs: int | None,
        readout_step_size: float | None,
    ) -> None:
        fit.require_cell(cell)
        self.cell = cell
        self.batch = None if batch is None else checks.whole("batch", batch, at_least=1)
        self.n_streams = self.batch or 1
        self.optimiser: Optimiser = Sgd() if optimiser is None else optimiser
        self.step_size = checks.number("step_size", step_size, above=0.0)
        self.loss = None if loss is None else checks.known("loss", loss, _LOSSES)
        if (loss is None) != (n_outputs is None):
            raise ValueError(f"n_outputs must be given exactly where loss is, got {n_outputs!r} with loss {loss!r}")
        self.n_outputs = 0 if n_outputs is None else checks.whole("n_outputs", n_outputs, at_least=1)
        rate = self.step_size if readout_step_size is None else readout_step_size
        self.readout_step_size = checks.number("readout_step_size", rate, above=0.0)
        self.n_steps = 0
        self.n_lanes = rounded(cell.n_units)
        self._allocate()
        self._ready = False

    def _allocate(self) -> None:
        cell, dtype = self.cell, self.cell.dtype
        self._place, n_packed = self._packing()
        self._weights = aligned_zeros(n_packed, dtype)
        self._weights[self._place] = cell.init()
        self._opt = Coefficients(self.optimiser, self.step_size, n_packed, dtype)
        kept = aligned_zeros(n_packed, dtype)
        kept[self._place] = 1.0
        self._kept = kept[:0] if kept[self._all_places()].all() else kept
        self._width = self.n_lanes * (cell.n_hidden // cell.n_units) + LANES
        self._readout = aligned_zeros(self.n_outputs * self._width, dtype)
        self._readout_opt = Coefficients(self.optimiser, self.readout_step_size, self._readout.size, dtype)
        #: Updates and what is pending; the same of the readout, which leaves nothing to do.
        self._counts, self._readout_counts = np.zeros(2, np.int64), np.zeros(2, np.int64)
        self._errors = np.zeros(self.n_streams * self.n_outputs, dtype)
        self._outputs = np.zeros(0, dtype)
        self._held = self._fresh()
        self._held["h"].reshape(self.n_streams, -1)[:, self._width - LANES] = 1.0
        self._gather()

    def _gather(self) -> None:
        """Put together what every call of the kernel takes; no array is ever replaced."""
        opt, of_readout = self._opt, self._readout_opt
        self._fixed = (*self._packed(), opt.hyper, opt.rates, self._counts, tuple(self._held.values()))
        self._fixed_readout = (
            self._readout, self._readout[:0], *of_readout.moments, of_readout.hyper, of_readout.rates,
            self._readout_counts,
        )  # fmt: skip
        # Where the entries of h, and the 1, lie in a row of the kernel's h.
        starts = range(0, self._width - LANES, self.n_lanes)
        parts = [start + np.arange(self.cell.n_units) for start in starts]
        self._columns = np.concatenate([*parts, [self._width - LANES]])

    # -- what a cell says --------------------------------------------------------------------------------
    @abc.abstractmethod
    def _packing(self) -> tuple[Int64, int]:
        """Return where each entry of theta lies among the packed weights, and how many those are."""

    @abc.abstractmethod
    def _all_places(self) -> Int64:
        """Return where all entries would lie if none were left out."""

    @abc.abstractmethod
    def _fresh(self) -> dict[str, Array]:
        """Return everything else the kernel holds, in its order, "h", "q" among it."""

    @abc.abstractmethod
    def _packed(self) -> tuple[Any, ...]:
        """Return the kernel's weights and moments."""

    @abc.abstractmethod
    def _kernel(self) -> Any:
        """Return the compiled function."""

    @abc.abstractmethod
    def _gradient(self, dl_dh: Array) -> Array:
        """Return dL/dtheta for float[B, n_hidden]."""

    @abc.abstractmethod
    def _forget(self, chosen: Array) -> None:
        """Start the streams in `chosen` bool[B] anew; nothing is pending."""

    # -- running -----------------------------------------------------------------------------------------
    @property
    def theta(self) -> Array:
        """The weights, float[P], in the cell's order: a copy that cannot be written to; assign to change them."""
        self._finish_learning()
        theta = self._weights[self._place]
        theta.flags.writeable = False
        return theta

    @theta.setter
    def theta(self, value: Array) -> None:
        value = checks.array("theta", value, (self.cell.n_params,), self.cell.dtype)
        if not checks.all_finite(value):
            raise ValueError(f"theta must be finite, got {value[~np.isfinite(value)][0]}")
        self._settle()
        self._weights[self._place] = value

    @property
    def readout(self) -> Array:
        """The readout's weights, float[n_outputs, n_hidden + 1], the bias last: a copy; assign to change them."""
        weights = self._readout.reshape(self.n_outputs, self._width)[:, self._columns].copy()
        weights.flags.writeable = False
        return weights

    @readout.setter
    def readout(self, value: Array) -> None:
        value = checks.array("readout", value, (self.n_outputs, self.cell.n_hidden + 1), self.cell.dtype)
        if not checks.all_finite(value):
            raise ValueError(f"readout must be finite, got {value[~np.isfinite(value)][0]}")
        self._readout.reshape(self.n_outputs, self._width)[:, self._columns] = value

    @property
    def outputs(self) -> Array:
        """Outputs of the readout at every step of the last `run`, float[T, n_outputs] or float[T, B, n_outputs]."""
        streams = () if self.batch is None else (self.batch,)
        n_steps = self._outputs.size // (self.n_streams * max(self.n_outputs, 1))
        return self._outputs.reshape(n_steps, *streams, self.n_outputs).copy()

    def step(self, x: Array) -> Array:
        """Advance by one input; as `rl.protocols.Learner.step`.

        Raises
        ------
        ValueError
            If `x` has another shape or is not finite; nothing has changed.
        FloatingPointError
            If h is not finite; the weights are then of no use any more.
        """
        x = self._inputs("x", x, self._streams(self.cell.n_inputs))
        self._call(self._sizes(1, 0, False), (x.ravel(), *self._nothing()), self._results(0))
        self.n_steps += 1
        self._ready = True
        h = self._hidden()
        self._refuse_overflow("h", h)
        return h

    def learn(self, dl_dh: Array) -> None:
        """Update the weights by the gradient of the last step's loss, once a step; as `rl.Updates.add`."""
        q = self._checked(dl_dh)
        self._held["q"].reshape(self.n_streams, -1)[:, self._columns[:-1]] = q
        self._counts[1] = 2
        self._ready = False

    def gradient(self, dl_dh: Array) -> Array:
        """Return dL/dtheta of the last step, float[P], summed over the streams; before its weights are updated.

        Raises
        ------
        RuntimeError
            If there is no step since the start, or since the last update, reset or assignment of weights.
        """
        gradient = self._gradient(self._checked(dl_dh))
        self._refuse_overflow("gradient", gradient)
        return gradient

    def advance(self, xs: Array, *, resets: Array | None = None) -> Array:
        """Take a step for each of `xs`, learning nothing; return the last h.

        Parameters
        ----------
        xs, resets
            As for `run`.
        """
        xs = self._sequence(xs)
        resets = self._resets(resets, len(xs))
        data = (xs.ravel(), *self._nothing()[:2], resets)
        self._call(self._sizes(len(xs), 0, False), data, self._results(0))
        self.n_steps += len(xs)
        self._ready = self._ready or len(xs) > 0
        h = self._hidden()
        self._refuse_overflow("h", h)
        return h

    def run(self, xs: Array, targets: Array, *, resets: Array | None = None, learn: bool = True) -> Array:
        """Take a step for each of `xs`, learning from each one's loss at once; return the losses.

        Parameters
        ----------
        xs : float[T, n_inputs] or float[T, B, n_inputs]
        targets : float[T, n_outputs] or float[T, B, n_outputs]; int[T] or int[T, B] with "cross-entropy"
            A label below 0 asks for nothing: loss and gradient are 0.
        resets : bool[T] or bool[T, B], optional
            Streams to start anew before a step.
        learn : bool
            False leaves cell and readout as they are.

        Returns
        -------
        float64[T] or float64[T, B]
            Of each step, with the weights before its update.

        Raises
        ------
        ValueError, TypeError
            If an array has another shape or kind, or is not finite; nothing has changed.
        FloatingPointError
            If a loss is not finite, naming the first such step; the weights are then of no use any more.
        """
        if self.loss is None:
            raise ValueError("loss must be given to rl.fused.make for run, got None; use advance, or step and learn")
        learn, xs = checks.truth("learn", learn), self._sequence(xs)
        wanted, resets = self._targets(targets, len(xs)), self._resets(resets, len(xs))
        results = self._results(len(xs))
        self._call(self._sizes(len(xs), _LOSSES[self.loss], learn), (xs.ravel(), *wanted, resets), results)
        losses, before = results[2], self.n_steps
        self._outputs, self.n_steps, self._ready = results[1], before + len(xs), not learn and len(xs) > 0
        if not checks.all_finite(losses):
            first = int(np.argmin(np.isfinite(losses)))
            raise FloatingPointError(
                f"loss must stay finite, got {losses[first]} at step {before + 1 + first // self.n_streams}; "
                "lower step_size, and start from a saved state or anew"
            )
        return losses.reshape(len(xs), *self._streams())

    def reset(self, mask: Array | None = None) -> None:
        """Start the streams in `mask` (a truth value, or bool[B]; all by default) anew; weights stay."""
        chosen = np.ones(self._streams(), bool) if mask is None else checks.as_array("mask", mask, where=_UNCHANGED)
        if chosen.dtype != np.bool_ or chosen.shape != self._streams():
            wanted = "a truth value" if self.batch is None else f"bool[{self.batch}]"
            raise ValueError(f"mask must be {wanted}, got {chosen.dtype}{list(chosen.shape)}")
        self._settle()
        self._forget(chosen.reshape(-1))

    def _settle(self) -> None:
        self._finish()
        self._ready = False

    def _finish(self) -> None:
        """Do what the last step left to do."""
        self._call(self._sizes(0, 0, False, True), (*self._nothing()[:1], *self._nothing()), self._results(0))

    def _finish_learning(self) -> None:
        if self._counts[1] == 2:
            self._finish()

    def _call(self, sizes: tuple[int, ...], data: tuple[Array, ...], results: tuple[Array, ...]) -> None:
        """Run the kernel."""
        self._kernel()(*self._fixed, sizes, data, (*self._fixed_readout, bool(sizes[5])), results)

    # -- arguments ---------------------------------------------------------------------------------------
    def _hidden(self) -> Array:
        h = self._held["h"].reshape(self.n_streams, -1)[:, self._columns[:-1]]
        return np.ascontiguousarray(h.reshape(self._streams(self.cell.n_hidden)))

    def _streams(self, *after: int) -> tuple[int, ...]:
        return after if self.batch is None else (self.batch, *after)

    def _sizes(self, n_steps: int, loss: int, learn: bool, finish: bool = False) -> tuple[int, ...]:
        return self.cell.n_inputs, self.n_lanes, self.n_streams, n_steps, loss, int(learn), int(finish)

    def _nothing(self) -> tuple[Array, Array, Array]:
        """Return targets, labels and resets of a run that has none."""
        return np.zeros(0, self.cell.dtype), np.zeros(0, np.int64), np.zeros(0, bool)

    def _results(self, n_steps: int) -> tuple[Array, Array, Array]:
        n = n_steps * self.n_streams
        return self._errors, np.zeros(n * self.n_outputs, self.cell.dtype), np.zeros(n)

    def _inputs(self, name: str, values: Array, shape: tuple[int, ...]) -> Array:
        where = f" at step {self.n_steps + 1}{_UNCHANGED}"
        values = np.ascontiguousarray(checks.array(name, values, shape, self.cell.dtype, where=where))
        if not checks.all_finite(values):
            raise ValueError(f"{name} must be finite, got {values[~np.isfinite(values)][0]}{where}")
        return values

    def _sequence(self, xs: Array) -> Array:
        xs = checks.as_array("xs", xs, where=_UNCHANGED)
        n_steps = len(xs) if xs.ndim else 0
        return self._inputs("xs", xs, (n_steps, *self._streams(self.cell.n_inputs)))

    def _targets(self, targets: Array, n_steps: int) -> tuple[Array, Array]:
        no_targets, no_labels, _ = self._nothing()
        if self.loss == "squared":
            shape = (n_steps, *self._streams(self.n_outputs))
            return self._inputs("targets", targets, shape).ravel(), no_labels
        given = checks.as_array("targets", targets, where=_UNCHANGED)
        labels = checks.array("targets", given, (n_steps, *self._streams()), given.dtype)
        if labels.size and (labels.dtype.kind not in "iu" or (labels >= self.n_outputs).any()):
            raise ValueError(
                f"targets must be whole numbers below n_outputs = {self.n_outputs}, got {labels.dtype}"
                f" up to {labels.max()}{_UNCHANGED}"
            )
        return no_targets, np.ascontiguousarray(labels, np.int64).ravel()

    def _resets(self, resets: Array | None, n_steps: int) -> Array:
        if resets is None:
            return self._nothing()[2]
        given = checks.as_array("resets", resets, where=_UNCHANGED)
        shape = (n_steps, *self._streams())
        if given.dtype != np.bool_ or given.shape != shape:
            raise ValueError(f"resets must be bool{list(shape)}, got {given.dtype}{list(given.shape)}")
        return np.ascontiguousarray(given).ravel()

    def _checked(self, dl_dh: Array) -> Array:
        if not self._ready:
            raise RuntimeError(
                "step must come before learn or gradient: there is none since the start, the last update, reset or "
                "change of weights"
            )
        dl_dh = checks.array("dl_dh", dl_dh, self._streams(self.cell.n_hidden), self.cell.dtype)
        if not checks.all_finite(dl_dh):
            raise ValueError(f"dl_dh must be finite, got {dl_dh[~np.isfinite(dl_dh)][0]} at step {self.n_steps}")
        return dl_dh.reshape(self.n_streams, -1)

    def _refuse_overflow(self, what: str, values: Array) -> None:
        if not checks.all_finite(values):
            bad = values[~np.isfinite(values)][0]
            raise FloatingPointError(
                f"{what} must stay finite, got {bad} at step {self.n_steps}; lower step_size, and start from a saved "
                "state or anew"
            )

    # -- copying and saving ------------------------------------------------------------------------------
    def __getstate__(self) -> dict[str, Any]:
        """Return what makes a copy: the kernel's arguments are views, and copies of those would share nothing."""
        names = ("cell", "batch", "optimiser", "step_size", "loss", "readout_step_size")
        return {
            "made": {**{name: getattr(self, name) for name in names}, "n_outputs": self.n_outputs or None},
            "arrays": self._arrays(),
            "rest": {name: getattr(self, name) for name in ("n_steps", "_ready", "_outputs")},
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        Fused.__init__(self, **state["made"])
        for name, values in self._arrays().items():
            values[:] = state["arrays"][name]
        for name, value in state["rest"].items():
            setattr(self, name, value)

    def _arrays(self) -> dict[str, Array]:
        """Return every array that a step reads and writes, by name, live."""
        arrays = {"weights": self._weights, "readout": self._readout, "counts": self._counts, **self._held}
        arrays["readout_counts"] = self._readout_counts
        return {**arrays, "moments": self._opt.moments, "readout_moments": self._readout_opt.moments}

    def _identity(self) -> dict[str, Any]:
        return {
            "learner": f"fused {type(self).__name__}",
            "cell": self.cell.signature,
            "batch": self.batch,
            "optimiser": repr(self.optimiser),
            "step_size": self.step_size,
            "loss": self.loss,
            "n_outputs": self.n_outputs,
            "readout_step_size": self.readout_step_size,
        }

    def state_dict(self) -> dict[str, Any]:
        """Return everything, copied; `rl.learners.save` writes it to a file."""
        arrays = {name: values.copy() for name, values in self._arrays().items()}
        return {
            "version": _VERSION, **self._identity(), "n_steps": self.n_steps, "ready": self._ready, "arrays": arrays,
        }  # fmt: skip

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on exactly where `state` was taken.

        Raises
        ------
        ValueError, TypeError
            If it was taken from another cell, batch, optimiser or loss, by a later version, or is damaged; nothing
            has changed.
        """
        checks.saved_version(state, _VERSION)
        checks.saved_keys("state", state, ("version", *self._identity(), "n_steps", "ready", "arrays"))
        checks.saved_alike(state, self._identity(), "a fused learner")
        here = self._arrays()
        checks.saved_keys("state['arrays']", state["arrays"], here)
        read = {
            n: checks.saved_array(f"state['arrays'][{n!r}]", state["arrays"][n], a.shape, a.dtype)
            for n, a in here.items()
        }
        n_steps = checks.whole("state['n_steps']", state["n_steps"], at_least=0)
        ready = checks.truth("state['ready']", state["ready"])
        for name in ("counts", "readout_counts"):
            if read[name][0] < 0 or not 0 <= read[name][1] <= 2:
                raise ValueError(
                    f"state['arrays'][{name!r}] must be updates and what is pending, 0, 1 or 2, got {read[name]}"
                )
        for name, values in here.items():
            values[:] = read[name]
        self.n_steps, self._ready = n_steps, ready
