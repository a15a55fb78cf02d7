"""The checks behind `amper validate`: which there are, what they hold to, and that a planted mistake is seen."""

import dataclasses
import json

import pytest

import hwsim
from amper.trace import OpKind
from experiments import cli, validation
from hwsim import validate
from hwsim.measurement import measurement


@pytest.fixture(scope="module")
def checks():
    return validate.validate()


def of_kind(checks, kind):
    return [check for check in checks if check.kind == kind]


def test_every_kind_of_check_is_made_and_keeps_to_its_limits(checks):
    assert {check.kind for check in checks} == set(validate.SCOPES)
    assert validation.failed(checks) == []
    assert all(
        check.limit == 0 and check.error == 0 for check in of_kind(checks, "composed") + of_kind(checks, "events")
    )


def test_all_fifteen_splits_are_there_and_each_leaves_out_two_points(checks):
    held_out = of_kind(checks, "held out")
    subjects = {check.subject for check in held_out}
    assert len(subjects) == 30
    assert {check.subject.rpartition(" ")[2] for check in held_out} == {str(k) for k in range(1, 16)}
    limits = {check.quantity: check.limit for check in held_out}
    assert limits["search_ns"] == 0.01
    assert limits["search_pj"] == 0.02
    assert limits["area_um2"] == 0.06
    assert {limits[f"{part}_ns"] for part in ("precharge", "row_drive", "match_line", "sense")} == {0.03}


def test_signed_errors_are_the_simulators_over_the_points(checks):
    check = next(
        c for c in of_kind(checks, "published") if c.quantity == "search_ns" and "fefet_2fefet_45nm" in c.subject
    )
    assert (check.expected, check.found) == (0.35, hwsim.technology("evacam-fefet45").array(64, 64).search_ns)
    assert check.error == pytest.approx(0.3138 / 0.35 - 1)
    assert check.holds is None


def test_a_wrong_technology_misses_its_limits():
    evacam = hwsim.technology("evacam-fefet45")
    wrong = [dataclasses.replace(entry, bits=entry.words, words=entry.bits) for entry in evacam.arrays]
    assert validation.failed(list(validate.held_out(dataclasses.replace(evacam, arrays=tuple(wrong)))))


def test_the_model_of_the_h100_is_held_against_the_measurement_and_its_launch_interval(checks):
    measured = of_kind(checks, "measured")
    taken = measurement("h100")
    for check in measured:
        low, high = check.interval
        assert low < check.found < high
    eager = next(c for c in measured if "eager" in c.subject and "n = 20,000" in c.subject and c.quantity == "sample")
    assert eager.expected == taken.latency_us("torch", "sample", 20_000, 64)
    assert eager.found == pytest.approx(7 * 15 * 5.0)
    assert of_kind(validate.validate(None), "measured") == []


@pytest.mark.parametrize(
    ("name", "model"),
    [("NVIDIA A100-SXM4-80GB", "a100"), ("Tesla V100-SXM2-16GB", "v100"), ("NVIDIA GeForce GTX 1080", "gtx1080")],
)
def test_a_measurement_is_held_against_the_model_of_its_own_gpu(name, model):
    taken = dataclasses.replace(measurement("h100"), gpu=name)
    fused = next(c for c in validate.gpu(taken) if "hidden" in c.subject and c.quantity == "sample")
    tree = hwsim.machine("sumtree-gpu", n_rows=5_000, gpu=model)
    assert fused.found == sum(tree.split_fs(OpKind.SAMPLE, 64)) / 1e9


@pytest.mark.parametrize("name", ["NVIDIA GeForce GTX 1080 Ti", "NVIDIA A1000", "Radeon"])
def test_a_gpu_without_a_model_is_refused(name):
    taken = dataclasses.replace(measurement("h100"), gpu=name)
    with pytest.raises(ValueError, match=rf"measurement must be of a GPU that has a model, .*H100, got '{name}'"):
        list(validate.gpu(taken))


def test_an_error_of_either_sign_and_a_point_outside_its_interval_are_seen():
    check = validate.Check(kind="events", subject="x", quantity="y", unit="fs", expected=2.0, found=1.0, limit=0.1)
    assert (check.error, check.holds) == (-0.5, False)
    inside, outside = (
        dataclasses.replace(check, limit=None, expected=point, interval=(0.5, 1.5)) for point in (1.4, 2.0)
    )
    assert (inside.holds, outside.holds) == (True, False)


def test_the_command_prints_every_kind_and_what_is_not_covered(capsys):
    assert cli.main(["validate"]) == cli.DONE
    out = capsys.readouterr().out
    assert all(kind.capitalize() in out for kind in validate.SCOPES)
    assert "Not covered:" in out
    assert cli.main(["validate", "--json"]) == cli.DONE
    document = json.loads(capsys.readouterr().out)
    assert document["n_failed"] == 0
    assert {"expected", "found", "error", "limit"} <= document["checks"][0].keys()


def test_a_missed_limit_fails_the_command(capsys, monkeypatch):
    bad = validate.Check(kind="events", subject="x", quantity="y", unit="fs", expected=0.0, found=1.0, limit=0.0)
    monkeypatch.setattr(validate, "validate", lambda _: [bad])
    assert cli.main(["validate"]) == cli.FAILED
    printed = capsys.readouterr()
    assert "MISSED" in printed.out
    assert "1 checks miss their limit" in printed.err


def test_an_unknown_measurement_is_refused_with_the_known_ones(capsys):
    assert cli.main(["validate", "--measurement", "nowhere"]) == cli.USAGE
    assert "h100" in capsys.readouterr().err
