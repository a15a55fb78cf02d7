"""Slots that another library fills, in any order: the same law, the same numbers, and nothing lost on the way."""

import copy
import hashlib
import json
import pickle
import re
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import amper
from amper import samplers
from amper.adapters.slots import SlotPriorities
from amper.state import flatten, unflatten

OPTIONS = [
    *((name, {}) for name in samplers.available()),
    ("amper-fr", {"urng": "lfsr", "v_max": "q99"}),
    ("amper-fr", {"weights": "csp", "bits": 8, "engine": "tcam"}),
]
CAPACITY = 60


def digest(slots):
    return hashlib.sha256(pickle.dumps(slots.state_dict())).hexdigest()


def filled(sampler="per", options=None, n=40, seed=0, **parameters):
    """Slots filled out of order, some of them twice, with priorities of every size."""
    slots = SlotPriorities(CAPACITY, sampler=sampler, sampler_options=options, seed=seed, **parameters)
    rng = np.random.default_rng(3)
    order = rng.permutation(CAPACITY)[:n]
    for at in range(0, n, 5):
        slots.insert(order[at : at + 5])
        slots.insert(order[: at + 2], rng.exponential(size=at + 2) * at)
        slots.update(order[: at + 5], rng.exponential(size=len(order[: at + 5])))
    return slots


def draws(slots, n=1000, batch_size=3):
    return [tuple(part.tolist() for part in slots.sample(batch_size)) for _ in range(n)]


class Naive:
    """What slot priorities do, with a dictionary and real numbers for masses."""

    def __init__(self, alpha, eps):
        self.alpha, self.eps, self.masses, self.largest = alpha, eps, {}, None

    def insert(self, slots, priorities=None):
        for slot, priority in zip(slots, priorities or [None] * len(slots), strict=True):
            self.masses[slot] = priority
        for slot in slots:
            priority = self.masses[slot]
            if isinstance(priority, float):
                self._store(slot, priority + self.eps)
            elif priority is None:
                self.masses[slot] = ((1.0 if self.largest is None else self.largest) ** self.alpha,)

    def update(self, slots, priorities):
        last = dict(zip(slots, priorities, strict=True))
        for slot, priority in last.items():
            self._store(slot, priority + self.eps)
        return len(last)

    def _store(self, slot, priority):
        self.largest = max(self.largest or 0.0, priority)
        self.masses[slot] = (priority**self.alpha,)


SLOT = st.integers(0, 11)
PRIORITY = st.floats(0.0, 1e4)
STEP = st.one_of(
    st.tuples(st.just("new"), st.lists(SLOT, max_size=8)),
    st.tuples(st.just("insert"), st.lists(st.tuples(SLOT, PRIORITY), max_size=8)),
    st.tuples(st.just("update"), st.lists(st.tuples(SLOT, PRIORITY), max_size=8)),
)


@settings(deadline=None, max_examples=150)
@given(st.lists(STEP, max_size=12), st.sampled_from(["per", "uniform"]), st.sampled_from([0.0, 0.5, 1.0]))
@pytest.mark.nojit
def test_masses_are_those_of_a_dictionary(steps, sampler, alpha):
    slots = SlotPriorities(12, sampler=sampler, alpha=alpha, eps=1e-3, seed=0)
    naive = Naive(alpha, 1e-3)
    for kind, entries in steps:
        if kind == "new":
            slots.insert(entries)
            naive.insert(entries)
        elif kind == "insert":
            slots.insert([s for s, _ in entries], [p for _, p in entries])
            naive.insert([s for s, _ in entries], [p for _, p in entries])
        else:
            known = [(s, p) for s, p in entries if s in naive.masses]
            assert slots.update([s for s, _ in known], [p for _, p in known]) == naive.update(
                [s for s, _ in known], [p for _, p in known]
            )
        expected = np.array([naive.masses.get(slot, (0.0,))[0] for slot in range(12)])
        assert len(slots) == np.count_nonzero(expected)
        assert slots.masses(np.arange(12)) == pytest.approx(expected, rel=1e-12, abs=2 * 1e4 / 2**32)
        assert slots.largest == pytest.approx(1.0 if naive.largest is None else naive.largest - 1e-3)
        if len(slots):
            drawn, probabilities, least = slots.draw(5)
            assert np.isin(drawn, list(naive.masses)).all()
            law = expected / expected.sum() if sampler == "per" else (expected > 0) / len(slots)
            assert probabilities == pytest.approx(law[drawn], rel=1e-5, abs=1e-8)
            assert least == pytest.approx(law[law > 0].min(), rel=1e-5, abs=1e-8)


@pytest.mark.parametrize(("sampler", "options"), OPTIONS)
def test_slots_filled_in_order_are_drawn_as_a_replay_buffer_draws_them(sampler, options):
    n = 30
    buffer = amper.ReplayBuffer(n, {"x": {}}, sampler=sampler, sampler_options=options, seed=5)
    slots = SlotPriorities(n, sampler=sampler, sampler_options=options, seed=5)
    rng = np.random.default_rng(0)
    for step in range(60):
        ids = buffer.add(x=[0.0, 0.0])
        slots.insert(ids % n)
        batch = buffer.sample(8)
        drawn, weights = slots.sample(8)
        assert (batch["indices"] % n).tolist() == drawn.tolist()
        assert batch["weights"] == pytest.approx(weights, rel=1e-6)
        errors = rng.exponential(size=8) * (1 + step)
        assert buffer.update_priorities(batch["indices"], errors) == slots.update(drawn, errors)


def test_per_draws_in_proportion_to_the_masses_of_slots_in_any_order():
    slots = SlotPriorities(50, sampler="per", alpha=1.0, eps=0.0, seed=7)
    order = np.random.default_rng(1).permutation(50)[:20]
    priorities = np.arange(1.0, 21.0)
    slots.insert(order)
    slots.update(order, priorities)
    n = 200_000
    drawn, _ = slots.sample(n)
    counts = np.bincount(drawn, minlength=50)
    assert counts[np.setdiff1d(np.arange(50), order)].sum() == 0
    # A true law fails one seed in a thousand; this seed is fixed.
    assert stats.chisquare(counts[order], n * priorities / priorities.sum()).pvalue > 1e-3


def test_uniform_draws_every_slot_alike_though_some_were_filled_again_before_others():
    slots = SlotPriorities(50, sampler="uniform", seed=7)
    slots.insert([40, 3, 3, 9])
    for _ in range(30):
        slots.insert([9, 3])
    slots.insert([9, 17])
    n = 40_000
    counts = np.bincount(slots.sample(n)[0], minlength=50)
    assert np.flatnonzero(counts).tolist() == [3, 9, 17, 40]
    assert stats.chisquare(counts[counts > 0]).pvalue > 1e-3
    assert (slots.sample(8)[1] == 1).all()


@pytest.mark.parametrize(("sampler", "options"), OPTIONS)
def test_a_slot_filled_again_is_as_new(sampler, options):
    slots = SlotPriorities(10, sampler=sampler, sampler_options=options, seed=0)
    slots.insert([4, 2, 7])
    slots.update([4, 2, 7], [0.1, 9.0, 0.2])
    slots.insert([4, 5])
    assert slots.masses(4) == slots.masses(5) > slots.masses(7)
    assert slots.masses(4) >= slots.masses(2)  # AMPER's new entries stand at the top of its groups


def test_new_transitions_get_the_largest_priority_seen():
    slots = SlotPriorities(10, sampler="per", alpha=0.5, eps=0.0)
    assert slots.largest == 1.0
    slots.insert([0])
    assert slots.masses(0) == pytest.approx(1.0)
    slots.update([0], [0.25])
    assert slots.largest == 0.25
    slots.insert([1], [16.0])
    slots.insert([2])
    slots.update([1], [1.0])
    slots.insert([3])
    assert slots.masses(np.arange(5)) == pytest.approx([0.5, 1.0, 4.0, 4.0, 0.0], rel=1e-8)
    assert slots.priorities(np.arange(5)) == pytest.approx([0.25, 1.0, 16.0, 16.0, 0.0], rel=1e-8)


def test_a_priority_may_count_as_seen_from_the_start():
    slots = SlotPriorities(10, sampler="amper-fr", alpha=1.0, eps=0.5, largest=4.5)
    slots.insert([0])
    slots.update([0], [1.0])
    slots.insert([1])
    assert slots.priorities([0, 1]) == pytest.approx([1.0, 4.5], rel=1e-3)
    slots.clear()
    slots.insert([5])
    assert slots.priorities([5]) == pytest.approx([4.5], rel=1e-3)


def test_of_a_slot_named_twice_the_last_value_counts():
    slots = SlotPriorities(10, sampler="per", alpha=1.0, eps=0.0)
    slots.insert([5, 2, 5, 8, 2], [1.0, 2.0, 3.0, 4.0, 5.0])
    assert slots.masses([5, 2, 8]) == pytest.approx([3.0, 5.0, 4.0], rel=1e-8)
    assert slots.update([5, 8, 5], [7.0, 1.0, 6.0]) == 2
    assert slots.masses([5, 2, 8]) == pytest.approx([6.0, 5.0, 1.0], rel=1e-8)
    assert slots.largest == 6.0  # what no slot ever had was not seen


@pytest.mark.parametrize("sampler", samplers.available())
def test_the_least_probability_is_that_of_all_slots_or_of_those_drawn(sampler):
    slots = filled(sampler)
    rng = np.random.default_rng(0)
    held = np.flatnonzero(slots.masses(np.arange(CAPACITY)))
    for _ in range(200):
        at = rng.choice(held, 4)
        slots.update(at, rng.exponential(size=4) ** 4)
        slots.insert(at[:1])
        drawn, probabilities, least = slots.draw(4)
        if slots.weighs_masses:
            masses = slots.masses(held)
            assert least == pytest.approx(probabilities[0] * masses.min() / slots.masses(drawn[0]), rel=1e-12)
        else:
            assert least == probabilities.min()


def test_weights_are_the_least_probability_drawn_by_the_others_to_the_beta():
    slots = filled("per", beta=0.7)
    masses = slots.masses(np.arange(CAPACITY))
    for beta in (None, 0.0, 1.0, 2.5):
        drawn, weights = slots.sample(30, beta)
        expected = (masses[drawn].min() / masses[drawn]) ** (0.7 if beta is None else beta)
        assert weights == pytest.approx(expected, rel=1e-6)
        assert weights.max() == 1
        assert (drawn.dtype, weights.dtype) == (np.int64, np.float32)


def test_the_full_scale_doubles_and_what_is_stored_stays():
    slots = SlotPriorities(10, sampler="per", alpha=1.0, eps=0.0)
    slots.insert([9, 1])
    slots.update([9, 1], [0.5, 0.75])
    slots.insert([4], [1000.0])
    slots.update([1], [5e6])
    assert slots.masses([9, 1, 4]) == pytest.approx([0.5, 5e6, 1000.0], rel=1e-2)


BAD = [
    ("update", ([10], [1.0]), IndexError, "slots must lie in 0..9, got 10 at position 0"),
    ("update", ([3, -1], [1.0, 1.0]), IndexError, "slots must lie in 0..9, got -1 at position 1"),
    ("update", ([3, 7], [9.0, 1.0]), IndexError, "slots must hold a transition, got 7 at position 1"),
    ("update", ([3], [np.nan]), ValueError, "priorities must be finite and at least 0, got nan at position 0"),
    ("update", ([3, 4], [9.0, -1.0]), ValueError, "priorities must be finite and at least 0, got -1.0 at position 1"),
    ("update", ([3], [np.inf]), ValueError, "priorities must be finite and at least 0, got inf"),
    ("update", ([3], [1.0, 2.0]), ValueError, "priorities must have one value a slot, 1, got 2"),
    ("update", ([3.0], [1.0]), TypeError, "slots must be whole numbers, got dtype float64"),
    ("update", ([[3]], [1.0]), ValueError, "slots must be one-dimensional, got shape (1, 1)"),
    ("update", ([3], ["a"]), TypeError, "priorities must hold numbers"),
    ("insert", ([10],), IndexError, "slots must lie in 0..9, got 10 at position 0"),
    ("insert", ([2**63],), IndexError, "slots must lie in 0..9, got 9223372036854775808 at position 0"),
    ("insert", ([True],), TypeError, "slots must be whole numbers, got dtype bool"),
    ("insert", ([7], [np.nan]), ValueError, "priorities must be finite and at least 0, got nan"),
    ("insert", ([7, 8], [5.0]), ValueError, "priorities must have one value a transition, 2, got 1"),
    ("sample", (0,), ValueError, "batch_size must be at least 1, got 0"),
    ("sample", (3, -1.0), ValueError, "beta must be at least 0 and finite, got -1.0"),
]


@pytest.mark.parametrize(("method", "arguments", "error", "message"), BAD, ids=[case[3][:40] for case in BAD])
@pytest.mark.parametrize("sampler", ["per", "amper-fr"])
def test_bad_input_is_refused_and_changes_nothing(sampler, method, arguments, error, message):
    slots = SlotPriorities(10, sampler=sampler, seed=0)
    slots.insert([3, 4])
    before = digest(slots)
    with pytest.raises(error, match=re.escape(message)):
        getattr(slots, method)(*arguments)
    assert digest(slots) == before


def test_a_mass_no_scale_can_hold_is_refused():
    slots = SlotPriorities(10, sampler="per", alpha=2.0)
    slots.insert([3])
    before = digest(slots)
    for call in (lambda: slots.update([3], [1e200]), lambda: slots.insert([5], [1e200])):
        with pytest.raises(ValueError, match="must have a mass"):
            call()
    assert digest(slots) == before


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"capacity": 0}, "capacity must be at least 1, got 0"),
        ({"sampler": "perr"}, "did you mean 'per'?"),
        ({"sampler": "per", "sampler_options": {"lam": 1}}, "sampler_options must be among"),
        ({"alpha": -1.0}, "alpha must be at least 0 and finite, got -1.0"),
        ({"beta": np.nan}, "beta must be at least 0 and finite, got nan"),
        ({"eps": -1.0}, "eps must lie in 0..1e+300, got -1.0"),
        ({"seed": -1}, "seed must be at least 0, got -1"),
        ({"largest": -1.0}, "largest must lie in 0..1e+300, got -1.0"),
    ],
)
def test_bad_parameters_are_refused(parameters, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        SlotPriorities(**{"capacity": 10, **parameters})


def test_nothing_can_be_drawn_before_anything_was_inserted():
    slots = SlotPriorities(10)
    slots.insert([])
    assert slots.update([], []) == 0
    with pytest.raises(ValueError, match="must follow an insert"):
        slots.sample(1)


@pytest.mark.parametrize(("sampler", "options"), OPTIONS)
@pytest.mark.parametrize("way", ["state_dict", "json", "pickle", "deepcopy"])
def test_a_copy_draws_the_next_thousand_samples_alike(sampler, options, way):
    slots = filled(sampler, options, n=CAPACITY)
    slots.sample(7)
    if way in ("state_dict", "json"):
        state = slots.state_dict()
        if way == "json":
            values, arrays = flatten(state)
            state = unflatten(json.loads(json.dumps(values)), arrays)
        other = SlotPriorities(CAPACITY, sampler=sampler, sampler_options=options, seed=99)
        other.load_state_dict(state)
    else:
        other = pickle.loads(pickle.dumps(slots)) if way == "pickle" else copy.deepcopy(slots)
    assert draws(slots) == draws(other)
    for each in (slots, other):
        each.insert([1, 2])
        each.update([2, 3], [70.0, 0.0])
    assert draws(slots, 50) == draws(other, 50)
    assert digest(slots) == digest(other)


def test_a_state_is_a_copy():
    slots = filled()
    state = slots.state_dict()
    before = pickle.dumps(state)
    slots.insert(np.arange(CAPACITY))
    slots.sample(3)
    assert pickle.dumps(state) == before


def broken(state, key):
    if key == "outside":
        state["outside"][1] = state["outside"][0]
    elif key == "hole":
        state["outside"][5] = -1
    elif key == "alpha":
        state["alpha"] = -1.0
    elif key == "codes":
        state["sampler"]["tree"]["leaves"][0] = 0
    elif key == "sampler":
        state["config"]["sampler"] = "uniform"
    else:
        del state[key]
    return state


@pytest.mark.parametrize("key", ["outside", "hole", "alpha", "codes", "sampler", "encoder", "config"])
def test_a_broken_state_is_refused_and_changes_nothing(key):
    slots = filled()
    other = filled(seed=1)
    before = digest(other)
    with pytest.raises(ValueError, match="must"):
        other.load_state_dict(broken(slots.state_dict(), key))
    assert digest(other) == before


@pytest.mark.parametrize(("sampler", "options"), OPTIONS)
def test_cleared_slots_hold_nothing_and_do_not_repeat_their_draws(sampler, options):
    slots = SlotPriorities(CAPACITY, sampler=sampler, sampler_options=options, seed=0)
    slots.insert(np.arange(CAPACITY))
    first = draws(slots, 20)
    slots.update([4], [50.0])
    slots.clear()
    assert len(slots) == 0
    assert not slots.masses(np.arange(CAPACITY)).any()
    assert slots.largest == 1.0
    slots.insert(np.arange(CAPACITY))
    assert draws(slots, 20) != first


@pytest.mark.parametrize(("sampler", "options"), OPTIONS)
def test_another_alpha_makes_masses_anew(sampler, options):
    slots = filled(sampler, options, alpha=0.6)
    everything = np.arange(CAPACITY)
    priorities = slots.priorities(everything)
    other = slots.with_alpha(0.9)
    held = priorities > 0
    assert other.alpha == 0.9
    assert other.largest == slots.largest
    scale = (slots.largest + 1e-6) ** 0.9
    assert other.masses(everything)[held] == pytest.approx((priorities[held] + 1e-6) ** 0.9, rel=0.02, abs=scale / 100)
    assert (other.masses(everything) > 0).tolist() == held.tolist()
    assert draws(slots.with_alpha(0.9), 10) == draws(other, 10)
    uniform = slots.with_alpha(0.0)
    assert len(set(uniform.masses(everything[held]))) == 1
    assert uniform.with_alpha(0.6).priorities(everything[held]) == pytest.approx(slots.largest, rel=0.01)


def test_ranks_follow_the_exponent():
    slots = SlotPriorities(3, sampler="per-rank", alpha=1.0, seed=0)
    slots.insert([0, 1, 2], [3.0, 2.0, 1.0])
    assert slots.sampler.law(1) == pytest.approx(np.array([6, 3, 2]) / 11)
    assert slots.with_alpha(2.0).sampler.law(1) == pytest.approx(np.array([36, 9, 4]) / 49)


def test_slots_need_no_torch():
    code = "import sys, amper.adapters.slots\nprint('torch' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["False"]


def test_slots_say_what_they_are():
    assert repr(filled()) == "SlotPriorities(per, 40 of 60)"


@pytest.mark.parametrize("package", ["stable_baselines3", "torchrl", "tianshou"])
def test_an_adapter_without_its_package_names_the_extra(package):
    code = (
        f"import sys; sys.modules[{package!r}] = None; sys.modules['torch'] = None\n"
        f"try:\n    import amper.adapters.{package}\nexcept ImportError as error:\n    print(error)\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 'pip install ".[adapters]" from a clone' in ran.stdout
    assert "torch's CPU build first" in ran.stdout
