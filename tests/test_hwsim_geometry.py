"""Arrays of geometries that a technology does not list: the model behind them, its scale, its refusals."""

import dataclasses

import pytest

import hwsim
from hwsim.technology_geometry import model_of, points

EVACAM = hwsim.technology("evacam-fefet45")
QUANTITIES = ("search_ns", "search_pj", "write_ns", "write_pj", "area_um2", "leakage_uw")


def numbers_of(array):
    return {key: getattr(array, key) for key in QUANTITIES}


def test_a_listed_geometry_is_answered_by_its_own_numbers():
    for entry in EVACAM.arrays:
        array = EVACAM.array(entry.words, entry.bits)
        assert array.search_ns == pytest.approx(sum(array.parts_ns.values()), abs=1e-9)
        assert array.area_um2 == entry.numbers["area_um2"].value


@pytest.mark.parametrize(("words", "bits"), [(16, 16), (32, 24), (128, 16), (512, 64), (1024, 128)])
def test_another_one_by_the_model_whose_parts_add_up_to_its_search(words, bits):
    modelled = model_of(points(EVACAM.arrays)).at(words, bits)
    array = EVACAM.array(words, bits)
    assert numbers_of(array) == pytest.approx(numbers_of(modelled), rel=1e-5)
    assert sum(array.parts_ns.values()) == pytest.approx(array.search_ns, abs=1e-9)
    assert list(array.parts_ns) == ["precharge_ns", "row_drive_ns", "match_line_ns", "sense_ns"]


def test_a_scaled_technology_scales_what_the_model_says():
    factors = {f"array.{key}": 1 + i / 10 for i, key in enumerate(QUANTITIES)}
    one, other = EVACAM.array(128, 24), EVACAM.scaled(factors).scaled({"array.write_ns": 2.0}).array(128, 24)
    for key in QUANTITIES:
        expected = getattr(one, key) * factors[f"array.{key}"] * (2.0 if key == "write_ns" else 1.0)
        assert getattr(other, key) == pytest.approx(expected, rel=1e-4)


def test_another_process_scales_it_by_the_law_of_the_listed_ones():
    small = EVACAM.at_node(22)
    shrink = small.array(64, 32).search_ns / EVACAM.array(64, 32).search_ns
    assert small.array(128, 24).search_ns == pytest.approx(EVACAM.array(128, 24).search_ns * shrink, rel=1e-3)
    assert small.array(128, 24).leakage_uw is None


def test_a_modelled_array_is_as_uncertain_as_the_listed_one_nearest_to_it():
    assert EVACAM.uncertainty(200, 24) == EVACAM.uncertainty(256, 32)
    assert EVACAM.uncertainty(64, 60) == EVACAM.uncertainty(64, 64) != EVACAM.uncertainty(64, 16)
    assert any(key.startswith("array.") for key in EVACAM.uncertainty(200, 24))


def test_beyond_the_model_the_message_names_technology_rule_and_value():
    with pytest.raises(ValueError, match=r"evacam-fefet45.*words must lie between 16 and 1024.*got 2048"):
        EVACAM.array(2048, 32)
    with pytest.raises(ValueError, match=r"geometry of 'camasim-fefet45', got 32 x 16"):
        hwsim.technology("camasim-fefet45").array(32, 16)


def test_machines_take_arrays_of_any_fitted_geometry():
    machines = [
        hwsim.machine("amper-fr", n_rows=5_000, technology="evacam-fefet45", rows_per_array=rows, bits=12)
        for rows in (32, 128, 512)
    ]
    assert [machine.geometry.n_arrays for machine in machines] == [157, 40, 10]
    areas = [sum(c.area_um2 for c in machine.components if c.area_um2) for machine in machines]
    assert areas == sorted(areas, reverse=True)  # taller arrays share their periphery


def fitted_file(tmp_path, n_arrays, without=""):
    path = tmp_path / "mine.toml"
    text = 'title = "mine"\nkind = "tcam"\nbased_on = ["cmos45"]\ngeometry = "fitted"\n'
    for entry in EVACAM.arrays[:n_arrays]:
        text += f"\n[[array]]\nwords = {entry.words}\nbits = {entry.bits}\n"
        for key, cited in entry.numbers.items():
            if key != without:
                text += f'{key} = {{ value = {cited.value}, unit = "{cited.unit}", source = "a tool" }}\n'
    path.write_text(text)
    return path


def test_a_file_of_ones_own_is_fitted_too(tmp_path):
    mine = hwsim.technology(fitted_file(tmp_path, 6))
    assert numbers_of(mine.array(128, 24)) == pytest.approx(numbers_of(EVACAM.array(128, 24)))


@pytest.mark.parametrize(
    ("n_arrays", "without", "message"),
    [
        (3, "", r"geometry in .*mine.toml' must be 'listed' with fewer than 4 arrays, got 'fitted' with 3"),
        (6, "leakage_uw", r"array\[0\]\.leakage_uw in .*mine.toml' must be above 0 to be fitted to, got 'nothing'"),
    ],
)
def test_a_file_that_no_model_can_be_fitted_to_is_refused_when_read(tmp_path, n_arrays, without, message):
    with pytest.raises(ValueError, match=message):
        hwsim.technology(fitted_file(tmp_path, n_arrays, without))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("bits = 64", "bits = 32", r"array\[\d\] in .*mine.toml' must have a geometry of its own"),
        ("words = 64", "words = 4", "array in .*mine.toml' must be arrays that a model can be fitted to: points must"),
        ("leakage_uw = { value = 151.0", "leakage_uw = { value = 0.0", r"array\[0\]\.leakage_uw in .* must be above 0"),
    ],
)
def test_arrays_that_determine_no_model_are_refused_when_read(tmp_path, old, new, message):
    path = fitted_file(tmp_path, 6)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(ValueError, match=message):
        hwsim.technology(path)


def test_arrays_of_one_width_determine_no_model(tmp_path):
    path = fitted_file(tmp_path, 6)
    head, *arrays = path.read_text().split("\n[[array]]\n")
    same = [array.replace("bits = 16", "bits = 32").replace("words = 64", f"words = {64 + i}", 1)
            for i, array in enumerate(arrays[:2])]  # fmt: skip
    kept = [array for array in arrays if "bits = 32" in array and "words = 64" not in array]
    path.write_text("\n[[array]]\n".join([head, *same, *kept]))
    with pytest.raises(ValueError, match=r"array in .*mine.toml' must be arrays .*add one of other words and bits"):
        hwsim.technology(path)


def test_what_was_scaled_remembers_what_the_file_states():
    scaled = EVACAM.scaled({"array.search_pj": 3.0})
    assert scaled.stated == EVACAM.arrays
    assert dataclasses.replace(EVACAM).stated == ()
