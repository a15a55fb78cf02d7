"""Years until a row's cells are worn out: counted by hand on small traces."""

import numpy as np
import pytest

import hwsim
from amper.protocols import Draw
from amper.trace import OpKind, Trace, TraceHeader
from hwsim.wear import writes_per_step

EVACAM = "evacam-fefet45"


def traced(*steps, n_rows=4, filled=4):
    """Return `filled` rows inserted, then a sampling and an update of those slots a step."""
    trace = Trace()
    trace.begin(TraceHeader(n_rows=n_rows, row_bytes=64, bits=16, sampler="per", options={}, seed=0))
    trace.record_insert(np.arange(filled), np.ones(filled))
    for slots in steps:
        trace.record_sample(Draw(np.zeros(2, np.int64), np.ones(2), n_valid=filled, n_csp=filled))
        if slots:
            trace.record_update(np.array(slots), np.ones(len(slots)))
    return trace


def naive_writes(trace, n_ops):
    """Return writes by slot from the first sampling on, one by one; steps."""
    counts, steps = {}, 0
    for op in trace.ops[:n_ops]:
        if op["kind"] == OpKind.SAMPLE:
            steps += 1
        elif steps:
            for row in range(op["first"], op["first"] + op["count"]):
                slot = int(trace.writes["slot"][row])
                counts[slot] = counts.get(slot, 0) + 1
    return counts, steps


def test_years_by_hand():
    trace = traced([0, 1], [0, 2], [0, 1], [3])
    found = hwsim.endurance(trace, EVACAM, steps_per_second=1_000)
    assert found.writes_per_step_busiest == 3 / 4  # slot 0 in three of four steps
    assert found.writes_per_step_mean == 7 / 4 / 4  # seven writes, four steps, four rows
    assert found.years_busiest == pytest.approx(1e10 / 750 / 86400 / 365.25)
    assert found.years_busiest == pytest.approx(0.42250, abs=1e-5)
    assert found.years_mean == pytest.approx(1e10 / 437.5 / 86400 / 365.25)
    assert found.source.startswith("assumed: ")
    assert found.steps_per_second == 1_000.0
    twice = hwsim.endurance(trace, EVACAM, steps_per_second=2_000)
    assert twice.years_busiest == pytest.approx(found.years_busiest / 2)


def test_filling_the_buffer_is_not_counted_and_later_inserts_are():
    trace = traced([0], [0])
    trace.record_insert(np.array([1, 1, 1]), np.ones(3))
    assert writes_per_step(trace) == (3 / 2, 5 / 2 / 4)


def test_a_row_written_twice_in_one_op_is_written_twice():
    assert writes_per_step(traced([2, 2]))[0] == 2.0


@pytest.mark.parametrize("seed", range(3))
def test_counts_are_those_counted_one_by_one(seed):
    rng = np.random.default_rng(seed)
    steps = [rng.integers(0, 9, int(rng.integers(0, 5))).tolist() for _ in range(20)]
    trace = traced(*steps, n_rows=10, filled=10)
    for n_ops in (2, 5, 17, len(trace)):
        counts, n_steps = naive_writes(trace, n_ops)
        busiest, mean = writes_per_step(trace, n_ops)
        assert busiest == pytest.approx(max(counts.values(), default=0) / n_steps)
        assert mean == pytest.approx(sum(counts.values()) / n_steps / 10)


def test_a_wrong_count_would_be_noticed():
    counts, n_steps = naive_writes(traced([0, 1], [0]), 5)
    assert counts == {0: 2, 1: 1}
    assert writes_per_step(traced([0, 1], [1], [1]))[0] != max(counts.values()) / n_steps * 2


def test_rows_never_in_use_share_no_writes():
    assert writes_per_step(traced([0], n_rows=100, filled=4))[1] == 1 / 4


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("sumtree-onchip", {}),
        ("sumtree-onchip", {"technology": EVACAM}),  # its rows lie in SRAM all the same
        ("rejection-onchip", {}),
        ("sumtree-gpu", {}),
        ("sumtree-cpu", {}),
    ],
)
def test_a_machine_without_a_tcam_has_no_limit(name, options):
    found = hwsim.endurance(traced([0]), hwsim.machine(name, n_rows=4, **options), steps_per_second=1.0)
    assert (found.years_busiest, found.years_mean, found.source) == (None, None, None)
    assert found.writes_per_step_busiest == 1.0


@pytest.mark.parametrize("technology", [EVACAM, "camasim-fefet45"])
def test_a_machine_has_its_technologys_limit(technology):
    machine = hwsim.machine("amper-fr", n_rows=64, technology=technology)
    trace = traced([0], [1])
    found = hwsim.endurance(trace, machine, steps_per_second=10.0)
    assert found == hwsim.endurance(trace, technology, steps_per_second=10.0)
    assert found == hwsim.endurance(trace, hwsim.technology(technology), steps_per_second=10.0)
    assert found.years_busiest == pytest.approx(1e10 / 5 / 86400 / 365.25)


def test_a_technology_without_a_number_has_no_limit():
    assert hwsim.endurance(traced([0]), "cmos45", steps_per_second=1.0).years_busiest is None


def test_what_is_never_written_never_wears():
    found = hwsim.endurance(traced([], []), EVACAM, steps_per_second=1.0)
    assert (found.writes_per_step_busiest, found.writes_per_step_mean) == (0.0, 0.0)
    assert (found.years_busiest, found.years_mean) == (None, None)


def test_what_cannot_be_answered_is_refused(tmp_path):
    trace = traced([0])
    with pytest.raises(ValueError, match="trace must sample at least once, got 1 ops without a sampling"):
        hwsim.endurance(traced(), EVACAM, steps_per_second=1.0)
    with pytest.raises(ValueError, match="trace must sample at least once"):
        hwsim.endurance(trace, EVACAM, steps_per_second=1.0, n_ops=1)
    with pytest.raises(ValueError, match="n_ops must be at most 3, got 4"):
        hwsim.endurance(trace, EVACAM, steps_per_second=1.0, n_ops=4)
    for rate in (0, -1.0, float("inf"), float("nan")):
        with pytest.raises(ValueError, match="steps_per_second must be finite and above 0"):
            hwsim.endurance(trace, EVACAM, steps_per_second=rate)
    with pytest.raises(TypeError, match=r"trace must be an amper.Trace, got 'x'"):
        hwsim.endurance("x", EVACAM, steps_per_second=1.0)
    with pytest.raises(TypeError, match="machine must be a machine, a technology or its name, got 3"):
        hwsim.endurance(trace, 3, steps_per_second=1.0)
    path = tmp_path / "worn.toml"
    path.write_text(
        'title = "worn"\nkind = "tcam"\nbased_on = ["camasim-fefet45"]\n'
        '[endurance]\nwrites = { value = 0, unit = "1", source = "s" }\n',
        encoding="utf-8",
    )
    with pytest.raises(ValueError, match=r"endurance.writes.value in '.*worn.toml' must be above 0, got 0"):
        hwsim.endurance(trace, path, steps_per_second=1.0)


def test_a_machine_in_a_scaled_technology_wears_by_that_technology():
    trace, worn = traced([0]), hwsim.technology(EVACAM).scaled({"endurance.writes": 0.5})
    half, whole = (
        hwsim.endurance(trace, hwsim.machine("amper-fr", n_rows=64, technology=tech), steps_per_second=1.0)
        for tech in (worn, EVACAM)
    )
    assert half.years_busiest == whole.years_busiest / 2
