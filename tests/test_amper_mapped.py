"""A replay in a folder: it goes on exactly, survives its writer, and never serves a torn row."""

import contextlib
import copy
import itertools
import json
import logging
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import time
import zlib

import numpy as np
import pytest

import amper
from amper import samplers

FIELDS = {
    "x": {"dtype": "int64"}, "body": {"shape": (500,), "dtype": "int64"},
    "reward": {}, "next_x": {"dtype": "int64"}, "terminated": {"dtype": "bool"}, "truncated": {"dtype": "bool"},
}  # fmt: skip


def rows(ids):
    ids = np.asarray(ids, np.int64)
    return {
        "x": ids, "body": ids[:, None] * 1000 + np.arange(500), "reward": ids % 7, "next_x": ids + 1,
        "terminated": ids % 50 == 49, "truncated": np.zeros(len(ids), bool),
    }  # fmt: skip


def is_right(batch):
    expected = rows(batch["indices"])
    return all(np.array_equal(batch[name], expected[name]) for name in ("x", "body", "terminated"))


def new(folder, capacity=100, **options):
    return amper.ReplayBuffer(capacity, FIELDS, storage=folder, **{"sampler": "per", "seed": 0, **options})


@pytest.mark.parametrize("sampler", samplers.available())
@pytest.mark.parametrize(
    "options", [{}, {"n_step": 3}, {"sequences": amper.Sequences(length=3, burn_in=1, period=2)}], ids=str
)
def test_a_replay_on_disk_is_one_in_memory_and_goes_on_exactly(sampler, options, tmp_path):
    disk = new(tmp_path / "r", sampler=sampler, **options)
    memory = amper.ReplayBuffer(100, FIELDS, sampler=sampler, seed=0, **options)
    rng = np.random.default_rng(0)
    added = 0
    for step in range(150):
        if step % 30 == 17:
            disk.close()
            with pytest.raises(ValueError, match="storage must be open"):
                disk.add(**rows([added]))
            disk = amper.ReplayBuffer.open(tmp_path / "r")
        k = int(rng.integers(1, 7))
        given = rows(np.arange(added, added + k))
        added += k
        assert np.array_equal(disk.add(**given), memory.add(**given))
        if len(memory) == 0:
            continue
        batches = [buffer.sample(8) for buffer in (disk, memory)]
        assert all(np.array_equal(batches[0][name], batches[1][name]) for name in batches[1])
        values = rng.exponential(size=8)
        assert disk.update_priorities(batches[0]["indices"], values) == memory.update_priorities(
            batches[0]["indices"], values
        )
        assert disk.stats == memory.stats
    disk.save(tmp_path / "copy.npz")
    loaded = amper.ReplayBuffer.load(tmp_path / "copy.npz")  # into memory
    assert np.array_equal(loaded.sample(30)["body"], memory.sample(30)["body"])


def test_the_next_thousand_samples_of_another_process_are_the_same(tmp_path):
    buffer = new(tmp_path / "r", sampler="amper-fr")
    buffer.add(**rows(range(90)))
    buffer.update_priorities(range(90), np.linspace(0, 3, 90))
    code = (
        "import amper, sys, zlib\n"
        "b = amper.ReplayBuffer.open(sys.argv[1])\n"
        "print(zlib.crc32(b''.join(b.sample(16)['indices'].tobytes() for _ in range(1000))))\n"
    )
    run = [sys.executable, "-c", code, str(tmp_path / "r")]
    refused = subprocess.run(run, capture_output=True, text=True, check=False)
    assert "storage must not be in use" in refused.stderr
    buffer.close()
    printed = subprocess.run(run, capture_output=True, text=True, check=True).stdout
    with amper.ReplayBuffer.open(tmp_path / "r") as again:
        assert int(printed) == zlib.crc32(b"".join(again.sample(16)["indices"].tobytes() for _ in range(1000)))


def write_until_killed(folder, seed, done):
    """Add rows without end; `done` holds the ids whose add has returned, and those under way."""
    rng = np.random.default_rng(seed)
    buffer = amper.ReplayBuffer.open(folder)
    while True:
        n = buffer._n_issued
        k = int(rng.integers(1, 60))
        done[1] = n + k
        buffer.add(**rows(range(n, n + k)))
        done[0] = n + k
        if rng.random() < 0.2:
            batch = buffer.sample(32)
            buffer.update_priorities(batch["indices"], rng.exponential(size=32))
        if rng.random() < 0.1:
            buffer.flush()
            done[2] = n + k


def kill_writers(folder, times, capacity, least_during=0):
    """Kill so many writers, and more until so many kills came during an add; return what was lost, and both numbers.

    How often a kill comes during an add is the machine's affair.
    """
    new(folder, capacity).close()
    context = multiprocessing.get_context("fork")
    rng = np.random.default_rng(0)
    lost = n_during = n_lost_before = 0
    for seed in itertools.count():
        if seed >= times and n_during >= least_during:
            break
        assert seed < 20 * times, f"{n_during} of {seed} kills came during an add"
        done = context.RawArray("q", 3)
        writer = context.Process(target=write_until_killed, args=(folder, seed, done))
        writer.start()
        while done[0] == 0:
            time.sleep(0.001)
        time.sleep(rng.random() * 0.05)
        os.kill(writer.pid, signal.SIGKILL)
        writer.join()
        with amper.ReplayBuffer.open(folder) as buffer:
            n, (acknowledged, under_way, flushed) = buffer._n_issued, done[:]
            assert flushed <= acknowledged <= n <= under_way
            now_lost = buffer.stats["lost"] - n_lost_before
            assert now_lost in (under_way - n, 0)  # 0: killed before the add had begun
            n_lost_before += now_lost
            lost += now_lost
            n_during += acknowledged < under_way
            assert len(buffer) == min(n, capacity)
            live = np.arange(n - len(buffer), n)
            stored = {name: buffer._storage.read(name, live % capacity) for name in FIELDS}
            assert all(np.array_equal(stored[name], values) for name, values in rows(live).items())
            for _ in range(5):
                assert is_right(buffer.sample(64))
            assert (buffer.sampler.codes > 0).sum() == len(buffer)
    return lost, n_during, seed


def test_a_killed_writer_loses_what_it_was_adding_and_nothing_else(tmp_path, caplog):
    caplog.set_level(logging.ERROR)
    kill_writers(tmp_path / "r", 8, 300)


@pytest.mark.slow
def test_fifty_killed_writers_lose_what_they_were_adding_and_nothing_else(tmp_path, caplog, capsys):
    caplog.set_level(logging.ERROR)
    lost, n_during, n_kills = kill_writers(tmp_path / "r", 50, 300, least_during=11)
    with capsys.disabled():
        print(f"\n  {n_kills} kills, {n_during} during an add: {lost} transitions lost, all of them of adds under way")


def stop_in(buffer, kernel, monkeypatch):
    """Let a call of a kernel stop the add half way, as a kill would."""

    class Killed(BaseException):
        pass

    from amper import mapped

    real = getattr(mapped.kernels, kernel)

    def torn(written, stored, *rest):
        half = len(written) // 2
        if kernel == "store":
            real(written[:half], stored, *rest)
            slot = (rest[-1] + half) % len(stored)
            stored[slot, : stored.shape[1] // 2] = written[half, : stored.shape[1] // 2]  # a torn row
        raise Killed

    with monkeypatch.context() as m:
        m.setattr(mapped.kernels, kernel, torn)
        with pytest.raises(Killed):
            buffer.add(**rows(range(buffer._n_issued, buffer._n_issued + 20)))
    buffer._storage.close()


def test_rows_in_the_journal_are_stored_when_the_folder_is_opened(tmp_path, monkeypatch):
    buffer = new(tmp_path / "r", 50)
    buffer.add(**rows(range(40)))
    stop_in(buffer, "store", monkeypatch)
    with amper.ReplayBuffer.open(tmp_path / "r") as again:
        assert again.stats["lost"] == 0
        assert again._n_issued == 60
        assert is_right(again.sample(500))


def test_rows_that_had_not_reached_the_journal_are_lost_and_counted(tmp_path, monkeypatch, caplog):
    buffer = new(tmp_path / "r", 50)
    buffer.add(**rows(range(40)))
    stop_in(buffer, "stamp_of", monkeypatch)
    with amper.ReplayBuffer.open(tmp_path / "r") as again:
        assert again.stats["lost"] == 20
        assert "20 transitions were lost with the process that wrote them" in caplog.text
        assert again._n_issued == 40
        assert is_right(again.sample(500))
    with amper.ReplayBuffer.open(tmp_path / "r") as again:  # counted once
        assert again.stats["lost"] == 20


def test_pending_steps_are_lost_with_the_process_and_counted(tmp_path, caplog):
    caplog.set_level(logging.ERROR)
    buffer = new(tmp_path / "r", n_step=4)
    buffer.add(**rows(range(10)))
    buffer.flush()
    buffer.add(**rows(range(10, 12)))
    buffer._storage.close()  # as if killed
    with amper.ReplayBuffer.open(tmp_path / "r") as again:
        assert again._n_issued == 9
        assert again.stats["lost"] == 3
        assert again.add(**rows(range(20, 24))).tolist() == [9]
        assert again._storage.read("next_x", np.array([8, 9])).tolist() == [12, 24]


def test_a_writer_killed_before_its_first_flush_leaves_its_rows(tmp_path):
    buffer = new(tmp_path / "r")
    buffer.add(**rows(range(30)))
    buffer._storage.close()  # as if killed
    with amper.ReplayBuffer.open(tmp_path / "r") as again:
        assert len(again) == 30
        assert again.stats["lost"] == 0
        assert is_right(again.sample(100))


@pytest.mark.parametrize("word", range(6))
def test_counts_that_cannot_be_are_refused_or_do_no_harm(word, tmp_path, caplog):
    caplog.set_level(logging.ERROR)
    buffer = new(tmp_path / "r", 50)
    for first in (0, 35):
        buffer.add(**rows(range(first, first + 35)))
    buffer.close()
    path = tmp_path / "r" / "rows.bin"
    whole = path.read_bytes()
    for value in (-1, -(2**63), 1, 7, 71, 100, 2**40, 2**62, 2**63 - 1):
        path.write_bytes(whole[: 8 * word] + value.to_bytes(8, "little", signed=True) + whole[8 * word + 8 :])
        with contextlib.suppress(ValueError), amper.ReplayBuffer.open(tmp_path / "r") as again:
            batch = again.sample(64) if len(again) else {"body": np.zeros((1, 1)), "x": np.zeros(1)}
            assert np.array_equal(batch["body"][:, 0], batch["x"] * 1000)
        path.write_bytes(whole)
        (tmp_path / "r" / "state.npz").unlink(missing_ok=True)
        amper.ReplayBuffer.open(tmp_path / "r").close()


def test_a_failure_on_the_way_leaves_no_lock_behind(tmp_path):
    new(tmp_path / "r").close()
    (tmp_path / "r" / "state.npz").write_bytes(b"no state")
    for _ in range(2):
        with pytest.raises(ValueError, match="path must name a replay's state"):
            amper.ReplayBuffer.open(tmp_path / "r")


def test_rows_damaged_with_the_machine_are_left_out(tmp_path, caplog):
    caplog.set_level(logging.ERROR)
    buffer = new(tmp_path / "r", 50, sampler="amper-fr")
    for first in (0, 35):
        buffer.add(**rows(range(first, first + 35)))
    buffer.update_priorities(range(20, 70), np.linspace(0.1, 5, 50))
    codes = buffer.sampler.codes[np.arange(20, 70) % 50]
    buffer.close()
    path = tmp_path / "r" / "rows.bin"
    data = bytearray(path.read_bytes())
    stride = buffer._storage.rows.shape[1]
    begin = len(data) - -(-50 * stride // 64) * 64
    for slot in (3, 25):  # ids 53 and 25
        data[begin + slot * stride + 100] ^= 1
    path.write_bytes(data)
    with amper.ReplayBuffer.open(tmp_path / "r") as again:
        assert len(again) == again._n_issued == 48
        assert again.stats["lost"] == 2
        kept = [i for i in range(20, 70) if i not in (25, 53)]
        assert again._storage.read("x", np.arange(48)).tolist() == kept
        assert again.sampler.codes[:48].tolist() == [int(codes[i - 20]) for i in kept]
        assert again.add(**rows([70])).tolist() == [48]
        again.sample(20)
    with amper.ReplayBuffer.open(tmp_path / "r") as again:
        assert len(again) == 49


def damage(folder, stride, slots, capacity=50):
    path = folder / "rows.bin"
    data = bytearray(path.read_bytes())
    begin = len(data) - -(-capacity * stride // 64) * 64
    for slot in slots:
        data[begin + slot * stride + 100] ^= 1
    path.write_bytes(data)


def test_rows_renumbered_after_damage_survive_the_next_kill(tmp_path, caplog):
    caplog.set_level(logging.ERROR)
    buffer = new(tmp_path / "r", 50, n_step=2)
    for first in (0, 36):
        buffer.add(**rows(range(first, first + 35 + (first > 0))))
    buffer.close()
    damage(tmp_path / "r", buffer._storage.rows.shape[1], (3, 25))
    again = amper.ReplayBuffer.open(tmp_path / "r")
    assert (len(again), again.stats["lost"]) == (48, 2)
    assert again._stages["nstep"].n_pending == 1  # still
    again.add(**rows([100]))
    codes = again.sampler.codes.copy()
    again._storage.close()  # as if killed
    with amper.ReplayBuffer.open(tmp_path / "r") as last:
        assert len(last) == last._n_issued == 49
        assert last.stats["lost"] == 2 + 1  # and the pending step
        assert (last.sampler.codes > 0).sum() == 49
        assert np.array_equal(last.sampler.codes, codes)
        assert last.sample(200)["indices"].min() >= 0


def test_a_state_of_other_rows_is_not_taken(tmp_path):
    for name, k in (("a", 40), ("b", 10)):
        with new(tmp_path / name, 50) as buffer:
            buffer.add(**rows(range(k)))
            buffer.update_priorities(range(k), np.linspace(0.1, 1, k))
    (tmp_path / "a" / "state.npz").replace(tmp_path / "b" / "state.npz")
    with amper.ReplayBuffer.open(tmp_path / "b") as again:
        assert len(again) == 10
        assert len(set(again.sampler.codes[:10].tolist())) == 1


def sleep_for(seconds):
    time.sleep(seconds)


@pytest.mark.parametrize("is_killed", [False, True])
def test_processes_forked_from_one_that_has_a_folder_open_do_not_keep_it(tmp_path, is_killed):
    context = multiprocessing.get_context("fork")

    def learn(started):
        buffer = new(tmp_path / "r")
        context.Process(target=sleep_for, args=(20,), daemon=False).start()
        buffer.add(**rows(range(5)))
        if not is_killed:
            buffer.close()
        started.value = 1
        time.sleep(20)

    started = context.Value("i", 0)
    learner = context.Process(target=learn, args=(started,))
    learner.start()
    while not started.value:
        time.sleep(0.01)
    if is_killed:
        os.kill(learner.pid, signal.SIGKILL)
        learner.join()
    with amper.ReplayBuffer.open(tmp_path / "r") as again:
        assert len(again) == 5
    if not is_killed:
        learner.kill()


def test_what_was_closed_changes_nothing_any_more(tmp_path):
    first = new(tmp_path / "r")
    first.add(**rows(range(5)))
    first.close()
    with amper.ReplayBuffer.open(tmp_path / "r") as second:
        for call in (first.flush, lambda: first.update_priorities([0], [1.0]), first.end_episode, first.receive):
            with pytest.raises(ValueError, match="storage must be open"):
                call()
        second.update_priorities([0], [0.2])
        code = second.sampler.codes[0]
    with amper.ReplayBuffer.open(tmp_path / "r") as third:
        assert third.sampler.codes[0] == code


STATES = [
    lambda d: d.update({"sampler/tree/leaves": np.ones(400, np.uint32)}),
    lambda d: d.update({"sampler/tree/leaves": np.ones(1, np.uint32)}),
    lambda d: d.update({"stages/nstep/heads": np.array([np.nan])}),
    lambda d: d.update({"stages/nstep/heads": np.array([7])}),
    lambda d: d.update({"stages/nstep/priorities": np.full((1, 2), np.inf)}),
    lambda d: d.update({"flags": np.full(100, 9, np.uint8)}),
    lambda d: d.pop("flags"),
]


@pytest.mark.parametrize("spoil", STATES)
def test_a_spoilt_state_is_refused_when_a_folder_is_opened(spoil, tmp_path):
    with new(tmp_path / "r", n_step=2) as buffer:
        buffer.add(**rows(range(20)))
    path = tmp_path / "r" / "state.npz"
    with np.load(path) as content:
        arrays = {name: content[name] for name in content.files}
    spoil(arrays)
    np.savez(path, **arrays)
    with pytest.raises(ValueError, match=r"^d(\[| must)"):
        amper.ReplayBuffer.open(tmp_path / "r")


@pytest.mark.parametrize("change", [{"capacity": 20.0}, {"sampler": None}, {"colour": 1}, {"alpha": {"start": 1}}])
def test_a_spoilt_description_is_refused(change, tmp_path):
    new(tmp_path / "r").close()
    path = tmp_path / "r" / "replay.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ValueError, match=r"folder must hold a replay|sampler must be one of"):
        amper.ReplayBuffer.open(tmp_path / "r")


def test_a_kill_between_a_row_and_its_note_issues_no_step_twice(tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.ERROR)
    buffer = new(tmp_path / "r", n_step=3)
    buffer.add(**rows(range(2)))
    buffer.flush()
    monkeypatch.setattr(buffer._storage, "note", lambda n: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        buffer.add(**rows(range(2, 4)))
    buffer._storage.close()
    with amper.ReplayBuffer.open(tmp_path / "r") as again:
        again.add(**rows(range(10, 14)))
        x = again._storage.read("x", np.arange(len(again))).tolist()
        assert x == [0, 1, 10, 11]
        assert again.stats["lost"] == 2


def test_a_folder_that_could_not_be_made_is_left_empty(tmp_path, monkeypatch):
    trace = amper.Trace()
    amper.ReplayBuffer(5, FIELDS, sink=trace)
    with pytest.raises(ValueError, match="sink must be a new Trace"):
        new(tmp_path / "r", sink=trace)
    new(tmp_path / "r").close()
    (tmp_path / "r" / "replay.json").unlink()  # as if killed before it was written
    with new(tmp_path / "r") as buffer:
        buffer.add(**rows(range(3)))
    assert len(amper.ReplayBuffer.open(tmp_path / "r")) == 3


def test_what_was_lost_is_counted_once_whatever_follows(tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.ERROR)
    buffer = new(tmp_path / "r", 50)
    buffer.add(**rows(range(40)))
    stop_in(buffer, "stamp_of", monkeypatch)
    for _ in range(3):
        again = amper.ReplayBuffer.open(tmp_path / "r")
        assert again.stats["lost"] == 20
        again._storage.close()  # as if killed


@pytest.mark.parametrize("schedule", [amper.Linear(1.0, 0.4, 20), amper.Linear(0.2, 1.0, 20)])
def test_rows_added_since_the_flush_enter_by_the_alpha_of_now(schedule, tmp_path):
    buffer = new(tmp_path / "r", alpha=schedule, eps=0.0)
    buffer.add(**rows(range(10)), priorities=np.full(10, 0.1))
    buffer.flush()
    buffer.add(**rows(range(10, 30)))
    buffer._storage.close()
    with amper.ReplayBuffer.open(tmp_path / "r") as again:
        top = again.sampler.format.top
        assert again.sampler.codes[10:30] / top == pytest.approx(0.1**schedule.end)
        assert again.stats["saturated"] == 0


def test_priorities_go_back_to_the_last_flush_and_later_rows_enter_at_the_maximum(tmp_path):
    buffer = new(tmp_path / "r", 50, alpha=1.0, eps=0.0)
    buffer.add(**rows(range(10)))
    buffer.update_priorities(range(10), np.linspace(0.1, 0.5, 10))
    buffer.flush()
    codes = buffer.sampler.codes[:10].copy()
    buffer.update_priorities(range(10), np.full(10, 0.2))
    buffer.add(**rows(range(10, 15)))
    buffer._storage.close()  # as if killed
    with amper.ReplayBuffer.open(tmp_path / "r") as again:
        assert np.array_equal(again.sampler.codes[:10], codes)
        assert set(again.sampler.codes[10:15].tolist()) == {int(codes.max())}


def test_folders_that_are_none_are_refused_by_name(tmp_path):
    with pytest.raises(FileNotFoundError, match="folder must exist"):
        amper.ReplayBuffer.open(tmp_path / "absent")
    with pytest.raises(ValueError, match="folder must hold a replay, got"):
        amper.ReplayBuffer.open(tmp_path)
    buffer = new(tmp_path / "r")
    for call in (lambda: new(tmp_path / "r"), lambda: amper.ReplayBuffer.open(tmp_path / "r")):
        with pytest.raises(ValueError, match=r"storage must not be in use, got .* which a process has open"):
            call()
    with pytest.raises(TypeError, match="a replay on disk must not be copied or pickled"):
        copy.deepcopy(buffer)
    with pytest.raises(TypeError, match="a replay on disk must not be copied or pickled"):
        pickle.dumps(buffer)
    with pytest.raises(ValueError, match="storage must be 'memory' to load a state"):
        buffer.load_state_dict(buffer.state_dict())
    with pytest.raises(ValueError, match="compact must be False on disk"):
        new(tmp_path / "s", compact=True)
    with pytest.raises(TypeError, match="a replay on disk must not be copied or pickled"):
        copy.copy(buffer)
    buffer.close()
    buffer.close()
    with pytest.raises(ValueError, match=r"storage must be a folder without a replay, got .*; ReplayBuffer\.open"):
        new(tmp_path / "r")
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"storage must be a folder, got .* which is a file"):
        new(tmp_path / "file")
    (tmp_path / "r" / "rows.bin").write_bytes(b"short")
    with pytest.raises(ValueError, match="folder must hold rows of"):
        amper.ReplayBuffer.open(tmp_path / "r")
    description = json.loads((tmp_path / "r" / "replay.json").read_text())
    (tmp_path / "r" / "replay.json").write_text(json.dumps({**description, "version": 9}))
    with pytest.raises(ValueError, match="folder must hold a replay of format <= 1, got 'mapped replay' of format 9"):
        amper.ReplayBuffer.open(tmp_path / "r")


def test_a_replay_on_disk_may_be_recorded_and_shared_by_threads(tmp_path):
    with new(tmp_path / "r", threads=True) as buffer:
        buffer.add(**rows(range(9)))
    trace = amper.Trace()
    with amper.ReplayBuffer.open(tmp_path / "r", sink=trace, threads=True) as again:
        again.sample(4)
        assert type(again) is type(buffer)
    assert trace.samples["n_valid"].tolist() == [9]


def test_flush_and_close_do_nothing_for_a_replay_in_memory():
    with amper.ReplayBuffer(5, {"x": {}}) as buffer:
        buffer.add(x=1)
        buffer.flush()
    assert buffer.add(x=2).tolist() == [1]
