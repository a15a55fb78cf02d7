"""What is written for waveform viewers and Perfetto says what the report says, read back by other programs' readers."""

import dataclasses
import itertools
import json
import re
import sys
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hwsim
from amper.trace import Trace, TraceHeader
from hwsim import lanes
from hwsim.component import ComponentSpec
from hwsim.ledger import Ledger

jsonschema = pytest.importorskip("jsonschema")
vcdvcd = pytest.importorskip("vcdvcd")
pytest.importorskip("vcd")

SCHEMA = Path(hwsim.__file__).parent / "schemas" / "trace_events.schema.json"
VALIDATOR = jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text()))
BUFFER = {"csb_entries": 4_000}
MACHINES = {
    "fr-csb": ("amper-fr", BUFFER),
    "fr-csb-8-ports": ("amper-fr", {**BUFFER, "n_csb_ports": 8}),
    "fr-burst": ("amper-fr", {**BUFFER, "readout": "burst"}),
    "fr-rank-select": ("amper-fr", {"readout": "rank_select"}),
    "k": ("amper-k", BUFFER),
    "sumtree-onchip": ("sumtree-onchip", {}),
    "rejection-onchip": ("rejection-onchip", {}),
    "sumtree-gpu": ("sumtree-gpu", {}),
    "sumtree-cpu": ("sumtree-cpu", {}),
}
ARRIVALS = {"serial": "serial", "poisson": hwsim.Poisson(5e6, n_actors=2, seed=1), "closed": hwsim.Closed(3)}


def kept(label, fidelity="burst", arrivals="serial", n_rows=300):
    """Return the report of a small run, its ledger kept."""
    name, options = MACHINES[label]
    sampler = "amper-k" if name == "amper-k" else "amper-fr"
    trace = hwsim.synthetic_trace(n_rows, 16, 0.2, 4, seed=3, sampler=sampler, n_inserts=2)
    machine = hwsim.machine(name, n_rows=n_rows, **options)
    return hwsim.simulate(trace, machine, fidelity, arrivals, keep_ledger=True)


def read_vcd(path):
    """Return what each 1-bit signal and each `units` adds up to over time, femtoseconds, by (scope, name)."""
    vcd = vcdvcd.VCDVCD(str(path))
    step = int(vcd.timescale["timescale"] / Decimal("1e-15"))
    sums = {}
    for reference in vcd.references_to_ids:
        scope, name = reference.split("[")[0].split(".")[-2:]
        if name not in {"busy", "stalled", "units"}:
            continue
        changes = vcd[reference].tv
        assert changes[0][0] == 0, "a value at time 0"
        moments = [t for t, _ in changes]
        assert moments == sorted(set(moments))
        ends = [*moments[1:], vcd.endtime]
        held = [(e - t, v) for (t, v), e in zip(changes, ends, strict=True)]
        is_known = "x" not in {v for _, v in held}
        sums[scope, name] = step * sum(d * int(v, 2) for d, v in held) if is_known else None
    return sums, step * vcd.endtime


def check_vcd(report, path):
    """Raise AssertionError unless the file says of every component what the report says."""
    sums, end_fs = read_vcd(path)
    assert end_fs == report.makespan_fs
    assert {scope for scope, _ in sums} == set(report.breakdown)
    for component, entry in report.breakdown.items():
        assert sums[component, "busy"] == entry["busy_fs"], component
        assert sums[component, "stalled"] == entry["stalled_fs"], component
        assert ((component, "units") in sums) == (entry["n_units"] > 1)
        units = sums.get((component, "units"))
        assert units is None or units == entry["unit_busy_fs"], component


def union(spans):
    """Return how long at least one of the (start, end) runs."""
    total, until = 0, None
    for start, end in sorted(spans):
        begin = start if until is None else max(start, until)
        total += max(0, end - begin)
        until = end if until is None else max(until, end)
    return total


def read_perfetto(path):
    """Return the complete events in whole femtoseconds by the name of their lane."""
    document = json.loads(Path(path).read_text(), parse_float=Decimal)
    VALIDATOR.validate(document)
    names = {e["tid"]: e["args"]["name"] for e in document["traceEvents"] if e["name"] == "thread_name"}
    events = [e for e in document["traceEvents"] if e["ph"] == "X"]
    found = {name: [] for name in names.values()}
    for event in events:
        start, duration = (Decimal(event[k]) * 10**9 for k in ("ts", "dur"))
        assert start % 1 == duration % 1 == 0
        found[names[event["tid"]]].append((int(start), int(start + duration), event))
    for name, lane in found.items():
        ordered = sorted(lane, key=lambda e: e[:2])
        assert all(a[1] <= b[0] for a, b in itertools.pairwise(ordered)), f"{name}: events overlap"
        # Perfetto drops what lies below a nanosecond of either number; what did not overlap must not do so then.
        coarse = [(a // 10**6, a // 10**6 + (b - a) // 10**6) for a, b, _ in ordered]
        assert all(a[1] <= b[0] for a, b in itertools.pairwise(coarse)), f"{name}: events overlap"
    return found


def check_perfetto(report, path):
    """Raise AssertionError unless the file says of every component and op what the report says."""
    of = {}
    for name, lane in read_perfetto(path).items():
        of.setdefault(re.sub(r" \d+$", "", name), []).extend(lane)
    assert set(of) == {*report.breakdown, "insert", "update", "sample", "fetch"}
    for component, entry in report.breakdown.items():
        work = [e[:2] for e in of[component] if e[2]["cat"] == "work"]
        both = [e[:2] for e in of[component]]
        assert union(work) == entry["busy_fs"], component
        assert union(both) - union(work) == entry["stalled_fs"], component
        paid = [e[2]["args"]["energy_pj"] for e in of[component] if e[2]["cat"] == "work"]
        if entry["energy_aj"] is None:
            assert set(paid) <= {None}
        else:
            assert sum(Decimal(p) * 10**6 for p in paid) == entry["energy_aj"], component
    for kind, latency in report.latency_fs.items():
        assert sorted(e - s for s, e, _ in of[kind]) == sorted(latency.tolist()), kind
        if report.energy_by_kind_aj[kind] is not None:
            paid = sum(Decimal(e[2]["args"]["energy_pj"]) * 10**6 for e in of[kind])
            assert paid == report.energy_by_kind_aj[kind]


CASES = [(label, fidelity, "serial") for label in MACHINES for fidelity in ("array", "burst", "closed")]
CASES += [(label, "burst", arrivals) for label in MACHINES for arrivals in ("poisson", "closed")]
CASES += [("fr-csb-8-ports", "array", "poisson"), ("fr-rank-select", "array", "closed"), ("k", "array", "closed")]


@pytest.mark.parametrize(("label", "fidelity", "arrivals"), CASES)
def test_other_readers_find_what_the_report_says(tmp_path, label, fidelity, arrivals):
    try:
        report = kept(label, fidelity, ARRIVALS[arrivals])
    except hwsim.NotApplicableError:
        assert (label, fidelity) == ("fr-rank-select", "closed")
        return
    hwsim.write_vcd(report, tmp_path / "run.vcd")
    check_vcd(report, tmp_path / "run.vcd")
    hwsim.write_perfetto(report, tmp_path / "run.json")
    check_perfetto(report, tmp_path / "run.json")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["run.json", "run.vcd"]


def test_among_the_runs_read_back_are_components_that_stall():
    stalled = {label: sum(e["stalled_fs"] for e in kept(label).breakdown.values()) for label in MACHINES}
    assert stalled["fr-csb"] > 0
    assert stalled["fr-rank-select"] > 0


# -- a reader that could not fail would prove nothing ------------------------------------------------------
def test_a_change_missing_from_a_waveform_is_found(tmp_path):
    report, path = kept("fr-csb-8-ports"), tmp_path / "run.vcd"
    hwsim.write_vcd(report, path)
    lines = path.read_text().splitlines()
    identifier = next(line.split()[3] for line in lines if line.endswith("busy $end"))
    falls = [i for i, line in enumerate(lines) if line == f"0{identifier}"]
    path.write_text("\n".join(line for i, line in enumerate(lines) if i != falls[2]))
    with pytest.raises(AssertionError):
        check_vcd(report, path)


@pytest.mark.parametrize("column", ["duration_fs", "cause", "component"])
def test_an_entry_exported_wrongly_is_found(tmp_path, column):
    report = kept("fr-csb")
    values = getattr(report.activity, column).copy()
    works = (report.activity.cause == 0) & (report.activity.component == 0)
    values[np.flatnonzero(works)[1]] += 1
    assert len(report.activity.causes) > 1
    wrong = dataclasses.replace(report, activity=dataclasses.replace(report.activity, **{column: values}))
    hwsim.write_vcd(wrong, tmp_path / "run.vcd")
    hwsim.write_perfetto(wrong, tmp_path / "run.json")
    with pytest.raises(AssertionError):
        check_vcd(report, tmp_path / "run.vcd")
    with pytest.raises(AssertionError):
        check_perfetto(report, tmp_path / "run.json")


@pytest.mark.parametrize(
    "change",
    [
        lambda e: e.pop("dur"),
        lambda e: e.update(ts=-1),
        lambda e: e.update(ph="B"),
        lambda e: e.update(cat="stall"),
        lambda e: e["args"].pop("op"),
        lambda e: e["args"].update(kind="scan"),
        lambda e: e["args"].update(energy_pj="7"),
        lambda e: e["args"].update(more=1),
    ],
)
def test_the_schema_refuses_an_event_changed(tmp_path, change):
    hwsim.write_perfetto(kept("fr-burst"), tmp_path / "run.json")
    document = json.loads((tmp_path / "run.json").read_text())
    VALIDATOR.validate(document)
    change(next(e for e in document["traceEvents"] if e.get("cat") == "work"))
    with pytest.raises(jsonschema.ValidationError):
        VALIDATOR.validate(document)


def test_the_schema_is_one():
    jsonschema.Draft202012Validator.check_schema(json.loads(SCHEMA.read_text()))


# -- what the lanes show ---------------------------------------------------------------------------------
ENTRIES = st.lists(
    st.tuples(st.integers(0, 30), st.integers(0, 12), st.integers(0, 4), st.sampled_from(["", "", "port", "latch"]),
              st.integers(1, 3)),
    max_size=12,
)  # fmt: skip


def activity_of(entries, ledger=None, *, by_formula=False):
    """Return the activity of one component of 9 units; entries are (start, duration, op, cause, units)."""
    trace = Trace()
    trace.begin(TraceHeader(n_rows=4, row_bytes=0, bits=8, sampler="per", options={}, seed=0))
    ledger = ledger or Ledger()
    for start, duration, op, cause, n_units in entries:
        ledger.append(0, op, start, duration, 0 if cause else 7, cause, n_units=n_units)
    nothing = np.zeros(0, np.int64)
    times = hwsim.events.Times(
        latency_fs=nothing, phases_fs={}, fetch_fs=nothing, arrived_fs=nothing, makespan_fs=50
    )  # fmt: skip
    specs = [ComponentSpec(name="port", n_units=9)]
    return hwsim.activity.activity(ledger, specs, trace, times, by_formula=by_formula)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(ENTRIES)
def test_signals_are_what_a_clock_would_see(entries):
    signals = lanes.component_signals(activity_of(entries), 0)
    at = {name: [s.rest] * 50 for name, s in signals.items()}
    for name, signal in signals.items():
        for time, value in zip(signal.times_fs, signal.values, strict=True):
            at[name][time:] = [value] * (50 - time)
        assert not (np.diff(signal.values) == 0).any()
    for t in range(50):
        now = [e for e in entries if e[0] <= t < e[0] + e[1]]
        working = [e for e in now if not e[3]]
        assert at["busy"][t] == bool(working)
        assert at["stalled"][t] == (bool(now) and not working)
        assert at["units"][t] == sum(e[4] for e in working)
        assert at["op"][t] == min((e[2] for e in now), default=-1)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(ENTRIES)
def test_no_two_of_a_lane_overlap_and_lanes_are_the_fewest(entries):
    found = lanes.merged(activity_of(entries), 0)
    start, end = found["start_fs"], found["start_fs"] + found["duration_fs"]
    lane = lanes.sublanes(start, end)
    deepest = max((int(((start <= t) & (t < end)).sum()) for t in range(50)), default=0)
    longest = found["duration_fs"] > 0
    assert len(set(lane[longest].tolist())) == deepest
    for k in set(lane.tolist()):
        mine = np.flatnonzero(lane == k)
        assert (end[mine][:-1] <= start[mine][1:]).all()
    works = found["cause"] == 0
    assert found["energy_aj"].sum() == 7 * sum(not e[3] for e in entries)
    kinds = {(e[0], e[1], e[2]) for e in entries if not e[3]}
    assert works.sum() == len(kinds)
    expected = sum(e[4] for e in entries if not e[3] and e[1])
    assert found["n_units"][works & longest].sum() == expected


@pytest.mark.parametrize("label", ["fr-csb-8-ports", "fr-rank-select", "k"])
def test_bursts_draw_the_waveforms_that_single_addresses_draw(label):
    fast, slow = kept(label, "burst").activity, kept(label, "array").activity
    assert len(fast.op) < len(slow.op)
    for number in range(len(fast.components)):
        mine, other = (lanes.component_signals(a, number) for a in (fast, slow))
        for name, signal in mine.items():
            np.testing.assert_array_equal(signal.times_fs, other[name].times_fs)
            np.testing.assert_array_equal(signal.values, other[name].values)


def test_of_a_formula_one_unit_and_all_of_them_are_known_others_are_not():
    ledger = Ledger()
    n = np.arange(6)
    busy = np.array([0, 10, 20, 25, 90, 95])
    ledger.extend(0, 0 * n, 10 * n, np.full(6, 10), busy, 0 * n)
    made = activity_of([], ledger, by_formula=True)
    # Twice the time may be two units throughout, or four for half of it.
    assert made.n_units.tolist() == [0, 1, -1, -1, 9, -1]


def test_units_that_a_formula_does_not_place_are_unknown_and_single_ones_known(tmp_path):
    report = kept("fr-burst", "closed")
    hwsim.write_vcd(report, tmp_path / "run.vcd")
    sums, _ = read_vcd(tmp_path / "run.vcd")
    assert sums["write_ports", "units"] is None
    assert sums["arrays", "units"] == report.breakdown["arrays"]["unit_busy_fs"]
    hwsim.write_perfetto(report, tmp_path / "run.json")
    ports = read_perfetto(tmp_path / "run.json")["write_ports"]
    assert None in {e["args"]["n_units"] for *_, e in ports}


# -- the files -------------------------------------------------------------------------------------------
def test_times_are_in_picoseconds_where_that_is_exact(tmp_path):
    for label, unit in (("fr-burst", "1 ps"), ("sumtree-gpu", "1 fs")):
        report = kept(label)
        hwsim.write_vcd(report, tmp_path / "run.vcd")
        first = (tmp_path / "run.vcd").read_text().splitlines()[0]
        assert first == f"$timescale {unit} $end"
        moments = np.concatenate((report.activity.start_fs, report.activity.duration_fs))
        assert ((moments % 1000).max() == 0) == (unit == "1 ps")


def test_a_waveform_opens_with_every_value_and_legal_names(tmp_path):
    hwsim.write_vcd(kept("k", arrivals=ARRIVALS["closed"]), tmp_path / "run.vcd")
    lines = (tmp_path / "run.vcd").read_text().splitlines()
    names = [line.split()[2] for line in lines if line.startswith("$scope")]
    names += [line.split()[4] for line in lines if line.startswith("$var")]
    assert all(re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) for name in names)
    identifiers = {line.split()[3] for line in lines if line.startswith("$var")}
    first = lines.index("#0")
    assert lines[first + 1] == "$dumpvars"
    initial = lines[first + 2 : lines.index("$end", first)]
    assert {line.split()[-1] if line[0] == "b" else line[1:] for line in initial} == identifiers
    moments = [int(line[1:]) for line in lines[first:] if line[0] == "#"]
    assert moments == sorted(set(moments))


@pytest.mark.parametrize("write", [hwsim.write_vcd, hwsim.write_perfetto])
def test_the_same_run_writes_the_same_file(tmp_path, write):
    for name in ("a", "b"):
        write(kept("fr-burst", arrivals=ARRIVALS["poisson"]), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("write", [hwsim.write_vcd, hwsim.write_perfetto])
def test_a_report_without_its_ledger_is_refused(tmp_path, write):
    trace = hwsim.synthetic_trace(50, 4, n_ops=1)
    report = hwsim.simulate(trace, hwsim.machine("sumtree-gpu", n_rows=50))
    assert report.activity is None
    with pytest.raises(ValueError, match=r"got activity None; simulate with keep_ledger=True"):
        write(report, tmp_path / "run")
    with pytest.raises(TypeError, match=r"report must be made by hwsim.simulate, got 'x'"):
        write("x", tmp_path / "run")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("write", [hwsim.write_vcd, hwsim.write_perfetto])
def test_a_trace_without_ops_is_written_too(tmp_path, write):
    trace = Trace()
    trace.begin(TraceHeader(n_rows=4, row_bytes=0, bits=8, sampler="per", options={}, seed=0))
    report = hwsim.simulate(trace, hwsim.machine("sumtree-gpu", n_rows=4), keep_ledger=True)
    write(report, tmp_path / "run")
    (check_vcd if write is hwsim.write_vcd else check_perfetto)(report, tmp_path / "run")


def test_without_pyvcd_the_extra_is_named(tmp_path, monkeypatch):
    report = kept("sumtree-gpu")
    monkeypatch.setitem(sys.modules, "vcd", None)
    with pytest.raises(ImportError, match=r'write_vcd needs pyvcd, of the extra "trace": pip install ".\[trace\]"'):
        hwsim.write_vcd(report, tmp_path / "run.vcd")


def test_a_failure_leaves_the_file_that_was_there(tmp_path):
    report, path = kept("sumtree-gpu"), tmp_path / "run.vcd"
    hwsim.write_vcd(report, path)
    before = path.read_bytes()
    unnamed = dataclasses.replace(report.activity, components=("a b", *report.activity.components[1:]))
    with pytest.raises(ValueError, match=r"components must have names of letters, digits and _, got 'a b'"):
        hwsim.write_vcd(dataclasses.replace(report, activity=unnamed), path)
    bad = dataclasses.replace(report.activity, op=report.activity.op + 10**6)
    with pytest.raises(IndexError):
        hwsim.write_perfetto(dataclasses.replace(report, activity=bad), path)
    assert [p.name for p in tmp_path.iterdir()] == ["run.vcd"]
    assert path.read_bytes() == before


def test_keeping_the_ledger_changes_nothing_else():
    trace = hwsim.synthetic_trace(100, 8, n_ops=2)
    machine = hwsim.machine("amper-fr", n_rows=100, csb_entries=500)
    plain, full = hwsim.simulate(trace, machine), hwsim.simulate(trace, machine, keep_ledger=True)
    assert plain.to_dict() == full.to_dict()
    with pytest.raises(ValueError, match="read-only"):
        full.activity.start_fs[0] = 1
    with pytest.raises(TypeError, match="keep_ledger must be True or False, got 1"):
        hwsim.simulate(trace, machine, keep_ledger=1)
    n_samples = len(full.latency_fs["sample"])
    assert (
        repr(full.activity)
        == f"Activity(11 components, {len(full.activity.op)} entries, {len(trace) + n_samples} spans)"
    )
