"""Technology files: every number has a source, the tables are the reference's, bad files are named."""

import pytest

import hwsim
from hwsim.technology import Cited

GOOD = """
title = "mine"
kind = "tcam"
based_on = ["cmos45"]
[[array]]
words = 64
bits = 16
search_ns = { value = 2.0, unit = "ns", source = "a paper, table 1" }
search_pj = { value = 1.0, unit = "pJ", assumed = "a guess" }
write_ns = { value = 30, unit = "ns", source = "a paper, table 2" }
write_pj = { value = 5.0, unit = "pJ", source = "a paper, table 2" }
area_um2 = { value = 900, unit = "um2", source = "a paper, table 3" }
"""


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "mine.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


@pytest.mark.parametrize("name", hwsim.technologies())
def test_every_number_of_every_preset_has_a_unit_and_a_source(name):
    rows = hwsim.technology(name).rows()
    assert rows
    for key, value, unit, source in rows:
        assert isinstance(value, float), key
        assert unit, key
        assert len(source) > len("assumed: "), key
        assert source.strip() == source, key


def test_presets_are_the_two_tcams_what_surrounds_them_and_what_they_are_compared_with():
    assert hwsim.technologies() == ["camasim-fefet45", "cmos45", "cpu-epyc", "evacam-fefet45", "gpus", "row-memory"]


def test_numbers_without_a_paper_or_a_measurement_say_that_they_are_assumed():
    rows = {key: source for key, _, _, source in hwsim.technology("camasim-fefet45").rows()}
    assert rows["array 64x64.area_um2"].startswith("assumed: ")
    assert rows["wire.delay_ps_per_mm"].startswith("assumed: ")
    assert rows["array 64x64.search_ns"].startswith("CAMASim")
    assert Cited(1.0, "ns", "assumed: x").is_assumed
    assert not Cited(1.0, "ns", "a paper").is_assumed


@pytest.mark.parametrize(
    ("words", "bits", "search_ns", "search_pj", "write_ns", "area_um2", "leakage_uw"),
    [
        (64, 16, 0.1394, 1.016, 10.142, 975, 151),
        (64, 32, 0.1962, 1.424, 10.148, 1729, 250),
        (64, 64, 0.3138, 2.240, 10.180, 3217, 423),
        (128, 32, 0.2263, 2.867, 10.183, 3444, 716),
        (256, 32, 0.2859, 5.695, 10.247, 6557, 1195),
        (256, 64, 0.4039, 8.962, 10.279, 12148, 2096),
    ],
)
def test_evacam_has_the_six_measured_points(words, bits, search_ns, search_pj, write_ns, area_um2, leakage_uw):
    array = hwsim.technology("evacam-fefet45").array(words=words, bits=bits)
    assert (array.search_ns, array.search_pj, array.write_ns) == (search_ns, search_pj, write_ns)
    assert (array.area_um2, array.leakage_uw, array.masked_bits) == (area_um2, leakage_uw, 0)


def test_camasim_masks_the_columns_a_narrower_word_leaves_and_knows_no_leakage():
    technology = hwsim.technology("camasim-fefet45")
    narrow, full = technology.array(words=64, bits=16), technology.array(words=64, bits=64)
    assert (narrow.masked_bits, full.masked_bits) == (48, 0)
    assert (narrow.search_ns, narrow.search_pj) == (full.search_ns, full.search_pj) == (4.242, 3.105)
    assert (narrow.write_ns, narrow.write_pj, narrow.leakage_uw) == (20.0, 23.5, None)
    assert technology.array(words=128, bits=128).search_ns == 5.944


@pytest.mark.parametrize(
    ("name", "words", "bits", "known"),
    [
        ("evacam-fefet45", 64, 20, "64 x 16, 64 x 32, 64 x 64, 128 x 32, 256 x 32, 256 x 64"),
        ("camasim-fefet45", 32, 16, "64 x 64 or fewer bits, 128 x 128"),
        ("camasim-fefet45", 128, 16, "64 x 64 or fewer bits, 128 x 128"),
        ("camasim-fefet45", 64, 65, "64 x 64 or fewer bits, 128 x 128"),
        ("camasim-fefet45", 64, 0, "64 x 64 or fewer bits, 128 x 128"),
    ],
)
def test_a_geometry_outside_the_table_is_refused_and_the_known_ones_listed(name, words, bits, known):
    with pytest.raises(
        ValueError, match=f"words x bits must be a geometry of '{name}', got {words} x {bits}; known: {known}"
    ):
        hwsim.technology(name).array(words=words, bits=bits)


def test_a_technology_without_arrays_says_so():
    with pytest.raises(ValueError, match=r"technology must have TCAM arrays \(\[\[array\]\]\), got 'gpus'"):
        hwsim.technology("gpus").array(words=64, bits=16)


def test_an_unknown_name_lists_the_presets():
    with pytest.raises(ValueError, match=r"technology must be one of 'camasim-fefet45', .* got 'fefet22'"):
        hwsim.technology("fefet22")


def test_something_that_is_no_name_is_a_type_error():
    with pytest.raises(TypeError, match=r"technology must be a name or a path, got 45"):
        hwsim.technology(45)


def test_a_users_file_is_a_technology_by_path_or_string(write):
    path = write(GOOD)
    for given in (path, str(path)):
        technology = hwsim.technology(given)
        assert technology.array(words=64, bits=16).search_ns == 2.0
        assert technology.number("encoder.delay_ns") == 0.4
    machine = hwsim.machine("amper-fr", n_rows=100, technology=path)
    assert (machine.costs.search, machine.costs.write) == (2, 30)
    assert machine.parameters()["technology"] == str(path)


def test_a_section_of_the_file_wins_over_the_preset_it_is_based_on(write):
    path = write(GOOD + '[encoder]\ndelay_ns = { value = 0.7, unit = "ns", source = "a paper" }\n')
    technology = hwsim.technology(path)
    assert technology.number("encoder.delay_ns") == 0.7
    assert technology.number("encoder.area_um2") == 201
    assert hwsim.technology("cmos45").number("encoder.delay_ns") == 0.4


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('title = "mine"', "title = ", "technology must name a readable TOML file, got '.*mine.toml'"),
        ('title = "mine"', "", "title in '.*mine.toml' must be a text, got None"),
        ('kind = "tcam"', 'kind = "cam"', "kind in '.*mine.toml' must be one of 'tcam', .*, got 'cam'"),
        ('["cmos45"]', '"cmos45"', "based_on in '.*mine.toml' must be a list of preset names, got 'cmos45'"),
        ('["cmos45"]', '["cmos22"]', "based_on in '.*mine.toml' must be one of .*, got 'cmos22'"),
        ("[[array]]", "[array]", r"array in '.*mine.toml' must be a list of tables \(\[\[array\]\]\)"),
        (
            "words = 64",
            "words = 0",
            r"array\[0\].words in '.*mine.toml' must be a whole number of at least 1, got 0",
        ),
        ("bits = 16", "", r"array\[0\].bits in '.*mine.toml' must be a whole number of at least 1, got None"),
        (
            "bits = 16",
            "bits = 16\nnarrower_words = 1",
            r"array\[0\].narrower_words in '.*mine.toml' must be true or",
        ),
        (
            "write_ns",
            "wirte_ns",
            r"array\[0\].wirte_ns in '.*mine.toml': its name must be one of .*'write_ns'",
        ),
        (
            "value = 2.0",
            'value = "2"',
            r"array\[0\].search_ns in '.*mine.toml' must have a finite value .*, got '2'",
        ),
        (
            "value = 2.0",
            "value = nan",
            r"array\[0\].search_ns in '.*mine.toml' must have a finite value .*, got nan",
        ),
        (
            "value = 2.0",
            "value = -2.0",
            r"array\[0\].search_ns in '.*mine.toml' must have a finite value .*, got -2.0",
        ),
        ("value = 2.0", "value = 0.0", r"array\[0\].search_ns in '.*mine.toml' must be above 0, got 0.0"),
        (
            'value = 2.0, unit = "ns"',
            'value = 2.0, unit = "ps"',
            r"array\[0\].search_ns .* must be in 'ns', .*, got 'ps'",
        ),
        (
            'value = 2.0, unit = "ns"',
            'value = 2.0, unit = ""',
            r"array\[0\].search_ns in .* must have a unit, got ''",
        ),
        (
            'unit = "ns", source = "a paper, table 1"',
            'unit = "ns"',
            "must have either a source or a reason assumed",
        ),
        (
            'source = "a paper, table 1"',
            'source = "x", assumed = "y"',
            "must have either a source or a reason assumed",
        ),
        (
            '{ value = 900, unit = "um2", source = "a paper, table 3" }',
            "900",
            r"array\[0\].area_um2 .* must be a table",
        ),
        (
            "area_um2 =",
            'leakage_uw = { value = 3, unit = "um2", source = "s" }\narea_um2 =',
            r"array\[0\].leakage_uw in '.*mine.toml' must be in 'uW', as its name says",
        ),
        (
            '"um2", source = "a paper, table 3" }',
            '"um2", source = "s" }\n[wire]\nspeed = 3',
            "wire.speed in .* must be a table",
        ),
        (
            'kind = "tcam"',
            'kind = "tcam"\nwire = 3',
            "wire in '.*mine.toml' must be a section of numbers, got 3",
        ),
    ],
)
def test_a_bad_file_is_refused_by_file_and_key(write, old, new, message):
    assert old in GOOD
    path = write(GOOD.replace(old, new))
    with pytest.raises(ValueError, match=message):
        hwsim.technology(path)


def test_a_missing_array_number_is_named(write):
    path = write("\n".join(line for line in GOOD.splitlines() if not line.startswith("write_pj")))
    with pytest.raises(ValueError, match=r"array\[0\].write_pj in '.*mine.toml' must be given, got nothing"):
        hwsim.technology(path)


def test_a_missing_periphery_is_named_where_it_is_needed(write):
    path = write(GOOD.replace('based_on = ["cmos45"]', ""))
    with pytest.raises(ValueError, match=r"technology must state 'urng.delay_ns', got none in '.*mine.toml'"):
        hwsim.machine("amper-fr", n_rows=100, technology=path)


def test_an_unreadable_file_is_named(tmp_path):
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "folder.toml").mkdir()
    for name in ("missing.toml", "binary.toml", "folder.toml"):
        with pytest.raises(ValueError, match=f"technology must name a readable TOML file, got '.*{name}'"):
            hwsim.technology(tmp_path / name)
