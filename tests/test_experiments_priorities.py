"""The default groups draw as exact prioritized replay does, on what agents leave and on what they were not made for."""

import pytest

from experiments.priorities import DISTRIBUTIONS, masses, measured
from tests.test_amper_law import MASSES, N

DEFAULT = ("amper-fr", {})
PAPER = ("amper-fr", {"grouping": "linear"})
AS_WIDE = ("amper-fr", {"grouping": "linear", "lam": 0.5})


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_the_default_groups_stray_little_from_per_on_every_distribution(distribution):
    found = measured(distribution, {"default": DEFAULT, "paper": PAPER}, n=5_000, n_samplings=6_000)
    assert found["default"]["kl"] < 0.004
    assert found["default"]["kl"] < found["paper"]["kl"] + 0.002


def test_on_masses_spread_evenly_they_stray_hardly_more_than_linear_groups_that_search_as_wide():
    found = measured("U[0,1]", {"default": DEFAULT, "linear": AS_WIDE}, n=10_000, n_samplings=10_000)
    assert found["default"]["kl"] <= max(2 * found["linear"]["kl"], found["linear"]["kl"] + 0.001)


@pytest.mark.parametrize(("distribution", "quantiles"), [*zip(DISTRIBUTIONS, MASSES.values(), strict=True)])
def test_the_distributions_are_those_of_the_table_of_divergences(distribution, quantiles):
    assert masses(distribution, N) == pytest.approx(quantiles / quantiles.max(), rel=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize(("env", "least"), [("CartPole-v1", 0.02), ("LunarLander-v3", 0.02)])
def test_on_the_priorities_of_a_trained_agent_the_default_draws_as_per_where_linear_groups_do_not(env, least):
    if env == "LunarLander-v3":
        pytest.importorskip("Box2D")
    found = measured(env, {"default": DEFAULT, "paper": PAPER}, n=20_000)
    assert found["default"]["kl"] < 0.005
    assert found["paper"]["kl"] > least
