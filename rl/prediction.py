"""Prediction by TD(lambda): what is the discounted sum of a signal's coming values?

A network (`rl.ccn.ColumnNetwork`, `rl.dense.DenseNetwork`) says what is computed and `TDLambda` runs it, one step or a
whole stretch of steps in one compiled call. Sources: TD(lambda), Sutton 1988; the order of a step, normalisation and
RMSProp with a second moment that starts at 1, Javed et al. 2023 (arXiv 2302.05326).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from amper.protocols import Array
from rl import checks
from rl.optimisers import RmsProp

#: Of what `state_dict` returns; a reader refuses later ones.
_VERSION = 1
_UNCHANGED = "; nothing has changed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How a prediction is learned.

    Parameters
    ----------
    step_size : float
        Positive. Readout and bias take it divided by the features opened.
    discount : float
        Of steps whose own discount is not given, in (0, 1].
    trace_decay : float
        lambda, in [0, 1].
    fan_in : bool
        Divide a column's step size by the number of its inputs, earlier features included.
    optimiser : RmsProp
        Of every weight.

    Raises
    ------
    ValueError, TypeError
        If a parameter is out of range.
    """

    step_size: float
    discount: float = 0.9
    trace_decay: float = 0.99
    fan_in: bool = False
    optimiser: RmsProp = field(default_factory=lambda: RmsProp(decay=0.9999, eps=1e-8, initial=1.0))

    def __post_init__(self) -> None:
        checks.number("step_size", self.step_size, above=0.0)
        if not 0.0 < checks.real("discount", self.discount) <= 1.0:
            raise ValueError(f"discount must be in (0, 1], got {self.discount!r}; 0 ends an episode, step by step")
        if not 0.0 <= checks.real("trace_decay", self.trace_decay) <= 1.0:
            raise ValueError(f"trace_decay must be in [0, 1], got {self.trace_decay!r}")
        checks.truth("fan_in", self.fan_in)
        if not isinstance(self.optimiser, RmsProp):
            raise TypeError(f"optimiser must be an RmsProp of rl.optimisers, got {self.optimiser!r}")
        checks.plain_numbers(self)


class Network(Protocol):
    """What a predictor runs: a description, and functions of the arrays that change."""

    @property
    def n_inputs(self) -> int:
        """Length of x."""
        ...

    @property
    def dtype(self) -> str:
        """Of every array: "float32" or "float64"."""
        ...

    def start(self, initial_m: float) -> dict[str, Array]:
        """Return the arrays of a network that has seen nothing."""
        ...

    def stage_after(self, n_steps: int) -> int:
        """Return which stage learns after `n_steps` steps; 0 where there is one."""
        ...

    def shapes(self, stage: int) -> dict[str, tuple[int, ...]]:
        """Return the arrays' shapes by name while `stage` learns."""
        ...

    def begin_episode(self, state: dict[str, Array]) -> None:
        """Forget the episode: state, sensitivities and traces; the weights stay."""
        ...

    def run(
        self, state: dict[str, Array], n_steps: int, settings: Settings, xs: Array, cumulants: Array, discounts: Array
    ) -> Array:
        """Advance `state`, which has seen `n_steps` steps, by len(xs) more; return the predictions."""
        ...

    def refuse_damaged(self, state: dict[str, Array]) -> None:
        """Refuse arrays of the right shapes and kinds that no run leaves."""
        ...

    def signature(self) -> str:
        """Return what two networks must agree on to exchange state."""
        ...


class TDLambda:
    """Predicts sum over k >= 1 of discount^(k-1) cumulant_(t+k) at every step t, and learns it as it goes.

    A step brings x', the cumulant C' and the discount gamma' of the transition to it. In this order: every trace
    e = gamma lambda e + grad p; the network sees x' and predicts p'; delta = C' + gamma' p' - p, p being what was
    predicted, not computed again; RMSProp with delta e. gamma' = 0 ends an episode: delta is C' - p with the whole
    trace, and x', the first input of the next episode, is seen with an empty state. The first step learns nothing.

    Parameters
    ----------
    network : Network
    **settings
        Of `Settings`: `step_size`, `discount`, `trace_decay`, `fan_in`, `optimiser`.

    Raises
    ------
    ValueError, TypeError
        If a parameter is out of range.

    Examples
    --------
    >>> from rl.ccn import ColumnNetwork
    >>> predictor = TDLambda(ColumnNetwork(n_inputs=2, n_features=3), step_size=1e-3, discount=0.5)
    >>> predictor.step(np.ones(2), cumulant=0.0)
    0.0
    >>> xs = np.ones((10, 2))
    >>> predictor.run(xs, cumulants=np.ones(10)).shape, predictor.n_steps
    ((10,), 11)
    """

    def __init__(self, network: Network, *, step_size: float, **settings: Any) -> None:
        checks.having("network", network, ("start", "run", "shapes", "signature"), "a network, as rl.ccn.ColumnNetwork")
        known = ("discount", "trace_decay", "fan_in", "optimiser")
        for name in settings:
            checks.known("a setting", name, known)
        self.network = network
        self.settings = Settings(step_size=step_size, **settings)
        self.n_steps = 0
        #: The network's arrays; its own methods read them.
        self.arrays = network.start(self.settings.optimiser.initial)

    @property
    def prediction(self) -> float:
        """The last prediction, 0 before the first."""
        return float(self.arrays["scalars"][3])

    def step(self, x: Array, cumulant: float, discount: float | None = None) -> float:
        """Learn from the transition to `x` float[n_inputs], and return the prediction there; see `run`."""
        x = checks.array("x", x, (self.network.n_inputs,), np.dtype(self.network.dtype))
        cumulant = checks.real("cumulant", cumulant)
        discounts = None if discount is None else np.array([checks.real("discount", discount)])
        return float(self.run(x[None], np.array([cumulant]), discounts)[0])

    def run(self, xs: Array, cumulants: Array, discounts: Array | None = None) -> Array:
        """Return the predictions of len(xs) steps, float[n]; the same to the bit as that many calls of `step`.

        Parameters
        ----------
        xs : float[n, n_inputs]
        cumulants : float[n]
        discounts : float[n], optional
            In [0, 1], those of the transitions to each x; 0 where one ended an episode. The predictor's by default.

        Raises
        ------
        ValueError, TypeError
            If an argument has another shape, is not finite or out of range; nothing has changed.
        FloatingPointError
            If a prediction overflows; names the step. The predictor is then of no more use.
        """
        xs, cumulants, discounts = self._checked(xs, cumulants, discounts)
        before = self.n_steps
        predictions = self.network.run(self.arrays, before, self.settings, xs, cumulants, discounts)
        self.n_steps += len(xs)
        if not checks.all_finite(predictions):
            bad = int(np.argmin(np.isfinite(predictions)))
            raise FloatingPointError(
                f"prediction must stay finite, got {predictions[bad]} at step {before + bad + 1}; "
                "load a state from before it, or begin again; lower step_size"
            )
        if not checks.all_finite(self.arrays["scalars"]):  # the prediction would not be, a step later
            raise FloatingPointError(
                f"error must stay finite when squared, got more by step {self.n_steps}; load a state from before it, "
                "or begin again; lower step_size"
            )
        return predictions

    def _checked(self, xs: Any, cumulants: Any, discounts: Any) -> tuple[Array, Array, Array]:
        dtype, n = np.dtype(self.network.dtype), np.size(checks.as_array("cumulants", cumulants, where=_UNCHANGED))
        xs = checks.array("xs", xs, (n, self.network.n_inputs), dtype, where=_UNCHANGED)
        cumulants = checks.array("cumulants", cumulants, (n,), dtype, where=_UNCHANGED)
        if discounts is None:
            discounts = np.full(n, self.settings.discount, dtype)
        discounts = checks.array("discounts", discounts, (n,), dtype, where=_UNCHANGED)
        _refuse_overflow("xs", xs)
        _refuse_overflow("cumulants", cumulants)
        outside = ~((discounts >= 0) & (discounts <= 1))
        if outside.any():
            bad = int(np.argmax(outside))
            raise ValueError(f"discounts must lie in [0, 1], got {discounts[bad]} at index {bad}{_UNCHANGED}")
        return np.ascontiguousarray(xs), np.ascontiguousarray(cumulants), np.ascontiguousarray(discounts)

    def reset(self) -> None:
        """Begin another episode without an end of the last, as after a truncation: the next step learns nothing."""
        self.network.begin_episode(self.arrays)

    # -- saving ------------------------------------------------------------------------------------------
    def state_dict(self) -> dict[str, Any]:
        """Return everything, copied; `rl.learners.save` writes it to a file."""
        return {
            "version": _VERSION,
            **self._identity(),
            "n_steps": self.n_steps,
            "arrays": {name: values.copy() for name, values in self.arrays.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on exactly where `state` was taken.

        Raises
        ------
        ValueError, TypeError
            If it was taken with another network or other settings or by a later version, or is damaged; nothing
            has changed.
        """
        checks.saved_version(state, _VERSION)
        checks.saved_keys("state", state, ("version", *self._identity(), "n_steps", "arrays"))
        checks.saved_alike(state, self._identity(), "a predictor")
        n_steps = checks.whole("state['n_steps']", state["n_steps"], at_least=0)
        shapes = self.network.shapes(self.network.stage_after(n_steps))
        checks.saved_keys("state['arrays']", state["arrays"], shapes)
        arrays = {
            name: checks.saved_array(
                f"state['arrays'][{name!r}]", state["arrays"][name], shape, self.arrays[name].dtype
            )
            for name, shape in shapes.items()
        }
        self.network.refuse_damaged(arrays)
        self.n_steps, self.arrays = n_steps, arrays

    def _identity(self) -> dict[str, Any]:
        return {"network": self.network.signature(), "settings": repr(self.settings)}


def _refuse_overflow(name: str, values: Array) -> None:
    """Refuse what is not finite, or so large that a variance of it is not."""
    largest = np.finfo(values.dtype).max
    with np.errstate(over="ignore", invalid="ignore"):
        if np.vdot(values, values) <= largest / 4:
            return
    for bad, rule in (
        (~np.isfinite(values), "be finite"),
        (np.abs(values) > largest**0.5 / 2, f"have squares that {values.dtype} holds four times"),
    ):
        if bad.any():
            at = tuple(int(i) for i in np.argwhere(bad)[0])
            raise ValueError(f"{name} must {rule}, got {values[at]} at index {at}{_UNCHANGED}")
