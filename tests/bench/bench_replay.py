"""Replays side by side: step, sample, update, add at n = 1e4 .. 1e7, ours beside cpprb, rlox, tianshou; one thread.

`make bench`, or `pytest tests/bench/bench_replay.py -m bench --benchmark-json replay.json` and then
`python tests/bench/report_replay.py replay.json`. A buffer is full; priorities are exponential, at most 8, and new ones
gamma-distributed: what proportional sampling takes out, so that the stored ones stay exponential. A step is a sampling,
with rows and importance weights handed out, and an update of what was sampled. Every round is timed alone, and gets
priorities, and for an update slots, out of 4,096 different sets of them. `uniform` is ours without a structure: the
floor of the same interface.
"""

from __future__ import annotations

import gc
import itertools
import os

import numpy as np
import pytest

from tests.bench import contenders
from tests.bench.contenders import Cpprb, Ours, Rlox, Tianshou

os.environ.setdefault("OMP_NUM_THREADS", "1")
pytestmark = [pytest.mark.bench, pytest.mark.filterwarnings("ignore")]

SIZES = tuple(int(float(n)) for n in os.environ.get("REPLAY_BENCH_SIZES", "1e4 1e5 1e6 1e7").split())
FRACTIONS = (0.01, 0.05, 0.2, 0.5)
N_SETS, ROUNDS = 4_096, 4_000
CONTENDERS = {
    "uniform": lambda n, priorities: Ours(n, "uniform"),
    "per": lambda n, priorities: Ours(n, "per"),
    "rlox": lambda n, priorities: Rlox(n),
    "tianshou": lambda n, priorities: Tianshou(n),
    "cpprb": lambda n, priorities: Cpprb(n),
    **{
        f"amper-fr {fraction:.0%}": lambda n, priorities, f=fraction: Ours(
            n, "amper-fr", lam=contenders.lam_for(f, priorities)
        )
        for fraction in FRACTIONS
    },
}
PEERS = ("uniform", "per", "rlox", "tianshou", "cpprb")
AMPER = ("per", *(name for name in CONTENDERS if name.startswith("amper-fr")))


class Arena:
    """The full buffers of one size, made when first asked for."""

    def __init__(self, n: int) -> None:
        rng = np.random.default_rng(n)
        self.n = n
        self.obs = rng.normal(size=(n, 4)).astype(np.float32)
        self.priorities = np.minimum(rng.exponential(size=n), 8.0)
        self.made = {}

    def __getitem__(self, name):
        if name not in self.made:
            contender = CONTENDERS[name](self.n, self.priorities)
            contender.fill(self.obs, self.priorities)
            self.made[name] = contender
        return self.made[name]


@pytest.fixture(scope="module", params=SIZES, ids=lambda n: f"{n:.0e}")
def arena(request):
    made = Arena(request.param)
    yield made
    made.made.clear()
    gc.collect()


def sets_of(draw, b):
    """Return an endless supply of `N_SETS` different arrays."""
    return itertools.cycle(list(draw((N_SETS, b))))


def measure(benchmark, arena, op, name, b, target, *supplies):
    benchmark.extra_info.update(n=arena.n, op=op, contender=name, batch_size=b)
    benchmark.pedantic(
        target, setup=lambda: (tuple(map(next, supplies)), {}), rounds=ROUNDS, iterations=1, warmup_rounds=100
    )


def priorities_of(b):
    rng = np.random.default_rng(b)
    return sets_of(lambda shape: np.minimum(rng.gamma(1.0 + contenders.ALPHA, size=shape), 8.0), b)


def measure_steps(benchmark, arena, op, name, b):
    contender = arena[name]

    def step(priorities):
        contender.update(contender.sample(b), priorities)

    measure(benchmark, arena, op, name, b, step, priorities_of(b))
    return contender


@pytest.mark.parametrize(("b", "name"), [*itertools.product((64, 256), PEERS)])
def test_step(benchmark, arena, b, name):
    measure_steps(benchmark, arena, "step", name, b)


@pytest.mark.parametrize(("b", "name"), [*itertools.product((64, 256), AMPER)])
def test_step_of_amper(benchmark, arena, b, name):
    contender = measure_steps(benchmark, arena, "amper step", name, b)
    if name != "per":
        sizes = [contender.buffer.sampler.sample(b).n_csp for _ in range(200)]
        benchmark.extra_info["csp"] = float(np.mean(sizes)) / arena.n


@pytest.mark.parametrize(("b", "name"), [*itertools.product((64, 256), PEERS)])
def test_sample(benchmark, arena, b, name):
    contender = arena[name]
    measure(benchmark, arena, "sample", name, b, lambda: contender.sample(b))


@pytest.mark.parametrize(("b", "name"), [*itertools.product((64, 256), PEERS)])
def test_update(benchmark, arena, b, name):
    contender = arena[name]
    slots = np.random.default_rng(1).integers(0, arena.n, (N_SETS, b))
    indices = itertools.cycle(list(contender.indices(slots)))
    measure(benchmark, arena, "update", name, b, contender.update, indices, priorities_of(b))


@pytest.mark.parametrize("name", PEERS)
def test_add(benchmark, arena, name):
    contender = arena[name]
    rows = itertools.cycle(list(arena.obs[:N_SETS]))
    measure(benchmark, arena, "add", name, 1, lambda obs: contender.add(obs, 1, 0.5, False), rows)
