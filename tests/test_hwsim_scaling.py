"""Scaling between processes: what papers and two cell libraries state, nothing beyond, intervals carried along."""

import itertools
import math

import pytest

import hwsim
from hwsim import scaling


@pytest.mark.parametrize(
    ("law", "quantity", "low", "high"),
    [
        (scaling.stillmaker_baas, "delay", 1 / 5.8, 1 / 1.8),
        (scaling.stillmaker_baas, "area", 1 / 19, 1 / 19),
        (scaling.stillmaker_baas, "energy", 1 / 25, 1 / 22),
        (scaling.osu180_nangate45, "delay", 1 / 3.8, 1 / 2.8),
        (scaling.osu180_nangate45, "area", 1 / 38, 1 / 18),
        (scaling.osu180_nangate45, "energy", 1 / 19, 1 / 14),
    ],
)
def test_from_180_to_45_nm_the_stated_interval_holds_and_back_its_inverse(law, quantity, low, high):
    there, back = law(quantity, 180, 45), law(quantity, 45, 180)
    assert (there.low, there.high) == (pytest.approx(low), pytest.approx(high))
    assert (back.low, back.high) == (pytest.approx(1 / high), pytest.approx(1 / low))
    assert there.value == pytest.approx(math.sqrt(low * high))
    assert there.value * back.value == pytest.approx(1)
    assert (law(quantity, 45, 45).low, law(quantity, 45, 45).high) == (1, 1)
    assert "2017" in there.source or "measured" in there.source


@pytest.mark.parametrize(("node_nm", "ps", "pj"), [(90, 640, 6.5), (45, 313.8, 2.24), (32, 261, 1.34), (22, 211, 0.88)])
def test_evacam_is_exact_at_its_processes(node_nm, ps, pj):
    for quantity, there, here in (("delay", ps, 313.8), ("energy", pj, 2.24)):
        factor = scaling.evacam_64x64(quantity, 45, node_nm)
        assert factor.low == factor.value == factor.high == pytest.approx(there / here)
    array = hwsim.technology("evacam-fefet45").at_node(node_nm).array(64, 64)
    assert array.search_ns == pytest.approx(ps / 1000, abs=1e-6)
    assert array.search_pj == pytest.approx(pj)


@pytest.mark.parametrize("law", [lambda f, t: scaling.evacam_64x64("delay", f, t), scaling.stillmaker_baas_area])
def test_between_processes_the_factor_is_log_log_and_its_interval_the_neighbours(law):
    middle = math.sqrt(32 * 45)
    factor = law(45, middle)
    assert factor.value == pytest.approx(math.sqrt(law(45, 32).value))
    assert (factor.low, factor.high) == (pytest.approx(law(45, 32).value), 1.0)
    values = [law(45, node).value for node in range(22, 91)]
    assert all(a < b for a, b in itertools.pairwise(values))
    both, ends = law(40, 28), law(45, 28)
    assert both.low < both.value < both.high
    # Either end of the one over the other end of the other; 40 nm lies between 32 and 45.
    assert (both.low, both.high) == (pytest.approx(ends.low), pytest.approx(ends.high / law(45, 32).value))
    assert law(40, 40).low == law(40, 40).high == 1.0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: scaling.evacam_64x64("delay", 45, 21.9),
            "to_nm must lie between 22 and 90, got 21.9; nothing is extra",
        ),
        (lambda: scaling.evacam_64x64("delay", 91, 45), "from_nm must lie between 22 and 90, got 91; nothing is extra"),
        (lambda: scaling.evacam_64x64("area", 45, 22), "quantity must be one of 'delay', 'energy', got 'area'"),
        (lambda: scaling.stillmaker_baas_area(45, 7), "to_nm must lie between 20 and 130, got 7"),
        (lambda: scaling.stillmaker_baas("delay", 180, 90), "to_nm must be 180 or 45, got 90; nothing is interpolated"),
        (lambda: scaling.stillmaker_baas("speed", 180, 45), "quantity must be one of 'delay', .*, got 'speed'"),
        (lambda: scaling.feature_area(45, 0), "to_nm must be finite and above 0, got 0"),
        (
            lambda: hwsim.technology("evacam-fefet45").at_node(130),
            "node_nm of 'evacam-fefet45', by evacam_64x64: to_nm must lie between 22 and 90, got 130",
        ),
        (lambda: hwsim.technology("mram").at_node(45), "technology must state node_nm and scaling .*, got 'mram'"),
        (lambda: hwsim.technology("gpus").at_node(45), "technology must state node_nm and scaling .*, got 'gpus'"),
        (lambda: hwsim.technology("cmos180").at_node(-45), "node_nm must be finite and above 0, got -45"),
    ],
)
def test_nothing_is_extrapolated(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def blocks():
    """Yield (key, the 180 nm number, scaled to 45 nm by the paper, as synthesised at 45 nm)."""
    old, new = hwsim.technology("cmos180"), hwsim.technology("cmos45").cited()
    scaled = old.at_node(45).cited()
    for key, cited in old.cited().items():
        yield key, cited, scaled[key], new[key]


def test_delays_scaled_from_180_nm_hold_those_synthesised_at_45_nm():
    delays = [(key, *numbers) for key, *numbers in blocks() if numbers[0].unit == "ns"]
    assert len(delays) == 9
    for key, _, scaled, synthesised in delays:
        # The wires' share of the interval aside: high performance to low power alone.
        assert scaled.low <= synthesised.value <= scaled.high / 1.5, key
        assert scaled.value == pytest.approx(synthesised.value, rel=0.18), key


def test_energies_and_areas_scaled_from_180_nm_miss_those_of_the_libraries_as_far_as_said():
    off = {"pJ": [], "um2": []}
    for _, _, scaled, synthesised in blocks():
        if scaled.unit in off:
            off[scaled.unit].append(scaled.value / synthesised.value)
    assert (min(off["pJ"]), max(off["pJ"])) == (pytest.approx(0.61, abs=0.01), pytest.approx(0.79, abs=0.01))
    assert (min(off["um2"]), max(off["um2"])) == (pytest.approx(0.97, abs=0.01), pytest.approx(1.98, abs=0.01))


def test_the_ratios_of_the_two_libraries_are_those_of_the_two_presets():
    quantity = {"ns": "delay", "um2": "area", "pJ": "energy"}
    for key, old, _, new in blocks():
        factor = scaling.osu180_nangate45(quantity[old.unit], 180, 45)
        assert factor.low * 0.99 <= new.value / old.value <= factor.high * 1.01, key


def test_a_technology_in_another_process_says_so_and_keeps_its_intervals():
    base = hwsim.technology("evacam-fefet45")
    small = base.at_node(28)
    assert (small.name, str(small), small.node_nm) == ("evacam-fefet45 at 28 nm", "evacam-fefet45 at 28 nm", 28)
    assert small.title.endswith("; arrays scaled to 28 nm by evacam_64x64")
    factor = scaling.evacam_64x64("delay", 45, 28)
    line, was = small.cited()["array 64x32.match_line_ns"], base.cited()["array 64x32.match_line_ns"]
    assert "scaled from 45 nm by evacam_64x64 (EvaCAM" in line.source
    assert (line.low, line.high) == (pytest.approx(was.low * factor.low), pytest.approx(was.high * factor.high))
    assert "evacam_64x64" in small.cited()["array 64x32.search_ns"].source
    array = small.array(64, 32)
    assert array.search_ns == pytest.approx(factor.value * 0.1962, abs=1e-5)
    assert (array.write_ns, array.leakage_uw) == (10.148, None)
    assert array.area_um2 < base.array(64, 32).area_um2
    assert small.sections == base.sections
    assert base.at_node(45) is base


def test_a_machine_runs_in_another_process():
    machine = hwsim.machine("amper-fr", n_rows=2_000, technology=hwsim.technology("evacam-fefet45").at_node(22))
    assert machine.parameters()["technology"] == "evacam-fefet45 at 22 nm"
    larger = hwsim.machine("amper-fr", n_rows=2_000, technology="evacam-fefet45")
    assert machine.costs.search_aj < larger.costs.search_aj


def test_a_reason_assumed_stays_one_after_scaling():
    scaled = hwsim.technology("hspice-fefet45").at_node(32).cited()
    assert scaled["array 64x64.write_pj"].is_assumed
    assert not scaled["array 64x64.search_ns"].is_assumed


@pytest.mark.parametrize("node_nm", [22, 90])
def test_every_scaled_interval_holds_its_value(node_nm):
    for name in ("camasim-fefet45", "evacam-fefet45", "hspice-fefet45"):
        for key, cited in hwsim.technology(name).at_node(node_nm).cited().items():
            assert cited.low is None or cited.low <= cited.value <= cited.high, (name, key)


def test_a_second_step_to_another_process_ends_where_one_step_does():
    base = hwsim.technology("evacam-fefet45")
    twice, once = base.at_node(32).at_node(22), base.at_node(22)
    for words, bits in ((64, 32), (128, 24)):  # listed; by the model, which stays fitted to the arrays as stated
        ours, theirs = (tech.array(words, bits) for tech in (twice, once))
        assert ours.search_ns == pytest.approx(theirs.search_ns, rel=1e-5)
        assert ours.search_pj == pytest.approx(theirs.search_pj, rel=1e-5)


def test_a_scaled_write_may_cost_as_much_as_before_and_an_area_what_either_law_says():
    base, small = (tech.cited() for tech in map(hwsim.technology("evacam-fefet45").at_node, (45, 22)))
    write, area = small["array 64x32.write_pj"], small["array 64x32.area_um2"]
    assert write.low == pytest.approx(write.value)
    assert write.value < write.high == base["array 64x32.write_pj"].high
    square, table = scaling.feature_area(45, 22), scaling.stillmaker_baas_area(45, 22)
    ends = min(square.low, table.low), max(square.high, table.high)
    was = base["array 64x32.area_um2"]
    assert (area.low, area.high) == (pytest.approx(ends[0] * was.low), pytest.approx(ends[1] * was.high))


def test_an_area_that_grows_has_an_interval_too():
    factor = scaling.feature_area(45, 90)
    assert (factor.low, factor.value, factor.high) == (2.0, 4.0, 4.0)
