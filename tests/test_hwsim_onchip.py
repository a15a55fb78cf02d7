"""The machines without a TCAM: events, formula and clock agree; what they say and what they refuse."""

import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hwsim
from amper.trace import Trace, TraceHeader
from tests.hwsim_cases import TOP, random_case
from tests.naive import rejection_machine, tree_machine
from tests.onchip_cases import random_rejection, random_tree, tree_timing
from tests.test_hwsim_equality import assert_balanced, assert_same
from tests.test_hwsim_machines import hand_trace

NAMES = ("sumtree-onchip", "rejection-onchip")


# -- one op after another ---------------------------------------------------------------------------
@settings(max_examples=120, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32 - 1), n_rows=st.integers(1, 400))
def test_a_tree_by_events_by_formula_and_by_its_clock_takes_the_same_time(seed, n_rows):
    rng = np.random.default_rng(seed)
    trace = random_case(rng, variant="amper-k", n_rows=n_rows, n_groups=2).trace
    machine = random_tree(rng, n_rows)
    events, formula = (hwsim.simulate(trace, machine, fidelity=f) for f in ("burst", "closed"))
    assert_same(events, formula)
    assert_balanced(events)
    timing = tree_timing(machine)
    for kind, name in ((0, "insert"), (1, "update"), (2, "sample")):
        counts = trace.ops["count"][trace.ops["kind"] == kind]
        cycles = [tree_machine.TreeClock([(kind == 2, int(b), 0)], **timing).run()[0] for b in counts]
        np.testing.assert_array_equal(events.latency_fs[name], np.array(cycles, np.int64) * machine.costs.period_fs)


@settings(max_examples=120, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**32 - 1),
    n_rows=st.integers(1, 400),
    n_groups=st.integers(1, 20),
    max_csp=st.sampled_from([0.0, 0.02, 0.3, 1.0]),
)
def test_rejection_by_events_by_formula_and_by_its_clock_takes_the_same_time_and_energy(
    seed, n_rows, n_groups, max_csp
):
    rng = np.random.default_rng(seed)
    case = random_case(rng, variant="amper-fr", n_rows=n_rows, n_groups=n_groups, max_csp=max_csp, redraws=True)
    machine = random_rejection(rng, n_rows)
    events, formula = (hwsim.simulate(case.trace, machine, fidelity=f) for f in ("burst", "closed"))
    assert_same(events, formula)
    assert_balanced(events)
    c, acted, compared, samplings = machine.costs, Counter(), 0, []
    cycles = {name: getattr(c, name) for name in ("urng", "query", "address", "read", "accept")}
    sampled = np.flatnonzero(case.trace.ops["kind"] == 2)
    for op, row, (searches, b, n_redraws) in zip(sampled, case.trace.samples, case.samplings, strict=True):
        last = [s for s in searches if s["attempt"] == n_redraws]
        gaps = []
        if any(len(s["slots"]) for s in last):
            places = machine.n_lanes * -(-int(row["n_valid"]) // machine.n_lanes)
            overlap = rejection_machine.largest_overlap([(s["lo"], s["hi"]) for s in last], TOP)
            chance = sum(len(s["slots"]) for s in last) / (places * overlap)
            gaps = np.random.default_rng((machine.seed, int(op))).geometric(chance, b).tolist()
        clock = rejection_machine.RejectionClock(n_lanes=machine.n_lanes, max_tries=machine.max_tries, **cycles)
        samplings.append(clock.sample(len(last), gaps, b))
        acted += clock.acted
        compared += clock.acted["compare"] * len(last)
    np.testing.assert_array_equal(events.latency_fs["sample"], np.array(samplings) * c.period_fs)
    kinds = case.trace.ops["kind"][case.trace.ops["kind"] != 2]
    writes = [rejection_machine.write(slots.tolist(), machine.n_lanes, read=c.read) for slots in case.writes]
    for kind, name in ((0, "insert"), (1, "update")):
        np.testing.assert_array_equal(events.latency_fs[name], np.array(writes)[kinds == kind] * c.period_fs)
    rows = sum(len(slots) for slots in case.writes)
    expected = {
        "urng": acted["urng"] * c.urng_aj,
        "query_generator": acted["query"] * c.query_aj,
        "address_units": acted["address"] * c.address_aj,
        "memory": acted["read"] * c.read_aj + rows * c.write_aj,
        "comparators": compared * c.range_aj,
        "counters": acted["count"] * c.accept_aj,
    }
    assert {name: events.breakdown[name]["energy_aj"] for name in expected} == expected


@pytest.mark.parametrize("name", NAMES)
def test_an_op_without_rows_takes_no_time_and_no_energy(name):
    trace = hand_trace(sample=False)
    nothing = np.zeros(0, np.int64)
    trace.record_update(nothing, nothing)
    machine = hwsim.machine(name, n_rows=100)
    events, formula = (hwsim.simulate(trace, machine, fidelity=f) for f in ("burst", "closed"))
    assert_same(events, formula)
    assert events.latency_fs["update"].tolist() == [0]
    assert events.energy_by_kind_aj["update"] == 0


# -- both -------------------------------------------------------------------------------------------
@pytest.mark.parametrize("options", [("sumtree-onchip", {"fan_out": k}) for k in (2, 4, 8, 16)] + [(NAMES[1], {})])
def test_more_rows_are_never_faster_smaller_or_cheaper(options):
    name, parameters = options
    trace = hwsim.synthetic_trace(100, 32, 0.3, 5, seed=0)
    before = None
    for n_rows in (100, 101, 5_000, 20_000, 100_000, 10**6, 4 * 10**6):
        report = hwsim.simulate(trace, hwsim.machine(name, n_rows=n_rows, **parameters), fidelity="closed")
        now = [report.latency_fs["sample"].sum(), report.latency_fs["update"].sum(), report.area_um2, report.energy_aj]
        assert before is None or all(a <= b for a, b in zip(before, now, strict=True))
        before = now


@pytest.mark.parametrize("name", NAMES)
def test_a_report_is_json_and_knows_energy_and_area(name):
    trace = hwsim.synthetic_trace(500, 8, 0.1, 2, seed=1)
    for technology in ("cmos45", "evacam-fefet45"):
        machine = hwsim.machine(name, n_rows=500, technology=technology)
        report = hwsim.simulate(trace, machine)
        loaded = json.loads(json.dumps(report.to_dict(), allow_nan=False))
        assert loaded["machine"] == machine.parameters()
        assert loaded["machine"]["name"] == machine.name == name
        assert loaded["energy_aj"] > 0
        assert report.area_um2 == pytest.approx(sum(s.area_um2 for s in machine.components))
        assert report.n_dropped == 0
        assert loaded["leakage_aj"] > 0
        assert any(text.startswith("power gating") for text in report.not_covered)


def test_a_tree_serves_every_trace():
    for sampler in ("per", "uniform", "amper-fr", "amper-k"):
        hwsim.simulate(hand_trace(sampler, bits=24), hwsim.machine("sumtree-onchip", n_rows=100))


# -- refusals ---------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("sumtree-onchip", {"n_rows": 0}, "n_rows must be at least 1, got 0"),
        ("sumtree-onchip", {"bits": 0}, "bits must be at least 1, got 0"),
        ("sumtree-onchip", {"fan_out": 3}, "fan_out must be one of 2, 4, 8, 16, got 3"),
        ("sumtree-onchip", {"clock_ghz": 0.0}, "clock_ghz must be finite and above 0, got 0.0"),
        (
            "sumtree-onchip",
            {"clock_ghz": 3.0},
            "clock_ghz must be at most 2.08333, got 3.0; the slowest single-cycle block takes 0.48 ns",
        ),
        ("sumtree-onchip", {"technology": "cmos22"}, "technology must be one of .*'cmos45'.*, got 'cmos22'"),
        ("sumtree-onchip", {"technology": "gpus"}, "technology must state 'urng.delay_ns', got none in 'gpus'"),
        ("rejection-onchip", {"n_rows": -1}, "n_rows must be at least 1, got -1"),
        ("rejection-onchip", {"n_lanes": 0}, "n_lanes must be at least 1, got 0"),
        ("rejection-onchip", {"n_lanes": 101}, "n_lanes must be at most 100, got 101; no bank may be empty"),
        ("rejection-onchip", {"n_ranges": 65}, "n_ranges must be at most 64, got 65; the matches of a try"),
        ("rejection-onchip", {"max_tries": 0}, "max_tries must be at least 1, got 0"),
        ("rejection-onchip", {"seed": -1}, "seed must be at least 0, got -1"),
        ("rejection-onchip", {"clock_ghz": 2.5}, "clock_ghz must be at most 2.08333, got 2.5"),
        ("rejection-onchip", {"clock_ghz": float("inf")}, "clock_ghz must be finite and above 0, got inf"),
    ],
)
def test_a_bad_parameter_is_refused(name, parameters, message):
    with pytest.raises(ValueError, match=message):
        hwsim.machine(name, **{"n_rows": 100, **parameters})


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("sumtree-onchip", {"n_rows": 2.5}, "n_rows must be a whole number, got 2.5"),
        ("sumtree-onchip", {"fan_out": "4"}, "fan_out must be a whole number, got '4'"),
        ("sumtree-onchip", {"pipelined": 1}, "pipelined must be True or False, got 1"),
        ("sumtree-onchip", {"forwarding": None}, "forwarding must be True or False, got None"),
        ("sumtree-onchip", {"clock_ghz": "1"}, "clock_ghz must be a number, got '1'"),
        ("sumtree-onchip", {"lanes": 2}, "parameters of 'sumtree-onchip' must be among n_rows, .*, got 'lanes'"),
        ("rejection-onchip", {"seed": 1.5}, "seed must be a whole number, got 1.5"),
        ("rejection-onchip", {"n_lanes": True}, "n_lanes must be a whole number, got True"),
        (
            "rejection-onchip",
            {"fan_out": 2},
            "parameters of 'rejection-onchip' must be among n_rows, .*, got 'fan_out'",
        ),
    ],
)
def test_a_parameter_of_the_wrong_type_or_name_is_a_type_error(name, parameters, message):
    with pytest.raises(TypeError, match=message):
        hwsim.machine(name, **{"n_rows": 100, **parameters})


@pytest.mark.parametrize(
    ("trace", "parameters", "message"),
    [
        (
            hand_trace("per"),
            {},
            r"trace must hold searches of 'amper-fr', got a trace of 'per'; make one with trace.replay\('amper-fr'\)",
        ),
        (hand_trace("amper-k"), {}, "trace must hold searches of 'amper-fr', got a trace of 'amper-k'"),
        (
            hand_trace(rows=[[0, 15, 10, 20, 2, 0, 2, 0]]),
            {},
            "trace must hold range searches only for 'rejection-onchip', got best-match searches",
        ),
        (hand_trace(bits=24), {}, "bits must be at least the trace's 24, got 16"),
        (
            hand_trace(rows=[[g, 15, 10, 20, 0, 1, 2, 0] for g in range(5)]),
            {"n_ranges": 4},
            "n_ranges must be at least 5 for this trace, got 4",
        ),
        (
            hand_trace(n_csp=4),
            {},
            "n_csp must be at most n_valid times the largest overlap of the ranges, 3, got 4 in sampling 0",
        ),
    ],
)
def test_rejection_refuses_a_trace_it_could_not_have_served(trace, parameters, message):
    with pytest.raises(ValueError, match=message):
        hwsim.simulate(trace, hwsim.machine("rejection-onchip", n_rows=100, **parameters))


def test_rejection_refuses_a_trace_of_a_faulty_memory():
    trace = Trace()
    options = {"faults": {"stuck": 0.1}}
    trace.begin(TraceHeader(n_rows=4, row_bytes=8, bits=16, sampler="amper-fr", options=options, seed=0))
    with pytest.raises(ValueError, match=r"faults must be None for 'rejection-onchip', got .*; it has no TCAM"):
        hwsim.simulate(trace, hwsim.machine("rejection-onchip", n_rows=4))


def test_the_preset_states_how_a_routing_node_and_an_adder_compare():
    number = hwsim.technology("cmos45").number
    for bit, node in (("bit_area_um2", "area_um2"), ("bit_energy_pj", "energy_pj")):
        assert 6 * 20 * number(f"adder.{bit}") == pytest.approx(number(f"routing_node.{node}"), rel=0.15)
    assert number("routing_node.radix_2_ns") == number("routing_node.radix_4_ns") / 2
