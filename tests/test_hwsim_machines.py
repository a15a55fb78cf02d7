"""The machines: their numbers against the reference, and what they refuse."""

import json

import numpy as np
import pytest

import amper
import hwsim
from amper.protocols import Draw
from amper.trace import Trace, TraceHeader
from hwsim.cost import fetch_fs, sram_access_pj
from hwsim.cost_amper import Geometry, amper_costs
from hwsim.machines.gpu_sumtree import GPUS, QUALITIES, T_OP_INTERVAL_US


def hand_trace(sampler="amper-fr", *, n_rows=100, bits=16, slots=(0, 1, 70), sample=True, rows=None, **draw):
    """Return one insert and one sampling of two draws."""
    trace = Trace()
    trace.begin(TraceHeader(n_rows=n_rows, row_bytes=100, bits=bits, sampler=sampler, options={}, seed=0))
    slots = np.array(slots, np.int64)
    if len(slots):
        trace.record_insert(slots, np.arange(1, len(slots) + 1) * 10)
    if sample:
        searches = np.array([[0, 15, 10, 20, 0, 1, 2, 0]] if rows is None else rows, np.int64).reshape(-1, 8)
        fields = {"n_valid": len(slots), "n_csp": 2, **draw}
        trace.record_sample(Draw(np.array([0, 1]), np.ones(2), searches=searches, **fields))
    return trace


# -- the reference's numbers ------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("preset", "search", "write", "best_match", "per_match"),
    [("camasim-fefet45", 5, 20, 15, 22), ("evacam-fefet45", 1, 11, 3, 10)],
)
def test_cycles_at_20k_rows_are_the_references(preset, search, write, best_match, per_match):
    c = hwsim.machine("amper-k", n_rows=20_000, technology=preset).costs
    assert (c.urng, c.query, c.way, c.draw) == (1, 6, 1, 4)
    assert (c.search, c.write, c.best_match) == (search, write, best_match)
    assert 2 * c.way + c.best_match + c.compare == per_match
    assert (c.population, c.tally, c.multiply) == (2, 2 + 3 * 2, 2)  # POP, POP + 2 Lu, MUL
    assert (c.route, c.select) == (2 * 5, 3)  # 2 Ld, SEL


def test_the_h_tree_takes_one_cycle_up_to_a_million_rows():
    assert hwsim.machine("amper-fr", n_rows=10**6).costs.way == 1


# Mean of 40 samplings against the reference's trial: (banks, ports) -> cycles.
TRIAL = [
    ("camasim-fefet45", 0.15, 5_000, {(8, 1): 839, (8, 8): 252, (64, 64): 184}),
    ("camasim-fefet45", 0.15, 20_000, {(8, 1): 3_068, (8, 8): 580, (64, 64): 224}),
    ("camasim-fefet45", 0.02, 20_000, {(8, 1): 491, (8, 8): 204, (64, 64): 182}),
    ("evacam-fefet45", 0.15, 20_000, {(8, 1): 3_063, (8, 8): 573, (64, 64): 208}),
]


@pytest.mark.parametrize(("preset", "fraction", "n_rows", "expected"), TRIAL)
def test_sampling_latency_is_within_three_percent_of_the_trial_table(preset, fraction, n_rows, expected):
    trace = hwsim.synthetic_trace(n_rows, 64, fraction, 40, seed=0)
    for (n_banks, n_ports), cycles in expected.items():
        machine = hwsim.machine("amper-fr", n_rows=n_rows, technology=preset, n_banks=n_banks, n_csb_ports=n_ports)
        mean = hwsim.simulate(trace, machine, fidelity="closed").latency_ns["sample"].mean()
        assert mean == pytest.approx(cycles, rel=0.03), (n_banks, n_ports)


# The same for the other readouts: (readout, banks) -> cycles.
OTHER_READOUTS = [
    ("camasim-fefet45", 0.15, 5_000, {("burst", 8): 207, ("burst", 64): 183, ("rank_select", 8): 202}),
    ("camasim-fefet45", 0.15, 20_000, {("burst", 8): 442, ("burst", 64): 183, ("rank_select", 8): 205}),
    ("camasim-fefet45", 0.02, 20_000, {("burst", 8): 199, ("burst", 64): 183, ("rank_select", 8): 206}),
    ("evacam-fefet45", 0.15, 20_000, {("burst", 8): 435, ("burst", 64): 159, ("rank_select", 8): 121}),
]


@pytest.mark.parametrize(("preset", "fraction", "n_rows", "expected"), OTHER_READOUTS)
def test_latency_of_the_other_readouts_is_within_three_percent_of_the_trial_table(preset, fraction, n_rows, expected):
    trace = hwsim.synthetic_trace(n_rows, 64, fraction, 40, seed=0)
    for (readout, n_banks), cycles in expected.items():
        machine = hwsim.machine("amper-fr", n_rows=n_rows, readout=readout, technology=preset, n_banks=n_banks)
        assert hwsim.simulate(trace, machine).latency_ns["sample"].mean() == pytest.approx(cycles, rel=0.03), readout


def test_rank_select_hardly_grows_with_the_buffer():
    found = {}
    for n_rows, n_ops in ((5_000, 20), (20_000, 20), (10**6, 3)):
        trace = hwsim.synthetic_trace(n_rows, 64, 0.15, n_ops, seed=0)
        for readout in ("csb", "rank_select"):
            machine = hwsim.machine("amper-fr", n_rows=n_rows, readout=readout)
            found[readout, n_rows] = np.median(
                hwsim.simulate(trace.window(1, len(trace)), machine).latency_fs["sample"]
            )
    ratio = {n: found["csb", n] / found["rank_select", n] for n in (20_000, 10**6)}
    print(f"csb / rank_select: {ratio[20_000]:.1f} at 20k, {ratio[10**6]:.0f} at 1e6")
    assert ratio[20_000] >= 10
    assert ratio[10**6] >= 300
    assert found["rank_select", 10**6] <= 1.15 * found["rank_select", 5_000]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("preset", "fraction", "expected"),
    [
        ("camasim-fefet45", 0.15, {(8, 1): 150_028, (8, 8): 19_656, (64, 64): 2_923}),
        ("camasim-fefet45", 0.02, {(8, 1): 19_918, (8, 8): 2_858, (64, 64): 590}),
        ("evacam-fefet45", 0.15, {(8, 1): 150_024, (8, 8): 19_652, (64, 64): 2_919}),
    ],
)
def test_sampling_latency_at_a_million_rows_is_within_three_percent_of_the_trial_table(preset, fraction, expected):
    test_sampling_latency_is_within_three_percent_of_the_trial_table(preset, fraction, 10**6, expected)


def test_amper_k_at_20k_takes_30_to_70_us_a_sampling():
    trace = hwsim.synthetic_trace(20_000, 64, 0.15, 2, seed=0, sampler="amper-k")
    for preset, per_match in (("evacam-fefet45", 10), ("camasim-fefet45", 22)):
        report = hwsim.simulate(trace, hwsim.machine("amper-k", n_rows=20_000, technology=preset))
        assert report.latency_ns["sample"] == pytest.approx(3_000 * per_match, rel=0.07)


@pytest.mark.parametrize(
    ("quality", "expected_us"),
    [
        ("fused", (4.952209085, 7.352209085, 12.352209085)),
        ("torchrl", (33.552209085, 62.352209085, 122.352209085)),
        ("eager", (273, 525, 1050)),
        ("host", (4_992, 9_600, 19_200)),
    ],
)
def test_gpu_sampling_latency_at_20k_is_the_references(quality, expected_us):
    trace = hwsim.synthetic_trace(20_000, 64, 0.15, 1, seed=0)
    machine = hwsim.machine("sumtree-gpu", n_rows=20_000, gpu="gtx1080", quality=quality)
    for t_op_us, expected in zip((2.6, 5, 10), expected_us, strict=True):
        for fidelity in ("burst", "closed"):
            report = hwsim.simulate(trace, machine.with_t_op(t_op_us), fidelity=fidelity)
            assert report.latency_ns["sample"].tolist() == [pytest.approx(expected * 1e3, abs=1e-5)]


@pytest.mark.parametrize(("quality", "launches"), [("fused", 1), ("torchrl", 32), ("eager", 105), ("host", 1920)])
def test_gpu_writes_launch_what_their_quality_says(quality, launches):
    trace = Trace()
    trace.begin(TraceHeader(n_rows=20_000, row_bytes=8, bits=16, sampler="per", options={}, seed=0))
    trace.record_insert(np.arange(64), np.ones(64))
    trace.record_update(np.arange(64), np.ones(64))
    machine = hwsim.machine("sumtree-gpu", n_rows=20_000, gpu="v100", quality=quality)
    report = hwsim.simulate(trace, machine)
    memory_ns = 0 if quality in ("eager", "host") else 15 * (219 + 20) / 1.380
    for kind in ("insert", "update"):
        assert report.latency_ns[kind].tolist() == [pytest.approx(launches * 5_000 + memory_ns, abs=1e-5)]


@pytest.mark.parametrize("gpu", GPUS)
@pytest.mark.parametrize("quality", QUALITIES)
def test_gpu_events_equal_its_formula_and_phases_add_up(gpu, quality):
    trace = hwsim.synthetic_trace(300, 16, 0.3, 4, seed=1)
    machine = hwsim.machine("sumtree-gpu", n_rows=300, gpu=gpu, quality=quality)
    events, formula = (hwsim.simulate(trace, machine, fidelity=f) for f in ("burst", "closed"))
    assert {**events.to_dict(), "fidelity": ""} == {**formula.to_dict(), "fidelity": ""}
    np.testing.assert_array_equal(sum(events.sample_phases.values()), events.latency_fs["sample"])
    assert set(events.sample_phases) == {"launches", "memory"}


def test_gpu_memory_is_slower_for_the_levels_that_leave_the_l2_cache():
    def memory(n_rows):
        return hwsim.machine("sumtree-gpu", n_rows=n_rows, gpu="gtx1080").split_fs(2, 1)[1]

    assert memory(2**18) == pytest.approx(18 * 252 / 1.607 * 1e6, abs=1)
    assert memory(2**18 + 1) == pytest.approx((18 * 252 + 433) / 1.607 * 1e6, abs=1)  # 2 MB hold all but the leaves
    assert memory(2**20) == pytest.approx((18 * 252 + 2 * 433) / 1.607 * 1e6, abs=1)
    assert memory(1) == 0


def test_a_gpu_knows_neither_energy_nor_area():
    report = hwsim.simulate(hand_trace(), hwsim.machine("sumtree-gpu", n_rows=100))
    assert (report.energy_aj, report.energy_pj, report.area_um2) == (None, None, None)
    assert all(part["energy_aj"] is None and part["area_um2"] is None for part in report.breakdown.values())
    assert set(report.energy_by_kind_aj.values()) == {None}


def test_the_launch_interval_and_default_are_the_presets():
    numbers = hwsim.technology("gpus").number
    assert (numbers("model.t_op_low_us"), numbers("model.t_op_high_us")) == T_OP_INTERVAL_US
    assert numbers("model.t_op_us") == hwsim.machine("sumtree-gpu", n_rows=1).t_op_us


def test_gathering_rows_is_an_op_of_its_own_and_equal_for_all_machines():
    trace = hand_trace()
    for name in ("amper-fr", "sumtree-gpu"):
        report = hwsim.simulate(trace, hwsim.machine(name, n_rows=100))
        assert report.latency_ns["fetch"].tolist() == [60 + 2 * 2 * 2.5]
        assert report.makespan_fs == sum(int(v.sum()) for v in report.latency_fs.values())
    assert fetch_fs(64, 64) == 220 * 10**6


def test_a_sampling_without_searches_takes_a_uniform_number_and_the_draw():
    for name in ("amper-fr", "amper-k"):
        for n_redraws in (0, 4):
            trace = hand_trace(name, rows=[], n_redraws=n_redraws, fallback=True)
            for fidelity in ("burst", "closed"):
                report = hwsim.simulate(trace, hwsim.machine(name, n_rows=100), fidelity=fidelity)
                assert report.latency_ns["sample"].tolist() == [(n_redraws + 1) * 1 + 4 + 2]


def test_one_sampling_by_hand():
    # Rows 0 and 1 match, both in bank 0: U + Q + w + s = 13, end = 13 + 1 + 2, w + 1, DRAW + b = 6.
    report = hwsim.simulate(hand_trace(), hwsim.machine("amper-fr", n_rows=100))
    assert report.latency_ns["sample"].tolist() == [24]
    assert {k: v.tolist() for k, v in report.sample_phases.items()} == {
        "query": [8_000_000],
        "search": [5_000_000],
        "readout": [5_000_000],
        "draw": [6_000_000],
    }
    # Rows 0, 1 (bank 0) and 70 (bank 1) arrive at 1, 2, 3: bank 0 is done at 1 + 2 * 20.
    assert report.latency_ns["insert"].tolist() == [41]


def test_the_draw_waits_for_the_last_address_even_if_the_last_search_found_nothing():
    # U + Q + w + s = 9; row 0 leaves its port at 9 + 1 + 1 = 11 while the second, empty search has loaded
    # its latch at 10: the buffer is complete at 11 + w + 1, not at 10 + w + 1.
    trace = hand_trace(rows=[[0, 10, 10, 10, 0, 1, 1, 0], [1, 500, 500, 500, 0, 1, 0, 0]], n_csp=1)
    machine = hwsim.machine("amper-fr", n_rows=100, technology="evacam-fefet45")
    for fidelity in ("burst", "closed"):
        report = hwsim.simulate(trace, machine, fidelity=fidelity)
        assert report.latency_ns["sample"].tolist() == [11 + 1 + 1 + 4 + 2]


def test_a_rescale_is_timed_as_an_update():
    trace = hand_trace(sample=False)
    trace.record_update(np.array([0, 1, 70]), np.array([5, 10, 15]), actor=-1)
    report = hwsim.simulate(trace, hwsim.machine("amper-fr", n_rows=100))
    assert report.latency_ns["update"].tolist() == [41]


def test_a_trace_without_ops_is_a_report_of_nothing():
    for name in ("amper-fr", "sumtree-gpu"):
        for fidelity in ("burst", "closed"):
            trace = hand_trace(slots=(), sample=False)
            report = hwsim.simulate(trace, hwsim.machine(name, n_rows=100), fidelity=fidelity)
            assert report.makespan_fs == 0
            assert all(len(v) == 0 for v in report.latency_fs.values())


def test_sram_energy_passes_through_the_three_stated_sizes():
    tech = hwsim.technology("cmos45")
    for n_bytes, pj in ((2**13, 10), (2**15, 20), (2**20, 100)):
        assert sram_access_pj(tech, n_bytes, 64) == pytest.approx(pj)
        assert sram_access_pj(tech, n_bytes, 16) == pytest.approx(pj / 4)


def test_areas_add_up_and_what_is_unknown_is_none():
    report = hwsim.simulate(hand_trace(), hwsim.machine("amper-fr", n_rows=100))
    parts = {name: part["area_um2"] for name, part in report.breakdown.items()}
    assert parts["arrays"] == pytest.approx(2 * 1228.8)
    assert parts["csb"] == pytest.approx(100 * 7 * 0.346 / 0.6)
    assert parts["write_ports"] is parts["row_memory"] is None
    assert report.area_um2 == pytest.approx(sum(a for a in parts.values() if a is not None))


# -- refusals -----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"n_rows": 0}, "n_rows must be at least 1, got 0"),
        ({"n_rows": -5}, "n_rows must be at least 1, got -5"),
        ({"n_banks": 0}, "n_banks must be at least 1, got 0"),
        ({"n_csb_ports": -1}, "n_csb_ports must be at least 1, got -1"),
        ({"n_banks": 4, "n_csb_ports": 5}, "n_csb_ports must be at most n_banks = 4, got 5"),
        ({"rows_per_array": 0}, "rows_per_array must be at least 1, got 0"),
        (
            {"rows_per_array": 62},
            "words x bits must be a geometry of 'camasim-fefet45', got 62 x 16; known: 64 x 64",
        ),
        ({"bits": -1}, "bits must be at least 1, got -1"),
        ({"clock_ghz": -1.0}, "clock_ghz must be finite and above 0, got -1.0"),
        ({"clock_ghz": float("nan")}, "clock_ghz must be finite and above 0, got nan"),
        (
            {"clock_ghz": 3.0},
            "clock_ghz must be at most 2, got 3.0; the slowest single-cycle block takes 0.5 ns",
        ),
        ({"best_match_factor": 0.0}, "best_match_factor must be finite and above 0, got 0.0"),
        ({"csb_entries": 0}, "csb_entries must be at least 1, got 0"),
        ({"overflow": "wrap"}, "overflow must be one of 'error', 'drop', got 'wrap'"),
        ({"mapping": "random"}, "mapping must be one of 'interleaved', 'contiguous', got 'random'"),
        ({"readout": "tree"}, "readout must be one of 'csb', 'burst', 'rank_select', got 'tree'"),
        (
            {"readout": "burst", "n_csb_ports": 2},
            "n_csb_ports must be 1 with readout 'burst', where it has no effect, got 2",
        ),
        ({"readout": "rank_select", "n_csb_ports": 8}, "n_csb_ports must be 1 with readout 'rank_select'.*, got 8"),
        ({"readout": "rank_select", "csb_entries": 8}, "csb_entries must be None with readout 'rank_select'.*, got 8"),
        ({"n_groups": 30}, "n_groups must be 24 with readout 'csb', where it has no effect, got 30"),
        (
            {"best_match_factor": 2.0},
            "best_match_factor must be 3.0 with readout 'csb', where it has no effect, got 2.0",
        ),
        ({"n_rows": 2**40}, "n_rows must be at most 2147483648, got 1099511627776"),
        ({"clock_ghz": 1e-9}, "clock_ghz must lie between 0.001 and inf, got 1e-09"),
        ({"fifo_depth": 0}, "fifo_depth must be at least 1, got 0"),
        ({"n_groups": 0}, "n_groups must be at least 1, got 0"),
        ({"arbitration": "fair"}, "arbitration must be one of 'static', 'round_robin', got 'fair'"),
        (
            {"neighbours": "bisection"},
            "neighbours must be 'best_match' for 'amper-fr', which seeks none, got 'bisection'",
        ),
        ({"technology": "cmos22"}, "technology must be one of .*'camasim-fefet45'.*, got 'cmos22'"),
        ({"technology": "gpus"}, "technology must have TCAM arrays"),
    ],
)
def test_a_bad_parameter_of_the_associative_machine_is_refused(parameters, message):
    with pytest.raises(ValueError, match=message):
        hwsim.machine("amper-fr", **{"n_rows": 100, **parameters})


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"n_rows": 0}, "n_rows must be at least 1, got 0"),
        ({"gpu": "rtx4090"}, "gpu must be one of 'gtx1080', 'v100', 'a100', 'h100', got 'rtx4090'"),
        ({"quality": "best"}, "quality must be one of 'fused', 'torchrl', 'eager', 'host', got 'best'"),
        ({"t_op_us": -5.0}, "t_op_us must be finite and above 0, got -5.0"),
        (
            {"technology": "evacam-fefet45"},
            "technology must state 'a100.l2_bytes', got none in 'evacam-fefet45'",
        ),
    ],
)
def test_a_bad_parameter_of_the_gpu_is_refused(parameters, message):
    with pytest.raises(ValueError, match=message):
        hwsim.machine("sumtree-gpu", **{"n_rows": 100, **parameters})


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("amper-fr", {"n_rows": 2.5}, "n_rows must be a whole number, got 2.5"),
        ("amper-fr", {"n_rows": True}, "n_rows must be a whole number, got True"),
        ("amper-fr", {"n_rows": 5, "clock_ghz": "fast"}, "clock_ghz must be a number, got 'fast'"),
        ("amper-fr", {}, "n_rows must be given for 'amper-fr', got nothing"),
        (
            "amper-fr",
            {"n_rows": 5, "ports": 2},
            "parameters of 'amper-fr' must be among n_rows, .*, got 'ports'",
        ),
        (
            "amper-fr",
            {"n_rows": 5, "variant": "amper-k"},
            "parameters of 'amper-fr' must be among .*, got 'variant'",
        ),
        (
            "sumtree-gpu",
            {"n_rows": 5, "readout": "csb"},
            "parameters of 'sumtree-gpu' must be among .*, got 'readout'",
        ),
    ],
)
def test_a_parameter_of_the_wrong_type_or_name_is_a_type_error(name, parameters, message):
    with pytest.raises(TypeError, match=message):
        hwsim.machine(name, **parameters)


def test_an_unknown_machine_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"name must be one of 'amper-fr', 'amper-k', .*'sumtree-gpu'.*, got 'tpu'"):
        hwsim.machine("tpu", n_rows=5)
    assert set(hwsim.machines.available()) >= {"amper-fr", "amper-k", "sumtree-cpu", "sumtree-gpu"}


@pytest.mark.parametrize("name", ["amper-fr", "amper-k"])
@pytest.mark.parametrize("sampler", ["per", "uniform", "amper-fr", "amper-k"])
def test_an_associative_machine_refuses_a_trace_without_searches_of_its_kind(name, sampler):
    if name == sampler:
        return
    with pytest.raises(
        ValueError,
        match=rf"trace must hold searches of '{name}', got .*'{sampler}'; .*trace\.replay\('{name}'\)",
    ):
        hwsim.simulate(hand_trace(sampler), hwsim.machine(name, n_rows=100))


@pytest.mark.parametrize("unique", [False, True])
def test_a_trace_and_a_machine_must_agree_on_slots_found_twice(unique):
    trace = amper.Trace()
    buffer = amper.ReplayBuffer(8, {"x": {}}, sampler_options={"unique": unique}, seed=0, sink=trace)
    buffer.add(x=[1, 2])
    buffer.sample(2)
    hwsim.simulate(trace, hwsim.machine("amper-fr", n_rows=8, unique=unique))
    with pytest.raises(
        ValueError, match=f"unique must be the trace's {unique}, got {not unique}; .*unique={not unique}"
    ):
        hwsim.simulate(trace, hwsim.machine("amper-fr", n_rows=8, unique=not unique))


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (
            {"readout": "burst"},
            "readout must be 'csb' where 'amper-k' brings out one best match at a time, got 'burst'",
        ),
        ({"readout": "rank_select"}, "readout must be 'csb' where 'amper-k' .*, got 'rank_select'; .*'bisection'"),
        ({"unique": True}, "unique must be False where 'amper-k' brings out one best match at a time, got True"),
        ({"neighbours": "nearest"}, "neighbours must be one of 'best_match', 'bisection', got 'nearest'"),
    ],
)
def test_a_readout_that_does_not_go_with_amper_k_is_refused(parameters, message):
    with pytest.raises(ValueError, match=message):
        hwsim.machine("amper-k", n_rows=100, **parameters)


def test_an_amper_fr_trace_with_best_match_searches_is_refused():
    trace = hand_trace(rows=[[0, 15, 10, 20, 2, 0, 2, 0]])
    with pytest.raises(ValueError, match=r"trace must hold range searches only for 'amper-fr'"):
        hwsim.simulate(trace, hwsim.machine("amper-fr", n_rows=100))


def test_a_slot_beyond_the_machine_is_refused():
    for name in ("amper-fr", "sumtree-gpu"):
        with pytest.raises(ValueError, match=r"slot must lie in the machine's 0 \.\. 63, got 70; .*n_rows=100"):
            hwsim.simulate(hand_trace(), hwsim.machine(name, n_rows=64))


def test_a_slot_beyond_the_traces_own_rows_is_refused():
    with pytest.raises(ValueError, match=r"slot of a trace must be in 0 \.\. 49, got 70 at row 2"):
        hwsim.simulate(hand_trace(n_rows=50), hwsim.machine("amper-fr", n_rows=100))


def test_a_sampling_before_the_first_insert_is_refused():
    for name in ("amper-fr", "sumtree-gpu"):
        with pytest.raises(ValueError, match=r"trace must insert before it samples, got a sampling as op 0"):
            hwsim.simulate(hand_trace(slots=()), hwsim.machine(name, n_rows=100))


def test_codes_wider_than_the_arrays_are_refused():
    with pytest.raises(ValueError, match=r"bits must be at least the trace's 24, got 16"):
        hwsim.simulate(hand_trace(bits=24), hwsim.machine("amper-fr", n_rows=100))


def test_a_candidate_set_larger_than_its_buffer_names_the_size_needed():
    machine = hwsim.machine("amper-fr", n_rows=100, csb_entries=1)
    with pytest.raises(ValueError, match=r"csb_entries must be at least 2 for this trace, got 1; .*overflow='drop'"):
        hwsim.simulate(hand_trace(), machine)


def test_dropping_matches_costs_no_time_and_is_counted():
    kept = hwsim.simulate(hand_trace(), hwsim.machine("amper-fr", n_rows=100))
    for fidelity in ("burst", "closed"):
        machine = hwsim.machine("amper-fr", n_rows=100, csb_entries=1, overflow="drop")
        report = hwsim.simulate(hand_trace(), machine, fidelity=fidelity)
        assert (report.n_dropped, kept.n_dropped) == (1, 0)
        np.testing.assert_array_equal(report.latency_fs["sample"], kept.latency_fs["sample"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fidelity": "exact"}, "fidelity must be one of 'array', 'burst', 'closed', got 'exact'"),
        ({"fidelity": None}, "fidelity must be one of 'array', 'burst', 'closed', got None"),
        ({"arrivals": "poisson"}, "arrivals must be 'serial', a hwsim.Poisson or a hwsim.Closed, got 'poisson'"),
    ],
)
def test_an_unknown_fidelity_or_arrival_process_lists_the_known(options, message):
    with pytest.raises((ValueError, TypeError), match=message):
        hwsim.simulate(hand_trace(), hwsim.machine("amper-fr", n_rows=100), **options)


def test_something_that_is_no_trace_or_machine_is_a_type_error():
    with pytest.raises(TypeError, match=r"trace must be an amper.Trace, got 'trace.npz'"):
        hwsim.simulate("trace.npz", hwsim.machine("amper-fr", n_rows=100))
    with pytest.raises(TypeError, match=r"machine must be made by hwsim.machine, got 'amper-fr'"):
        hwsim.simulate(hand_trace(), "amper-fr")


def test_the_closed_form_of_a_machine_without_one_does_not_apply():
    inner = hwsim.machine("sumtree-gpu", n_rows=100)

    class Formless:
        name, n_rows, components, phases, not_covered = "formless", 100, inner.components, inner.phases, ()
        clock_fs = 1
        parameters, check, n_dropped, processes = (
            inner.parameters,
            inner.check,
            inner.n_dropped,
            inner.processes,
        )

    assert len(hwsim.simulate(hand_trace(), Formless()).latency_fs["sample"]) == 1
    with pytest.raises(hwsim.NotApplicableError, match=r"op 0 .*'formless' has no formula"):
        hwsim.simulate(hand_trace(), Formless(), fidelity="closed")


def test_a_machine_can_be_registered_once():
    with pytest.raises(ValueError, match=r"name must be new, got 'amper-fr'"):
        hwsim.machines.register("amper-fr", lambda n_rows: None)


def test_a_run_too_long_for_its_clock_says_so():
    trace = Trace()
    trace.begin(TraceHeader(n_rows=2**20, row_bytes=8, bits=16, sampler="per", options={}, seed=0))
    for _ in range(25):
        trace.record_insert(np.arange(2**20), np.ones(2**20))
    machine = hwsim.machine("sumtree-gpu", n_rows=2**20, quality="host", t_op_us=10.0)
    with pytest.raises(ValueError, match=r"trace must last less than 2\^63 fs .*; simulate parts of it"):
        hwsim.simulate(trace, machine, fidelity="closed")
    with pytest.raises(ValueError, match=r"trace must last less than 2\^63 fs"):
        hwsim.simulate(trace, machine)


def test_costs_are_whole_numbers():
    sizes = {"n_rows": 777, "rows_per_array": 64, "bits": 16, "n_banks": 3, "n_csb_ports": 2}
    form = {"readout": "csb", "n_parts": 2, "parts": frozenset(["arrays", "encoders", "csb"])}
    geometry = Geometry(**sizes, csb_entries=500, n_groups=20, **form)
    costs = amper_costs(hwsim.technology("evacam-fefet45"), geometry, 1.3, 2.7)
    assert all(type(getattr(costs, name)) is int for name in costs.__slots__)


def test_a_rank_tree_refuses_more_groups_than_its_nodes_keep_counts_of():
    trace = hwsim.synthetic_trace(500, 8, 0.1, 1, seed=0)
    hwsim.simulate(trace, hwsim.machine("amper-fr", n_rows=500, readout="rank_select", n_groups=20))
    machine = hwsim.machine("amper-fr", n_rows=500, readout="rank_select", n_groups=19)
    with pytest.raises(ValueError, match="n_groups must be at least 20 for this trace, got 19"):
        hwsim.simulate(trace, machine)


def test_a_rank_tree_refuses_draws_of_no_group_it_searched():
    machine = hwsim.machine("amper-fr", n_rows=100, readout="rank_select")
    for fidelity in ("array", "burst", "closed"):
        with pytest.raises(ValueError, match="draws must name a group that was searched, got group -1 of draw 0"):
            hwsim.simulate(hand_trace(), machine, fidelity=fidelity)
        with pytest.raises(ValueError, match="draws must name a group that was searched, got group 3 of draw 1"):
            hwsim.simulate(hand_trace(groups=np.array([0, 3])), machine, fidelity=fidelity)


def test_wires_follow_from_the_arrays_and_not_from_a_percentage():
    def parts(n_rows, technology="camasim-fefet45", **options):
        trace = hwsim.synthetic_trace(n_rows, 64, 0.05, 2, seed=0)
        machine = hwsim.machine("amper-fr", n_rows=n_rows, technology=technology, **options)
        return hwsim.simulate(trace, machine).breakdown

    small, large = parts(5_000), parts(80_000)
    # Sixteen times the arrays: a square four times as wide, and four times as many forks across it.
    wire = 4 * (np.sqrt(1_250) - 1) / (np.sqrt(79) - 1)
    for name, bits in (("htree_down", (32 + 17) / (32 + 13)), ("htree_up", 17 / 13)):
        assert large[name]["area_um2"] / small[name]["area_um2"] == pytest.approx(wire * bits, rel=0.02)
    down = large["htree_down"]["energy_aj"] / small["htree_down"]["energy_aj"]
    assert down == pytest.approx(wire, rel=0.02)
    # Smaller arrays, shorter wires.
    assert parts(5_000, "evacam-fefet45")["htree_down"]["energy_aj"] < small["htree_down"]["energy_aj"]
    # A lone array has no tree.
    assert parts(64)["htree_down"]["energy_aj"] == 0


def test_burst_buffers_are_the_banks_own_and_name_the_size_needed():
    trace = hwsim.synthetic_trace(640, 8, 0.5, 3, seed=1)
    with pytest.raises(
        ValueError, match=r"csb_entries must be at least \d+ for this trace, got 80; or pass overflow"
    ) as e:
        hwsim.simulate(trace, hwsim.machine("amper-fr", n_rows=640, readout="burst", csb_entries=80))
    needed = int(str(e.value).split("at least ")[1].split()[0])
    for entries, fits in ((needed, True), (needed - 8, False)):
        machine = hwsim.machine("amper-fr", n_rows=640, readout="burst", csb_entries=entries, overflow="drop")
        assert (hwsim.simulate(trace, machine).n_dropped == 0) == fits


@pytest.mark.parametrize("slot", [2, 69, 99])
def test_a_draw_of_a_row_that_was_never_written_is_refused(slot):
    trace = hand_trace()
    late = hand_trace(sample=False)
    late.record_sample(Draw(np.array([0, slot]), np.ones(2), n_valid=3, n_csp=3, fallback=True))
    late.record_insert(np.array([2]), np.array([7]))  # too late
    for name in ("amper-fr", "sumtree-gpu", "sumtree-onchip"):
        machine = hwsim.machine(name, n_rows=100)
        hwsim.simulate(trace, machine)
        with pytest.raises(ValueError, match=f"draws must be of rows written before, got slot {slot} in op 1"):
            hwsim.simulate(late, machine)


def test_whole_numbers_and_floats_of_numpy_are_as_good_as_pythons():
    trace = hand_trace()
    for name, options in (
        ("amper-fr", {"n_banks": np.int8(4), "clock_ghz": np.float32(1)}),
        ("amper-k", {}),
        ("sumtree-gpu", {"t_op_us": np.float16(5)}),
        ("sumtree-cpu", {}),
        ("sumtree-onchip", {"bits": np.uint8(16)}),
        ("rejection-onchip", {"n_ranges": np.int64(8)}),
    ):
        plain = {key: value.item() for key, value in options.items()}
        ours, theirs = (hwsim.machine(name, n_rows=n, **o) for n, o in ((np.int16(100), options), (100, plain)))
        assert ours == theirs
        assert json.dumps(ours.parameters()) == json.dumps(theirs.parameters())
        if name != "amper-k":
            reports = [hwsim.simulate(trace, machine).to_dict() for machine in (ours, theirs)]
            assert json.dumps(reports[0]) == json.dumps(reports[1])


def test_what_does_not_fit_63_bits_is_refused_by_both_fidelities():
    trace = hwsim.synthetic_trace(3_000, 8, 0.3, 1, sampler="amper-k", seed=0)
    machine = hwsim.machine("amper-k", n_rows=2**31, best_match_factor=1e3)
    for fidelity in ("burst", "closed"):
        with pytest.raises(
            ValueError, match=r"must take less than 2\^63 fs and 2\^63 aJ; make the machine with fewer rows"
        ):
            hwsim.simulate(trace, machine, fidelity=fidelity)


def test_wires_of_more_ports_and_of_what_lies_among_the_arrays_count():
    def report(**options):
        trace = hwsim.synthetic_trace(5_000, 64, 0.1, 2, seed=0)
        return hwsim.simulate(trace, hwsim.machine("amper-fr", n_rows=5_000, n_banks=64, **options))

    one, eight, banks = (report(n_csb_ports=p) for p in (1, 8, 64))
    # Parts of the buffer near their banks: cheaper accesses and shorter ways there, and ways to the root besides.
    energies = [r.breakdown["csb"]["energy_aj"] for r in (one, eight, banks)]
    assert energies[0] > energies[1] > energies[2]
    ways = [hwsim.machine("amper-fr", n_rows=5_000, n_banks=64, n_csb_ports=p).costs for p in (1, 8, 64)]
    assert ways[0].address_up_aj > ways[1].address_up_aj > ways[2].address_up_aj
    assert 0 == ways[0].draw_up_aj < ways[1].draw_up_aj < ways[2].draw_up_aj
    # A rank tree lies among the arrays and makes every way longer.
    rank = hwsim.machine("amper-fr", n_rows=5_000, readout="rank_select").costs
    assert rank.key_down_aj > 1.2 * ways[0].key_down_aj
    burst = report(readout="burst").breakdown
    assert burst["htree_up"]["area_um2"] > 1.5 * banks.breakdown["htree_up"]["area_um2"]


@pytest.mark.parametrize("slot", [100, 2**40, -1])
def test_a_draw_beyond_the_trace_is_refused(slot):
    trace = hand_trace(sample=False)
    trace.record_sample(Draw(np.array([0, slot]), np.ones(2), n_valid=3, n_csp=3, fallback=True))
    for name in ("amper-fr", "sumtree-gpu", "sumtree-onchip"):
        with pytest.raises(ValueError, match=rf"slot of a draw of a trace must be in 0 \.\. 99, got {slot} at row 1"):
            hwsim.simulate(trace, hwsim.machine(name, n_rows=100))


@pytest.mark.parametrize("options", [{}, {"n_csb_ports": 8}, {"readout": "burst"}, {"readout": "burst", "n_banks": 64}])
def test_a_machine_knows_how_large_a_buffer_a_trace_needs(options):
    trace = hwsim.synthetic_trace(1_000, 64, 0.5, n_ops=5, seed=1)
    needed = hwsim.machine("amper-fr", n_rows=1_000, **options).entries_needed(trace)
    hwsim.machine("amper-fr", n_rows=1_000, csb_entries=needed, **options).check(trace)
    less = needed - needed // 8
    with pytest.raises(ValueError, match=f"csb_entries must be at least {needed} for this trace, got {less}"):
        hwsim.machine("amper-fr", n_rows=1_000, csb_entries=less, **options).check(trace)


def test_a_trace_that_miscounts_its_matches_is_refused():
    trace = hand_trace(rows=[[0, 15, 10, 20, 0, 1, 1, 0]])  # two rows lie in 10 .. 20
    for fidelity in ("array", "burst", "closed"):
        with pytest.raises(ValueError, match="n_matches of a trace must be what was written, 2 in search 0, got 1"):
            hwsim.simulate(trace, hwsim.machine("amper-fr", n_rows=100), fidelity=fidelity)
