"""Networks of LSTM columns: which stage a column belongs to, what it reads, and when it stops learning.

(Javed et al. 2023, arXiv 2302.05326.) A network is a description; what changes while it runs is a dict of arrays that
it makes (`start`) and advances (`run`), held by a predictor of `rl.prediction`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from amper.protocols import Array
from rl import checks
from rl._kernels import columns
from rl.streams import stream

if TYPE_CHECKING:
    from rl.prediction import Settings

#: What a weight of the learning stage has, in the order of the kernel's vectors.
FIELDS = ("w", "m", "e", "TH", "TC")
#: A variance's floor and the decay of averages, for trace patterning (Javed et al. 2023, their code).
CAP, BETA = 0.01, 0.99999


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnNetwork:
    """Feature k belongs to stage k div u and reads all inputs and the features of earlier stages.

    One stage is a columnar network, u = 1 a constructive one, several stages of u > 1 features a
    columnar-constructive one (CCN). A stage learns for `steps_per_stage` steps, then its weights and input statistics
    are frozen and the next one opens; the last goes on learning.

    Parameters
    ----------
    n_inputs, n_features : int
        At least 1.
    features_per_stage : int, optional
        u, a divisor of `n_features`; all by default.
    steps_per_stage : int, optional
        Needed with more than one stage.
    seed : int
        Of the initial weights.
    dtype : str
        "float32" or "float64".
    beta : float
        Decay of the running means and variances, in [0, 1).
    cap : float
        Floor of the variances, > 0.
    init_range : float
        Weights begin uniform in +-init_range, > 0.

    Raises
    ------
    ValueError, TypeError
        If a parameter is out of range.

    Examples
    --------
    >>> network = ColumnNetwork(n_inputs=12, n_features=20, features_per_stage=4, steps_per_stage=1000)
    >>> network.n_stages, network.n_sources(0), network.n_sources(4), network.stage_after(2_500)
    (5, 14, 30, 2)
    """

    n_inputs: int
    n_features: int
    features_per_stage: int | None = None
    steps_per_stage: int | None = None
    seed: int = 0
    dtype: str = "float64"
    beta: float = BETA
    cap: float = CAP
    init_range: float = 0.01

    def __post_init__(self) -> None:
        for name in ("n_inputs", "n_features"):
            checks.whole(name, getattr(self, name), at_least=1)
        checks.whole("seed", self.seed, at_least=0)
        checks.known("dtype", self.dtype, ("float32", "float64"))
        if self.features_per_stage is None:
            object.__setattr__(self, "features_per_stage", self.n_features)
        checks.whole("features_per_stage", self.features_per_stage, at_least=1)
        if self.n_features % self.n_units:
            raise ValueError(
                f"features_per_stage must divide n_features = {self.n_features}, got {self.features_per_stage!r}"
            )
        if self.n_stages > 1 and self.steps_per_stage is None:
            raise ValueError(f"steps_per_stage must be given with {self.n_stages} stages, got None")
        if self.steps_per_stage is not None:
            checks.whole("steps_per_stage", self.steps_per_stage, at_least=1)
        refuse_statistics(self.beta, self.cap)
        checks.number("init_range", self.init_range, above=0.0, below=float(np.finfo(self.dtype).max) / 2)
        checks.plain_numbers(self)

    # -- shape -------------------------------------------------------------------------------------------
    @property
    def n_units(self) -> int:
        """Features a stage, u."""
        return int(self.features_per_stage or 0)

    @property
    def n_stages(self) -> int:
        """Stages in all."""
        return self.n_features // self.n_units

    @property
    def n_lanes(self) -> int:
        """Units in a block of the kernel's layout, compiled for each: 4 or 16."""
        return 4 if self.n_units <= 4 else 16

    @property
    def n_blocks(self) -> int:
        """Blocks a stage."""
        return -(-self.n_units // self.n_lanes)

    @property
    def n_padded(self) -> int:
        """Units a stage with those that fill the last block; these have zeros for weights."""
        return self.n_blocks * self.n_lanes

    def n_sources(self, stage: int) -> int:
        """Return what a column of `stage` reads: inputs, earlier features, its own h-, and 1."""
        return self.n_inputs + stage * self.n_units + 2

    def stage_after(self, n_steps: int) -> int:
        """Return the number of the stage that learns from the step after `n_steps` steps."""
        return 0 if self.steps_per_stage is None else min(n_steps // self.steps_per_stage, self.n_stages - 1)

    def n_readout(self, n_steps: int) -> int:
        """Return u times the stages opened, by which the readout's step size is divided."""
        return self.n_units * (1 + self.stage_after(n_steps))

    # -- weights -----------------------------------------------------------------------------------------
    def init(self, stage: int) -> Array:
        """Return float[4, n_sources, u], the initial weights of gates i, f, o, g."""
        rng = stream(self.seed, f"initial weights/stage {stage}")
        weights = rng.uniform(-self.init_range, self.init_range, (4, self.n_sources(stage), self.n_units))
        return weights.astype(self.dtype)

    def _packed(self, weights: Array) -> Array:
        """Return [4, sources, u] as [block, source, 4, lanes], zeros in the lanes that no unit has."""
        packed = np.zeros((*weights.shape[:2], self.n_padded), self.dtype)
        packed[:, :, : self.n_units] = weights
        return np.ascontiguousarray(packed.reshape(4, -1, self.n_blocks, self.n_lanes).transpose(2, 1, 0, 3))

    def _unpacked(self, packed: Array) -> Array:
        flat = packed.transpose(2, 1, 0, 3).reshape(4, packed.shape[1], self.n_padded)
        return np.ascontiguousarray(flat[:, :, : self.n_units])

    def learning(self, state: dict[str, Array]) -> dict[str, Array]:
        """Return float[4, n_sources, u] copies of w, m, e, TH and TC of the stage that learns."""
        stage = self._stage_of(state)
        fields = state["learning"].reshape(self.n_blocks, self.n_sources(stage), len(FIELDS), 4, self.n_lanes)
        return {name: self._unpacked(fields[:, :, i]) for i, name in enumerate(FIELDS)}

    def weights(self, state: dict[str, Array], stage: int) -> Array:
        """Return a copy of the weights of an open stage, float[4, n_sources, u]; gates i, f, o, g.

        Raises
        ------
        IndexError
            If the stage is not open yet.
        """
        opened = self._stage_of(state) + 1
        if not 0 <= stage < opened:
            raise IndexError(f"stage must lie in [0, {opened}), the stages opened, got {stage!r}")
        if stage == opened - 1:
            return self.learning(state)["w"]
        width = 4 * self.n_padded
        start = width * sum(self.n_sources(s) for s in range(stage))
        part = state["frozen"][start : start + width * self.n_sources(stage)]
        return self._unpacked(part.reshape(self.n_blocks, self.n_sources(stage), 4, self.n_lanes))

    def _real(self, padded: Array) -> Array:
        """Return the entries of padded features that are features, [..., n]."""
        return padded.reshape(*padded.shape[:-1], -1, self.n_padded)[..., : self.n_units].reshape(
            *padded.shape[:-1], -1
        )

    def readout(self, state: dict[str, Array]) -> dict[str, Array]:
        """Return by name, float[n] of the features opened: w, m, e, hh, mu, v of the readout, and h itself."""
        fields = state["features"].reshape(-1, 6, self.n_lanes).transpose(1, 0, 2).reshape(6, -1)
        names = ("w", "m", "e", "hh", "mu", "v")
        return {**dict(zip(names, self._real(fields), strict=True)), "h": self._real(state["raw"])}

    # -- running -----------------------------------------------------------------------------------------
    def start(self, initial_m: float) -> dict[str, Array]:
        """Return the arrays of a network that has seen nothing, its first stage open."""
        empty = {name: np.zeros(shape, self.dtype) for name, shape in self.shapes(-1).items()}
        empty["scalars"][1] = initial_m
        return self._opened(empty, 0, initial_m)

    def shapes(self, stage: int) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the arrays while `stage` learns; -1 is before the first."""
        n_read = [self.n_sources(s) - 2 for s in range(stage)]
        n_open = (stage + 1) * self.n_padded
        n_learning = self.n_sources(stage) if stage >= 0 else 0
        return {
            "learning": (self.n_padded * 4 * len(FIELDS) * n_learning,),
            "inputs": (2, max(n_learning - 2, 0)),
            "frozen": (self.n_padded * 4 * sum(n + 2 for n in n_read),),
            "frozen_inputs": (2, sum(n_read)),
            "features": (6 * n_open,),
            "raw": (n_open,),
            "hc": (2, n_open),
            "scalars": (6,),
        }

    def _opened(self, state: dict[str, Array], stage: int, initial_m: float) -> dict[str, Array]:
        """Return the arrays after the stage before `stage` is frozen and `stage` opened."""
        after = {name: np.zeros(shape, self.dtype) for name, shape in self.shapes(stage).items()}
        for name in ("features", "raw", "scalars"):
            after[name][: len(state[name])] = state[name]
        after["hc"][:, : state["hc"].shape[1]] = state["hc"]
        if stage > 0:
            fields = state["learning"].reshape(self.n_blocks, self.n_sources(stage - 1), len(FIELDS), -1)
            after["frozen"][:] = np.append(state["frozen"], fields[:, :, 0])
            mu, v = state["inputs"]
            after["frozen_inputs"][:] = np.append(state["frozen_inputs"], [mu, 1 / np.sqrt(v)], axis=1)
        learning = after["learning"].reshape(self.n_blocks, self.n_sources(stage), len(FIELDS), 4, self.n_lanes)
        learning[:, :, 0] = self._packed(self.init(stage))
        learning[:, :, 1] = initial_m
        after["inputs"][1] = 1.0
        new = after["features"][len(state["features"]) :].reshape(self.n_blocks, 6, self.n_lanes)
        new[:, 1] = initial_m
        new[:, 5] = 1.0
        return after

    def _stage_of(self, state: dict[str, Array]) -> int:
        return len(state["raw"]) // self.n_padded - 1

    def begin_episode(self, state: dict[str, Array]) -> None:
        """Set h, c and their sensitivities to 0, and every trace."""
        state["hc"][:] = 0.0
        state["learning"].reshape(-1, len(FIELDS), 4 * self.n_lanes)[:, 2:] = 0.0
        state["features"].reshape(-1, 6, self.n_lanes)[:, 2] = 0.0
        state["scalars"][[2, 5]] = 0.0

    def run(
        self, state: dict[str, Array], n_steps: int, settings: Settings, xs: Array, cumulants: Array, discounts: Array
    ) -> Array:
        """Advance `state`, which has seen `n_steps` steps, by len(xs) more; return the predictions."""
        predictions = np.empty(len(xs), self.dtype)
        done = 0
        while done < len(xs):
            stage = self.stage_after(n_steps)
            n = len(xs) - done
            if self.steps_per_stage is not None and stage < self.n_stages - 1:
                n = min(n, (stage + 1) * self.steps_per_stage - n_steps)
            part = slice(done, done + n)
            n_read = self.n_sources(stage) - 2
            size = settings.step_size / (n_read if settings.fan_in else 1)
            columns.run(
                tuple(state[name] for name in self.shapes(stage)),
                np.array([self.n_inputs, stage, self.n_units, self.n_padded]),
                numbers(self, settings, size, self.n_readout(n_steps)),
                (0,) * self.n_lanes, xs[part], cumulants[part], discounts[part], predictions[part],
            )  # fmt: skip
            done += n
            n_steps += n
            if self.stage_after(n_steps) > stage:
                state.update(self._opened(state, stage + 1, settings.optimiser.initial))
        return predictions

    def refuse_damaged(self, state: dict[str, Array]) -> None:
        """Refuse arrays of the right shapes that no run leaves."""
        refuse_scalars(state["scalars"])

    def signature(self) -> str:
        """Return what two networks must agree on to exchange state."""
        return repr(self)


def refuse_scalars(scalars: Array) -> None:
    """Refuse what cannot be the last discount, and whether there was a step, of a saved state."""
    if not 0.0 <= scalars[4] <= 1.0 or scalars[5] not in (0.0, 1.0):
        raise ValueError(f"state['arrays']['scalars'] must be of a predictor, got {scalars.tolist()}")


def refuse_statistics(beta: Any, cap: Any) -> None:
    """Refuse a decay outside [0, 1) and a floor that is not positive."""
    if not 0.0 <= checks.real("beta", beta) < 1.0:
        raise ValueError(f"beta must be in [0, 1), got {beta!r}")
    checks.number("cap", cap, above=0.0)


def numbers(network: Any, settings: Settings, size: float, n_readout: int) -> Array:
    """Return the kernels' `numbers` float[8]; see `rl._kernels.columns.run`."""
    rms = settings.optimiser
    tiny = 1e-30 if network.dtype == "float32" else 1e-200  # its root is nothing beside eps
    return np.array(
        [
            settings.trace_decay, size, settings.step_size / n_readout, 1.0 - rms.decay, rms.eps,
            1.0 - network.beta, network.cap, tiny,
        ],
        network.dtype,
    )  # fmt: skip
