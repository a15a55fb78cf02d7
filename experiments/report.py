"""The speedup report as files: report.html (self-contained), PNG figures, rows.csv, summary.json."""

from __future__ import annotations

import csv
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

from experiments.contenders import HEADS
from experiments.page import page
from experiments.plots import base, latency, law, tornado
from experiments.speedups import QUANTITIES
from experiments.study import Row
from hwsim import units

#: Baselines and quantities as figures call them.
_NAMES = {**HEADS, **{quantity: words for quantity, (_, words) in QUANTITIES.items()}}


def make_folder(folder: Path) -> None:
    """Make the folder, and raise ValueError where nothing can be written into it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ValueError(f"out must be a folder that can be written, got {str(folder)!r}: {error}") from error


def write(result: Row, folder: Path, *, command: str, version: str) -> dict[str, Path]:
    """Write the report of one `speedup-report` row into `folder`; return what was written, by name.

    Raises
    ------
    ValueError
        If the folder cannot be written.
    """
    make_folder(folder)
    rows = result["rows"]
    drawn = [row for row in rows if row["drawn"]]
    largest = max(row["n"] for row in rows)
    figures = {
        "latency": latency.latency_figure(drawn),
        "phases": latency.phases_figure([row for row in drawn if row["n"] == largest]),
        "assumptions": tornado.tornado_figure(result["assumptions"], _NAMES),
        "law": law.law_figure(result["laws"]),
    }
    written = {}
    for name, figure in figures.items():
        written[name] = folder / f"{name}.png"
        base.save_png(figure, str(written[name]))
    written["rows"] = folder / "rows.csv"
    _write_csv(rows, written["rows"])
    written["summary"] = folder / "summary.json"
    document = {"command": command, "version": version, **result}
    written["summary"].write_text(json.dumps(document, indent=1), encoding="utf-8")
    written["report"] = folder / "report.html"
    drawings = {name: base.svg(figure) for name, figure in figures.items()}
    written["report"].write_text(page(document, drawings), encoding="utf-8")
    return written


def _write_csv(rows: Sequence[Row], path: Path) -> None:
    """Write a line a machine and size; times in nanoseconds, energy in picojoules; empty where not known."""
    times = ("sample", "sample_p10", "sample_p90", "low", "high", "update", "insert", "fetch", "step")
    energies = ("sample", "update", "step", "step_leakage")
    plain = ("label", "machine", "n", "batch_size", "n_samplings", "n_valid")
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(
            [*plain, "csp_fraction", *(f"{t}_ns" for t in times), *(f"{e}_pj" for e in energies), "area_um2",
             "leakage_uw", "endurance_years", "fidelity", "checked_by", "difference_fs", "source"]
        )  # fmt: skip
        for row in rows:
            low, high = row["interval_fs"] or (None, None)
            fs = [{"low": low, "high": high}[t] if t in ("low", "high") else row[f"{t}_fs"] for t in times]
            ns = [None if time is None else units.ns_from_fs(time) for time in fs]
            pj = [units.pj_from_aj(row[f"{e}_aj"]) for e in energies]
            checked = [row["checked_by"] or "", "" if row["difference_fs"] is None else row["difference_fs"]]
            writer.writerow(
                [*(row[key] for key in plain), _digits(row["csp_fraction"], 4), *map(_digits, ns), *map(_digits, pj),
                 _digits(row["area_um2"]), _digits(row["leakage_uw"]),
                 _digits(row["endurance_years"]), row["fidelity"], *checked, row["source"]]
            )  # fmt: skip


def _digits(value: float | None, n: int = 6) -> str:
    return "" if value is None else f"{value:.{n}g}"
