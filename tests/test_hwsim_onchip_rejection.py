"""On-chip rejection: the law of its draws, the number of its tries, and ops that overlap."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import amper
import hwsim
from amper.protocols import Draw
from hwsim.machines.onchip_rejection import largest_overlap
from tests.hwsim_cases import random_case
from tests.naive import rejection_machine
from tests.onchip_cases import perform_all, random_rejection
from tests.test_hwsim_equality import assert_same
from tests.test_hwsim_machines import hand_trace


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)).map(sorted), min_size=1, max_size=12))
def test_the_largest_overlap_is_the_one_counted_code_by_code(ranges):
    assert largest_overlap(np.array(ranges)) == rejection_machine.largest_overlap(ranges, 50)


def test_slots_come_by_their_multiplicity_and_not_by_mere_membership():
    rng = np.random.default_rng(3)
    codes = rng.integers(1, 1000, 120)
    ranges = [(100, 400), (300, 600), (350, 380), (900, 950)]
    multiplicity = sum((codes >= lo) & (codes <= hi) for lo, hi in ranges)
    inside = multiplicity > 0
    n_draws = 100_000
    expected = multiplicity[inside] / multiplicity.sum() * n_draws
    for by_multiplicity in (True, False):
        slots, tries = rejection_machine.draw_slots(rng, codes, ranges, n_draws, by_multiplicity=by_multiplicity)
        drawn = np.bincount(slots, minlength=120)
        assert drawn[~inside].sum() == 0
        survival = stats.chi2.sf(np.sum((drawn[inside] - expected) ** 2 / expected), inside.sum() - 1)
        # False-alarm rate 1e-6 at a fixed seed.
        assert (survival > 1e-6) == by_multiplicity
        if by_multiplicity:
            chance = multiplicity.sum() / (120 * 3)
            # Negative binomial; two-sided 1e-5.
            spread = np.sqrt(n_draws * (1 - chance)) / chance
            assert abs(tries - n_draws / chance) < 4.42 * spread


@pytest.mark.parametrize("fraction", [0.02, 0.15, 0.6])
@pytest.mark.parametrize("n_lanes", [1, 4])
def test_tries_a_draw_are_the_inverse_of_the_chance_of_a_try(fraction, n_lanes):
    trace = hwsim.synthetic_trace(2_001, 64, fraction, 150, seed=2)
    machine = hwsim.machine("rejection-onchip", n_rows=2_001, n_lanes=n_lanes, seed=5)
    tries = list(machine.tries(trace).values())
    assert machine.n_given_up(trace) == 0
    places = n_lanes * -(-2_001 // n_lanes)
    chance = np.array([t.chance for t in tries])
    overlap = trace.samples["n_csp"] / (chance * places)
    assert overlap == pytest.approx(np.round(overlap))
    assert overlap.min() >= 1
    total = sum(t.n_tries for t in tries)
    # Sum of negative binomials; two-sided false-alarm rate 1e-5 at a fixed seed.
    spread = np.sqrt((64 * (1 - chance) / chance**2).sum())
    assert abs(total - (64 / chance).sum()) < 4.42 * spread


def test_tries_depend_on_seed_and_op_and_on_nothing_before_them():
    trace = hwsim.synthetic_trace(500, 16, 0.1, 5, seed=1)

    def tries(seed):
        machine = hwsim.machine("rejection-onchip", n_rows=500, seed=seed)
        return [t.n_tries for t in machine.tries(trace).values()]

    assert tries(0) == tries(0) != tries(1)
    assert len(set(tries(0))) > 1


def test_a_set_without_candidates_ends_in_uniform_draws_after_the_tries_allowed():
    trace = hwsim.synthetic_trace(1_000, 64, 0.0, 3, seed=0)
    fallback = trace.samples["fallback"].astype(bool)
    assert fallback.any()
    for n_lanes in (1, 3):
        machine = hwsim.machine("rejection-onchip", n_rows=1_000, n_lanes=n_lanes, max_tries=4_096)
        report = hwsim.simulate(trace, machine)
        front, overlap, c = 1 + 6 + 19, 20 + 3, machine.costs
        cycles = front + overlap + (-(-4_096 // n_lanes) - 1 + c.depth) + -(-64 // n_lanes)
        assert set(report.latency_ns["sample"][fallback].tolist()) == {cycles}
        assert machine.n_given_up(trace) >= fallback.sum()


def test_a_sampling_without_ranges_draws_uniformly_at_once():
    trace = hand_trace(rows=[], n_csp=3, n_redraws=2, fallback=True)
    for fidelity in ("burst", "closed"):
        report = hwsim.simulate(trace, hwsim.machine("rejection-onchip", n_rows=100), fidelity=fidelity)
        assert report.latency_ns["sample"].tolist() == [1 + (2 - 1) + 2]


def test_redraws_cost_nothing_for_only_the_last_attempts_ranges_are_served():
    last = [0, 15, 10, 20, 0, 1, 2, 1]
    once = hand_trace(rows=[[*last[:7], 0]])
    twice = hand_trace(rows=[[0, 500, 500, 500, 0, 1, 0, 0], last], n_redraws=1)
    machine = hwsim.machine("rejection-onchip", n_rows=100)
    reports = [hwsim.simulate(trace, machine) for trace in (once, twice)]
    assert reports[0].latency_fs["sample"].tolist() == reports[1].latency_fs["sample"].tolist()
    assert reports[0].energy_aj == reports[1].energy_aj


def test_without_duplicates_any_match_accepts_and_no_overlap_is_sought():
    trace = amper.Trace()
    buffer = amper.ReplayBuffer(64, {"x": {}}, sampler_options={"unique": True, "lam": 2.0}, seed=0, sink=trace)
    buffer.add(x=np.arange(64.0))
    buffer.sample(8)
    machine = hwsim.machine("rejection-onchip", n_rows=64)
    events, formula = (hwsim.simulate(trace, machine, fidelity=f) for f in ("burst", "closed"))
    assert_same(events, formula)
    assert events.sample_phases["overlap"].tolist() == [0]
    (tries,) = machine.tries(trace).values()
    assert tries.chance == trace.samples["n_csp"][0] / 64


def test_more_lanes_try_faster():
    trace = hwsim.synthetic_trace(20_000, 64, 0.02, 10, seed=0)
    means = []
    for n_lanes in (1, 2, 8):
        machine = hwsim.machine("rejection-onchip", n_rows=20_000, n_lanes=n_lanes)
        means.append(hwsim.simulate(trace, machine, fidelity="closed").sample_phases["tries"].mean())
    assert means[0] / means[1] == pytest.approx(2, rel=0.02)
    assert means[0] / means[2] == pytest.approx(8, rel=0.05)


def test_rows_of_one_bank_are_written_one_after_another():
    trace = hand_trace(slots=[0, 2, 4, 6, 1], sample=False)
    for n_lanes, cycles in ((1, 5), (2, 4), (3, 2)):
        machine = hwsim.machine("rejection-onchip", n_rows=100, n_lanes=n_lanes)
        for fidelity in ("burst", "closed"):
            assert hwsim.simulate(trace, machine, fidelity=fidelity).latency_ns["insert"].tolist() == [cycles]


# -- several ops at once ----------------------------------------------------------------------------
def test_a_write_waits_for_the_tries_and_not_for_the_queries_before_them():
    trace = hand_trace(slots=range(70))
    trace.record_update(np.arange(3), np.full(3, 5))
    trace.record_update(np.arange(3), np.full(3, 5))
    trace.record_sample(Draw(np.array([0]), np.ones(1), n_valid=70, n_csp=70, fallback=True))
    machine = hwsim.machine("rejection-onchip", n_rows=100)
    front = 1 + 6 + (1 + 3)
    ended, phases, totals, _ = perform_all(machine, trace, [0, 70, 71, 70 + front + 1, 72])
    tries = phases[1]["tries"] // 10**6
    assert ended[1] == (70 + front + tries) * 10**6
    assert ended[2] == (71 + 3) * 10**6
    assert ended[3] == ended[1] + 3 * 10**6
    assert ended[4] - 72 * 10**6 - sum(phases[4].values()) == ended[1] - 72 * 10**6  # what it waited
    assert dict(totals["query_generator"].stalls)["sample"] > 0


@settings(max_examples=60, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32 - 1))
def test_tries_and_writes_that_arrive_together_share_the_memory_one_after_another(seed):
    rng = np.random.default_rng(seed)
    case = random_case(rng, variant="amper-fr", n_rows=40, n_groups=4, n_samplings=4, max_csp=0.3)
    machine = random_rejection(rng, 40)
    arrivals = np.sort(rng.integers(0, 300, len(case.trace)))
    ended, phases, _, ledger = perform_all(machine, case.trace, arrivals)
    for op, split in enumerate(phases):
        if case.trace.ops["kind"][op] == 2:
            assert 0 < sum(split.values()) <= ended[op] - arrivals[op] * machine.costs.period_fs  # the rest it waited
    columns = ledger.columns()
    memory = [s.name for s in machine.components].index("memory")
    mine = (columns["component"] == memory) & (columns["cause"] == 0) & (columns["duration_fs"] > 0)
    spans = {}
    for op, start, lasts in zip(*(columns[name][mine] for name in ("op", "start_fs", "duration_fs")), strict=True):
        begin, end = spans.get(op, (start, 0))
        spans[op] = (min(begin, start), max(end, start + lasts))
    in_order = sorted(spans.values())
    assert all(a[1] <= b[0] for a, b in itertools.pairwise(in_order))
