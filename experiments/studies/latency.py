"""How does the latency of one sampling grow with the buffer, machine by machine?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from experiments.compose import MachineSpec
from experiments.measures import measures
from experiments.study import Answer, Cell, Parameters, Row, Stage, Study, no_stage
from hwsim import units

if TYPE_CHECKING:
    from experiments.plots.base import Figure


def cells(parameters: Parameters) -> list[Cell]:
    """Return one cell a machine and buffer size."""
    shared = {key: parameters[key] for key in ("batch", "csp_fraction", "n_ops", "fidelity")}
    return [
        Cell({**shared, "machine": str(MachineSpec.parse(machine)), "n": n}, parameters["seed"])
        for machine in parameters["machine"]
        for n in parameters["n"]
    ]


def run(parameters: Parameters, seed: int, stage: Stage = no_stage) -> Row:
    """Simulate one machine on a synthetic trace."""
    import hwsim

    stage(parameters["machine"], 0, 1)
    spec, n = MachineSpec.parse(parameters["machine"]), parameters["n"]
    trace = hwsim.synthetic_trace(
        n,
        batch_size=parameters["batch"],
        csp_fraction=parameters["csp_fraction"],
        n_ops=parameters["n_ops"],
        seed=seed,
        sampler="amper-k" if spec.name == "amper-k" else "amper-fr",
        unique=dict(spec.options).get("unique") is True,
    )
    report = hwsim.simulate(trace, spec.make(n), fidelity=parameters["fidelity"])
    csp = float((trace.samples["n_csp"] / n).mean()) if spec.sampler != "per" else None
    return {
        "machine": str(spec),
        "n": n,
        "batch_size": parameters["batch"],
        "csp_fraction": csp,
        **measures(report),
    }


def answer(rows: Sequence[Row]) -> Answer:
    """Return a line a machine and size."""
    time, energy, area = units.format_time, units.format_energy, units.format_area
    return Answer(
        ("machine", "n", "CSP", "sample [10%, 90%]", "update", "fetch", "energy a sample", "area", "source"),
        tuple(
            (
                row["machine"],
                f"{row['n']:,}",
                "none" if row["csp_fraction"] is None else f"{row['csp_fraction']:.1%}",
                f"{time(row['sample_fs'])} [{time(row['sample_p10_fs'])}, {time(row['sample_p90_fs'])}]",
                time(row["update_fs"]),
                time(row["fetch_fs"]),
                energy(row["sample_aj"]),
                area(row["area_um2"]),
                row["source"],
            )
            for row in rows
        ),
        "Synthetic traces: U[0,1] masses, candidate sets (CSP) of the size shown; an agent's own may be far "
        "smaller (amper report). Latency of one op, median over the trace's. The fetch of the sampled rows follows "
        "each sampling, is the same for every machine, and is no part of its latency.",
    )


def figure(rows: Sequence[Row]) -> Figure:
    """Return latency against size, a line a machine."""
    from experiments.plots.latency import latency_figure

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
