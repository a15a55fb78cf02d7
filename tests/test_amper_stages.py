"""n-step returns and sequences: equal to the naive ones over any ends, and never across one."""

import copy

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import amper
from amper.sequences import sequence_priorities
from tests.naive import steps as naive

FIELDS = {
    "obs": {"shape": (2,), "dtype": "int32"},
    "reward": {"dtype": "float64"},
    "next_obs": {"shape": (2,), "dtype": "int32"},
    "terminated": {"dtype": "bool"},
    "truncated": {"dtype": "bool"},
    "tag": {"dtype": "uint8"},
}
CAPACITY = 4000
ENDS = ("going", "going", "going", "terminated", "truncated", "cut")


@st.composite
def runs(draw, most_steps=40):
    """Return (n_envs, steps): for each time a dict an environment, and whether it was cut after it without a flag."""
    n_envs = draw(st.integers(1, 3))
    ends = draw(st.lists(st.lists(st.sampled_from(ENDS), min_size=n_envs, max_size=n_envs), max_size=most_steps))
    rewards = draw(st.randoms(use_true_random=False))
    times = []
    for t, kinds in enumerate(ends):
        row = []
        for env, kind in enumerate(kinds):
            row.append(({
                "obs": np.array([t, env]), "reward": rewards.uniform(-1, 1), "next_obs": np.array([t + 1, env]),
                "terminated": kind == "terminated", "truncated": kind == "truncated", "tag": (7 * t + env) % 256,
            }, kind == "cut"))  # fmt: skip
        times.append(row)
    return n_envs, times


def play(buffer, times, priorities=None):
    """Add a run; return the ids issued."""
    ids = []
    for t, row in enumerate(times):
        columns = {name: np.stack([np.asarray(step[name]) for step, _ in row]) for name in FIELDS}
        given_ = None if priorities is None else priorities[t]
        ids += buffer.add(**columns, priorities=given_).tolist()
        for env, (_, cut) in enumerate(row):
            if cut:
                ids += buffer.end_episode(env).tolist()
    return ids


def episodes_of(n_envs, times):
    """Return each environment's episodes as (steps, ended)."""
    result = []
    for env in range(n_envs):
        episodes, steps = [], []
        for row in times:
            step, cut = row[env]
            steps.append(step)
            if step["terminated"] or step["truncated"] or cut:
                episodes.append((steps, True))
                steps = []
        result.append([*episodes, (steps, False)])
    return result


def stored(buffer, n):
    """Return the rows 0 .. n - 1 as dicts of arrays."""
    slots = np.arange(n)
    columns = {name: buffer._storage.read(name, slots) for name in buffer._storage.fields}
    return [{name: column[i] for name, column in columns.items()} for i in range(n)]


@settings(max_examples=300, deadline=None)
@given(run=runs(), n=st.integers(1, 5), discount=st.sampled_from([0.0, 0.9, 1.0]), in_batches=st.integers(1, 7))
def test_n_step_transitions_are_the_naive_ones(run, n, discount, in_batches):
    n_envs, times = run
    buffer = amper.ReplayBuffer(CAPACITY, FIELDS, sampler="uniform", n_envs=n_envs, n_step=n, discount=discount, seed=0)
    if n_envs == 1 and not any(cut for ((_, cut),) in times):  # one stream may come in batches
        ids = []
        for i in range(0, len(times), in_batches):
            part = [row[0][0] for row in times[i : i + in_batches]]
            ids += buffer.add(**{name: np.stack([np.asarray(s[name]) for s in part]) for name in FIELDS}).tolist()
    else:
        ids = play(buffer, times)
    expected = [
        [row for steps, ended in episodes for row in naive.n_step_of_episode(steps, n, discount, ended)]
        for episodes in episodes_of(n_envs, times)
    ]
    assert ids == list(range(sum(map(len, expected))))
    if not ids:
        return
    found = [[] for _ in range(n_envs)]
    for row in stored(buffer, len(ids)):
        found[row["obs"][1]].append(row)
    batch = buffer.sample(50)
    discounts = batch["discount"]
    for env in range(n_envs):
        assert len(found[env]) == len(expected[env])
        for row, wanted in zip(found[env], expected[env], strict=True):
            for name in FIELDS:
                assert np.array_equal(row[name], wanted[name]) or (
                    name == "reward" and row[name] == pytest.approx(wanted[name], rel=1e-14, abs=1e-14)
                ), name
            if n > 1:
                assert row["discount"] == np.float32(wanted["discount"])
    by_first = {(int(w["obs"][0]), env): w for env in range(n_envs) for w in expected[env]}
    for i in range(50):
        wanted = by_first[tuple(batch["obs"][i])]
        assert discounts[i] == np.float32(wanted["discount"])
        assert np.array_equal(batch["next_obs"][i], wanted["next_obs"])


@settings(max_examples=300, deadline=None)
@given(run=runs(), length=st.integers(1, 5), burn_in=st.integers(0, 4), data=st.data(), n=st.integers(1, 3))
def test_sequences_are_the_naive_ones_and_never_cross_an_end(run, length, burn_in, data, n):
    n_envs, times = run
    period = data.draw(st.integers(1, length))
    sequences = amper.Sequences(length=length, burn_in=burn_in, period=period)
    buffer = amper.ReplayBuffer(
        CAPACITY, FIELDS, sampler="uniform", n_envs=n_envs, n_step=n, discount=0.9, sequences=sequences, seed=0
    )
    ids = play(buffer, times)
    expected = []
    for episodes in episodes_of(n_envs, times):
        for steps, ended in episodes:
            joined = naive.n_step_of_episode(steps, n, 0.9, ended)
            expected += naive.sequences_of_episode(joined, length, burn_in, period, ended)
    assert ids == list(range(len(expected)))
    if not ids:
        return
    found = {(int(row["obs"][0, 0]), int(row["obs"][0, 1])): row for row in stored(buffer, len(ids))}
    for steps, mask in expected:
        row = found[tuple(int(x) for x in steps[0]["obs"])]
        m = len(steps)
        assert row["mask"].tolist() == mask + [False] * (length + burn_in - m)
        for name in (*FIELDS, "discount"):
            wanted = np.stack([np.asarray(step[name]) for step in steps])
            assert np.allclose(row[name][:m], wanted, rtol=1e-6, atol=1e-14)
            assert not row[name][m:].any()
        ends = row["terminated"][:m] | row["truncated"][:m]
        if n == 1:
            assert not ends[:-1].any()
    batch = buffer.sample(7)
    assert batch["obs"].shape == (7, length + burn_in, 2)
    assert batch["mask"].any(axis=1).all()
    assert batch["discount"].shape == (7, length + burn_in)


@settings(max_examples=100, deadline=None)
@given(run=runs(), length=st.integers(1, 4), burn_in=st.integers(0, 3), seed=st.integers(0, 99))
def test_priorities_given_by_step_become_those_of_what_is_stored(run, length, burn_in, seed):
    n_envs, times = run
    rng = np.random.default_rng(seed)
    given_ = [rng.random(n_envs) if rng.random() < 0.8 else None for _ in times]
    sequences = amper.Sequences(length=length, burn_in=burn_in)
    buffer = amper.ReplayBuffer(
        CAPACITY, FIELDS, sampler="per", n_envs=n_envs, sequences=sequences, seed=0, alpha=1.0, eps=0.0
    )
    ids = play(buffer, times, given_)
    codes = buffer.sampler.codes
    for i, row in enumerate(stored(buffer, len(ids))):
        first, env = row["obs"][0]
        m = int((row["next_obs"][:, 0] > 0).sum())
        mask = row["mask"][:m].tolist()
        of_steps = [np.nan if p is None else p[env] for p in given_[first : first + m]]
        priority = naive.sequence_priority(of_steps, mask, 0.9)
        if not np.isnan(priority):
            assert abs(int(codes[i]) - priority * buffer.sampler.format.top) <= 1


def test_updates_of_sequences_take_errors_by_step_and_look_at_the_mask_only():
    buffer = amper.ReplayBuffer(
        10, FIELDS, sampler="per", sequences=amper.Sequences(length=2, burn_in=1), seed=0, alpha=1.0, eps=0.0
    )
    row = {"obs": [0, 0], "reward": 0.0, "next_obs": [0, 0], "terminated": False, "truncated": False, "tag": 0}
    for t in range(5):
        buffer.add(**{**row, "terminated": t == 4})
    assert len(buffer) == 2
    masks = buffer._storage.read("mask", np.arange(2))
    assert masks.tolist() == [[True, True, True], [False, True, True]]
    td_abs = np.array([[0.5, 0.1, 0.2], [9.0, 0.25, 0.75]])
    assert buffer.update_priorities([0, 1], td_abs.astype(np.float32)) == 2
    assert buffer.update_priorities([0, 1], td_abs) == 2
    expected = [0.9 * 0.5 + 0.1 * 0.8 / 3, 0.9 * 0.75 + 0.1 * 0.5]
    assert buffer.sampler.codes[:2] / buffer.sampler.format.top == pytest.approx(expected)
    assert sequence_priorities(td_abs, masks) == pytest.approx(expected)
    assert buffer.update_priorities([0, 1], [0.5, 0.25]) == 2  # or one value a sequence
    with pytest.raises(ValueError, match=r"priorities must be finite and at least 0, got nan at position \(1, 2\)"):
        buffer.update_priorities([0, 1], [[0, 0, 0], [0, 0, np.nan]])
    with pytest.raises(ValueError, match=r"priorities must be numbers of shape \(2, 3\), got float64 of \(2, 2\)"):
        buffer.update_priorities([0, 1], [[0.0, 0], [0, 0]])


def test_errors_of_sequences_that_were_overwritten_are_not_looked_at():
    buffer = amper.ReplayBuffer(2, FIELDS, sampler="per", sequences=amper.Sequences(length=2), seed=0)
    row = {"obs": [0, 0], "reward": 0.0, "next_obs": [0, 0], "terminated": False, "truncated": False, "tag": 0}
    for t in range(9):
        buffer.add(**{**row, "terminated": t % 3 == 2})
    assert buffer._n_issued == 6
    assert buffer.update_priorities([0, 5], [[0.5, np.nan], [0.5, np.nan]]) == 1
    with pytest.raises(IndexError, match="indices must be ids this buffer issued, below 6, got 9"):
        buffer.update_priorities([9], [[0.5, 0.5]])
    few = amper.ReplayBuffer(9, FIELDS, sampler="per", sequences=amper.Sequences(length=2), seed=0)
    few.add(**{**row, "terminated": True})
    with pytest.raises(IndexError, match="indices must be at least 0, got -1"):
        few.update_priorities([-1], [[0.5, 0.5]])


def test_steps_are_not_limited_by_a_capacity_that_counts_sequences():
    buffer = amper.ReplayBuffer(2, FIELDS, sampler="per", n_envs=3, sequences=amper.Sequences(length=4), seed=0)
    row = {name: np.zeros((3, *spec.get("shape", ())), spec.get("dtype", "f4")) for name, spec in FIELDS.items()}
    ids = [i for _ in range(4) for i in buffer.add(**row).tolist()]
    assert ids == [0, 1, 2]
    assert len(buffer) == 2


def test_an_infinite_reward_beyond_a_discount_of_zero_is_nothing():
    buffer = amper.ReplayBuffer(9, FIELDS, sampler="per", n_step=2, discount=0.0, seed=0)
    row = {"obs": [[0, 0]] * 2, "next_obs": [[0, 0]] * 2, "terminated": [False] * 2, "truncated": [False] * 2}
    buffer.add(**row, tag=[0, 0], reward=[1.0, np.inf])
    assert buffer.sample(1)["reward"].tolist() == [1.0]


def test_a_column_called_truncated_may_be_anything_where_nothing_is_joined():
    buffer = amper.ReplayBuffer(9, {"truncated": {"shape": (2,)}, "terminated": {"dtype": "bool"}}, seed=0)
    assert len(buffer.add(truncated=np.zeros((3, 2)), terminated=[True] * 3)) == 3


@pytest.mark.parametrize("sequences", [None, amper.Sequences(length=3, burn_in=1, period=2)])
def test_pending_steps_go_on_after_a_file_and_a_copy(sequences, tmp_path):
    def step(t):
        ended = t % 7 == 6
        return {
            "obs": np.full((2, 2), t), "reward": np.array([t, -t]), "next_obs": np.full((2, 2), t + 1),
            "terminated": np.array([ended, False]), "truncated": np.array([False, t % 5 == 4]), "tag": np.zeros(2, int),
        }  # fmt: skip

    buffer = amper.ReplayBuffer(30, FIELDS, sampler="per", n_envs=2, n_step=3, sequences=sequences, seed=0)
    for t in range(40):
        buffer.add(**step(t))
    buffer.save(tmp_path / "r.npz")
    others = [amper.ReplayBuffer.load(tmp_path / "r.npz"), copy.deepcopy(buffer)]
    for t in range(40, 60):
        ids = buffer.add(**step(t))
        batch = buffer.sample(8)
        buffer.update_priorities(batch["indices"], np.linspace(0, 2, 8))
        for other in others:
            assert np.array_equal(other.add(**step(t)), ids)
            again = other.sample(8)
            assert all(np.array_equal(again[name], batch[name]) for name in batch)
            other.update_priorities(again["indices"], np.linspace(0, 2, 8))
    state = buffer.state_dict()
    state["stages"]["nstep"]["counts"] = np.array([5, 0])
    with pytest.raises(ValueError, match=r"counts must lie in 0\.\.2"):
        others[0].load_state_dict(state)


@pytest.mark.parametrize("sampler", ["uniform", "per", "per-rank", "amper-k", "amper-fr"])
def test_the_next_thousand_samples_of_a_loaded_replay_are_the_same(sampler, tmp_path):
    buffer = amper.ReplayBuffer(200, FIELDS, sampler=sampler, n_envs=2, n_step=3, compact=True, seed=0)

    def go_on(b, t):
        b.add(
            obs=np.full((2, 2), t), reward=np.array([t, -t]), next_obs=np.full((2, 2), t + 1),
            terminated=np.array([t % 7 == 6, False]), truncated=np.array([False, t % 5 == 4]), tag=np.zeros(2, int),
        )  # fmt: skip

    for t in range(150):
        go_on(buffer, t)
    buffer.save(tmp_path / "r.npz")
    loaded = amper.ReplayBuffer.load(tmp_path / "r.npz")
    for t in range(1000):
        batches = [b.sample(16, replace=t % 3 > 0) for b in (buffer, loaded)]
        assert all(np.array_equal(batches[0][name], batches[1][name]) for name in batches[0])
        for b in (buffer, loaded):
            b.update_priorities(batches[0]["indices"], batches[0]["weights"] * (t % 11))
            go_on(b, t)


def test_more_transitions_than_the_capacity_may_be_issued_at_once():
    buffer = amper.ReplayBuffer(3, FIELDS, sampler="per", n_step=4, seed=0, discount=1.0)
    row = {
        "obs": [[0, 0]] * 3,
        "reward": [1.0, 1, 1],
        "next_obs": [[0, 0]] * 3,
        "terminated": [False] * 3,
        "tag": [0] * 3,
    }
    assert buffer.add(**row, truncated=[False] * 3).tolist() == []
    assert buffer.add(**row, truncated=[False, False, True]).tolist() == [0, 1, 2, 3, 4, 5]
    assert sorted(set(buffer.sample(50)["indices"].tolist())) == [3, 4, 5]
    assert buffer.sample(50)["reward"].max() == 3


BAD = [
    ({"n_step": 3}, {"terminated": None}, "fields must have a column 'terminated' for n_step=3"),
    ({"n_step": 3}, {"truncated": {}}, r"fields\['truncated'\] must be \{'dtype': 'bool'\} for n_step=3, got float32"),
    ({"n_step": 3}, {"reward": {"dtype": "int64"}}, "fields must have a floating scalar 'reward' for n_step=3"),
    ({"n_step": 3}, {"next_obs": None}, r"fields must have a column 'next_\*' for n_step=3"),
    ({"sequences": amper.Sequences(length=2)}, {"truncated": None}, "column 'truncated' for sequences"),
]


@pytest.mark.parametrize(("options", "change", "message"), BAD)
def test_columns_that_are_missing_are_named(options, change, message):
    fields = {name: spec for name, spec in {**FIELDS, **change}.items() if spec is not None}
    with pytest.raises(ValueError, match=message):
        amper.ReplayBuffer(10, fields, **options)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"length": 0}, ValueError, "length must be at least 1, got 0"),
        ({"length": 2.0}, TypeError, "length must be a whole number"),
        ({"length": 2, "burn_in": -1}, ValueError, "burn_in must be at least 0"),
        ({"length": 2, "period": 3}, ValueError, "period must be at most 2, got 3"),
        ({"length": 2, "eta": 1.5}, ValueError, "eta must lie in 0..1"),
    ],
)
def test_sequences_that_make_no_sense_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        amper.Sequences(**options)
    with pytest.raises(TypeError, match=r"sequences must be an amper.Sequences or None, got 3"):
        amper.ReplayBuffer(10, FIELDS, sequences=3)
