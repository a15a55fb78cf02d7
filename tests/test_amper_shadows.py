"""Samplers that follow a replay hold what a replay of its trace would leave them with."""

import numpy as np
import pytest

import amper
from amper import samplers
from amper.shadows import Shadows

WANTED = {
    "tree": ("per", {}),
    "linear": ("amper-fr", {}),
    "octaves": ("amper-fr", {"grouping": "octave", "v_max": "q99"}),
    "nearest": ("amper-k", {"bits": 12}),
}


class Both:
    """A sink that is two."""

    def __init__(self, *sinks):
        self._sinks = sinks

    def __getattr__(self, name):
        return lambda *a, **k: [getattr(sink, name)(*a, **k) for sink in self._sinks]


@pytest.mark.parametrize("sampler", ["per", "amper-fr"])
def test_shadows_hold_what_a_replay_of_the_trace_holds(sampler):
    trace, shadows = amper.Trace(), Shadows(WANTED)
    buffer = amper.ReplayBuffer(60, {"x": {}}, sampler=sampler, seed=5, sink=Both(trace, shadows))
    rng = np.random.default_rng(0)
    for step in range(200):
        buffer.add(x=np.zeros(2))
        ids = buffer.sample(8)["indices"]
        buffer.update_priorities(ids, rng.exponential(0.2 if step < 100 else 3.0, 8))  # the scale doubles
    assert buffer.stats["rescales"] > 0
    for name, (other, options) in WANTED.items():
        _, replayed = samplers.replay_trace(trace, other, **options)
        assert np.array_equal(shadows.samplers[name].codes, replayed.codes), name
        if hasattr(replayed, "full"):
            assert shadows.samplers[name].full == replayed.full


def test_shadows_follow_one_replay_and_know_their_options():
    shadows = Shadows({"a": ("amper-fr", {"grouping": "octaves"})})
    with pytest.raises(ValueError, match="grouping must be"):
        amper.ReplayBuffer(10, {"x": {}}, sampler="per", sink=shadows)
    shadows = Shadows({"a": ("per", {})})
    amper.ReplayBuffer(10, {"x": {}}, sampler="per", sink=shadows)
    with pytest.raises(ValueError, match="sink must be new Shadows"):
        amper.ReplayBuffer(10, {"x": {}}, sampler="per", sink=shadows)


@pytest.mark.parametrize("made", ["per", ("per",), None])
def test_what_is_no_sampler_with_options_is_refused_by_name(made):
    with pytest.raises(TypeError, match=r"wanted must map names to \(sampler, options\), got .* for 'a'"):
        Shadows({"a": made})


def test_a_full_scale_of_its_own_is_refused():
    with pytest.raises(ValueError, match="full_scale must stay the recording's"):
        amper.ReplayBuffer(5, {"x": {}}, sampler="amper-fr", sink=Shadows({"a": ("amper-fr", {"full_scale": 9.0})}))
