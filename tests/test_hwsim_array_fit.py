"""The model of a TCAM array's latency, energy, area and leakage: against the tool's six points, and by itself.

`pytest -s -k fifteen` prints every error of every split.
"""

from __future__ import annotations

import dataclasses
import itertools
import math

import pytest

from hwsim.array_fit import LEAKAGE_MARGIN, LIMITS, ArrayModel, ArrayPoint, HeldOut, fit, splits
from hwsim.array_terms import QUANTITIES, Circuit, inverters, row_shape
from hwsim.technology import technology

# words, bits; precharge, row drive, match line, sense (ps); search pJ; write ns, pJ; area um2; leakage uW: EvaCAM's
# public release, 2FeFET TCAM, 45 nm, 350 K, one subarray, exact match, as in the preset evacam-fefet45.
_ROWS = (
    (64, 16, 17.0, 72.1, 47.7, 2.5, 1.016, 10.142, 0.524, 975, 151),
    (64, 32, 25.6, 71.6, 96.5, 2.5, 1.424, 10.148, 0.916, 1729, 250),
    (64, 64, 42.1, 71.7, 197.5, 2.5, 2.240, 10.180, 1.676, 3217, 423),
    (128, 32, 26.0, 101.3, 96.5, 2.5, 2.867, 10.183, 1.822, 3444, 716),
    (256, 32, 26.6, 160.3, 96.5, 2.5, 5.695, 10.247, 3.569, 6557, 1195),
    (256, 64, 43.6, 160.4, 197.5, 2.5, 8.962, 10.279, 6.568, 12148, 2096),
)
POINTS = tuple(
    ArrayPoint(
        words=words,
        bits=bits,
        precharge_ns=precharge / 1e3,
        row_drive_ns=row / 1e3,
        match_line_ns=line / 1e3,
        sense_ns=sense / 1e3,
        search_pj=search,
        write_ns=write,
        write_pj=write_pj,
        area_um2=area,
        leakage_uw=leakage,
    )
    for words, bits, precharge, row, line, sense, search, write, write_pj, area, leakage in _ROWS
)
#: Words and bits across the range, with the neighbours of every jump (105/106 and 327/328 words, 8/9 bits).
_WORDS = (16, 20, 21, 32, 64, 105, 106, 128, 200, 256, 327, 328, 512, 777, 1024)
_BITS = (4, 8, 9, 16, 31, 32, 64, 100, 128)


@pytest.fixture(scope="module")
def model() -> ArrayModel:
    return fit(POINTS)


@pytest.fixture(scope="module")
def held_out() -> list[HeldOut]:
    return splits(POINTS)


def test_the_points_are_the_presets() -> None:
    for point in POINTS:
        listed = technology("evacam-fefet45").array(point.words, point.bits)
        for name in ("search_pj", "write_ns", "write_pj", "area_um2", "leakage_uw"):
            assert getattr(point, name) == getattr(listed, name)
        # Four parts, each rounded to .1 ps, and the sum rounded by itself.
        assert point.search_ns == pytest.approx(listed.search_ns, abs=0.25e-3)


def test_the_fit_of_all_points_is_far_within_the_limits(model: ArrayModel) -> None:
    for point in POINTS:
        errors = model.errors(point)
        for name, limit in LIMITS.items():
            assert abs(errors[name]) < limit / 3, (point, name)
        assert abs(errors["write_ns"]) < 0.001
        assert abs(errors["write_pj"]) < 0.01
        assert abs(errors["leakage_uw"]) < 0.05


def test_all_fifteen_splits_keep_the_limits(held_out: list[HeldOut]) -> None:
    assert len(held_out) == 30
    assert len({row.split for row in held_out}) == 15
    _print(held_out)
    for row in held_out:
        for name, limit in {**LIMITS, "write_ns": 0.002, "write_pj": 0.03, "leakage_uw": LEAKAGE_MARGIN}.items():
            assert abs(row.errors[name]) < limit, (row, name)


def _print(held_out: list[HeldOut]) -> None:
    names = list(held_out[0].errors)
    print("\nerrors of held-out points, model / tool - 1, in %")
    print("split held out" + "".join(f"{name:>15}" for name in names))
    for row in held_out:
        errors = "".join(f"{100 * row.errors[name]:>+15.2f}" for name in names)
        print(f"{row.split + 1:>5} {row.words:>3}x{row.bits:<4}{errors}")
    worst = (max((abs(row.errors[name]) for row in held_out), default=0.0) for name in names)
    print("worst         " + "".join(f"{100 * value:>15.2f}" for value in worst))


def test_the_coefficients_are_those_of_the_technology(model: ArrayModel) -> None:
    """Nothing told the fit the transistors' and wires' absolute values; it finds them."""
    terms = {name: value for name, (value, _) in model.terms().items()}
    ohm_ff = 1e-6  # ns
    # Smallest inverter: 1.51 V / 1745.8 A/m over 67.5 nm, times .3047 fF.
    assert terms["row_drive_ns.time_constant"] == pytest.approx(1.51 / 1745.8 / 67.5e-9 * 0.3047 * ohm_ff, rel=0.01)
    # A cell of 10 kOhm discharges .363 fF of line and .062 fF of its own a bit to one half.
    assert terms["match_line_ns.cell"] == pytest.approx(math.log(2) * 1e4 * 0.4250 * ohm_ff, rel=0.01)
    # The line's wire, 13.1 Ohm a bit, sees half of the line and all of the cells.
    assert terms["match_line_ns.wire"] == pytest.approx(math.log(2) * 13.12 * (0.363 / 2 + 0.062) * ohm_ff, rel=0.03)
    # A match line is charged to 1 V.
    assert terms["search_pj.cell"] == pytest.approx(0.363e-3, rel=0.01)
    # PMOS of 3.615 F that leaks .569 A/m at 1 V.
    assert terms["leakage_uw.inverter"] == pytest.approx(3.615 * 45e-9 * 0.569 * 1e6, rel=0.05)
    assert all(value > 0 for value in terms.values())


def test_every_coefficient_is_found_again_from_points_of_the_form(model: ArrayModel) -> None:
    factors = itertools.cycle((1.3, 0.6, 2.1, 0.9))
    changed = {name: tuple(next(factors) * k for k in ks) for name, ks in model.coefficients.items()}
    other = dataclasses.replace(model, coefficients=changed)
    for geometries in itertools.combinations([(p.words, p.bits) for p in POINTS], 4):
        again = fit([other.at(*g) for g in geometries])
        for name, (value, _) in other.terms().items():
            assert again.terms()[name][0] == pytest.approx(value, rel=1e-6), (geometries, name)


def test_more_words_or_bits_cost_no_less(model: ArrayModel) -> None:
    """Except that a longer chain of precharge inverters, from 328 words, switches the PMOS faster."""
    for name in ("search_ns", *QUANTITIES):
        slack = {"precharge_ns": 0.06, "search_ns": 0.005}.get(name, 0.0)
        for words in _WORDS:
            along_bits = [getattr(model.at(words, bits), name) for bits in _BITS]
            assert along_bits == sorted(along_bits), (name, words)
        for bits in _BITS:
            along_words = [getattr(model.at(words, bits), name) for words in _WORDS]
            assert all(b >= a * (1 - slack) for a, b in itertools.pairwise(along_words)), (name, bits)
            assert all(value > 0 for value in along_words)


def test_precharge_falls_only_where_its_chain_grows(model: ArrayModel) -> None:
    falls = [w for w in range(16, 1024) if model.at(w + 1, 32).precharge_ns < model.at(w, 32).precharge_ns]
    assert falls == [20, 327]


def test_area_is_more_than_the_cells_and_less_than_three_times_them(model: ArrayModel) -> None:
    for words, bits in itertools.product(_WORDS, _BITS):
        cells = model.circuit.cell_um2 * words * bits
        assert cells < model.at(words, bits).area_um2 < (3 if bits >= 16 else 5) * cells


def test_the_leakage_interval_holds_every_point_held_out(model: ArrayModel) -> None:
    low, high = model.leakage_interval(64, 32)
    assert low < model.at(64, 32).leakage_uw < high
    for pair in itertools.combinations(POINTS, 2):
        other = fit([p for p in POINTS if p not in pair])
        for point in pair:
            low, high = other.leakage_interval(point.words, point.bits)
            assert low < point.leakage_uw < high


def test_driver_chains_have_the_parity_asked_for() -> None:
    for effort in (1.5, 10.0, 78.0, 127.0, 129.0, 400.0, 1600.0):
        for odd in (False, True):
            sizes = inverters(effort, odd=odd)
            assert len(sizes) % 2 == odd
            ratios = [b / a for a, b in itertools.pairwise((1.0, *sizes, effort))]
            assert ratios == pytest.approx([ratios[0]] * len(ratios))


def test_words_of_eight_bits_or_fewer_save_a_gate() -> None:
    c = Circuit()
    assert row_shape(64, 9, c) - row_shape(64, 8, c) > 2
    assert row_shape(64, 128, c) == row_shape(64, 9, c)


# Planted mistakes: each must be caught by the splits.


def _worst(points: list[ArrayPoint], circuit: Circuit | None = None) -> dict[str, float]:
    rows = splits(points, circuit)
    return {name: max(abs(row.errors[name]) for row in rows) for name in rows[0].errors}


def test_swapped_words_and_bits_break_every_limit() -> None:
    worst = _worst([dataclasses.replace(p, words=p.bits, bits=p.words) for p in POINTS])
    for name in ("search_ns", "precharge_ns", "row_drive_ns", "match_line_ns", "area_um2", "leakage_uw"):
        assert worst[name] > LIMITS.get(name, LEAKAGE_MARGIN), name


@pytest.mark.parametrize("name", [*LIMITS, "leakage_uw"])
def test_one_wrong_number_in_one_point_breaks_its_limit(name: str) -> None:
    name = "row_drive_ns" if name == "search_ns" else name
    for index in range(len(POINTS)):
        points = list(POINTS)
        wrong = getattr(points[index], name) * (1.3 if name == "leakage_uw" else 1.12)
        points[index] = dataclasses.replace(points[index], **{name: wrong})
        assert _worst(points)[name] > LIMITS.get(name, LEAKAGE_MARGIN)


def test_a_search_line_without_wire_resistance_breaks_the_limit() -> None:
    worst = _worst(list(POINTS), Circuit(row_wire_per_word2=1e-9))
    assert worst["row_drive_ns"] > LIMITS["row_drive_ns"]
    assert worst["search_ns"] > LIMITS["search_ns"]


# What is refused.


@pytest.mark.parametrize(("words", "bits"), [(15, 32), (1025, 32), (64, 3), (64, 129)])
def test_geometries_far_from_the_points_are_refused(model: ArrayModel, words: int, bits: int) -> None:
    name, value, rule = ("words", words, "between 16 and 1024") if bits == 32 else ("bits", bits, "between 4 and 128")
    with pytest.raises(ValueError, match=rf"{name} must lie {rule}.*got {value}"):
        model.at(words, bits)


def test_a_geometry_must_be_whole(model: ArrayModel) -> None:
    with pytest.raises(TypeError, match=r"words must be a whole number, got 64\.0"):
        model.at(64.0, 32)  # type: ignore[arg-type]


def test_three_points_are_too_few() -> None:
    with pytest.raises(ValueError, match="points must be at least 4, got 3"):
        fit(POINTS[:3])
    with pytest.raises(ValueError, match="points must be at least 6, as each split leaves out two, got 5"):
        splits(POINTS[:5])


def test_a_geometry_given_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="points must have different geometries"):
        fit([*POINTS[:4], POINTS[0]])


@pytest.mark.parametrize(("words", "bits"), [((64,), (16, 32, 64, 128)), ((64, 128, 256, 512), (32,))])
def test_points_along_one_line_are_refused(model: ArrayModel, words: tuple[int, ...], bits: tuple[int, ...]) -> None:
    points = [model.at(w, b) for w, b in itertools.product(words, bits)]
    with pytest.raises(ValueError, match=r"points must determine \w+'s \d coefficients, got .*; add one of other"):
        fit(points)


def test_a_point_must_have_positive_numbers() -> None:
    with pytest.raises(ValueError, match="sense_ns must be finite and above 0, got 0"):
        dataclasses.replace(POINTS[0], sense_ns=0)
    with pytest.raises(ValueError, match="cell_um2 must be finite and above 0, got -1"):
        Circuit(cell_um2=-1)
