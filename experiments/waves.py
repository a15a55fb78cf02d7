"""The command `amper waves`: one machine's run as waveforms and trace events."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.compose import MachineSpec, parse_value

if TYPE_CHECKING:
    from amper.trace import Trace
    from hwsim import Closed, Poisson, Report

_ARRIVALS = "serial, poisson:rate_hz=HZ[,n_actors=N,seed=N] or closed:n_clients=N[,think_ns=NS]"
_DEFAULTS: dict[str, Any] = {"n": 2_000, "batch": 64, "csp_fraction": 0.15, "samplings": 3, "seed": 0}
_FLAGS = {"n": "--n", "batch": "--batch", "csp_fraction": "--csp", "samplings": "--samplings", "seed": "--seed"}
#: What a recording, or a file of ops, decides itself.
_DECIDED = {"trace": tuple(_FLAGS), "ops": ("batch", "samplings")}
_NO_MOMENTS = (
    "A formula says how long each component works for an op, not when within it; fidelity burst shows the moments."
)


def add_arguments(sub: argparse.ArgumentParser) -> None:
    """Add the command's options to its parser."""
    sub.add_argument("--machine", default="amper-fr", metavar="NAME[:key=value,...]", help="default: %(default)s")
    sub.add_argument("--n", type=int, help="transitions in the buffer (default: 2000)")
    sub.add_argument("--batch", type=int, help="draws of one sampling (default: 64)")
    sub.add_argument("--csp", type=float, dest="csp_fraction", help="candidate set, as a fraction of n (default: 0.15)")
    sub.add_argument("--samplings", type=int, help="samplings, each with its update (default: 3)")
    sub.add_argument("--seed", type=int, help="of the synthetic priorities and draws (default: 0)")
    sub.add_argument("--trace", type=Path, metavar="NPZ", help="a recording instead, written by Trace.save")
    sub.add_argument("--ops", type=Path, metavar="CSV", help="or a file of ops: lines of insert|update|sample,size")
    sub.add_argument("--window", type=int, nargs=2, metavar=("FIRST", "LAST"), help="only these ops, LAST excluded")
    sub.add_argument("--fidelity", choices=("array", "burst", "closed"), default="burst", help="default: %(default)s")
    sub.add_argument("--arrivals", default="serial", help=f"{_ARRIVALS} (default: %(default)s)")
    sub.add_argument("--vcd", type=Path, metavar="FILE", help="write a value change dump, for GTKWave")
    sub.add_argument("--perfetto", type=Path, metavar="FILE", help="write Chrome trace events, for Perfetto")


def write(options: argparse.Namespace) -> tuple[dict[str, Any], str]:
    """Simulate what the options name and write its files; return a JSON document, and lines for a reader.

    Raises
    ------
    ValueError, TypeError
        If an option is wrong, or pyvcd is missing for `--vcd`.
    OSError
        If a file cannot be read or written.
    """
    import hwsim
    from hwsim import units

    _check_files(options)
    spec, arrivals = MachineSpec.parse(options.machine), parse_arrivals(options.arrivals)
    trace = workload(options, spec)
    machine = spec.make(trace.header.n_rows)
    report = hwsim.simulate(trace, machine, options.fidelity, arrivals, keep_ledger=True)
    written = _write_files(report, options)
    n_rows = trace.header.n_rows
    head = f"{spec}, n = {n_rows:,}, {report.fidelity}, {report.arrivals} arrivals"
    lines = [f"{head}: {len(trace)} ops in {units.format_time(report.makespan_fs)}."]
    if "vcd" in written:
        lines.append(f"Written: {written['vcd']}\n  open it: gtkwave {written['vcd']}")
    if "perfetto" in written:
        lines.append(f"Written: {written['perfetto']}\n  open it: https://ui.perfetto.dev, or chrome://tracing")
    if report.fidelity == "closed":
        lines.append(_NO_MOMENTS)
    document = {
        "machine": str(spec),
        "n": n_rows,
        "fidelity": report.fidelity,
        "arrivals": report.arrivals,
        "n_ops": len(trace),
        "makespan_fs": report.makespan_fs,
        "written": written,
    }
    return document, "\n".join(lines)


def workload(options: argparse.Namespace, spec: MachineSpec) -> Trace:
    """Return the trace that the options name: a recording, a file of ops, or a synthetic one."""
    import hwsim
    from amper.trace import Trace

    if options.trace and options.ops:
        raise ValueError(f"--ops must be left out beside --trace, got {str(options.ops)!r}")
    for source, decided in _DECIDED.items():
        for name in decided if getattr(options, source) else ():
            if getattr(options, name) is not None:
                raise ValueError(f"{_FLAGS[name]} must be left out beside --{source}, got {getattr(options, name)!r}")
    chosen = {
        key: value if getattr(options, key) is None else getattr(options, key) for key, value in _DEFAULTS.items()
    }
    shared: dict[str, Any] = {
        "csp_fraction": chosen["csp_fraction"],
        "seed": chosen["seed"],
        "sampler": "amper-k" if spec.name == "amper-k" else "amper-fr",
        "unique": dict(spec.options).get("unique") is True,
    }
    if options.trace:
        trace = Trace.load(options.trace)
    elif options.ops:
        trace = hwsim.load_csv(options.ops, chosen["n"], **shared)
    else:
        trace = hwsim.synthetic_trace(chosen["n"], chosen["batch"], n_ops=chosen["samplings"], **shared)
    if options.window is None:
        return trace
    try:
        return trace.window(*options.window)
    except IndexError as error:
        raise ValueError(f"--window {error}") from error


def parse_arrivals(text: str) -> str | Poisson | Closed:
    """Return the arrivals that a command line names.

    Examples
    --------
    >>> parse_arrivals("serial"), parse_arrivals("closed:n_clients=4")
    ('serial', Closed(n_clients=4, think_ns=0.0))
    """
    import hwsim

    if text == "serial":
        return text
    forms: dict[str, Any] = {"poisson": hwsim.Poisson, "closed": hwsim.Closed}
    name, _, rest = text.partition(":")
    pairs = [part.partition("=") for part in rest.split(",")]
    given = {key: parse_value(value) for key, _, value in pairs}
    fields = dataclasses.fields(forms[name]) if name in forms else ()
    needed = {f.name for f in fields if f.default is dataclasses.MISSING}
    if not (fields and needed <= set(given) <= {f.name for f in fields} and len(given) == len(pairs)):
        raise ValueError(f"--arrivals must be {_ARRIVALS}, got {text!r}")
    made: Poisson | Closed = forms[name](**given)
    return made


def _check_files(options: argparse.Namespace) -> None:
    """Raise ValueError unless there is a file to write, in a folder there is, by a writer there is."""
    from hwsim import export

    if options.vcd is None and options.perfetto is None:
        raise ValueError("--vcd or --perfetto must name a file to write, got neither")
    if options.vcd == options.perfetto:
        raise ValueError(f"--vcd and --perfetto must differ, got {str(options.vcd)!r} twice")
    for flag, path in (("--vcd", options.vcd), ("--perfetto", options.perfetto)):
        if path is not None and (path.is_dir() or not path.parent.is_dir()):
            raise ValueError(f"{flag} must be a file in a folder that exists, got {str(path)!r}")
    if options.vcd is not None:
        try:
            export.vcd_writer()
        except ImportError as error:
            raise ValueError(f"--vcd must be left out without pyvcd: {error}") from error


def _write_files(report: Report, options: argparse.Namespace) -> dict[str, str]:
    import hwsim

    written = {}
    for name, writer in (("vcd", hwsim.write_vcd), ("perfetto", hwsim.write_perfetto)):
        path = getattr(options, name)
        if path is not None:
            writer(report, path)
            written[name] = str(path)
    return written
