"""What `amper calibrate-cpu` and `amper calibrate-gpu` do: measure, write the file, and say how to use it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.study import Row, Stage


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """A measurement that was written.

    Parameters
    ----------
    title : str
        What the table shows.
    columns, lines : sequences of text
        The table.
    notes : str
        What follows it.
    document : dict
        All of it, JSON-serialisable.
    failure : str
        Why it must not count as done; empty where it may.
    """

    title: str
    columns: Sequence[str]
    lines: Sequence[Sequence[str]]
    notes: str
    document: dict[str, Any]
    failure: str = ""


def cpu(n: Sequence[int] | None, batch: Sequence[int] | None, out: Path, quick: bool, stage: Stage) -> Calibration:
    """Return this machine's own sum tree, timed on one core, and written as a technology file."""
    from experiments import cpu_calibration as timed

    path = timed.checked_path(out)  # before the work, not after it
    sizes = n or (timed.QUICK_SIZES if quick else timed.SIZES)
    n_runs = timed.N_QUICK_RUNS if quick else timed.N_RUNS
    rows = timed.measure(sizes, batch or timed.BATCHES, n_runs=n_runs, stage=stage)
    timed.write_technology(path, rows)
    use = f"amper latency --n {max(sizes)} --machine sumtree-cpu:technology={path}"
    columns, lines = timed.table(rows)
    return Calibration(
        title=f"One op of b rows on one core of {timed.cpu()}: call + b * row, measured.",
        columns=columns,
        lines=lines,
        notes=f"Written: {path}\nUse it: {use}",
        document={"cpu": timed.cpu(), "written": str(path), "use": use, "rows": rows},
    )


def gpu(n: Sequence[int] | None, batch: Sequence[int] | None, out: Path, quick: bool, stage: Stage) -> Calibration:
    """Return sum trees timed on the CUDA GPU at hand, and written as a measurement.

    Raises
    ------
    OSError
        If there is no such GPU.
    """
    from hwsim import calibrate, measurement
    from hwsim.calibrate_device import require_gpu

    path = measurement.checked_path(out)  # before the work, not after it
    require_gpu()
    found = calibrate.measure(
        n or (calibrate.QUICK_SIZES if quick else calibrate.SIZES),
        batch or (calibrate.QUICK_BATCHES if quick else calibrate.BATCHES),
        calibrate.N_QUICK_OPS if quick else calibrate.N_OPS,
        stage=stage,
    )
    measurement.write(path, found)
    sizes = [row["n"] for row in found["rows"]] or [0]
    use = f"amper latency --n {max(sizes)} --machine sumtree-gpu:measurement={path},quality=fused"
    absent = [f"Not measured: {name}: {reason}" for name, reason in found["absent"].items()]
    wrong = [f"{name}: {reason}" for name, reason in found["mismatches"].items()]
    return Calibration(
        title=f"One op of b rows on {found['gpu']['name']}: medians, microseconds.",
        columns=("variant", "op", "n", "b", "idle", "queued", "device", "host"),
        lines=[_line(row) for row in found["rows"]],
        notes="\n".join([*absent, f"Written: {path}", f"Use it: {use}"]),
        document={"written": str(path), "use": use, **found},
        failure="; ".join(wrong) and f"results must equal the CPU's, got {'; '.join(wrong)} ({path} has the others)",
    )


def _line(row: Row) -> tuple[str, ...]:
    times = (f"{row[figure]['median']:.2f}" for figure in ("idle_us", "queued_us", "device_us", "host_us"))
    return (row["variant"], row["kind"], f"{row['n']:,}", str(row["b"]), *times)
