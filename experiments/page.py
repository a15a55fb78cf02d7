"""report.html: one page, self-contained."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

from experiments import tables
from experiments.contenders import CPU, GPU, HEADS
from experiments.speedups import QUANTITIES, share
from experiments.study import Row
from hwsim import units

FIGURES = {
    "latency": "Latency of one sampling against the size of the buffer, log-log, a line a machine: AMPER solid, "
    "designs for a chip dotted, trees on GPU and CPU dashed. Bands: launch times of 2.6 to 10 us.",
    "phases": "Share of one sampling's latency by component, a bar a machine, a panel a family.",
    "assumptions": "What one technology number, moved alone from one end of its declared interval to the other, makes "
    "of three ratios; the largest above, those that move nothing left out.",
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
<h2>The answer</h2><div class="verdict">{verdict}</div>
<h2>Speedup over what replays run on today</h2>
<p>Latency of one sampling, and of a step: a sampling and the update that follows it. Against a sum tree on a GTX 1080
in four qualities (modelled), on an H100 (measured: {gpu}) and against this library's own on one CPU core (measured:
preset {cpu}). In brackets 95% of {n_draws} draws of all technology numbers within their declared uncertainty, launch
times of {low} to {high} us among them. A ratio is the baseline's latency over the machine's, its terms
below it; under 1x the baseline is faster. Energy and area of GPU and CPU: n/a.</p>
<div class="wide">{off_chip}</div>
<h2>Speedup over what else could be built on a chip (modelled)</h2>
<p>The same, with energy and area, against an exact sum tree in SRAM, and against rejection: reading random rows until
enough of them lie in the ranges that AMPER-fr would have searched. Rejection has the law of the searches it serves and
stands against those; it cannot serve AMPER-k's.</p>
<div class="wide">{on_chip}</div>
<h2>Figures</h2>{figures}
<h2>Every machine</h2><div class="wide">{machines}</div>
<h2>The tree on other GPUs, n = {largest:,}</h2>
<p>Launches dominate, and their time is assumed alike on every GPU; memory latencies differ.</p>
<div class="wide">{gpus}</div>
<h2>How to read this</h2>
<ul>
<li>n is a prefix of the one run: up to its n-th transition, and the whole run where n is the capacity.
Latencies are medians over the last {n_window} samplings of the prefix, when the buffer is as full as it
gets; energies are means over them.</li>
<li>Other samplers saw the same writes and batch sizes; nothing was resampled.</li>
<li>AMPER machines: {n_banks} banks, each with a write port, {rows_per_array}-row arrays, {clock_ghz:g} GHz; readout csb
through {n_csb_ports} port(s) where no other is named; rank_select keeps the counts of {n_groups} groups. The paper's
own micro-architecture, array sizes, m and lambda are not public: these are this project's.</li>
<li>AMPER-fr: tapered groups, 7 octaves in 8, 4, 2, ... parts, lambda' .5; linear: 20 groups of equal width, lambda'
.15, the paper's form in our numbers. A candidate set's size is the sampler's choice and the agent's priorities';
latency follows it.</li>
<li>On-chip machines run at the same clock in 45 nm CMOS: the tree draws once, or writes a row, a cycle; a lane of
rejection tries, or writes, a row a cycle. {given_up}</li>
<li>Rows by formula were checked by event simulation on samplings of every window: largest difference {difference} fs.
{by_events}</li>
<li>Energy is what the work takes. Leakage a step is what the whole machine leaks over the step's latency, one step
right after the other, at 350 K, nothing gated; FeFET arrays could be gated where they idle. Endurance is that of the
row written most often in the prefix, in TCAM cells that survive a number of writes (assumed); n/a: no limit.</li>
<li>Gathering the sampled rows costs every machine the same, follows each sampling, and is in no speedup and no
step.</li>
<li>Every number here is modelled but the H100's and the CPU's trees, measured with warm code, each op alone; 55x to
270x is cited. An H100's fused kernel takes 8 times as long where Python launches it, and half as long where launches
are hidden behind other work (<code>amper validate</code>). What a
model cannot know prints n/a.</li>
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


def page(document: Mapping[str, Any], drawings: Mapping[str, str]) -> str:
    """Return the report as one HTML page; `drawings` are <svg> elements by name."""
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
    built = next(row["parameters"] for row in rows if row["key"] == "amper-fr-rank")
    csb = next(row["parameters"] for row in rows if row["key"] == "amper-fr")
    return _PAGE.format(
        style=_STYLE,
        recording=html.escape(document["recording"]),
        evaluation=document["evaluation"],
        n_samplings=document["n_samplings"],
        batch_size=rows[0]["batch_size"],
        quick=quick,
        verdict="".join(f"<p>{html.escape(text)}</p>" for text in document["verdict"].split("\n\n")),
        low=low,
        high=high,
        cpu=CPU,
        gpu=GPU,
        n_draws=document["n_draws"],
        off_chip=tables.off_chip(document["speedups"]),
        on_chip=tables.on_chip(document["speedups"]),
        figures=figures,
        machines=tables.machines(rows),
        largest=largest,
        gpus=tables.gpus(document["gpus"]),
        n_window=rows[0]["n_samplings"],
        given_up=_given_up(rows),
        difference=max(row["difference_fs"] for row in rows if row["checked_by"] == "burst"),
        by_events=_by_events(rows),
        n_csb_ports=csb["n_csb_ports"],
        **{key: built[key] for key in ("n_groups", "n_banks", "rows_per_array", "clock_ghz")},
        command=html.escape(document["command"]),
        version=html.escape(document["version"]),
    )


def _given_up(rows: Sequence[Row]) -> str:
    """Say whether rejection ever gave up, which makes it look faster than it draws."""
    gave = [f"{row['n_given_up']} of {row['n_samplings']}" for row in rows if row["n_given_up"]]
    return f"Rejection gave up in {', '.join(gave)} samplings and drew uniformly there." if gave else ""


def _by_events(rows: Sequence[Row]) -> str:
    """Say which machines no formula covers, and what checked them."""
    mine = [row for row in rows if row["fidelity"] != "closed"]
    if not mine:
        return ""
    labels = ", ".join(dict.fromkeys(row["label"] for row in mine))
    checked = [row["difference_fs"] for row in mine if row["checked_by"]]
    found = f", checked array by array on a few samplings: largest difference {max(checked)} fs" if checked else ""
    return f"Where two ranks meet in one array no formula holds: {html.escape(labels)} by events{found}."


def _alternative_texts(document: Mapping[str, Any], largest: int) -> dict[str, str]:
    rows = [row for row in document["rows"] if row["n"] == largest and row["drawn"]]
    ordered = sorted(rows, key=lambda row: row["sample_fs"])
    ends = ", ".join(f"{row['label']} {units.format_time(row['sample_fs'])}" for row in ordered)
    parts = "; ".join(
        f"{row['label']}: " + ", ".join(f"{name} {part:.0%}" for name, part in share(row).items()) for row in rows
    )
    laws = ", ".join(f"{law['sampler']} {law['divergence']:.3g}" for law in document["laws"])
    return {
        "latency": f"{FIGURES['latency']} At n = {largest:,}, fastest first: {ends}.",
        "phases": f"{FIGURES['phases']} At n = {largest:,}: {parts}.",
        "assumptions": f"{FIGURES['assumptions']} {_ranked(document['assumptions'])}",
        "law": f"{FIGURES['law']} KL to PER: {laws}.",
    }


def _ranked(assumptions: Sequence[Row]) -> str:
    """Name the assumption that moves each ratio most."""
    first = {(row["label"], row["against"], row["quantity"]): row for row in reversed(assumptions)}
    return " ".join(
        f"{HEADS[against]} over {label}, {QUANTITIES[quantity][1]}: {row['name']}, {row['ratios'][0]:.3g} to "
        f"{row['ratios'][1]:.3g}."
        for (label, against, quantity), row in reversed(first.items())
    )
