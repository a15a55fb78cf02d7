"""What the replay promises in numbers: exact sums, a proportional law, memory a slot, one result by every way."""

import gc
import tracemalloc

import numpy as np
import pytest

import amper
from amper import samplers
from amper._kernels import update as writing
from amper.index import CodeIndex
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


@pytest.mark.parametrize(
    ("name", "limit"), [("uniform", 24), ("per", 24), ("per-rank", 40), ("amper-fr", 32), ("amper-k", 32)]
)
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
        ("per-rank", {}),
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


def test_draws_from_a_sliver_of_a_crowded_bucket_are_uniform_and_few_tries():
    # A bucket of 100,000 equal codes, and five others beside them that alone are found: nearly every try would miss.
    n = 100_000
    index = CodeIndex(n, 16)
    codes = np.full(n, 43_285)
    codes[:5] = 43_280 + np.arange(5)
    index.write(np.arange(n), codes)
    rows = np.array([[3, 0, 43_200, 43_284, 0, 1, 0, 0]])
    assert index.find_ranges(rows) == 5
    slots, groups = index.draw(5, np.random.default_rng(0).random(50_000))
    counts = np.bincount(slots, minlength=5)
    assert len(counts) == 5
    assert np.sum((counts - 10_000) ** 2 / 10_000) < 23.5  # chi-square, 4 degrees of freedom, 1e-4
    assert set(groups) == {3}


def test_large_batches_leave_no_memory_behind():
    buffer = amper.ReplayBuffer(10, {"image": {"shape": (84, 84), "dtype": "uint8"}}, sampler="per", seed=0)
    buffer.add(image=np.zeros((10, 84, 84), np.uint8))
    buffer.sample(1)
    tracemalloc.start()
    for b in (1000, 1001, 1002, 1003):
        buffer.sample(b)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 2**20


@pytest.mark.parametrize("beta", [1e30, 3.5e38, 1e300])
def test_weights_are_numbers_whatever_beta(beta):
    buffer = amper.ReplayBuffer(4, {"x": {}}, sampler="per", seed=0)
    buffer.add(x=np.zeros(4), priorities=[1.0, 1.0, 2.0, 3.0])
    weights = buffer.sample(64, beta)["weights"]
    assert np.isfinite(weights).all()
    assert weights.max() == 1


BROKEN_STATES = [
    ("lfsr", {"urng": "lfsr"}, lambda d: d["sampler"]["source"].update(lfsr=-(1 << 62))),
    ("lfsr", {"urng": "lfsr"}, lambda d: d["sampler"]["source"].update(lfsr=0)),
    ("n_issued", {}, lambda d: d.update(n_issued=2**63 + 5)),
    ("largest", {}, lambda d: d["sampler"].update(largest=-1)),
    ("largest", {}, lambda d: d["sampler"].update(largest=70_000)),
    ("scale", {}, lambda d: d["encoder"].update(scale=1e-30)),
    ("flags", {}, lambda d: d["storage"]["rows"].fill(1)),
    ("stats", {}, lambda d: d["stats"].update(never_sampled=-5)),
]


@pytest.mark.parametrize(("named", "options", "spoil"), BROKEN_STATES)
def test_a_state_that_would_lead_a_kernel_astray_is_refused(named, options, spoil):
    buffer = amper.ReplayBuffer(20, COLUMNS, sampler="amper-fr", sampler_options=options, seed=0)
    use(buffer, 9)
    state = buffer.state_dict()
    spoil(state)
    with pytest.raises(ValueError, match=named):
        buffer.load_state_dict(state)


def test_the_largest_numbers_are_kept_or_refused_by_name():
    options = {"full_scale": 2.0**1023}
    buffer = amper.ReplayBuffer(4, {"x": {}}, sampler="per", sampler_options=options, eps=1e300, alpha=1.0, seed=0)
    buffer.add(x=0.0, priorities=1.7e308)
    with pytest.raises(ValueError, match="priorities must be at most 1"):
        buffer.update_priorities([0], [1.79e308])
    with pytest.raises(ValueError, match="priorities must be at most 1"):
        buffer.add(x=0.0, priorities=1.79e308)
    buffer.load_state_dict(buffer.state_dict())
    with pytest.raises(ValueError, match="full_scale must be 'auto' or a positive finite number"):
        amper.ReplayBuffer(4, {"x": {}}, sampler="per", sampler_options={"full_scale": 10**400})
    with pytest.raises(ValueError, match=r"fields\['x'\] must hold at most"):
        amper.ReplayBuffer(4, {"x": {"shape": (2**70,)}})
