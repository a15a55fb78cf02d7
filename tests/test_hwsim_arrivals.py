"""Ops that overlap: queues, locks and loops, against what queueing theory says of them."""

import numpy as np
import pytest
import simpy

import hwsim
from amper.trace import OpKind, Trace, TraceHeader
from hwsim.component import Component
from hwsim.events import finish
from hwsim.ledger import Ledger
from tests.test_hwsim_equality import assert_balanced as assert_serially_balanced

MACHINES = {
    "csb": ("amper-fr", {}),
    "burst": ("amper-fr", {"readout": "burst"}),
    "rank_select": ("amper-fr", {"readout": "rank_select", "technology": "evacam-fefet45"}),
    "amper-k": ("amper-k", {}),
    "bisection": ("amper-k", {"neighbours": "bisection"}),
    "gpu": ("sumtree-gpu", {}),
    "cpu": ("sumtree-cpu", {}),
    "tree": ("sumtree-onchip", {}),
    "rejection": ("rejection-onchip", {}),
}


def make(name, n_rows):
    kind, options = MACHINES[name]
    return hwsim.machine(kind, n_rows=n_rows, **options)


def mixed(name, n_rows=600, n_ops=8, **options):
    sampler = "amper-k" if MACHINES[name][0] == "amper-k" else "amper-fr"
    csp = 0.02 if sampler == "amper-k" else 0.1
    return hwsim.synthetic_trace(n_rows, 16, csp, n_ops, seed=2, sampler=sampler, n_inserts=4, **options)


def assert_balanced(report):
    for part in report.breakdown.values():
        assert part["busy_fs"] + part["stalled_fs"] + part["idle_fs"] == report.makespan_fs
        assert sum(part["stalls"].values()) == part["stalled_fs"]
        assert part["busy_fs"] <= part["unit_busy_fs"] <= part["n_units"] * part["busy_fs"]
    if report.energy_aj is not None:
        assert sum(part["energy_aj"] or 0 for part in report.breakdown.values()) == report.energy_aj
        assert sum(aj or 0 for aj in report.energy_by_kind_aj.values()) == report.energy_aj
    kinds = ("sample", "update", "insert")
    assert sum(len(report.latency_fs[kind]) for kind in kinds) == len(report.arrived_fs)


@pytest.mark.parametrize("name", MACHINES)
def test_one_client_that_does_not_think_is_serial(name):
    trace, machine = mixed(name), make(name, 600)
    serial = hwsim.simulate(trace, machine)
    alone = hwsim.simulate(trace, machine, arrivals=hwsim.Closed(1))
    for kind, latency in serial.latency_fs.items():
        np.testing.assert_array_equal(alone.latency_fs[kind], latency)
    assert (alone.makespan_fs, alone.energy_aj) == (serial.makespan_fs, serial.energy_aj)
    assert alone.breakdown == serial.breakdown
    assert not alone.sample_phases["waiting"].any()
    assert alone.mean_in_system <= 1


@pytest.mark.parametrize("name", MACHINES)
@pytest.mark.parametrize("fidelity", ["burst", "array"])
def test_books_balance_and_nothing_is_lost_when_many_ops_overlap(name, fidelity):
    trace, machine = mixed(name), make(name, 600)
    serial = hwsim.simulate(trace, machine, fidelity=fidelity)
    for arrivals in (hwsim.Closed(6), hwsim.Closed(3, think_ns=50), hwsim.Poisson(2e7, n_actors=4, seed=1)):
        report = hwsim.simulate(trace, machine, fidelity=fidelity, arrivals=arrivals)
        assert_balanced(report)
        assert report.energy_aj == serial.energy_aj  # the same work, whenever it is done
        assert (report.sample_phases["waiting"] >= 0).all()
        np.testing.assert_array_equal(sum(report.sample_phases.values()), report.latency_fs["sample"])
        for kind in ("sample", "update", "insert"):
            assert (report.latency_fs[kind] >= 0).all()
        report.to_dict()
    assert_serially_balanced(serial) if serial.energy_aj is not None else assert_balanced(serial)


def test_more_clients_never_finish_later_and_gain_where_hardware_is_shared():
    trace, machine = mixed("csb", n_ops=30), make("csb", 600)
    spans = [hwsim.simulate(trace, machine, arrivals=hwsim.Closed(n)).makespan_fs for n in (1, 2, 8)]
    assert spans[0] > spans[1] > spans[2]


def inserts_of(slots, n_rows):
    """Return a trace of inserts of one row each."""
    trace = Trace()
    trace.begin(TraceHeader(n_rows=n_rows, row_bytes=64, bits=16, sampler="amper-fr", options={}, seed=0))
    sample = hwsim.synthetic_trace(n_rows, 1, 0.1, 1, seed=0)
    trace.record_insert(np.arange(n_rows), sample.writes["code"][:n_rows])
    trace.record_sample(sample._draw(0))
    for slot in slots:
        trace.record_insert(np.array([slot]), np.array([int(slot) + 1]))
    return trace


def rate_of_last(report, n):
    """Return ops per second among the last `n` ops to end."""
    kinds = report.latency_fs["insert"]
    ended = np.sort(report.arrived_fs[-len(kinds) + 1 :] + kinds[1:])[-n:]
    return (n - 1) / (ended[-1] - ended[0]) * 1e15


def test_saturated_inserts_reach_the_rate_of_the_bank_or_of_all_banks():
    n_rows, period = 4_096, 10**6
    machine = hwsim.machine("amper-fr", n_rows=n_rows, n_banks=8, n_csb_ports=8)
    write = machine.costs.write * period
    in_turn = inserts_of(np.arange(1_200) % 8 * 64, n_rows)  # one bank after another
    one_bank = inserts_of(np.arange(1_200) % 64, n_rows)  # all in the first array
    for trace, servers in ((in_turn, 8), (one_bank, 1)):
        report = hwsim.simulate(trace, machine, arrivals=hwsim.Closed(32))
        assert rate_of_last(report, 401) == pytest.approx(
            servers / write * 1e15, rel=0.025
        )  # ends come eight at a time


def test_saturated_samplings_reach_the_rate_of_their_bottleneck():
    # A sampling has the machine to itself, but for the pipelined tree; rows are fetched over one channel.
    n_rows, n = 600, 40
    bottlenecks = {"csb": "sample", "rank_select": "fetch", "gpu": "sample", "tree": "fetch"}
    for name, bottleneck in bottlenecks.items():
        base = hwsim.synthetic_trace(n_rows, 16, 0.1, n, seed=2)
        trace = Trace()
        trace.begin(base.header)
        trace.record_insert(base.writes["slot"][:n_rows].astype(np.int64), base.writes["code"][:n_rows])
        first = base._draw(0)
        for _ in range(n):
            trace.record_sample(first)  # the same work every time
        machine = make(name, n_rows)
        alone = hwsim.simulate(trace, machine)
        crowd = hwsim.simulate(trace, machine, arrivals=hwsim.Closed(5))
        slowest = max(("sample", "fetch"), key=lambda kind: alone.latency_fs[kind][0])
        assert slowest == bottleneck
        ended = np.sort(crowd.arrived_fs[1:] + crowd.latency_fs["sample"])
        assert set(np.diff(ended[10:])) == {alone.latency_fs[bottleneck][0]}, name


def test_littles_law_holds_for_open_arrivals():
    # L and W come from the run, lambda is what was asked for. With n arrivals in exponential gaps, n / T strays
    # from lambda by 1 / sqrt(n) in one standard deviation: 4.9 of them are a false alarm of 1e-6.
    trace = hwsim.synthetic_trace(2_000, 16, 0.1, 400, seed=3, n_inserts=8)
    machine = hwsim.machine("amper-fr", n_rows=2_000, n_csb_ports=8)
    rate = 8e6
    report = hwsim.simulate(trace, machine, arrivals=hwsim.Poisson(rate, n_actors=4, seed=5))
    n = len(trace) - report.n_filling
    latency = np.concatenate([report.latency_fs[k] for k in ("sample", "update")] + [report.latency_fs["insert"][1:]])
    n_arriving = n - len(report.latency_fs["update"])  # an update follows from its sampling, and arrives as often
    found = rate * latency.sum() / n_arriving / 1e15
    print(f"L {report.mean_in_system:.3f}, lambda W {found:.3f}, {n} ops")
    assert report.mean_in_system == pytest.approx(found, rel=4.9 / np.sqrt(n_arriving))
    # And what arrivals find in the machine is what its clock averages (PASTA), within the spread of the mean.
    arrived = np.sort(report.arrived_fs[report.n_filling :])
    kinds = trace.ops["kind"]
    all_latency = np.zeros(len(trace), np.int64)
    for kind, name in ((OpKind.SAMPLE, "sample"), (OpKind.UPDATE, "update"), (OpKind.INSERT, "insert")):
        all_latency[kinds == kind] = report.latency_fs[name]
    ended = np.sort((report.arrived_fs + all_latency)[report.n_filling :])
    seen = np.arange(n) - np.searchsorted(ended, arrived, side="right")
    blocks = seen[: n // 40 * 40].reshape(40, -1).mean(axis=1)
    assert abs(seen.mean() - report.mean_in_system) < 4.9 * blocks.std() / np.sqrt(40) + 0.05


def test_a_faster_stream_waits_longer():
    trace, machine = mixed("csb", n_ops=60), make("csb", 600)
    waits = [
        np.mean(hwsim.simulate(trace, machine, arrivals=hwsim.Poisson(rate, n_actors=2)).latency_fs["insert"][1:])
        for rate in (1e5, 3e6, 3e7)
    ]
    assert waits[0] < waits[1] < waits[2]


def test_a_search_waits_for_writes_and_writes_for_searches_and_the_ledger_says_so():
    trace, machine = mixed("csb", n_ops=40), make("csb", 600)
    report = hwsim.simulate(trace, machine, arrivals=hwsim.Closed(8))
    assert report.breakdown["arrays"]["stalls"]["write"] > 0
    assert report.breakdown["write_ports"]["stalls"]["search"] > 0


def test_a_rank_tree_keeps_writes_out_until_its_ranks_are_served():
    trace = mixed("rank_select", n_ops=40)
    times = {}
    for name in ("csb", "rank_select"):
        machine = hwsim.machine("amper-fr", n_rows=600, readout=name, technology="evacam-fefet45")
        report = hwsim.simulate(trace, machine, arrivals=hwsim.Closed(8))
        times[name] = report.breakdown["write_ports"]["stalls"].get("search", 0)
    assert times["rank_select"] > times["csb"]


def test_an_update_never_begins_before_its_sampling_has_been_fetched():
    trace, machine = mixed("csb", n_ops=20), make("csb", 600)
    kinds = trace.ops["kind"]
    for arrivals in (hwsim.Closed(8), hwsim.Poisson(5e7, n_actors=3)):
        report = hwsim.simulate(trace, machine, arrivals=arrivals)
        ended = np.zeros(len(trace), np.int64)
        for kind, name in ((OpKind.SAMPLE, "sample"), (OpKind.UPDATE, "update"), (OpKind.INSERT, "insert")):
            ended[kinds == kind] = (report.arrived_fs[kinds == kind]) + report.latency_fs[name]
        fetched = ended[kinds == OpKind.SAMPLE] + report.latency_fs["fetch"]
        least = machine.costs.write * machine.costs.period_fs
        assert (ended[kinds == OpKind.UPDATE] >= fetched + least).all()


@pytest.mark.parametrize(
    ("make_arrivals", "error", "message"),
    [
        (lambda: hwsim.Poisson(0), ValueError, "rate_hz must be finite and above 0, got 0"),
        (lambda: hwsim.Poisson(1e6, n_actors=0), ValueError, "n_actors must be at least 1, got 0"),
        (lambda: hwsim.Poisson(1e6, seed=-1), ValueError, "seed must be at least 0, got -1"),
        (lambda: hwsim.Closed(0), ValueError, "n_clients must be at least 1, got 0"),
        (lambda: hwsim.Closed(2, think_ns=-5), ValueError, "think_ns must be finite and above 0, got -5"),
        (lambda: hwsim.Closed(2.5), TypeError, "n_clients must be a whole number, got 2.5"),
    ],
)
def test_bad_arrivals_are_refused(make_arrivals, error, message):
    with pytest.raises(error, match=message):
        make_arrivals()


def test_the_closed_form_refuses_ops_that_may_overlap():
    trace, machine = mixed("csb"), make("csb", 600)
    with pytest.raises(
        hwsim.NotApplicableError, match=r"for op 1 on, got 'closed'; under Closed\(n_clients=2.* overlap"
    ):
        hwsim.simulate(trace, machine, fidelity="closed", arrivals=hwsim.Closed(2))


def test_a_deadlock_raises():
    env = simpy.Environment()
    first, second = simpy.Resource(env), simpy.Resource(env)

    def job(one, other):
        with one.request() as a:
            yield a
            yield env.timeout(1)
            with other.request() as b:
                yield b

    with pytest.raises(hwsim.DeadlockError, match="2 of 2 streams of ops wait for each other since 1 fs"):
        finish(env, [job(first, second), job(second, first)])


def test_a_machine_that_forgets_to_release_deadlocks_instead_of_ending_early(monkeypatch):
    machine = make("csb", 600)
    ledger, env = Ledger(), simpy.Environment()
    parts = {s.name: Component(s, i, ledger) for i, s in enumerate(machine.components)}
    processes = machine.processes(env, mixed("csb"), parts)
    processes._banks.request(None)  # held, and never given back
    with pytest.raises(hwsim.DeadlockError, match="1 of 1 streams"):
        finish(env, [processes.perform(0)])


def test_percentiles_leave_out_what_filled_the_buffer():
    trace, machine = mixed("csb", n_ops=10), make("csb", 600)
    for arrivals in ("serial", hwsim.Closed(3)):
        report = hwsim.simulate(trace, machine, arrivals=arrivals)
        assert (report.n_filling, report.first_served["insert"]) == (1, 1)
        served = report.latency_ns["insert"][1:]
        assert report.percentiles_ns("insert") == tuple(np.percentile(served, [50, 90, 99]))
        assert report.percentiles_ns("insert", [100]) == (served.max(),)
        assert len(report.percentiles_ns("fetch")) == 3
        assert report.throughput_hz == pytest.approx(
            (len(trace) - 1) / (report.makespan_ns - report.filled_fs / 1e6) * 1e9
        )
    with pytest.raises(ValueError, match="kind must be one of 'sample', 'update', 'insert', 'fetch', got 'write'"):
        report.percentiles_ns("write")
    inserts = hwsim.simulate(trace.window(0, 1), machine)  # nothing is sampled: nothing is filling either
    with pytest.raises(ValueError, match="got 'sample', of which none was"):
        inserts.percentiles_ns("sample")
    assert len(inserts.percentiles_ns("insert")) == 3
    assert inserts.throughput_hz == pytest.approx(1e9 / inserts.makespan_ns)


def ends(trace, report):
    """Return when each op of the trace ended, int64[ops]."""
    kinds, result = trace.ops["kind"], report.arrived_fs.copy()
    for kind, name in ((OpKind.SAMPLE, "sample"), (OpKind.UPDATE, "update"), (OpKind.INSERT, "insert")):
        result[kinds == kind] += report.latency_fs[name]
    return result


OVERLAPPING = (hwsim.Closed(3), hwsim.Closed(8), hwsim.Poisson(1e9, n_actors=4))


@pytest.mark.parametrize("arrivals", OVERLAPPING, ids=repr)
@pytest.mark.parametrize("fidelity", ["burst", "array"])
def test_a_row_written_later_is_stored_later(fidelity, arrivals):
    trace = hwsim.synthetic_trace(600, 8, 0.1, 1, seed=0)
    for _ in range(20):
        trace.record_insert(np.arange(10), np.arange(10) + 1)  # all in one bank
        trace.record_insert(np.array([9]), np.array([77]))
    for readout in ("csb", "rank_select"):
        machine = hwsim.machine("amper-fr", n_rows=600, readout=readout)
        report = hwsim.simulate(trace, machine, fidelity=fidelity, arrivals=arrivals)
        ended = ends(trace, report)[-40:]
        assert (np.diff(ended) > 0).all()


@pytest.mark.parametrize("arrivals", OVERLAPPING, ids=repr)
def test_a_rescale_is_done_before_the_op_that_caused_it(arrivals):
    trace = hwsim.synthetic_trace(600, 8, 0.1, 2, seed=0)
    for _ in range(5):
        trace.record_update(np.arange(600), np.arange(600) + 1, actor=-1)
        trace.record_insert(np.array([3]), np.array([9]))
    report = hwsim.simulate(trace, make("csb", 600), arrivals=arrivals)
    ended = ends(trace, report)[-10:]
    assert (ended[1::2] > ended[::2]).all()
    np.testing.assert_array_equal(report.arrived_fs[-10::2], report.arrived_fs[-9::2])


def test_an_update_arrives_when_the_rows_of_its_sampling_have_been_fetched():
    trace, machine = mixed("csb", n_ops=20), make("csb", 600)
    report = hwsim.simulate(trace, machine, arrivals=hwsim.Poisson(1e9, n_actors=3))
    kinds = trace.ops["kind"]
    fetched = ends(trace, report)[kinds == OpKind.SAMPLE] + report.latency_fs["fetch"]
    np.testing.assert_array_equal(report.arrived_fs[kinds == OpKind.UPDATE], fetched)


def test_thinking_after_the_last_op_is_no_part_of_the_makespan():
    trace, machine = mixed("csb"), make("csb", 600)
    report = hwsim.simulate(trace, machine, arrivals=hwsim.Closed(1, think_ns=1e6))
    assert report.makespan_fs == ends(trace, report).max()


@pytest.mark.parametrize(
    ("name", "component", "cause"),
    [
        ("csb", "query_generator", "sampling"),
        ("csb", "write_bus", "write"),
        ("rank_select", "row_memory", "fetch"),
        ("gpu", "launches", "stream"),
        ("cpu", "core", "core"),
        ("tree", "draw_unit", "write"),
        ("rejection", "query_generator", "sample"),
    ],
)
def test_who_waits_and_for_what_is_entered(monkeypatch, name, component, cause):
    trace = hwsim.synthetic_trace(600, 64, 0.3, 10, seed=2, n_inserts=2)
    entered = []
    monkeypatch.setattr(
        Component, "wait", lambda self, op, start, lasts, why: entered.append((self.spec.name, why, lasts))
    )
    hwsim.simulate(trace, make(name, 600), arrivals=hwsim.Closed(24))
    assert any(lasts > 0 for found, why, lasts in entered if (found, why) == (component, cause))


def test_more_clients_or_actors_than_ops_cost_nothing():
    trace, machine = mixed("csb"), make("csb", 600)
    few, many = (hwsim.simulate(trace, machine, arrivals=hwsim.Closed(n)) for n in (len(trace), 10**9))
    np.testing.assert_array_equal(few.arrived_fs, many.arrived_fs)
    hwsim.simulate(trace, machine, arrivals=hwsim.Poisson(1e7, n_actors=10**9))


def test_arrivals_slower_than_the_clock_can_count_are_refused():
    trace, machine = mixed("csb"), make("csb", 600)
    with pytest.raises(ValueError, match=r"rate_hz must be higher for 40 ops, got 0\.001"):
        hwsim.simulate(trace, machine, arrivals=hwsim.Poisson(1e-3))


def test_the_clock_takes_ops_in_at_its_edges():
    trace, machine = mixed("csb"), make("csb", 600)
    report = hwsim.simulate(trace, machine, arrivals=hwsim.Poisson(3e6, n_actors=2))
    late = ends(trace, report)[1:]
    assert (late % machine.costs.period_fs == 0).all()
    assert (report.arrived_fs[1:] % machine.costs.period_fs != 0).any()
