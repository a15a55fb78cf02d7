"""The sum tree on a CPU core: what was measured between and at its sizes, what is refused, and the one core."""

import math

import numpy as np
import pytest
import simpy

import hwsim
from amper.protocols import Draw
from amper.trace import OpKind, Trace, TraceHeader
from experiments import cpu_calibration
from hwsim.component import Component
from hwsim.ledger import Ledger
from hwsim.units import fs_from_ns

OPS = ("sample", "update", "insert")
#: call and row of each op, nanoseconds, at the two sizes of `FILE`.
NUMBERS = {100: (1000.0, 10.0, 400.0, 4.0, 300.0, 3.0), 10_000: (1200.0, 30.0, 500.0, 8.0, 310.5, 3.25)}


def number(value):
    return f'{{ value = {value}, unit = "ns", source = "measured: by hand" }}'


def file_of(numbers):
    keys = [f"{op}_{part}_ns" for op in OPS for part in ("call", "row")]
    sections = [
        f"[n{n}]\n" + "\n".join(f"{key} = {number(v)}" for key, v in zip(keys, values, strict=True))
        for n, values in numbers.items()
    ]
    return 'title = "mine"\nkind = "cpu"\n' + "\n".join(sections) + "\n"


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(file_of(NUMBERS))
    return path


def trace_of(n_rows=5_000):
    """Return inserts, updates and samplings of several sizes."""
    trace = Trace()
    trace.begin(TraceHeader(n_rows=n_rows, row_bytes=100, bits=16, sampler="per", options={}, seed=0))
    trace.record_insert(np.arange(300), np.full(300, 7))
    for b in (1, 64, 300):
        slots = np.arange(b)
        trace.record_sample(Draw(slots, np.ones(b), n_valid=300, n_csp=300))
        trace.record_update(slots, np.full(b, 9))
        trace.record_insert(slots, np.full(b, 5))
    return trace


# -- times --------------------------------------------------------------------------------------------
@pytest.mark.parametrize("n_rows", NUMBERS)
def test_at_a_measured_size_an_op_takes_the_call_and_its_rows(path, n_rows):
    machine = hwsim.machine("sumtree-cpu", n_rows=n_rows, technology=path)
    for i, kind in enumerate((OpKind.SAMPLE, OpKind.UPDATE, OpKind.INSERT)):
        call, row = NUMBERS[n_rows][2 * i : 2 * i + 2]
        assert machine.split_fs(kind, 17) == (fs_from_ns(call), 17 * fs_from_ns(row))


def test_between_two_sizes_numbers_are_linear_in_the_logarithm_of_n(path):
    machine = hwsim.machine("sumtree-cpu", n_rows=1_000, technology=path)  # half way from 100 to 10,000
    assert machine.split_fs(OpKind.SAMPLE, 1) == pytest.approx((1100e6, 20e6), abs=1)
    machine = hwsim.machine("sumtree-cpu", n_rows=200, technology=path)
    share = math.log(2) / math.log(100)
    expected = ((400 + 100 * share) * 1e6, (4 + 4 * share) * 1e6)
    assert machine.split_fs(OpKind.UPDATE, 1) == pytest.approx(expected, abs=1)


def test_below_the_smallest_size_the_smallest_is_taken(path):
    small, smallest = (hwsim.machine("sumtree-cpu", n_rows=n, technology=path) for n in (1, 100))
    for kind in OpKind:
        assert small.split_fs(kind, 64) == smallest.split_fs(kind, 64)


def test_the_order_of_the_sections_does_not_matter(path, tmp_path):
    other = tmp_path / "other.toml"
    other.write_text(file_of(dict(reversed(NUMBERS.items()))))
    machines = [hwsim.machine("sumtree-cpu", n_rows=700, technology=p) for p in (path, other)]
    assert machines[0].split_fs(OpKind.SAMPLE, 5) == machines[1].split_fs(OpKind.SAMPLE, 5)


def test_events_equal_the_formula_to_the_femtosecond_and_phases_add_up(path):
    for technology in (path, "cpu-epyc"):
        machine = hwsim.machine("sumtree-cpu", n_rows=5_000, technology=technology)
        events, formula = (hwsim.simulate(trace_of(), machine, fidelity=f) for f in ("burst", "closed"))
        assert {**events.to_dict(), "fidelity": ""} == {**formula.to_dict(), "fidelity": ""}
        assert set(events.sample_phases) == {"call", "rows"}
        np.testing.assert_array_equal(sum(events.sample_phases.values()), events.latency_fs["sample"])
        core = events.breakdown["core"]
        assert core["busy_fs"] == sum(int(events.latency_fs[kind].sum()) for kind in OPS)
        assert core["busy_fs"] + core["idle_fs"] == events.makespan_fs


def test_ops_that_ask_at_once_take_the_one_core_in_turn(path):
    machine = hwsim.machine("sumtree-cpu", n_rows=100, technology=path)
    trace, env, ledger = trace_of(100), simpy.Environment(), Ledger()
    core = Component(machine.components[0], 0, ledger)
    processes = machine.processes(env, trace, {"core": core})
    ends, phases = {}, {}

    def ask(op):
        phases[op] = yield from processes.perform(op)
        ends[op] = env.now

    env.run(until=env.all_of([env.process(ask(op)) for op in range(len(trace))]))
    alone = machine.closed(trace).latency_fs
    assert [ends[op] for op in range(len(trace))] == np.cumsum(alone).tolist()
    assert core.unit_busy_fs == alone.sum() == env.now
    sampled = trace.ops["kind"] == OpKind.SAMPLE
    assert [set(phases[op]) for op in range(len(trace))] == [{"call", "rows"} if s else set() for s in sampled]


def test_energy_and_area_are_unknown_and_what_is_not_covered_is_said():
    report = hwsim.simulate(trace_of(), hwsim.machine("sumtree-cpu", n_rows=5_000))
    assert (report.energy_aj, report.area_um2) == (None, None)
    assert report.breakdown["core"]["energy_aj"] is None
    assert any("measured on one core with warm code, fresh indices" in text for text in report.not_covered)
    assert report.machine == {"name": "sumtree-cpu", "n_rows": 5_000, "technology": "cpu-epyc"}


def test_gathering_rows_is_the_fetch_that_every_machine_has():
    reports = [hwsim.simulate(trace_of(), hwsim.machine(name, n_rows=5_000)) for name in ("sumtree-cpu", "sumtree-gpu")]
    np.testing.assert_array_equal(reports[0].latency_fs["fetch"], reports[1].latency_fs["fetch"])


# -- the preset ---------------------------------------------------------------------------------------
def test_the_preset_was_measured_by_named_versions_at_five_sizes():
    technology = hwsim.technology("cpu-epyc")
    assert technology.kind == "cpu"
    assert list(technology.sections) == [f"n{10**k}" for k in (3, 4, 5, 6, 7)]
    for key, value, unit, source in technology.rows():
        assert value > 0, key
        assert unit == "ns"
        assert source.startswith("measured: AMD EPYC")
        assert all(name in source for name in ("Python 3", "numpy 2", "numba 0")), key


# -- refusals -----------------------------------------------------------------------------------------
def test_a_size_above_the_largest_measured_is_refused_with_the_remedy(path):
    message = r"n_rows must be at most 10000, the largest size measured in '.*mine.toml', got 10001; measure it: amper "
    with pytest.raises(ValueError, match=message + r"calibrate-cpu --n \.\.\. 10001 --out FILE"):
        hwsim.machine("sumtree-cpu", n_rows=10_001, technology=path)
    with pytest.raises(ValueError, match="n_rows must be at most 10000000, the largest size measured in 'cpu-epyc'"):
        hwsim.machine("sumtree-cpu", n_rows=20_000_000)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"n_rows": 0}, "n_rows must be at least 1, got 0"),
        ({"technology": "gpus"}, r"technology must hold measured sizes of a CPU .*, got none in 'gpus'"),
        ({"technology": "cpu-xeon"}, "technology must be one of .*'cpu-epyc'.*, got 'cpu-xeon'"),
    ],
)
def test_a_bad_parameter_is_refused(parameters, message):
    with pytest.raises(ValueError, match=message):
        hwsim.machine("sumtree-cpu", **{"n_rows": 100, **parameters})


@pytest.mark.parametrize("n_rows", [2.5, True, "many"])
def test_a_size_that_is_no_whole_number_is_a_type_error(n_rows):
    with pytest.raises(TypeError, match="n_rows must be a whole number"):
        hwsim.machine("sumtree-cpu", n_rows=n_rows)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('kind = "cpu"', 'kind = "core"', "kind in .* must be one of .*'cpu', .*, got 'core'"),
        ("update_row_ns", "update_rows_ns", r"n100\.update_rows_ns in '.*mine\.toml' must be one of .*'update_row_ns'"),
        ('unit = "ns"', 'unit = "us"', r"n100\.sample_call_ns\.unit in .* must be 'ns', got 'us'"),
        ("value = 4.0", "value = -4.0", r"n100\.update_row_ns\.value in .* must be at least 0, got -4\.0"),
        (
            "[n100]",
            "[n0]",
            r"n0 in .* must be title, kind, based_on or a size that was measured \(\[n10000\]\), got 'n0'",
        ),
    ],
)
def test_a_bad_file_is_refused_by_file_and_key(path, old, new, message):
    text = file_of({100: NUMBERS[100]})
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(ValueError, match=message):
        hwsim.machine("sumtree-cpu", n_rows=50, technology=path)


# -- the measurement ----------------------------------------------------------------------------------
def test_a_measurement_is_a_file_that_serves_a_machine(tmp_path):
    rows = cpu_calibration.measure((40, 700), batches=(1, 8, 32), n_runs=2, seed=3)
    assert [(row["n"], row["op"]) for row in rows] == [(n, op) for n in (40, 700) for op in OPS]
    for row in rows:
        assert min(row["call_ns"], row["row_ns"]) >= 0 < row["call_ns"] + row["row_ns"]
        assert list(row["median_ns"]) == [1, 8, 32]
        assert all(isinstance(v, float) and v >= 1 for v in row["median_ns"].values())
    cpu_calibration.write_technology(tmp_path / "cpu.toml", rows)
    technology = hwsim.technology(tmp_path / "cpu.toml")
    for row in rows:
        for part in ("call", "row"):
            key = f"n{row['n']}.{row['op']}_{part}_ns"
            assert technology.number(key) == pytest.approx(row[f"{part}_ns"], abs=0.005)
    machine = hwsim.machine("sumtree-cpu", n_rows=300, technology=tmp_path / "cpu.toml")
    report = hwsim.simulate(trace_of(300), machine)
    assert (report.latency_fs["sample"] > 0).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sizes": ()}, r"n must be at least the largest batch timed, 512, got \[\]"),
        ({"sizes": (1_000, 511)}, r"n must be at least the largest batch timed, 512, got \[1000, 511\]"),
        ({"batches": (16, 16)}, r"batches must be two different sizes or more, each at least 1, got \[16\]"),
        ({"batches": (0, 16)}, r"batches must be two different sizes or more, each at least 1, got \[0, 16\]"),
        ({"n_runs": 0}, "n_runs must be at least 1, got 0"),
    ],
)
def test_a_measurement_that_cannot_carry_a_line_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        cpu_calibration.measure(**{"sizes": (1_000,), **arguments})


def test_a_line_never_has_a_negative_term():
    call, row, worst = cpu_calibration.fit(np.array([1, 10, 100]), np.array([1.0, 20.0, 300.0]))
    assert (call, row > 1) == (0, True)
    assert worst > 0
    call, row, _ = cpu_calibration.fit(np.array([1, 10, 100]), np.array([300.0, 200.0, 100.0]))
    assert (call > 0, row) == (True, 0)


def test_slots_of_updates_come_again_only_once_all_had_their_turn():
    turn = cpu_calibration._Turn(103, np.random.default_rng(0))
    for _ in range(3):
        slots = np.concatenate([turn.take(b).copy() for b in (10, 40, 50)])
        assert len(np.unique(slots)) == 100
        assert 0 <= slots.min() <= slots.max() < 103


def test_a_file_is_written_only_where_one_can_be(tmp_path):
    for path in (tmp_path / "cpu.txt", tmp_path / "absent" / "cpu.toml"):
        with pytest.raises(ValueError, match=r"out must be a .toml file in a folder that can be written, got"):
            cpu_calibration.write_technology(path, [])
