"""The tables of report.html."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from experiments.contenders import HEADS, OFF_CHIP, ON_CHIP
from experiments.measures import STEPS_PER_SECOND
from experiments.speedups import QUANTITIES
from experiments.study import Row
from hwsim import units
from hwsim.machines.gpu_sumtree import QUALITIES

#: What a cell of a speedup table lists below its first ratio.
_LISTED_OFF_CHIP = ("sample", "step")
_LISTED_ON_CHIP = ("sample", "update", "step", "step_energy", "step_energy_total", "area")


def off_chip(speedups: Sequence[Mapping[str, Any]]) -> str:
    """Return every AMPER machine against the GPU's trees and the CPU's: latency of a sampling, of a step."""
    return _speedups(speedups, OFF_CHIP, _LISTED_OFF_CHIP)


def on_chip(speedups: Sequence[Mapping[str, Any]]) -> str:
    """Return every AMPER machine against the designs for a chip: latency, energy, area."""
    return _speedups(speedups, ON_CHIP, _LISTED_ON_CHIP)


def _speedups(speedups: Sequence[Mapping[str, Any]], against: Iterable[str], quantities: Sequence[str]) -> str:
    found = {(s["label"], s["n"], s["against"], s["quantity"]): s for s in speedups}
    latency = {(s["label"], s["n"]): s["ours"] for s in speedups if s["quantity"] == "sample"}
    body = "".join(
        f"<tr><td>{html.escape(label)}</td><td class=number>{n:,}</td>"
        f"<td class=number>{units.format_time(ours)}</td>"
        + "".join(_cell([found.get((label, n, key, q)) for q in quantities]) for key in against)
        + "</tr>"
        for (label, n), ours in latency.items()
    )
    return _table(["machine", "n", "latency (modelled)", *(HEADS[key] for key in against)], body)


def _cell(ratios: Sequence[Mapping[str, Any] | None]) -> str:
    """Return the ratio of the sampling latencies, its interval and terms; the other quantities below it."""
    first, *others = ratios
    if first is None:
        return f"<td>{units.NOT_AVAILABLE}</td>"
    ratio, interval, terms = _parts(first)
    lines = [interval, terms]
    for other in (s for s in others if s):
        factor, band, both = _parts(other)
        name = QUANTITIES[other["quantity"]][1]
        lines += [f"{name} {factor} {band}", both] if band else [f"{name} {factor} = {both}"]
    below = "".join(f"<span class=terms>{html.escape(line)}</span>" for line in lines if line)
    return f"<td><b>{html.escape(ratio)}</b>{below}</td>"


def _parts(speedup: Mapping[str, Any]) -> tuple[str, str, str]:
    """Return the ratio, its interval, which may be empty, and its terms."""
    ratio, _, rest = str(speedup["text"]).partition(" ")
    interval, _, terms = rest.rpartition("= ")
    return ratio, interval.strip(), terms


def gpus(rows: Sequence[Row]) -> str:
    """Return the tree on every GPU in every quality."""
    body = []
    for gpu in dict.fromkeys(row["gpu"] for row in rows):
        mine = {row["quality"]: row for row in rows if row["gpu"] == gpu}
        body.append(f"<tr><td>{gpu}</td>{''.join(_gpu_cell(mine[quality]) for quality in QUALITIES)}</tr>")
    return _table(["GPU", *(HEADS[quality] for quality in QUALITIES)], "".join(body))


def _gpu_cell(row: Row) -> str:
    low, high = (units.format_time(fs) for fs in row["interval_fs"])
    return f"<td>{units.format_time(row['sample_fs'])}<span class=terms>[{low} .. {high}]</span></td>"


def machines(rows: Sequence[Row]) -> str:
    """Return what every machine takes, spends and covers, and how that was found."""
    times, energies = ("sample", "update", "step", "fetch"), ("sample", "step")
    body = "".join(
        f"<tr><td>{html.escape(row['label'])}</td>"
        + "".join(
            f"<td class=number>{text}</td>"
            for text in (
                f"{row['n']:,}",
                csp(row),
                *(units.format_time(row[f"{kind}_fs"]) for kind in times),
                *(units.format_energy(row[f"{kind}_aj"]) for kind in energies),
                units.format_energy(row["step_leakage_aj"]),
                units.format_area(row["area_um2"]),
                units.format_years(row["endurance_years"]).removesuffix(" years"),
            )
        )
        + f"<td>{how(row)}</td><td>{row['source']}</td></tr>"
        for row in rows
    )
    wear = f"endurance, years at {STEPS_PER_SECOND:,.0f} steps/s"
    energy = [*(f"energy a {kind}" for kind in energies), "leakage a step"]
    return _table(["machine", "n", "CSP", *times, *energy, "area", wear, "by", "source"], body)


def csp(row: Row) -> str:
    """Return the candidate set's share of the buffer, for reading."""
    return "none" if row["csp_fraction"] is None else f"{row['csp_fraction']:.1%}"


def how(row: Row) -> str:
    """Return which fidelity gave a row, and which one checked it, for reading.

    Examples
    --------
    >>> how({"fidelity": "closed", "checked_by": "burst"}), how({"fidelity": "burst", "checked_by": None})
    ('formula, checked by events', 'events')
    """
    words = {"closed": "formula", "burst": "events", "array": "arrays"}
    checked = f", checked by {words[row['checked_by']]}" if row["checked_by"] else ""
    return words[row["fidelity"]] + checked


def _table(heads: Iterable[str], body: str) -> str:
    head = "".join(f"<th scope=col>{html.escape(text)}</th>" for text in heads)
    return f"<table><tr>{head}</tr>{body}</table>"
