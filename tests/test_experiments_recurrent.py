"""The studies of recurrent learners: trainers agree, methods are what they are called, answers follow the rows."""

import numpy as np
import pytest

from experiments import recurrent_methods as methods
from experiments import study
from experiments.plots import recurrent as plots
from experiments.recurrent import FusedTrainer, PlainTrainer, elstm_trainer
from experiments.studies import elstm_copy, snap_charlm, snap_copy
from rl import cells
from rl.environments.copy_task import CopyStreams
from rl.masked_gru import MaskedGruTrainer
from rl.optimisers import Adam

SIZES = {"n_tokens": 3, "n_classes": 2, "n_units": 6, "density": 0.5, "batch": 3, "step_size": 0.01, "seed": 1}


def stretch(n_steps=30, longest=3):
    return CopyStreams(batch=3, longest=longest, seed=2).take(n_steps)


def test_the_plain_trainer_learns_as_the_compiled_one_does():
    cell = cells.make("gru", n_inputs=3, n_units=6, density=0.5, seed=1)
    fast = MaskedGruTrainer(cell, 2, "snap", batch=3, step_size=0.01, n=2)
    slow = PlainTrainer(cell, 2, "snap", batch=3, step_size=0.01, n=2)
    slow.readout[:] = np.column_stack([fast.weights[cell.n_params : -2].reshape(2, 6), fast.weights[-2:]])
    some = stretch()
    one, other = fast.run(*some, every=1), slow.run(*some)
    np.testing.assert_allclose(one.losses, other.losses, rtol=1e-9)
    np.testing.assert_array_equal(one.right, other.right & some.copying)
    np.testing.assert_allclose(fast.weights[: cell.n_params], slow.learner.theta, rtol=1e-7)
    again = fast.evaluate(*some), slow.evaluate(*some)
    np.testing.assert_allclose(again[0].losses, again[1].losses, rtol=1e-7)


def test_the_plain_trainer_scales_the_whole_gradient_down_to_the_clip():
    gradients = []

    class Watched(Adam):
        def advance(self, theta, gradient, moments, t, step_size):
            gradients.append(gradient.copy())
            return super().advance(theta, gradient, moments, t, step_size)

    cell = cells.make("elstm", n_inputs=3, n_units=6, seed=1)
    for clip in (None, 0.01):
        PlainTrainer(cell, 3, "rtrl", batch=3, step_size=0.01, clip=clip, optimiser=Watched()).run(*stretch(8))
    free, clipped = gradients[0], gradients[len(gradients) // 2]
    assert np.linalg.norm(free) > 0.02
    np.testing.assert_allclose(clipped, free * 0.01 / np.linalg.norm(free), rtol=1e-12)


def test_trainers_refuse_characters_that_there_are_not():
    cell = cells.make("elstm", n_inputs=3, n_units=5, seed=1)
    tokens, labels, counted, resets = stretch()
    for trainer in (
        FusedTrainer(cell, 3, batch=3, step_size=0.01),
        PlainTrainer(cell, 3, "rtrl", batch=3, step_size=1),
    ):
        for change, words in (
            ((tokens + 1, labels, counted), "tokens must lie in -1 .. 2, got 1 .. 3"),
            ((tokens, labels - 2, counted), "labels must lie in 0 .. 2, got -2 .. -1"),
            ((tokens * 0 - 1, labels, counted), "counted must be False where tokens are -1"),
        ):
            with pytest.raises(ValueError, match=words):
                trainer.run(*change, resets)
        with pytest.raises(ValueError, match="step_size must lie between 0 and inf"):
            trainer.run(tokens, labels, counted, resets, step_size=0.0)


@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning", "ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize("clip", [None, 1.0])
def test_a_plain_trainer_that_overflows_says_so(clip):
    cell = cells.make("elstm", n_inputs=3, n_units=4, dtype="float32")
    trainer = PlainTrainer(cell, 3, "tbptt", batch=3, step_size=1e30, clip=clip, k=3)
    with pytest.raises(FloatingPointError, match="must stay finite"):
        trainer.run(*stretch(150))


def test_the_fused_trainer_learns_as_the_plain_one_does():
    cell = cells.make("elstm", n_inputs=3, n_units=5, seed=1)
    fused = FusedTrainer(cell, 3, batch=3, step_size=0.01)
    plain = PlainTrainer(cell, 3, "rtrl", batch=3, step_size=0.01)
    tokens, targets, _, resets = stretch()
    counted = np.ones_like(resets)
    one, other = fused.run(tokens, targets, counted, resets), plain.run(tokens, targets, counted, resets)
    np.testing.assert_allclose(one.losses, other.losses, rtol=1e-5)  # sums and means differ by Adam's eps
    assert (one.right == other.right).all()
    assert 0 < one.right.sum() < one.right.size
    again = fused.evaluate(tokens, targets, counted, resets), plain.evaluate(tokens, targets, counted, resets)
    np.testing.assert_allclose(again[0].losses, again[1].losses, rtol=1e-4)


def test_another_step_size_keeps_the_weights_and_begins_the_rest_anew():
    cell = cells.make("elstm", n_inputs=3, n_units=5, seed=1)
    trainer = FusedTrainer(cell, 3, batch=3, step_size=0.01)
    trainer.run(*stretch())
    before = trainer.evaluate(*stretch()).losses
    assert trainer.run(*stretch(), step_size=1e-9).losses == pytest.approx(before, abs=1e-6)
    assert trainer.evaluate(*stretch()).losses == pytest.approx(before, abs=1e-6)


@pytest.mark.parametrize("name", methods.METHODS)
def test_every_method_trains(name):
    trainer = methods.trainer(name, **SIZES)
    some = stretch()
    before = trainer.evaluate(*some).losses
    options = {"every": methods.METHODS[name].every} if isinstance(trainer, MaskedGruTrainer) else {}
    for _ in range(60):
        trainer.run(*some, **options)
    assert trainer.evaluate(*some).losses.sum() < 0.9 * before.sum()


def test_methods_are_what_they_are_called():
    assert methods.trainer("snap-2", **SIZES).n == 2
    assert methods.trainer("rtrl", **SIZES).n == 6
    assert methods.trainer("rflo", **SIZES).learner.name == "rflo"
    assert methods.trainer("rflo", **SIZES).cell.tau == 2.0
    assert elstm_trainer("tbptt-5", n_tokens=3, n_units=4, batch=2, step_size=0.01, seed=0).learner.k == 5
    assert isinstance(elstm_trainer("rtrl", n_tokens=3, n_units=4, batch=2, step_size=0.01, seed=0), FusedTrainer)


@pytest.mark.parametrize("name", ["snap-copy", "snap-charlm", "elstm-copy"])
def test_a_method_that_a_study_does_not_know_is_refused_before_anything_runs(name):
    found = study.get(name)
    with pytest.raises(ValueError, match=r"method must be one of rtrl, .*, got 'kf-rtrl'"):
        found.cells(found.parameters("default", {"method": ["kf-rtrl"]}))


def test_an_update_schedule_that_is_unknown_is_refused():
    found = study.get("snap-copy")
    with pytest.raises(ValueError, match="update must be 'character' or 'sequence', got 'step'"):
        found.cells(found.parameters("default", {"update": "step"}))
    with pytest.raises(ValueError, match="update must be 'character' with rflo, got 'sequence'; set method without"):
        found.cells(found.parameters("default", {"update": "sequence"}))


@pytest.mark.parametrize(("n_runs", "said"), [(4, True), (5, False)])
def test_brackets_of_fewer_than_five_runs_are_not_called_intervals(n_runs, said):
    words = f"Brackets are the least and the largest of {n_runs} runs: 95% intervals take 5."
    rows = [copy_row(name, seed, 9 + seed, 1_000) for name in ("rtrl", "uoro") for seed in range(n_runs)]
    assert (words in snap_copy.answer(rows).text) == said
    values = [float(9 + seed) for seed in range(4)]
    assert methods.intervals(rows[:4], "longest")["rtrl"] == (10.5, min(values), max(values))


def test_a_text_that_is_not_there_is_refused_before_anything_runs(tmp_path):
    found = study.get("snap-charlm")
    with pytest.raises(ValueError, match=r"path must be standard-library or a text file, got '.*absent'"):
        found.cells(found.parameters("tiny", {"path": str(tmp_path / "absent")}))


def test_too_few_updates_for_the_points_of_a_curve_are_refused():
    found = study.get("elstm-copy")
    with pytest.raises(ValueError, match="n_updates must be at least 8000, got 7999"):
        found.cells(found.parameters("tiny", {"n_updates": 7_999}))


def test_a_run_is_that_of_its_seed():
    cell = snap_copy.cells(snap_copy.STUDY.parameters("tiny", {"method": ["uoro"], "n_characters": 2_000}))[0]
    assert snap_copy.run(cell.parameters, 3) == snap_copy.run(cell.parameters, 3)
    assert snap_copy.run(cell.parameters, 3)["n_updates"] > 50


def test_updates_come_once_a_sequence_where_asked_for_and_with_bptt():
    def updates(method, update):
        changes = {"method": [method], "update": update, "n_characters": 320}
        (cell,) = snap_copy.cells(snap_copy.STUDY.parameters("tiny", changes))
        return snap_copy.run(cell.parameters, 0)["n_updates"]

    assert updates("snap-1", "character") == updates("snap-1", "sequence") == 10  # a character is said a sequence
    cell = snap_copy.cells(snap_copy.STUDY.parameters("tiny", {"method": ["snap-1"]}))[0]
    assert snap_copy._schedule({**cell.parameters, "update": "sequence"}) == {}
    assert snap_copy._schedule(cell.parameters) == {"every": 1}
    assert snap_copy._schedule({**cell.parameters, "method": "bptt"}) == {}


def copy_row(method, seed, longest, characters):
    curve = [[0, 1], *([characters * i, i + 1] for i in range(1, longest)), [10**6, longest]]
    return {"method": method, "seed": seed, "step_size": 1e-3, "longest": longest, "n_seen": 10**6, "n_updates": 9,
            "curve": curve}  # fmt: skip


def test_the_copying_is_answered_by_what_does_not_overlap_with_uoro():
    lengths = {"rtrl": (12, 13, 12), "snap-1": (8, 9, 7), "uoro": (7, 6, 7)}
    rows = [copy_row(name, seed, n, 1_000) for name, each in lengths.items() for seed, n in enumerate(each)]
    found = snap_copy.answer(rows)
    assert "RTRL 12 bits [12, 13] lies above UORO 7 [6, 7]." in found.text
    assert "SnAp-1 8 bits [7, 9] overlaps with UORO 7 [6, 7]." in found.text
    assert found.columns[-2:] == ("characters to L = 6", "characters to L = 9")
    assert [row[-1] for row in found.rows] == ["8,000", "-", "-"]


def test_the_language_model_is_answered_against_bptt():
    rows = [
        {"method": name, "seed": seed, "step_size": 1e-2, "bits": bits + 0.01 * seed, "n_seen": 1_000, "n_updates": 5,
         "curve": [[0, 6.6], [500, 4.0], [1_000, bits]], "n_text": [100, 10]}
        for name, bits in (("snap-1", 3.0), ("bptt", 3.5))
        for seed in range(3)
    ]  # fmt: skip
    found = snap_charlm.answer(rows)
    assert "SnAp-1 3.01 bits [3, 3.02] lies below BPTT 3.51 [3.5, 3.52]." in found.text
    assert found.rows[0][4:] == ("4.000", "3.010", "[3.000, 3.020]")


def test_the_elstm_is_answered_by_success():
    rows = [
        {"method": name, "seed": 0, "longest": 50, "success": success, "bits": 0.1, "best": success, "n_steps": 100,
         "cpu_s": 90.0, "curve": [[0, 0.0], [100, success]]}
        for name, success in (("rtrl", 1.0), ("tbptt-10", 0.25))
    ]  # fmt: skip
    found = elstm_copy.answer(rows)
    assert "1 to 50 bits" in found.text
    assert "RTRL 100.0% [100.0%, 100.0%], T-BPTT 10 25.0%" in found.text
    assert found.rows[0][-1] == "1.5 min"


def test_a_step_curve_keeps_its_value_and_another_leads_straight():
    curve, grid = [[0, 1], [10, 2], [20, 4]], np.array([0.0, 9.0, 10.0, 15.0, 30.0])
    assert plots._at(grid, curve, steps=True).tolist() == [1, 1, 2, 2, 4]
    np.testing.assert_allclose(plots._at(grid, curve, steps=False), [1, 1.9, 2, 3, 4])
