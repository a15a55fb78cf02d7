"""The speedup report as files: report.html (self-contained), PNG figures, rows.csv, summary.json."""

from __future__ import annotations

import csv
import html
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.plots import base, latency, law
from experiments.speedups import QUALITY_WORDS, share
from experiments.study import Row
from hwsim import units

FIGURES = {
    "latency": "Latency of one sampling against the size of the buffer, log-log, a line a machine. Bands: launch "
    "times of 2.6 to 10 us.",
    "phases": "Share of one sampling's latency by component, a bar a machine.",
    "law": "Chance of a transition to be drawn against its mass, a line a sampler; PER is the diagonal. Bands: "
    "10% to 90% of the transitions of a bin, cut at the axis where a chance is 0.",
}
_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:66rem;margin:2rem auto;padding:0 1rem;color:#1b1b1b}
h1{font-size:1.6rem;margin-bottom:.2rem} h2{font-size:1.15rem;margin-top:2.2rem} .lead{color:#555}
svg{width:100%;height:auto} figure{margin:1rem 0} figcaption{color:#555;font-size:.9rem}
.wide{overflow-x:auto} table{border-collapse:collapse;font-size:.85rem;width:100%}
td,th{padding:.3rem .45rem;border-bottom:1px solid #e2e2e2;text-align:left;white-space:nowrap}
th{white-space:normal;vertical-align:bottom}
td.number,th.number{text-align:right;font-variant-numeric:tabular-nums} .terms{color:#666;display:block}
.verdict{background:#f4f7fb;border-left:4px solid #0072B2;padding:.8rem 1rem}
"""

_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Speedup of associative-memory replay</title><style>{style}</style></head><body>
<h1>How much faster would associative-memory replay have been?</h1>
<p class="lead">Recorded: {recording}; its selected checkpoint earns {evaluation:.0f}. The replay's own trace,
{n_samplings:,} samplings of {batch_size}, is put through each machine.</p>
{quick}
<h2>The answer</h2><p class="verdict">{verdict}</p>
<h2>Speedup of one sampling (modelled)</h2>
<p>Against a sum tree on a GTX 1080 in four qualities; in brackets the interval over launch times of {low} to
{high} us; below each ratio its two terms.</p>
<div class="wide">{speedups}</div>
<h2>Figures</h2>{figures}
<h2>Every machine</h2><div class="wide">{machines}</div>
<h2>The tree on other GPUs, n = {largest:,}</h2>
<p>Launches dominate, and their time is assumed alike on every GPU; memory latencies differ.</p>
<div class="wide">{gpus}</div>
<h2>How to read this</h2>
<ul>
<li>n is a prefix of the one run: up to its n-th transition, and the whole run where n is the capacity.
Latencies are medians over the last {n_window} samplings of the prefix, when the buffer is as full as it
gets.</li>
<li>Other samplers saw the same writes and batch sizes; nothing was resampled.</li>
<li>AMPER machines: {readout} readout, {n_banks} banks, {n_csb_ports} port(s), {rows_per_array}-row arrays,
{clock_ghz:g} GHz. The paper's own micro-architecture, array sizes, m and lambda are not public: these are this
project's.</li>
<li>AMPER-fr: tapered groups, 7 octaves in 8, 4, 2, ... parts, lambda' .5; linear: 20 groups of equal width, lambda'
.15, the paper's form in our numbers. A candidate set's size is the sampler's choice and the agent's priorities';
latency follows it.</li>
<li>The formula was checked by event simulation on samplings of every window: largest difference
{difference} fs.</li>
<li>Gathering the sampled rows costs every machine the same, follows each sampling, and is in no speedup.</li>
<li>Every latency here is modelled; 55x to 270x is cited. What a model cannot know prints n/a.</li>
<li>One run, one seed: <code>amper report --seed 1</code> records another; n also says how far training had got.</li>
</ul>
<h2>What next</h2>
<p>Another port, bank or technology: <code>amper latency --machine amper-fr:n_csb_ports=8,n_banks=8</code>. Every
number and its source: <code>amper tech evacam-fefet45</code>. Whether agents learn as well:
<code>amper compare</code>.</p>
<p class="lead">Made by <code>{command}</code>, version {version}.</p>
</body></html>
"""
FULL = 20_000


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
    largest = max(row["n"] for row in rows)
    figures = {
        "latency": latency.latency_figure(rows),
        "phases": latency.phases_figure([row for row in rows if row["n"] == largest]),
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
    written["report"].write_text(_page(document, drawings), encoding="utf-8")
    return written


def _write_csv(rows: Sequence[Row], path: Path) -> None:
    """Write a line a machine and size; times in nanoseconds, energy in picojoules; empty where not known."""

    def ns(fs: float | None) -> str:
        return "" if fs is None else f"{units.ns_from_fs(fs):.6g}"  # type: ignore[arg-type]

    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(
            ["label", "machine", "n", "batch_size", "n_samplings", "n_valid", "csp_fraction", "sample_ns",
             "sample_p10_ns", "sample_p90_ns", "low_ns", "high_ns", "update_ns", "insert_ns", "fetch_ns",
             "sample_pj", "area_um2", "source"]
        )  # fmt: skip
        for row in rows:
            low, high = row["interval_fs"] or (None, None)
            energy = "" if row["sample_aj"] is None else f"{units.pj_from_aj(row['sample_aj']):.6g}"
            csp = "" if row["csp_fraction"] is None else f"{row['csp_fraction']:.4g}"
            area = "" if row["area_um2"] is None else f"{row['area_um2']:.6g}"
            writer.writerow(
                [row["label"], row["machine"], row["n"], row["batch_size"], row["n_samplings"], row["n_valid"],
                 csp, ns(row["sample_fs"]), ns(row["sample_p10_fs"]),
                 ns(row["sample_p90_fs"]), ns(low), ns(high), ns(row["update_fs"]), ns(row["insert_fs"]),
                 ns(row["fetch_fs"]), energy, area, row["source"]]
            )  # fmt: skip


def _page(document: Mapping[str, Any], drawings: Mapping[str, str]) -> str:
    rows, largest = document["rows"], max(row["n"] for row in document["rows"])
    texts = _alternative_texts(document, largest)
    figures = "".join(
        f'<figure role="img" aria-label="{html.escape(texts[name], quote=True)}">'
        + drawing.replace("<svg", '<svg aria-hidden="true"', 1)
        + f"<figcaption>{html.escape(FIGURES[name])}</figcaption></figure>"
        for name, drawing in drawings.items()
    )
    quick = (
        f"<p><b>Quick report:</b> a run of {largest:,} steps of its own, and n = {largest:,} only.</p>"
        if largest < FULL
        else ""
    )
    low, high = document["t_op_interval_us"]
    return _PAGE.format(
        style=_STYLE,
        recording=html.escape(document["recording"]),
        evaluation=document["evaluation"],
        n_samplings=document["n_samplings"],
        batch_size=rows[0]["batch_size"],
        quick=quick,
        verdict=html.escape(document["verdict"]),
        low=low,
        high=high,
        speedups=_speedup_table(document["speedups"]),
        figures=figures,
        machines=_machine_table(rows),
        largest=largest,
        gpus=_gpu_table(document["gpus"]),
        n_window=rows[0]["n_samplings"],
        difference=max(row["event_difference_fs"] for row in rows),
        **{
            key: rows[0]["parameters"][key]
            for key in ("readout", "n_banks", "n_csb_ports", "rows_per_array", "clock_ghz")
        },
        command=html.escape(document["command"]),
        version=html.escape(document["version"]),
    )


def _alternative_texts(document: Mapping[str, Any], largest: int) -> dict[str, str]:
    rows = [row for row in document["rows"] if row["n"] == largest]
    ordered = sorted(rows, key=lambda row: row["sample_fs"])
    ends = ", ".join(f"{row['label']} {units.format_time(row['sample_fs'])}" for row in ordered)
    parts = "; ".join(
        f"{row['label']}: " + ", ".join(f"{name} {part:.0%}" for name, part in share(row).items()) for row in rows
    )
    laws = ", ".join(f"{law['sampler']} {law['divergence']:.3g}" for law in document["laws"])
    return {
        "latency": f"{FIGURES['latency']} At n = {largest:,}, fastest first: {ends}.",
        "phases": f"{FIGURES['phases']} At n = {largest:,}: {parts}.",
        "law": f"{FIGURES['law']} KL to PER: {laws}.",
    }


def _speedup_table(speedups: Sequence[Mapping[str, Any]]) -> str:
    head = "".join(f"<th scope=col>{html.escape(words)}</th>" for words in QUALITY_WORDS.values())
    body = []
    for label, n in dict.fromkeys((s["label"], s["n"]) for s in speedups):
        mine = {s["quality"]: s for s in speedups if (s["label"], s["n"]) == (label, n)}
        cells = "".join(_speedup_cell(mine[quality]) for quality in QUALITY_WORDS)
        latency = units.format_time(next(iter(mine.values()))["machine_fs"])
        body.append(
            f"<tr><td>{html.escape(label)}</td><td class=number>{n:,}</td><td class=number>{latency}</td>{cells}</tr>"
        )
    first = "<th scope=col>machine</th><th scope=col class=number>n</th><th scope=col class=number>latency</th>"
    return f"<table><tr>{first}{head}</tr>{''.join(body)}</table>"


def _speedup_cell(s: Mapping[str, Any]) -> str:
    ratio, _, rest = str(s["text"]).partition(" ")
    interval, _, terms = rest.partition(" = ")
    lines = "".join(f"<span class=terms>{html.escape(line)}</span>" for line in (interval, terms))
    return f"<td><b>{html.escape(ratio)}</b>{lines}</td>"


def _gpu_table(rows: Sequence[Row]) -> str:
    head = "".join(f"<th scope=col>{html.escape(words)}</th>" for words in QUALITY_WORDS.values())
    body = []
    for gpu in dict.fromkeys(row["gpu"] for row in rows):
        mine = {row["quality"]: row for row in rows if row["gpu"] == gpu}
        body.append(f"<tr><td>{gpu}</td>{''.join(_gpu_cell(mine[quality]) for quality in QUALITY_WORDS)}</tr>")
    return f"<table><tr><th scope=col>GPU</th>{head}</tr>{''.join(body)}</table>"


def _gpu_cell(row: Row) -> str:
    low, high = (units.format_time(fs) for fs in row["interval_fs"])
    return f"<td>{units.format_time(row['sample_fs'])}<span class=terms>[{low} .. {high}]</span></td>"


def _machine_table(rows: Sequence[Row]) -> str:
    head = "".join(
        f"<th scope=col>{name}</th>"
        for name in (
            "machine",
            "n",
            "CSP",
            "sample",
            "update",
            "insert",
            "fetch",
            "energy a sample",
            "area",
            "source",
        )
    )
    body = "".join(
        f"<tr><td>{html.escape(row['label'])}</td><td class=number>{row['n']:,}</td>"
        f"<td class=number>{_csp(row)}</td>"
        + "".join(
            f"<td class=number>{units.format_time(row[f'{kind}_fs'])}</td>"
            for kind in ("sample", "update", "insert", "fetch")
        )
        + f"<td class=number>{units.format_energy(row['sample_aj'])}</td>"
        f"<td class=number>{units.format_area(row['area_um2'])}</td><td>{row['source']}</td></tr>"
        for row in rows
    )
    return f"<table><tr>{head}</tr>{body}</table>"


def _csp(row: Row) -> str:
    return "none" if row["csp_fraction"] is None else f"{row['csp_fraction']:.1%}"
