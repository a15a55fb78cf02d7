"""The study of predictors on trace patterning: its runs, its cells, and what is said of invented errors."""

import numpy as np
import pytest

from experiments import predictors, study
from experiments.plots.base import save_png
from experiments.plots.prediction import prediction_figure
from experiments.predictions import COLUMNS, best, summaries
from experiments.studies import rtrl_trace_patterning
from rl.environments.trace_patterning import PATTERNS, TracePatterning
from rl.prediction import TDLambda

STUDY = study.get("rtrl-trace-patterning")
PAIRS = [method.name for method in predictors.METHODS if method.kind == "tbptt"]


def invented(errors, *, n_runs=20, spread=0.05, step_size=3e-4, **more):
    """Return rows whose errors scatter around those given, by method."""
    rng, rows = np.random.default_rng(0), []
    for name, error in errors.items():
        for seed in range(n_runs):
            end = error * float(np.exp(spread * rng.normal()))
            curve = [[step, 0.0188 + (end - 0.0188) * step / 3_000_000] for step in (1_000_000, 2_000_000, 3_000_000)]
            rows.append({
                "method": name, "seed": seed, "step_size": step_size, "n_steps": 3_000_000, "n_window": 100_000,
                "n_points": 3, "error": end, "curve": curve, "operations": 4_000, "steps_per_second": 3e5,
                "overflowed_at": None, **more,
            })  # fmt: skip
    return rows


# -- a run ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", [method.name for method in predictors.METHODS])
def test_a_run_errs_by_what_one_call_for_all_of_its_steps_errs_by(name):
    found = predictors.predict(name, step_size=1e-3, n_steps=2_000, n_window=700, seed=3, n_points=7)
    steps = TracePatterning(seed=3, dtype="float32").stream(2_000)
    network = predictors.method(name).network(2_000, 3)
    squares = (steps.targets - TDLambda(network, step_size=1e-3).run(steps.xs, steps.cumulants)) ** 2
    assert found["error"] == pytest.approx(squares[-700:].mean(), rel=1e-12)
    ends = [0, *(end for end, _ in found["curve"])]
    assert ends == [2_000 * point // 7 for point in range(8)]
    for start, (end, error) in zip(ends, found["curve"], strict=False):
        assert error == pytest.approx(squares[start:end].mean(), rel=1e-12)
    assert found["overflowed_at"] is None


def test_a_run_is_the_same_however_its_steps_are_cut(monkeypatch):
    options = {"step_size": 1e-3, "n_steps": 3_000, "n_window": 1_000, "seed": 0, "n_points": 3}
    whole = predictors.predict("ccn 20:4", **options)
    monkeypatch.setattr(predictors, "_CHUNK", 317)
    cut = predictors.predict("ccn 20:4", **options)
    assert cut["error"] == pytest.approx(whole["error"], rel=1e-12)
    assert [e for _, e in cut["curve"]] == pytest.approx([e for _, e in whole["curve"]], rel=1e-12)


def test_a_run_that_overflows_counts_as_the_largest_error_and_says_where():
    found = predictors.predict("tbptt 3:10", step_size=1e38, n_steps=2_000, n_window=500, seed=0, n_points=4)
    assert found["error"] == predictors.OVERFLOWED
    assert found["overflowed_at"] is not None
    assert len(found["curve"]) < 4


def test_stages_share_a_run_out_evenly():
    networks = {name: predictors.method(name).network(5_000_000, 0) for name in
                ("columnar 7", "constructive 10:1", "ccn 20:4")}  # fmt: skip
    shapes = {name: (n.n_features, n.n_units, n.steps_per_stage) for name, n in networks.items()}
    assert shapes == {
        "columnar 7": (7, 7, None), "constructive 10:1": (10, 1, 500_000), "ccn 20:4": (20, 4, 1_000_000)}  # fmt: skip


def test_dense_methods_take_as_many_operations_as_one_another():
    counts = {m.name: m.operations() for m in predictors.METHODS}
    pairs = [counts[name] for name in PAIRS]
    assert len(pairs) == 7
    assert all(min(pairs) <= counts[name] <= max(pairs) for name in ("snap-1 7", "uoro 12"))
    assert all(counts[name] <= max(pairs) for name in ("columnar 7", "constructive 10:1", "ccn 20:4"))
    # Sums of 4 columns over 12, 16, .. 24 inputs and their own h-, and all of the last stage's 480 parameters.
    frozen = sum(4 * 4 * (12 + 4 * stage + 1) for stage in range(4))
    assert counts["ccn 20:4"] == frozen + 4 * 4 * 29 + 480 * (4 + 2) + 480 * 2


def test_the_errors_of_a_constant_and_of_known_validity_are_those_of_the_stream():
    stream = TracePatterning(seed=0)
    steps = stream.stream(1_000_000)
    variances, by_age, age, is_valid = [steps.targets.var()], {}, 0, False
    pattern_of = {pattern: i for i, pattern in enumerate(PATTERNS)}
    for x, target in zip(steps.xs, steps.targets, strict=True):
        bits = tuple(int(i) for i in np.flatnonzero(x[:6]))
        age = 0 if bits else age + 1
        is_valid = bool(stream.valid[pattern_of[bits]]) if bits else is_valid and x[6] == 0
        by_age.setdefault((is_valid, age if is_valid else 0), []).append(target)
    knowing = sum(np.var(group) * len(group) for group in by_age.values()) / len(steps.targets)
    assert variances[0] == pytest.approx(predictors.CONSTANT, rel=0.02)
    assert knowing == pytest.approx(predictors.FLOOR, rel=0.05)


# -- cells ----------------------------------------------------------------------------------------------------
def test_the_default_is_every_method_at_its_own_step_size_with_seeds_that_the_choice_did_not_see():
    cells = STUDY.cells(STUDY.parameters())
    assert len(cells) == 12 * 20
    by_method = {cell.parameters["method"]: cell.parameters["step_size"] for cell in cells}
    assert by_method == dict(rtrl_trace_patterning.CHOSEN)
    choose = STUDY.cells(STUDY.parameters("choose"))
    assert len(choose) == 12 * 3 * 3
    assert not {cell.seed for cell in cells} & {cell.seed for cell in choose}
    assert set(by_method.values()) <= {cell.parameters["step_size"] for cell in choose}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"method": ["ccn 20:5"]}, r"method must be one of columnar 7, .*, got 'ccn 20:5'"),
        ({"choice": "all"}, "choice must be table or each, got 'all'"),
        ({"step_size": [1e-3]}, "choice must be each where step_size is given, got 'table'; add --set choice=each"),
        ({"n_steps": 1_000}, "n_steps must be at least n_window and n_points, got 1000"),
        ({"n_steps": 9, "n_window": 1, "n_points": 1}, "n_steps must be at least the 10 stages of a method, got 9"),
    ],
)
def test_what_the_study_cannot_run_is_refused_before_anything_runs(changes, said):
    with pytest.raises(ValueError, match=said):
        STUDY.cells(STUDY.parameters("default", changes))


# -- the answer -----------------------------------------------------------------------------------------------
def test_limits_and_the_ranking_are_told_pair_by_pair():
    pairs = dict(zip(PAIRS, (0.006, 0.0055, 0.0041, 0.0035, 0.007, 0.008, 0.009), strict=True))
    text = STUDY.answer(invented({"ccn 20:4": 0.004, "columnar 7": 0.012, **pairs})).text
    assert "limit 0.0045 met, whole interval below the constant's 0.0188." in text
    assert "limit 0.01 missed, whole interval below the constant's 0.0188." in text
    assert (
        "ccn 20:4 has a lower median than 6 of 7 T-BPTT pairs (intervals apart: 3:10, 5:8, 15:4, 20:3, 30:2; "
        "overlapping: 8:5), no lower median than 1 of 7 T-BPTT pairs (intervals apart: 10:5)." in text
    )
    assert "columnar 7 has no lower median than 7 of 7 T-BPTT pairs (intervals apart: 3:10, 5:8," in text
    assert "From the least median: tbptt 10:5 0.003" in text


def test_an_interval_that_reaches_the_constant_is_not_wholly_below_it():
    text = STUDY.answer(invented({"columnar 7": 0.0185}, spread=0.3)).text
    assert "limit 0.01 missed, interval not wholly below the constant's 0.0188." in text
    assert "T-BPTT pairs" not in text


def test_several_step_sizes_are_answered_by_the_best_of_each_method():
    rows = [
        row
        for step_size, (columnar, uoro) in {1e-4: (0.009, 0.01), 3e-4: (0.005, 0.012), 1e-3: (0.007, 0.02)}.items()
        for row in invented({"columnar 7": columnar, "uoro 12": uoro}, n_runs=3, step_size=step_size)
    ]
    answer = STUDY.answer(rows)
    assert len(answer.rows) == 6
    assert answer.text == (
        "Least median error by method: {'columnar 7': 0.0003, 'uoro 12': 0.0001}. At an end of what was tried: uoro 12."
    )
    assert [s.step_size for s in best(summaries(rows))] == [3e-4, 1e-4]


def test_the_table_has_median_interval_quartiles_and_seeds():
    rows = [{**invented({"snap-1 7": 1.0}, n_runs=1)[0], "error": error} for error in (0.001, 0.002, 0.003, 0.004, 0.1)]
    line = dict(zip(COLUMNS, STUDY.answer(rows).rows[0], strict=True))
    assert (line["median error"], line["quartiles"], line["seeds"]) == ("0.0030", "0.0020 to 0.0040", "5")
    assert line["95% interval"] == "[0.0010, 0.1000]"


def test_runs_that_overflowed_are_named():
    rows = invented({"uoro 12": 0.01}, n_runs=3)
    rows[0] |= {"overflowed_at": 7, "error": predictors.OVERFLOWED, "curve": []}
    assert STUDY.answer(rows).text.endswith(" Runs that overflowed count as 1: uoro 12 at 0.0003 (1).")
    assert prediction_figure(rows).get_axes()


# -- the figure -----------------------------------------------------------------------------------------------
def test_the_figure_has_a_line_a_method_but_of_t_bptt_the_best_and_worst_and_a_dot_for_all(tmp_path):
    errors = {method.name: 0.003 + 0.001 * i for i, method in enumerate(predictors.METHODS)}
    figure = prediction_figure(invented(errors, n_runs=5, spread=0.0))
    left, right = figure.get_axes()
    assert len(left.get_lines()) == 3 + 2 + 2 + 2
    assert len(left.collections) == 3 + 2 + 2
    assert len(right.get_yticklabels()) == 12
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts == [
        "columnar 7", "constructive 10:1", "ccn 20:4", "tbptt 3:10, best of its pairs",
        "tbptt 30:2, worst of its pairs", "snap-1 7", "uoro 12", "a constant, 0.0188", "validity known, 0.0017",
    ]  # fmt: skip
    save_png(figure, str(tmp_path / "f.png"))
    assert (tmp_path / "f.png").stat().st_size > 10_000
