"""Time the library's own sum tree on this machine's CPU, and write what `hwsim.machine("sumtree-cpu")` reads.

Priorities are exponential, at most 8, on a full buffer; every op is timed alone, in turn a sampling, an update and an
insert. Updates go to slots that come again only once all had their turn, so that none lies in a cache by favour;
inserts go round the ring, as they do in a replay. Code, uppermost nodes and the arrays handed in, new ones each time,
are warm.

A figure is the median over runs of 64 ops of a run's mean. The median of single ops would leave out what only some of
them pay: every 1,024 uniform numbers the sampler makes the next 1,024, up to a fifth of what drawing takes.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import platform
import re
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import nnls

from experiments.study import Row, Stage, no_stage

if TYPE_CHECKING:
    from amper.protocols import Sampler

Int64 = npt.NDArray[np.int64]
Float64 = npt.NDArray[np.float64]

SIZES = (1_000, 10_000, 100_000, 1_000_000, 10_000_000)
QUICK_SIZES = (1_000, 10_000)
BATCHES = (1, 16, 32, 64, 128, 256, 512)  # inserts of 1 row are what a lone environment makes
N_RUNS, N_QUICK_RUNS = 100, 10
OPS = ("sample", "update", "insert")
_ALPHA, _LARGEST, _CHUNK = 0.6, 8.0, 100_000
_RUN = 64  # ops of a run


def measure(
    sizes: Sequence[int] = SIZES,
    batches: Sequence[int] = BATCHES,
    n_runs: int = N_RUNS,
    seed: int = 0,
    stage: Stage = no_stage,
) -> list[Row]:
    """Return a row a size and op: medians, and the line call + b * row through them.

    Parameters
    ----------
    sizes : sequence of int
        Transitions held; each at least the largest batch.
    batches : sequence of int
        Rows of one op, two sizes at least.
    n_runs : int
        Runs of 64 ops timed for each size, op and batch, the batches taking turns so that all share a bad moment.
    seed : int
        Of priorities, slots and draws.
    stage : callable
        Told how far the work is.

    Returns
    -------
    list of dict
        `n`, `op`, `call_ns`, `row_ns`; `median_ns` by batch; `worst`, the largest relative deviation of the line
        from a median; `n_runs`.

    Raises
    ------
    ValueError
        If there is no size, a size is too small, batches cannot carry a line, or there is no run.
    """
    batches = sorted(set(batches))
    if len(batches) < 2 or batches[0] < 1:
        raise ValueError(f"batches must be two different sizes or more, each at least 1, got {batches!r}")
    if not sizes or min(sizes) < batches[-1]:
        raise ValueError(f"n must be at least the largest batch timed, {batches[-1]}, got {list(sizes)!r}")
    if n_runs < 1:
        raise ValueError(f"n_runs must be at least 1, got {n_runs!r}")
    rows = []
    sizes = sorted(set(sizes))
    for i, n in enumerate(sizes):
        stage("timing the sum tree", i, len(sizes))
        rng = np.random.default_rng((seed, n))
        sampler = _full_sampler(n, rng)
        of_batch = _medians(sampler, n, batches, n_runs, rng)
        for op, medians in zip(OPS, of_batch.T, strict=True):
            call, row, worst = fit(np.array(batches), medians)
            by_batch = dict(zip(batches, medians.tolist(), strict=True))
            rows.append({"n": n, "op": op, "call_ns": call, "row_ns": row, "median_ns": by_batch, "worst": worst,
                         "n_runs": n_runs})  # fmt: skip
    stage("timing the sum tree", len(sizes), len(sizes))
    return rows


def fit(batches: Int64, medians: Float64) -> tuple[float, float, float]:
    """Return (call, row, worst relative deviation) of the line call + b * row, neither term negative.

    Least squares of the relative deviations, so that the largest batch does not decide alone.

    Examples
    --------
    >>> call, row, worst = fit(np.array([16, 64, 512]), 1_000 + 20.0 * np.array([16, 64, 512]))
    >>> round(call), round(row), round(worst, 6)
    (1000, 20, 0.0)
    """
    design = np.stack([np.ones(len(batches)), batches], axis=1) / medians[:, None]
    (call, row), _ = nnls(design, np.ones(len(batches)))
    worst = np.max(np.abs(design @ (call, row) - 1))
    return float(call), float(row), float(worst)


def table(rows: Sequence[Row]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return the columns and lines that show what `measure` returned."""
    batches = list(rows[0]["median_ns"])
    shown = [b for b in batches if b in (64, batches[-1])]
    lines = [
        (
            f"{row['n']:,}", row["op"], f"{row['call_ns']:.0f} ns", f"{row['row_ns']:.1f} ns", f"{row['worst']:.1%}",
            *(f"{row['median_ns'][b] / 1000:.2f} us" for b in shown),
        )
        for row in rows
    ]  # fmt: skip
    return ("n", "op", "call", "a row", "line off by at most", *(f"median at b = {b}" for b in shown)), lines


def write_technology(path: str | Path, rows: Sequence[Row]) -> None:
    """Write what `measure` returned as a technology file of kind "cpu".

    Raises
    ------
    ValueError
        If the path does not end in .toml, or lies in no folder.
    """
    path = checked_path(path)
    lines = [
        "# Time of one op of b rows on one core = call + b * row. Fitted by `amper calibrate-cpu`; not by hand.",
        f"title = {_text(f'The library itself: its sum tree (sampler per) on one core of {cpu()}')}",
        'kind = "cpu"',
    ]
    for n in dict.fromkeys(row["n"] for row in rows):
        lines += ["", f"[n{n}]"]
        for row in (r for r in rows if r["n"] == n):
            for part in ("call", "row"):
                value = f"{row[f'{part}_ns']:.2f}"
                lines.append(
                    f'{row["op"]}_{part}_ns = {{ value = {value}, unit = "ns", source = {_text(_source(row))} }}'
                )
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def checked_path(path: str | Path) -> Path:
    """Return where a technology file can be written; refuse what cannot be before any work."""
    path = Path(path)
    if path.suffix != ".toml" or path.is_dir() or not os.access(path.parent, os.W_OK):
        raise ValueError(f"out must be a .toml file in a folder that can be written, got {str(path)!r}")
    return path


def cpu() -> str:
    """Return the CPU's name, with family and model where Linux tells them: some machines hide the rest."""
    try:
        found = dict(re.findall(r"^(model name|cpu family|model)\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.M))
    except OSError:
        found = {}
    if len(found) < 3:
        return found.get("model name") or platform.processor() or platform.machine()
    return f"{found['model name']} (family {found['cpu family']}, model {found['model']})"


def _text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)  # a basic string of TOML is spelled as JSON's


def _source(row: Row) -> str:
    batches = list(row["median_ns"])
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("numpy", "numba"))
    return (
        f"measured: {cpu()}, Python {platform.python_version()}, {versions}; line through medians of "
        f"{row['n_runs']} runs of {_RUN} ops at b = {batches[0]}..{batches[-1]}, off by at most {row['worst']:.0%}"
    )


# -- timing ---------------------------------------------------------------------------------------------
def _full_sampler(n: int, rng: np.random.Generator) -> Sampler:
    from amper import samplers

    sampler = samplers.make("per", n, seed=0, full_scale=_LARGEST**_ALPHA)
    for first in range(0, n, _CHUNK):
        slots = np.arange(first, min(first + _CHUNK, n))
        sampler.insert(slots, _codes(sampler, rng, len(slots)), at_maximum=False)
    return sampler


def _codes(sampler: Sampler, rng: np.random.Generator, k: int) -> Int64:
    priorities = np.minimum(rng.exponential(size=k), _LARGEST)
    return sampler.format.encode(priorities, _ALPHA, sampler.format.start)[0]


def _medians(sampler: Sampler, n: int, batches: Sequence[int], n_runs: int, rng: np.random.Generator) -> Float64:
    """Return float64[batches, 3]: nanoseconds of a sampling, an update and an insert, medians over runs."""
    means = np.empty((n_runs, len(batches), 4))
    turn, newest = _Turn(n, rng), 0
    for i in range(-1, n_runs):  # run -1 warms up; run 0 overwrites it
        for k, b in enumerate(batches):
            to_update = np.stack([turn.take(b).copy() for _ in range(_RUN)])
            to_insert = (newest + np.arange(_RUN * b)).reshape(_RUN, b) % n
            newest = (newest + _RUN * b) % n
            codes = _codes(sampler, rng, 2 * _RUN * b).reshape(2, _RUN, b)
            with _no_collection():
                arrays = zip(to_update, codes[0], to_insert, codes[1], strict=True)
                times = [_one_round(sampler, b, *of_round) for of_round in arrays]
            means[max(i, 0), k] = np.mean(times, axis=0)
    medians = np.median(means, axis=0)
    least: Float64 = np.maximum(medians[:, 1:] - medians[:, :1], 1.0)  # less what the clock itself takes
    return least


def _one_round(sampler: Sampler, b: int, *arrays: Any) -> tuple[int, int, int, int]:
    """Return the time of nothing, of a sampling, of an update and of an insert, nanoseconds."""
    updated, for_update, inserted, for_insert = arrays
    t0 = perf_counter_ns()
    t1 = perf_counter_ns()
    sampler.sample(b)
    t2 = perf_counter_ns()
    sampler.update(updated, for_update)
    t3 = perf_counter_ns()
    sampler.insert(inserted, for_insert, at_maximum=False)
    t4 = perf_counter_ns()
    return t1 - t0, t2 - t1, t3 - t2, t4 - t3


class _Turn:
    """Slots in random order, that come again only once all had their turn."""

    def __init__(self, n: int, rng: np.random.Generator) -> None:
        self._slots, self._rng, self._at = rng.permutation(n), rng, 0

    def take(self, b: int) -> Int64:
        """Return the next `b` slots, all different; to be read before the next call."""
        if self._at + b > len(self._slots):
            self._rng.shuffle(self._slots)
            self._at = 0
        self._at += b
        return self._slots[self._at - b : self._at]


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
