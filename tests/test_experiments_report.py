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
    contenders = [*speedups.AMPER, *speedups.GPU.values()]
    assert [(row["label"], row["machine"]) for row in rows] == [(c.label, str(c.machine)) for c in contenders]
    latency = {row["label"]: float(row["sample_ns"]) for row in rows}
    trees = [row for row in rows if row["machine"].startswith("sumtree-gpu")]
    assert {(row["area_um2"], row["csp_fraction"], row["sample_pj"]) for row in trees} == {("", "", "")}
    summary = json.loads((report / "summary.json").read_text())
    assert len(summary["speedups"]) == len(speedups.AMPER) * len(speedups.GPU)
    for s in summary["speedups"]:
        tree = latency[speedups.GPU[s["quality"]].label]
        assert s["ratio"] == pytest.approx(tree / latency[s["label"]], rel=1e-4)
        assert s["low"] < s["ratio"] < s["high"]
        assert min(1, s["ratio"]) <= s["with_fetch"] <= max(1, s["ratio"])
        assert re.fullmatch(r"[\d.,]+x \[[\d.,]+ \.\. [\d.,]+\] = [\d.]+ \w+ / [\d.]+ \w+", s["text"])
    assert all(row["event_difference_fs"] == 0 for row in summary["rows"])
    for row in summary["rows"]:
        # Phases are means, the latency a median; of a GPU tree both are one number.
        if row["replay"] == "per":
            assert sum(row["phases_fs"].values()) == pytest.approx(row["sample_fs"])


def test_the_gpu_qualities_cost_what_they_should():
    trace = amper.Trace()
    buffer = amper.ReplayBuffer(20_000, {"x": {}}, sampler="per", seed=0, sink=trace)
    buffer.add(x=np.zeros(20_000))
    buffer.sample(64)
    expected_us = {"fused": (5.0, 7.4, 12.4), "torchrl": (34, 62, 122), "eager": (273, 525, 1050)}
    for quality, expected in expected_us.items():
        row = speedups.machine_row(speedups.GPU[quality], 20_000, trace)
        low, high = row["interval_fs"]
        assert np.array([low, row["sample_fs"], high]) / 1e9 == pytest.approx(expected, rel=0.02)


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


def row_of(contender, n, sample_fs, phases, **more):
    searched = contender.replay != "per"
    return {
        "label": contender.label, "machine": str(contender.machine), "replay": contender.replay, "n": n,
        "sample_fs": sample_fs, "fetch_fs": 1e8, "csp_fraction": 0.02 if searched else None,
        "phases_fs": phases, "parameters": {"t_op_us": 4.0}, **more,
    }  # fmt: skip


def invented(value, growth=1.5):
    """Rows in which every AMPER machine is `value` times faster than every tree, at two sizes."""
    rows = []
    for n, factor in ((5_000, 1.0), (20_000, growth)):
        rows += [row_of(c, n, 1e9 * factor, {"readout": 6.0, "search": 4.0}) for c in speedups.AMPER]
        tree = value * 1e9 * factor
        for c in speedups.GPU.values():
            rows.append(row_of(c, n, tree, {"launches": 9.0, "memory": 1.0}, interval_fs=[tree / 2, tree * 2]))
    return rows


LAWS = [{"sampler": name, "divergence": d} for name, d in
        (("uniform", 0.4), ("amper-fr-linear", 0.05), ("amper-fr", 0.003), ("amper-k", 0.3))]  # fmt: skip


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (10.0, "below the claim"),
        (40.0, "below the claim, though the interval reaches it"),
        (100.0, "inside the claim in 4 of 4 cases"),
        (300.0, "above the claim, though the interval reaches it"),
        (900.0, "above the claim"),
    ],
)
def test_the_verdict_follows_the_figures(value, words):
    rows = invented(value)
    text = speedups.verdict(rows, speedups.speedups(rows), LAWS)
    assert len(re.findall(rf"interval\): {words}[;.]", text)) == 4
    assert "60% to 60% of a sampling at n = 20,000" in text
    assert "90% of an eager sampling at an assumed 4 us each" in text
    assert "an AMPER-fr sampling grows by 50% to 50%" in text
    assert "an eager tree's by 50%" in text
    assert "stands or falls" not in text  # every baseline says the same here
    assert f"AMPER-k, one best-match search a neighbour, reaches {value:g}x (fused)" in text
    with_fetch = sorted((value * 1e9 * growth + 1e8) / (1e9 * growth + 1e8) for growth in (1.0, 1.5))
    assert f"over a fused kernel become {speedups.times(with_fetch[0])} to {speedups.times(with_fetch[1])}." in text


def test_baselines_that_disagree_are_said_to_decide():
    rows = invented(100.0)
    for row in rows:
        if row["label"] == speedups.GPU["fused"].label:
            row["sample_fs"], row["interval_fs"] = row["sample_fs"] / 50, [t / 50 for t in row["interval_fs"]]
    assert "stands or falls with the baseline" in speedups.verdict(rows, speedups.speedups(rows), LAWS)


def test_one_size_tells_nothing_of_growth():
    rows = [row for row in invented(100.0) if row["n"] == 5_000]
    assert "grows by" not in speedups.verdict(rows, speedups.speedups(rows), LAWS)


def test_the_laws_of_the_report_are_the_samplers(report):
    laws = {law["sampler"]: law for law in json.loads((report / "summary.json").read_text())["laws"]}
    assert set(laws) == {"uniform", "per", *speedups.SEARCHED}
    assert laws["per"]["divergence"] == pytest.approx(0, abs=1e-6)
    assert laws["per"]["probability"] == pytest.approx(laws["per"]["mass"], rel=1e-3)
    assert set(np.round(laws["uniform"]["probability"], 9)) == {1.0}
    assert laws["amper-fr"]["divergence"] < laws["amper-fr-linear"]["divergence"] < laws["uniform"]["divergence"]


def test_a_folder_that_cannot_be_made_is_refused(tmp_path, report):
    from experiments import report as writer

    (tmp_path / "file").write_text("")
    result = json.loads((report / "summary.json").read_text())
    with pytest.raises(ValueError, match="out must be a folder that can be written"):
        writer.write(result, tmp_path / "file" / "x", command="amper report", version="0")
