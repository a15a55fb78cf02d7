"""Machine files: a name and parameters; keyword arguments win; every error names file and key."""

import functools
import inspect
from importlib import resources

import pytest
from jsonschema import Draft202012Validator

import hwsim
from amper.trace import OpKind
from experiments.cli import main
from experiments.compose import MachineSpec
from hwsim import machines, measurement
from hwsim.configuration import load_machine
from hwsim.machines import amper, gpu_sumtree
from hwsim.schemas import schema

GOOD = """
name = "amper-fr"
readout = "csb"
n_banks = 4
n_csb_ports = 2
bits = 32
clock_ghz = 1
technology = "evacam-fefet45"
"""


@pytest.fixture
def write(tmp_path):
    def write(text, name="mine.toml"):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_a_file_is_a_machine_by_path_or_string_and_keywords_win(write):
    path = write(GOOD)
    by_hand = hwsim.machine("amper-fr", n_rows=500, n_banks=4, n_csb_ports=2, bits=32, technology="evacam-fefet45")
    assert hwsim.machine(path, n_rows=500) == hwsim.machine(str(path), n_rows=500) == by_hand
    assert hwsim.machine(path, n_rows=500, n_csb_ports=4).n_csb_ports == 4
    assert hwsim.machine(write(GOOD + "n_rows = 77\n")).n_rows == 77
    assert hwsim.machine(write(GOOD + "n_rows = 77\n"), n_rows=78).n_rows == 78


@pytest.mark.parametrize("name", machines.available())
def test_every_machine_can_be_a_file(write, name):
    path = write(f'name = "{name}"\nn_rows = 200\n')
    assert hwsim.machine(path).parameters() == hwsim.machine(name, n_rows=200).parameters()


@pytest.mark.parametrize("name", ["amper-fr", "amper-k", *(n for n in machines.available() if "amper" not in n)])
def test_the_schema_knows_every_parameter_of_every_machine(name):
    document = schema("machine")
    Draft202012Validator.check_schema(document)
    target = machines._factories[name]
    if isinstance(target, str):
        module, _, attribute = target.partition(":")
        target = getattr(__import__(module, fromlist=[attribute]), attribute)
    taken = set(inspect.signature(target).parameters)
    taken -= set(target.keywords) if isinstance(target, functools.partial) else set()
    (known,) = (
        document["$defs"][each["then"]["$ref"].rpartition("/")[2]]["properties"]
        for each in document["allOf"]
        if each["if"]["properties"]["name"]["const"] == name
    )
    assert set(known) - {"name"} == taken


def test_the_schema_offers_the_choices_of_the_code():
    known = schema("machine")["$defs"]["amper"]["properties"]
    assert tuple(known["readout"]["enum"]) == amper.READOUTS
    assert tuple(known["neighbours"]["enum"]) == amper.NEIGHBOURS
    assert (known["bits"]["minimum"], known["bits"]["maximum"]) == amper._BITS
    tree = schema("machine")["$defs"]["sumtree-gpu"]["properties"]
    assert tuple(tree["gpu"]["enum"]) == gpu_sumtree.GPUS
    assert set(tree["quality"]["enum"]) == {*gpu_sumtree.QUALITIES, *gpu_sumtree.VARIANT_OF}
    assert [f"{figure}_us" for figure in tree["figure"]["enum"]] == list(measurement.FIGURES)


def test_a_file_can_name_a_measured_gpu_and_its_own_measurement(write, tmp_path):
    text = 'name = "sumtree-gpu"\nquality = "fused-graph"\nfigure = "device"\nmeasurement = '
    shipped = hwsim.machine(write(f'{text}"h100"\n'), n_rows=20_000)
    assert shipped == hwsim.machine(
        "sumtree-gpu", n_rows=20_000, quality="fused-graph", figure="device", measurement="h100"
    )
    original = resources.files("hwsim") / "measurements" / "h100.json"
    (tmp_path / "mine.json").write_text(original.read_text(encoding="utf-8"), encoding="utf-8")
    own = hwsim.machine(write(f'{text}"mine.json"\n'), n_rows=20_000)
    assert own.split_fs(OpKind.SAMPLE, 64) == shipped.split_fs(OpKind.SAMPLE, 64)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('name = "amper-fr"', "name = ", r"machine must name a readable TOML file, got '.*mine.toml': .*\(at line 2"),
        ('name = "amper-fr"', "", "name in '.*mine.toml' must be given, got nothing"),
        (
            '"amper-fr"',
            '"amper-rf"',
            "name in '.*' must be one of 'amper-fr', .*, got 'amper-rf'; did you mean 'amper-fr'",
        ),
        ('"amper-fr"', "3", "name in '.*mine.toml' must be a text, got 3"),
        ("n_banks", "n_bancs", "n_bancs in '.*mine.toml' must be one of .*, got 'n_bancs'; did you mean 'n_banks'"),
        ("n_banks", "variant", "variant in '.*mine.toml' must be one of .*, got 'variant'"),
        ("n_banks = 4", "n_banks = 4.0", "n_banks in '.*mine.toml' must be a whole number, got 4.0"),
        ("n_banks = 4", "n_banks = true", "n_banks in '.*mine.toml' must be a whole number, got True"),
        ("n_banks = 4", "n_banks = 0", "n_banks in '.*mine.toml' must be at least 1, got 0"),
        ("clock_ghz = 1", "clock_ghz = nan", "clock_ghz in '.*mine.toml' must be a finite number, got nan"),
        ("clock_ghz = 1", "clock_ghz = -1", "clock_ghz in '.*mine.toml' must be above 0, got -1"),
        ('"csb"', '"cbs"', "readout in '.*mine.toml' must be one of 'csb', .*, got 'cbs'; did you mean 'csb'"),
        ("bits = 32", "bits = 3", "bits in '.*mine.toml' must lie between 4 and 32, got 3"),
        ("bits = 32", "bits = 33", "bits in '.*mine.toml' must lie between 4 and 32, got 33"),
        ("bits = 32", "rows_per_array = 63", "rows_per_array in '.*mine.toml' must be even, got 63"),
        ("bits = 32", "unique = 1", "unique in '.*mine.toml' must be true or false, got 1"),
        # What only the machine knows: its own words behind file and key.
        (
            "n_csb_ports = 2",
            "n_csb_ports = 5",
            "n_csb_ports in '.*mine.toml': n_csb_ports must be at most n_banks = 4, got",
        ),
        ("clock_ghz = 1", "clock_ghz = 30", "clock_ghz in '.*mine.toml': clock_ghz must be at most 2, got 30"),
        ('"csb"', '"burst"', "n_csb_ports in '.*mine.toml': n_csb_ports must be 1 with readout 'burst'"),
        ('"evacam-fefet45"', '"fefet"', "technology in '.*mine.toml': technology must be one of .*, got 'fefet'"),
        ('"evacam-fefet45"', '"cmos45"', "technology in '.*mine.toml': technology must have TCAM arrays"),
        (
            '"evacam-fefet45"',
            '"t.toml"',
            "technology in '.*mine.toml': technology must name a readable TOML file, got '/.*/t.t",
        ),
        ("clock_ghz = 1", f"clock_ghz = {10**400}", "clock_ghz in '.*mine.toml': clock_ghz must be finite and above 0"),
        (
            'bits = 32\nclock_ghz = 1\ntechnology = "evacam-fefet45"',
            "rows_per_array = 62",
            "rows_per_array in '.*mine.toml': words x bits must be a geometry",
        ),
        (
            "n_csb_ports = 2\n",
            "n_csb_ports = 2\nrows_per_array = 8\n",
            "rows_per_array in '.*mine.toml': array of 'evacam-fefet45': words must lie between 16 and 1024",
        ),
    ],
)
def test_a_bad_file_is_refused_by_file_and_key(write, old, new, message):
    assert old in GOOD
    path = write(GOOD.replace(old, new))
    with pytest.raises(ValueError, match=message):
        hwsim.machine(path, n_rows=500)
    with pytest.raises(ValueError, match=message):
        MachineSpec.parse(str(path))


def test_a_keyword_that_is_refused_is_not_blamed_on_the_file(write):
    path = write(GOOD)
    with pytest.raises(ValueError, match=r"^n_csb_ports must be at most n_banks = 4, got 9"):
        hwsim.machine(path, n_rows=500, n_csb_ports=9)
    with pytest.raises(TypeError, match=r"^parameters of 'amper-fr' must be among .*, got 'ports'"):
        hwsim.machine(path, n_rows=500, ports=9)
    with pytest.raises(TypeError, match=r"^n_rows must be given for 'amper-fr', got nothing"):
        hwsim.machine(path)


def test_a_technology_lies_where_the_machine_file_says_wherever_one_stands(write, tmp_path, monkeypatch):
    folder = tmp_path / "inner"
    folder.mkdir()
    (folder / "wires.toml").write_text('title = "t"\nkind = "tcam"\nbased_on = ["evacam-fefet45"]\n', encoding="utf-8")
    path = write(GOOD.replace('"evacam-fefet45"', '"inner/wires.toml"'))
    monkeypatch.chdir(folder)
    assert hwsim.machine(path, n_rows=500).costs == hwsim.machine(write(GOOD, "other.toml"), n_rows=500).costs
    assert load_machine(path).parameters["technology"] == str(folder / "wires.toml")
    absolute = write(GOOD.replace('"evacam-fefet45"', f'"{folder / "wires.toml"}"'))
    assert load_machine(absolute).parameters["technology"] == str(folder / "wires.toml")


def test_what_is_wrong_inside_its_technology_is_located_through_both_files(write):
    write('title = "t"\nkind = "tcam"\nwier = 3\n', "t.toml")
    path = write(GOOD.replace('"evacam-fefet45"', '"t.toml"'))
    with pytest.raises(ValueError, match=r"^technology in '.*mine.toml': wier in '.*t.toml' must be one of"):
        hwsim.machine(path, n_rows=500)


def test_a_machine_of_ones_own_can_be_a_file(write, monkeypatch):
    monkeypatch.setattr(machines, "_factories", dict(machines._factories))
    machines.register("mine", lambda *, n_rows, speed=1: (n_rows, speed))
    assert hwsim.machine(write('name = "mine"\nspeed = 3\n'), n_rows=5) == (5, 3)
    with pytest.raises(TypeError, match=r"sped in '.*mine.toml': parameters of 'mine' must be among .*, got 'sped'"):
        hwsim.machine(write('name = "mine"\nsped = 3\n'), n_rows=5)


# -- the associative machine's own checks --------------------------------------------------------------
@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"bits": 3}, "bits must lie between 4 and 32, got 3"),
        ({"bits": 33}, "bits must lie between 4 and 32, got 33"),
        ({"rows_per_array": 63}, "rows_per_array must be even, got 63"),
    ],
)
def test_codes_and_arrays_have_sizes_that_can_be_built(parameters, message):
    with pytest.raises(ValueError, match=message):
        hwsim.machine("amper-fr", n_rows=100, **parameters)
    for bits in (4, 32):
        assert hwsim.machine("amper-fr", n_rows=100, bits=bits).bits == bits


# -- the command line ----------------------------------------------------------------------------------
def test_a_file_on_the_command_line_is_spelled_out(write):
    path = write(GOOD + "n_rows = 77\n")
    spec = MachineSpec.parse(f"{path}:n_csb_ports=4,readout=csb")
    options = "readout=csb,n_banks=4,n_csb_ports=4,bits=32,clock_ghz=1,technology=evacam-fefet45"
    assert (str(spec), spec.sampler) == (f"amper-fr:{options}", "amper-fr")
    assert MachineSpec.parse(str(spec)) == spec
    assert spec.make(500) == hwsim.machine(path, n_rows=500, n_csb_ports=4)


def test_an_option_frees_the_file_of_what_it_would_be_refused_for(write):
    path = write(GOOD.replace("n_csb_ports = 2", "n_csb_ports = 5"))
    with pytest.raises(ValueError, match=r"n_csb_ports in .*: n_csb_ports must be at most n_banks = 4"):
        MachineSpec.parse(str(path))
    assert MachineSpec.parse(f"{path}:n_csb_ports=1").make(100).n_csb_ports == 1


def test_a_text_that_a_command_line_cannot_hold_is_refused(write, tmp_path):
    folder = tmp_path / "a,b"
    folder.mkdir()
    (folder / "t.toml").write_text('title = "t"\nkind = "tcam"\nbased_on = ["evacam-fefet45"]\n', encoding="utf-8")
    path = write(GOOD.replace('"evacam-fefet45"', '"a,b/t.toml"'))
    with pytest.raises(
        ValueError, match=r"technology in '.*' must be a text that a command line can hold, got '.*a,b/t"
    ):
        MachineSpec.parse(str(path))


def test_latency_takes_a_machine_file_and_names_what_is_wrong_with_it(write, capsys):
    path = write(GOOD)
    assert main(["latency", "--n", "300", "--machine", str(path), f"{path}:readout=csb", "--json"]) == 0
    assert "technology=evacam-fefet45" in capsys.readouterr().out
    bad = write(GOOD.replace("n_banks", "n_bancs"))
    assert main(["latency", "--n", "300", "--machine", str(bad)]) == 2
    assert f"n_bancs in {str(bad)!r} must be one of" in capsys.readouterr().err


def test_tech_prints_every_number_with_unit_interval_and_source(capsys):
    assert main(["tech", "evacam-fefet45"]) == 0
    out = capsys.readouterr().out
    for key, cited in hwsim.technology("evacam-fefet45").cited().items():
        (line,) = (text for text in out.splitlines() if text.strip().startswith(f"{key} "))
        words = line.split()
        assert f"{cited.value:.6g}" in words
        assert cited.unit in words
        assert cited.low is None or f"{cited.low:.4g} to {cited.high:.4g}" in line


def test_tech_prints_another_process_and_says_where_it_ends(capsys):
    assert main(["tech", "evacam-fefet45", "--node", "22"]) == 0
    out = capsys.readouterr().out
    assert "arrays scaled to 22 nm by evacam_64x64" in out
    assert "0.211" in out
    assert main(["tech", "evacam-fefet45", "--node", "14"]) == 2
    assert "to_nm must lie between 22 and 90, got 14" in capsys.readouterr().err
    assert main(["tech", "--node", "22"]) == 2
    assert "--node must go with a technology's name" in capsys.readouterr().err
