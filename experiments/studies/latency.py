"""How does the latency of one sampling grow with the buffer, machine by machine?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from experiments.compose import MachineSpec
from experiments.study import Answer, Cell, Parameters, Row, Study
from hwsim import units

if TYPE_CHECKING:
    import hwsim
    from experiments.plots import Figure


def cells(parameters: Parameters) -> list[Cell]:
    """Return one cell a machine and buffer size."""
    shared = {key: parameters[key] for key in ("batch", "csp_fraction", "n_ops", "fidelity")}
    return [
        Cell({**shared, "machine": str(MachineSpec.parse(machine)), "n": n}, parameters["seed"])
        for machine in parameters["machine"]
        for n in parameters["n"]
    ]


def run(parameters: Parameters, seed: int) -> Row:
    """Simulate one machine on a synthetic trace."""
    import hwsim

    spec, n = MachineSpec.parse(parameters["machine"]), parameters["n"]
    trace = hwsim.synthetic_trace(
        n,
        batch_size=parameters["batch"],
        csp_fraction=parameters["csp_fraction"],
        n_ops=parameters["n_ops"],
        seed=seed,
        sampler="amper-k" if spec.name == "amper-k" else "amper-fr",
    )
    report = hwsim.simulate(trace, spec.make(n), fidelity=parameters["fidelity"])
    return {"machine": str(spec), "n": n, **measures(report)}


def measures(report: hwsim.Report) -> Row:
    """Return what is tabulated of a simulation: medians of times, in femtoseconds; energy; area."""
    sample = report.latency_fs["sample"]
    low, median, high = (float(q) for q in np.percentile(sample, [10, 50, 90]))
    energy = report.energy_by_kind_aj["sample"]
    others = {
        f"{kind}_fs": float(np.median(report.latency_fs[kind])) if len(report.latency_fs[kind]) else None
        for kind in ("update", "insert", "fetch")
    }
    return {
        "sample_fs": median,
        "sample_p10_fs": low,
        "sample_p90_fs": high,
        **others,
        "sample_aj": None if energy is None else energy / len(sample),
        "area_um2": report.area_um2,
        "source": "modelled",
    }


def answer(rows: Sequence[Row]) -> Answer:
    """Return a line a machine and size."""
    time, energy, area = units.format_time, units.format_energy, units.format_area
    return Answer(
        ("machine", "n", "sample [10%, 90%]", "update", "fetch", "energy a sample", "area", ""),
        tuple(
            (
                row["machine"],
                f"{row['n']:,}",
                f"{time(row['sample_fs'])} [{time(row['sample_p10_fs'])}, {time(row['sample_p90_fs'])}]",
                time(row["update_fs"]),
                time(row["fetch_fs"]),
                energy(row["sample_aj"]),
                area(row["area_um2"]),
                row["source"],
            )
            for row in rows
        ),
        "Latency of one op, median over the trace's. The fetch of the sampled rows follows each sampling, is "
        "the same for every machine, and is no part of its latency.",
    )


def figure(rows: Sequence[Row]) -> Figure:
    """Return latency against size, a line a machine."""
    from experiments.plots import latency_figure

    return latency_figure(rows)


_DEFAULT = {
    "machine": [
        "amper-fr:technology=evacam-fefet45",
        "amper-fr:technology=camasim-fefet45",
        "amper-k:technology=evacam-fefet45",
        "sumtree-gpu:gpu=gtx1080,quality=fused",
        "sumtree-gpu:gpu=gtx1080,quality=torchrl",
        "sumtree-gpu:gpu=gtx1080,quality=eager",
    ],
    "n": [5_000, 10_000, 20_000],
    "batch": 64,
    "csp_fraction": 0.15,
    "n_ops": 50,
    "fidelity": "burst",
    "seed": 0,
}
STUDY = Study(
    name="latency",
    question="How does the latency of one sampling grow with the buffer, machine by machine?",
    settings={
        "tiny": {**_DEFAULT, "n": [1_000, 2_000], "n_ops": 5},
        "default": _DEFAULT,
        "full": {**_DEFAULT, "n": [1_000, 5_000, 10_000, 20_000, 100_000, 1_000_000], "fidelity": "closed"},
    },
    cells=cells,
    run=run,
    answer=answer,
    figure=figure,
)
