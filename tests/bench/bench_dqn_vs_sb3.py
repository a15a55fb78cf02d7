"""DQN against stable-baselines3's DQN on the same settings: processor time a learning step, in one process.

`python tests/bench/bench_dqn_vs_sb3.py` prints the table. CartPole-v1; from step 500 on, one update of 64
transitions a step; two hidden layers; plain DQN targets, which is what stable-baselines3 has; the same
exploration. Neither side evaluates. stable-baselines3 replays uniformly, ours by each named sampler; one line
more has our double targets, a third forward pass. Torch runs once with the threads it chooses and once with
one; ratios are to the better of the two.

Time is `time.process_time`, so a second busy core is paid for. Every contender takes its turn in each repeat,
with a fresh seed. The figure is the median over repeats of (a run of 3,000 steps - one of 500) / 2,500, which
leaves out what is paid once. Two floors beside it: the environment alone under random actions, and the matrix
products of one plain update alone.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial
from itertools import islice, pairwise
from typing import NamedTuple

import numpy as np
import pytest

STARTS = 500
N_STEPS = 3_000
BATCH = 64
REPEATS = 5
REPLAYS = ("uniform", "per", "amper-fr")


class Row(NamedTuple):
    """One line of the table; `ratio` is the better stable-baselines3's time over this one's."""

    width: int
    contender: str
    us: float
    ratio: float


def seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def ours(replay: str, double: bool, width: int, n_steps: int, seed: int) -> None:
    import amper
    from rl import agents, blas, interaction

    env = interaction.open_env("CartPole-v1")
    spaces = interaction.spaces_of(env)
    agent = agents.make(
        "dqn",
        spaces=spaces,
        make_replay=partial(amper.ReplayBuffer.for_env, spaces, 20_000, sampler=replay, seed=seed),
        n_steps=N_STEPS,
        seed=seed,
        options={
            "hidden": (width, width),
            "double": double,
            "batch_size": BATCH,
            "train_every": 1,
            "n_updates": 1,
            "learning_starts": STARTS,
            "epsilon_fraction": 0.1,
            "epsilon_end": 0.05,
            "lr": 1e-4,
            "target_every": 500,
        },
    )
    with blas.single_threaded():
        for step in islice(interaction.steps(env, agent.act, seed=seed), n_steps):
            agent.observe(step)


def theirs(n_threads: int, width: int, n_steps: int, seed: int) -> None:
    import gymnasium
    import torch
    from stable_baselines3 import DQN

    torch.set_num_threads(n_threads)
    model = DQN(
        "MlpPolicy",
        gymnasium.make("CartPole-v1", disable_env_checker=True),
        learning_rate=1e-4,
        buffer_size=20_000,
        learning_starts=STARTS,
        batch_size=BATCH,
        train_freq=1,
        gradient_steps=1,
        target_update_interval=500,
        exploration_fraction=0.1 * N_STEPS / n_steps,
        policy_kwargs={"net_arch": [width, width]},
        seed=seed,
        device="cpu",
    )
    model.learn(n_steps)


def environment_alone() -> None:
    import gymnasium

    env = gymnasium.make("CartPole-v1", disable_env_checker=True)
    env.reset(seed=0)
    for action in np.random.default_rng(0).integers(0, 2, N_STEPS).tolist():
        _, _, terminated, truncated, _ = env.step(action)
        if terminated or truncated:
            env.reset()


def products_alone(width: int) -> None:
    """Run the products of DQN's update alone: two forward passes, one backward."""
    from scipy.linalg.blas import sgemm

    from rl import blas

    rng = np.random.default_rng(0)
    forward, backward = [], []
    for n_in, n_out in pairwise((4, width, width, 2)):
        x, w, d = (rng.random(shape, np.float32) for shape in ((BATCH, n_in), (n_in, n_out), (BATCH, n_out)))
        # BLAS counts by columns: out.T = b.T a.T
        forward.append(partial(sgemm, 1.0, w.T, x.T, c=np.empty_like(d).T, overwrite_c=1))
        backward.append(partial(sgemm, 1.0, w.T, d.T, c=np.empty_like(x).T, overwrite_c=1, trans_a=1))
        backward.append(partial(sgemm, 1.0, d.T, x.T, c=np.empty_like(w).T, overwrite_c=1, trans_b=1))
    products = forward * 2 + backward[1:]  # nothing asks for the derivative by the observations
    with blas.single_threaded():
        for _ in range(N_STEPS):
            for product in products:
                product()


def measure(widths: tuple[int, ...] = (64, 256), repeats: int = REPEATS) -> list[Row]:
    """Return the table, microseconds of processor time a learning step."""
    import torch

    contenders: dict[str, Callable[[int, int, int], None]] = {
        f"ours, {replay}": partial(ours, replay, False) for replay in REPLAYS
    }
    contenders["ours, per, double"] = partial(ours, "per", True)
    for n in sorted({1, torch.get_num_threads()}):
        contenders[f"stable-baselines3, torch threads {n}"] = partial(theirs, n)
    rows = []
    for width in widths:
        taken: dict[str, list[float]] = {name: [] for name in contenders}
        for run in contenders.values():
            run(width, STARTS + 50, 0)  # compiles
        for seed in range(1, repeats + 1):
            for name, run in contenders.items():
                short, long = (seconds(partial(run, width, n, seed)) for n in (STARTS, N_STEPS))
                taken[name].append((long - short) / (N_STEPS - STARTS) * 1e6)
        found = {name: statistics.median(us) for name, us in taken.items()}
        best = min(us for name, us in found.items() if name.startswith("stable"))
        for name, floor in (
            ("floor: environment alone", environment_alone),
            ("floor: matrix products alone", partial(products_alone, width)),
        ):
            found[name] = min(seconds(floor) for _ in range(3)) / N_STEPS * 1e6
        rows += [Row(width, name, us, best / us) for name, us in found.items()]
    return rows


@pytest.mark.bench
def test_bench_dqn_against_stable_baselines3() -> None:
    pytest.importorskip("stable_baselines3")
    assert {row.width for row in measure(widths=(64,), repeats=1)} == {64}


if __name__ == "__main__":
    for row in measure():
        print(f"{row.width:>4}  {row.contender:<36} {row.us:>8.1f} us  x{row.ratio:.1f}")
