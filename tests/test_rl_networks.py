"""The parameter vector's layout, its initial values, Adam's coefficients, schedules, and named streams."""

from __future__ import annotations

import math

import numpy as np
import pytest

from amper.schedules import Linear
from rl.networks import Mlp
from rl.optimisers import Adam
from rl.streams import derived_seed, stream
from tests.naive import dqn as naive


def test_views_lie_where_the_naive_network_reads_them() -> None:
    net = Mlp((4, 3, 5, 2))
    theta = np.arange(net.n_params, dtype=np.float32)
    views = net.views(theta)
    for layer, (weight, bias) in enumerate(naive.layers(theta, net.sizes)):
        np.testing.assert_array_equal(views[f"weight{layer}"], weight)
        np.testing.assert_array_equal(views[f"bias{layer}"], bias)
    views["weight1"][0, 0] = -1.0
    assert (theta == -1.0).sum() == 1


def test_initial_values_fill_plus_minus_one_over_root_n_in() -> None:
    net = Mlp((16, 400, 3))
    theta = net.init(np.random.default_rng(0))
    assert theta.dtype == np.float32
    for name, n_in in (("weight0", 16), ("bias0", 16), ("weight1", 400), ("bias1", 400)):
        scaled = np.abs(net.views(theta)[name]) * math.sqrt(n_in)
        assert scaled.max() <= 1.0 + 1e-6
        assert scaled.size < 100 or scaled.max() > 0.95


@pytest.mark.parametrize("sizes", [(), (4,), (4, 0, 2), (4, -1)])
def test_a_network_without_units_is_refused(sizes: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="sizes must be"):
        Mlp(sizes)


def test_views_of_a_vector_of_another_length_are_refused() -> None:
    with pytest.raises(ValueError, match=r"theta must have shape \(10,\)"):
        Mlp((4, 2)).views(np.zeros(9))


@pytest.mark.parametrize("bad", [{"beta1": 1.0}, {"beta2": -0.1}, {"eps": 0.0}, {"eps": math.nan}])
def test_adam_refuses_parameters_out_of_range(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(bad))} must be"):
        Adam(**bad)


def test_a_linear_schedule_is_exact_at_both_ends_and_stays_at_the_second() -> None:
    line = Linear(1.0, 0.04, 9_600)
    assert (line(0), line(9_600), line(10**9)) == (1.0, 0.04, 0.04)
    assert line(4_800) == pytest.approx(0.52)
    assert Linear(1.0, 0.5, 0)(0) == 0.5


@pytest.mark.parametrize("make", [lambda: Linear(math.nan, 0.0, 3), lambda: Linear(0.0, math.inf, 3)])
def test_schedules_refuse_values_that_are_not_finite(make) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match="must be finite"):
        make()


def test_schedules_refuse_negative_lengths() -> None:
    with pytest.raises(ValueError, match="n_steps must be at least 0"):
        Linear(0.0, 1.0, -1)


def test_streams_differ_by_name_and_by_seed_and_repeat_otherwise() -> None:
    numbers = {(seed, name): stream(seed, name).random() for seed in (0, 1) for name in ("a", "b")}
    assert len(set(numbers.values())) == 4
    assert stream(1, "b").random() == numbers[1, "b"]
    assert derived_seed(0, "a") == derived_seed(0, "a") != derived_seed(0, "b")
    assert 0 <= derived_seed(3, "c") < 2**31
