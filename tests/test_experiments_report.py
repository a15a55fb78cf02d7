"""The report: a real run, its prefixes, the ratios and what is said of them."""

import csv
import dataclasses
import json
import re
from xml.etree import ElementTree

import numpy as np
import pytest

import amper
import hwsim
from amper.trace import OpKind
from experiments import cli, contenders, measures, recording, speedups, tables, verdict
from experiments.plots import latency as latency_plots


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    assert cli.main(["report", "--quick", "--out", str(folder)]) == 0
    return folder


def test_the_report_is_one_page_with_described_figures(report):
    page = (report / "report.html").read_text()
    assert "Quick report:" in page
    assert page.count("<svg") == page.count('role="img"') == 4
    labels = re.findall(r'aria-label="([^"]+)"', page)
    assert len(labels) == 4
    assert all(len(label) > 80 for label in labels)
    assert not re.findall(r'(?:src|href)="https?://', page)
    for drawing in re.findall(r"<svg.*?</svg>", page, flags=re.S):
        assert len(list(ElementTree.fromstring(drawing).iter())) > 50
    for name in ("latency", "phases", "assumptions", "law"):
        assert (report / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_the_rows_hold_every_machine_and_their_ratios_follow_from_their_terms(report):
    with (report / "rows.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["label"], row["machine"]) for row in rows] == [
        (c.label, str(c.machine)) for c in contenders.CONTENDERS
    ]
    off_chip = [row for row in rows if row["machine"].startswith(("sumtree-gpu", "sumtree-cpu"))]
    unknown = ("area_um2", "csp_fraction", "sample_pj", "update_pj", "step_pj", "step_leakage_pj", "leakage_uw")
    assert {tuple(row[name] for name in unknown) for row in off_chip} == {("",) * 7}
    states_none = [row for row in rows if "technology=camasim" in row["machine"]]
    assert len(states_none) == len(contenders.AMPER) / 2
    for row in rows:
        assert bool(row["leakage_uw"]) == bool(row["step_leakage_pj"]) == (row not in off_chip + states_none)
        assert bool(row["endurance_years"]) == row["machine"].startswith("amper-")
    assert all(row[name] for row in rows if row not in off_chip for name in ("area_um2", "step_pj", "step_ns"))
    assert [row["source"] for row in rows] == [
        "measured" if row["machine"].startswith(("sumtree-cpu", "sumtree-gpu:measurement=")) else "modelled"
        for row in rows
    ]
    summary = json.loads((report / "summary.json").read_text())
    of = {(row["key"], row["replay"], row["label"]): row for row in summary["rows"]}
    for s in summary["speedups"]:
        field = speedups.QUANTITIES[s["quantity"]][0]
        mine = of[s["key"], s["replay"], s["label"]]
        (rival,) = (r for (key, replay, _), r in of.items() if key == s["against"] and replay in ("per", s["replay"]))
        assert (s["ours"], s["theirs"], s["ratio"]) == (mine[field], rival[field], rival[field] / mine[field])
        assert s["source"] == rival["source"]
        launched = s["against"] in speedups.QUALITIES and s["quantity"] in ("sample", "step")
        assert (s["low"] is None) == (s["high"] is None)
        assert s["low"] is not None or not launched
        if s["low"] is not None:
            assert s["low"] <= s["high"]
        if launched:
            assert s["low"] < s["ratio"] < s["high"]
        pattern = r"[\d.,]+x( \[[\d.,]+ \.\. [\d.,]+\])? = [\d.]+ \w+ / [\d.]+ \w+"
        assert re.fullmatch(pattern, s["text"])
    for row in summary["rows"]:
        # Phases are means, the latency a median; of a tree both are one number.
        if row["replay"] == "per":
            assert sum(row["phases_fs"].values()) == pytest.approx(row["sample_fs"])


def test_every_machine_stands_against_every_baseline_that_could_serve_it(report):
    found = json.loads((report / "summary.json").read_text())["speedups"]
    sampled = [(s["label"], s["against"]) for s in found if s["quantity"] == "sample"]
    assert len(sampled) == len(set(sampled))
    for c in contenders.AMPER:
        against = {baseline for label, baseline in sampled if label == c.label}
        rejection = {f"rejection{lanes}" for lanes in contenders.LANES}
        assert against == set(contenders.BASELINES) - (rejection if c.replay == "amper-k" else set())
    readouts = {(c.replay, dict(c.machine.options).get("readout", "csb")) for c in contenders.AMPER}
    assert readouts == {(name, "csb") for name in contenders.SEARCHED} | {("amper-fr", "rank_select")}


def test_rows_say_which_fidelity_gave_them_and_what_checked_it(report):
    rows = json.loads((report / "summary.json").read_text())["rows"]
    by_events = {row["label"] for row in rows if row["fidelity"] == "burst"}
    # A search of camasim's takes 5 cycles, so two ranks may meet in an array; of evacam's 1, so they cannot.
    assert by_events == {"AMPER-fr rank_select, camasim-fefet45"}
    for row in rows:
        assert row["checked_by"] == ("array" if row["label"] in by_events else "burst")
        assert row["n_checked"] == (speedups.N_CHECKED_BY_ARRAY if row["label"] in by_events else speedups.N_CHECKED)
        assert row["difference_fs"] == 0
    page = (report / "report.html").read_text()
    assert "largest difference 0 fs.\nWhere two ranks meet in one array no formula holds: AMPER-fr rank_select" in page
    assert page.count("<td>events, checked by arrays</td>") == 1
    assert page.count("<td>formula, checked by events</td>") == len(rows) - 1


def test_where_arrays_would_take_minutes_nothing_is_said_to_be_checked(monkeypatch):
    monkeypatch.setattr(speedups, "LARGEST_BY_ARRAY", 10)
    trace = amper.Trace()
    buffer = amper.ReplayBuffer(600, {"x": {}}, sampler="amper-fr", seed=0, sink=trace)
    buffer.add(x=np.zeros(600))
    for _ in range(3):
        buffer.sample(64)
    slow = next(c for c in contenders.AMPER if c.key == "amper-fr-rank" and "camasim" in c.label)
    row = speedups.machine_row(slow, 600, trace)
    assert (row["fidelity"], row["checked_by"], row["n_checked"]) == ("burst", None, 0)
    assert (row["difference_fs"], row["step_fs"], row["step_aj"]) == (None, None, None)  # nor was there an update
    assert tables.how(row) == "events"


def test_a_step_is_a_sampling_and_the_update_that_answers_it():
    trace = amper.Trace()
    buffer = amper.ReplayBuffer(100, {"x": {}}, sampler="per", seed=0, sink=trace)
    buffer.add(x=np.zeros(100))
    expected, machine = [], hwsim.machine("sumtree-onchip", n_rows=100, fan_out=2)
    for size, answers in ((4, 1), (8, 0), (16, 2), (32, 1)):
        batch = buffer.sample(size)
        for _ in range(answers):
            buffer.update_priorities(batch["indices"], np.ones(size))
    report = hwsim.simulate(trace, machine)
    kinds, by_kind = trace.ops["kind"].tolist(), {kind: iter(report.latency_fs[kind]) for kind in ("sample", "update")}
    waiting = None
    for kind in kinds:
        if kind == OpKind.SAMPLE:
            waiting = next(by_kind["sample"])
        elif kind == OpKind.UPDATE:
            update = next(by_kind["update"])
            if waiting is not None:
                expected.append(waiting + update)
            waiting = None
    assert len(expected) == 3
    assert measures.step_fs(report, trace) == np.median(expected)
    assert measures.step_fs(report, trace) > np.median(report.latency_fs["sample"])


def test_the_gpu_qualities_cost_what_they_should():
    trace = amper.Trace()
    buffer = amper.ReplayBuffer(20_000, {"x": {}}, sampler="per", seed=0, sink=trace)
    buffer.add(x=np.zeros(20_000))
    buffer.sample(64)
    expected_us = {"fused": (5.0, 7.4, 12.4), "torchrl": (34, 62, 122), "eager": (273, 525, 1050)}
    for quality, expected in expected_us.items():
        row = speedups.machine_row(RIVAL[quality], 20_000, trace)
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


RIVAL = {c.key: c for c in contenders.RIVALS if c.replay in ("per", "amper-fr")}


def row_of(contender, n, sample_fs, phases, **more):
    searched = contender.replay != "per"
    return {
        "key": contender.key, "label": contender.label, "machine": str(contender.machine), "n": n,
        "replay": contender.replay, "is_amper": contender.is_amper, "csp_fraction": 0.02 if searched else None,
        "sample_fs": sample_fs, "fetch_fs": 1e8, "fetched_fs": sample_fs + 1e8, "update_fs": sample_fs / 2,
        "step_fs": sample_fs * 1.5, "sample_aj": 2e9, "step_aj": 3e9, "area_um2": 5e4, "write_fs": 2e7,
        "leakage_uw": 2e3, "step_leakage_aj": 1e9, "step_total_aj": 4e9,
        "endurance_years": 2.5 if contender.is_amper else None,
        "endurance_mean_years": 50.0 if contender.is_amper else None,
        "phases_fs": phases, "source": "modelled",
        "parameters": {"t_op_us": 4.0, "technology": contender.label.split(", ")[-1], "n_banks": 8}, **more,
    }  # fmt: skip


UNKNOWN_OFF_CHIP = ("sample_aj", "step_aj", "area_um2", "leakage_uw", "step_leakage_aj", "step_total_aj")


def invented(value, growth=1.5):
    """Rows in which every AMPER machine is `value` times faster than every baseline, at two sizes."""
    rows = []
    for n, factor in ((5_000, 1.0), (20_000, growth)):
        rows += [row_of(c, n, 1e9 * factor, {"readout": 6.0, "search": 4.0}) for c in contenders.AMPER]
        slow, off_chip = value * 1e9 * factor, dict.fromkeys(UNKNOWN_OFF_CHIP)
        for c in contenders.RIVALS:
            more = dict(off_chip) if c.key in contenders.OFF_CHIP else {}
            if c.key in speedups.QUALITIES:
                more |= {"interval_fs": [slow / 2, slow * 2], "step_interval_fs": [slow * 0.75, slow * 3]}
            rows.append(row_of(c, n, slow, {"launches": 9.0, "memory": 1.0}, **more))
    return rows


LAWS = [{"sampler": name, "divergence": d} for name, d in
        (("uniform", 0.4), ("amper-fr-linear", 0.05), ("amper-fr", 0.003), ("amper-k", 0.3))]  # fmt: skip


def said(rows):
    """The verdict, every ratio to a tree that launches kernels known within a factor of two."""
    ratios = [
        dataclasses.replace(s, low=s.ratio / 2, high=s.ratio * 2)
        if s.against in speedups.QUALITIES and s.quantity in ("sample", "step")
        else s
        for s in speedups.speedups(rows)
    ]
    return verdict.verdict(rows, ratios, LAWS)


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
    text = said(invented(value))
    assert len(re.findall(rf"uncertainty\): {words}[;.]", text)) == 8  # four qualities, two readouts
    assert "into the candidate-set buffer, 60% to 60%; with rank_select, readout 60% (evacam-fefet45)" in text
    assert "90% of an eager sampling at an assumed 4 us each" in text
    assert "an AMPER-fr sampling with csb grows by 50%, with rank_select by 50%, by linear groups 50%" in text
    assert "an eager tree's by 50%" in text
    assert "stands or falls" not in text  # every baseline says the same here
    assert f"AMPER-k, one best-match search a neighbour, reaches {value:g}x (fused)" in text
    with_fetch = sorted((value * 1e9 * growth + 1e8) / (1e9 * growth + 1e8) for growth in (1.0, 1.5))
    become = f"become {speedups.times(with_fetch[0])} to {speedups.times(with_fetch[1])} with"
    assert text.count(become) == 2
    assert "No AMPER machine loses to a baseline off the chip" in text
    assert "of 4 designs without a TCAM 0 sample faster than AMPER-fr and 0 step faster" in text
    assert "it loses" not in text
    assert f"fan-out 16 it wins sampling latency {speedups.times(value)} = " in text
    assert (
        text.count(
            "it cannot be told apart in energy a sampling 1x = 2 nJ / 2 nJ, energy a step 1x = 3 nJ / 3 nJ, "
            "energy a step with leakage 1x = 4 nJ / 4 nJ, area 1x = "
        )
        == 4
    )
    assert "20 ns a row in evacam-fefet45, so that an update takes 750 ns through 8 write ports" in text


def test_the_verdict_says_who_wins_energy_without_leakage_and_with_it():
    text = said(invented(100.0))
    alike = "AMPER-fr loses to 0 of 4 designs and cannot be told apart from 4"
    assert f"In energy a step, dynamic: {alike}; with leakage: {alike};" in text
    rows = invented(100.0)
    for row in rows:
        if row["key"] == "tree16":
            row["step_aj"] = 1e9
        if row["key"] in ("tree16", "tree2"):
            row["step_total_aj"] = 1e9
        if "camasim" in row["label"]:
            row |= {"leakage_uw": None, "step_leakage_aj": None, "step_total_aj": None}
    text = said(rows)
    trees = [contenders.ON_CHIP[key] for key in ("tree16", "tree2")]
    others = [words for words in contenders.ON_CHIP.values() if words not in trees]
    assert (
        f"dynamic: AMPER-fr loses to 1 of 4 designs ({trees[0]}) and cannot be told apart from 3 ("
        f"{', '.join([trees[1], *others])}); with leakage"
    ) in text
    assert (
        f"with leakage: AMPER-fr loses to 2 of 4 designs ({', '.join(trees)}) and cannot be told apart from 2 ("
        f"{', '.join(others)}); leaked of a step's energy: "
    ) in text
    assert "AMPER-fr, evacam-fefet45 25%" in text
    assert "camasim-fefet45 states no leakage of its arrays" in text
    for row in rows:
        row |= {"leakage_uw": None, "step_leakage_aj": None, "step_total_aj": None}
    assert "; with leakage: n/a; " in said(rows)


def test_the_verdict_says_how_long_cells_last():
    rows = invented(100.0)
    assert "the row written most often lasts 2.5 years in evacam-fefet45 (50 years if all rows shared" in said(rows)
    assert "Years go with the writes that a cell survives: 1e10 (1e4 to 1e12)." in said(rows)
    for row in rows:
        row["endurance_years"] = None
    assert "written most often" not in said(rows)


def test_the_energy_of_a_step_with_leakage_is_the_rows_own(report):
    rows = json.loads((report / "summary.json").read_text())["rows"]
    known = [row for row in rows if row["step_total_aj"] is not None]
    assert len(known) > len(contenders.AMPER) / 2
    for row in known:
        assert row["step_total_aj"] == row["step_aj"] + row["step_leakage_aj"]
        assert row["step_leakage_aj"] == pytest.approx(row["leakage_uw"] * row["step_fs"] / 1000, abs=1)
    page = (report / "report.html").read_text()
    assert "<th scope=col>leakage a step</th>" in page
    assert "<th scope=col>endurance, years at 1,000 steps/s</th>" in page
    assert "energy a step with leakage" in page
    fr = next(row for row in rows if row["key"] == "amper-fr")
    assert 0 < fr["endurance_years"] < fr["endurance_mean_years"]


def test_a_faster_rival_changes_the_verdict():
    rows = invented(100.0)
    for row in rows:
        if row["key"] == "tree2":
            row["sample_fs"], row["area_um2"] = 4e8, 1e5
            row["step_fs"] = 1.2e9 if row["n"] == 20_000 else 3e9
    text = said(rows)
    assert "of 4 designs without a TCAM 1 sample faster than AMPER-fr and 1 step faster" in text
    sentence = re.search(r"Against the on-chip sum tree of fan-out 2 (.*?)\. Against", text).group(1)
    assert sentence.startswith("it loses sampling latency 0.267x = 400 ns / 1.5 us, step latency 0.533x = 1.2 us / ")
    assert "it wins update latency 100x = 75 us / 750 ns, area 2x = 0.1 mm2 / 0.05 mm2" in sentence
    assert sentence.endswith("(but step latency 2x at n = 5,000)")
    assert "fan-out 16 it wins sampling latency 100x" in text


def test_a_baseline_off_the_chip_that_is_faster_is_named_with_both_terms():
    rows = invented(100.0)
    for row in rows:
        if row["key"] == "cpu":
            row["sample_fs"], row["source"] = 5e8, "measured"
        if row["key"] == "amper-k" and "evacam" in row["label"]:
            row["sample_fs"] = 1e11  # 1x the trees, 2x at the longest launch, 0.5x at the shortest
    text = said(rows)
    cpu = f"AMPER-fr, evacam-fefet45 to this library's tree on one CPU core, {contenders.CPU}, sampling latency 0.333x"
    assert f"{cpu} = 500 ns / 1.5 us at n = 20,000" in text
    assert (
        "AMPER-k, evacam-fefet45 to one fused kernel, sampling latency at the low end of the interval only (1x" in text
    )
    assert "AMPER-fr with csb 0.333x to 0.5x, with rank_select 0.333x to 0.5x" in text
    assert "No AMPER machine loses" not in text


def test_what_the_interval_leaves_open_is_not_called_lost():
    rows = invented(100.0)
    for row in rows:
        if row["key"] in ("cpu", "tree16"):
            row |= {"sample_fs": 5e8, "step_fs": 5e8, "step_aj": 1e9}
    wide = [
        dataclasses.replace(s, low=s.ratio / 8, high=s.ratio * 8) if s.against in ("cpu", "tree16") else s
        for s in speedups.speedups(rows)
    ]
    text, sure = verdict.verdict(rows, wide, LAWS), said(rows)
    assert "of 4 designs without a TCAM 1 sample faster than AMPER-fr and 1 step faster" in sure
    assert "of 4 designs without a TCAM 0 sample faster than AMPER-fr and 0 step faster" in text
    assert "dynamic: AMPER-fr loses to 1 of 4 designs (" in sure
    assert "dynamic: AMPER-fr loses to 0 of 4 designs and cannot be told apart from 4;" in text
    reaches = "= 500 ns / 1.5 us at n = 20,000, though the interval reaches 1x"
    assert reaches in text
    assert reaches not in sure


def test_the_verdicts_numbers_are_the_rows(report):
    summary = json.loads((report / "summary.json").read_text())
    rows, text = {row["label"]: row for row in summary["rows"]}, summary["verdict"]
    assert text.count("\n\n") == 3
    best = [row for row in summary["rows"] if row["key"] in ("amper-fr", "amper-fr-rank")]
    for label, key in (("On-chip tree, fan-out 16", "tree16"), ("On-chip rejection, 64 lanes", "rejection64")):
        sentence = re.search(rf"Against {contenders.ON_CHIP[key]} it (.*?)\. A", text).group(1)
        for quantity in verdict.LISTED:
            field, words = speedups.QUANTITIES[quantity]
            ratio = rows[label][field] / min(row[field] for row in best if row[field] is not None)
            verbs = "loses|wins|cannot be told apart in"
            verb, _, figure, _, low, high = re.search(
                rf"({verbs}) ((?!it (?:{verbs})).)*?{words} ([\d.,]+)x( \[([\d.,]+) \.\. ([\d.,]+)\])? =",
                f"{sentence} ",
            ).groups()
            assert figure == speedups.times(ratio)[:-1]
            low, high = (ratio if end is None else float(end.replace(",", "")) for end in (low, high))
            assert verb == ("loses" if high < 1 else "wins" if low > 1 else "cannot be told apart in")
    csb, ranked = (
        [rows[f"AMPER-fr{readout}, {technology}"] for technology in contenders.TECHNOLOGIES]
        for readout in ("", " rank_select")
    )
    faster = sorted(one["sample_fs"] / other["sample_fs"] for one, other in zip(csb, ranked, strict=True))
    assert f"Rank_select samples {speedups.times(faster[0])} to {speedups.times(faster[1])} as fast as csb" in text
    cpu = rows[f"CPU tree, {contenders.CPU}"]["sample_fs"]
    against = [speedups.times(cpu / row["sample_fs"]) for row in csb]
    assert f"(measured): AMPER-fr with csb {against[1]} to {against[0]}" in text


def test_a_ratio_below_one_is_printed_as_such(report):
    summary = json.loads((report / "summary.json").read_text())
    page = (report / "report.html").read_text()
    lost = [s for s in summary["speedups"] if s["against"] == "tree16" and s["ratio"] < 1 and s["quantity"] == "sample"]
    assert len(lost) == len(contenders.AMPER)  # nobody samples faster than that tree
    for s in lost:
        assert f"<td><b>{speedups.times(s['ratio'])}</b>" in page
        assert s["text"].startswith("0.")
    n_rejection = len(contenders.LANES) * sum(c.replay == "amper-k" for c in contenders.AMPER)
    in_speedups = page[: page.index("<h2>Figures")]
    assert in_speedups.count("<td>n/a</td>") == n_rejection
    assert in_speedups.count(f"<th scope=col>CPU tree, {contenders.CPU} (measured)</th>") == 1
    n_measured = 1 + len(contenders.MEASURED)
    assert in_speedups.count("(measured)</th>") == n_measured
    assert in_speedups.count("(modelled)</th>") == len(contenders.HEADS) - n_measured + 2  # and the latencies'


def test_a_rejection_that_gave_up_is_not_passed_over(report, tmp_path):
    from experiments import report as writer

    result = json.loads((report / "summary.json").read_text())
    assert "gave up" not in (report / "report.html").read_text()
    next(row for row in result["rows"] if row["key"] == "rejection8")["n_given_up"] = 3
    written = writer.write(result, tmp_path, command="amper report", version="0")
    assert "Rejection gave up in 3 of 256 samplings" in written["report"].read_text()


def test_the_answer_lists_ampers_machines_with_their_ratios(report):
    from experiments.studies import speedup_report

    summary = json.loads((report / "summary.json").read_text())
    answer = speedup_report.answer([summary])
    assert answer.text == summary["verdict"]
    assert [line[0] for line in answer.rows] == [c.label for c in contenders.AMPER]
    ratios = {(s["label"], s["against"]): s["ratio"] for s in summary["speedups"] if s["quantity"] == "sample"}
    for line in answer.rows:
        of = dict(zip(answer.columns, line, strict=True))
        for against in contenders.ON_A_TERMINAL:
            assert of[against] == speedups.times(ratios[of["machine"], against])
    assert set(contenders.ON_A_TERMINAL) <= set(contenders.BASELINES)


def test_baselines_that_disagree_are_said_to_decide():
    rows = invented(100.0)
    for row in rows:
        if row["key"] == "fused":
            row["sample_fs"], row["interval_fs"] = row["sample_fs"] / 50, [t / 50 for t in row["interval_fs"]]
    assert "stands or falls with the baseline" in said(rows)


def test_one_size_tells_nothing_of_growth():
    assert "grows by" not in said([row for row in invented(100.0) if row["n"] == 5_000])


@pytest.mark.parametrize("seed", range(5))
def test_names_beside_lines_keep_their_order_and_a_distance(seed):
    places = np.sort(np.random.default_rng(seed).beta(0.5, 2, size=17))
    moved = np.array(latency_plots.spread(places.tolist(), 0.03))
    assert np.diff(moved).min() >= 0.03 - 1e-12
    assert moved.mean() == pytest.approx(places.mean())  # least squares: no block moves as a whole
    far = np.linspace(0, 1, 17)
    assert latency_plots.spread(far.tolist(), 0.03) == pytest.approx(far)


def test_the_laws_of_the_report_are_the_samplers(report):
    laws = {law["sampler"]: law for law in json.loads((report / "summary.json").read_text())["laws"]}
    assert set(laws) == {"uniform", "per", *contenders.SEARCHED}
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
