"""The studies of the sampler and of recurrent learners: they run, resume, draw, and their answers follow the rows."""

import json

import pytest

from experiments import cli, priorities, study
from experiments.studies import amper_grouping, amper_law, amper_vmax


def run(capsys, *arguments):
    code = cli.main([str(a) for a in arguments])
    captured = capsys.readouterr()
    assert code == 0, captured.err
    return captured.out


SAMPLERS = ["amper-law", "amper-grouping", "amper-vmax"]
RECURRENT = ["rtrl-trace-patterning", "snap-copy", "snap-charlm", "elstm-copy"]


@pytest.mark.parametrize("name", [*SAMPLERS, *RECURRENT])
def test_a_study_runs_draws_and_resumes(name, capsys, tmp_path):
    store, picture = tmp_path / "rows.sqlite", tmp_path / "figure.png"
    out = run(capsys, "run", name, "--setting", "tiny", "--store", store, "--figure", picture, "--json")
    assert picture.stat().st_size > 10_000
    document = json.loads(out)
    again = run(capsys, "run", name, "--setting", "tiny", "--store", store)
    n = len(document["rows"])
    assert f"{n} of {n} rows were in" in again
    assert document["question"] in again


@pytest.mark.parametrize("name", study.available())
def test_every_study_has_its_settings_and_says_which_figure_answers_it(name):
    found = study.get(name)
    assert set(found.settings) >= {"tiny", "default", "full"}
    assert found.name == name
    assert found.question.endswith("?")
    assert all(found.cells(found.parameters(setting)) for setting in found.settings)


def test_a_source_of_priorities_that_is_unknown_is_refused():
    with pytest.raises(ValueError, match=r"source must be one of U\[0,1\], .*LunarLander-v3, got 'cauchy'"):
        priorities.measured("cauchy", {}, n=10)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        *(
            (name, {"env": ["Foo-v0"]})
            for name in study.available()
            if "env" in study.get(name).settings["default"] and name.startswith("amper-")
        ),
        *((name, {"source": ["cauchy"]}) for name in ("amper-law", "amper-grouping", "amper-precision")),
    ],
)
def test_what_a_study_does_not_know_is_refused_before_anything_runs(name, changes):
    found = study.get(name)
    with pytest.raises(ValueError, match=r"(env|source) must be one of .*, got '(Foo-v0|cauchy)'"):
        found.cells(found.parameters("default", changes))


def law_row(source, **kls):
    laws = {key: {"kl": 0.5, "tv": 0.4, "tv_floor": 0.1, "csp": 0.02, "n_searches": 20.0} for key in
            (*amper_law.contenders(), *amper_grouping.contenders())}  # fmt: skip
    for key, kl in kls.items():
        laws[key] = {**laws[key], "kl": kl}
    return {"kind": "law", "source": source, "is_live": "-v" in source, "n": 100, "laws": laws}


def test_the_law_is_answered_by_the_worst_source():
    rows = [law_row("U[0,1]", **{"tapered lam=0.5": 0.001}), law_row("CartPole-v1", **{"tapered lam=0.5": 0.004})]
    text = amper_law.answer(rows).text
    assert "tapered groups stray at worst by 0.004 (CartPole-v1)" in text
    assert "and live ones" in text
    assert "and live ones" not in amper_law.answer(rows[:1]).text


def test_the_grouping_is_answered_by_what_none_beats():
    cheaper = "tapered (7, 1, 4) .5"
    found = law_row("U[0,1]", **{amper_grouping.DEFAULT: 0.002, cheaper: 0.001})
    found["laws"][amper_grouping.DEFAULT]["n_searches"] = 23.0
    assert (
        f"{cheaper} draws closest to PER: its worst KL over these priorities is 0.001;"
        in amper_grouping.answer([found]).text
    )
    found["laws"][cheaper] = {**found["laws"][cheaper], "csp": 0.2}  # closer, and at another price
    assert f"{amper_grouping.DEFAULT} draws closest" in amper_grouping.answer([found]).text


def test_the_grouping_says_what_agents_earned():
    rows = [law_row("U[0,1]")] + [
        {"kind": "training", "env": "CartPole-v1", "grouping": grouping, "selected": float(earned)}
        for grouping, more in (("linear", 0), ("octave", 100), ("tapered", 200))
        for earned in (100 + more, 110 + more, 120 + more)
    ]
    assert "on CartPole-v1 linear 110 [100, 120], octave 210" in amper_grouping.answer(rows).text


def test_the_full_scale_is_answered_by_each_rule_at_its_worst():
    def row(env, grouping, v_max, kl, never):
        sampler = "amper-fr" if grouping else "per"
        snapshots = [{"step": step, "kl": kl, "csp": 0.02} for step in range(10)]
        return {"env": env, "seed": 0, "sampler": sampler, "grouping": grouping, "v_max": v_max,
                "snapshots": snapshots, "never_sampled": never}  # fmt: skip

    rows = [
        row(env, *choice)
        for env, more in (("CartPole-v1", 1.0), ("Acrobot-v1", 2.0))
        for choice in (
            ("", "", 0.0, 0.001),
            ("tapered", "running", 0.002 * more, 0.0015),
            ("tapered", "q99", 0.001 * more**3, 0.0015),
        )
    ]
    text = amper_vmax.answer(rows).text
    assert "tapered, running draws closest to PER where each rule is at its worst, by KL 0.004;" in text
    assert "with tapered groups (0.15% overwritten unsampled, PER 0.10%)" in text
