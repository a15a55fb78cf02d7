"""How well weighted draws represent a whole buffer: errors of means that are known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from amper.protocols import Array, Float64, Sampler
from experiments.study import Row

#: What is averaged. All have mean 1 over the entries stored, and all but `one` variance 1, so that errors are in
#: standard deviations of what is averaged; a mean of 64 uniform draws would be off by 1/8. Were the means 0, weights
#: far too small would seem good.
FUNCTIONS = ("one", "mass", "log mass", "top 1%", "random")
FORMS = ("unnormalised", "self-normalised")
_AT_ONCE = 500  # samplings held in memory


def functions(mass: Float64, rng: np.random.Generator) -> Float64:
    """Return the values of every function of `FUNCTIONS` for entries of these masses, float64[5, n].

    `one` tells how far weights are from summing to 1; `top 1%` marks masses at or above their 99 % quantile; `random`
    is independent of the mass. A function that is the same everywhere is 1.

    Examples
    --------
    >>> functions(np.array([1.0, 2.0, 3.0]), np.random.default_rng(0))[:2].round(3).tolist()
    [[1.0, 1.0, 1.0], [-0.225, 1.0, 2.225]]
    """
    top = (mass >= np.quantile(mass, 0.99)).astype(float)
    values = np.stack([mass, np.log(mass), top, rng.normal(size=len(mass))])
    values -= values.mean(axis=1, keepdims=True)
    spread = values.std(axis=1, keepdims=True)
    # What rounding leaves of a constant is no spread.
    values = 1.0 + np.where(spread > 1e-9, values / np.maximum(spread, 1e-9), 0.0)
    return np.concatenate([np.ones((1, len(mass))), values])


def measure(sampler: Sampler, values: Float64, stored: Array, n_samplings: int, batch_size: int) -> dict[str, Any]:
    """Return the errors of means estimated by batches that `sampler` draws and weighs, at beta = 1.

    With w = 1 / (n P), P what the sampler's importance weights take for the chance of an entry: unnormalised is the
    mean of w f over the batch, self-normalised sum w f / sum w. Weights over their batch's maximum, as a replay hands
    them out, are the latter up to a factor of the whole batch.

    Parameters
    ----------
    values : float64[k, n]
        As `functions` returns them, of the entries stored.
    stored : bool[capacity]
        Where they are stored.

    Returns
    -------
    dict
        By form and function: bias, its standard error `noise`, the standard deviation `sd`, and the RMSE, of one
        batch; `ess`, the mean effective sample size (sum w)^2 / sum w^2 over the batch size, `batch`; `scale`, the
        mean weight where the batch's largest is 1, by which a replay's weights slow learning down; fractions of
        samplings that were redrawn and fell back; `csp`, mean |CSP| / n, None where there is none.
    """
    n = int(np.count_nonzero(stored))
    place = np.cumsum(stored) - 1
    found: dict[str, list[Float64]] = {form: [] for form in FORMS}
    ess, scale, sizes, n_redrawn, n_fallbacks = [], [], [], 0, 0
    for begin in range(0, n_samplings, _AT_ONCE):
        draws = []
        for _ in range(min(_AT_ONCE, n_samplings - begin)):
            draw = sampler.sample(batch_size)
            draws.append((draw.slots, draw.probabilities))
            sizes.append(draw.n_csp)
            n_redrawn += draw.n_redraws > 0
            n_fallbacks += draw.fallback
        slots, probabilities = (np.stack(part) for part in zip(*draws, strict=True))
        weights = 1.0 / (n * probabilities)
        sums = np.einsum("fsb,sb->fs", values[:, place[slots]], weights)
        total = weights.sum(axis=1)
        found["unnormalised"].append(sums / batch_size)
        found["self-normalised"].append(sums / total)
        ess.append(total**2 / np.sum(weights**2, axis=1) / batch_size)
        scale.append(total / weights.max(axis=1) / batch_size)
    errors = {form: np.concatenate(parts, axis=1) - 1.0 for form, parts in found.items()}
    return {
        "errors": {form: _by_function(of_form) for form, of_form in errors.items()},
        "batch": batch_size,
        "ess": float(np.concatenate(ess).mean()),
        "scale": float(np.concatenate(scale).mean()),
        "csp": float(np.mean(sizes)) / n if hasattr(sampler, "candidates") else None,
        "redrawn": n_redrawn / n_samplings,
        "fallbacks": n_fallbacks / n_samplings,
    }


def _by_function(errors: Float64) -> dict[str, dict[str, float]]:
    bias, sd = errors.mean(axis=1), errors.std(axis=1)
    return {
        name: {
            "bias": float(bias[i]),
            "noise": float(sd[i]) / errors.shape[1] ** 0.5,
            "sd": float(sd[i]),
            "rmse": float(np.hypot(bias[i], sd[i])),
        }
        for i, name in enumerate(FUNCTIONS)
    }


# -- many measurements as one ----------------------------------------------------------------------------
@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """Errors of one sampler's weighted means on one source, over seeds and moments; `pooled` by form.

    Parameters
    ----------
    errors : mapping
        Form -> bias, sd, RMSE.
    total : tuple of float
        The mean and the standard deviation of what unnormalised weights sum to, where they should sum to 1.
    ess, scale : float
        As `measure` returns them, means.
    batch : int
        Draws in a batch.
    """

    source: str
    sampler: str
    weights: str
    errors: Mapping[str, Mapping[str, float]]
    total: tuple[float, float]
    ess: float
    scale: float
    batch: int


def lines(rows: Sequence[Row]) -> list[Line]:
    """Return the measured errors, a line a source, sampler and weights, in the order of the rows."""
    groups: dict[tuple[str, str, str], list[Any]] = {}
    for row in rows:
        for moment in row.get("moments", ()):
            for found in moment["found"]:
                groups.setdefault((row["source"], found["sampler"], found["weights"]), []).append(found)
    made = []
    for (source, sampler, weights), found in groups.items():
        ones = [one["errors"]["unnormalised"]["one"] for one in found]
        made.append(
            Line(
                source=source,
                sampler=sampler,
                weights=weights,
                errors={form: pooled([one["errors"][form] for one in found]) for form in FORMS},
                total=(
                    1 + float(np.mean([one["bias"] for one in ones])),
                    float(np.mean([one["sd"] ** 2 for one in ones])) ** 0.5,
                ),
                ess=float(np.mean([one["ess"] for one in found])),
                scale=float(np.mean([one["scale"] for one in found])),
                batch=found[0]["batch"],
            )
        )
    return made


def pooled(errors: Sequence[Mapping[str, Mapping[str, float]]]) -> dict[str, float]:
    """Return bias, sd and RMSE as root mean squares over measurements and over every function but `one`.

    The bias is freed of the noise of its own estimate, as far as that goes: at least 0.
    """
    each = [of[name] for of in errors for name in FUNCTIONS[1:]]
    squares = {key: np.array([one[key] ** 2 for one in each]) for key in ("bias", "noise", "sd", "rmse")}
    return {
        "bias": max(float(np.mean(squares["bias"] - squares["noise"])), 0.0) ** 0.5,
        "sd": float(np.mean(squares["sd"])) ** 0.5,
        "rmse": float(np.mean(squares["rmse"])) ** 0.5,
    }
