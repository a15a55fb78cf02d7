"""Three fidelities and the cycle-by-cycle machine agree on every op, to the femtosecond."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hwsim
from tests.hwsim_cases import BITS, array_counts, bank_counts, random_case
from tests.naive import csb_machine as naive
from tests.naive import rank_machine

PRESETS = ("camasim-fefet45", "evacam-fefet45")
KINDS = ("sample", "update", "insert", "fetch")
#: Everything that changes how a sampling runs: variant, readout, how neighbours are found, de-duplication.
FORMS = [
    (variant, readout, neighbours, unique)
    for variant in ("amper-fr", "amper-k")
    for readout in ("csb", "burst", "rank_select")
    for neighbours in ("best_match", "bisection")
    for unique in (False, True)
    if not (variant == "amper-fr" and neighbours == "bisection")
    and not (variant == "amper-k" and neighbours == "best_match" and (readout != "csb" or unique))
]


def random_machine(rng, form, n_rows, *, pauses=False):
    variant, readout, neighbours, unique = form
    n_banks = int(rng.integers(1, 17))
    drains = readout != "rank_select" and not (variant == "amper-k" and neighbours == "best_match")
    options = {}
    if readout != "rank_select":
        options |= {"overflow": "drop", "csb_entries": int(rng.integers(1, 2 * n_rows + 2))}
    else:
        options |= {"n_groups": 64}
    if drains:
        options |= {"fifo_depth": int(rng.integers(1 if pauses else 2, 4))}
    if drains and readout == "csb":
        options |= {"n_csb_ports": int(rng.choice([1, n_banks, rng.integers(1, n_banks + 1)]))}
        options |= {"arbitration": str(rng.choice(["static", "round_robin"]))} if pauses else {}
    return hwsim.machine(
        variant,
        n_rows=n_rows,
        readout=readout,
        technology=str(rng.choice(PRESETS)),
        n_banks=n_banks,
        mapping=str(rng.choice(["interleaved", "contiguous"])),
        clock_ghz=float(rng.choice([1.0, 1.0, 0.7, 2.0])),
        neighbours=neighbours,
        unique=unique,
        **options,
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


def closed_or_none(trace, machine):
    """Return the closed form's report, or None where it says that it does not apply."""
    try:
        return hwsim.simulate(trace, machine, fidelity="closed")
    except hwsim.NotApplicableError:
        return None


def run_cases(n_cases, seed, largest):
    """Compare burst and closed form on random cases; return how many samplings the readout dominated, and refusals."""
    rng = np.random.default_rng(seed)
    readout_bound = refused = 0
    for i in range(n_cases):
        form = FORMS[0] if i % 2 else FORMS[(i // 2) % len(FORMS)]
        n_rows = int(np.exp(rng.uniform(0, np.log(largest))))
        n_groups = int(rng.integers(1, 65)) if form[2] == "best_match" else int(rng.integers(1, 9))
        case = random_case(
            rng, variant=form[0], n_rows=n_rows, n_groups=n_groups, n_samplings=1, redraws=i % 3 == 0, unique=form[3]
        )
        machine = random_machine(rng, form, n_rows)
        events, formula = hwsim.simulate(case.trace, machine), closed_or_none(case.trace, machine)
        assert_balanced(events)
        if formula is None:
            assert form[1] == "rank_select"
            refused += 1
            continue
        assert_same(events, formula)
        bound = 2 * events.sample_phases.get("readout", 0) > events.latency_fs["sample"]
        readout_bound += form[0] == "amper-fr" and bool(np.all(bound))
    return readout_bound, refused


def test_events_equal_the_closed_form_on_random_cases_many_of_them_bound_by_the_readout():
    readout_bound, refused = run_cases(700, seed=1, largest=100_000)
    assert readout_bound >= 200
    assert 10 <= refused <= 90  # ranks that meet; of about 150 cases with a rank tree


@pytest.mark.slow
def test_events_equal_the_closed_form_on_many_more_random_cases():
    readout_bound, refused = run_cases(8_000, seed=2, largest=100_000)
    assert readout_bound >= 2_500
    assert refused <= 1_000


def assert_same_times(arrays, events):
    """Times and energies agree; an encoder that runs ahead of its port is busy earlier, not longer in all."""
    for kind in KINDS:
        np.testing.assert_array_equal(arrays.latency_fs[kind], events.latency_fs[kind], err_msg=kind)
    for phase, values in arrays.sample_phases.items():
        np.testing.assert_array_equal(values, events.sample_phases[phase], err_msg=phase)
    assert (arrays.energy_aj, arrays.makespan_fs) == (events.energy_aj, events.makespan_fs)
    assert arrays.energy_by_kind_aj == events.energy_by_kind_aj
    for name, part in arrays.breakdown.items():
        assert part["unit_busy_fs"] == events.breakdown[name]["unit_busy_fs"], name
        assert part["energy_aj"] == events.breakdown[name]["energy_aj"], name


@pytest.mark.parametrize("form", FORMS, ids=lambda form: " ".join(map(str, form)))
def test_arrays_one_by_one_equal_bursts_and_the_closed_form_refuses_where_it_differs(form):
    rng = np.random.default_rng(FORMS.index(form))
    refused = 0
    for i in range(12):
        n_rows = int(np.exp(rng.uniform(0, np.log(1_500))))
        n_groups = int(rng.integers(1, 5)) if form[2] == "bisection" else int(rng.integers(1, 9))
        case = random_case(
            rng, variant=form[0], n_rows=n_rows, n_groups=n_groups, max_csp=0.3, redraws=i % 2 == 0, unique=form[3]
        )
        machine = random_machine(rng, form, n_rows, pauses=i % 3 == 0)
        machine = dataclasses.replace(machine, fifo_depth=1) if i == 0 and machine.drains else machine
        arrays, events = (hwsim.simulate(case.trace, machine, fidelity=f) for f in ("array", "burst"))
        assert_same_times(arrays, events)
        assert_balanced(arrays)
        formula = closed_or_none(case.trace, machine)
        if formula is not None:
            assert_same(events, formula)
        else:
            refused += 1
            assert machine.pauses or form[1] == "rank_select"
    if form[1] == "csb" and machine.drains:
        assert refused


@pytest.mark.parametrize("form", FORMS, ids=lambda form: " ".join(map(str, form)))
def test_arrays_one_by_one_equal_bursts_when_ops_overlap(form):
    rng = np.random.default_rng(200 + FORMS.index(form))
    for i in range(6):
        n_rows = int(np.exp(rng.uniform(3, np.log(800))))
        case = random_case(
            rng,
            variant=form[0],
            n_rows=n_rows,
            n_groups=2,
            n_samplings=6,
            max_csp=0.2,
            redraws=i % 2 == 0,
            unique=form[3],
        )
        machine = random_machine(rng, form, n_rows, pauses=i % 3 == 0)
        for arrivals in (hwsim.Closed(4), hwsim.Closed(3, 20), hwsim.Poisson(float(rng.choice([3e6, 3e7])), 2, seed=i)):
            runs = [hwsim.simulate(case.trace, machine, fidelity=f, arrivals=arrivals) for f in ("array", "burst")]
            assert_same_times(*runs)
            np.testing.assert_array_equal(runs[0].arrived_fs, runs[1].arrived_fs)


@pytest.mark.slow
def test_arrays_one_by_one_equal_bursts_at_twenty_thousand_rows():
    trace = hwsim.synthetic_trace(20_000, 64, 0.15, 3, seed=1)
    for readout in ("csb", "burst", "rank_select"):
        for technology in PRESETS:
            machine = hwsim.machine("amper-fr", n_rows=20_000, readout=readout, technology=technology)
            assert_same_times(*(hwsim.simulate(trace, machine, fidelity=f) for f in ("array", "burst")))


class NaiveMachine:
    """A machine's samplings and writes by stepping a clock, `costs` aside from its own parts alone."""

    def __init__(self, machine):
        self.machine, self.costs = machine, machine.costs
        self.where = {
            "n_rows": machine.n_rows,
            "rows_per_array": machine.rows_per_array,
            "n_banks": machine.n_banks,
            "mapping": machine.mapping,
        }
        shared = machine.arbitration == "round_robin" and machine.readout == "csb"
        n_ports = machine.n_banks if machine.readout == "burst" else machine.n_csb_ports
        arbiters = naive.arbiters_of(machine.n_banks, n_ports, shared=shared)
        self.csb = naive.Csb(arbiters, machine.n_banks, machine.fifo_depth)  # whose turn it is outlives a sampling

    def words_of_banks(self, slots):
        """Return the words that each bank brings out: addresses, or up to eight of one array."""
        if self.machine.readout == "csb":
            return bank_counts(slots, **self.where)
        words = [0] * self.machine.n_banks
        for array, n in array_counts(slots, rows_per_array=self.machine.rows_per_array).items():
            words[bank_counts([array * self.machine.rows_per_array], **self.where).index(1)] += -(-n // 8)
        return words

    def attempt(self, searches):
        """Return the cycles of one attempt that searches."""
        c, m = self.costs, self.machine
        front = {"urng": c.urng, "query": c.query, "way": c.way, "search": c.search}
        found = [s for s in searches if m.name == "amper-fr" or s["neighbours"]]
        union = {slot for s in found for slot in s["slots"]}
        if m.name == "amper-fr":
            words = [s["words"] for s in searches]
            if m.readout == "rank_select":
                return rank_machine.counted_attempt(words, **front, tally=c.tally)
            sets = [union] if m.unique else [s["slots"] for s in searches]
            words = [sum(words)] if m.unique else words
            matches = [self.words_of_banks(slots) for slots in sets]
            return naive.range_attempt(words, matches, **front, csb=self.csb)
        if m.neighbours == "best_match":
            rows = [("nearest", s["neighbours"]) if s["neighbours"] else ("count", s["words"]) for s in searches]
            more = {"best_match": c.best_match, "count": c.tally + c.multiply, "compare": c.compare}
            return naive.nearest_attempt(rows, **front, **more)
        leads = [self.lead(s) for s in searches]
        start = c.urng + c.query
        if m.readout == "rank_select":
            return start + sum(leads) + (c.tally + c.way if m.unique else 0)
        sets = [union] if m.unique else [s["slots"] if s["neighbours"] else [] for s in searches]
        matches = [self.words_of_banks(slots) for slots in sets]
        return rank_machine.led_attempt([sum(leads)] if m.unique else leads, matches, self.csb, start=start, way=c.way)

    def lead(self, s):
        """Return the cycles in which AMPER-k by bisection counts a group, or finds its neighbours."""
        c, m = self.costs, self.machine
        if not s["neighbours"]:
            return c.way + s["words"] * c.search + c.tally + c.way + c.multiply
        steps, words = rank_machine.bisection(s["key"], max(s["key"] - s["lo"], s["hi"] - s["key"]), BITS)
        cycles = sum(c.way + k * c.search + c.tally + c.way + 1 for k in steps)
        kept = c.tally + c.way if m.readout == "rank_select" and not m.unique else 0
        return cycles + c.way + words * c.search + kept

    def again(self, searches, group):
        """Return the words of the range that a draw of `group` is selected from."""
        for s in reversed(searches):
            if s["group"] == group and (self.machine.name == "amper-fr" or s["neighbours"]):
                if self.machine.name == "amper-fr":
                    return s["words"]
                return rank_machine.bisection(s["key"], max(s["key"] - s["lo"], s["hi"] - s["key"]), BITS)[1]
        raise AssertionError(group)

    def sampling(self, searches, batch_size, n_redraws, draws, fallback):
        """Return the cycles of one sampling; `draws` are (slot, group)."""
        c, m, cycles = self.costs, self.machine, 0
        for attempt in range(n_redraws + 1):
            mine = [s for s in searches if s["attempt"] == attempt]
            cycles += self.attempt(mine) if mine else c.urng
        if m.readout != "rank_select" or fallback:
            looked_up = 0 if fallback else c.csb_read - 1
            return cycles + naive.draw(draw_cycles=c.draw + looked_up, batch_size=batch_size)
        last = [s for s in searches if s["attempt"] == n_redraws]
        words = [0 if m.unique else self.again(last, group) for _, group in draws]
        arrays = [slot // m.rows_per_array for slot, _ in draws]
        return cycles + rank_machine.ranks(
            arrays, words, draw_cycles=c.draw, way=c.way, route=c.route, search=c.search, select=c.select
        )


def naive_latencies(case, machine):
    """Return the femtoseconds of every sampling and write by stepping a clock."""
    stepped, samplings, writes = NaiveMachine(machine), [], []
    for row, (searches, batch_size, n_redraws) in zip(case.trace.samples, case.samplings, strict=True):
        drawn = case.trace.draws[row["first_draw"] : row["first_draw"] + batch_size].tolist()
        samplings.append(stepped.sampling(searches, batch_size, n_redraws, drawn, row["fallback"]))
    for slots in case.writes:
        banks = [bank_counts([s], **stepped.where).index(1) for s in slots]
        writes.append(naive.write(banks, machine.n_banks, way=machine.costs.way, write_cycles=machine.costs.write))
    return np.array(samplings) * machine.costs.period_fs, np.array(writes) * machine.costs.period_fs


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**32 - 1),
    form=st.sampled_from(FORMS),
    n_rows=st.integers(1, 400),
    n_groups=st.integers(1, 8),
    max_csp=st.sampled_from([0.0, 0.02, 0.3, 1.0]),
)
def test_every_fidelity_equals_the_machine_stepped_address_by_address(seed, form, n_rows, n_groups, max_csp):
    rng = np.random.default_rng(seed)
    n_groups = min(n_groups, 3) if form[2] == "bisection" else n_groups
    case = random_case(
        rng,
        variant=form[0],
        n_rows=n_rows,
        n_groups=n_groups,
        n_writes=1,
        max_csp=max_csp,
        redraws=True,
        unique=form[3],
    )
    machine = random_machine(rng, form, n_rows, pauses=True)
    samplings, writes = naive_latencies(case, machine)
    reports = [hwsim.simulate(case.trace, machine, fidelity=f) for f in ("array", "burst")]
    for report in (*reports, closed_or_none(case.trace, machine)):
        if report is not None:
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
    drains = machine.plan(trace).words.max(axis=1).reshape(4, 20)
    wrong = [textbook_latency(machine.costs, [1] * 20, d.tolist(), 64, **mistake) for d in drains]
    assert (events == wrong).all() == agrees


def one_bank(**parameters):
    rng = np.random.default_rng(5)
    case = random_case(rng, variant="amper-fr", n_rows=3_000, n_groups=4, n_samplings=3)
    machine = hwsim.machine("amper-fr", n_rows=3_000, overflow="drop", **parameters)
    return case, machine


def test_a_fifo_of_depth_one_halves_a_lone_banks_rate_and_the_formula_refuses_it():
    (case, two), (_, one) = one_bank(n_banks=1), one_bank(n_banks=1, fifo_depth=1)
    fast, slow = (hwsim.simulate(case.trace, m).sample_phases["readout"].sum() for m in (two, one))
    assert 1.8 < slow / fast < 2
    with pytest.raises(hwsim.NotApplicableError, match=r"for op|from op 1 on, .*FIFOs of depth 1 make banks pause"):
        hwsim.simulate(case.trace, one, fidelity="closed")


def test_ports_shared_in_turn_beat_ports_of_their_own_and_the_formula_refuses_them():
    (case, own), (_, shared) = one_bank(n_csb_ports=3), one_bank(n_csb_ports=3, arbitration="round_robin")
    fast, slow = (hwsim.simulate(case.trace, m).sample_phases["readout"].sum() for m in (shared, own))
    assert fast < slow
    with pytest.raises(hwsim.NotApplicableError, match=r"from op 1 on, .*ports shared in turn make banks pause"):
        hwsim.simulate(case.trace, shared, fidelity="closed")
    for n_ports in (1, 8):  # nothing to share, or nothing to share it with
        case, machine = one_bank(n_csb_ports=n_ports, arbitration="round_robin")
        assert_same(*(hwsim.simulate(case.trace, machine, fidelity=f) for f in ("burst", "closed")))


def test_ranks_that_meet_in_an_array_are_refused_by_name_and_served_in_order_by_events():
    trace = hwsim.synthetic_trace(2_000, 64, 0.15, 1, seed=3)
    machine = hwsim.machine("amper-fr", n_rows=2_000, readout="rank_select")
    with pytest.raises(hwsim.NotApplicableError, match=r"for op 1, .*its draws \d+ and \d+ meet in array \d+"):
        hwsim.simulate(trace, machine, fidelity="closed")
    report = hwsim.simulate(trace, machine)
    assert report.breakdown["rank_tree"]["stalls"]["array"] > 0
    assert_balanced(report)


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
    draws = case.trace.samples["batch_size"][~case.trace.samples["fallback"]].sum()
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


@pytest.mark.nojit
@pytest.mark.parametrize("form", FORMS, ids=lambda form: " ".join(map(str, form)))
def test_the_formula_holds_without_the_compiler(form):
    rng = np.random.default_rng(100 + FORMS.index(form))
    case = random_case(rng, variant=form[0], n_rows=90, n_groups=3, max_csp=0.2, redraws=True, unique=form[3])
    machine = random_machine(rng, form, 90)
    formula = closed_or_none(case.trace, machine)
    if formula is not None:
        assert_same(hwsim.simulate(case.trace, machine), formula)
