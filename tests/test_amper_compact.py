"""Observations kept once: what comes out is what went in, whatever the stream does, in about half the memory."""

import copy

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import amper

FIELDS = {
    "obs": {"shape": (3,), "dtype": "uint8"},
    "state": {"dtype": "float64"},
    "action": {"dtype": "int64"},
    "reward": {},
    "next_obs": {"shape": (3,), "dtype": "uint8"},
    "next_state": {"dtype": "float64"},
    "next_action": {"dtype": "int32"},  # of another type: kept as it is
    "terminated": {"dtype": "bool"},
    "truncated": {"dtype": "bool"},
}


@settings(max_examples=300, deadline=None)
@given(
    capacity=st.integers(3, 12),
    n_envs=st.integers(1, 3),
    n_step=st.integers(1, 3),
    seed=st.integers(0, 999),
    few=st.booleans(),
    sampler=st.sampled_from(["uniform", "per", "per-rank", "amper-fr"]),
    saved=st.integers(0, 60),
)
def test_a_compact_replay_hands_out_what_a_plain_one_does(capacity, n_envs, n_step, seed, few, sampler, saved):
    rng = np.random.default_rng(seed)
    values = 2 if few else 250  # few values: rows that look alike without following each other
    plain, compact = (
        amper.ReplayBuffer(capacity, FIELDS, sampler=sampler, n_envs=n_envs, n_step=n_step, seed=1, compact=is_compact)
        for is_compact in (False, True)
    )
    obs = rng.integers(0, values, (n_envs, 3)).astype(np.uint8)
    for t in range(60):
        following = rng.integers(0, values, (n_envs, 3)).astype(np.uint8)
        terminated, truncated = rng.random((2, n_envs)) < 0.1
        row = {
            "obs": obs, "state": obs[:, 0] / 4, "action": rng.integers(0, 9, n_envs), "reward": rng.random(n_envs),
            "next_obs": following, "next_state": following[:, 0] / 4, "next_action": rng.integers(0, 9, n_envs),
            "terminated": terminated, "truncated": truncated,
        }  # fmt: skip
        ids = [buffer.add(**row) for buffer in (plain, compact)]
        assert np.array_equal(*ids)
        # A reset at an end, now and then one that no flag tells of.
        fresh = rng.integers(0, values, (n_envs, 3)).astype(np.uint8)
        obs = np.where((terminated | truncated | (rng.random(n_envs) < 0.1))[:, None], fresh, following)
        if len(plain):
            batches = [buffer.sample(20) for buffer in (plain, compact)]
            assert all(np.array_equal(batches[0][name], batches[1][name]) for name in batches[0])
            assert batches[0].keys() == batches[1].keys()
        if t == saved:
            state = compact.state_dict()
            compact = amper.ReplayBuffer(
                capacity, FIELDS, sampler=sampler, n_envs=n_envs, n_step=n_step, seed=5, compact=True
            )
            compact.load_state_dict(state)
    assert plain.stats == compact.stats
    storage = compact._storage
    assert len(set(storage._free[1 : 1 + storage._free[0]].tolist())) == storage._free[0]
    assert storage.n_apart <= len(compact)


def test_only_ends_and_the_newest_rows_are_kept_apart():
    buffer = amper.ReplayBuffer(1000, FIELDS, sampler="per", compact=True, seed=0)
    for t in range(3000):
        obs, following = (np.full(3, i % 251, np.uint8) for i in (t, t + 1))
        ended = t % 100 == 99
        buffer.add(
            obs=obs, state=t / 2, action=t, reward=0.0, next_obs=following, next_state=t / 2 + 0.5, next_action=0,
            terminated=ended, truncated=False,
        )  # fmt: skip
    assert buffer._storage.n_apart == 1  # the stream goes on as if nothing had ended
    batch = buffer.sample(64)
    assert np.array_equal(batch["next_state"], batch["state"] + 0.5)
    assert np.array_equal(batch["next_obs"][:, 0], (batch["action"] + 1) % 251)


def test_images_take_about_half_the_memory():
    fields = {
        "obs": {"shape": (84, 84), "dtype": "uint8"}, "next_obs": {"shape": (84, 84), "dtype": "uint8"},
        "terminated": {"dtype": "bool"},
    }  # fmt: skip
    rng = np.random.default_rng(0)
    sizes = {}
    for compact in (False, True):
        buffer = amper.ReplayBuffer(2000, fields, sampler="per", compact=compact, seed=0)
        obs = rng.integers(0, 255, (84, 84)).astype(np.uint8)
        for t in range(3000):
            following = rng.integers(0, 255, (84, 84)).astype(np.uint8)
            ended = t % 200 == 199
            buffer.add(obs=obs, next_obs=following, terminated=ended)
            obs = rng.integers(0, 255, (84, 84)).astype(np.uint8) if ended else following
        storage = buffer._storage
        sizes[compact] = storage.rows.nbytes + (storage._apart.nbytes if compact else 0)
    assert sizes[True] < 0.54 * sizes[False]


def test_a_compact_replay_goes_on_after_a_file_and_a_copy(tmp_path):
    buffer = amper.ReplayBuffer(50, FIELDS, sampler="amper-fr", compact=True, seed=0, n_step=2)
    zeros = {"state": 0.0, "action": 0, "reward": 1.0, "next_state": 0.0, "next_action": 0}

    def step(t):
        return {
            **zeros, "obs": np.full(3, t % 200, np.uint8), "next_obs": np.full(3, t % 200 + 1, np.uint8),
            "terminated": t % 9 == 8, "truncated": False,
        }  # fmt: skip

    for t in range(70):
        buffer.add(**step(t))
    buffer.save(tmp_path / "r.npz")
    others = [amper.ReplayBuffer.load(tmp_path / "r.npz"), copy.deepcopy(buffer)]
    for t in range(70, 90):
        for b in (buffer, *others):
            b.add(**step(t))
        batch = buffer.sample(16)
        for other in others:
            again = other.sample(16)
            assert all(np.array_equal(again[name], batch[name]) for name in batch)


SPOILT = [
    ("apart", lambda s: s.update(apart=s["apart"][:, :-8])),
    ("apart", lambda s: s.update(apart=s["apart"][:0])),
    ("waiting", lambda s: s["waiting"].fill(-7)),
    ("waiting", lambda s: s["waiting"].fill(5)),
    ("links", lambda s: s["rows"].fill(1)),
    ("rows", lambda s: s.update(rows=s["rows"][:-1])),
    ("'apart'", lambda s: s.pop("apart")),
]


@pytest.mark.parametrize(("named", "spoil"), SPOILT)
def test_a_broken_state_is_refused(named, spoil):
    buffer = amper.ReplayBuffer(20, FIELDS, sampler="per", compact=True, seed=0)
    row = {name: np.zeros((9, *spec.get("shape", ())), spec.get("dtype", "f4")) for name, spec in FIELDS.items()}
    buffer.add(**row)
    state = buffer.state_dict()
    spoil(state["storage"])
    with pytest.raises(ValueError, match=f"d must be the state of a buffer.*{named}"):
        buffer.load_state_dict(state)
    buffer.sample(5)


def test_only_what_follows_a_kept_column_is_shared():
    fields = {name: {"dtype": "int64"} for name in ("next_next_x", "next_x", "x")}
    buffer = amper.ReplayBuffer(5, fields, sampler="per", compact=True, seed=0)
    for i in range(7):
        buffer.add(x=i, next_x=i + 1, next_next_x=i + 2)
    batch = buffer.sample(20)
    assert np.array_equal(batch["next_x"], batch["x"] + 1)
    assert np.array_equal(batch["next_next_x"], batch["x"] + 2)


def test_compact_needs_something_to_share():
    with pytest.raises(ValueError, match="fields must have a column 'next_X' like a column 'X' to be compact, got x"):
        amper.ReplayBuffer(5, {"x": {}}, compact=True)
    with pytest.raises(ValueError, match="compact must be False for sequences"):
        amper.ReplayBuffer(5, FIELDS, compact=True, sequences=amper.Sequences(length=2))
    with pytest.raises(TypeError, match="compact must be True or False, got 1"):
        amper.ReplayBuffer(5, FIELDS, compact=1)
