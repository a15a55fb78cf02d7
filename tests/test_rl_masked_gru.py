"""The compiled masked GRU against the plain learners: the same weights after the same steps."""

import copy

import numpy as np
import pytest

from rl import cells, learners
from rl.environments.copy_task import CopyStreams, CurriculumCopy
from rl.masked_gru import MaskedGruTrainer
from rl.optimisers import Adam, Sgd
from rl.streams import stream
from tests.rl_cases import error

N, B, CLASSES = 7, 3, 2
METHODS = [("rtrl", {}), ("snap", {"n": 1}), ("snap", {"n": 2}), ("snap", {"n": 3}), ("uoro", {}), ("bptt", {})]


def make(method, options, *, density=0.4, seed=4, dtype="float64", **more):
    cell = cells.make("gru", n_inputs=3, n_units=N, density=density, seed=seed, dtype=dtype)
    return MaskedGruTrainer(cell, CLASSES, method, batch=B, step_size=0.01, seed=5, **options, **more)


class Plain:
    """A plain learner, its readout, and Adam over both."""

    def __init__(self, trainer, method, options):
        self.cell = trainer.cell
        self.learner = learners.make(method, self.cell, batch=B, seed=5, **options)
        self.out = trainer.weights[self.cell.n_params :].copy()
        self.adam, self.n_updates = Adam(), 0
        self.moments = self.adam.start(trainer.weights)
        self.total = np.zeros_like(trainer.weights)

    def run(self, stretch, every):
        tokens, targets, counted, resets = stretch
        losses, n_counted = np.zeros(tokens.shape), 0
        for t in range(len(tokens)):
            if resets[t].any():
                self.learner.reset(resets[t])
            h = self.learner.step(np.eye(3)[np.maximum(tokens[t], 0)])
            v, bias = self.out[: CLASSES * N].reshape(CLASSES, N), self.out[CLASSES * N :]
            logits = h @ v.T + bias
            chance = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
            one_hot = np.eye(CLASSES)[np.where(counted[t], targets[t], 0)]
            losses[t] = np.where(counted[t], -np.log((chance * one_hot).sum(axis=1)), 0)
            error = (chance - one_hot) * counted[t][:, None] / B
            of_out = np.concatenate([(error.T @ h).ravel(), error.sum(axis=0)])
            self.total += np.concatenate([self.learner.gradient(error @ v), of_out])
            n_counted += counted[t].sum()
            if (t + 1) % every == 0 or t == len(tokens) - 1:
                n_counted = 0 if self.update(n_counted) else n_counted
        return losses

    def update(self, n_counted):
        if not n_counted:
            self.total[:] = 0
            return False
        self.n_updates += 1
        weights = np.concatenate([self.learner.theta, self.out])
        weights, self.moments = self.adam.advance(weights, self.total, self.moments, self.n_updates, 0.01)
        self.learner.theta[:], self.out = weights[: self.cell.n_params], weights[self.cell.n_params :]
        self.total[:] = 0
        return True


def signs(n_steps, rng):
    return np.array([2.0 * rng.integers(0, 2, (B, 1, N))[:, 0] - 1 for _ in range(n_steps)])


@pytest.mark.nojit
@pytest.mark.parametrize(("method", "options"), METHODS)
@pytest.mark.parametrize("every", [1, 3, None])
@pytest.mark.parametrize("density", [0.4, 1.0])
def test_it_learns_as_the_plain_learner_does(method, options, every, density):
    if method == "bptt" and every is not None:
        pytest.skip("the plain one goes back beyond the last update")
    trainer = make(method, options, density=density)
    plain, rng = Plain(trainer, method, options), stream(5, "learner/uoro")
    task = CopyStreams(batch=B, longest=3, seed=6)
    for n_steps in (8, 5, 11):
        stretch = task.take(n_steps)
        if method == "bptt":
            stretch.resets[0] = True
        more = {"signs": signs(n_steps, rng)} if method == "uoro" else {}
        losses = trainer.run(*stretch, every=every, **more).losses
        np.testing.assert_allclose(losses, plain.run(stretch, every or n_steps), rtol=1e-9, atol=1e-12)
    weights = np.concatenate([plain.learner.theta, plain.out])
    np.testing.assert_allclose(trainer.weights, weights, rtol=1e-8, atol=1e-10)
    assert trainer.n_updates == plain.n_updates > 0


@pytest.mark.parametrize(("dtype", "limit"), [("float64", 1e-12), ("float32", 1e-5)])
@pytest.mark.parametrize(("method", "options"), [METHODS[0], METHODS[1], METHODS[4], METHODS[5]])
def test_a_thousand_steps_are_those_of_the_plain_learner(method, options, dtype, limit):
    trainer = make(method, options, dtype=dtype)
    plain, rng = Plain(trainer, method, options), stream(5, "learner/uoro")
    task, losses, expected = CopyStreams(batch=B, longest=3, seed=6), [], []
    for _ in range(50):
        stretch = task.take(20)
        if method == "bptt":
            stretch.resets[0] = True
        every = 20 if method == "bptt" else 1
        nus = signs(20, rng) if method == "uoro" else None
        losses.append(trainer.run(*stretch, every=every, signs=nus).losses)
        expected.append(plain.run(stretch, every))
    assert error(np.concatenate(losses), np.concatenate(expected)) < limit
    assert error(trainer.weights, np.concatenate([plain.learner.theta, plain.out])) < limit


def test_updates_on_the_way_are_those_of_as_many_runs():
    for method, options in METHODS:
        one, many = make(method, options), make(method, options)
        stretch = CopyStreams(batch=B, longest=3, seed=6).take(19)
        nus = signs(19, stream(5, "learner/uoro"))
        losses = one.run(*stretch, every=8, signs=nus).losses
        parts = [[a[t : t + 8] for a in (*stretch, nus)] for t in (0, 8, 16)]
        again = [many.run(*part[:4], signs=part[4]).losses for part in parts]
        np.testing.assert_array_equal(losses, np.concatenate(again))
        np.testing.assert_array_equal(one.weights, many.weights)


def test_bptt_goes_back_to_the_last_update_and_no_further():
    trainer, task = make("bptt", {}), CopyStreams(batch=B, longest=3, seed=6)
    before, window = task.take(7), task.take(5)
    trainer.run(*before._replace(copying=np.zeros_like(before.copying)))  # the state goes on, nothing is learned
    found = copy.deepcopy(trainer)
    found.run(*window)
    gradient = found._moments[0] / (1 - found.optimiser.beta1)

    def loss(p, change):
        other = copy.deepcopy(trainer)
        other.weights[p] += change
        return other.run(*window).losses.sum() / B

    differences = [(loss(p, 1e-5) - loss(p, -1e-5)) / 2e-5 for p in range(len(gradient))]
    np.testing.assert_allclose(gradient, differences, rtol=1e-6, atol=1e-9)
    assert np.abs(gradient).max() > 0.01


def test_its_own_signs_are_those_of_the_plain_learner():
    one, other = make("uoro", {}), make("uoro", {})
    rng, task = stream(5, "learner/uoro"), CopyStreams(batch=B, longest=3, seed=6)
    for n_steps in (5, 4):
        stretch = task.take(n_steps)
        one.run(*stretch)
        other.run(*stretch, signs=signs(n_steps, rng))
    np.testing.assert_array_equal(one.weights, other.weights)


@pytest.mark.parametrize(("method", "options"), METHODS)
def test_what_comes_after_a_pause_does_not_depend_on_how_long_it_was(method, options):
    trainers = [make(method, options) for _ in range(2)]
    task = CurriculumCopy(batch=B, seed=2)
    task.longest = 4
    for _ in range(4):
        short = task.take()
        longer = [
            np.concatenate([a, np.full((3, B), fill)]) for a, fill in zip(short, (-1, 2, False, False), strict=True)
        ]
        nus = np.ones((len(longer[0]), B, N))
        trainers[0].run(*short, signs=nus[:-3])
        trainers[1].run(*longer, signs=nus)
    np.testing.assert_array_equal(trainers[0].weights, trainers[1].weights)


def test_evaluating_changes_nothing_and_scores_as_running_does():
    trainer, other = make("snap", {}), make("snap", {})
    stretch = CopyStreams(batch=B, longest=3, seed=6).take(12)
    before = trainer.weights.copy()
    scores = trainer.evaluate(*stretch)
    np.testing.assert_array_equal(trainer.weights, before)
    learned = other.run(*stretch)
    np.testing.assert_array_equal(scores.losses, learned.losses)
    np.testing.assert_array_equal(scores.right, learned.right)
    assert 0 < scores.right.sum() < stretch.copying.sum()
    np.testing.assert_array_equal(trainer.run(*stretch).losses, learned.losses)


def test_nothing_is_updated_where_nothing_is_counted():
    trainer = make("rtrl", {})
    tokens = np.zeros((4, B), np.int64)
    nothing = np.zeros((4, B), bool)
    before = trainer.weights.copy()
    trainer.run(tokens, tokens, nothing, nothing, every=1)
    np.testing.assert_array_equal(trainer.weights, before)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"tokens": 3}, "tokens must lie in -1 .. 2"),
        ({"labels": 2}, "labels must lie in 0 .. 1"),
        ({"tokens": -1}, "counted must be False where tokens are -1"),
    ],
)
def test_data_out_of_range_is_refused(change, words):
    data = {"tokens": 0, "labels": 0} | change
    whole = {name: np.full((2, B), value) for name, value in data.items()}
    with pytest.raises(ValueError, match=words):
        make("rtrl", {}).run(**whole, counted=np.ones((2, B), bool), resets=np.zeros((2, B), bool))


def test_shapes_methods_and_other_cells_are_refused():
    trainer, ones = make("rtrl", {}), np.ones((2, B), bool)
    with pytest.raises(ValueError, match=r"tokens must be \[T, B\]"):
        trainer.run(np.zeros((2, B), int), np.zeros((3, B), int), ones, ones)
    with pytest.raises(ValueError, match="every must be at least 1"):
        trainer.run(np.zeros((2, B), int), np.zeros((2, B), int), ones, ones, every=0)
    with pytest.raises(ValueError, match="method must be one of rtrl"):
        make("rflo", {})
    with pytest.raises(TypeError, match="cell must be a GRU, got 'lstm'"):
        MaskedGruTrainer(cells.make("lstm", n_inputs=3, n_units=4), 2, "rtrl", batch=1, step_size=0.1)


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        ({"n_streams": B + 1}, ValueError, "tokens must be of 3 streams, the trainer's batch, got 4"),
        ({"n_streams": 1}, ValueError, "tokens must be of 3 streams, the trainer's batch, got 1"),
        ({"tokens": np.full((2, B), 0.7)}, TypeError, "tokens must hold whole numbers, got float64"),
        ({"tokens": np.full((2, B), 2**64 - 1, np.uint64)}, ValueError, r"tokens must lie in -1 .. 2, got 1844"),
        ({"tokens": [[0], [0, 1]]}, ValueError, "tokens must be an array, got rows of different lengths"),
        ({"counted": np.ones((2, B), int)}, TypeError, "counted must hold True or False, got int64"),
        ({"signs": np.ones((2, B, N - 1))}, ValueError, r"signs must have shape \(2, 3, 7\), got \(2, 3, 6\)"),
        ({"signs": np.zeros((2, B, N))}, ValueError, "signs must be 1 or -1, got 0.0"),
    ],
)
def test_refused_data_change_nothing(change, kind, words):
    trainer, twin = make("uoro", {}), make("uoro", {})
    shape = (2, change.pop("n_streams", B))
    data = {name: np.zeros(shape, int) for name in ("tokens", "labels")}
    data |= {name: np.zeros(shape, bool) for name in ("counted", "resets")}
    with pytest.raises(kind, match=words):
        trainer.run(**(data | change))
    stretch = CopyStreams(batch=B, longest=3, seed=6).take(6)
    np.testing.assert_array_equal(trainer.run(*stretch).losses, twin.run(*stretch).losses)
    np.testing.assert_array_equal(trainer.weights, twin.weights)  # the signs drawn were the same


def test_an_optimiser_that_is_no_adam_is_refused():
    with pytest.raises(TypeError, match=r"optimiser must be an Adam of rl.optimisers, got Sgd\(\)"):
        make("snap", {}, optimiser=Sgd())


def test_weights_that_overflow_are_refused():
    trainer = make("rtrl", {})
    trainer.weights[0] = np.nan
    with pytest.raises(FloatingPointError, match="weights and state must stay finite"):
        trainer.run(*CopyStreams(batch=B, longest=3, seed=6).take(4))


def test_snap_1_learns_to_copy_two_bits():
    cell = cells.make("gru", n_inputs=3, n_units=16, dtype="float32", seed=0)
    trainer = MaskedGruTrainer(cell, 2, "snap", batch=16, step_size=0.01)
    task = CurriculumCopy(batch=16, seed=0)
    for _ in range(1_500):
        stretch = task.take()
        scores = trainer.run(*stretch, every=1)
        task.grow(float(scores.losses[stretch.copying].mean() / np.log(2.0)))
    assert task.longest > 2
