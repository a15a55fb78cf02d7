"""The study of importance weights: its errors, its answer, its figure."""

import json

import numpy as np
import pytest

from amper import samplers
from experiments import cli, study, weighing
from experiments.plots.weights import weights_figure

WEIGHTS = study.get("amper-weights")
N = 2_000


def measured(name, n_samplings=2_000, **options):
    mass = np.random.default_rng(0).exponential(size=N)
    sampler = samplers.make(name, N, seed=1, **options)
    codes = np.clip(np.rint(mass / mass.max() * sampler.format.top), 1, None).astype(np.int64)
    sampler.insert(np.arange(N), codes, at_maximum=False)
    values = weighing.functions(mass, np.random.default_rng(0))
    return weighing.measure(sampler, values, np.ones(N, bool), n_samplings, 64)


def test_functions_have_mean_and_variance_one():
    values = weighing.functions(np.random.default_rng(0).lognormal(size=N), np.random.default_rng(1))
    assert len(values) == len(weighing.FUNCTIONS)
    assert values.mean(axis=1) == pytest.approx(1)
    assert values.std(axis=1) == pytest.approx([0, 1, 1, 1, 1])
    assert np.array_equal(weighing.functions(np.full(9, 0.1), np.random.default_rng(0))[:4], np.ones((4, 9)))


def test_uniform_draws_err_by_one_over_the_root_of_the_batch():
    found = measured("uniform")
    assert (found["ess"], found["scale"], found["csp"]) == (pytest.approx(1), pytest.approx(1), None)
    for form in weighing.FORMS:
        assert found["errors"][form]["one"]["rmse"] == pytest.approx(0)
        for name in weighing.FUNCTIONS[1:]:
            assert found["errors"][form][name]["rmse"] == pytest.approx(1 / 8, rel=0.08)


def test_means_are_unbiased_by_inclusion_and_not_by_multiplicity():
    pooled = {}
    for weights in ("inclusion", "csp", "none"):
        found = measured("amper-fr", weights=weights)
        pooled[weights] = {form: weighing.pooled([found["errors"][form]]) for form in weighing.FORMS}
        for error in found["errors"]["unnormalised"].values():
            # False-alarm rate 6e-5 each, at a fixed seed.
            assert weights != "inclusion" or abs(error["bias"]) < 4 * error["noise"]
    assert pooled["csp"]["unnormalised"]["bias"] > 0.5
    # Multiplicities are nearly the same within a batch.
    assert pooled["csp"]["self-normalised"]["rmse"] == pytest.approx(pooled["none"]["self-normalised"]["rmse"], rel=0.1)
    assert pooled["inclusion"]["self-normalised"]["rmse"] < 0.5 * pooled["none"]["self-normalised"]["rmse"]


def test_the_tiny_study_runs_and_its_rows_are_kept(capsys, tmp_path):
    arguments = ["run", "amper-weights", "--setting", "tiny", "--store", str(tmp_path / "r.sqlite"), "--workers", "1"]
    assert cli.main([*arguments, "--figure", str(tmp_path / "f.png")]) == 0
    out = capsys.readouterr().out
    assert "Which importance weights make an AMPER sample represent the whole buffer?" in out
    assert "amper-fr errs least self-normalised with" in out
    assert (tmp_path / "f.png").read_bytes().startswith(b"\x89PNG")
    assert cli.main([*arguments, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    kinds = [(row["kind"], row["source"]) for row in document["rows"]]
    assert kinds == [("masses", "exponential"), ("live", "CartPole-v1"), *[("learning", "CartPole-v1")] * 4]
    assert [row["weights"] for row in document["rows"][2:]] == ["per", "csp", "none", "inclusion"]
    draws = {found["weights"]: found for found in document["rows"][0]["moments"][0]["found"][:4]}
    assert draws["none"]["ess"] == pytest.approx(1)
    assert draws["inclusion"]["csp"] == draws["per"]["csp"]  # the same candidate sets
    cli.main(arguments)
    assert "6 of 6 rows were in" in capsys.readouterr().out


def found(sampler, weights, bias, sd):
    error = {"bias": bias, "noise": 0.0, "sd": sd, "rmse": float(np.hypot(bias, sd))}
    by_function = dict.fromkeys(weighing.FUNCTIONS, error)
    errors = dict.fromkeys(weighing.FORMS, by_function)
    return {"sampler": sampler, "weights": weights, "errors": errors, "ess": 0.5, "scale": 0.25, "batch": 64}


def invented():
    rows = [
        {
            "kind": "masses", "source": source, "seed": 0,
            "moments": [{"step": 0, "found": [
                found("amper-fr", "per", 0.3, 0.4), found("amper-fr", "none", 0.6, 0.8),
                found("amper-fr", "inclusion", 0.0, 0.505), found("per", "per", 0.0, 0.2),
            ]}],
        }
        for source in ("U[0,1]", "lognormal(0,1)")
    ]  # fmt: skip
    for weights, gain in (("per", 0.0), ("none", -40.0), ("inclusion", 1.0)):
        for seed in range(5):
            value = 100.0 + 7 * seed + gain * (1 if weights == "none" else (-1) ** seed)
            rows.append({"kind": "learning", "source": "CartPole-v1", "seed": seed, "weights": weights,
                         "mean_return": value})  # fmt: skip
    return rows


def test_the_answer_names_the_least_errors_and_where_learning_differs():
    said = WEIGHTS.answer(invented())
    assert len(said.rows) == 8
    assert said.rows[0][:6] == ("U[0,1]", "amper-fr", "per", "0.300", "0.400", "0.500")
    assert (
        "amper-fr errs least self-normalised with 'per' or 'inclusion' (per 0.500, inclusion 0.505, none 1.000) and "
        "unnormalised with 'per' or 'inclusion'" in said.text
    )
    assert "Learning CartPole-v1 shows a difference with 'none': mean return over training" in said.text
    assert (
        "with 'per' weights (114.0) at the same seed, median [95% each], 5 seeds: none -40.0 [-40.0, -40.0]"
        in said.text
    )
    without = WEIGHTS.answer([row for row in invented() if row.get("weights") != "none"])
    assert "Learning CartPole-v1 shows no difference: " in without.text
    few = WEIGHTS.answer([row for row in invented() if row["seed"] < 3])
    assert "Learning CartPole-v1 tells nothing yet, from so few seeds: " in few.text
    assert "Learning" not in WEIGHTS.answer(invented()[:2]).text


def test_the_figure_has_a_row_a_sampler_and_a_line_a_source():
    figure = weights_figure(weighing.lines(invented()))
    axes = figure.get_axes()
    assert len(axes) == 3
    assert [label.get_text() for label in axes[0].get_yticklabels()] == ["U[0,1]", "lognormal(0,1)"]
    entries = {text.get_text() for text in figure.legends[0].get_texts()}
    assert entries == {"weights 'none'", "weights 'per'", "weights 'inclusion'", "exact PER", "64 uniform draws"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"masses": ["cauchy"]}, r"masses must be among U\[0,1\], exponential, .*, got 'cauchy'"),
        ({"sampler": ["amper-k"]}, "sampler must be among amper-fr, amper-fr linear, per, got 'amper-k'"),
        ({"weights": ["ipw"]}, "weights must be among per, csp, none, inclusion, got 'ipw'"),
    ],
)
def test_names_that_are_unknown_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        WEIGHTS.cells(WEIGHTS.parameters("tiny", changes))
