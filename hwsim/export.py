"""A kept run as files of other tools: VCD for waveform viewers, Chrome trace events for Perfetto."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np
import numpy.typing as npt

from hwsim import units
from hwsim.activity import KINDS, UNKNOWN, Activity
from hwsim.lanes import NONE, Signal, component_signals, merged, op_signals, sublanes
from hwsim.report import Report

if TYPE_CHECKING:
    from vcd import VCDWriter

Int64 = npt.NDArray[np.int64]

_FS_PER_PS = 1_000
_MACHINE, _OPS = 1, 2  # processes of the trace events


def vcd_writer() -> type[VCDWriter]:
    """Return pyvcd's writer.

    Raises
    ------
    ImportError
        If pyvcd is not installed; the message names the extra.
    """
    try:
        from vcd import VCDWriter
    except ImportError as error:
        raise ImportError('write_vcd needs pyvcd, of the extra "trace": pip install ".[trace]"') from error
    return VCDWriter


def write_vcd(report: Report, path: str | os.PathLike[str]) -> None:
    """Write who was busy when as a value change dump, in picoseconds if that is exact, else in femtoseconds.

    A scope a component, below one named like the machine, holds `busy` (at least one unit works), `stalled` (none
    works, one waits), `op` (row in the trace's ops of the oldest one it works or waits for, x where there is none) and,
    where it has several, `units` (how many work; x where a formula does not say). The scope `ops` counts the inserts,
    updates, samplings and fetches between arrival and end, and has the `op` that has been there longest.

    Parameters
    ----------
    report : Report
        Of a simulation with `keep_ledger=True`.
    path : path
        File to write; replaced once the new one is complete.

    Raises
    ------
    ImportError
        If pyvcd is not installed; the message names the extra.
    ValueError
        If the report kept no activity, or a component's name is no identifier.
    OSError
        If the file cannot be written.

    Examples
    --------
    >>> import hwsim, pathlib, tempfile
    >>> trace = hwsim.synthetic_trace(100, batch_size=4, n_ops=1)
    >>> report = hwsim.simulate(trace, hwsim.machine("sumtree-onchip", n_rows=100), keep_ledger=True)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "run.vcd")
    ...     hwsim.write_vcd(report, path)
    ...     path.read_text().splitlines()[0]
    '$timescale 1 ps $end'
    """
    activity, writer_class = _activity(report), vcd_writer()
    signals = _all_signals(report, activity)
    is_whole = all((s.times_fs % _FS_PER_PS == 0).all() for s in signals.values()) and not (
        report.makespan_fs % _FS_PER_PS
    )
    step, unit = (_FS_PER_PS, "1 ps") if is_whole else (1, "1 fs")
    with _replacing(path) as file, writer_class(file, timescale=unit, date="") as vcd:
        variables = []
        for (scope, name), signal in signals.items():
            kind, size = ("wire", 1) if name in {"busy", "stalled"} else ("integer", 64)
            variables.append(vcd.register_var(scope, name, kind, size, init=_value(signal.rest)))
        for time, number, value in _in_order(list(signals.values())):
            vcd.change(variables[number], time // step, _value(value))
        vcd.close(report.makespan_fs // step)


def _value(value: int) -> int | str:
    return "x" if value == NONE else value


def _all_signals(report: Report, activity: Activity) -> dict[tuple[tuple[str, ...], str], Signal]:
    """Return every signal by scope and name."""
    top = re.sub(r"\W", "_", str(report.machine["name"]), flags=re.ASCII)
    result: dict[tuple[tuple[str, ...], str], Signal] = {}
    for number, component in enumerate(activity.components):
        if not re.fullmatch(r"[A-Za-z_]\w*", component, flags=re.ASCII):
            raise ValueError(f"components must have names of letters, digits and _, got {component!r}")
        for name, signal in component_signals(activity, number).items():
            if name != "units" or report.breakdown[component]["n_units"] > 1:
                result[(top, component), name] = signal
    for name, signal in op_signals(activity, {f"n_{kind}": i for i, kind in enumerate(KINDS)}).items():
        result[("ops",), name] = signal
    return result


def _in_order(signals: list[Signal]) -> Iterator[tuple[int, int, int]]:
    """Yield (time, number of the signal, value) of every change, in order of time."""
    times = np.concatenate([s.times_fs for s in signals])
    numbers = np.repeat(np.arange(len(signals)), [len(s.times_fs) for s in signals])
    values = np.concatenate([s.values for s in signals])
    order = np.argsort(times, kind="stable")
    yield from zip(times[order].tolist(), numbers[order].tolist(), values[order].tolist(), strict=True)


def write_perfetto(report: Report, path: str | os.PathLike[str]) -> None:
    """Write who was busy when as Chrome trace events, a JSON object that Perfetto and chrome://tracing open.

    A thread a component, of a process named like the machine, holds a complete event an entry: category `work`, or
    `stall`, named by what it waits for. What overlaps stands in more threads of that component, `NAME 2` and so on;
    entries of one op that begin and end together are one event, with their units and energy added up. The process `ops`
    has every op from arrival to end. Times are microseconds, exact decimals down to a femtosecond; Perfetto's own
    display rounds down to nanoseconds. `hwsim/schemas/trace_events.schema.json` describes the file.

    Parameters
    ----------
    report : Report
        Of a simulation with `keep_ledger=True`.
    path : path
        File to write; replaced once the new one is complete.

    Raises
    ------
    ValueError
        If the report kept no activity.
    OSError
        If the file cannot be written.
    """
    activity = _activity(report)
    about = {"machine": report.machine["name"], "fidelity": report.fidelity, "arrivals": report.arrivals}
    with _replacing(path) as file:
        file.write('{"displayTimeUnit": "ns",\n')
        file.write(f'"otherData": {json.dumps({**about, "makespan_fs": report.makespan_fs})},\n"traceEvents": [\n')
        file.write(_process(_OPS, "ops", 0))
        file.write(f",\n{_process(_MACHINE, str(report.machine['name']), 1)}")
        thread = 1
        for process, name, lanes, events in _tracks(report, activity):
            n_lanes = int(lanes.max(initial=0)) + 1
            for lane in range(n_lanes):
                label = name if lane == 0 else f"{name} {lane + 1}"
                file.write(f",\n{_metadata(process, thread + lane, 'thread_name', name=label)}")
                file.write(f",\n{_metadata(process, thread + lane, 'thread_sort_index', sort_index=thread + lane)}")
            for lane, event in zip(lanes.tolist(), events, strict=True):
                file.write(f',\n{{"ph": "X", "pid": {process}, "tid": {thread + lane}, {event}}}')
            thread += n_lanes
        file.write("\n]}\n")


def _tracks(report: Report, activity: Activity) -> Iterator[tuple[int, str, Int64, Iterator[str]]]:
    """Yield every kind of op and every component: process, name, a lane an event, the events' own fields as JSON."""
    energy = np.zeros(int(activity.span_op.max(initial=-1)) + 1, np.int64)
    np.add.at(energy, activity.op, activity.energy_aj)
    for number, kind in enumerate(KINDS):
        mine = np.flatnonzero(activity.span_kind == number)
        mine = mine[np.argsort(activity.span_start_fs[mine], kind="stable")]
        lanes = sublanes(activity.span_start_fs[mine], activity.span_end_fs[mine])
        has_energy = report.energy_by_kind_aj[kind] is not None
        yield _OPS, kind, lanes, _span_events(activity, mine, energy, has_energy=has_energy)
    kind_of = activity.span_kind[: len(energy)].tolist()
    for number, component in enumerate(activity.components):
        entries = merged(activity, number)
        lanes = sublanes(entries["start_fs"], entries["start_fs"] + entries["duration_fs"])
        has_energy = report.breakdown[component]["energy_aj"] is not None
        yield _MACHINE, component, lanes, _entry_events(activity, entries, kind_of, has_energy=has_energy)


def _span_events(activity: Activity, rows: Int64, energy: Int64, *, has_energy: bool) -> Iterator[str]:
    for i in rows.tolist():
        op, start = int(activity.span_op[i]), int(activity.span_start_fs[i])
        kind = KINDS[activity.span_kind[i]]
        paid = _decimal(int(energy[op]), units.AJ_PER_PJ) if has_energy else "null"
        args = f'{{"op": {op}, "kind": "{kind}", "energy_pj": {paid}}}'
        yield _complete("op", f"{kind} {op}", start, int(activity.span_end_fs[i]) - start, args)


def _entry_events(
    activity: Activity, entries: dict[str, Int64], kind_of: list[int], *, has_energy: bool
) -> Iterator[str]:
    names = ("start_fs", "duration_fs", "op", "cause", "n_units", "energy_aj")
    for start, duration, op, cause, n, aj in zip(*(entries[name].tolist() for name in names), strict=True):
        kind = KINDS[kind_of[op]]
        args = f'"op": {op}, "kind": "{kind}"'
        if cause:
            waits = activity.causes[cause]
            args += f', "cause": {json.dumps(waits)}'
            yield _complete("stall", f"waits: {waits}", start, duration, f"{{{args}}}")
        else:
            paid = _decimal(aj, units.AJ_PER_PJ) if has_energy else "null"
            args += f', "n_units": {"null" if n == UNKNOWN else n}, "energy_pj": {paid}'
            yield _complete("work", f"{kind} {op}", start, duration, f"{{{args}}}")


def _complete(category: str, name: str, start_fs: int, duration_fs: int, args: str) -> str:
    """Return the fields of a complete event that its track does not give."""
    us = 1_000 * units.FS_PER_NS
    times = f'"ts": {_decimal(start_fs, us)}, "dur": {_decimal(duration_fs, us)}'
    return f'"cat": "{category}", "name": {json.dumps(name)}, {times}, "args": {args}'


def _process(process: int, name: str, index: int) -> str:
    sort = _metadata(process, 0, "process_sort_index", sort_index=index)
    return f"{_metadata(process, 0, 'process_name', name=name)},\n{sort}"


def _metadata(process: int, thread: int, what: str, **args: Any) -> str:
    return json.dumps({"ph": "M", "pid": process, "tid": thread, "name": what, "args": args})


def _decimal(value: int, scale: int) -> str:
    """Return a non-negative `value` / `scale`, a power of ten, as an exact decimal: a float would round it.

    Examples
    --------
    >>> _decimal(1_500_000_001, 10**9), _decimal(20, 10), _decimal(0, 10)
    ('1.500000001', '2', '0')
    """
    whole, rest = divmod(value, scale)
    return f"{whole}.{rest:0{len(str(scale)) - 1}d}".rstrip("0").rstrip(".")


def _activity(report: Report) -> Activity:
    if not isinstance(report, Report):
        raise TypeError(f"report must be made by hwsim.simulate, got {report!r}")
    if report.activity is None:
        raise ValueError("report must have kept its ledger, got activity None; simulate with keep_ledger=True")
    return report.activity


@contextlib.contextmanager
def _replacing(path: str | os.PathLike[str]) -> Iterator[TextIO]:
    """Yield a file that takes the place of `path` when the block ends, and is removed if it fails."""
    target = Path(path)
    part = target.with_name(f"{target.name}.{os.getpid()}.part")
    try:
        with part.open("w", encoding="utf-8") as file:
            yield file
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
