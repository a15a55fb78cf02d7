"""Technology files: every number has a source, the tables are the reference's, bad files are named."""

import dataclasses
import json
import pickle
import re
from fractions import Fraction

import pytest
from jsonschema import Draft202012Validator

import hwsim
from hwsim import scaling, technology_numbers
from hwsim.cost import fetch_fs
from hwsim.schemas import schema
from hwsim.technology import ArrayNumbers, Cited, Technology

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


def test_the_presets_are_these():
    kinds = {}
    for name in hwsim.technologies():
        kinds.setdefault(hwsim.technology(name).kind, []).append(name)
    assert kinds == {
        "tcam": [
            "camasim-fefet45", "evacam-cmos16t", "evacam-fefet45", "evacam-reram45", "hspice-fefet45", "mram",
        ],
        "cmos": ["cmos180", "cmos45"],
        "cpu": ["cpu-epyc"],
        "gpu": ["gpus"],
        "published": ["published-tcams"],
        "dram": ["row-memory"],
    }  # fmt: skip


def test_numbers_without_a_paper_or_a_measurement_say_that_they_are_assumed():
    rows = {key: source for key, _, _, source in hwsim.technology("camasim-fefet45").rows()}
    assert rows["array 64x64.area_um2"].startswith("assumed: ")
    assert rows["wire.delay_ps_per_mm"].startswith("assumed: ")
    assert rows["array 64x64.search_ns"].startswith("sum of subarray + interconnect + peripheral: CAMASim")
    assert Cited(1.0, "ns", "assumed: x").is_assumed
    assert not Cited(1.0, "ns", "a paper").is_assumed


@pytest.mark.parametrize(
    ("words", "bits", "search_ns", "search_pj", "write_ns", "area_um2", "leakage_uw"),
    [
        (64, 16, 0.1393, 1.016, 10.142, 975, 151),
        (64, 32, 0.1962, 1.424, 10.148, 1729, 250),
        (64, 64, 0.3138, 2.240, 10.180, 3217, 423),
        (128, 32, 0.2263, 2.867, 10.183, 3444, 716),
        (256, 32, 0.2859, 5.695, 10.247, 6557, 1195),
        (256, 64, 0.4040, 8.962, 10.279, 12148, 2096),
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


NUMBER = r"must be a table \{ value, unit, source \| assumed, low\?, high\? \}"
SEARCH = 'search_ns = { value = 2.0, unit = "ns", source = "a paper, table 1" }'
PARTS = "".join(
    f'{part}_ns = {{ value = {value}, unit = "ns", source = "s" }}\n'
    for part, value in (("subarray", 1.0), ("interconnect", 0.25), ("peripheral", 0.75))
)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('title = "mine"', "title = ", r"technology must name a readable TOML file, got '.*mine.toml': .*\(at line 2"),
        ('title = "mine"', "", "title in '.*mine.toml' must be given, got nothing"),
        ('title = "mine"', "title = 3", "title in '.*mine.toml' must be a text, got 3"),
        ('title = "mine"', 'title = ""', "title in '.*mine.toml' must not be empty, got ''"),
        ('kind = "tcam"', 'kind = "cam"', "kind in '.*mine.toml' must be one of 'tcam', .*, got 'cam'; did .* 'tcam'"),
        ('kind = "tcam"', 'kind = "cmos"', "array in '.*mine.toml' must be one of .*, got 'array'"),
        ('["cmos45"]', '"cmos45"', "based_on in '.*mine.toml' must be a list of preset names, got 'cmos45'"),
        ('["cmos45"]', '["cmos22"]', r"based_on\[0\] in '.*mine.toml' must be one of .*, got 'cmos22'"),
        ('["cmos45"]', '["gpus"]', r"based_on\[0\] in '.*mine.toml' must name a preset whose sections kind 'tcam' has"),
        ("[[array]]", "[array]", r"array in '.*mine.toml' must be a list of tables \(\[\[array\]\]\)"),
        ('kind = "tcam"', 'kind = "tcam"\ngeometry = "any"', "geometry in .* must be one of 'listed', 'fitted', got"),
        ('kind = "tcam"', 'kind = "tcam"\nnode_nm = 0', "node_nm in .* must be above 0, got 0"),
        ('kind = "tcam"', 'kind = "tcam"\nscaling = "moore"', "scaling in .* must be one of 'evacam_64x64', .*'moore'"),
        ("words = 64", "words = 0", r"array\[0\].words in '.*mine.toml' must be at least 1, got 0"),
        ("words = 64", "words = 64.0", r"array\[0\].words in '.*mine.toml' must be a whole number, got 64.0"),
        ("words = 64", "words = true", r"array\[0\].words in '.*mine.toml' must be a whole number, got True"),
        ("bits = 16", "", r"array\[0\].bits in '.*mine.toml' must be given, got nothing"),
        (
            "bits = 16",
            "bits = 16\nnarrower_words = 1",
            r"array\[0\].narrower_words in '.*' must be true or false, got 1",
        ),
        ("write_ns", "wirte_ns", r"array\[0\].wirte_ns in '.*' must be one of .*, got 'wirte_ns'; did .* 'write_ns'\?"),
        ("value = 2.0", 'value = "2"', r"array\[0\].search_ns.value in '.*mine.toml' must be a finite number, got '2'"),
        ("value = 2.0", "value = nan", r"array\[0\].search_ns.value in '.*mine.toml' must be a finite number, got nan"),
        ("value = 2.0", "value = inf", r"array\[0\].search_ns.value in '.*mine.toml' must be a finite number, got inf"),
        ("value = 2.0", "value = -2.0", r"array\[0\].search_ns.value in '.*mine.toml' must be a.*, got -2.0"),
        ("value = 2.0", "value = 0.0", r"array\[0\].search_ns.value in '.*mine.toml' must be above 0, got 0.0"),
        ("value = 2.0", "value = 1e300", r"array\[0\].search_ns.value in '.*' must be at most 1e\+18, got 1e\+300"),
        ("value = 2.0", f"value = {10**400}", r"array\[0\].search_ns.value in '.*' must be at most 1e\+18, got 10000"),
        ("value = 2.0", f"value = {'1' * 5_000}", "technology must name a readable TOML file, got '.*mine.toml'"),
        ("value = 2.0", f"value = {'[' * 3_000}", "technology must name a readable TOML file, got '.*mine.toml'"),
        ('"a paper, table 1"', '" "', r"array\[0\].search_ns.source in '.*mine.toml' must not be empty, got ' '"),
        ('2.0, unit = "ns"', '2.0, unit = "ps"', r"array\[0\].search_ns.unit in '.*' must be 'ns', got 'ps'"),
        ('2.0, unit = "ns"', '2.0, unit = ""', r"array\[0\].search_ns.unit in '.*' must .*, got ''"),
        ('2.0, unit = "ns"', "2.0", r"array\[0\].search_ns.unit in '.*mine.toml' must be given, got nothing"),
        ("2.0, unit", "2.0, sigma = 1.0, unit", r"array\[0\].search_ns.sigma in '.*' must be one of .*, got 'sigma'"),
        ("2.0, unit", "2.0, low = 1.0, unit", r"array\[0\].search_ns in '.*' must have both low and high or neither"),
        (
            "2.0, unit",
            "2.0, low = 2.5, high = 3.0, unit",
            r"search_ns.low in '.*' must be at most the value, 2, got 2.5",
        ),
        ("2.0, unit", "2.0, low = 1.0, high = 1.5, unit", r"search_ns.high in '.*' must be at least the value, 2, got"),
        (', source = "a paper, table 1"', "", "search_ns in '.*' must have either a source or a reason assumed"),
        ('"a paper, table 1"', '"x", assumed = "y"', "search_ns in '.*' must have either a source or a reason assumed"),
        (
            '{ value = 900, unit = "um2", source = "a paper, table 3" }',
            "900",
            rf"array\[0\].area_um2 in .* {NUMBER}, got 900",
        ),
        ("area_um2 =", 'leakage_uw = { value = 3, unit = "um2", source = "s" }\narea_um2 =', "leakage_uw.unit .* 'uW'"),
        (SEARCH, "", r"array\[0\] in '.*' must state the latency of a search as search_ns, or as all of precharge_ns"),
        (
            SEARCH,
            SEARCH + "\n" + PARTS,
            r"array\[0\] in '.*mine.toml' must state the latency of a search as search_ns, or",
        ),
        (
            SEARCH,
            PARTS.replace("subarray", "sense"),
            r"array\[0\] in '.*mine.toml' must state the latency of a search as",
        ),
        (
            SEARCH,
            PARTS.replace("1.0", "0").replace("0.25", "0").replace("0.75", "0"),
            r"search_ns in .* must be above 0",
        ),
        (
            'table 3" }',
            'table 3" }\n[wire]\nspeed = 3',
            "wire.speed in .* must be one of 'delay_ps_per_mm', .*, got 'speed'",
        ),
        ('table 3" }', 'table 3" }\n[wire]\ndelay_ps_per_mm = 3', f"wire.delay_ps_per_mm in .* {NUMBER}, got 3"),
        (
            'table 3" }',
            'table 3" }\n[wier]\nspeed = 3',
            "wier in .* must be one of .*, got 'wier'; did you mean 'wire'",
        ),
        ('kind = "tcam"', 'kind = "tcam"\nwire = 3', "wire in '.*mine.toml' must be a table, got 3"),
    ],
)
def test_a_bad_file_is_refused_by_file_and_key(write, old, new, message):
    assert old in GOOD
    path = write(GOOD.replace(old, new))
    with pytest.raises(ValueError, match=message):
        hwsim.technology(path)


@pytest.mark.parametrize(
    ("key", "value", "unit", "rule"),
    [
        # Each of these would divide by nothing, take its logarithm, or search for a size without end.
        ("sram.area_efficiency", 0, "1", "above 0"),
        ("sram.area_efficiency", 1.2, "1", "at most 1"),
        ("sram.energy_32kb_pj", 0, "pJ", "above 0"),
        ("sram_size.fast_bytes", 0, "B", "at least 1"),
        ("sram_size.fast_bytes", 0.5, "B", "at least 1"),
        ("sram_size.two_port_area", 0, "1", "above 0"),
        ("best_match.factor", 0, "1", "above 0"),
        ("endurance.writes", 0, "1", "above 0"),
    ],
)
def test_a_number_that_no_machine_could_use_is_refused_when_read(write, key, value, unit, rule):
    section, _, name = key.partition(".")
    path = write(f'{GOOD}\n[{section}]\n{name} = {{ value = {value}, unit = "{unit}", source = "s" }}\n')
    with pytest.raises(ValueError, match=rf"{key}.value in '.*mine.toml' must be {rule}, got {value}"):
        hwsim.technology(path)


def test_a_missing_array_number_is_named(write):
    path = write("\n".join(line for line in GOOD.splitlines() if not line.startswith("write_pj")))
    with pytest.raises(ValueError, match=r"array\[0\].write_pj in '.*mine.toml' must be given, got nothing"):
        hwsim.technology(path)


def test_a_second_array_of_the_same_geometry_is_refused(write):
    path = write(GOOD + GOOD[GOOD.index("[[array]]") :])
    with pytest.raises(ValueError, match=r"array\[1\] in '.*' must have a geometry of its own, got 64 x 16 again"):
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


# -- uncertainty, parts, factors -----------------------------------------------------------------------
@pytest.mark.parametrize("name", hwsim.technologies())
def test_every_declared_interval_holds_its_value(name):
    for key, cited in hwsim.technology(name).cited().items():
        assert (cited.low is None) == (cited.high is None), key
        assert cited.low is None or cited.low <= cited.value <= cited.high, key


@pytest.mark.parametrize(
    "key",
    [
        "best_match.factor", "wire.delay_ps_per_mm", "sram.access_ns", "sram.energy_8kb_pj", "sram_size.two_port_area",
        "encoder.delay_ns", "array 64x64.search_ns", "endurance.writes",
    ],
)  # fmt: skip
def test_what_is_uncertain_declares_by_how_much(key):
    for name in ("camasim-fefet45", "evacam-fefet45", "hspice-fefet45"):
        cited = hwsim.technology(name).cited()[key]
        assert cited.low < cited.high


def test_an_interval_without_width_is_no_uncertainty(write):
    path = write(GOOD.replace("value = 2.0", "value = 2.0, low = 2.0, high = 2.0"))
    assert "array.search_ns" not in hwsim.technology(path).uncertainty(64, 16)


def test_a_sum_with_one_assumed_part_is_assumed(write):
    parts = PARTS.replace('source = "s"', 'assumed = "a"', 1)
    search = hwsim.technology(write(GOOD.replace(SEARCH, parts))).cited()["array 64x16.search_ns"]
    assert search.is_assumed


def test_an_interval_is_kept_and_none_is_invented(write):
    cited = hwsim.technology(write(GOOD.replace("2.0, unit", "2.0, low = 1.5, high = 3, unit"))).cited()
    assert (cited["array 64x16.search_ns"].low, cited["array 64x16.search_ns"].high) == (1.5, 3.0)
    assert (cited["array 64x16.search_pj"].low, cited["array 64x16.search_pj"].high) == (None, None)


@pytest.mark.parametrize(
    ("name", "words", "bits", "ns", "pj"),
    [
        ("camasim-fefet45", 64, 64, [2.6, 0.175, 1.467], [1.28, 0.225, 1.6]),
        ("camasim-fefet45", 128, 128, [4.2, 0.277, 1.467], [2.56, 0.367, 1.6]),
        ("evacam-fefet45", 64, 32, [0.0256, 0.0716, 0.0965, 0.0025], []),
    ],
)
def test_a_search_is_the_exact_sum_of_its_parts(name, words, bits, ns, pj):
    array = hwsim.technology(name).array(words=words, bits=bits)
    assert (list(array.parts_ns.values()), list(array.parts_pj.values())) == (ns, pj)
    assert array.search_ns == float(sum(Fraction(str(value)) for value in ns))
    assert not pj or array.search_pj == float(sum(Fraction(str(value)) for value in pj))


def test_an_array_stated_by_its_sums_has_no_parts(write):
    assert hwsim.technology(write(GOOD)).array(words=64, bits=16).parts_ns == {}
    by_parts = hwsim.technology(write(GOOD.replace(SEARCH, PARTS))).array(words=64, bits=16)
    assert (by_parts.search_ns, by_parts.parts_ns["interconnect_ns"]) == (2.0, 0.25)


def test_factors_reach_arrays_and_sections_and_leave_the_rest():
    base = hwsim.technology("evacam-fefet45")
    scaled = base.scaled({"array.search_ns": 1.5, "array.match_line_ns": 2.0, "wire.delay_ps_per_mm": 0.9})
    assert scaled.array(64, 32).parts_ns["sense_ns"] == pytest.approx(1.5 * 0.0025)
    assert scaled.array(64, 32).parts_ns["match_line_ns"] == pytest.approx(3.0 * 0.0965)
    assert scaled.array(64, 32).search_ns == pytest.approx(1.5 * (0.1962 + 0.0965), abs=1e-6)
    assert scaled.array(64, 32).search_pj == base.array(64, 32).search_pj
    assert scaled.number("wire.delay_ps_per_mm") == pytest.approx(72.0)
    assert (scaled.number("wire.bit_mm_pj"), scaled.name) == (base.number("wire.bit_mm_pj"), "evacam-fefet45, scaled")
    wire = scaled.cited()["wire.delay_ps_per_mm"]
    assert wire.source.endswith("; times 0.9")
    assert (wire.low, wire.high) == (45.0, 108.0)
    assert base.scaled({}) == base


def test_uncertainty_is_in_factors_that_reach_the_ends_of_the_intervals():
    tech = hwsim.technology("evacam-fefet45")
    known = tech.uncertainty(words=64, bits=32)
    assert known["sram.energy_8kb_pj"] == (pytest.approx(1 / 3, abs=1e-4), 3.0)
    assert known["best_match.factor"] == (0.5, 2.0)
    assert "array.match_line_ns" in known
    assert not {"array.search_ns", "array.sense_ns"} & known.keys()
    highest = tech.scaled({key: high for key, (_, high) in known.items()})
    for key in known:
        if not key.startswith("array."):
            assert highest.number(key) == pytest.approx(tech.cited()[key].high), key
    assert highest.array(64, 32).search_ns == pytest.approx(2.5, abs=1e-6)
    assert not hwsim.technology("row-memory").uncertainty()


@pytest.mark.parametrize(
    ("factors", "message"),
    [
        ({"array.serach_ns": 2}, "key must be a number of 'camasim-fefet45', got 'array.serach_ns'; did .*search_ns"),
        ({"array.match_line_ns": 2}, "key must be a number of 'camasim-fefet45', got 'array.match_line_ns'"),
        ({"wire.delay_ps_per_mm": -1}, "factor of 'wire.delay_ps_per_mm' must be finite and above 0, got -1"),
    ],
)
def test_a_factor_of_nothing_is_refused(factors, message):
    with pytest.raises(ValueError, match=message):
        hwsim.technology("camasim-fefet45").scaled(factors)


@pytest.mark.parametrize(
    ("machine", "preset", "factors"),
    [
        ("amper-fr", "camasim-fefet45", {"array.search_ns": 2.0}),
        ("amper-k", "camasim-fefet45", {"array.search_ns": 2.0}),
        ("sumtree-onchip", "cmos45", {"sram.access_ns": 3.0}),
        ("rejection-onchip", "cmos45", {"sram.access_ns": 3.0}),
        ("sumtree-gpu", "gpus", {"a100.l2_cycles": 2.0}),
        ("sumtree-cpu", "cpu-epyc", {f"n{n}.sample_call_ns": 2.0 for n in (1000, 10_000)}),
    ],
)
def test_machines_take_a_technology_itself_and_print_its_name(machine, preset, factors):
    tech = hwsim.technology(preset)
    assert hwsim.technology(tech) is tech
    trace = hwsim.synthetic_trace(2_000, n_ops=2, sampler="amper-k" if machine == "amper-k" else "amper-fr")
    by_name, itself, scaled = (
        hwsim.machine(machine, n_rows=2_000, technology=given) for given in (preset, tech, tech.scaled(factors))
    )
    assert json.loads(json.dumps(itself.parameters())) == by_name.parameters()
    assert scaled.parameters()["technology"] == f"{preset}, scaled"
    assert hash(scaled) != hash(by_name)
    first, same, other = (hwsim.simulate(trace, each).latency_fs["sample"] for each in (by_name, itself, scaled))
    assert list(first) == list(same)
    assert list(first) < list(other)


def test_a_technology_survives_a_process_boundary():
    tech = hwsim.technology("evacam-fefet45").scaled({"array.search_ns": 1.1})
    assert pickle.loads(pickle.dumps(tech)) == tech


def test_a_file_based_on_a_tcam_keeps_its_arrays_unless_it_has_its_own(write):
    wires = '[wire]\ndelay_ps_per_mm = { value = 100, unit = "ps/mm", source = "s" }\n'
    mine = hwsim.technology(write(f'title = "t"\nkind = "tcam"\nbased_on = ["evacam-fefet45"]\n{wires}'))
    assert (mine.array(64, 32).search_ns, mine.number("wire.delay_ps_per_mm")) == (0.1962, 100.0)
    assert (mine.geometry, mine.node_nm, mine.scaling) == ("fitted", 45, "evacam_64x64")
    own = hwsim.technology(write(GOOD.replace("cmos45", "evacam-fefet45")))
    assert ([(a.words, a.bits) for a in own.arrays], own.geometry, own.node_nm) == ([(64, 16)], "listed", None)


# -- the schema ----------------------------------------------------------------------------------------
#: Stated, and read by no machine; with who reads it.
NOT_OF_A_MACHINE = {
    "best_match.factor": "uncertainty: the interval of a machine's best_match_factor",
    "endurance.writes": "wear",
    "leakage.sram_bit_pw": "static power",
    "leakage.logic_um2_nw": "static power",
    "lfsr_step": "scaling: a block measured in both processes",
    "arbiter": "scaling: a block measured in both processes",
    "model.t_op_us": "the GPU machine's own default, held equal by a test",
    "model.t_op_low_us": "as model.t_op_us",
    "model.t_op_high_us": "as model.t_op_us",
}


def known_keys(kind):
    """Return every `section.key` that the schema knows of a kind, patterned sections by their pattern."""
    defs = schema("technology")["$defs"]
    known = defs[f"kind_{kind}"]
    sections = {**known["properties"], **known.get("patternProperties", {})}
    for name, section in sections.items():
        if isinstance(section, dict) and section.get("$ref", "").startswith("#/$defs/section_"):
            yield from (f"{name}.{key}" for key in defs[section["$ref"].rpartition("/")[2]]["properties"])


@pytest.fixture
def read(monkeypatch):
    """Every key that machines read while they are made and while they simulate."""
    keys, number = set(), Technology.number
    monkeypatch.setattr(Technology, "number", lambda self, key: (keys.add(key), number(self, key))[1])
    for readout in ("csb", "burst", "rank_select"):
        hwsim.machine("amper-fr", n_rows=5_000, readout=readout)
    hwsim.machine("amper-k", n_rows=5_000)
    hwsim.machine("rejection-onchip", n_rows=5_000)
    hwsim.machine("sumtree-cpu", n_rows=5_000)
    for fan_out in (2, 4, 8, 16):
        hwsim.machine("sumtree-onchip", n_rows=5_000, fan_out=fan_out)
    for gpu in ("gtx1080", "v100", "a100", "h100"):
        for n_rows in (1_000, 10**8):
            hwsim.machine("sumtree-gpu", n_rows=n_rows, gpu=gpu)
    fetch_fs(64, 100)
    return {re.sub(r"^n\d+\.", "^n[1-9][0-9]*$.", key) for key in keys}


@pytest.mark.parametrize("kind", ["tcam", "cmos", "dram", "gpu", "cpu"])
def test_the_schema_knows_what_machines_read_and_no_more(read, kind):
    every = {key for k in ("tcam", "dram", "gpu", "cpu") for key in known_keys(k)}
    assert read <= every
    unread = {key for key in set(known_keys(kind)) - read if not {key, key.partition(".")[0]} & NOT_OF_A_MACHINE.keys()}
    # Blocks share one form (delay, area, energy); some have a form's key that no machine needs.
    assert unread <= {"compare_tree_node.delay_ns"}


def test_the_schema_is_one_and_names_the_laws_and_parts_of_the_code():
    document = schema("technology")
    Draft202012Validator.check_schema(document)
    assert document["properties"]["scaling"]["enum"] == list(scaling.LAWS)
    parts = {part for sets in technology_numbers.PARTS.values() for names in sets for part in names}
    stated = set(document["$defs"]["array"]["properties"]) - {"words", "bits", "narrower_words"}
    fields = {f.name for f in dataclasses.fields(ArrayNumbers)}
    assert stated - parts <= fields
    assert parts <= stated


def test_what_is_published_spans_what_the_intervals_say():
    published = hwsim.technology("published-tcams").sections
    times = [numbers["search_ns"].value for numbers in published.values() if "search_ns" in numbers]
    assert (min(times), max(times)) == (pytest.approx(0.25, abs=0.003), 2.5)
    for name in ("camasim-fefet45", "evacam-fefet45", "hspice-fefet45", "mram", "evacam-reram45", "evacam-cmos16t"):
        for key, cited in hwsim.technology(name).cited().items():
            if key.endswith(".search_ns"):
                assert cited.low <= max(0.25, cited.value), (name, key)
                assert cited.high == pytest.approx(max(2.5, cited.value)), (name, key)


def test_cells_that_wear_say_how_soon_and_those_that_do_not_say_nothing():
    writes = {
        name: hwsim.technology(name).sections.get("endurance")
        for name in hwsim.technologies()
        if hwsim.technology(name).kind == "tcam"
    }
    assert writes.pop("evacam-cmos16t") is None
    assert {name: section["writes"].value for name, section in writes.items()} == {
        "camasim-fefet45": 1e10, "evacam-fefet45": 1e10, "hspice-fefet45": 1e10, "evacam-reram45": 1e8, "mram": 1e15,
    }  # fmt: skip


def test_a_fitted_file_still_lists_what_it_has():
    tech = hwsim.technology("evacam-fefet45")
    assert (tech.geometry, hwsim.technology("camasim-fefet45").geometry) == ("fitted", "listed")
    assert list(tech.array(256, 64).parts_ns) == ["precharge_ns", "row_drive_ns", "match_line_ns", "sense_ns"]
