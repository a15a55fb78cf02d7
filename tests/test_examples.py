"""The worked examples run, fit on a few pages, and learn."""

import inspect
import statistics

import pytest

pytest.importorskip("torch")

import torch

from tests.examples import cleanrl_dqn


@pytest.fixture(autouse=True)
def one_thread():
    n = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n)


SHORT = ["--total-timesteps", "3000", "--learning-starts", "500", "--eval-episodes", "3"]


@pytest.mark.parametrize(
    "arguments",
    [["--replay", "per"], ["--replay", "amper-fr", "--num-envs", "4", "--n-step", "3"]],
    ids=" ".join,
)
def test_a_short_run_of_dqn_reports_what_it_returns(arguments, capsys):
    mean = cleanrl_dqn.main([*SHORT, *arguments])
    lines = capsys.readouterr().out.splitlines()
    assert f"{arguments[1]}  seed 0: mean return of the greedy policy {mean:.1f}" in lines[-1]
    assert 8 <= mean <= 500
    assert any("episode    20  mean return" in line for line in lines[:-1])


def test_the_same_seed_gives_the_same_run():
    assert cleanrl_dqn.main([*SHORT, "--seed", "3"]) == cleanrl_dqn.main([*SHORT, "--seed", "3"])


def test_an_unknown_replay_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="amper-fr"):
        cleanrl_dqn.main(["--replay", "nonsense"])


def test_an_example_fits_on_a_few_pages():
    assert len(inspect.getsource(cleanrl_dqn).splitlines()) < 200


@pytest.mark.slow
@pytest.mark.parametrize("replay", ["per", "amper-fr"])
def test_dqn_learns_cartpole_in_30000_steps(replay):
    returns = [cleanrl_dqn.main(["--replay", replay, "--seed", str(seed)]) for seed in range(3)]
    assert statistics.median(returns) >= 400
