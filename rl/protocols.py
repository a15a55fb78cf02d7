"""What the parts of this package agree on: spaces, steps, policies, agents; cells and learners."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from amper.protocols import Array, Float64, Int64, Replay

if TYPE_CHECKING:
    from rl.cells.base import Linearised
    from rl.cells.jacobians import Immediate, Recurrent
    from rl.cells.layout import Layout


@dataclass(frozen=True, slots=True, kw_only=True)
class Spaces:
    """What an agent is told about its environments.

    Parameters
    ----------
    observation_space, action_space : gymnasium.Space
        Of a single environment.
    n_envs : int
        Environments stepped together.
    """

    observation_space: Any
    action_space: Any
    n_envs: int = 1


class Step(NamedTuple):
    """One step of every environment; row j is environment j.

    Attributes
    ----------
    obs : [e, *observation shape]
        Before the step.
    action : int64[e]
    reward : float64[e]
    next_obs : [e, *observation shape]
        After the step and before any reset: an ended episode's own last observation.
    terminated : bool[e]
        The episode ended inside the task: nothing follows, the value of `next_obs` is 0.
    truncated : bool[e]
        The episode was cut from outside: the value of `next_obs` still counts.
    """

    obs: Array
    action: Int64
    reward: Float64
    next_obs: Array
    terminated: Array
    truncated: Array


class Policy(Protocol):
    """Maps observations to actions and never changes."""

    def __call__(self, obs: Array) -> Int64:
        """Return int64[n], an action for each row of `obs` [n, *observation shape]."""
        ...


class Agent(Protocol):
    """Acts, and learns from the steps it is shown."""

    @property
    def replay(self) -> Replay:
        """Where the transitions are kept."""
        ...

    @property
    def n_updates(self) -> int:
        """Gradient steps taken so far."""
        ...

    def act(self, obs: Array) -> Int64:
        """Return int64[e], an exploring action for each environment's row of `obs`."""
        ...

    def observe(self, step: Step) -> None:
        """Store `step` and learn as much as is due."""
        ...

    def policy(self, *, averaged: bool = True) -> Policy:
        """Return the present greedy policy, by the averaged weights or by the last iterate."""
        ...


class Cell(Protocol):
    """A recurrent cell: functions of weights, input and state, and their derivatives; holds no state.

    Shapes: B independent streams, S state components a unit, n units, P parameters.

    Attributes
    ----------
    name : str
        Its family.
    n_inputs, n_units, n_hidden, n_params, n_components : int
        Lengths of x and h, units, P, and S.
    dtype : numpy.dtype
        Of every array.
    layout : rl.cells.layout.Layout
        Where each parameter lies, what it multiplies and whom it feeds.
    structure : str
        Of the recurrent Jacobian: "diagonal", "columns" (a small matrix a unit), "sparse" or "dense".
    signature : str
        What two cells must agree on to exchange weights and state.
    """

    name: str
    n_inputs: int
    n_units: int
    dtype: np.dtype[Any]
    layout: Layout

    @property
    def n_hidden(self) -> int: ...  # noqa: D102 - described above, as the next ones
    @property
    def n_params(self) -> int: ...  # noqa: D102
    @property
    def n_components(self) -> int: ...  # noqa: D102
    @property
    def structure(self) -> str: ...  # noqa: D102
    @property
    def signature(self) -> str: ...  # noqa: D102

    def views(self, theta: Array) -> dict[str, Array]:
        """Return named views into `theta` [P]; writing in one writes there."""
        ...

    def init(self) -> Array:
        """Return float[P], the initial weights."""
        ...

    def initial_state(self, batch: int) -> Array:
        """Return float[batch, S, n], the state before the first step."""
        ...

    def step(self, theta: Array, x: Array, state: Array) -> tuple[Array, Array]:
        """Return (h float[B, n_hidden], state after float[B, S, n])."""
        ...

    def linearise(self, theta: Array, x: Array, state: Array) -> Linearised:
        """Take a step and keep what its derivatives are made of."""
        ...

    def immediate(self, at: Linearised) -> Immediate:
        """Return I = dstate'/dtheta with the state before held fixed."""
        ...

    def recurrent(self, at: Linearised) -> Recurrent:
        """Return D = dstate'/dstate."""
        ...

    def state_jvp(self, at: Linearised, v: Array) -> Array:
        """Return D v float[B, S, n], for `v` float[B, S, n]."""
        ...

    def state_vjp(self, at: Linearised, q: Array) -> Array:
        """Return D^T q float[B, S, n], for `q` float[B, S, n]."""
        ...

    def output_vjp(self, at: Linearised, dl_dh: Array) -> tuple[Array, Array, Array]:
        """Return dL/dstate', and what of dL/dh float[B, n_hidden] reaches theta and x past the state.

        float[B, S, n]; float[P - layout.n_state_params], summed over the streams; float[B, n_inputs].
        """
        ...

    def input_vjp(self, at: Linearised, q: Array) -> Array:
        """Return dL/dx float[B, n_inputs] through the state, for `q` = dL/dstate'."""
        ...


class Learner(Protocol):
    """A cell's weights and state, and what is carried from step to step to know the gradient.

    With `batch` = B every argument and result has a leading axis of B streams, and the gradient is the sum over
    them; with None there is one stream and no such axis.
    """

    cell: Cell
    batch: int | None
    n_steps: int

    @property
    def theta(self) -> Array:
        """The weights, float[P], live: what is written here takes effect at the next step."""
        ...

    @theta.setter
    def theta(self, value: Array) -> None:
        """Take the same array only, as `learner.theta -= step` gives it; AttributeError for another."""
        ...

    def step(self, x: Array) -> Array:
        """Advance state and sensitivities by `x` float[n_inputs]; return h float[n_hidden].

        Raises
        ------
        ValueError
            If `x` has another shape or is not finite; names the step, and nothing has changed.
        FloatingPointError
            If the new state or sensitivities are not finite; names the step, and nothing has changed.
        """
        ...

    def gradient(self, dl_dh: Array) -> Array:
        """Return float[P], the gradient of the last step's loss as this learner estimates it; changes nothing.

        Raises
        ------
        RuntimeError
            Before the first step.
        ValueError, FloatingPointError
            If `dl_dh` or the result is not finite; names the step.
        """
        ...

    def input_gradient(self, dl_dh: Array) -> Array:
        """Return dL/dx of the last step, float[n_inputs]."""
        ...

    def reset(self, mask: Array | None = None) -> None:
        """Start the streams in `mask` bool[B] (all by default) anew; weights and generators stay."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Return everything, copied: arrays, numbers, strings and dicts of them."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on exactly where `state` was taken.

        Raises
        ------
        ValueError, TypeError
            If it was taken elsewhere than from such a learner, or is damaged; nothing has changed.
        """
        ...
