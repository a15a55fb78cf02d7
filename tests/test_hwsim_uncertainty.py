"""Declared uncertainty as draws: the distribution, who shares a draw, and what reaches a technology."""

import math

import numpy as np
import pytest

import hwsim
from hwsim import uncertainty
from hwsim.uncertainty import Assumption

EVACAM, CAMASIM = hwsim.technology("evacam-fefet45"), hwsim.technology("camasim-fefet45")


def test_95_percent_of_the_draws_lie_in_the_interval_and_half_above_the_value():
    assumption = Assumption(name="x", low=0.25, high=3.0)
    factors = np.array([assumption.factor(z) for z in uncertainty.draw(1, 4_000, seed=0)[:, 0]])
    inside = np.mean((factors >= 0.25) & (factors <= 3.0))
    assert inside == pytest.approx(0.95, abs=0.002)
    assert np.median(factors) == pytest.approx(1.0, abs=0.01)
    assert np.mean(factors < 0.25) == pytest.approx(0.025, abs=0.002)


def test_a_number_that_may_be_zero_falls_linearly_and_stays_above_it():
    assumption = Assumption(name="x", low=0.0, high=1.0)
    assert assumption.factor(-1.959964 / 2) == pytest.approx(0.5)
    assert assumption.factor(1.0) == 1.0
    assert 0 < assumption.factor(-5.0) < 0.01
    assert assumption.ends[0] > 0


@pytest.mark.parametrize(("low", "high"), [(1.1, 2.0), (0.5, 0.9), (-0.1, 2.0), (0.5, math.inf)])
def test_an_interval_without_its_value_is_refused(low, high):
    with pytest.raises(ValueError, match="interval of 'x' must hold its value"):
        Assumption(name="x", low=low, high=high)


def test_two_technologies_share_their_periphery_and_not_their_arrays():
    known = {a.name for a in uncertainty.assumptions([EVACAM, CAMASIM])}
    alone = {a.name for a in uncertainty.assumptions([EVACAM])}
    assert {"wire.delay_ps_per_mm", "energy of an SRAM access", "delay of all digital blocks"} <= alone
    assert set(known - alone) == {name for name in known if name.startswith("camasim-fefet45 array.")}


def test_the_same_draw_multiplies_a_shared_number_alike_everywhere():
    known = uncertainty.assumptions([EVACAM, CAMASIM, hwsim.technology("cmos45")])
    z = uncertainty.draw(len(known), 1, seed=1)[0]
    moved = [uncertainty.drawn(tech, known, z) for tech in (EVACAM, CAMASIM, hwsim.technology("cmos45"))]
    for key in ("sram.access_ns", "wire.bit_mm_pj", "leakage.sram_bit_pw"):
        assert len({tech.number(key) for tech in moved}) == 1
        assert moved[0].number(key) != EVACAM.number(key)


def test_numbers_of_one_cause_move_together():
    known = uncertainty.assumptions([EVACAM])
    z = uncertainty.draw(len(known), 1, seed=2)[0]
    moved = uncertainty.drawn(EVACAM, known, z)

    def ratio(key):
        return moved.number(key) / EVACAM.number(key)

    assert ratio("sram.energy_8kb_pj") == pytest.approx(ratio("sram.energy_1mb_pj"))
    assert ratio("encoder.delay_ns") == pytest.approx(ratio("routing_node.radix_4_ns"))
    assert ratio("encoder.delay_ns") != pytest.approx(ratio("encoder.area_um2"))


def test_one_number_at_an_end_leaves_the_others():
    known = {a.name: a for a in uncertainty.assumptions([EVACAM])}
    wire = known["wire.delay_ps_per_mm"]
    ends = [uncertainty.at_end(EVACAM, wire, end) for end in (0, 1)]
    assert [tech.number("wire.delay_ps_per_mm") for tech in ends] == pytest.approx([50, 120])
    assert all(tech.number("sram.access_ns") == EVACAM.number("sram.access_ns") for tech in ends)


def test_draws_depend_on_their_seed_only_and_nothing_uncertain_needs_none():
    np.testing.assert_array_equal(uncertainty.draw(5, 8, seed=3), uncertainty.draw(5, 8, seed=3))
    assert not np.array_equal(uncertainty.draw(5, 8, seed=3), uncertainty.draw(5, 8, seed=4))
    assert uncertainty.draw(0, 8, seed=3).shape == (8, 0)
    with pytest.raises(ValueError, match="n_draws must be at least 1, got 0"):
        uncertainty.draw(2, 0, seed=0)


def test_technologies_that_disagree_on_a_shared_interval_are_refused(tmp_path):
    path = tmp_path / "other.toml"
    path.write_text(
        'title = "x"\nkind = "cmos"\nbased_on = ["cmos45"]\n[wire]\n'
        'delay_ps_per_mm = { value = 80, unit = "ps/mm", low = 79, high = 81, source = "s" }\n'
    )
    with pytest.raises(ValueError, match=r"wire\.delay_ps_per_mm must be stated alike"):
        uncertainty.assumptions([EVACAM, hwsim.technology(path)])


def test_an_interval_that_one_array_alone_declares_is_drawn(tmp_path):
    path = tmp_path / "mine.toml"
    text = 'title = "mine"\nkind = "tcam"\nbased_on = ["cmos45"]\n'
    for bits, interval in ((16, "low = 1.0, high = 4.0, "), (32, "")):
        text += f"[[array]]\nwords = 64\nbits = {bits}\n"
        for key, unit in (("search_ns", "ns"), ("search_pj", "pJ"), ("write_ns", "ns"), ("write_pj", "pJ")):
            own = interval if key == "search_ns" else ""
            text += f'{key} = {{ value = 2.0, {own}unit = "{unit}", source = "s" }}\n'
        text += 'area_um2 = { value = 900, unit = "um2", source = "s" }\n'
    path.write_text(text)
    tech = hwsim.technology(path)
    (assumption,) = (a for a in uncertainty.assumptions([tech], 64, 16) if "search_ns" in a.name)
    assert uncertainty.at_end(tech, assumption, 1).array(64, 16).search_ns == 4.0
