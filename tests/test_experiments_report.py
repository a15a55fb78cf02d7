"""The report: a real run, its prefixes, the ratios and what is said of them."""

import csv
import json
import re
from xml.etree import ElementTree

import numpy as np
import pytest

import amper
from amper.trace import OpKind
from experiments import cli, recording, speedups
from experiments.studies import speedup_report


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    assert cli.main(["report", "--quick", "--out", str(folder)]) == 0
    return folder


def test_the_report_is_one_page_with_three_described_figures(report):
    page = (report / "report.html").read_text()
    assert "Quick report:" in page
    assert page.count("<svg") == page.count('role="img"') == 3
    labels = re.findall(r'aria-label="([^"]+)"', page)
    assert len(labels) == 3
    assert all(len(label) > 80 for label in labels)
    assert not re.findall(r'(?:src|href)="https?://', page)
    for drawing in re.findall(r"<svg.*?</svg>", page, flags=re.S):
        assert len(list(ElementTree.fromstring(drawing).iter())) > 50
    for name in ("latency", "phases", "law"):
        assert (report / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_the_rows_hold_every_machine_and_their_ratios_follow_from_their_terms(report):
    with (report / "rows.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["machine"] for row in rows] == [str(m) for m in (*speedups.AMPER, *speedups.GPU)]
    latency = {row["machine"]: float(row["sample_ns"]) for row in rows}
    assert {row["area_um2"] for row in rows if row["machine"].startswith("sumtree-gpu")} == {""}
    summary = json.loads((report / "summary.json").read_text())
    assert len(summary["speedups"]) == len(speedups.AMPER) * len(speedups.GPU)
    for s in summary["speedups"]:
        assert s["ratio"] == pytest.approx(latency[s["baseline"]] / latency[s["machine"]], rel=1e-4)
        assert s["low"] < s["ratio"] < s["high"]
        assert re.fullmatch(r"[\d.,]+x \[[\d.,]+ \.\. [\d.,]+\] = [\d.]+ \w+ / [\d.]+ \w+", s["text"])
    assert all(row["event_difference_fs"] == 0 for row in summary["rows"])
    for row in summary["rows"]:
        # Phases are means, the latency a median; of a GPU tree both are one number.
        if row["sampler"] == "per":
            assert sum(row["phases_fs"].values()) == pytest.approx(row["sample_fs"])


def test_the_gpu_qualities_cost_what_they_should():
    trace = amper.Trace()
    buffer = amper.ReplayBuffer(20_000, {"x": {}}, sampler="per", seed=0, sink=trace)
    buffer.add(x=np.zeros(20_000))
    buffer.sample(64)
    expected_us = {"fused": (5.0, 7.4, 12.4), "torchrl": (34, 62, 122), "eager": (273, 525, 1050)}
    for spec in speedups.GPU[:3]:
        row = speedups.machine_row(spec, 20_000, {"per": trace})
        low, high = row["interval_fs"]
        found = np.array([low, row["sample_fs"], high]) / 1e9
        assert found == pytest.approx(expected_us[dict(spec.options)["quality"]], rel=0.02)


def test_every_gpu_is_tabled_in_every_quality(report):
    rows = json.loads((report / "summary.json").read_text())["gpus"]
    assert len({(row["gpu"], row["quality"]) for row in rows}) == 16
    for row in rows:
        low, high = row["interval_fs"]
        assert low < row["sample_fs"] < high
    page = (report / "report.html").read_text()
    assert all(f"<td>{gpu}</td>" in page for gpu in ("gtx1080", "v100", "a100", "h100"))


def test_a_prefix_holds_the_first_transitions_and_no_slot_beyond_them():
    trace = amper.Trace()
    buffer = amper.ReplayBuffer(50, {"x": {}}, sampler="per", seed=0, sink=trace)
    for i in range(80):
        buffer.add(x=i)
        buffer.sample(2)
    end = recording.prefix_end(trace, 30)
    assert int((trace.ops["kind"][:end] == OpKind.INSERT).sum()) == 30
    last = recording.window(trace, end, 5)
    assert (len(last.samples), last.header.n_rows) == (5, 30)
    assert recording.prefix_end(trace, 50) == len(trace)
    assert recording.window(trace, len(trace), 5).header.n_rows == 50
    with pytest.raises(ValueError, match="n must be at most the 80 transitions recorded, got 90"):
        recording.prefix_end(trace, 90)
    with pytest.raises(ValueError, match="end must lie behind a sampling, got 1"):
        recording.window(trace, 1)


def ratio(machine, quality, value):
    return speedups.Speedup(
        machine=f"{machine}:technology=evacam-fefet45", baseline=f"sumtree-gpu:gpu=gtx1080,quality={quality}",
        n=20_000, machine_fs=1e9, baseline_fs=value * 1e9, ratio=value, low=value / 2, high=value * 2,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (10.0, "below the claim"),
        (40.0, "below the claim, though the interval reaches it"),
        (100.0, "inside the claim in 1 of 1 cases"),
        (300.0, "above the claim, though the interval reaches it"),
        (900.0, "above the claim"),
    ],
)
def test_the_verdict_follows_the_figures(value, words):
    phases = {"readout": 0.6e9, "launches": 0.9e9}
    rows = [
        {"n": 20_000, "sampler": "amper-fr", "machine": "a", "phases_fs": phases, "sample_fs": 1e9,
         "csp_fraction": 0.02},
        {"n": 20_000, "sampler": "per", "machine": str(speedups.GPU[2]), "phases_fs": phases,
         "sample_fs": 1e9},
    ]  # fmt: skip
    ratios = [
        ratio(m, q, value) for m in ("amper-fr", "amper-k") for q in ("fused", "torchrl", "eager", "host")
    ]
    text = speedups.verdict(rows, ratios)
    assert text.count(f"): {words}") == 4
    assert "60% to 60% of a sampling" in text
    assert "90% of an eager sampling" in text


def test_the_laws_of_the_report_are_the_samplers(report):
    laws = {law["sampler"]: law for law in json.loads((report / "summary.json").read_text())["laws"]}
    assert set(laws) == set(speedup_report.LAW_SAMPLERS)
    assert laws["per"]["divergence"] == pytest.approx(0, abs=1e-6)
    assert laws["per"]["probability"] == pytest.approx(laws["per"]["mass"], rel=1e-3)
    assert set(np.round(laws["uniform"]["probability"], 9)) == {1.0}
    assert laws["amper-fr"]["divergence"] < laws["uniform"]["divergence"]


def test_a_folder_that_cannot_be_made_is_refused(tmp_path, report):
    from experiments import report as writer

    (tmp_path / "file").write_text("")
    result = json.loads((report / "summary.json").read_text())
    with pytest.raises(ValueError, match="out must be a folder that can be made"):
        writer.write(result, tmp_path / "file" / "x", command="amper report", version="0")
