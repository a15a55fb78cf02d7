"""Event simulation, closed form and the cycle-by-cycle machine agree on every op, to the femtosecond."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hwsim
from tests.hwsim_cases import bank_counts, random_case
from tests.naive import csb_machine as naive

PRESETS = ("camasim-fefet45", "evacam-fefet45")
VARIANTS = ("amper-fr", "amper-k")
KINDS = ("sample", "update", "insert", "fetch")


def random_machine(rng, variant, n_rows):
    n_banks = int(rng.integers(1, 17))
    n_ports = int(rng.choice([1, n_banks, rng.integers(1, n_banks + 1)]))
    return hwsim.machine(
        variant,
        n_rows=n_rows,
        technology=str(rng.choice(PRESETS)),
        n_banks=n_banks,
        n_csb_ports=n_ports,
        mapping=str(rng.choice(["interleaved", "contiguous"])),
        clock_ghz=float(rng.choice([1.0, 1.0, 0.7, 2.0])),
        overflow="drop",
    )


def assert_same(events, formula):
    """Every number of the two reports is the same."""
    for kind in KINDS:
        assert events.latency_fs[kind].dtype == np.int64
        np.testing.assert_array_equal(events.latency_fs[kind], formula.latency_fs[kind], err_msg=kind)
    for phase, values in events.sample_phases.items():
        np.testing.assert_array_equal(values, formula.sample_phases[phase], err_msg=phase)
    np.testing.assert_array_equal(sum(events.sample_phases.values()), events.latency_fs["sample"])
    assert events.breakdown == formula.breakdown
    assert (events.energy_aj, events.makespan_fs) == (formula.energy_aj, formula.makespan_fs)
    assert events.energy_by_kind_aj == formula.energy_by_kind_aj


def assert_balanced(report):
    """Parts add up to the whole: time for each component, energy over components and over kinds."""
    for part in report.breakdown.values():
        assert part["busy_fs"] + part["stalled_fs"] + part["idle_fs"] == report.makespan_fs
        assert sum(part["stalls"].values()) == part["stalled_fs"]
        assert part["busy_fs"] <= part["unit_busy_fs"] <= part["n_units"] * part["busy_fs"]
    assert sum(part["energy_aj"] or 0 for part in report.breakdown.values()) == report.energy_aj
    assert sum(aj or 0 for aj in report.energy_by_kind_aj.values()) == report.energy_aj
    assert sum(int(v.sum()) for v in report.latency_fs.values()) == report.makespan_fs


def run_cases(n_cases, seed, largest):
    """Compare both fidelities on random cases; return how many samplings the readout dominated."""
    rng = np.random.default_rng(seed)
    readout_bound = 0
    for i in range(n_cases):
        variant = VARIANTS[i % 4 == 3]
        n_rows = int(np.exp(rng.uniform(0, np.log(largest))))
        n_groups = int(rng.integers(1, 65))
        case = random_case(rng, variant=variant, n_rows=n_rows, n_groups=n_groups, n_samplings=1, redraws=i % 3 == 0)
        machine = random_machine(rng, variant, n_rows)
        events = hwsim.simulate(case.trace, machine)
        assert_same(events, hwsim.simulate(case.trace, machine, fidelity="closed"))
        assert_balanced(events)
        bound = 2 * events.sample_phases["readout"] > events.latency_fs["sample"]
        readout_bound += variant == "amper-fr" and bool(bound.all())
    return readout_bound


def test_events_equal_the_closed_form_on_random_cases_many_of_them_bound_by_the_readout():
    assert run_cases(500, seed=1, largest=100_000) >= 200


@pytest.mark.slow
def test_events_equal_the_closed_form_on_many_more_random_cases():
    assert run_cases(6_000, seed=2, largest=100_000) >= 2_500


def naive_latencies(case, machine, *, fifo_depth=2):
    """Return the cycles of every sampling and write by stepping a clock."""
    c = machine.costs
    where = {
        "n_rows": machine.n_rows,
        "rows_per_array": machine.rows_per_array,
        "n_banks": machine.n_banks,
        "mapping": machine.mapping,
    }
    front = {"urng": c.urng, "query": c.query, "way": c.way, "search": c.search}
    ports = [b % machine.n_csb_ports for b in range(machine.n_banks)]
    samplings = []
    for searches, batch_size, n_redraws in case.samplings:
        cycles = naive.draw(draw_cycles=c.draw, batch_size=batch_size)
        for attempt in range(n_redraws + 1):
            mine = [s for s in searches if s["attempt"] == attempt]
            if not mine:
                cycles += c.urng
            elif machine.name == "amper-fr":
                matches = [bank_counts(s["slots"], **where) for s in mine]
                words = [s["words"] for s in mine]
                cycles += naive.range_attempt(words, matches, port_of_bank=ports, fifo_depth=fifo_depth, **front)
            else:
                rows = [("nearest", s["neighbours"]) if s["neighbours"] else ("count", s["words"]) for s in mine]
                more = {"best_match": c.best_match, "count": c.count, "compare": c.compare}
                cycles += naive.nearest_attempt(rows, **front, **more)
        samplings.append(cycles)
    writes = []
    for slots in case.writes:
        banks = [bank_counts([s], **where).index(1) for s in slots]
        writes.append(naive.write(banks, machine.n_banks, way=c.way, write_cycles=c.write))
    return np.array(samplings) * c.period_fs, np.array(writes) * c.period_fs


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**32 - 1),
    variant=st.sampled_from(VARIANTS),
    n_rows=st.integers(1, 400),
    n_groups=st.integers(1, 8),
    max_csp=st.sampled_from([0.0, 0.02, 0.3, 1.0]),
)
def test_both_fidelities_equal_the_machine_stepped_address_by_address(seed, variant, n_rows, n_groups, max_csp):
    rng = np.random.default_rng(seed)
    case = random_case(
        rng, variant=variant, n_rows=n_rows, n_groups=n_groups, n_writes=1, max_csp=max_csp, redraws=True
    )
    machine = random_machine(rng, variant, n_rows)
    samplings, writes = naive_latencies(case, machine)
    for fidelity in ("burst", "closed"):
        report = hwsim.simulate(case.trace, machine, fidelity=fidelity)
        np.testing.assert_array_equal(report.latency_fs["sample"], samplings)
        kinds = case.trace.ops["kind"]
        order = kinds[kinds != 2]
        np.testing.assert_array_equal(report.latency_fs["insert"], writes[order == 0])
        np.testing.assert_array_equal(report.latency_fs["update"], writes[order == 1])


def textbook_latency(costs, words, drains, batch_size, *, overlap=1, pipeline=1):
    """Return one sampling's cycles by the recursion as it is stated, with two knobs to break it."""
    load = costs.urng + costs.query + costs.way + costs.search * words[0]
    for g, drain in enumerate(drains):
        end = load + (pipeline + drain if drain else 0)
        if g + 1 < len(drains):
            load = max(load + costs.search * words[g + 1], end - overlap)
    return end + costs.way + 1 + costs.draw + batch_size


@pytest.mark.parametrize(
    ("mistake", "agrees"),
    [({}, True), ({"overlap": 0}, False), ({"overlap": 2}, False), ({"pipeline": 0}, False)],
    ids=["as stated", "latch not overlapped", "latch overlapped twice", "no encoder cycle"],
)
def test_a_formula_with_a_planted_mistake_disagrees_with_the_events(mistake, agrees):
    trace = hwsim.synthetic_trace(5_000, 64, 0.15, 4, seed=3)
    machine = hwsim.machine("amper-fr", n_rows=5_000, n_csb_ports=2)
    events = hwsim.simulate(trace, machine).latency_fs["sample"] // machine.costs.period_fs
    counts = machine.bank_counts(trace)
    drains = np.stack([counts[:, p::2].sum(axis=1) for p in range(2)]).max(axis=0).reshape(4, 20)
    wrong = [textbook_latency(machine.costs, [1] * 20, d.tolist(), 64, **mistake) for d in drains]
    assert (events == wrong).all() == agrees


def test_a_fifo_of_depth_one_is_slower_than_the_formula():
    rng = np.random.default_rng(5)
    case = random_case(rng, variant="amper-fr", n_rows=300, n_groups=4, n_samplings=3)
    machine = hwsim.machine("amper-fr", n_rows=300, n_banks=1, overflow="drop")
    formula = hwsim.simulate(case.trace, machine, fidelity="closed").latency_fs["sample"]
    assert (naive_latencies(case, machine)[0] == formula).all()
    assert (naive_latencies(case, machine, fifo_depth=1)[0] > formula).any()


def test_energy_is_the_count_of_actions_times_their_cost():
    rng = np.random.default_rng(8)
    case = random_case(rng, variant="amper-fr", n_rows=2_000, n_groups=20, n_samplings=5, redraws=True)
    machine = hwsim.machine("amper-fr", n_rows=2_000, overflow="drop", csb_entries=500)
    report = hwsim.simulate(case.trace, machine)
    array = hwsim.technology("camasim-fefet45").array(words=64, bits=16)
    words = sum(s["words"] for searches, _, _ in case.samplings for s in searches)
    n_arrays = -(-2_000 // 64)
    assert report.breakdown["arrays"]["energy_aj"] == words * n_arrays * round(array.search_pj * 1e6)
    rows = sum(len(slots) for slots in case.writes)
    assert report.breakdown["write_ports"]["energy_aj"] == rows * round(array.write_pj * 1e6)
    stored = lost = 0
    for searches, _, n_redraws in case.samplings:
        for attempt in range(n_redraws + 1):
            found = sum(len(s["slots"]) for s in searches if s["attempt"] == attempt)
            stored += min(found, 500)
            lost += max(found - 500, 0)
    draws = sum(b for _, b, _ in case.samplings)
    assert report.breakdown["csb"]["energy_aj"] == (stored + draws) * machine.costs.csb_aj
    assert report.n_dropped == lost > 0


def test_a_trace_on_a_larger_machine_lies_in_that_machines_contiguous_banks():
    rng = np.random.default_rng(11)
    case = random_case(rng, variant="amper-fr", n_rows=500, n_groups=5)
    machine = hwsim.machine("amper-fr", n_rows=3_000, n_banks=4, n_csb_ports=4, mapping="contiguous", overflow="drop")
    samplings, _ = naive_latencies(case, machine)
    for fidelity in ("burst", "closed"):
        report = hwsim.simulate(case.trace, machine, fidelity=fidelity)
        np.testing.assert_array_equal(report.latency_fs["sample"], samplings)


def test_the_reports_of_one_trace_are_the_same_twice():
    trace = hwsim.synthetic_trace(1_000, 16, 0.1, 3, seed=1)
    machine = hwsim.machine("amper-fr", n_rows=1_000)
    assert hwsim.simulate(trace, machine).to_dict() == hwsim.simulate(trace, machine).to_dict()
