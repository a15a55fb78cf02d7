"""From the measurements of `bench_replay` to tables of ratios, a figure, and the few numbers worth keeping.

`python tests/bench/report_replay.py replay.json [--keep kept.json] [--figure figure.png]`
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tests.bench import contenders

PEERS = ("rlox", "tianshou", "cpprb")
COLOURS = {"per": "#0072B2", "uniform": "#7F7F7F", "rlox": "#D55E00", "tianshou": "#009E73", "cpprb": "#CC79A7"}
COLOURS["amper-fr"] = "#56B4E9"


def medians(path: Path) -> dict[str, float]:
    """Return {"op|batch size|n|contender": median us}, and means and candidate sets likewise."""
    found = {}
    for row in json.loads(path.read_text())["benchmarks"]:
        info = row["extra_info"]
        key = f"{info['op']}|{info['batch_size']}|{info['n']}|{info['contender']}"
        found[key] = row["stats"]["median"] * 1e6
        found["mean " + key] = row["stats"]["mean"] * 1e6
        if "csp" in info:
            found["csp " + key] = info["csp"]
    return found


def cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = {line.split(":")[1].strip() for line in lines if line.startswith("model name")}
    return f"{', '.join(names) or platform.processor()}, {platform.system()}"


def table_of_peers(us, sizes):
    yield "| op | n | per | uniform (floor) | per / floor | rlox | tianshou | cpprb | best peer / per |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for op, b in (
        ("step", 64),
        ("step", 256),
        ("sample", 64),
        ("sample", 256),
        ("update", 64),
        ("update", 256),
        ("add", 1),
    ):
        for n in sizes:
            ours, floor = us[f"{op}|{b}|{n}|per"], us[f"{op}|{b}|{n}|uniform"]
            peers = [us[f"{op}|{b}|{n}|{name}"] for name in PEERS]
            cells = " | ".join(f"{value:.1f}" for value in peers)
            name = op if b == 1 else f"{op} {b}"
            yield (
                f"| {name} | {n:.0e} | {ours:.1f} | {floor:.1f} | {ours / floor:.2f} | {cells} "
                f"| {min(peers) / ours:.2f}x |"
            )


def table_of_amper(us, sizes):
    yield "| step | n | per | amper-fr: us, share of per (CSP found) | | | |"
    yield "|---|---|---|---|---|---|---|"
    for b in (64, 256):
        for n in sizes:
            per = us[f"amper step|{b}|{n}|per"]
            cells = []
            for fraction in (0.01, 0.05, 0.2, 0.5):
                key = f"amper step|{b}|{n}|amper-fr {fraction:.0%}"
                cells.append(f"{us[key]:.1f}, {us[key] / per:.2f} ({us['csp ' + key]:.1%})")
            yield f"| {b} | {n:.0e} | {per:.1f} | " + " | ".join(cells) + " |"


def figure(us, sizes) -> Figure:
    drawn = Figure(figsize=(8.4, 3.6), layout="constrained")
    for axes, b in zip(drawn.subplots(1, 2, sharey=True), (64, 256), strict=True):
        for name in ("cpprb", "tianshou", "rlox", "per", "amper-fr", "uniform"):
            keys = [f"step|{b}|{n}|{name}" for n in sizes]
            if name == "amper-fr":
                keys = [f"amper step|{b}|{n}|amper-fr 5%" for n in sizes]
            ours = name in ("per", "amper-fr", "uniform")
            label = {"amper-fr": "amper-fr, CSP 5%", "uniform": "uniform: the floor"}.get(name, name)
            axes.loglog(
                sizes, [us[key] for key in keys], marker="o", markersize=4, color=COLOURS[name],
                linestyle="-" if ours else "--", linewidth=2 if ours else 1.3, label=label,
            )  # fmt: skip
        axes.set_title(f"sample {b} + update {b}", fontsize=10)
        axes.set_xlabel("transitions in the buffer")
        axes.grid(True, which="major", color="#E4E4E4")
        axes.set_axisbelow(True)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        ticks = (10, 20, 50, 100, 200, 500)
        axes.set_yticks(ticks, [str(tick) for tick in ticks])
        axes.minorticks_off()
    drawn.axes[0].set_ylabel("us a step, median")
    drawn.axes[1].legend(frameon=False, fontsize=8.5, loc="center left", bbox_to_anchor=(1.0, 0.5))
    FigureCanvasAgg(drawn)
    return drawn


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("measured", type=Path)
    parser.add_argument("--keep", type=Path, help="write medians, machine and versions as JSON")
    parser.add_argument("--figure", type=Path)
    arguments = parser.parse_args()
    us = medians(arguments.measured)
    sizes = sorted({int(key.split("|")[2]) for key in us if key.startswith("step|")})
    versions = contenders.versions(("numpy", "numba", "rlox", "tianshou", "cpprb", "torch", "torchrl"))
    print(f"{cpu()}; Python {platform.python_version()}; {', '.join(f'{k} {v}' for k, v in versions.items())}")
    print("Microseconds, medians; one thread.\n")
    print("\n".join(table_of_peers(us, sizes)), "\n")
    print("\n".join(table_of_amper(us, sizes)), "\n")
    print(f"torchrl's PrioritizedSampler: {contenders.why_no_torchrl() or 'available, not measured'}")
    by_mean = {
        f"{op} {b} at {n:.0e}": min(us[f"mean {op}|{b}|{n}|{p}"] for p in PEERS) / us[f"mean {op}|{b}|{n}|per"]
        for op, b in (("step", 64), ("step", 256))
        for n in sizes
    }
    print("Best peer / per by means:", ", ".join(f"{name} {ratio:.2f}x" for name, ratio in by_mean.items()))
    if arguments.keep:
        kept = {"machine": cpu(), "python": platform.python_version(), "versions": versions, "us": us}
        arguments.keep.write_text(json.dumps(kept, indent=1, default=float) + "\n")
    if arguments.figure:
        figure(us, np.array(sizes)).savefig(arguments.figure, dpi=150)


if __name__ == "__main__":
    main()
