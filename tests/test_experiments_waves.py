"""The command `amper waves`: what it writes, prints and refuses."""

import json
import sys

import pytest

import hwsim
from experiments import cli, waves

pytest.importorskip("vcd")


def run(capsys, *arguments):
    code = cli.main(["waves", *(str(a) for a in arguments)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture
def recording(tmp_path):
    hwsim.synthetic_trace(120, 8, 0.2, 4, seed=2, n_inserts=1).save(tmp_path / "run.npz")
    return tmp_path / "run.npz"


@pytest.fixture
def listed(tmp_path):
    (tmp_path / "ops.csv").write_text("op,size\ninsert,50\nsample,8\nupdate,8\n")
    return tmp_path / "ops.csv"


def test_both_files_are_written_and_how_to_open_them_is_said(capsys, tmp_path):
    vcd, perfetto = tmp_path / "run.vcd", tmp_path / "run.json"
    code, out, err = run(capsys, "--n", 300, "--batch", 8, "--vcd", vcd, "--perfetto", perfetto)
    assert (code, err) == (0, "")
    assert "amper-fr, n = 300, burst, serial arrivals: 7 ops in " in out
    assert f"Written: {vcd}\n  open it: gtkwave {vcd}" in out
    assert f"Written: {perfetto}\n  open it: https://ui.perfetto.dev" in out
    assert vcd.read_text().startswith("$timescale 1 ps $end")
    assert json.loads(perfetto.read_text())["otherData"]["machine"] == "amper-fr"


def test_the_files_are_those_that_the_library_writes(capsys, tmp_path):
    path = tmp_path / "run.json"
    code, out, _ = run(
        capsys, "--machine", "amper-k:n_banks=4", "--n", 200, "--batch", 8, "--csp", 0.1, "--samplings", 2,
        "--seed", 5, "--arrivals", "closed:n_clients=2", "--perfetto", path, "--json",
    )  # fmt: skip
    trace = hwsim.synthetic_trace(200, 8, 0.1, 2, seed=5, sampler="amper-k")
    machine = hwsim.machine("amper-k", n_rows=200, n_banks=4)
    report = hwsim.simulate(trace, machine, arrivals=hwsim.Closed(2), keep_ledger=True)
    hwsim.write_perfetto(report, tmp_path / "other.json")
    assert code == 0
    assert path.read_bytes() == (tmp_path / "other.json").read_bytes()
    assert json.loads(out) == {
        "machine": "amper-k:n_banks=4", "n": 200, "fidelity": "burst",
        "arrivals": "Closed(n_clients=2, think_ns=0.0)", "n_ops": 5, "makespan_fs": report.makespan_fs,
        "written": {"perfetto": str(path)},
    }  # fmt: skip


@pytest.mark.parametrize("machine", ["amper-fr", "sumtree-onchip", "sumtree-cpu"])
def test_a_recording_and_a_file_of_ops_are_drawn_too(capsys, tmp_path, recording, listed, machine):
    path = tmp_path / "run.json"
    sources = (("--trace", recording), 13, 120), (("--ops", listed, "--n", 60), 3, 60)
    for arguments, n_ops, n in sources:
        code, out, _ = run(capsys, "--machine", machine, *arguments, "--perfetto", path, "--json")
        assert code == 0
        assert (json.loads(out)["n_ops"], json.loads(out)["n"]) == (n_ops, n)
    code, out, _ = run(
        capsys, "--machine", machine, "--trace", recording, "--window", 4, 7, "--perfetto", path, "--json"
    )
    assert json.loads(out)["n_ops"] == 4  # what was stored before, and the three


def test_the_synthetic_trace_is_the_machines_kind(capsys, tmp_path):
    for machine in ("amper-fr:unique=true", "amper-k"):
        code, _, err = run(capsys, "--machine", machine, "--n", 200, "--batch", 8, "--vcd", tmp_path / "run.vcd")
        assert (code, err) == (0, "")


def test_a_formula_warns_that_it_knows_no_moments(capsys, tmp_path):
    code, out, _ = run(capsys, "--n", 100, "--fidelity", "closed", "--vcd", tmp_path / "run.vcd")
    assert code == 0
    assert "not when within it; fidelity burst shows the moments" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "--vcd or --perfetto must name a file to write, got neither"),
        (("--vcd", "x", "--perfetto", "x"), "--vcd and --perfetto must differ, got 'x' twice"),
        (("--vcd", "none/x"), "--vcd must be a file in a folder that exists, got 'none/x'"),
        (("--perfetto", "."), "--perfetto must be a file in a folder that exists, got '.'"),
        (("--vcd", "x", "--trace", "a", "--ops", "b"), "--ops must be left out beside --trace, got 'b'"),
        (("--vcd", "x", "--trace", "a", "--n", "5"), "--n must be left out beside --trace, got 5"),
        (("--vcd", "x", "--trace", "a", "--seed", "0"), "--seed must be left out beside --trace, got 0"),
        (("--vcd", "x", "--ops", "a", "--batch", "5"), "--batch must be left out beside --ops, got 5"),
        (("--vcd", "x", "--arrivals", "poisson"), "--arrivals must be serial, poisson:rate_hz=HZ"),
        (("--vcd", "x", "--arrivals", "poisson:n_actors=2"), "--arrivals must be serial, poisson:rate_hz=HZ"),
        (("--vcd", "x", "--arrivals", "closed:n_clients=2,n_clients=3"), "--arrivals must be serial"),
        (("--vcd", "x", "--arrivals", "closed:n_clients=0"), "n_clients must be at least 1, got 0"),
        (("--vcd", "x", "--arrivals", "burst:rate_hz=2"), "--arrivals must be serial"),
        (("--vcd", "x", "--machine", "fridge"), "'fridge'"),
        (("--vcd", "x", "--window", "5", "99"), "--window first, last must satisfy 0 <= first <= last <= 7"),
        (("--vcd", "x", "--fidelity", "closed", "--arrivals", "closed:n_clients=2"), "ops may overlap"),
    ],
)
def test_a_wrong_option_is_named_and_nothing_is_written(capsys, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (2, "")
    assert err.startswith("amper waves: ")
    assert message in err
    assert not list(tmp_path.iterdir())


def test_a_bad_line_of_a_file_of_ops_is_named(capsys, tmp_path, listed):
    listed.write_text("op,size\ninsert,50\nread,8\n")
    code, _, err = run(capsys, "--ops", listed, "--perfetto", tmp_path / "x")
    assert code == 2
    assert f"{listed}, line 3: op must be one of 'insert', 'update', 'sample', got 'read'" in err
    assert run(capsys, "--ops", tmp_path / "none.csv", "--perfetto", tmp_path / "x")[0] == 1


def test_without_pyvcd_the_extra_is_named_before_any_work(capsys, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "vcd", None)
    monkeypatch.setattr(waves, "workload", lambda *_: pytest.fail("simulated"))
    code, _, err = run(capsys, "--vcd", tmp_path / "run.vcd")
    assert code == 2
    assert 'pip install ".[trace]"' in err
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "vcd", None)
    assert run(capsys, "--n", 50, "--perfetto", tmp_path / "run.json")[0] == 0
