"""The command line: what each command prints, and what it answers to wrong usage."""

import json
import subprocess
import sys

import pytest

import amper
from experiments import cli, study


def run(capsys, *arguments):
    code = cli.main([str(a) for a in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_version_is_the_packages(capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(["--version"])
    assert end.value.code == 0
    assert capsys.readouterr().out == f"amper {amper.__version__}\n"


def test_latency_prints_a_line_a_machine_and_size(capsys):
    machines = ("amper-fr:technology=evacam-fefet45", "sumtree-gpu:gpu=a100,quality=fused")
    code, out, err = run(capsys, "latency", "--n", 500, 1000, "--batch", 16, "--machine", *machines)
    assert (code, err) == (0, "")
    assert all(machine in out for machine in machines)
    assert "1,000" in out


def test_json_is_the_only_thing_on_standard_output(capsys):
    code, out, _ = run(capsys, "latency", "--n", 500, "--machine", "amper-fr", "amper-k", "--json")
    document = json.loads(out)
    assert code == 0
    assert [row["machine"] for row in document["rows"]] == ["amper-fr", "amper-k"]
    assert all(row["sample_fs"] > 0 for row in document["rows"])


def test_events_and_formula_agree_on_the_command_line(capsys):
    rows = {}
    for fidelity in ("burst", "closed"):
        _, out, _ = run(capsys, "latency", "--n", 800, "--machine", "amper-fr", "--fidelity", fidelity, "--json")
        rows[fidelity] = json.loads(out)["rows"]
    assert rows["burst"] == rows["closed"]


def test_training_says_what_its_figures_are(capsys):
    code, out, _ = run(capsys, "train", "--steps", 1200, "--replay", "per", "--seed", 3)
    assert code == 0
    assert "selected checkpoint" in out
    assert "averaged weights, the best of 20 periodic evaluations" in out
    assert "last iterate" in out


def test_a_comparison_is_kept_and_not_computed_again(capsys, tmp_path):
    arguments = ("compare", "--steps", 1100, "--seeds", 2, "--replay", "uniform", "amper-fr",
                 "--store", tmp_path / "r.sqlite", "--workers", 1)  # fmt: skip
    code, out, _ = run(capsys, *arguments)
    assert code == 0
    assert "Selected checkpoint: averaged weights" in out
    assert "last iterate, median" in out
    code, out, _ = run(capsys, "results", "--store", tmp_path / "r.sqlite", "--json")
    rows = json.loads(out)
    assert [(r["parameters"]["replay"], r["seed"]) for r in rows] == [
        ("uniform", 0), ("uniform", 1), ("amper-fr", 0), ("amper-fr", 1)]  # fmt: skip
    run(capsys, *arguments)
    _, again, _ = run(capsys, "results", "--store", tmp_path / "r.sqlite", "--json")
    assert json.loads(again) == rows
    code, out, _ = run(capsys, "results", "compare-replays", "--store", tmp_path / "r.sqlite")
    assert "4 rows" in out


def test_repeats_are_run_once_and_one_seed_has_no_interval(capsys, tmp_path):
    code, out, _ = run(capsys, "compare", "--steps", 1100, "--seeds", 1, "--seed", 7, "--replay", "per", "per",
                       "--store", tmp_path / "r.sqlite", "--workers", 1, "--json")  # fmt: skip
    assert code == 0
    assert [(row["replay"], row["seed"]) for row in json.loads(out)["rows"]] == [("per", 7)]
    _, out, _ = run(capsys, "compare", "--steps", 1100, "--seeds", 1, "--seed", 7, "--replay", "per",
                    "--store", tmp_path / "r.sqlite")  # fmt: skip
    assert "[n/a]" in out
    assert "1 of 1 rows were in" in out


def test_values_of_a_study_can_be_lists_or_spelled_machines(capsys, tmp_path):
    machine = "sumtree-gpu:gpu=a100,quality=fused"
    code, out, _ = run(capsys, "run", "latency", "--setting", "tiny", "--set", f"machine={machine}", "--set", "n=[300]",
                       "--set", "n=400", "--store", tmp_path / "r.sqlite", "--json")  # fmt: skip
    assert code == 0
    assert [(row["machine"], row["n"]) for row in json.loads(out)["rows"]] == [(machine, 300), (machine, 400)]


def test_a_missing_extra_is_named(capsys, monkeypatch):
    import gymnasium

    def absent(*_, **__):
        raise gymnasium.error.DependencyNotInstalled("Box2D is not installed")

    monkeypatch.setattr(gymnasium, "make", absent)
    code, _, err = run(capsys, "train", "--steps", 10)
    assert code == 1
    assert "Box2D is not installed; an extra may be missing: pip install '.[box2d]'" in err


def test_a_reader_that_leaves_early_ends_the_command_quietly():
    code = f"{sys.executable} -m experiments.cli tech evacam-fefet45 --json | head -c 10"
    ran = subprocess.run(code, shell=True, capture_output=True, text=True, check=False)
    assert "Traceback" not in ran.stderr


def test_a_study_runs_by_name_with_changes_and_a_figure(capsys, tmp_path):
    code, out, _ = run(
        capsys, "run", "latency", "--setting", "tiny", "--set", "n=400,800", "--set", "machine=amper-fr",
        "--store", tmp_path / "r.sqlite", "--workers", 1, "--figure", tmp_path / "f.png",
    )  # fmt: skip
    assert code == 0
    assert "How does the latency of one sampling grow" in out
    assert (tmp_path / "f.png").read_bytes().startswith(b"\x89PNG")


def test_list_names_everything_registered(capsys):
    code, out, _ = run(capsys, "list", "--json")
    document = json.loads(out)
    assert code == 0
    assert set(document["samplers"]) >= {"uniform", "per", "amper-k", "amper-fr"}
    assert set(document["machines"]) >= {"amper-fr", "amper-k", "sumtree-gpu"}
    assert set(document["studies"]) >= {"compare-replays", "latency", "speedup-report"}
    assert run(capsys, "list")[0] == 0


def test_tech_prints_every_number_with_its_source(capsys):
    code, out, _ = run(capsys, "tech", "evacam-fefet45", "--json")
    document = json.loads(out)
    assert code == 0
    assert len(document["numbers"]) > 30
    assert all(number["source"] for number in document["numbers"])
    assert "evacam-fefet45" in run(capsys, "tech")[1]
    assert "source" in run(capsys, "tech", "camasim-fefet45")[1]


def test_a_quick_calibration_writes_a_file_that_serves_a_machine(capsys, tmp_path):
    path = tmp_path / "mine.toml"
    code, out, err = run(capsys, "calibrate-cpu", "--n", 900, 600, "--quick", "--out", path)
    assert (code, err) == (0, "")
    use = f"amper latency --n 900 --machine sumtree-cpu:technology={path}"
    assert f"Use it: {use}" in out
    assert all(word in out for word in ("call", "a row", "sample", "update", "insert", "600", "900", str(path)))
    assert run(capsys, *use.split()[1:])[0] == 0
    code, out, _ = run(capsys, "tech", path, "--json")
    assert [number["key"] for number in json.loads(out)["numbers"]][:2] == [
        "n600.sample_call_ns", "n600.sample_row_ns"]  # fmt: skip
    code, _, err = run(capsys, "latency", "--n", 901, "--machine", f"sumtree-cpu:technology={path}")
    assert code == 2
    assert "n_rows must be at most 900, the largest size measured" in err


def test_a_calibration_as_json_is_one_document(capsys, tmp_path):
    code, out, _ = run(capsys, "calibrate-cpu", "--n", 600, "--quick", "--out", tmp_path / "mine.toml", "--json")
    document = json.loads(out)
    assert code == 0
    assert [(row["n"], row["op"]) for row in document["rows"]] == [(600, op) for op in ("sample", "update", "insert")]
    assert document["written"] == str(tmp_path / "mine.toml")


def test_the_cpu_is_tagged_measured_and_other_machines_modelled(capsys):
    _, out, _ = run(capsys, "latency", "--n", 2000, "--machine", "sumtree-cpu", "sumtree-gpu", "--json")
    assert [row["source"] for row in json.loads(out)["rows"]] == ["measured", "modelled"]
    assert "AMD EPYC" in run(capsys, "tech", "cpu-epyc")[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["latency", "--machine", "tpu", "--n", "100"], "name must be one of"),
        (["latency", "--machine", "amper-fr:banks", "--n", "100"], "machine must be NAME[:key=value,...]"),
        (["latency", "--machine", "amper-fr:colour=red", "--n", "100"], "colour"),
        (["latency", "--machine", "amper-fr", "--n", "0"], "n must be positive, got 0"),
        (["train", "--replay", "pre", "--steps", "10"], "sampler must be one of"),
        (["train", "--agent", "ppo", "--steps", "10"], "agent must be"),
        (["train", "--steps", "0"], "n_steps must be"),
        (["train", "--env", "NoSuchEnv-v0", "--steps", "10"], "NoSuchEnv"),
        (
            ["run", "nonsense"],
            f"study must be one of {', '.join(study.available())}, got 'nonsense'",
        ),
        (["run", "latency", "--setting", "huge"], "setting must be one of tiny, default, full, got 'huge'"),
        (["run", "latency", "--set", "colour=red"], "parameters of latency must be among"),
        (["run", "latency", "--set", "n"], "--set must be key=value, got 'n'"),
        (["run", "latency", "--set", "n=many"], "n must be of the kind of 5000, got 'many'"),
        (["run", "latency", "--set", "n_ops=0"], "n_ops must be positive, got 0"),
        (["run", "compare-replays", "--figure", "f.png"], "--figure must go with a study that has one"),
        (["run", "latency", "--figure", "f.txt"], "--figure must be a .png in a folder that exists"),
        (["latency", "--csp", "0"], "csp_fraction must be positive, got 0.0"),
        (["latency", "--csp", "2"], "csp_fraction must"),
        (["latency", "--batch", "0"], "batch must be positive, got 0"),
        (["latency", "--machine", "amper-fr:n_rows=7"], "machine must leave its size to n"),
        (["compare", "--seeds", "0"], "seeds must be positive, got 0"),
        (["compare", "--workers", "0"], "workers must be at least 1, got 0"),
        (["report", "--seed", "-1"], "seed must be at least 0, got -1"),
        (["report", "--out", "/proc/nothing"], "out must be a folder that can be written"),
        (["results", "nonsense"], "study must be one of"),
        (["results", "--store", "absent.sqlite"], "store must be a file that a study wrote"),
        (["calibrate-cpu", "--n", "0"], "n must be at least the largest batch timed, 512, got [0]"),
        (["calibrate-cpu", "--out", "cpu.txt"], "out must be a .toml file in a folder that can be written"),
        (["calibrate-cpu", "--out", "absent/cpu.toml"], "out must be a .toml file in a folder that can be written"),
        (["tech", "unobtainium"], "technology must be one of"),
        (["tech", "absent.toml"], "technology must name a readable TOML file"),
    ],
)
def test_wrong_usage_is_answered_by_what_to_do(capsys, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, *arguments)
    assert code == 2
    assert out == ""
    assert message in err
    assert "Traceback" not in err


def test_a_store_that_is_no_store_is_refused(capsys, tmp_path):
    path = tmp_path / "notes.sqlite"
    path.write_text("these are notes, and a good many of them, so that SQLite reads a header")
    code, _, err = run(capsys, "results", "--store", path)
    assert code == 2
    assert "store must be a SQLite file of results" in err


def test_the_installed_command_answers():
    ran = subprocess.run(
        [sys.executable, "-m", "experiments.cli", "--help"], capture_output=True, text=True, check=True
    )
    for command in ("report", "latency", "train", "compare", "run", "list", "results", "tech", "calibrate-cpu"):
        assert command in ran.stdout
