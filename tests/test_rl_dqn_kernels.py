"""The compiled update against the naive one, against central differences, and against planted mistakes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from rl._kernels import dqn as kernels
from rl.networks import Mlp
from rl.optimisers import Adam
from tests.naive import dqn as naive


class Case:
    """Random weights and a random batch, in one float type."""

    def __init__(self, seed: int, sizes: tuple[int, ...], n: int, dtype: Any, delta: float = 0.7) -> None:
        rng = np.random.default_rng(seed)
        self.net = Mlp(sizes)
        self.sizes = sizes
        self.delta = dtype(delta)
        self.theta, self.target = rng.normal(0.0, 0.8, (2, self.net.n_params)).astype(dtype)
        discount = 0.9 * (rng.random(n) < 0.7)
        self.batch = (
            rng.normal(size=(n, sizes[0])).astype(dtype),
            rng.integers(0, sizes[-1], n),
            rng.normal(size=n).astype(dtype),
            rng.normal(size=(n, sizes[0])).astype(dtype),
            discount.astype(dtype),
            rng.uniform(0.05, 1.0, n).astype(dtype),
        )
        self.work = np.full((2, n * self.net.n_units), np.nan, dtype)
        self.grad = np.full(self.net.n_params, np.nan, dtype)
        self.td_abs = np.full(n, np.nan, dtype)

    def kernel(self, double: bool, theta: Any = None) -> tuple[float, Any, Any]:
        theta = self.theta if theta is None else theta
        loss = kernels.td_gradient(
            theta,
            self.target,
            self.net.shape,
            self.batch,
            double,
            self.delta,
            self.work,
            self.grad,
            self.td_abs,
        )
        return loss, self.grad.copy(), self.td_abs.copy()

    def naive(self, double: bool, mistake: str = "") -> tuple[float, Any, Any]:
        return naive.td_gradient(self.theta, self.target, self.sizes, self.batch, double, float(self.delta), mistake)

    def margin(self, double: bool) -> float:
        return naive.margin(self.theta, self.target, self.sizes, self.batch, double, float(self.delta))


shapes = st.tuples(
    st.integers(1, 5),
    st.lists(st.integers(1, 7), max_size=3),
    st.integers(1, 4),
).map(lambda t: (t[0], *t[1], t[2]))
seeds = st.integers(0, 2**32 - 1)


@pytest.mark.nojit
@settings(deadline=None, max_examples=60)
@given(seed=seeds, sizes=shapes, n=st.integers(1, 6), double=st.booleans())
def test_gradient_equals_central_differences_of_the_loss(
    seed: int, sizes: tuple[int, ...], n: int, double: bool
) -> None:
    case = Case(seed, sizes, n, np.float64)
    assume(case.margin(double) > 1e-3)
    _, grad, _ = case.kernel(double)
    h = 1e-5
    numeric = np.empty_like(grad)
    for k in range(grad.size):
        theta = case.theta.copy()
        theta[k] += h
        above = case.kernel(double, theta)[0]
        theta[k] -= 2 * h
        numeric[k] = (above - case.kernel(double, theta)[0]) / (2 * h)
    np.testing.assert_allclose(grad, numeric, rtol=1e-7, atol=1e-8)


@pytest.mark.nojit
@settings(deadline=None, max_examples=60)
@given(seed=seeds, sizes=shapes, n=st.integers(1, 6), double=st.booleans(), wide=st.booleans())
def test_loss_gradient_and_td_errors_equal_the_naive_ones(
    seed: int, sizes: tuple[int, ...], n: int, double: bool, wide: bool
) -> None:
    case = Case(seed, sizes, n, np.float64 if wide else np.float32)
    assume(case.margin(double) > 1e-3)
    tolerance = 1e-12 if wide else 3e-5
    for found, wanted in zip(case.kernel(double), case.naive(double), strict=True):
        scale = 1.0 + float(np.abs(wanted).max())
        np.testing.assert_allclose(found, wanted, rtol=0, atol=tolerance * scale)


@pytest.mark.parametrize("mistake", naive.MISTAKES)
def test_a_planted_mistake_would_be_found(mistake: str) -> None:
    case = Case(5, (4, 6, 5, 3), 8, np.float32)
    case.batch[4][0] = 0.0
    _, grad, _ = case.kernel(True)
    np.testing.assert_allclose(grad, case.naive(True)[1], rtol=0, atol=1e-4)
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(grad, case.naive(True, mistake)[1], rtol=0, atol=1e-2)


def test_double_and_plain_targets_differ_and_each_is_its_own() -> None:
    case = Case(5, (4, 6, 5, 3), 8, np.float64)
    plain, double = case.kernel(False)[2], case.kernel(True)[2]
    assert not np.allclose(plain, double)
    np.testing.assert_allclose(plain, case.naive(False)[2])
    np.testing.assert_allclose(double, case.naive(True)[2])


def hyper(dtype: Any, t: int, lr: float, clip: float, delta: float, rate: float, adam: Adam) -> Any:
    return np.array([delta, clip, adam.beta1, adam.beta2, adam.eps, *adam.coefficients(t, lr), rate, 1e-30], dtype)


@pytest.mark.nojit
@settings(deadline=None, max_examples=40)
@given(seed=seeds, sizes=shapes, clip=st.sampled_from([1e-3, 0.5, 1e3]), wide=st.booleans())
def test_five_updates_clip_step_and_average_as_the_naive_ones_do(
    seed: int, sizes: tuple[int, ...], clip: float, wide: bool
) -> None:
    dtype = np.float64 if wide else np.float32
    case = Case(seed, sizes, 4, dtype)
    params = tuple(np.stack([case.theta, case.target, case.theta, *np.zeros((3, case.theta.size), dtype)]))
    theta, m, v = (params[k].astype(np.float64) for k in (0, 3, 4))
    average = theta.copy()
    adam = Adam(beta2=0.99)
    for t in range(1, 6):
        loss, norm = kernels.update(
            params,
            case.net.shape,
            case.batch,
            True,
            hyper(dtype, t, 0.01, clip, 0.7, 0.1, adam),
            case.work,
            case.td_abs,
        )
        grad = params[5].astype(np.float64)  # checked by the tests above
        assert np.isfinite(loss)
        np.testing.assert_allclose(norm, np.linalg.norm(grad), rtol=1e-5)
        theta, m, v = naive.adam(theta, m, v, t, naive.clipped(grad, clip), 0.01, adam.beta1, adam.beta2, adam.eps)
        average += 0.1 * (theta - average)
        for found, wanted in ((params[0], theta), (params[2], average), (params[3], m), (params[4], v)):
            np.testing.assert_allclose(found, wanted, rtol=1e-4 if not wide else 1e-9, atol=2e-6)
    np.testing.assert_array_equal(params[1], case.target)


@pytest.mark.parametrize("column", [0, 2, 3, 5])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_value_that_is_not_finite_changes_no_weight_and_shows_in_what_returns(column: int, bad: float) -> None:
    case = Case(3, (3, 5, 2), 4, np.float32)
    case.batch[4][:] = 0.9
    case.batch[column].flat[0] = bad
    params = tuple(np.stack([case.theta, case.target, case.theta, *np.zeros((3, case.theta.size), np.float32)]))
    loss, norm = kernels.update(
        params,
        case.net.shape,
        case.batch,
        True,
        hyper(np.float32, 1, 0.01, 10.0, 0.7, 0.1, Adam()),
        case.work,
        case.td_abs,
    )
    assert not (np.isfinite(loss) and np.isfinite(norm))
    for row, before in zip(params[:5], (case.theta, case.target, case.theta, 0.0, 0.0), strict=True):
        np.testing.assert_array_equal(row, np.broadcast_to(before, row.shape))


def test_moments_end_at_zero_and_never_as_denormals() -> None:
    case = Case(3, (3, 5, 2), 4, np.float32)
    params = tuple(np.stack([case.theta, case.target, case.theta, *np.zeros((3, case.theta.size), np.float32)]))
    params[3][:], params[4][:] = 1e-20, 1e-20
    case.batch[5][:] = 0.0  # weights of 0: the gradient is 0 and the moments only decay
    smallest = float(np.finfo(np.float32).tiny)
    for t in range(1, 1_500):
        coefficients = hyper(np.float32, t, 0.0, 10.0, 0.7, 0.0, Adam(beta2=0.9))
        kernels.update(params, case.net.shape, case.batch, True, coefficients, case.work, case.td_abs)
        for moment in (params[3], params[4]):
            assert ((moment == 0.0) | (np.abs(moment) >= smallest)).all()
    assert not params[3].any()
    assert not params[4].any()


@pytest.mark.nojit
@settings(deadline=None, max_examples=40)
@given(seed=seeds, sizes=shapes, n=st.integers(1, 6), epsilon=st.sampled_from([0.0, 0.3, 1.0]))
def test_epsilon_greedy_explores_where_its_uniforms_say_and_is_greedy_elsewhere(
    seed: int, sizes: tuple[int, ...], n: int, epsilon: float
) -> None:
    case = Case(seed, sizes, n, np.float64)
    uniforms = np.random.default_rng(seed).random((n, 2))
    actions = np.full(n, -1)
    kernels.epsilon_greedy(case.theta, case.net.shape, case.batch[0], case.work[0], epsilon, uniforms, actions)
    for i in range(n):
        q = naive.q_values(case.theta, case.sizes, case.batch[0][i])
        if uniforms[i, 0] < epsilon:
            assert actions[i] == int(uniforms[i, 1] * sizes[-1])
        else:
            assert q[actions[i]] >= q.max() - 1e-9
