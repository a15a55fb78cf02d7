"""The studies of machines: they run, resume and draw, and their answers follow the rows."""

import json

import numpy as np
import pytest

import hwsim
from amper.trace import OpKind
from experiments import cli, concurrency, readouts, study
from experiments.plots.base import save_png
from experiments.studies import amper_readout, concurrent_actors

CAMASIM, EVACAM = "camasim-fefet45", "evacam-fefet45"


def run(capsys, *arguments):
    code = cli.main([str(a) for a in arguments])
    captured = capsys.readouterr()
    assert code == 0, captured.err
    return captured.out


@pytest.mark.parametrize("name", ["amper-readout", "concurrent-actors"])
def test_a_study_runs_draws_and_resumes(name, capsys, tmp_path):
    store, picture = tmp_path / "rows.sqlite", tmp_path / "figure.png"
    arguments = ("run", name, "--setting", "tiny", "--store", store, "--workers", 1)
    document = json.loads(run(capsys, *arguments, "--figure", picture, "--json"))
    assert picture.stat().st_size > 10_000
    again = run(capsys, *arguments)
    n = len(document["rows"])
    assert f"{n} of {n} rows were in" in again
    assert document["question"] in again
    assert " ".join(document["answer"].split()[:8]) in " ".join(again.split())


# -- amper-readout ---------------------------------------------------------------------------------------
def readout_row(n, csp, n_ops=6, technologies=(CAMASIM,)):
    parameters = {"n": n, "csp_fraction": csp, "technology": list(technologies), "batch": 64, "n_ops": n_ops}
    return amper_readout.run(parameters, 0)


@pytest.fixture(scope="module")
def reference_rows():
    return [readout_row(n, 0.15) for n in (5_000, 20_000, 1_000_000)]


def test_rank_select_is_as_far_below_one_port_and_as_flat_as_required(reference_rows):
    costs = {cell[0]: each for cell, each in readouts.costs_by_cell(reference_rows).items()}

    def sample(n, label):
        return costs[n][label, CAMASIM]["sample_fs"]

    for rank in ("rank_select, 8", "rank_select, 64"):
        assert sample(20_000, "csb, 1 port") >= 10 * sample(20_000, rank)
        assert sample(1_000_000, "csb, 1 port") >= 300 * sample(1_000_000, rank)
        assert sample(1_000_000, rank) <= 1.15 * sample(5_000, rank)
    text = amper_readout.answer(reference_rows).text
    assert "at n = 20,000, at least 10x: met" in text
    assert "at n = 1,000,000, at least 300x: met" in text
    assert "at most 1.15x: met" in text
    assert "MISSED" not in text


def test_what_is_missed_is_said(reference_rows):
    rows = json.loads(json.dumps(reference_rows))
    for row in rows:
        for machine in row["machines"]:
            if machine["label"] == "rank_select, 64":
                machine["sample_fs"] *= 2 if row["n"] == 20_000 else 1
    assert "at least 10x: MISSED" in amper_readout.answer(rows).text


def test_a_row_holds_what_a_simulation_says_without_the_fetch():
    row = readout_row(2_000, 0.05, technologies=(CAMASIM, EVACAM))
    costs = readouts.costs_by_cell([row])[2_000, 0.05]
    labels = {*readouts.READOUTS, *readouts.NEIGHBOURS}
    assert {key for key in costs if key[1]} == {(label, name) for label in labels for name in (CAMASIM, EVACAM)}
    assert {label for label, technology in costs if technology is None} == set(readouts.RIVALS)
    trace = hwsim.synthetic_trace(2_000, 64, 0.05, n_ops=6, seed=0)
    found = costs["burst, 64", EVACAM]
    machine = hwsim.machine(
        "amper-fr", n_rows=2_000, technology=EVACAM, readout="burst", n_banks=64, csb_entries=found["csb_entries"]
    )
    report = hwsim.simulate(trace, machine)
    sample, update = (report.latency_fs[kind] for kind in ("sample", "update"))
    assert (found["fidelity"], found["source"]) == ("closed", "modelled")
    assert (found["sample_fs"], found["update_fs"]) == (np.median(sample), np.median(update))
    assert found["step_fs"] == np.median(sample + update)
    energy = report.energy_by_kind_aj
    assert found["step_aj"] == pytest.approx((energy["sample"] + energy["update"]) / 6)
    assert found["leakage_uw"] == report.leakage_uw
    assert found["step_leakage_aj"] == round(report.leakage_uw * found["step_fs"] / 1000)
    assert found["step_total_aj"] == found["step_aj"] + found["step_leakage_aj"]
    assert 0 < found["endurance_years"] < found["endurance_mean_years"]
    assert costs["burst, 64", CAMASIM]["step_total_aj"] is None
    assert costs["CPU tree", None]["endurance_years"] is None
    assert found["row_um2"] == pytest.approx(report.area_um2 / 2_000)
    assert found["write_fs"] == machine.costs.write * machine.costs.period_fs
    assert costs["CPU tree", None]["source"] == "measured"
    assert costs["CPU tree", None]["step_aj"] is None
    assert costs["GPU tree, A100 fused", None]["row_um2"] is None


def test_where_the_formula_does_not_hold_events_decide_and_the_row_says_so():
    row = readout_row(1_000, 0.15)  # 16 arrays for 64 ranks: two meet
    fidelity = {machine["label"]: machine["fidelity"] for machine in row["machines"]}
    assert {fidelity["rank_select, 8"], fidelity["rank_select, 64"]} == {"burst"}
    assert {fidelity[label] for label in fidelity if not label.startswith("rank_select")} == {"closed"}
    assert "in an array, by events" in amper_readout.answer([row]).text


def test_the_neighbours_are_not_found_one_by_one_in_a_million_rows():
    labels = {contender.label for contender in readouts.contenders(1_000_000, [CAMASIM])}
    assert not labels & set(readouts.NEIGHBOURS)
    assert set(readouts.NEIGHBOURS) < {contender.label for contender in readouts.contenders(100_000, [CAMASIM])}


def changed(row, label, **values):
    copy = json.loads(json.dumps(row))
    for machine in copy["machines"]:
        if machine["label"] == label:
            machine.update(values)
    return copy


def test_the_answer_names_the_axes_and_buffers_that_a_tree_wins(reference_rows):
    rows = reference_rows[:2]
    assert "beats every AMPER machine in sampling, step, energy and area in 2 of 2" in amper_readout.answer(rows).text
    rows = [changed(row, "rank_select, 8", sample_fs=10.0 if row["n"] == 5_000 else 1e9) for row in rows]
    text = amper_readout.answer(rows).text
    assert "in sampling, step, energy and area in 1 of 2 buffers" in text
    assert f"in {CAMASIM} in sampling at n = 20,000 (AMPER / tree" in text
    assert "in a step everywhere" in text
    rows = [changed(row, "rank_select, 64", step_aj=1.0, row_um2=0.1) for row in rows]
    assert "in energy nowhere" in amper_readout.answer(rows).text
    assert "in area nowhere" in amper_readout.answer(rows).text


def test_the_answer_says_who_takes_less_energy_with_leakage():
    rows = [readout_row(n, 0.15, technologies=(CAMASIM, EVACAM)) for n in (5_000, 20_000)]
    text = amper_readout.answer(rows).text
    assert f"Energy with leakage in {CAMASIM}: n/a, it states none for its arrays." in text
    assert f"than AMPER's best machine in {EVACAM} everywhere (AMPER / tree" in text
    rows = [readout_row(n, 0.15, technologies=(EVACAM,)) for n in (5_000, 20_000)]
    for label in ("rank_select, 64", "rank_select, 8"):
        rows = [changed(row, label, step_leakage_aj=1.0, step_total_aj=4.0, step_aj=3.0) for row in rows]
    assert f"than AMPER's best machine in {EVACAM} nowhere (AMPER / tree" in amper_readout.answer(rows).text
    assert "leakage is 25% to 25% of AMPER's energy" in amper_readout.answer(rows).text


def test_the_answer_says_up_to_where_a_readout_keeps_up_with_rank_select(reference_rows):
    rank = readouts.costs_by_cell(reference_rows)[5_000, 0.15]["rank_select, 64", CAMASIM]["sample_fs"]
    text = amper_readout.answer([changed(row, "csb, 8 x 8", sample_fs=1.15 * rank) for row in reference_rows]).text
    assert "over csb, 1 port nowhere;" in text
    assert "over csb, 8 x 8 up to n = 1,000,000 at every CSP;" in text


def test_a_technology_or_csp_that_cannot_be_is_refused_before_anything_runs():
    found = study.get("amper-readout")
    with pytest.raises(ValueError, match="got 'camasim'"):
        found.cells(found.parameters("tiny", {"technology": ["camasim"]}))
    with pytest.raises(ValueError, match=r"csp_fraction must be at most 1, got 1\.5"):
        found.cells(found.parameters("tiny", {"csp_fraction": [0.1, 1.5]}))


def test_the_figure_of_readouts_draws_what_rows_there_are(reference_rows, tmp_path):
    for i, rows in enumerate((reference_rows, [readout_row(1_000, 0.1, technologies=(EVACAM, CAMASIM))])):
        path = tmp_path / f"{i}.png"
        save_png(amper_readout.figure(rows), str(path))
        assert path.stat().st_size > 10_000


# -- concurrent-actors -----------------------------------------------------------------------------------
def actors_row(machine, n_ops=30, **changes):
    settings = concurrent_actors.STUDY.settings["tiny"]
    parameters = {key: settings[key] for key in ("technology", "n", "batch", "n_clients", "load")}
    parameters |= {"machine": machine, "csp_fraction": 0.15, "n_inserts": 8, "n_ops": n_ops, **changes}
    return concurrent_actors.run(parameters, 0)


@pytest.fixture(scope="module")
def actors_rows():
    return [actors_row(machine) for machine in concurrent_actors.STUDY.settings["tiny"]["machine"]]


def test_the_rows_hold_what_the_simulations_say_without_the_filling_insert(actors_rows):
    row = next(row for row in actors_rows if row["machine"] == "rank_select, 8")
    trace = hwsim.synthetic_trace(1_000, 64, 0.15, n_ops=30, seed=0, n_inserts=8)
    machine = hwsim.machine("amper-fr", n_rows=1_000, readout="rank_select")
    report = hwsim.simulate(trace, machine, arrivals=hwsim.Closed(16))
    assert row["closed"][-1]["throughput_hz"] == report.throughput_hz
    assert row["saturation_hz"] == max(loop["throughput_hz"] for loop in row["closed"])
    half = concurrent_actors.at_load(row, 0.5)
    assert half["offered_hz"] == 0.5 * row["saturation_hz"]
    report = hwsim.simulate(trace, machine, arrivals=hwsim.Poisson(half["offered_hz"], n_actors=8, seed=0))
    inserts = report.latency_fs["insert"]
    assert len(inserts) == 1 + 30 * 8
    assert half["latency_fs"]["insert"] == pytest.approx(np.percentile(inserts[1:], [50, 90, 99]))
    assert half["latency_fs"]["sample"] == pytest.approx(np.percentile(report.latency_fs["sample"], [50, 90, 99]))
    assert max(half["latency_fs"]["insert"]) < inserts[0]


def test_shares_of_time_are_of_the_time_after_the_filling(actors_rows):
    for row in actors_rows:
        for run in (*row["closed"], *row["loads"], row["actors_alone"]):
            for part in run["usage"].values():
                assert 0 <= part["unit_busy"] <= part["busy"]
                assert all(share > 0 for share in part["stalls"].values())
                assert part["busy"] + sum(part["stalls"].values()) <= 1 + 1e-9
    gpu = next(row for row in actors_rows if row["machine"].startswith("GPU"))
    usage = concurrent_actors.saturated(gpu)["usage"]
    assert usage["launches"]["busy"] + usage["memory"]["busy"] == pytest.approx(1, abs=0.01)
    one = next(row for row in actors_rows if row["machine"] == "csb, 1 port")
    report = hwsim.simulate(
        hwsim.synthetic_trace(1_000, 64, 0.15, n_ops=30, seed=0, n_inserts=8), hwsim.machine("amper-fr", n_rows=1_000)
    )
    written = report.latency_fs["insert"][0]  # serial: filling is the first op
    alone = one["closed"][0]
    assert alone["n_clients"] == 1
    busy = report.breakdown["csb"]["busy_fs"] / (report.makespan_fs - written)
    assert alone["usage"]["csb"]["busy"] == pytest.approx(busy)


def test_a_sampling_begins_when_it_has_arrived_and_its_learner_is_free(actors_rows):
    for row in actors_rows:
        alone = row["learner_alone"]["sample_fs"]
        light, full = row["loads"][0], row["loads"][-1]
        assert light["begun_fs"][0] == pytest.approx(alone[0], rel=0.05)
        for run in row["loads"]:
            assert alone[0] * 0.99 <= run["begun_fs"][0] <= run["latency_fs"]["sample"][0]
        assert full["begun_fs"][0] < 0.5 * full["latency_fs"]["sample"][0]  # most of it waits for its own learner
    machine = hwsim.machine("sumtree-gpu", n_rows=100)
    trace = hwsim.synthetic_trace(100, 8, 0.5, n_ops=20, seed=0)
    report = hwsim.simulate(trace, machine, arrivals=hwsim.Poisson(1e9))
    begun = concurrency._from_begin(trace, report)
    # Without actors a sampling takes what it takes, whatever queues behind it.
    assert set(begun.tolist()) == {sum(machine.split_fs(OpKind.SAMPLE, 8))}


def test_inserts_in_slot_order_are_written_by_one_bank(actors_rows):
    for row in actors_rows:
        usage = row["actors_alone"]["usage"]
        if "write_ports" in usage:
            together = (
                usage["write_ports"]["unit_busy"] * usage["write_ports"]["n_units"] / usage["write_ports"]["busy"]
            )
            assert 1 <= together < 1.3
            # 20 ns a row in one bank; one more bank from array to array.
            assert 50e6 < row["actors_alone"]["insert_hz"] < 65e6
    text = concurrent_actors.answer(actors_rows).text
    assert "so into one bank: without a learner 56" in text


def test_waiting_grows_with_the_load(actors_rows):
    for row in actors_rows:
        light, full = row["loads"][0], concurrent_actors.at_load(row, 1.0)
        assert full["latency_fs"]["sample"][-1] > 2 * light["latency_fs"]["sample"][-1]
        assert full["latency_fs"]["insert"][-1] > light["latency_fs"]["insert"][-1]
        assert light["throughput_hz"] == pytest.approx(light["offered_hz"], rel=0.3)
        assert concurrent_actors.step_hz(row) <= row["learner_alone"]["step_hz"]


def test_the_answer_of_actors_follows_the_rows(actors_rows):
    rows = json.loads(json.dumps(actors_rows))
    row = next(row for row in rows if row["machine"] == "csb, 1 port")
    row["saturation_hz"] = 10e6
    row["closed"] = [{"throughput_hz": 10e6, "usage": {"csb": {"busy": 0.97, "stalls": {}}}}]
    found = concurrent_actors.answer(rows)
    words = "csb, 1 port at 10 M/s (CSP 15%, 8 inserts), held up by the ports into the candidate-set buffer busy 97%"
    assert words in found.text
    one = max(run["throughput_hz"] for run in row["loads"]) * 0.8 / 10_000
    # 8 of 10 ops insert, 10,000 a second each
    assert f"csb, 1 port {one:,.0f} (800);" in found.text
    assert len(found.rows) == len(rows)
    doubled = concurrent_actors.answer([*rows, *({**row, "n_inserts": 8} for row in rows)])
    assert "in every mix" in doubled.text


def test_a_machine_that_is_not_there_is_refused_before_anything_runs():
    found = study.get("concurrent-actors")
    with pytest.raises(ValueError, match=r"machine must be among csb, 1 port; .*, got 'csb'"):
        found.cells(found.parameters("tiny", {"machine": ["csb"]}))
    with pytest.raises(ValueError, match="got 'camasim'"):
        found.cells(found.parameters("tiny", {"technology": "camasim"}))


def test_the_figure_of_actors_draws_what_rows_there_are(actors_rows, tmp_path):
    for i, rows in enumerate((actors_rows, actors_rows[:1], [*actors_rows, {**actors_rows[0], "n_inserts": 32}])):
        path = tmp_path / f"{i}.png"
        save_png(concurrent_actors.figure(rows), str(path))
        assert path.stat().st_size > 10_000
