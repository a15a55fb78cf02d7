"""One real run, recorded; and the windows of it that machines are timed on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from amper.protocols import Float64, Sampler
from amper.trace import OpKind, Trace
from experiments.divergence import between_halves

N_WINDOW = 256  # samplings at the end of a prefix, while its buffer is as full as it gets


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """What an agent's replay did, and what the agent earned.

    Parameters
    ----------
    trace : Trace
        Of the whole run.
    evaluation : float
        Mean return of the selected checkpoint.
    n_steps : int
        Environment steps.
    description : str
        Agent, environment, sampler, capacity and seed, in words.
    """

    trace: Trace
    evaluation: float
    n_steps: int
    description: str


def record(
    *, env: str, n_steps: int, capacity: int, seed: int, progress: Callable[[int, int], None] | None = None
) -> Recording:
    """Train a DQN on `env` with exact prioritized replay and record all its replay did."""
    import rl

    trace = Trace()
    result = rl.train(
        env,
        agent="dqn",
        replay={"sampler": "per", "capacity": capacity, "sink": trace},
        n_steps=n_steps,
        seed=seed,
        n_evaluations=6,
        n_eval_episodes=5,
        progress=progress,
    )
    return Recording(
        trace=trace,
        evaluation=result.evaluation.mean,
        n_steps=result.n_steps,
        description=(f"double DQN on {env}, sampler per, capacity {capacity:,}, {result.n_steps:,} steps, seed {seed}"),
    )


def prefix_end(trace: Trace, n: int) -> int:
    """Return how many ops of `trace` make the prefix that stands for a buffer of `n` transitions.

    Up to the n-th insert, so that no slot beyond n is in use; the whole trace where n is its capacity.

    Raises
    ------
    ValueError
        If fewer than `n` transitions were recorded.
    """
    if n == trace.header.n_rows:
        return len(trace)
    inserted = np.cumsum(np.where(trace.ops["kind"] == OpKind.INSERT, trace.ops["count"], 0))
    if len(inserted) == 0 or inserted[-1] < n:
        n_recorded = int(inserted[-1]) if len(inserted) else 0
        raise ValueError(f"n must be at most the {n_recorded} transitions recorded, got {n}")
    beyond = np.flatnonzero(inserted > n)
    return int(beyond[0]) if len(beyond) else len(trace)


def window(trace: Trace, end: int, n_samplings: int = N_WINDOW) -> Trace:
    """Return the last `n_samplings` samplings before op `end`, with the ops between, as a trace of its own.

    Raises
    ------
    ValueError
        If nothing was sampled before `end`.
    """
    sampled = np.flatnonzero(trace.ops["kind"][:end] == OpKind.SAMPLE)
    if len(sampled) == 0:
        raise ValueError(f"end must lie behind a sampling, got {end}; record more steps")
    return trace.window(int(sampled[-n_samplings:][0]), end)


@dataclass(frozen=True, slots=True, kw_only=True)
class Law:
    """By what law a sampler chose, on the priorities an agent left behind.

    Parameters
    ----------
    sampler : str
    mass : float64[n]
        Stored mass of each transition over the mean.
    probability : float64[n]
        Its chance in one draw, times n: PER has probability = mass.
    divergence : float
        KL(sampler || PER), natural logarithm, less the noise of its estimate.
    """

    sampler: str
    mass: Float64
    probability: Float64
    divergence: float


def law(name: str, reference: Sampler, sampler: Sampler, *, n_samplings: int = 4000) -> Law:
    """Return the law of `sampler` against the exact masses that `reference` holds of the same transitions."""
    codes = reference.codes
    live = codes > 0
    target = codes[live] / codes[live].sum(dtype=np.int64)
    halves = (sampler.law(n_samplings // 2)[live], sampler.law(n_samplings // 2)[live])
    chance = (halves[0] + halves[1]) / 2
    n = int(np.count_nonzero(live))
    return Law(sampler=name, mass=target * n, probability=chance * n, divergence=between_halves(halves, target).kl)
