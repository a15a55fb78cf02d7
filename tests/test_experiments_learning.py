"""The learning study: a tiny run of it, and what is said of invented runs."""

import json
import re

import numpy as np
import pytest

from experiments import cli, study
from experiments.learning import COLUMNS, MIN_RUNS, comparisons
from experiments.plots.base import save_png
from experiments.plots.learning import learning_figure
from experiments.tasks import task

LEARNING = study.get("amper-learning")


def invented(earned, *, envs=("CartPole-v1", "Acrobot-v1"), capacities=(2_000, 20_000), n_runs=10, spread=0.02):
    """Return rows whose returns scatter around a share of the way from a random policy's return to the goal."""
    rng, rows = np.random.default_rng(0), []
    for env in envs:
        low, high = task(env).random_return, task(env).goal
        for capacity in capacities:
            for replay, share in earned.items():
                for seed in range(n_runs):
                    ends = low + (high - low) * (share + spread * rng.normal())
                    curve = [[1_000 * k, low + (ends - low) * k / 3] for k in (1, 2, 3)]
                    rows.append({
                        "env": env, "capacity": capacity, "replay": replay, "seed": seed, "n_steps": 3_000,
                        "selected": ends, "last_iterate": ends - 1, "curve": curve,
                    })  # fmt: skip
    return rows


def test_a_tiny_run_answers_draws_and_resumes(capsys, tmp_path):
    arguments = ["run", "amper-learning", "--setting", "tiny", "--store", str(tmp_path / "r.sqlite"), "--workers", "1"]
    assert cli.main([*arguments, "--figure", str(tmp_path / "f.png"), "--set", "seeds=1"]) == 0
    out = capsys.readouterr().out
    assert "Does an agent learn as well from AMPER's replay as from exact prioritized replay?" in out
    assert f"Too few runs to say whether AMPER-fr learns as well as PER: an interval takes {MIN_RUNS} of each." in out
    assert "[n/a]" in out
    assert (tmp_path / "f.png").read_bytes().startswith(b"\x89PNG")
    assert cli.main(arguments) == 0
    assert "2 of 4 rows were in" in capsys.readouterr().out
    assert cli.main(["results", "amper-learning", "--store", str(tmp_path / "r.sqlite"), "--json"]) == 0
    rows = [row["result"] for row in json.loads(capsys.readouterr().out)]
    assert sorted((row["replay"], row["seed"]) for row in rows) == [
        ("amper-fr", 0), ("amper-fr", 1), ("per", 0), ("per", 1)]  # fmt: skip
    assert all(len(row["curve"]) == task("CartPole-v1").n_evaluations for row in rows)
    assert all(row["replay_stats"]["lost"] == 0 for row in rows)


def test_the_default_grid_is_every_task_capacity_and_replay_with_ten_seeds():
    cells = LEARNING.cells(LEARNING.parameters())
    assert len(cells) == 3 * 3 * 4 * 10
    assert {cell.parameters["length"] for cell in cells} == {1.0}
    longer = LEARNING.cells(LEARNING.parameters("full"))
    assert {cell.parameters["length"] for cell in longer} == {2.0}


def test_an_amper_that_earns_what_per_earns_learns_as_well():
    text = LEARNING.answer(invented({"per": 1.05, "amper-fr": 1.05})).text
    assert text.startswith(
        "Yes, AMPER-fr learns as well as PER (difference of IQMs over PER's range, capacities together: CartPole-v1 "
    )
    assert ", all tasks " in text
    assert "): its IQM is at most 10% of PER's range below PER's (95% interval) in 4 of 4 pairs" in text
    assert "PER's own median reaches the goal in 4 of 4." in text


def test_an_amper_that_earns_a_fifth_less_does_not():
    answer = LEARNING.answer(invented({"per": 0.9, "amper-fr": 0.72, "amper-k": 0.9}, capacities=(2_000,)))
    assert answer.text.startswith("No, AMPER-fr does not learn as well as PER everywhere (")
    worse = (
        r"in 0 of 2 pairs of task and capacity, further below in CartPole-v1 at 2,000 \(-\d\d%\), Acrobot-v1 at 2,000"
    )
    assert re.search(worse, answer.text)
    assert "Yes, AMPER-k learns as well as PER" in answer.text
    assert "PER's own median reaches the goal in 0 of 2 (not in CartPole-v1 at 2,000, Acrobot-v1 at" in answer.text
    above = {(row[0], row[2]): row[COLUMNS.index("above -10%")] for row in answer.rows}
    assert above["CartPole-v1", "amper-fr"] == above["all", "amper-fr"] == "no"
    assert above["CartPole-v1", "amper-k"] == above["all", "amper-k"] == "yes"
    assert above["CartPole-v1", "per"] == ""


def test_an_amper_whose_runs_scatter_is_left_undecided():
    text = LEARNING.answer(invented({"per": 0.9, "amper-fr": 0.85}, spread=0.3, capacities=(2_000,))).text
    assert text.startswith("AMPER-fr is not shown to learn as well as PER (")
    assert "undecided in CartPole-v1 at 2,000 (" in text


def test_a_task_is_judged_over_its_capacities_where_single_ones_are_undecided():
    rows = invented({"per": 0.9, "amper-fr": 0.9}, spread=0.1, capacities=(2_000, 10_000, 20_000), n_runs=40)
    for row in rows:
        if (row["env"], row["capacity"], row["replay"]) == ("Acrobot-v1", 2_000, "amper-fr"):
            row["selected"] -= 30
    text = LEARNING.answer(rows).text
    assert text.startswith("Yes, AMPER-fr learns as well as PER (")
    assert "in 5 of 6 pairs of task and capacity, undecided in Acrobot-v1 at 2,000 (" in text


def test_an_amper_that_is_worse_in_one_place_is_not_as_good_everywhere():
    rows = invented({"per": 1.0, "amper-fr": 1.0})
    for row in rows:
        if (row["env"], row["capacity"], row["replay"]) == ("Acrobot-v1", 2_000, "amper-fr"):
            row["selected"] -= 100
    text = LEARNING.answer(rows).text
    assert text.startswith("No, AMPER-fr does not learn as well as PER everywhere")
    assert re.search(r"in 3 of 4 pairs of task and capacity, further below in Acrobot-v1 at 2,000 \(-2\d%\)\.", text)


def test_differences_are_of_interquartile_means_and_their_share_of_pers_range():
    found = comparisons(invented({"per": 0.8, "amper-fr": 0.6}, spread=0.0))
    cartpole = next(c for c in found if (c.env, c.replay) == ("CartPole-v1", "amper-fr"))
    assert cartpole.difference.value == pytest.approx(-0.2 * (450.0 - task("CartPole-v1").random_return))
    assert cartpole.share == pytest.approx((-0.25, -0.25, -0.25))
    assert cartpole.chance.value == 0.0
    at_all = next(c for c in found if (c.env, c.capacity, c.replay) == ("CartPole-v1", "all", "amper-fr"))
    assert (at_all.n_runs, at_all.share) == (20, pytest.approx((-0.25, -0.25, -0.25)))
    overall = next(c for c in found if (c.env, c.replay) == ("all", "amper-fr"))
    assert overall.n_runs == 40
    assert overall.iqm == pytest.approx((0.6, 0.6, 0.6))
    assert overall.share.value == pytest.approx(-0.25)


@pytest.mark.parametrize(
    ("earned", "options", "said"),
    [
        ({"per": 1.0, "amper-fr": 1.0}, {"n_runs": 2}, "Too few runs to say whether AMPER-fr learns as well"),
        ({"per": 1.0, "uniform": 1.0}, {}, "No AMPER was run: nothing to compare."),
        ({"uniform": 1.0, "amper-k": 1.0}, {}, "AMPER-k was run without PER: nothing to compare with."),
        ({"per": -0.2, "amper-fr": 0.1}, {}, "Nothing can be said of AMPER-fr: PER itself earned no more than"),
    ],
)
def test_where_rows_allow_no_verdict_that_is_said(earned, options, said):
    assert LEARNING.answer(invented(earned, **options)).text.startswith(said)


def test_one_place_has_no_aggregate():
    rows = invented({"per": 1.0, "amper-fr": 1.0}, envs=["CartPole-v1"], capacities=[2_000])
    answer = LEARNING.answer(rows)
    assert [row[:3] for row in answer.rows] == [
        ("CartPole-v1", "2,000", "per"), ("CartPole-v1", "2,000", "amper-fr")]  # fmt: skip
    assert "together" not in answer.text


def test_the_figure_has_a_panel_a_task_and_capacity_and_a_band_where_runs_suffice(tmp_path):
    figure = learning_figure(invented({"per": 1.0, "amper-fr": 0.9, "uniform": 0.8, "mine": 0.7}))
    panels = figure.get_axes()
    assert len(panels) == 4
    assert all(len(axes.get_lines()) == 4 + 2 for axes in panels)
    assert all(len(axes.collections) == 4 for axes in panels)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "uniform", "PER", "AMPER-fr", "mine", "goal", "random policy"]  # fmt: skip
    save_png(figure, str(tmp_path / "f.png"))
    few = learning_figure(invented({"per": 1.0}, n_runs=2))
    assert not any(axes.collections for axes in few.get_axes())
