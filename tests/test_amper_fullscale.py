"""Full scale of the groups: what each rule makes of what was written."""

import numpy as np
import pytest

import amper
from amper import samplers
from amper.fullscale import make_rule
from amper.shadows import Shadows
from tests.naive.associative import decayed_maximum

READ = None


def test_the_running_maximum_never_falls():
    rule = make_rule("running", 4, 16)
    for code, expected in ((5, 5), (900, 900), (7, 900)):
        rule.updated(np.array([0]), np.array([code]), READ)
        assert rule.v_max == expected


def test_a_decayed_maximum_halves_in_as_many_updated_codes_as_it_says():
    rng = np.random.default_rng(0)
    rule = make_rule("decay50", 100, 16)
    written = []
    for _ in range(200):
        codes = np.minimum((rng.exponential(300, int(rng.integers(1, 20)))).astype(np.int64) + 1, 65_535)
        written.append(codes)
        rule.updated(np.arange(len(codes)), codes, READ)
        assert rule.v_max == pytest.approx(decayed_maximum(written, 50), abs=1.0)


def test_new_transitions_at_the_maximum_do_not_hold_a_decayed_maximum_up():
    sampler = samplers.make("amper-fr", 100, seed=0, v_max="decay10")
    sampler.insert(np.array([0]), np.array([40_000]), at_maximum=False)
    for slot in range(1, 99):
        sampler.update(np.array([0]), np.array([3]))
        sampler.insert(np.array([slot]), np.array([40_000]), at_maximum=True)
    assert sampler.full < 100
    assert sampler.codes[98] < 100


def test_codes_above_a_decayed_maximum_are_still_found():
    sampler = samplers.make("amper-fr", 3, seed=0, v_max="decay10")
    sampler.insert(np.arange(3), np.array([40_000, 3, 3]), at_maximum=False)
    for _ in range(100):
        sampler.update(np.array([1]), np.array([3]))
    assert sampler.full < 100
    assert sampler.law(1000)[0] > 0.2


@pytest.mark.parametrize("v_max", ["running", "decay300", "q95"])
@pytest.mark.parametrize("engine", ["index", "tcam"])
def test_a_full_scale_goes_on_from_its_state(v_max, engine):
    def step(sampler, rng):
        slots = rng.permutation(50)[:8]
        codes = rng.integers(1, 2_000, 8)
        sampler.insert(slots[:2], np.full(2, 9_000), at_maximum=True)
        sampler.update(slots[2:], codes[2:])
        return sampler.full, sampler.sample(8).slots.tolist()

    one, two = (samplers.make("amper-fr", 50, seed=0, v_max=v_max, engine=engine) for _ in range(2))
    rng = np.random.default_rng(1)
    one.insert(np.arange(50), np.full(50, 9_000), at_maximum=False)
    for _ in range(30):
        step(one, rng)
    two.load_state_dict(one.state_dict())
    again = np.random.default_rng(2)
    assert [step(one, again) for _ in range(30)] == [
        step(two, r) for r in [np.random.default_rng(2)] for _ in range(30)
    ]


def test_a_halving_of_every_code_halves_what_the_rules_go_by():
    for v_max in ("running", "decay1000000", "q100"):
        sampler = samplers.make("amper-fr", 10, seed=0, v_max=v_max)
        sampler.insert(np.arange(10), np.full(10, 8_000), at_maximum=False)
        sampler.update(np.arange(10), np.full(10, 8_000))
        before = sampler.full
        sampler.rescale(2)
        assert sampler.full == pytest.approx(before / 4, rel=0.1)


def test_the_compiled_way_and_the_recorded_one_decay_alike():
    options = {"v_max": "decay50"}
    shadows = Shadows({"same": ("amper-fr", options)})
    plain, recorded = (
        amper.ReplayBuffer(100, {"x": {}}, sampler="amper-fr", sampler_options=options, seed=0, sink=sink)
        for sink in (None, shadows)
    )
    rng = np.random.default_rng(0)
    for _ in range(300):
        priorities = rng.exponential(0.3, 16)
        drawn = []
        for buffer in (plain, recorded):
            buffer.add(x=np.zeros(1))
            drawn.append(buffer.sample(16)["indices"])
            buffer.update_priorities(drawn[-1], priorities)
        assert np.array_equal(*drawn)
        assert plain._sampler.full == recorded._sampler.full == shadows.samplers["same"].full
