"""Several threads on one buffer: what is true after any call stays true."""

import copy
import inspect
import pickle
import threading

import numpy as np
import pytest

import amper
from amper.threads import LockedReplayBuffer

FIELDS = {"a": {"dtype": "int64"}, "b": {"shape": (20,), "dtype": "int64"}}


@pytest.mark.parametrize("sampler", ["per", "amper-fr"])
def test_threads_may_add_sample_update_and_save_at_once(sampler, tmp_path):
    buffer = amper.ReplayBuffer(500, FIELDS, sampler=sampler, seed=0, threads=True, alpha=1.0, eps=0.0)
    buffer.add(a=0, b=np.zeros(20, np.int64))
    ids, errors, n_adds = [], [], 1500

    def guarded(work):
        def run():
            try:
                work()
            except BaseException as error:
                errors.append(error)
                raise

        return threading.Thread(target=run)

    def add():
        for i in range(n_adds):
            ids.extend(buffer.add(a=i, b=np.full(20, i)).tolist())

    def learn():
        for _ in range(1500):
            batch = buffer.sample(16)
            assert np.array_equal(batch["b"], np.repeat(batch["a"][:, None], 20, axis=1))  # no torn row
            buffer.update_priorities(batch["indices"], np.random.default_rng(0).random(16))

    def look():
        for i in range(10):
            buffer.save(tmp_path / f"{i}.npz")
            assert buffer.stats["unsampled"] <= len(buffer)

    workers = [guarded(work) for work in (add, add, learn, learn, look)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not errors
    assert sorted(ids) == list(range(1, 2 * n_adds + 1))
    codes = buffer.sampler.codes.astype(np.int64)
    search = buffer.sampler._tree.total if sampler == "per" else buffer.sampler._search.code_sum
    assert search == codes.sum()
    amper.ReplayBuffer.load(tmp_path / "3.npz", threads=True).sample(4)


def test_every_public_call_is_guarded():
    public = {
        name
        for name, member in inspect.getmembers(amper.ReplayBuffer)
        if not name.startswith("_") and (inspect.isfunction(member) or isinstance(member, property))
    }
    unguarded = {"capacity", "sampler", "save"}  # constant; for studies; writes what state_dict copied
    assert {name for name in public - unguarded if name not in vars(LockedReplayBuffer)} == set()


def test_a_call_waits_for_the_lock():
    buffer = amper.ReplayBuffer(5, {"x": {}}, threads=True)
    other = threading.Thread(target=lambda: buffer.add(x=1))
    with buffer._lock:
        other.start()
        other.join(0.2)
        assert len(buffer) == 0
    other.join()
    assert len(buffer) == 1


def test_copies_have_locks_of_their_own():
    buffer = amper.ReplayBuffer(5, {"x": {}}, threads=True, seed=0)
    buffer.add(x=1)
    for other in (copy.deepcopy(buffer), pickle.loads(pickle.dumps(buffer))):
        assert type(other) is LockedReplayBuffer
        assert other._lock is not buffer._lock
        assert np.array_equal(other.sample(3)["indices"], [0, 0, 0])


def test_copies_made_beside_other_threads_are_whole():
    buffer = amper.ReplayBuffer(20_000, FIELDS, sampler="per", threads=True, seed=0)
    end = threading.Event()

    def add():
        while not end.is_set():
            buffer.add(a=np.arange(500), b=np.zeros((500, 20), np.int64))

    worker = threading.Thread(target=add)
    worker.start()
    try:
        for i in range(12):
            other = copy.deepcopy(buffer) if i % 2 else pickle.loads(pickle.dumps(buffer))
            assert other.sampler._tree.total == int(other.sampler.codes.sum(dtype=np.int64))
            assert (other.sampler.codes > 0).sum() == len(other)
    finally:
        end.set()
        worker.join()


def test_a_subclass_is_told_how_to_be_guarded():
    class Mine(amper.ReplayBuffer):
        pass

    assert type(Mine(5, {"x": {}})) is Mine
    with pytest.raises(TypeError, match=r"threads must be False for a subclass, got True; derive from threads\."):
        Mine(5, {"x": {}}, threads=True)
