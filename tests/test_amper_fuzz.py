"""Any calls in any order agree with a list; malformed input of any kind raises what it should and changes nothing."""

import copy
import datetime
import hashlib
import math
import pickle
import tempfile
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

import amper
from amper import samplers
from tests.naive.replay import NaiveReplay

FIELDS = {"x": {"dtype": "int64"}, "y": {"shape": (2,)}, "terminated": {"dtype": "bool"}, "z": {"dtype": "uint8"}}
MAKES = [
    ("uniform", {}), ("per", {}), ("per", {"bits": 8}), ("per-rank", {}), ("amper-k", {}),
    ("amper-fr", {}), ("amper-fr", {"bits": 24}),
    ("amper-fr", {"engine": "tcam"}), ("amper-fr", {"weights": "csp", "unique": True, "lam": 2.0}),
    ("amper-fr", {"v_max": "q90", "grouping": "octave"}), ("amper-k", {"distance": "hamming"}),
    ("amper-fr", {"v_max": "decay5", "grouping": "linear", "weights": "inclusion"}),
    ("amper-fr", {"faults": {"stuck_cells": 0.02, "missed_matches": 0.1, "false_matches": 0.01, "sense_noise": 0.3}}),
]  # fmt: skip


def rows_of(ids):
    ids = np.asarray(ids, np.int64)
    return {"x": ids, "y": np.stack([ids, -ids], axis=1).astype(np.float32), "terminated": ids % 5 == 0, "z": ids % 251}


class ReplayMachine(RuleBasedStateMachine):
    """The buffer against a list, over any order of calls."""

    @initialize(
        capacity=st.integers(1, 40), make=st.sampled_from(MAKES), seed=st.integers(0, 99),
        alpha=st.sampled_from([0.0, 0.6, 1.0]), eps=st.sampled_from([0.0, 1e-6, 0.5]), recorded=st.booleans(),
    )  # fmt: skip
    def build(self, capacity, make, seed, alpha, eps, recorded):
        name, options = make
        self.sink = amper.Trace() if recorded else None
        self.buffer = amper.ReplayBuffer(
            capacity, FIELDS, sampler=name, sampler_options=options, seed=seed, alpha=alpha, eps=eps, sink=self.sink
        )
        self.name, self.exact = name, name == "per"
        self.naive = NaiveReplay(capacity, alpha, eps)

    @rule(scalars=st.booleans())
    def add_one(self, scalars):
        n = self.naive.n
        row = {name: column[0] for name, column in rows_of([n]).items()}
        if scalars:
            row = {**row, "x": n, "terminated": n % 5 == 0, "z": n % 251}
        assert list(self.buffer.add(**row)) == self.naive.add([n])

    @rule(k=st.integers(0, 9), priority=st.none() | st.floats(0, 50))
    def add(self, k, priority):
        k = min(k, self.buffer.capacity)
        rows = list(range(self.naive.n, self.naive.n + k))
        priorities = None if priority is None else [priority + i for i in range(k)]
        assert list(self.buffer.add(**rows_of(rows), priorities=priorities)) == self.naive.add(rows, priorities)

    @rule(data=st.data(), largest=st.sampled_from([2.0, 50.0, 1e6]))
    def update(self, data, largest):
        if self.naive.n == 0:
            return
        ids = data.draw(st.lists(st.integers(0, self.naive.n - 1), max_size=12))
        priorities = data.draw(st.lists(st.floats(0, largest), min_size=len(ids), max_size=len(ids)))
        assert self.buffer.update_priorities(ids, priorities) == self.naive.update(ids, priorities)

    @rule(b=st.integers(1, 30), beta=st.sampled_from([0.0, 0.4, 1.0]), replace=st.sampled_from([True, True, False]))
    def sample(self, b, beta, replace):
        if self.naive.n == 0:
            return
        codes = self.buffer.sampler.codes.astype(float)
        b = b if replace else min(b, len(self.buffer))
        batch = self.buffer.sample(b, beta, replace=replace)
        ids = batch["indices"]
        assert replace or len(set(ids.tolist())) == b
        self.naive.sampled.update(int(i) for i in ids)
        expected = rows_of([self.naive.rows[int(i)] for i in ids])
        for name, column in expected.items():
            assert np.array_equal(batch[name], column)
        assert np.array_equal(batch["discount"], np.where(batch["terminated"], np.float32(0), np.float32(0.99)))
        assert batch["weights"].max() == 1
        if self.exact:
            drawn = codes[ids % self.buffer.capacity]
            assert np.allclose(batch["weights"], (drawn.min() / drawn) ** beta, rtol=1e-5, atol=0)
        if self.name == "uniform":
            assert set(batch["weights"]) == {1.0}

    @rule()
    def copy(self):
        self.buffer = copy.deepcopy(self.buffer) if self.sink is None else self.buffer
        if self.sink is None:
            self.buffer.load_state_dict(self.buffer.state_dict())

    @rule()
    def save_and_load(self):
        if self.sink is None:
            self.buffer = saved_and_loaded(self.buffer)

    @invariant()
    def agrees(self):
        buffer, naive, stats = self.buffer, self.naive, self.buffer.stats
        assert len(buffer) == len(naive.rows)
        assert stats["stale_updates"] == naive.stale
        assert stats["never_sampled"] == naive.n_never_sampled
        assert stats["unsampled"] == len(set(naive.rows) - naive.sampled)
        codes = buffer.sampler.codes
        assert np.array_equal(codes > 0, np.arange(buffer.capacity) < len(buffer))
        if not naive.rows:
            return
        if self.name.startswith("amper"):
            assert buffer.sampler._search.code_sum == int(codes.sum(dtype=np.int64))
        if self.exact:
            assert buffer.sampler._tree.total == int(codes.sum(dtype=np.int64))
            top = buffer.sampler.format.top
            for i in naive.rows:
                exact = naive.mass(i) / buffer._encoder.scale * top
                # Halving a rounded code is not rounding the halved mass: one unit a rescale at most.
                slack = 0.5 + 1e-4 + stats["rescales"]
                assert abs(int(codes[i % buffer.capacity]) - max(exact, 1)) <= slack


def saved_and_loaded(buffer):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "replay.npz"
        buffer.save(path)
        return amper.ReplayBuffer.load(path)


ReplayMachine.TestCase.settings = settings(max_examples=100, stateful_step_count=30, deadline=None, derandomize=True)
test_any_order_of_calls_agrees_with_a_list = ReplayMachine.TestCase


@pytest.mark.slow
def test_ten_minutes_of_any_calls_agree_with_a_list(capsys):
    end, rounds = time.monotonic() + 600, 0
    while time.monotonic() < end:
        run_state_machine_as_test(
            ReplayMachine,
            settings=settings(
                max_examples=150, stateful_step_count=60, deadline=None, database=None,
                suppress_health_check=list(HealthCheck),
            ),
        )  # fmt: skip
        rounds += 1
    with capsys.disabled():
        print(f"\n  {rounds} rounds of 150 sequences of up to 60 calls: no mismatch")
    assert rounds > 1


# -- malformed input ------------------------------------------------------------------------------------
ODD_ARRAYS = [
    np.array([1, 2, 3], np.uint64) + np.uint64(2**63), np.array(["a", "b"]), np.array([b"a"]), np.array([None, 1]),
    np.array([1 + 2j]), np.array(["2020-01-01"], "datetime64[D]"), np.array([1], "timedelta64[s]"), np.zeros((2, 0)),
    np.array([(1, 2.0)], [("a", "i4"), ("b", "f8")]), np.array(3), np.array(math.nan), np.array([]),
    np.zeros((1, 1, 1)), np.arange(12)[::5], np.broadcast_to(np.int64(3), (4,)), np.array([1.5, math.inf]),
    np.array([True, False]), np.arange(3, dtype=">i8"), np.arange(3, dtype=">f8"), np.float16([1, 60_000]),
    np.ma.masked_array([1, 2], [True, False]), np.array([-1]), np.array([10**6]), np.array([2**63 - 1]),
    np.array([-(2**63)]), np.array([1e308, 5e-324]), np.longdouble([1, 2]),
]  # fmt: skip
ODD_VALUES = [
    None, math.nan, math.inf, -math.inf, -1, -1.0, 0, 1, 7, 2**31, 2**63, 2**64, -(2**70), 10**400, 1e300, 0.5, "",
    "x", b"x", 1j, True, [], [[]], [[1], [1, 2]], [1, "a"], [None], (1, 2), {}, {"a": 1}, {1, 2}, range(3),
    slice(None), object(), object, Ellipsis, Fraction(1, 3), datetime.date(2020, 1, 1), lambda: 1, np.int8(3),
    np.float32("nan"), np.bool_(True), iter([1]), bytearray(b"ab"), memoryview(b"ab"), [2**70, 1], [1.0, 2.0],
    [math.nan], [math.inf, 1], ["1"], [True], [-3],
]  # fmt: skip
odd = st.sampled_from([*ODD_ARRAYS, *ODD_VALUES]) | st.floats() | st.integers() | st.text(max_size=3)
odd = odd | st.lists(st.floats() | st.integers(-(2**70), 2**70), max_size=4)


def calls_of(draw, buffer):  # noqa: PLR0911  # one return a method
    """Return a call of one public method with something odd in it, as a function of nothing."""
    method = draw(st.sampled_from(["add", "sample", "update", "end", "state", "file", "new"]))
    value, other = draw(odd), draw(odd)
    if method == "add":
        good = {name: column[0] for name, column in rows_of([3]).items()}
        bad = {**good, draw(st.sampled_from([*good, "colour"])): value}
        if draw(st.booleans()):
            bad.pop(draw(st.sampled_from([*good])), None)
        return lambda: buffer.add(**bad, priorities=draw(st.none() | odd))
    if method == "sample":
        if isinstance(value, int) and 10**6 < value < 2**31:
            value = -value  # a batch of gigabytes is no mistake
        return lambda: buffer.sample(
            *draw(st.sampled_from([(value,), (value, other), (4, other)])), replace=draw(st.booleans())
        )
    if method == "update":
        good = list(range(len(buffer)))
        arguments = [(value, other), (good, other), (value, [1.0]), (good, [value] * len(good))]
        return lambda: buffer.update_priorities(*draw(st.sampled_from(arguments)))
    if method == "end":
        return lambda: buffer.end_episode(value)
    if method == "state":
        state = buffer.state_dict()
        place = (
            state if draw(st.booleans()) else state[draw(st.sampled_from(["encoder", "storage", "sampler", "config"]))]
        )
        place[draw(st.sampled_from([*place]))] = value
        return lambda: buffer.load_state_dict(draw(st.sampled_from([state, value])))
    if method == "file":
        return lambda: amper.ReplayBuffer.load(
            __file__ if isinstance(value, str) else value
        )  # absent: FileNotFoundError
    names = ["capacity", "fields", "sampler", "sampler_options", "alpha", "beta", "eps", "n_envs", "n_step", "discount"]
    name = draw(st.sampled_from([*names, "seed", "storage", "sink", "threads", "sequences", "compact"]))
    if name == "storage" and isinstance(value, str):
        value = 3  # any word would be a folder's
    return lambda: amper.ReplayBuffer(**{"capacity": 4, "fields": {"x": {}}, name: value})


def digest(buffer):
    return hashlib.sha256(pickle.dumps(buffer.state_dict())).hexdigest()


def malformed(data):
    name, options = data.draw(st.sampled_from(MAKES))
    buffer = amper.ReplayBuffer(6, FIELDS, sampler=name, sampler_options=options, seed=0)
    buffer.add(**rows_of(range(data.draw(st.sampled_from([0, 1, 6])))))
    for _ in range(6):
        before = digest(buffer)
        raised = False
        try:
            calls_of(data.draw, buffer)()
        except (ValueError, TypeError, IndexError):
            raised = True
        assert not raised or digest(buffer) == before
        if len(buffer):
            batch = buffer.sample(3)
            assert np.isfinite(batch["weights"]).all()
            assert buffer.update_priorities(batch["indices"], [1.0, 2.0, 3.0]) == len(set(batch["indices"]))


@settings(max_examples=1500, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_malformed_input_raises_what_it_should_and_changes_nothing(data):
    malformed(data)


@pytest.mark.slow
@settings(max_examples=15_000, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_much_malformed_input_raises_what_it_should_and_changes_nothing(data):
    malformed(data)


def test_every_sampler_is_fuzzed():
    assert {name for name, _ in MAKES} == set(samplers.available())
