"""Other processes add while one samples: nothing is lost, nothing comes twice, priorities are those written."""

import multiprocessing
import os
import pickle
import signal
import time
from array import array

import numpy as np
import pytest

import amper
from tests.naive.steps import n_step_of_episode

FIELDS = {
    "actor": {"dtype": "int64"}, "number": {"dtype": "int64"}, "body": {"shape": (40,), "dtype": "int64"},
    "reward": {"dtype": "float64"}, "next_number": {"dtype": "int64"},
    "terminated": {"dtype": "bool"}, "truncated": {"dtype": "bool"},
}  # fmt: skip
FORK = multiprocessing.get_context("fork")


def steps(actor, first, k):
    n = np.arange(first, first + k)
    return {
        "actor": np.full(k, actor), "number": n, "body": (n * 1000 + actor)[:, None] + np.arange(40), "reward": n / 7,
        "next_number": n + 1, "terminated": n % 11 == 10, "truncated": n % 17 == 16,
    }  # fmt: skip


def act(writer, actor, n_steps, seed=None):
    rng = np.random.default_rng(actor if seed is None else seed)
    sent = 0
    while sent < n_steps:
        k = min(int(rng.integers(1, 20)), n_steps - sent)
        writer.add(**steps(actor, sent, k), priorities=rng.random(k) if rng.random() < 0.5 else None)
        sent += k


def act_until(writer, actor, end, counts):
    while time.monotonic() < end:
        writer.add(**steps(actor, counts[actor], 1))
        counts[actor] += 1


def whole(batch):
    expected = batch["number"] * 1000 + batch["actor"]
    return np.array_equal(batch["body"], expected[:, None] + np.arange(40))


@pytest.mark.parametrize(("method", "n_step"), [("fork", 1), ("fork", 3), ("spawn", 1)])
def test_every_transition_arrives_once_and_in_order(method, n_step):
    context = multiprocessing.get_context(method)
    n_actors, n_steps = 3, 3000
    buffer = amper.ReplayBuffer(2000, FIELDS, sampler="per", n_step=n_step, seed=0)
    writers = buffer.writers(n_actors, room=128)  # less than what comes: they wait
    actors = [context.Process(target=act, args=(w, i, n_steps)) for i, w in enumerate(writers)]
    for actor in actors:
        actor.start()
    arrived = [[] for _ in range(n_actors)]

    def take():
        ids = buffer.receive()
        rows = {name: buffer._storage.read(name, ids % 2000) for name in buffer._storage.fields}
        assert whole(rows)
        for i in range(len(ids)):
            arrived[rows["actor"][i]].append({name: column[i] for name, column in rows.items()})
        return len(ids)

    while any(actor.is_alive() for actor in actors):
        if take() == 0:
            time.sleep(0.001)
    while take():
        pass
    for actor in actors:
        actor.join()
        assert actor.exitcode == 0
    for i in range(n_actors):
        expected = []
        columns = steps(i, 0, n_steps)
        episode = []
        for t in range(n_steps):
            episode.append({name: column[t] for name, column in columns.items()})
            if columns["terminated"][t] or columns["truncated"][t]:
                expected += n_step_of_episode(episode, n_step, 0.99, True)
                episode = []
        expected += n_step_of_episode(episode, n_step, 0.99, False)
        assert [row["number"] for row in arrived[i]] == [row["number"] for row in expected]
        assert [row["next_number"] for row in arrived[i]] == [row["next_number"] for row in expected]
        assert [row["reward"] for row in arrived[i]] == pytest.approx([row["reward"] for row in expected])


def learn_from(n_actors, seconds, capacity=20_000):
    """Let actors add while this process samples and updates; check everything; return (added, learned) a second."""
    buffer = amper.ReplayBuffer(capacity, FIELDS, sampler="per", seed=0, alpha=1.0, eps=0.0)
    writers = buffer.writers(n_actors)
    counts = FORK.RawArray("q", n_actors)
    begin = time.monotonic()
    actors = [FORK.Process(target=act_until, args=(w, i, begin + seconds, counts)) for i, w in enumerate(writers)]
    for actor in actors:
        actor.start()
    rng, seen, n_learned = np.random.default_rng(0), [0] * n_actors, 0
    written = array("d")  # the last priority of each id

    def check():  # what came since the last time, by `sample` too
        part = np.arange(len(written), buffer._n_issued)
        assert len(part) <= capacity
        actor, number = (buffer._storage.read(name, part % capacity) for name in ("actor", "number"))
        for j in range(n_actors):
            numbers = number[actor == j]
            assert np.array_equal(numbers, np.arange(seen[j], seen[j] + len(numbers)))  # none lost, none twice
            seen[j] += len(numbers)
        written.extend([np.nan] * len(part))

    while any(actor.is_alive() for actor in actors):
        buffer.receive()
        check()
        if len(buffer) == 0:
            continue
        batch = buffer.sample(64)
        check()
        assert whole(batch)
        priorities = rng.random(64)
        buffer.update_priorities(batch["indices"], priorities)
        for i, priority in zip(batch["indices"].tolist(), priorities.tolist(), strict=True):
            written[i] = priority
        n_learned += 1
    buffer.receive()
    check()
    for actor in actors:
        actor.join()
    assert seen == list(counts)
    assert sum(seen) == buffer._n_issued
    codes, top = buffer.sampler.codes, buffer.sampler.format.top
    live = [i for i in range(len(written) - len(buffer), len(written)) if not np.isnan(written[i])]
    assert len(live) > 100
    assert all(codes[i % capacity] == max(1, int(written[i] * top + 0.5)) for i in live)
    return sum(seen) / seconds, n_learned / seconds


def test_four_actors_and_a_learner_lose_nothing():
    learn_from(4, 2.0)


@pytest.mark.slow
def test_four_actors_and_a_learner_lose_nothing_in_a_minute(capsys):
    added, learned = learn_from(4, 60.0)
    buffer = amper.ReplayBuffer(20_000, FIELDS, sampler="per", seed=0)
    rng, n, begin = np.random.default_rng(0), 0, time.monotonic()
    while time.monotonic() < begin + 10:
        buffer.add(**steps(0, n, 1))
        batch = buffer.sample(64)
        buffer.update_priorities(batch["indices"], rng.random(64))
        n += 1
    with capsys.disabled():
        print(
            f"\n  4 actors: {added:,.0f} transitions and {learned:,.0f} updates of 64 a second; "
            f"one process, one of each in turn: {n / 10:,.0f} on {os.cpu_count()} cores"
        )


def test_a_killed_actor_stops_nobody_and_leaves_whole_rows():
    buffer = amper.ReplayBuffer(500, FIELDS, sampler="amper-fr", seed=0)
    writers = buffer.writers(2, room=64)
    counts = FORK.RawArray("q", 2)
    actors = [FORK.Process(target=act_until, args=(w, i, time.monotonic() + 60, counts)) for i, w in enumerate(writers)]
    for actor in actors:
        actor.start()
    while min(counts) < 200:
        buffer.receive()
    os.kill(actors[0].pid, signal.SIGKILL)
    actors[0].join()
    before = counts[1]
    end = time.monotonic() + 30
    while counts[1] < before + 500:
        buffer.receive()
        assert time.monotonic() < end
        assert whole(buffer.sample(32))
    os.kill(actors[1].pid, signal.SIGKILL)
    actors[1].join()
    assert sum(counts) - 2 <= buffer._n_issued + len(buffer.receive()) <= sum(counts) + 2


def test_a_sample_takes_what_was_added():
    buffer = amper.ReplayBuffer(50, FIELDS, sampler="per", seed=0)
    (writer,) = buffer.writers(1)
    with pytest.raises(ValueError, match="sample must follow an add"):
        buffer.sample(1)
    assert writer.add(**steps(0, 0, 3)) == 3
    assert buffer.sample(30)["number"].max() == 2
    assert buffer.add(**steps(1, 0, 1)).tolist() == [3]  # its own process may add as well


def test_a_full_queue_takes_nothing_that_does_not_fit():
    buffer = amper.ReplayBuffer(50, FIELDS, sampler="per", seed=0, n_step=2)
    (writer,) = buffer.writers(1, room=4, timeout_s=0.01)
    assert writer.add(**steps(0, 0, 3)) == 2  # and one is pending
    before = pickle.dumps([stage.state_dict() for stage in writer._stages])
    for _ in range(3):
        with pytest.raises(TimeoutError, match=r"timeout_s must outlast the replay's pauses, got 0\.01"):
            writer.add(**steps(0, 3, 3))
    assert pickle.dumps([stage.state_dict() for stage in writer._stages]) == before
    assert len(buffer.receive()) == 2
    assert writer.add(**steps(0, 3, 3)) == 3
    assert len(buffer.receive()) == 3
    assert buffer._storage.read("number", np.arange(5)).tolist() == list(range(5))


def test_more_than_a_queue_holds_goes_in_parts():
    buffer = amper.ReplayBuffer(50, FIELDS, sampler="per", seed=0)
    (writer,) = buffer.writers(1, room=4)
    actor = FORK.Process(target=writer.add, kwargs=steps(0, 0, 30))
    actor.start()
    while len(buffer) < 30:
        buffer.receive()
    actor.join()
    assert buffer._storage.read("number", np.arange(30)).tolist() == list(range(30))


def test_a_writer_is_one_processs_until_that_ends():
    buffer = amper.ReplayBuffer(50, FIELDS, sampler="per", seed=0)
    (writer,) = buffer.writers(1)
    other = FORK.Process(target=writer.add, kwargs=steps(0, 0, 1))
    other.start()
    other.join()
    writer.add(**steps(0, 1, 1))  # takes over from one that has ended
    second = FORK.Process(target=writer.add, kwargs=steps(0, 2, 1))
    second.start()
    second.join()
    assert second.exitcode == 1
    assert len(buffer.receive()) == 2


def test_the_room_of_closed_writers_is_given_up():
    buffer = amper.ReplayBuffer(50, FIELDS, sampler="per", seed=0)
    first, second = buffer.writers(2)
    first.add(**steps(0, 0, 3))
    first.close()
    assert len(buffer._queues) == 2
    assert len(buffer.receive()) == 3
    assert len(buffer._queues) == 1
    second.add(**steps(1, 0, 1))
    assert len(buffer.receive()) == 1


def test_what_writers_sent_is_kept_by_a_folder(tmp_path):
    buffer = amper.ReplayBuffer(50, FIELDS, sampler="per", seed=0, storage=tmp_path / "r")
    (writer,) = buffer.writers(1)
    writer.add(**steps(0, 0, 7))
    buffer.close()
    with amper.ReplayBuffer.open(tmp_path / "r") as again:
        assert len(again) == 7


def test_the_largest_priorities_of_sequences_do_not_overflow():
    buffer = amper.ReplayBuffer(
        50, FIELDS, sampler="per", seed=0, alpha=1.0, sampler_options={"full_scale": 1.0},
        sequences=amper.Sequences(length=2),
    )  # fmt: skip
    (writer,) = buffer.writers(1)
    for adder in (buffer, writer):
        adder.add(**steps(0, 0, 2), priorities=[1.7e308, 1.7e308])
    assert len(buffer.receive()) == 1
    assert buffer.update_priorities([0], [[1.7e308, 1.7e308]]) == 1
    assert np.isfinite(buffer.state_dict()["encoder"]["largest"])


def test_a_writer_learns_that_its_replay_has_ended():
    buffer = amper.ReplayBuffer(50, FIELDS, sampler="per", seed=0)
    (writer,) = buffer.writers(1, room=4, timeout_s=0.05)
    writer.add(**steps(0, 0, 4))
    ended = FORK.Process(target=lambda: None)
    ended.start()
    ended.join()
    writer._queue._control[16] = ended.pid
    with pytest.raises(ConnectionError, match=f"the replay's process {ended.pid} has ended"):
        writer.add(**steps(0, 0, 5))


def test_rows_that_are_not_whole_yet_are_left_for_the_next_time():
    buffer = amper.ReplayBuffer(50, FIELDS, sampler="per", seed=0)
    (writer,) = buffer.writers(1)
    writer.add(**steps(0, 0, 5))
    kept = writer._queue._rows[3, 8:16].copy()
    writer._queue._rows[3, 8:16] ^= 255  # as if stores of another machine were not all seen
    assert len(buffer.receive()) == 3
    assert len(buffer.receive()) == 0
    writer._queue._rows[3, 8:16] = kept
    assert len(buffer.receive()) == 2
    assert whole(buffer.sample(50))


def test_sequences_and_priorities_of_actors_arrive():
    buffer = amper.ReplayBuffer(
        50, FIELDS, sampler="per", seed=0, alpha=1.0, eps=0.0, n_envs=2, sequences=amper.Sequences(length=3)
    )
    (writer,) = buffer.writers(1)
    for t in range(4):
        writer.add(**{**steps(0, t, 2), "terminated": [False, t == 1]}, priorities=[0.5, 0.25])
    writer.end_episode()
    assert buffer.receive().tolist() == [0, 1, 2, 3]
    mask = buffer._storage.read("mask", np.arange(4))
    assert sorted(mask.sum(axis=1).tolist()) == [1, 2, 2, 3]
    assert set(np.round(buffer.sampler.codes[:4] / buffer.sampler.format.top, 3)) == {0.25, 0.5}


def test_bad_input_is_refused_where_it_is_added():
    buffer = amper.ReplayBuffer(50, FIELDS, sampler="per", seed=0, alpha=4.0)
    (writer,) = buffer.writers(1)
    with pytest.raises(ValueError, match="columns must include every field, missing"):
        writer.add(actor=1)
    with pytest.raises(ValueError, match="priorities must be finite"):
        writer.add(**steps(0, 0, 1), priorities=np.nan)
    with pytest.raises(ValueError, match=r"priorities must be at most .* for this replay"):
        writer.add(**steps(0, 0, 1), priorities=1e80)
    with pytest.raises(IndexError, match="env must be below n_envs=1, got 1"):
        writer.end_episode(1)
    assert writer.add(**steps(0, 0, 1), priorities=1e70) == 1
    assert len(buffer.receive()) == 1
    with pytest.raises(ValueError, match="n must be at least 1, got 0"):
        buffer.writers(0)
    with pytest.raises(ValueError, match="compact must be False for a replay with writers"):
        amper.ReplayBuffer(50, FIELDS, compact=True).writers(1)
