"""What the replay promises in numbers: exact sums, a proportional law, memory a slot, one result by every way."""

import gc
import tracemalloc

import numpy as np
import pytest

import amper
from amper import samplers
from amper._kernels import update as writing
from amper.proportional import SumTree

COLUMNS = {
    "obs": {"shape": (4,)},
    "action": {"dtype": "int64"},
    "reward": {},
    "next_obs": {"shape": (4,)},
    "terminated": {"dtype": "bool"},
}
COLUMN_BYTES = 45


def chi_square_per_degree(drawn_from, tested_for, n_draws=10_000_000, batch=100_000):
    """Return chi-square per degree of freedom of draws by `per` against masses."""
    n = len(drawn_from)
    sampler = samplers.make("per", n, seed=12)
    sampler.insert(np.arange(n), drawn_from, at_maximum=False)
    counts = np.zeros(n)
    for _ in range(n_draws // batch):
        counts += np.bincount(sampler.sample(batch).slots, minlength=n)
    expected = tested_for / tested_for.sum() * n_draws
    return float(np.sum((counts - expected) ** 2 / expected) / (n - 1))


def test_per_draws_in_proportion_and_a_two_percent_error_would_show(capsys):
    rng = np.random.default_rng(3)
    masses = (1 + rng.random(100_000) * 2**30).astype(np.int64)
    right = chi_square_per_degree(masses, masses)
    wrong = chi_square_per_degree(
        np.maximum(masses * np.where(rng.random(len(masses)) < 0.5, 1.02, 0.98), 1).astype(np.int64), masses
    )
    with capsys.disabled():
        print(f"\n  chi-square per degree of freedom, 1e7 draws of 1e5: {right:.4f}; masses 2% off: {wrong:.4f}")
    # 1e5 degrees of freedom: the standard deviation is .0045.
    assert 0.98 <= right <= 1.02
    assert not 0.98 <= wrong <= 1.02


@pytest.mark.slow
def test_a_billion_updates_leave_the_sums_exact(capsys):
    rng = np.random.default_rng(0)
    n, block, n_updates = 1_000_000, 1_000_000, 0
    tree = SumTree(n)
    for step in range(1000):
        # Masses of every size, some of them the largest there are.
        masses = rng.integers(0, 2**32, block) >> rng.integers(0, 32)
        writing.write_tree(tree.nodes, tree.padded, rng.integers(0, n, block), masses)
        n_updates += block
        if step % 100 == 99:
            assert tree.total == int(tree.leaves.sum(dtype=np.uint64))
    kept = tree.nodes.copy()
    tree.load_state_dict(tree.state_dict())  # recomputes every node
    assert np.array_equal(kept[1:], tree.nodes[1:])
    with capsys.disabled():
        print(f"\n  {n_updates:,} updates: root {tree.total}, recomputed {int(tree.leaves.sum(dtype=np.uint64))}")


@pytest.mark.parametrize(("name", "limit"), [("uniform", 24), ("per", 24), ("amper-fr", 32), ("amper-k", 32)])
@pytest.mark.parametrize("n", [100_000, 300_001])
def test_memory_beyond_the_columns_is_bounded(name, limit, n, capsys):
    warm = amper.ReplayBuffer(100, COLUMNS, sampler=name, seed=0)  # compiles, and pays what a process pays once
    use(warm, 300)
    gc.collect()
    tracemalloc.start()
    buffer = amper.ReplayBuffer(n, COLUMNS, sampler=name, seed=0)
    use(buffer, n)
    gc.collect()
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    beyond = held - COLUMN_BYTES * n
    with capsys.disabled():
        print(f"\n  {name}, n = {n:,}: {beyond / n:.1f} bytes a slot beyond the columns")
    assert beyond <= limit * n + 2**20


def use(buffer, n):
    rng = np.random.default_rng(0)
    k = min(n, buffer.capacity, 10_000)
    for _ in range(0, n, k):
        zeros = np.zeros((k, 4), np.float32)
        buffer.add(
            obs=zeros, action=np.zeros(k, np.int64), reward=np.zeros(k), next_obs=zeros, terminated=np.zeros(k, bool)
        )
    for _ in range(200):
        batch = buffer.sample(64)
        buffer.update_priorities(batch["indices"], rng.exponential(size=64))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("uniform", {}),
        ("per", {}),
        ("amper-fr", {}),
        ("amper-fr", {"min_csp": 40}),  # redraws and falls back
        ("amper-fr", {"bits": 20, "match": "radius"}),
        ("amper-fr", {"weights": "none"}),
        ("amper-k", {}),
    ],
)
def test_the_shortcuts_give_what_the_long_way_gives(name, options):
    # A recorded buffer asks sampler, storage and encoder one after another.
    short, long = (
        amper.ReplayBuffer(50, COLUMNS, sampler=name, sampler_options=options, seed=4, sink=sink)
        for sink in (None, amper.Trace())
    )
    rng = np.random.default_rng(1)
    for i in range(120):
        row = {"obs": rng.random(4, np.float32), "action": i, "reward": 0.5, "terminated": i % 7 == 0}
        for buffer in (short, long):
            buffer.add(**row, next_obs=row["obs"])
        priorities = rng.exponential(size=40)
        batches = [buffer.sample(40) for buffer in (short, long)]
        for column, values in batches[0].items():
            assert np.array_equal(values, batches[1][column])
        for buffer in (short, long):
            buffer.update_priorities(batches[0]["indices"], priorities)
    assert np.array_equal(short.sampler.codes, long.sampler.codes)
    assert short.stats == long.stats


def test_batches_that_are_kept_are_not_written_again():
    buffer = amper.ReplayBuffer(1000, COLUMNS, sampler="per", seed=0)
    use(buffer, 1000)
    kept = [buffer.sample(16) for _ in range(100)]
    copies = [{name: column.copy() for name, column in batch.items()} for batch in kept]
    for b in (16, 5, 16, 700):
        for _ in range(50):
            buffer.sample(b)
    for batch, expected in zip(kept, copies, strict=True):
        assert all(np.array_equal(batch[name], expected[name]) for name in expected)
    addresses = [column.ctypes.data for batch in kept for column in batch.values()]
    assert len(set(addresses)) == len(addresses)
