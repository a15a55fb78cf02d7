"""What all cells share: the parameters, and one step with its derivatives, made from a cell's few equations."""

from __future__ import annotations

import abc
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from amper.protocols import Array
from rl import checks
from rl.cells import masks
from rl.cells.jacobians import Immediate, Recurrent, recurrent
from rl.cells.layout import Block, Layout, Placed
from rl.streams import stream


@dataclass(frozen=True, slots=True, kw_only=True)
class Linearised:
    """One step taken, and what its derivatives are made of.

    Attributes
    ----------
    theta : float[P]
        The weights the step was taken with.
    x : float[B, n_inputs]
    before, state : float[B, S, n]
        The state before and after.
    h : float[B, n_hidden]
    coefficients : float[B, S, G, n]
        ds_m / da[g, m]; see `jacobians.Immediate`.
    carry : float[B, S, S, n]
        What a unit takes over from its own state besides the sums; see `jacobians.recurrent`.
    sources : float[B, n_inputs + n + 1]
        x, the component weights read, 1.
    """

    theta: Array
    x: Array
    before: Array
    state: Array
    h: Array
    coefficients: Array
    carry: Array
    sources: Array


class GatedCell(abc.ABC):
    """A recurrent cell made of weighted sums and element-wise arithmetic, with exact derivatives.

    A cell says which blocks of parameters it has and, in `_advance`, how a unit's state follows its sums and
    its own last state; Jacobians, masks and dL/dx follow from that.

    Parameters
    ----------
    n_inputs, n_units : int
        At least 1.
    seed : int
        Of the initial weights and of drawn masks.
    dtype : str
        "float32" or "float64".
    density : float, optional
        Share of the entries kept in each matrix, in (0, 1]; drawn entry by entry and gate by gate.
    exact_count : bool
        Keep exactly round(density * size) entries of each matrix instead.
    mask : mapping of name to bool[shape], or bool[n_units, n_inputs + n_units], optional
        The kept entries; excludes `density`.
    bias : bool
        False leaves the biases out.

    Raises
    ------
    ValueError, TypeError
        If a parameter breaks its rule, or a unit has no incoming weight in any gate.
    """

    name: str
    gates: ClassVar[tuple[str, ...]]
    #: The state's components a unit, and which of them the recurrent weights read (None: there are none).
    components: ClassVar[tuple[str, ...]] = ("h",)
    reads: ClassVar[int | None] = 0
    #: Whether a unit's state depends on its own last state besides the sums.
    carries: bool = True
    #: Outputs a unit.
    n_outputs_per_unit: ClassVar[int] = 1

    def __init__(
        self,
        *,
        n_inputs: int,
        n_units: int,
        seed: int = 0,
        dtype: str = "float64",
        density: float | None = None,
        exact_count: bool = False,
        mask: Mapping[str, Any] | Any | None = None,
        bias: bool = True,
    ) -> None:
        self.n_inputs = checks.whole("n_inputs", n_inputs, at_least=1)
        self.n_units = checks.whole("n_units", n_units, at_least=1)
        self.seed = checks.whole("seed", seed, at_least=0)
        self.dtype = _real_type(dtype)
        bias, exact_count = checks.truth("bias", bias), checks.truth("exact_count", exact_count)
        if exact_count and density is None:
            raise ValueError("exact_count must be left out where density is, got True; give density")
        blocks = [b for b in self._blocks() if bias or not b.is_bias]
        kept = self._masks(blocks, density, exact_count, mask)
        masks.refuse_deaf_units(kept, blocks, self.n_units)
        self.layout = Layout(self.n_inputs, self.n_units, len(self.gates), tuple(blocks), kept, self.carries)

    def _masks(self, blocks: list[Block], density: Any, exact_count: bool, mask: Any) -> dict[str, Array]:
        if density is None:
            return {} if mask is None else masks.given(mask, blocks, self.n_inputs, self.n_units)
        if mask is not None:
            raise ValueError(f"mask must be left out where density is given, got both (density {density!r})")
        if checks.number("density", density, above=0.0) > 1.0:
            raise ValueError(f"density must be at most 1, got {density!r}")
        width = {"x": self.n_inputs, "state": self.n_units}
        return {
            b.name: masks.drawn(
                stream(self.seed, f"mask/{b.name}"), (self.n_units, width[b.reads]), density, exact_count
            )
            for b in blocks
            if b.is_matrix
        }

    # -- what a family says ------------------------------------------------------------------------------
    @abc.abstractmethod
    def _blocks(self) -> list[Block]:
        """Return the blocks of parameters, those of an output map last."""

    @abc.abstractmethod
    def _advance(self, theta: Array, a: Array, state: Array) -> tuple[Array, Array, Array]:
        """Return (state', coefficients, carry) from the sums `a` [B, G, n] and the state [B, S, n].

        Shapes and meaning as in `Linearised`.
        """

    def _output(self, theta: Array, x: Array, state: Array) -> Array:
        """Return h float[B, n_hidden] of the state after a step."""
        return np.asarray(state[:, self.reads or 0])

    def output_vjp(self, at: Linearised, dl_dh: Array) -> tuple[Array, Array, Array]:
        """Return dL/dstate' float[B, S, n], and what reaches theta and x past the state.

        The second is float[P - n_state_params], summed over the streams; the third float[B, n_inputs].
        """
        q = np.zeros_like(at.state)
        q[:, self.reads or 0] = dl_dh
        return q, np.zeros(0, self.dtype), np.zeros_like(at.x)

    def _init_block(self, rng: np.random.Generator, block: Block, shape: tuple[int, ...]) -> Array:
        """Return a block's initial values: uniform in +-1/sqrt(n_units), PyTorch's default."""
        return np.asarray(rng.uniform(-1.0, 1.0, shape) * self.n_units**-0.5)

    # -- what follows ------------------------------------------------------------------------------------
    @property
    def n_components(self) -> int:
        """Components S of a unit's state."""
        return len(self.components)

    @property
    def n_hidden(self) -> int:
        """Length of h."""
        return self.n_units * self.n_outputs_per_unit

    @property
    def n_params(self) -> int:
        """Length P of theta: kept weights, biases, and everything else that is learned."""
        return self.layout.n_params

    @cached_property
    def structure(self) -> str:
        """Structure of the recurrent Jacobian: "diagonal", "columns", "dense" or "sparse"."""
        zeros = self.initial_state(1)
        x = np.zeros((1, self.n_inputs), self.dtype)
        return self.recurrent(self.linearise(self.init(), x, zeros)).structure

    @property
    def signature(self) -> str:
        """What two cells must agree on to exchange weights and state: family, sizes, type, every block and mask."""
        pattern = 0
        for name, p in self.layout.placed.items():
            # With the counts of rows and columns before them, the bytes of two layouts differ somewhere.
            what = f"{name} {p.block.gate} {p.block.reads} {p.shape} {len(p.rows)}"
            for part in (what.encode(), p.rows.astype("<i8").tobytes(), p.columns.astype("<i8").tobytes()):
                pattern = zlib.crc32(part, pattern)
        return f"{self.name} {self.n_inputs}x{self.n_units} {self.dtype} {pattern:08x}"

    def views(self, theta: Array) -> dict[str, Array]:
        """Return named views into `theta` [P]; writing in one writes there.

        A dense matrix is [n_units, n_read]; of a masked one the kept entries, row by row (`layout.placed[name]`
        has their rows and columns); everything else [n_units].
        """
        if theta.shape != (self.n_params,):
            raise ValueError(f"theta must have shape ({self.n_params},), got {theta.shape}")
        return {name: placed.view(theta) for name, placed in self.layout.placed.items()}

    def init(self) -> Array:
        """Return float[P], the initial weights of this cell's seed; a new array each time."""
        theta = np.empty(self.n_params, self.dtype)
        for name, placed in self.layout.placed.items():
            full = np.asarray(
                self._init_block(stream(self.seed, f"initial weights/{name}"), placed.block, placed.shape)
            )
            theta[placed.at] = full[placed.rows, placed.columns] if placed.block.is_matrix else full
        return theta

    def initial_state(self, batch: int) -> Array:
        """Return zeros float[batch, S, n]."""
        return np.zeros((batch, self.n_components, self.n_units), self.dtype)

    def step(self, theta: Array, x: Array, state: Array) -> tuple[Array, Array]:
        """Return (h, state') for `x` float[B, n_inputs] and `state` float[B, S, n]; both are new arrays.

        Raises
        ------
        ValueError, TypeError
            If a shape or kind differs.
        """
        theta = checks.array("theta", theta, (self.n_params,), self.dtype)
        if np.ndim(x) != 2:
            raise ValueError(
                f"x must be float[B, n_inputs], a row of {self.n_inputs} for each stream, got shape {np.shape(x)}"
            )
        x = checks.array("x", x, (len(x), self.n_inputs), self.dtype)
        state = checks.array("state", state, (len(x), self.n_components, self.n_units), self.dtype)
        at = self.linearise(theta, x, state)
        return at.h.copy(), at.state  # h may be a part of the state

    def linearise(self, theta: Array, x: Array, state: Array) -> Linearised:
        """Take a step and keep what its derivatives are made of."""
        read = state[:, self.reads] if self.reads is not None else np.zeros_like(state[:, 0])
        sources = np.concatenate([x, read, np.ones((len(x), 1), self.dtype)], axis=1)
        after, coefficients, carry = map(
            np.ascontiguousarray, self._advance(theta, self.layout.sums(theta, sources), state)
        )  # in one order, so that sums over a saved and loaded step are the same to the bit
        return Linearised(
            theta=theta,
            x=x,
            before=state,
            state=after,
            h=self._output(theta, x, after),
            coefficients=coefficients,
            carry=carry,
            sources=sources,
        )

    def immediate(self, at: Linearised) -> Immediate:
        """Return I = dstate'/dtheta with the state before held fixed."""
        return Immediate(self.layout, at.coefficients, at.sources)

    def recurrent(self, at: Linearised) -> Recurrent:
        """Return D = dstate'/dstate."""
        return recurrent(self.layout, at.theta, at.coefficients, at.carry, self.reads)

    def state_jvp(self, at: Linearised, v: Array) -> Array:
        """Return D v float[B, S, n] for `v` float[B, S, n], from the weights, without forming D."""
        out = np.einsum("bstn,btn->bsn", at.carry, v)
        if self.reads is not None:
            for p in self._linking:
                out += at.coefficients[:, :, p.block.gate] * p.dot(at.theta, v[:, self.reads])[:, None]
        return np.asarray(out)

    def state_vjp(self, at: Linearised, q: Array) -> Array:
        """Return D^T q float[B, S, n] for `q` float[B, S, n], from the weights, without forming D."""
        out = np.einsum("bstn,bsn->btn", at.carry, q)
        if self.reads is not None:
            delta = np.einsum("bsn,bsgn->bgn", q, at.coefficients)
            for p in self._linking:
                out[:, self.reads] += p.vjp(at.theta, delta[:, p.block.gate])
        return np.asarray(out)

    @property
    def _linking(self) -> list[Placed]:
        return [p for p in self.layout.state_blocks if p.block.reads in ("state", "own")]

    def input_vjp(self, at: Linearised, q: Array) -> Array:
        """Return dL/dx float[B, n_inputs] through the state, for `q` = dL/dstate' float[B, S, n]."""
        delta = np.einsum("bsn,bsgn->bgn", q, at.coefficients)
        out = np.zeros_like(at.x)
        for p in self.layout.state_blocks:
            if p.block.reads == "x":
                out += p.vjp(at.theta, delta[:, p.block.gate])
        return out


def _real_type(dtype: Any) -> np.dtype[Any]:
    """Return the type of "float32" or "float64", or of what NumPy takes for them; None is not float64 here."""
    try:
        name = None if dtype is None else str(np.dtype(dtype))
    except (TypeError, ValueError):
        name = dtype
    return np.dtype(checks.known("dtype", name, ("float32", "float64")))
