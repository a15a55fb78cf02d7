"""Leakage and energy of one op: what a machine leaks is its components' sum, over time, and n/a where it is unknown."""

import dataclasses
import json
from fractions import Fraction

import pytest

import hwsim
from hwsim import cost, cost_leakage, power, units
from hwsim.technology import technology
from tests.test_hwsim_machines import hand_trace

AMPER = [
    {},
    {"readout": "burst"},
    {"readout": "rank_select"},
    {"readout": "rank_select", "n_banks": 4, "n_groups": 30},
    {"n_csb_ports": 4},
    {"rows_per_array": 256, "bits": 32},
]
MACHINES = [
    *(("amper-fr", {"technology": "evacam-fefet45", **options}) for options in AMPER),
    ("amper-k", {"technology": "evacam-fefet45"}),
    ("amper-k", {"technology": "evacam-fefet45", "neighbours": "bisection", "readout": "rank_select", "n_groups": 40}),
    *(("sumtree-onchip", {"fan_out": fan_out}) for fan_out in (2, 4, 8, 16)),
    ("sumtree-onchip", {"forwarding": False, "pipelined": False}),
    *(("rejection-onchip", {"n_lanes": lanes}) for lanes in (1, 8)),
]


def simulated(name, n_ops=3, n=1_000, **options):
    sampler = "amper-k" if name == "amper-k" else "amper-fr"
    trace = hwsim.synthetic_trace(n, 8, 0.1, n_ops, seed=0, sampler=sampler)
    machine = hwsim.machine(name, n_rows=n, **options)
    return hwsim.simulate(trace, machine)


# -- naive: everything again, from the technology file ---------------------------------------------------
PERIPHERY = 1 / 0.6  # area_efficiency of cmos45


def naive_leakage_uw(component, um2, sram_bits, cell_um2=0.346, cells=1.0):
    """Return logic by the area that SRAM leaves over, SRAM by the bit."""
    logic = um2 - sram_bits * cell_um2 * PERIPHERY
    return logic * 52e-3 + sram_bits * cells * 1600e-6


def assert_leakage_adds_up(report):
    """Raise unless the whole is the sum of its parts, and each part its power times the makespan, rounded."""
    parts = [part for part in report.breakdown.values() if part["leakage_uw"] is not None]
    assert isinstance(report.leakage_aj, int)
    assert report.leakage_aj == sum(part["leakage_aj"] for part in parts)
    assert report.leakage_uw == pytest.approx(sum(part["leakage_uw"] for part in parts))
    for part in parts:
        exact = Fraction(part["leakage_uw"]) * report.makespan_fs / 1000  # uW times fs: 1e-21 J
        assert abs(part["leakage_aj"] - exact) <= Fraction(1, 2)


@pytest.mark.parametrize(("name", "options"), MACHINES)
def test_every_component_with_an_area_leaks_and_the_machine_leaks_their_sum(name, options):
    report = simulated(name, **options)
    for component, part in report.breakdown.items():
        assert (part["leakage_uw"] is None) == (part["area_um2"] is None), component
        if part["area_um2"] is not None:
            assert part["leakage_uw"] > 0
    assert report.leakage_unknown == ()
    assert_leakage_adds_up(report)
    assert report.leakage_pj == report.leakage_aj / 1e6
    # Joules over seconds, and joules once more.
    assert report.leakage_uw * 1e-6 * report.makespan_ns * 1e-9 == pytest.approx(report.leakage_pj * 1e-12)
    assert report.dynamic_uw * 1e-6 * report.makespan_ns * 1e-9 == pytest.approx(report.energy_pj * 1e-12)


@pytest.mark.parametrize(("name", "options"), MACHINES)
def test_dynamic_energy_is_what_it_was_without_leakage(name, options):
    report = simulated(name, **options)
    assert report.energy_aj == sum(part["energy_aj"] or 0 for part in report.breakdown.values())
    assert report.energy_aj == sum(aj or 0 for aj in report.energy_by_kind_aj.values())


def test_a_mistake_in_the_sum_is_caught():
    report = simulated("sumtree-onchip")
    breakdown = {name: dict(part) for name, part in report.breakdown.items()}
    breakdown["routers"]["leakage_aj"] *= 1000
    wrong = dataclasses.replace(report, breakdown=breakdown)
    with pytest.raises(AssertionError):
        assert_leakage_adds_up(wrong)


def test_csb_of_evacam_leaks_as_computed_by_hand():
    report = simulated("amper-fr", technology="evacam-fefet45")
    leaks = {name: part["leakage_uw"] for name, part in report.breakdown.items()}
    n_arrays, address_bits = 16, 10
    assert leaks["arrays"] == n_arrays * 151
    assert leaks["csb"] == pytest.approx(1_000 * address_bits * 1600e-6)
    assert leaks["encoders"] == pytest.approx((16 + 8) * 201 * 52e-3)  # one an array, one a bank
    assert leaks["urng"] == pytest.approx(710 * 52e-3)
    assert leaks["write_ports"] is None  # its drivers lie in the arrays
    assert leaks["row_memory"] is None


def test_the_rank_tree_leaks_by_its_nodes_and_its_counts():
    part = simulated("amper-fr", technology="evacam-fefet45", readout="rank_select").breakdown
    counts = 24 * (16 * 7)  # 24 groups, sixteen blocks of 64 rows below the root
    nodes = 4 + 1
    assert part["rank_tree"]["leakage_uw"] == pytest.approx(nodes * 583 * 52e-3 + counts * 1600e-6)
    assert part["selectors"]["leakage_uw"] == pytest.approx(16 * 892 * 52e-3)
    assert part["rank_tree"]["leakage_uw"] == pytest.approx(
        naive_leakage_uw("rank_tree", part["rank_tree"]["area_um2"], counts)
    )


@pytest.mark.parametrize(("forwarding", "cells"), [(False, 1.0), (True, 1.3)])
def test_a_tree_leaks_by_the_bit_with_two_ports_by_larger_cells(forwarding, cells):
    part = simulated("sumtree-onchip", fan_out=16, forwarding=forwarding).breakdown
    stored = 1_000 * 16 + 63 * 20 + 4 * 24  # leaves; sums of 16; sums of 256
    assert part["node_memories"]["leakage_uw"] == pytest.approx(stored * cells * 1600e-6)
    assert part["adders"]["leakage_uw"] == pytest.approx((16 + 20 + 24 + 26) * 5.28 * 52e-3)


def test_the_memory_of_rejection_leaks_by_the_bit():
    part = simulated("rejection-onchip", n_lanes=8).breakdown
    assert part["memory"]["leakage_uw"] == pytest.approx(8 * 125 * 16 * 1600e-6)
    assert part["counters"]["leakage_uw"] == pytest.approx(8 * 399 * 52e-3)


def test_leakage_scales_with_the_makespan_and_not_with_the_work():
    short, long = (simulated("amper-fr", n_ops, technology="evacam-fefet45") for n_ops in (2, 20))
    assert short.leakage_uw == long.leakage_uw
    ratio = long.makespan_fs / short.makespan_fs
    assert long.leakage_aj / short.leakage_aj == pytest.approx(ratio)
    assert long.energy_aj / short.energy_aj != pytest.approx(ratio, rel=0.01)


def test_every_fidelity_and_every_arrival_leaks_alike():
    trace = hwsim.synthetic_trace(1_000, 8, 0.1, 3, seed=0)
    machine = hwsim.machine("amper-fr", n_rows=1_000, technology="evacam-fefet45")
    reports = [hwsim.simulate(trace, machine, fidelity=f) for f in ("closed", "burst", "array")]
    assert len({report.leakage_aj for report in reports}) == 1
    busy = hwsim.simulate(trace, machine, arrivals=hwsim.Closed(n_clients=2))
    assert_leakage_adds_up(busy)
    assert busy.energy_per_op_pj("sample").leakage_pj is None  # ops that overlap share it
    assert busy.energy_per_op_pj("sample").dynamic_pj is not None


# -- unknown stays unknown -------------------------------------------------------------------------------
def test_a_technology_that_states_no_leakage_of_its_arrays_leaves_the_machine_without():
    report = simulated("amper-fr", technology="camasim-fefet45")
    assert (report.leakage_aj, report.leakage_pj, report.leakage_uw) == (None, None, None)
    assert report.leakage_unknown == ("arrays",)
    assert report.breakdown["csb"]["leakage_aj"] > 0
    assert report.breakdown["arrays"]["leakage_aj"] is None
    assert any(text.startswith("leakage of the arrays") for text in report.not_covered)
    op = report.energy_per_op_pj("sample")
    assert (op.leakage_pj, op.total_pj) == (None, None)
    assert op.dynamic_pj > 0
    assert units.format_energy(report.leakage_aj) == units.format_power(report.leakage_uw) == "n/a"


@pytest.mark.parametrize("name", ["sumtree-gpu", "sumtree-cpu"])
def test_nothing_is_known_of_gpu_and_cpu(name):
    report = simulated(name)
    assert (report.leakage_aj, report.leakage_uw, report.dynamic_uw) == (None, None, None)
    assert report.leakage_unknown == ()
    assert report.energy_per_op_pj("sample").to_dict() == dict.fromkeys(("dynamic_pj", "leakage_pj", "total_pj"))


@pytest.mark.parametrize(
    ("drop", "unknown"),
    [
        ("sram_bit_pw", {"node_memories"}),
        ("logic_um2_nw", {"urng", "draw_unit", "routers", "adders"}),
        ("", {"node_memories", "urng", "draw_unit", "routers", "adders"}),
    ],
)
def test_a_file_without_a_number_leaves_what_needs_it_unknown(tmp_path, drop, unknown):
    from importlib import resources

    text = (resources.files("hwsim") / "presets" / "cmos45.toml").read_text(encoding="utf-8")
    assert drop in text
    kept = text.partition("[leakage]")[0] if not drop else "\n".join(
        line for line in text.splitlines() if not line.startswith(f"{drop} =")
    )  # fmt: skip
    path = tmp_path / "mine.toml"
    path.write_text(kept, encoding="utf-8")
    report = simulated("sumtree-onchip", technology=path)
    assert set(report.leakage_unknown) == unknown
    assert report.leakage_aj is None
    assert report.area_um2 == simulated("sumtree-onchip").area_um2


def test_what_has_no_area_is_no_unknown():
    part = {"area_um2": 1.0, "leakage_uw": 2.0, "leakage_aj": 3}
    none = {"area_um2": None, "leakage_uw": None, "leakage_aj": None}
    assert power.leakage_aj({"a": part, "b": part, "c": none}) == 6
    assert power.leakage_aj({"a": none}) is None
    assert power.unknown({"a": part, "b": {**none, "area_um2": 1.0}, "c": none}) == ("b",)
    assert power.leakage_uw({"a": part, "b": {**none, "area_um2": 1.0}}) is None


# -- one op ----------------------------------------------------------------------------------------------
def test_the_energy_of_an_op_is_the_dynamic_mean_and_the_leakage_over_its_mean_latency():
    report = simulated("amper-fr", technology="evacam-fefet45", readout="rank_select")
    for kind in ("sample", "update", "insert"):
        op, latency = report.energy_per_op_pj(kind), report.latency_ns[kind]
        assert op.dynamic_pj == pytest.approx(report.energy_by_kind_aj[kind] / len(latency) / 1e6)
        assert op.leakage_pj == pytest.approx(report.leakage_uw * latency.mean() / 1e3)  # uW ns = fJ
        assert op.total_pj == op.dynamic_pj + op.leakage_pj
    served = sum(len(values) * report.energy_per_op_pj(kind).leakage_pj for kind, values in report.latency_ns.items())
    assert served == pytest.approx(report.leakage_pj, rel=1e-9)  # back to back, fetches too
    assert report.energy_per_op_pj("fetch").dynamic_pj is None


def test_an_op_that_is_unknown_or_absent_is_refused():
    report = hwsim.simulate(hand_trace("per"), hwsim.machine("sumtree-onchip", n_rows=100))
    with pytest.raises(ValueError, match=r"kind must be one of 'sample', .*, got 'step'"):
        report.energy_per_op_pj("step")
    empty = dataclasses.replace(report, latency_fs={**report.latency_fs, "update": report.latency_fs["update"][:0]})
    with pytest.raises(ValueError, match="kind must be of an op of the trace, got 'update', of which it has none"):
        empty.energy_per_op_pj("update")
    assert "update" not in empty.to_dict()["energy_per_op_pj"]


@pytest.mark.parametrize("name", ["amper-fr", "sumtree-onchip", "sumtree-gpu"])
def test_a_report_as_a_dictionary_has_it_all(name):
    report = simulated(name)
    loaded = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    for key in ("leakage_aj", "leakage_pj", "leakage_uw", "dynamic_uw"):
        assert loaded[key] == getattr(report, key)
    assert loaded["leakage_unknown"] == list(report.leakage_unknown)
    assert set(loaded["energy_per_op_pj"]) == {"sample", "update", "insert", "fetch"}
    assert loaded["energy_per_op_pj"]["sample"] == report.energy_per_op_pj("sample").to_dict()


# -- units -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("uw", "fs", "aj"),
    [
        (1.0, 1_000, 1),  # a microwatt for a picosecond: 1e-18 J
        (1.0, 499, 0),
        (1.0, 500, 1),  # floor(x + .5)
        (151.0, 10**6, 151_000),
        (1e6, 10**15, 10**18),  # a watt for a second
        (0.0, 10**15, 0),
        (3.0, (2**60 + 1) * 1000, 3 * (2**60 + 1)),  # beyond a float's digits
    ],
)
def test_power_times_time_is_whole_attojoules(uw, fs, aj):
    assert units.leaked_aj(uw, fs) == aj
    assert isinstance(units.leaked_aj(uw, fs), int)


def test_powers_convert_and_print():
    assert units.mean_uw(10**18, 10**15) == 1e6
    assert units.uw_from_nw(52.0) == pytest.approx(0.052)
    assert units.uw_from_pw(1600.0) == pytest.approx(0.0016)
    shown = [units.format_power(uw) for uw in (None, 0.0, 0.031, 1.0, 47_263.0, 2.4e6)]
    assert shown == ["n/a", "0 uW", "0.031 uW", "1 uW", "47.3 mW", "2.4 W"]
    assert [units.format_years(years) for years in (None, 0.0123, 4.71, 317.2)] == [
        "n/a", "0.0123 years", "4.71 years", "317 years",
    ]  # fmt: skip


def test_a_block_leaks_by_its_area_and_its_bits():
    tech = technology("cmos45")
    um2 = 100.0 + cost.memory_um2(tech, 64)
    assert cost_leakage.block_leakage_uw(tech, um2, 64) == pytest.approx(naive_leakage_uw("block", um2, 64))
    assert cost_leakage.block_leakage_uw(tech, 0.0) == 0.0
    assert cost_leakage.stated(tech, "leakage.no_such_number") is None
    assert cost_leakage.stated(tech, "no_such_section.x") is None


def test_the_leakage_numbers_say_their_temperature_and_their_spread():
    rows = {key: (unit, source) for key, _, unit, source in technology("evacam-fefet45").rows()}
    for key, unit in (("leakage.sram_bit_pw", "pW"), ("leakage.logic_um2_nw", "nW/um2")):
        assert rows[key][0] == unit
        assert "350 K" in rows[key][1]
    for name in ("evacam-fefet45", "camasim-fefet45"):
        assert technology(name).number("endurance.writes") == 1e10
