"""Inserts beside a learner: what a machine does at saturation, and at shares of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

import hwsim
from amper.trace import OpKind, Trace
from experiments.readouts import Contender, contenders, made
from experiments.study import Parameters, Row, Stage
from hwsim import units

Int64 = npt.NDArray[np.int64]

N_ALONE = 4_000  # inserts of the run without a learner
PERCENTILES = (50, 90, 99)
_KINDS = ("insert", "sample", "update")


def measure(parameters: Parameters, seed: int, stage: Stage) -> Row:
    """Return a machine's saturation in closed loops, what arrivals at shares of it meet, and either party alone.

    Parameters
    ----------
    parameters : mapping
        `machine`, a label of `readouts`; `technology`, `n`, `batch`, `csp_fraction`, `n_ops` samplings, each followed
        by `n_inserts` inserts; `n_clients` of the closed loops; `load`, arrivals in shares of the saturated rate.
    """
    n, n_inserts = parameters["n"], parameters["n_inserts"]
    every = contenders(n, [parameters["technology"]])
    contender = next(each for each in every if each.label == parameters["machine"])
    n_runs = len(parameters["n_clients"]) + len(parameters["load"])
    trace = _trace(parameters, seed, n_inserts=n_inserts)
    machine = made(contender.spec, trace)
    filling = hwsim.simulate(_trace(parameters, seed, n_ops=0), machine)
    closed = []
    for i, n_clients in enumerate(parameters["n_clients"]):
        stage(contender.label, i, n_runs)
        report = hwsim.simulate(trace, machine, arrivals=hwsim.Closed(n_clients))
        closed.append({"n_clients": n_clients, **_measured(report, filling)})
    saturation = max(loop["throughput_hz"] for loop in closed)
    loads = []
    for i, load in enumerate(parameters["load"], len(closed)):
        stage(contender.label, i, n_runs)
        offered = load * saturation
        report = hwsim.simulate(trace, machine, arrivals=hwsim.Poisson(offered, n_actors=n_inserts, seed=seed))
        begun = _percentiles(_from_begin(trace, report))
        loads.append({"load": load, "offered_hz": offered, **_measured(report, filling), "begun_fs": begun})
    stage(contender.label, n_runs, n_runs)
    return {
        **{key: parameters[key] for key in ("machine", "technology", "csp_fraction", "n_inserts", "n")},
        "batch_size": parameters["batch"],
        "n_samplings": parameters["n_ops"],
        "saturation_hz": saturation,
        "closed": closed,
        "loads": loads,
        "learner_alone": _learner_alone(machine, _trace(parameters, seed)),
        "actors_alone": _actors_alone(contender, n, n_inserts, seed),
    }


def _trace(parameters: Parameters, seed: int, n_ops: int | None = None, n_inserts: int = 0) -> Trace:
    n_ops = parameters["n_ops"] if n_ops is None else n_ops
    n, batch, csp = (parameters[key] for key in ("n", "batch", "csp_fraction"))
    return hwsim.synthetic_trace(n, batch, csp, n_ops=n_ops, seed=seed, n_inserts=n_inserts)


def _measured(report: hwsim.Report, filling: hwsim.Report) -> Row:
    """Return what a run says of the time after the buffer was filled; `filling` is a run of that alone."""
    latency = {kind: values for kind, values in report.latency_fs.items() if kind in _KINDS}
    latency["insert"] = latency["insert"][report.n_filling :]
    return {
        "throughput_hz": report.throughput_hz,
        "mean_in_system": report.mean_in_system,
        "latency_fs": {kind: _percentiles(values) for kind, values in latency.items() if len(values)},
        "usage": _usage(report, filling),
    }


def _from_begin(trace: Trace, report: hwsim.Report) -> Int64:
    """Return the latency of each sampling from when the learner, one op at a time, has come to it.

    A sampling that arrives before the update ahead of it has ended waits for its own learner that long.
    """
    kinds = trace.ops["kind"]
    sample, update = (report.arrived_fs[kinds == kind] for kind in (OpKind.SAMPLE, OpKind.UPDATE))
    ends = sample + report.latency_fs["sample"]
    free = np.concatenate(([0], (update + report.latency_fs["update"])[:-1]))
    begun: Int64 = ends - np.maximum(sample, free)
    return begun


def _percentiles(values: Any) -> list[float]:
    return [float(q) for q in np.percentile(values, PERCENTILES)]


def _usage(report: hwsim.Report, filling: hwsim.Report) -> dict[str, Row]:
    """Return by component which share of the time any unit worked, a unit in the mean, or none worked and one waited.

    Filling comes first and alone, so that what it took can be taken off.
    """
    lasted = report.makespan_fs - report.filled_fs
    usage = {}
    for name, part in report.breakdown.items():
        before = filling.breakdown[name]
        stalls = {cause: fs - before["stalls"].get(cause, 0) for cause, fs in part["stalls"].items()}
        usage[name] = {
            "busy": (part["busy_fs"] - before["busy_fs"]) / lasted,
            "unit_busy": (part["unit_busy_fs"] - before["unit_busy_fs"]) / lasted / part["n_units"],
            "stalls": {cause: fs / lasted for cause, fs in stalls.items() if fs},
            "n_units": part["n_units"],
        }
    return usage


def _learner_alone(machine: Any, trace: Trace) -> Row:
    """Return the sampling latencies of a learner that nobody inserts beside, and its steps a second."""
    report = hwsim.simulate(trace, machine)
    sample, fetch, update = (report.latency_fs[kind] for kind in ("sample", "fetch", "update"))
    return {
        "sample_fs": _percentiles(sample),
        "step_hz": len(sample) / units.s_from_fs(units.exact_sum(sample + fetch + update)),
    }


def _actors_alone(contender: Contender, n: int, n_actors: int, seed: int) -> Row:
    """Return the inserts a second of actors that wait for their inserts, beside no learner; and who is busy then."""
    trace = hwsim.synthetic_trace(n, 1, 1 / n, n_ops=1, seed=seed, n_inserts=N_ALONE)
    machine = made(contender.spec, trace)
    filling = hwsim.simulate(hwsim.synthetic_trace(n, 1, 1 / n, n_ops=0, seed=seed), machine)
    report = hwsim.simulate(trace, machine, arrivals=hwsim.Closed(n_actors))
    return {"insert_hz": report.throughput_hz, "usage": _usage(report, filling)}
