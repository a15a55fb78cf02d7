"""Updates: each optimiser against its formula written out, sums over k losses, clipping, and that they learn."""

import math

import numpy as np
import pytest

from rl import cells, learners
from rl.optimisers import Adam, RmsProp, Sgd
from rl.updates import Updates


def naive_sgd(theta, gradients, lr):
    for g in gradients:
        theta = [w - lr * d for w, d in zip(theta, g, strict=True)]
    return theta


def naive_rmsprop(theta, gradients, lr, decay=0.9, eps=1e-3, initial=1.0):
    v = [initial] * len(theta)
    for g in gradients:
        v = [decay * a + (1 - decay) * d * d for a, d in zip(v, g, strict=True)]
        theta = [w - lr * d / (math.sqrt(a) + eps) for w, d, a in zip(theta, g, v, strict=True)]
    return theta


def naive_adam(theta, gradients, lr, beta1=0.9, beta2=0.99, eps=1e-8):
    m, v = [0.0] * len(theta), [0.0] * len(theta)
    for t, g in enumerate(gradients, 1):
        m = [beta1 * a + (1 - beta1) * d for a, d in zip(m, g, strict=True)]
        v = [beta2 * a + (1 - beta2) * d * d for a, d in zip(v, g, strict=True)]
        theta = [
            w - lr * (a / (1 - beta1**t)) / (math.sqrt(b / (1 - beta2**t)) + eps)
            for w, a, b in zip(theta, m, v, strict=True)
        ]
    return theta


class Given:
    """A learner whose gradients are given."""

    def __init__(self, theta):
        self.theta = np.array(theta)
        self.n_steps = 1

    def gradient(self, dl_dh):
        return np.asarray(dl_dh)


OPTIMISERS = [
    (Sgd(), naive_sgd),
    (RmsProp(decay=0.9, eps=1e-3, initial=1.0), naive_rmsprop),
    (Adam(beta2=0.99), naive_adam),
]


@pytest.mark.parametrize(("optimiser", "naive"), OPTIMISERS)
@pytest.mark.parametrize("every", [1, 3])
def test_updates_are_the_formula_over_sums_of_k_gradients(optimiser, naive, every):
    rng = np.random.default_rng(0)
    theta, gradients = rng.normal(size=5), rng.normal(size=(12, 5))
    learner = Given(theta)
    updates = Updates(learner, optimiser=optimiser, step_size=0.05, every=every)
    assert [updates.add(g) for g in gradients] == [t % every == every - 1 for t in range(12)]
    sums = gradients.reshape(-1, every, 5).sum(axis=1)
    np.testing.assert_allclose(learner.theta, naive(list(theta), sums.tolist(), 0.05), rtol=1e-12)
    assert updates.n_updates == 12 // every


@pytest.mark.parametrize("norm", [0.5, 3.0, 1e200])
def test_clipping_scales_the_summed_gradient_to_the_norm(norm):
    learner = Given(np.zeros(4))
    Updates(learner, step_size=1.0, clip=2.0).add(np.full(4, norm / 2))
    assert np.linalg.norm(learner.theta) == pytest.approx(min(norm, 2.0), rel=1e-14)


def test_a_gradient_of_zeros_is_not_clipped_to_nan():
    learner = Given(np.ones(3))
    Updates(learner, clip=1.0).add(np.zeros(3))
    assert (learner.theta == 1.0).all()


@pytest.mark.parametrize("size", [1, 1000])
@pytest.mark.parametrize("entry", [1e-44, 1e-20, 1.0, 2e37, 3e38])
def test_clipping_in_float32_does_not_overflow_and_keeps_the_direction(size, entry):
    learner = Given(np.zeros(size, np.float32))
    Updates(learner, step_size=1.0, clip=1.0).add(np.full(size, entry, np.float32))
    entry = float(np.float32(entry))
    expected = entry * min(1.0, 1.0 / (entry * math.sqrt(size)))
    np.testing.assert_allclose(learner.theta, np.full(size, -expected), rtol=1e-5)
    assert learner.theta.dtype == np.float32


@pytest.mark.parametrize(
    ("optimiser", "bad", "kind"),
    [
        (RmsProp, {"decay": 1.0}, ValueError),
        (RmsProp, {"decay": -0.1}, ValueError),
        (RmsProp, {"decay": math.nan}, ValueError),
        (RmsProp, {"decay": "a"}, TypeError),
        (RmsProp, {"eps": 0.0}, ValueError),
        (RmsProp, {"eps": math.inf}, ValueError),
        (RmsProp, {"eps": None}, TypeError),
        (RmsProp, {"initial": -1.0}, ValueError),
        (RmsProp, {"initial": math.inf}, ValueError),
        (RmsProp, {"initial": True}, TypeError),
        (Adam, {"beta1": 1.0}, ValueError),
        (Adam, {"beta2": [0.9]}, TypeError),
        (Adam, {"eps": math.inf}, ValueError),
        (Adam, {"eps": math.nan}, ValueError),
        (Adam, {"eps": "1e-8"}, TypeError),
    ],
)
def test_optimisers_refuse_parameters_out_of_range(optimiser, bad, kind):
    with pytest.raises(kind, match=f"{next(iter(bad))} must be .*got"):
        optimiser(**bad)


@pytest.mark.parametrize("cell", cells.available())
@pytest.mark.parametrize("learner", ["rtrl", "uoro"])
@pytest.mark.parametrize("every", [1, 4])
def test_eight_streams_learn_a_running_mean(cell, learner, every):
    # The first unit is to follow the running mean of what it sees.
    rng = np.random.default_rng(0)
    made = learners.make(learner, cells.make(cell, n_inputs=1, n_units=8, seed=3), batch=8)
    updates = Updates(made, optimiser=Adam(), step_size=0.01, every=every, clip=1.0)
    last, losses = np.zeros(8), []
    for _ in range(700):
        x = rng.choice([-0.5, 0.5], size=(8, 1))
        h = made.step(x)
        last = 0.8 * last + 0.2 * x[:, 0]
        miss = np.zeros_like(h)
        miss[:, 0] = h[:, 0] - last
        losses.append((miss**2).sum() / 8)
        updates.add(miss)
    before, after = np.mean(losses[:100]), np.mean(losses[-100:])
    print(f"{cell} {learner} every {every}: {before:.3f} -> {after:.3f}")
    assert after < 0.7 * before
