"""What is compared on trace patterning: networks of columns, dense LSTMs of as many operations, and a run of one.

All learn by TD(lambda) with RMSProp and the same normalisation, float32, discount .9, lambda .99 (Javed et al. 2023,
arXiv 2302.05326, their code; the pairs of truncation and features for T-BPTT too). A network of columns shares a run
out evenly among its stages.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments.study import Stage, no_stage

if TYPE_CHECKING:
    from rl.environments.trace_patterning import TracePatterning
    from rl.prediction import Network, TDLambda

#: Mean squared errors of a constant prediction, and of one that knows which patterns are valid but not the ISI
#: (24 to 36, discount .9); the tests find both from the stream itself.
CONSTANT, FLOOR = 0.0188, 0.0017
#: What a run that overflows counts as: targets lie in [0, 1], no prediction in there errs by more.
OVERFLOWED = 1.0
N_INPUTS = 12
_DTYPE = "float32"  # float64 takes 1.8 times as long
_DISCOUNT, _TRACE_DECAY = 0.9, 0.99
_CHUNK = 100_000  # steps held at once: some 20 MB


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """One of those compared.

    Parameters
    ----------
    name : str
        As the table says it: features of all stages : of one; truncation : features for T-BPTT; units.
    kind : str
        "columns", or a method of `rl.dense.DenseNetwork`.
    n_units : int
        Features in all.
    per_stage : int
        Features a stage, of columns.
    k : int, optional
        Truncation, of T-BPTT.
    """

    name: str
    kind: str
    n_units: int
    per_stage: int = 0
    k: int | None = None

    @property
    def n_stages(self) -> int:
        """How many stages a run is shared among."""
        return self.n_units // self.per_stage if self.per_stage else 1

    def network(self, n_steps: int, seed: int) -> Network:
        """Return the network for a run of `n_steps`."""
        from rl.ccn import ColumnNetwork
        from rl.dense import DenseNetwork

        if self.kind != "columns":
            return DenseNetwork(
                n_inputs=N_INPUTS, n_units=self.n_units, method=self.kind, k=self.k, seed=seed, dtype=_DTYPE
            )
        return ColumnNetwork(
            n_inputs=N_INPUTS,
            n_features=self.n_units,
            features_per_stage=self.per_stage,
            steps_per_stage=n_steps // self.n_stages if self.n_stages > 1 else None,
            seed=seed,
            dtype=_DTYPE,
        )

    def operations(self) -> int:
        """Return the operations of a step in the last stage: forward, sensitivities and gradient of the weights.

        By `rl.learners.cost` for every method; what each weight takes besides (trace, RMSProp) and each input
        (normalisation) is left out. Of frozen columns the forward sums count.

        Examples
        --------
        >>> {name: method(name).operations() for name in ("columnar 7", "ccn 20:4", "tbptt 10:5")}
        {'columnar 7': 3500, 'ccn 20:4': 5520, 'tbptt 10:5': 5540}
        """
        from rl import cells, learners

        if self.kind != "columns":
            dense = cells.make("lstm", n_inputs=N_INPUTS, n_units=self.n_units)
            options: dict[str, dict[str, Any]] = {"tbptt": {"k": self.k}, "snap": {"n": 1}, "uoro": {}}
            return learners.cost(self.kind, dense, **options[self.kind]).operations
        costs = [
            learners.cost("rtrl", cells.make("columnar-lstm", n_inputs=N_INPUTS + before, n_units=self.per_stage))
            for before in range(0, self.n_units, self.per_stage)
        ]
        return costs[-1].operations + sum(cost.forward for cost in costs[:-1])


#: T-BPTT pairs of about 4,000 operations by Javed et al.'s count, 4 d (n + d + 1)(k + 1): by `operations` 4.5 to 6
#: thousand. SnAp-1 and UORO have the units that bring them in between by the latter.
METHODS = (
    Method(name="columnar 7", kind="columns", n_units=7, per_stage=7),
    Method(name="constructive 10:1", kind="columns", n_units=10, per_stage=1),
    Method(name="ccn 20:4", kind="columns", n_units=20, per_stage=4),
    *(
        Method(name=f"tbptt {k}:{n_units}", kind="tbptt", n_units=n_units, k=k)
        for k, n_units in ((3, 10), (5, 8), (8, 5), (10, 5), (15, 4), (20, 3), (30, 2))
    ),
    Method(name="snap-1 7", kind="snap", n_units=7),
    Method(name="uoro 12", kind="uoro", n_units=12),
)


def method(name: str) -> Method:
    """Return the method called `name`.

    Raises
    ------
    ValueError
        If there is none.
    """
    for known in METHODS:
        if known.name == name:
            return known
    raise ValueError(f"method must be one of {', '.join(m.name for m in METHODS)}, got {name!r}")


def predict(
    name: str,
    *,
    step_size: float,
    n_steps: int,
    n_window: int,
    seed: int,
    n_points: int = 50,
    stage: Stage = no_stage,
) -> dict[str, Any]:
    """Return what one run erred by.

    Parameters
    ----------
    name : str
        Of a method.
    n_steps, n_window : int
        Length of the run, and of its end whose error counts.
    seed : int
        Of the stream and of the initial weights.
    n_points : int
        Points of the curve, each the mean over the steps since the one before.

    Returns
    -------
    dict
        error, mean squared error over the last `n_window` steps; curve, (step, error) by point; operations a step;
        steps_per_second of the predictor's processor time; overflowed_at, the step from which none were taken,
        or None.
    """
    from rl.environments.trace_patterning import TracePatterning
    from rl.prediction import TDLambda

    chosen = method(name)
    predictor = TDLambda(
        chosen.network(n_steps, seed), step_size=step_size, discount=_DISCOUNT, trace_decay=_TRACE_DECAY
    )
    run = _Run(predictor, TracePatterning(seed=seed, discount=_DISCOUNT, dtype=_DTYPE), n_steps - n_window)
    curve, overflowed_at = [], None
    for point in range(1, n_points + 1):
        stage("predicting", point - 1, n_points)
        end = n_steps * point // n_points
        try:
            curve.append((end, run.until(end)))
        except FloatingPointError:
            overflowed_at = run.at
            break
    return {
        "error": run.late / n_window if overflowed_at is None else OVERFLOWED,
        "curve": curve,
        "operations": chosen.operations(),
        "steps_per_second": run.n_timed / max(run.seconds, 1e-9),
        "overflowed_at": overflowed_at,
    }


@dataclass(slots=True)
class _Run:
    """A predictor on its stream, and what it has erred by so far."""

    predictor: TDLambda
    stream: TracePatterning
    late_from: int
    at: int = 0
    late: float = 0.0  # sum of squared errors from the step `late_from`
    seconds: float = 0.0
    n_timed: int = 0

    def until(self, end: int) -> float:
        """Go on to step `end`; return the mean squared error on the way."""
        total, start = 0.0, self.at
        while self.at < end:
            n = min(end - self.at, _CHUNK)
            part = self.stream.stream(n)
            before = time.process_time()
            predictions = self.predictor.run(part.xs, part.cumulants)
            if self.at:  # the first call compiles
                self.seconds += time.process_time() - before
                self.n_timed += n
            squares = np.square(part.targets - predictions)
            total += float(squares.sum())
            self.late += float(squares[max(self.late_from - self.at, 0) :].sum())
            self.at += n
        return total / (end - start)
