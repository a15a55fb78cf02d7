"""Studies, their store and their processes: finished rows are kept, whatever happens."""

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import amper
from experiments import runner, study
from experiments.compose import MachineSpec, parse_value
from experiments.statistics import median_interval
from experiments.store import Store, code_version
from experiments.study import Answer, Cell, Study

ROOT = Path(__file__).parent.parent
CELLS = [Cell({"x": x}, seed) for x in (1, 2, 3) for seed in (0, 1)]


def toy(run):
    return Study(
        name="toy",
        question="?",
        settings={"default": {"x": [1]}},
        cells=lambda _: CELLS,
        run=run,
        answer=lambda rows: Answer((), (), str(len(rows))),
    )


def test_rows_come_back_in_order_and_are_not_computed_twice(tmp_path):
    store, computed = Store(tmp_path / "r.sqlite", version="1"), []

    def run(parameters, seed, stage):
        computed.append((parameters["x"], seed))
        return {"y": parameters["x"] * 10 + seed}

    rows = runner.run(toy(run), CELLS, store=store)
    assert [row["y"] for row in rows] == [10, 11, 20, 21, 30, 31]
    assert runner.run(toy(run), CELLS, store=store) == rows
    assert len(computed) == 6


def test_an_interrupted_study_keeps_its_finished_rows_and_resumes(tmp_path):
    store, computed = Store(tmp_path / "r.sqlite", version="1"), []

    def run(parameters, seed, stage):
        if len(computed) == 3:
            computed.append("interrupted")
            raise KeyboardInterrupt
        computed.append((parameters["x"], seed))
        return {"y": 0}

    with pytest.raises(KeyboardInterrupt):
        runner.run(toy(run), CELLS, store=store)
    assert len(list(store.rows("toy"))) == 3
    runner.run(toy(run), CELLS, store=store)
    assert len(computed) == 3 + 1 + 3


def test_rows_are_computed_again_where_that_is_asked(tmp_path):
    store, computed = Store(tmp_path / "r.sqlite", version="1"), []

    def run(parameters, seed, stage):
        computed.append(seed)
        return {"y": len(computed)}

    runner.run(toy(run), CELLS, store=store)
    assert [row["y"] for row in runner.run(toy(run), CELLS, store=store, fresh=True)] == [7, 8, 9, 10, 11, 12]


def test_a_change_of_any_source_is_another_version(tmp_path, monkeypatch):
    first = code_version()
    assert first.startswith(f"{amper.__version__}+")
    copy = tmp_path / "site"
    for package in ("amper", "hwsim", "rl", "experiments"):
        shutil.copytree(ROOT / package, copy / package, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(amper, "__file__", str(copy / "amper" / "__init__.py"))
    assert code_version.__wrapped__() == first
    (copy / "rl" / "dqn.py").write_text((copy / "rl" / "dqn.py").read_text() + "#")
    assert code_version.__wrapped__() != first


def test_rows_of_another_version_are_kept_and_not_reused(tmp_path):
    old, new = Store(tmp_path / "r.sqlite", version="1"), Store(tmp_path / "r.sqlite", version="2")
    old.put("toy", CELLS[0], {"y": 1})
    assert new.get("toy", CELLS[0]) is None
    new.put("toy", CELLS[0], {"y": 2})
    assert old.get("toy", CELLS[0]) == {"y": 1}
    assert [row["version"] for row in new.rows()] == ["1", "2"]


def test_several_processes_give_the_rows_of_one():
    latency = study.get("latency")
    cells = latency.cells(latency.parameters("tiny", {"machine": ["amper-fr", "sumtree-gpu"], "n": [300]}))
    assert runner.run(latency, cells, n_workers=2) == runner.run(latency, cells, n_workers=1)
    with pytest.raises(ValueError, match="workers must be at least 1, got 0"):
        runner.run(latency, cells, n_workers=0)


def test_every_study_states_a_question_and_at_least_three_settings():
    for name in study.available():
        chosen = study.get(name)
        assert chosen.name == name
        assert chosen.question.endswith("?")
        assert set(chosen.settings) >= {"tiny", "default", "full"}
        assert len({frozenset(p) for p in chosen.settings.values()}) == 1
        assert chosen.cells(chosen.parameters("tiny"))


@pytest.mark.parametrize(
    "text", ["amper-fr:", "amper-fr:csb_entries=null", "sumtree-gpu:gpu=a100,quality=fused,t_op_us=2.6"]
)
def test_a_machine_is_spelled_as_it_was_read(text):
    assert str(MachineSpec.parse(text)) == text.rstrip(":")


def test_values_of_the_command_line_are_numbers_where_they_look_like_numbers():
    assert [parse_value(t) for t in ("3", "0.5", "null", "csb", "false")] == [3, 0.5, None, "csb", False]


def test_an_interval_holds_the_median_and_narrows_with_more_runs():
    rng = np.random.default_rng(0)
    widths = []
    for n in (10, 1000):
        median, low, high = median_interval(rng.normal(size=n))
        assert low <= median <= high
        widths.append(high - low)
    assert widths[1] < widths[0] / 3


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_the_workers_at_once_and_keeps_finished_rows(tmp_path, number):
    arguments = ["compare", "--steps", "1100", "--seeds", "400", "--replay", "uniform", "--workers", "2"]
    running = subprocess.Popen(
        [sys.executable, "-m", "experiments.cli", *arguments, "--store", tmp_path / "r.sqlite"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
        # A shell lets what it runs in the background ignore interrupts; so would what that starts.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
    )  # fmt: skip
    store = Store(tmp_path / "r.sqlite", version=code_version())
    for _ in range(1200):  # until rows arrive; a limit on waiting, not a measurement
        if len(list(store.rows())) >= 2:
            break
        time.sleep(0.1)
    running.send_signal(number)
    out, err = running.communicate(timeout=120)
    assert running.returncode == 130
    assert out == ""
    assert err == "amper compare: interrupted; every finished row is kept\n"
    assert 2 <= len(list(store.rows())) < 400
