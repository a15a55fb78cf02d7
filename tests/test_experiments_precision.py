"""The study of narrow and faulty memories: it runs, resumes and draws, and its answer follows the rows."""

import json

import numpy as np
import pytest

from experiments import cli, live
from experiments.studies import amper_precision as precision


def run(capsys, *arguments):
    code = cli.main([str(a) for a in arguments])
    captured = capsys.readouterr()
    assert code == 0, captured.err
    return captured.out


def test_the_study_runs_draws_and_resumes(capsys, tmp_path):
    store, picture = tmp_path / "rows.sqlite", tmp_path / "figure.png"
    arguments = ("run", "amper-precision", "--setting", "tiny", "--store", store)
    document = json.loads(run(capsys, *arguments, "--figure", picture, "--json"))
    assert picture.stat().st_size > 10_000
    again = run(capsys, *arguments)
    n = len(document["rows"])
    assert f"{n} of {n} rows were in" in again
    assert precision.STUDY.question in again
    assert {row["kind"] for row in document["rows"]} == {"law", "training"}
    for row in document["rows"]:
        if row["kind"] == "law":
            kls = {(law["knob"], law["value"]): law["kl"] for law in row["laws"]}
            assert kls["false_matches", 0.1] > 3 * kls[precision.SOUND]


def test_one_cell_is_one_training_of_one_memory():
    parameters = precision.STUDY.parameters("default")
    trainings = [cell for cell in precision.cells(parameters) if cell.parameters["kind"] == "training"]
    n_memories = len(parameters["trained_width"]) + len(precision.FAULTS) * len(parameters["trained_rate"]) + 1
    assert len(trainings) == len(parameters["env"]) * n_memories * parameters["seeds"]
    changed = precision.STUDY.parameters("default", {"trained_width": [4]})
    assert any(
        (c.parameters.get("knob"), c.parameters.get("value")) == precision.SOUND for c in precision.cells(changed)
    )


def test_faulty_memories_hold_what_they_would_had_they_followed_the_run():
    made = ("amper-fr", {"faults": {"stuck_cells": 0.1, "false_matches": 0.01}})
    wanted = {"16 bits": ("amper-fr", {}), "followed": made}

    def compare(snapshot):
        both = precision._with_faulty(snapshot, {"derived": made}, seed=3).followed
        followed, derived = both["followed"], both["derived"]
        assert np.array_equal(followed.codes, derived.codes)
        assert np.array_equal(followed._search.tcam.words(), derived._search.tcam.words())
        return [np.array_equal(followed.sample(64).slots, derived.sample(64).slots) for _ in range(5)]

    found = live.follow("CartPole-v1", wanted, n_steps=2_000, capacity=1_000, seed=3, measure=compare)
    assert found.measured == [[True] * 5]


def law_row(source, grouping, kls):
    laws = [{"knob": knob, "value": value, "kl": kl, "csp": 0.1} for (knob, value), kl in kls.items()]
    laws.append({"knob": "uniform", "value": 0, "kl": 0.4, "csp": None})
    return {"kind": "law", "source": source, "grouping": grouping, "seed": 0, "laws": laws}


def training_rows(env, knob, value, returns):
    return [
        {"kind": "training", "env": env, "knob": knob, "value": value, "seed": seed, "mean_return": mean,
         "selected": 2 * mean, "last_iterate": mean, "curve": []}
        for seed, mean in enumerate(returns)
    ]  # fmt: skip


LAWS = [
    law_row("U[0,1]", "tapered", {("width", 16): 0.001, ("width", 8): 0.002, ("width", 4): 0.3,
                                  ("false_matches", 1e-4): 0.015, ("false_matches", 1e-3): 0.001}),
    law_row("CartPole-v1", "tapered", {("width", 16): 0.004, ("width", 8): 0.019, ("width", 4): 0.1,
                                       ("false_matches", 1e-4): 0.01, ("false_matches", 1e-3): 0.05}),
    law_row("U[0,1]", "linear", {("width", 16): 0.2, ("width", 8): 0.5, ("width", 4): 0.3,
                                 ("false_matches", 1e-4): 0.5, ("false_matches", 1e-3): 0.3}),
]  # fmt: skip
TRAININGS = [
    *training_rows("CartPole-v1", "width", 16, [300, 310, 320, 330, 340]),
    *training_rows("CartPole-v1", "width", 8, [280, 310, 320, 330, 350]),
    *training_rows("CartPole-v1", "width", 4, [100, 110, 120, 130, 140]),
    *training_rows("CartPole-v1", "false_matches", 1e-3, [200, 210, 220, 230, 240]),
    *training_rows("CartPole-v1", "uniform", 0, [305, 311, 324, 331, 341]),
]


def test_the_answer_is_up_to_where_the_worst_source_stays_close():
    found = precision.answer(LAWS)
    assert "tapered groups it is 0.004 on a sound memory of 16 bits, and at most 0.02 up to 8 bits," in found.text
    assert "8 bits, false matches 1e-4. With linear" in found.text
    assert "linear groups it is 0.2 on a sound memory of 16 bits, and at most 0.4 up to 16 bits," in found.text
    assert "16 bits, false matches none." in found.text
    assert "uniform sampling's is 0.4 or more" in found.text
    assert "Agents" not in found.text
    memories = [line[0] for line in found.rows]
    assert memories == ["4 bits", "8 bits", "16 bits", "false matches 1e-4", "false matches 1e-3", "uniform sampling"]
    assert found.rows[1] == ("8 bits", "0.002 / 0.5", "0.019 / ")


def test_the_answer_names_what_costs_return():
    text = precision.answer([*LAWS, *TRAININGS]).text
    assert "on CartPole-v1 up to 8 bits, false matches none (mean of the evaluations" in text
    assert "test at 0.01, 4 of them). Uniform sampling earns no less on CartPole-v1." in text
    assert "KL" not in precision.answer(TRAININGS).text
    few = [row for row in TRAININGS if row["seed"] < 4]
    assert precision.answer(few).text == "To tell what agents earn apart takes 5 seeds; fewest here: 4."


@pytest.mark.parametrize("rows", [LAWS, TRAININGS, [*LAWS, *TRAININGS]])
def test_the_figure_draws_what_rows_there_are(rows, tmp_path):
    from experiments.plots.base import save_png

    save_png(precision.figure(rows), str(tmp_path / "figure.png"))
    assert (tmp_path / "figure.png").stat().st_size > 10_000
