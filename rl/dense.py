"""A dense LSTM that predicts, its gradient by T-BPTT, SnAp-1 or UORO: what networks of columns are compared with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from amper.protocols import Array
from rl import cells, checks
from rl._kernels import dense_lstm
from rl.ccn import BETA, CAP, numbers, refuse_scalars, refuse_statistics
from rl.streams import stream

if TYPE_CHECKING:
    from rl.prediction import Settings
    from rl.protocols import Cell

#: In the order of the kernel.
METHODS = ("tbptt", "snap", "uoro")
GATES = "ifog"


@dataclass(frozen=True, slots=True, kw_only=True)
class DenseNetwork:
    """A fully connected LSTM, every unit a feature; inputs and features are normalised as those of columns.

    The gradient is that of `rl.learners.make(method, ...)` for the cell "lstm", with k for "tbptt" and n = 1 for
    "snap"; "uoro" begins at 0 and draws the same signs for the same seed.

    Parameters
    ----------
    n_inputs, n_units : int
        At least 1.
    method : str
        "tbptt", "snap" or "uoro".
    k : int, optional
        Steps of T-BPTT, at least 1; only with "tbptt", which needs it.
    seed : int
        Of the initial weights, and of UORO's signs.
    dtype : str
        "float32" or "float64".
    beta, cap : float
        As of `rl.ccn.ColumnNetwork`.
    init_range : float, optional
        Weights begin uniform in +-init_range; in +-1/sqrt(n_units), the cell's own, by default.

    Raises
    ------
    ValueError, TypeError
        If a parameter is out of range.

    Examples
    --------
    >>> network = DenseNetwork(n_inputs=12, n_units=10, method="tbptt", k=3)
    >>> network.n_padded, network.shapes(0)["theta"]
    (12, (1344,))
    """

    n_inputs: int
    n_units: int
    method: str
    k: int | None = None
    seed: int = 0
    dtype: str = "float64"
    beta: float = BETA
    cap: float = CAP
    init_range: float | None = None

    def __post_init__(self) -> None:
        for name in ("n_inputs", "n_units"):
            checks.whole(name, getattr(self, name), at_least=1)
        checks.known("method", self.method, METHODS)
        if (self.k is None) == (self.method == "tbptt"):
            raise ValueError(f"k must be given exactly if method is 'tbptt', got {self.k!r} and {self.method!r}")
        if self.k is not None:
            checks.whole("k", self.k, at_least=1)
        checks.whole("seed", self.seed, at_least=0)
        checks.known("dtype", self.dtype, ("float32", "float64"))
        refuse_statistics(self.beta, self.cap)
        if self.init_range is not None:
            checks.number("init_range", self.init_range, above=0.0, below=float(np.finfo(self.dtype).max) / 2)
        checks.plain_numbers(self)

    @property
    def cell(self) -> Cell:
        """The cell of `rl.cells` that this network runs; `rl.learners.cost` counts its operations."""
        return cells.make("lstm", n_inputs=self.n_inputs, n_units=self.n_units, seed=self.seed, dtype=self.dtype)

    @property
    def n_padded(self) -> int:
        """Units rounded up to a multiple of 4; those beyond have zeros for weights."""
        return -(-self.n_units // 4) * 4

    @property
    def n_sources(self) -> int:
        """Sources of a unit: inputs, h- of all units and those beyond, 1, and zeros up to a multiple of 4."""
        return -(-(self.n_inputs + self.n_padded + 1) // 4) * 4

    def stage_after(self, n_steps: int) -> int:
        """Return 0: there is one stage."""
        return 0

    def refuse_damaged(self, state: dict[str, Array]) -> None:
        """Refuse arrays of the right shapes that no run leaves: the kernel goes where the window says."""
        refuse_scalars(state["scalars"])
        newest, n_held, k = (int(value) for value in state["window"])
        if k != (self.k or 0) or not 0 <= newest <= max(k - 1, 0) or not 0 <= n_held <= k:
            raise ValueError(f"state['arrays']['window'] must be of k = {self.k}, got {state['window'].tolist()}")
        try:
            _generator(state["generator"])
        except (ValueError, OverflowError) as error:
            raise ValueError(f"state['arrays']['generator'] must be a generator's, got {error}") from error

    def signature(self) -> str:
        """Return what two networks must agree on to exchange state."""
        return repr(self)

    # -- weights -----------------------------------------------------------------------------------------
    def init(self) -> Array:
        """Return the initial weights in the order of the cell's theta, float[P]."""
        cell = self.cell
        if self.init_range is None:
            return cell.init()
        rng = stream(self.seed, "initial weights")
        return rng.uniform(-self.init_range, self.init_range, cell.n_params).astype(self.dtype)

    def _blocks(self, packed: Array, theta: Array) -> list[tuple[Array, Array]]:
        """Return pairs of views, of `packed` [sources, 4, padded] and of theta, that hold the same weights."""
        views, n, d = self.cell.views(theta), self.n_inputs, self.n_units
        pairs = []
        for g, gate in enumerate(GATES):
            pairs += [
                (packed[:n, g, :d], views[f"W_{gate}"].T),
                (packed[n : n + d, g, :d], views[f"U_{gate}"].T),
                (packed[n + self.n_padded, g, :d], views[f"b_{gate}"]),
            ]
        return pairs

    def theta(self, state: dict[str, Array], name: str = "theta") -> Array:
        """Return the weights in the order of the cell's theta, float[P]; or "m" or "e" likewise."""
        theta = np.empty(self.cell.n_params, self.dtype)
        for packed, view in self._blocks(state[name].reshape(self.n_sources, 4, self.n_padded), theta):
            view[...] = packed
        return theta

    # -- running -----------------------------------------------------------------------------------------
    def shapes(self, stage: int) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the arrays."""
        d, n_sources, k = self.n_padded, self.n_sources, self.k or 0
        n_weights = 4 * d * n_sources
        carried = {
            "tbptt": (k * n_sources, k * 6 * d, k * 4 * d * d),
            "snap": (n_weights, n_weights, 0),
            "uoro": (2 * d, n_weights, 0),
        }[self.method]
        return {
            "theta": (n_weights,),
            "m": (n_weights,),
            "e": (n_weights,),
            "inputs": (2, self.n_inputs),
            "features": (6, d),
            "hc": (2, d),
            "scalars": (6,),
            **{f"carried{i}": (n,) for i, n in enumerate(carried)},
            "window": (3,),
            "generator": (6,),
        }

    def start(self, initial_m: float) -> dict[str, Array]:
        """Return the arrays of a network that has seen nothing."""
        whole = {"window": np.int64, "generator": np.uint64}
        state = {name: np.zeros(shape, whole.get(name, self.dtype)) for name, shape in self.shapes(0).items()}
        theta = self.init()
        for packed, view in self._blocks(state["theta"].reshape(self.n_sources, 4, self.n_padded), theta):
            packed[...] = view
        state["m"][:] = initial_m
        state["features"][1] = initial_m
        state["features"][5] = 1.0
        state["inputs"][1] = 1.0
        state["scalars"][1] = initial_m
        state["window"][2] = self.k or 0
        state["generator"][:] = _words(stream(self.seed, "learner/uoro"))
        return state

    def begin_episode(self, state: dict[str, Array]) -> None:
        """Forget the episode: state, what the method carries, and every trace."""
        for name in ("e", "hc", "carried0", "carried1", "carried2"):
            state[name][:] = 0.0
        state["features"][2] = 0.0
        state["scalars"][[2, 5]] = 0.0
        state["window"][1] = 0

    def run(
        self, state: dict[str, Array], n_steps: int, settings: Settings, xs: Array, cumulants: Array, discounts: Array
    ) -> Array:
        """Advance `state` by len(xs) steps; return the predictions."""
        predictions = np.empty(len(xs), self.dtype)
        size = settings.step_size / (self.n_inputs + self.n_units if settings.fan_in else 1)
        dense_lstm.run(
            tuple(state[name] for name in ("theta", "m", "e", "inputs", "features", "hc", "scalars")),
            tuple(state[f"carried{i}"] for i in range(3)),
            state["window"], METHODS.index(self.method), self.n_inputs,
            numbers(self, settings, size, self.n_units), self._signs(state, len(xs)),
            xs, cumulants, discounts, predictions,
        )  # fmt: skip
        return predictions

    def _signs(self, state: dict[str, Array], n: int) -> Array:
        """Return UORO's signs of the next `n` steps, float[n, 2 * padded]; the generator moves on."""
        if self.method != "uoro":
            return np.zeros((0, 0), self.dtype)
        rng = _generator(state["generator"])
        signs = np.zeros((n, 2, self.n_padded), self.dtype)
        signs[:, :, : self.n_units] = 2 * rng.integers(0, 2, (n, 2, self.n_units)) - 1
        state["generator"][:] = _words(rng)
        return signs.reshape(n, -1)


def _words(rng: np.random.Generator) -> list[int]:
    """Return the state of a PCG64 generator as six words, so that it is an array among the others."""
    at = rng.bit_generator.state
    state, inc = at["state"]["state"], at["state"]["inc"]
    return [state >> 64, state % 2**64, inc >> 64, inc % 2**64, at["has_uint32"], at["uinteger"]]


def _generator(words: Array) -> np.random.Generator:
    state_high, state_low, inc_high, inc_low, has_uint32, uinteger = (int(word) for word in words)
    bits = np.random.PCG64(0)
    bits.state = {
        "bit_generator": "PCG64",
        "state": {"state": (state_high << 64) + state_low, "inc": (inc_high << 64) + inc_low},
        "has_uint32": has_uint32,
        "uinteger": uinteger,
    }
    return np.random.Generator(bits)
