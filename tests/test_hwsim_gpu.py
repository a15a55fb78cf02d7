"""The measured sum tree on a GPU: kernels in numba's simulator, the variants, the file, and the machine it makes."""

import importlib.util
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import hwsim
from amper.protocols import Draw
from amper.trace import OpKind, Trace, TraceHeader
from experiments.cli import main
from hwsim import calibrate, measurement
from hwsim.machines.gpu_sumtree import VARIANT_OF
from tests.naive import sum_tree as naive

PROGRAMS = Path(__file__).parent / "programs"
SPEC = importlib.util.spec_from_file_location("cuda_simulated", PROGRAMS / "cuda_simulated.py")
SIMULATED = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(SIMULATED)


def run(program, *arguments):
    environment = {**os.environ, "NUMBA_ENABLE_CUDASIM": "1", "PYTHONPATH": str(PROGRAMS.parent.parent)}
    command = [sys.executable, str(PROGRAMS / program), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


# -- kernels ------------------------------------------------------------------------------------------
def test_kernels_in_the_simulator_equal_the_naive_tree_bit_by_bit():
    ran = run("cuda_simulated.py")
    assert (ran.returncode, ran.stdout) == (0, "equal\n"), ran.stderr


@pytest.mark.parametrize("mistake", SIMULATED.MISTAKES)
def test_a_mistake_planted_in_a_kernel_is_found(mistake):
    ran = run("cuda_simulated.py", mistake)
    assert ran.returncode == 1
    assert "AssertionError" in ran.stderr


# -- the reference that a GPU is verified against -----------------------------------------------------
@pytest.mark.parametrize("n", [1, 2, 3, 8, 100, 257])
def test_the_reference_equals_the_naive_tree_bit_by_bit(n):
    rng = np.random.default_rng(n)
    masses = (rng.exponential(size=n) * (rng.random(n) < 0.8)).astype(np.float32)
    masses[rng.integers(n)] = 1
    nodes, slow = calibrate.build(masses), naive.build(masses)
    np.testing.assert_array_equal(nodes, slow)
    for b in (1, 70):
        uniforms = np.append(rng.random(b, np.float32), np.float32(1))
        for found, expected in zip(calibrate.sample(nodes, uniforms), naive.sample(slow, uniforms), strict=True):
            np.testing.assert_array_equal(found, expected)
        indices, written = rng.integers(0, max(1, n // 2), b), rng.exponential(size=b).astype(np.float32)
        calibrate.update(nodes, indices, written)
        naive.update(slow, indices, written)
        np.testing.assert_array_equal(nodes, slow)


def test_inputs_come_again_only_once_all_were_used():
    pytest.importorskip("torch")
    from hwsim.calibrate_clock import Fresh

    fresh = Fresh("cpu", "update", 50, 4, 10, np.random.default_rng(0))
    drawn = np.concatenate([fresh(3)[1].numpy() for _ in range(3)])
    assert len(np.unique(drawn)) == 36
    np.testing.assert_array_equal(fresh(2)[1].numpy(), drawn[:2])


# -- variants -----------------------------------------------------------------------------------------
def torch_programs(n, b=33):
    pytest.importorskip("torch")
    from hwsim.calibrate_trees import Eager, TorchTree

    nodes = calibrate.build(np.random.default_rng(n).exponential(size=n).astype(np.float32))
    tree = TorchTree(nodes, "cpu")
    return tree, nodes, lambda kind, rows, ops: Eager(tree, kind, rows, ops)


@pytest.mark.parametrize("n", [2, 3, 64, 100, 5_000])
def test_pytorch_operations_equal_the_reference_bit_by_bit(n):
    tree, nodes, programs = torch_programs(n)
    assert calibrate.differences(programs, tree, nodes, n, (1, 33, 256), seed=1) == ""


def test_a_tree_that_differs_is_told_apart_in_every_way_it_can():
    tree, nodes, programs = torch_programs(100)
    tree.nodes[1] *= 0.9
    assert "sampled leaves differ" in calibrate.differences(programs, tree, nodes, 100, (64,), seed=1)
    tree, nodes, programs = torch_programs(100)
    tree._rows = tree._rows[:64].flip(0)  # not the last of equal slots wins
    assert "nodes differ after updates" in calibrate.differences(programs, tree, nodes, 100, (64,), seed=1)


def test_a_variant_that_differs_is_reported_and_no_time_of_it_kept(monkeypatch):
    pytest.importorskip("torch")
    document = measured_on_wall_clock(monkeypatch, variants=["torch", "torch-graph"])
    assert {row["variant"] for row in document["rows"]} == {"torch"}
    assert "torch-graph" in document["absent"]
    monkeypatch.setattr(calibrate, "sample", lambda nodes, uniforms: (np.zeros(len(uniforms)), uniforms))
    document = measured_on_wall_clock(monkeypatch, variants=["torch"])
    assert document["rows"] == []
    assert "sampled leaves differ" in document["mismatches"]["torch"]


def measured_on_wall_clock(monkeypatch, **arguments):
    spec = importlib.util.spec_from_file_location("simulated_variant", PROGRAMS / "cuda_simulated_variant.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name in ("calibrate", "calibrate_clock", "calibrate_floors"):
        monkeypatch.setattr(f"hwsim.{name}.N_RUNS", 1)
    return calibrate.measure((10, 70), (1, 8), 2, clock=module.WallClock(), **arguments)


def test_the_fused_tree_runs_through_the_whole_measurement_in_the_simulator(tmp_path):
    pytest.importorskip("torch")
    ran = run("cuda_simulated_variant.py")
    assert ran.returncode == 0, ran.stderr
    document = json.loads(ran.stdout)
    assert document["mismatches"] == {}
    assert {row["variant"] for row in document["rows"]} == {"fused", "torch"}
    assert set(document["floor"]) == {"empty_kernel", "torch_operation", "access"}
    assert [row["n"] for row in document["floor"]["access"]] == [5, 30]
    measurement.write(tmp_path / "gpu.json", document)
    assert measurement.measurement(tmp_path / "gpu.json").variants == ["fused", "torch"]


# -- the file -----------------------------------------------------------------------------------------
def row(variant, kind, n, b, times):
    figures = {f: {"median": t, "p10": t, "p90": t} for f, t in zip(measurement.FIGURES, times, strict=True)}
    return {"variant": variant, "kind": kind, "n": n, "b": b, **figures}


def document(**changes):
    """Idle times: 10 us, 1 for each tenfold n beyond 100, .1 for each row; updates twice that; host 1 us more."""
    rows = []
    for variant, factor in (("fused", 1.0), ("torch", 30.0), ("torch-graph", 5.0)):
        for n, b in ((n, b) for n in (100, 10_000) for b in (1, 64, 256)):
            for kind, times in (("sample", 1), ("update", 2)):
                idle = factor * times * (10 + math.log10(n / 100) + 0.1 * b)
                rows.append(row(variant, kind, n, b, (idle, idle / 2, idle / 4, idle + 1)))
    return {
        "format": 1, "kind": "gpu-sum-tree", "gpu": {"name": "Test GPU"}, "rows": rows,
        "absent": {"torchrl": "not installed"}, "mismatches": {}, **changes,
    }  # fmt: skip


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "gpu.json"
    measurement.write(path, document())
    return path


def test_between_measured_points_times_are_linear_in_log_n_and_in_the_rows(path):
    found = measurement.measurement(path)
    for n, b in ((100, 1), (10_000, 256), (1_000, 64), (3_000, 100)):
        expected = 10 + math.log10(n / 100) + 0.1 * b
        assert found.latency_us("fused", "sample", n, b) == pytest.approx(expected)
        assert found.latency_us("torch", "update", n, b, "host_us") == pytest.approx(60 * expected + 1)


@pytest.mark.parametrize(
    ("n", "b", "message"),
    [
        (99, 1, r"n must lie between 100 and 10000, measured in '.*gpu.json', got 99; .* --n 100 10000 99 --out FILE"),
        (10_001, 1, "n must lie between 100 and 10000"),
        (100, 257, r"batch must lie between 1 and 256, .*, got 257; .* calibrate-gpu --batch 1 64 256 257 --out FILE"),
    ],
)
def test_outside_what_was_measured_is_refused_with_the_remedy(path, n, b, message):
    with pytest.raises(ValueError, match=message):
        measurement.measurement(path).latency_us("fused", "sample", n, b)


def test_nothing_is_left_where_a_document_cannot_be_written(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        measurement.write(tmp_path / "gpu.json", {"x": float("nan")})
    assert list(tmp_path.iterdir()) == []


def changed(**changes):
    return [{**document()["rows"][0], **changes}, *document()["rows"][1:]]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "cpu"}, "kind in '.*gpu.json' must be 'gpu-sum-tree'"),
        ({"format": 2}, "format in '.*gpu.json' must be 1, got 2"),
        ({"format": True}, "format in '.*gpu.json' must be 1, got True"),
        ({"gpu": "H100"}, "gpu.name in '.*gpu.json' must be a text, got 'H100'"),
        ({"rows": []}, "rows in '.*gpu.json' must be a list of one measured op or more"),
        ({"absent": []}, "absent in '.*gpu.json' must be an object"),
        ({"rows": ["x"]}, r"rows\[0\] in '.*gpu.json' must be an object, got 'x'"),
        ({"rows": changed(variant=3)}, r"rows\[0\].variant in '.*' must be a text, got 3"),
        ({"rows": changed(kind="insert")}, r"rows\[0\].kind in '.*' must be one of 'sample', 'update', got 'insert'"),
        ({"rows": changed(n=True)}, r"rows\[0\].n in '.*' must be a whole number from 1 to \d+, got True"),
        ({"rows": changed(b=0)}, r"rows\[0\].b in '.*' must be a whole number from 1 to \d+, got 0"),
        ({"rows": changed(n=10**400)}, r"rows\[0\].n in '.*' must be a whole number from 1 to \d+, got 1000"),
        ({"rows": changed(idle_us=None)}, r"rows\[0\].idle_us.median in '.*' must be a number above 0"),
        ({"rows": changed(idle_us={"median": 10**400})}, r"rows\[0\].idle_us.median in '.*' must be .* at most 1e\+09"),
        (
            {"rows": changed(host_us={"median": -1.0})},
            r"rows\[0\].host_us.median in '.*' must be .* above 0 .*, got -1.0",
        ),
        ({"rows": changed(b=64)}, r"rows\[\d\] in '.*' must be measured once"),
        ({"rows": document()["rows"][1:]}, r"rows in '.*' must hold every b at every n, got none for fused sample"),
        ({"rows": document()["rows"][::2]}, "rows in '.*' must hold every b at every n, got none for .* update"),
    ],
)
def test_a_bad_file_is_refused_by_file_and_key(path, changes, message):
    path.write_text(json.dumps(document(**changes)))
    with pytest.raises(ValueError, match=message):
        measurement.measurement(path)


def test_what_is_no_file_and_no_name_is_refused(tmp_path):
    for name, text in (("bad.json", "{"), ("deep.json", "[" * 100_000), ("long.json", "1" * 5_000)):
        (tmp_path / name).write_text(text)
    for name in (*tmp_path.glob("*.json"), tmp_path / "absent.json", str(tmp_path / "absent.json")):
        with pytest.raises(ValueError, match="measurement must name a readable JSON file"):
            measurement.measurement(name)
    with pytest.raises(ValueError, match=r"measurement must be one of .*, got 'h1'; give the path"):
        measurement.measurement("h1")
    with pytest.raises(TypeError, match="measurement must be a name or a path, got 3"):
        measurement.measurement(3)


def test_every_measurement_that_is_shipped_can_be_read():
    for name in measurement.measurements():
        assert measurement.measurement(name).variants


# -- the machine --------------------------------------------------------------------------------------
def trace_of(n_rows=1_000, batches=(1, 64, 100)):
    trace = Trace()
    trace.begin(TraceHeader(n_rows=n_rows, row_bytes=100, bits=16, sampler="per", options={}, seed=0))
    trace.record_insert(np.arange(600), np.full(600, 7))  # 2 * 256 + 88 rows
    for b in batches:
        slots = np.arange(b)
        trace.record_sample(Draw(slots, np.ones(b), n_valid=600, n_csp=600))
        trace.record_update(slots, np.full(b, 9))
        trace.record_insert(slots, np.full(b, 5))
    return trace


@pytest.mark.parametrize("quality", ["fused", "eager", "graph"])
@pytest.mark.parametrize("figure", ["idle", "queued", "device", "host"])
def test_a_measured_machine_takes_the_measured_times(path, quality, figure):
    machine = hwsim.machine("sumtree-gpu", n_rows=1_000, quality=quality, measurement=path, figure=figure)
    found = measurement.measurement(path)
    for kind, name in ((OpKind.SAMPLE, "sample"), (OpKind.UPDATE, "update"), (OpKind.INSERT, "update")):
        expected = found.latency_us(VARIANT_OF[quality], name, 1_000, 64, f"{figure}_us")
        assert machine.split_fs(kind, 64) == (pytest.approx(expected * 1e9, abs=1),)


def test_events_of_a_measured_machine_equal_its_formula_to_the_femtosecond(path):
    machine = hwsim.machine("sumtree-gpu", n_rows=1_000, measurement=path)
    events, formula = (hwsim.simulate(trace_of(), machine, fidelity=f) for f in ("burst", "closed"))
    assert {**events.to_dict(), "fidelity": ""} == {**formula.to_dict(), "fidelity": ""}
    np.testing.assert_array_equal(events.sample_phases["measured"], events.latency_fs["sample"])
    assert events.breakdown["gpu"]["busy_fs"] == sum(
        int(events.latency_fs[k].sum()) for k in ("sample", "update", "insert")
    )
    assert (events.energy_aj, events.area_um2) == (None, None)


def test_a_write_of_more_rows_than_were_measured_is_made_in_pieces(path):
    machine = hwsim.machine("sumtree-gpu", n_rows=1_000, measurement=path)
    (whole,), (rest,), (piece,) = (machine.split_fs(OpKind.INSERT, b) for b in (600, 88, 256))
    assert whole == 2 * piece + rest
    assert machine.split_fs(OpKind.UPDATE, 512) == (2 * piece,)
    assert machine.split_fs(OpKind.UPDATE, 0) == (0,)
    with pytest.raises(ValueError, match="batch must lie between 1 and 256"):
        machine.split_fs(OpKind.SAMPLE, 257)


def test_a_machine_says_whether_it_was_measured(path):
    modelled, measured = (
        hwsim.machine("sumtree-gpu", n_rows=500),
        hwsim.machine("sumtree-gpu", n_rows=500, measurement=path),
    )
    assert (modelled.is_measured, measured.is_measured) == (False, True)
    assert any("not validated on this GPU (a100), only on an H100" in text for text in modelled.not_covered)
    h100 = hwsim.machine("sumtree-gpu", n_rows=500, gpu="h100")
    assert not any("not validated" in text for machine in (measured, h100) for text in machine.not_covered)
    assert any("measured on one Test GPU" in text for text in measured.not_covered)
    assert measured.parameters() == {
        "name": "sumtree-gpu", "n_rows": 500, "gpu": "Test GPU", "quality": "fused", "figure": "idle",
        "measurement": str(path),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"gpu": "h100"}, "gpu must be left at 'a100' with a measurement, where it has no effect, got 'h100'"),
        ({"t_op_us": 2.6}, "t_op_us must be left at 5.0 with a measurement, where it has no effect, got 2.6"),
        ({"technology": "cmos45"}, "technology must be left at 'gpus' with a measurement"),
        ({"figure": "best"}, "figure must be one of 'idle', 'queued', 'device', 'host', got 'best'"),
        ({"quality": "host"}, "quality must be one of 'fused', 'torchrl', 'eager', 'graph', 'fused-graph', got 'host'"),
        ({"quality": "torchrl"}, "quality measured in .* must be one of 'fused', 'eager', 'graph', .*; not installed"),
        ({"quality": "fused-graph"}, "quality measured in .* must be one of .*; nothing was measured"),
        ({"n_rows": 99}, "n must lie between 100 and 10000"),
    ],
)
def test_a_measured_machine_refuses_what_has_no_effect_or_was_not_measured(path, parameters, message):
    with pytest.raises(ValueError, match=message):
        hwsim.machine("sumtree-gpu", **{"n_rows": 500, "measurement": path, **parameters})


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"quality": "graph"}, "quality must be one of 'fused', 'torchrl', 'eager', 'host', got 'graph'"),
        ({"figure": "host"}, "figure must be left at 'idle' without a measurement, where it has no effect, got 'host'"),
    ],
)
def test_what_only_a_measurement_knows_is_refused_without_one(parameters, message):
    with pytest.raises(ValueError, match=message):
        hwsim.machine("sumtree-gpu", n_rows=500, **parameters)


# -- the command --------------------------------------------------------------------------------------
def has_gpu():
    if importlib.util.find_spec("torch") is None:
        return False
    import torch

    return torch.cuda.is_available()


@pytest.mark.skipif(has_gpu(), reason="there is a GPU")
def test_without_a_gpu_the_command_fails_and_says_what_is_missing(capsys, tmp_path):
    assert main(["calibrate-gpu", "--out", str(tmp_path / "gpu.json"), "--json"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "amper calibrate-gpu: " in err
    assert "torch" in err
    assert list(tmp_path.iterdir()) == []


def test_a_measurement_is_written_only_where_one_can_be(capsys, tmp_path):
    for out in (tmp_path / "gpu.toml", tmp_path / "absent" / "gpu.json"):
        assert main(["calibrate-gpu", "--out", str(out)]) == 2
        assert "out must be a .json file in a folder that can be written" in capsys.readouterr().err


def test_a_difference_makes_the_command_fail_after_the_file_is_written(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("hwsim.calibrate_device.require_gpu", lambda: None)
    found = document(mismatches={"torch": "3 of 64 sampled leaves differ"})
    monkeypatch.setattr(calibrate, "measure", lambda *_, **__: found)
    path = tmp_path / "gpu.json"
    assert main(["calibrate-gpu", "--quick", "--out", str(path)]) == 1
    out, err = capsys.readouterr()
    assert "Not measured: torchrl: not installed" in out
    assert "results must equal the CPU's, got torch: 3 of 64 sampled leaves differ" in err
    assert measurement.measurement(path).gpu == "Test GPU"
    monkeypatch.setattr(calibrate, "measure", lambda *_, **__: document())
    assert main(["calibrate-gpu", "--out", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["gpu"]["name"] == "Test GPU"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sizes": ()}, r"n must be one number or more, got \[\]"),
        ({"sizes": (1,)}, "n must be at least 2, got 1"),
        ({"batches": (5_000,)}, "batch must be at most 4096, got 5000"),
        ({"n_ops": 0}, "n_ops must be at least 1, got 0"),
    ],
)
def test_a_measurement_out_of_range_is_refused_before_any_work(arguments, message):
    with pytest.raises(ValueError, match=message):
        calibrate.measure(**arguments)
