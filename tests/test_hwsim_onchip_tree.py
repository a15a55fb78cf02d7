"""The on-chip sum tree: its numbers against the reference, its sums, and ops that overlap in it."""

import numpy as np
import pytest
import simpy
from hypothesis import given, settings
from hypothesis import strategies as st

import hwsim
from amper.protocols import Draw
from hwsim.component import Component
from hwsim.ledger import Ledger
from tests.naive import tree_machine
from tests.onchip_cases import perform_all, random_tree, tree_timing, writes_trace


@pytest.mark.parametrize(
    ("n_rows", "fan_out", "sample", "update"),
    [(20_000, 2, 97, 67), (20_000, 16, 79, 67), (10**6, 2, 119, 70), (10**6, 16, 86, 70)],
)
def test_latencies_are_the_references_trial_with_words_as_wide_as_their_sums(n_rows, fan_out, sample, update):
    trace = writes_trace(64, n_rows=n_rows, samplings=1)
    machine = hwsim.machine("sumtree-onchip", n_rows=n_rows, fan_out=fan_out)
    report = hwsim.simulate(trace, machine)
    assert (report.latency_ns["sample"].tolist(), report.latency_ns["update"].tolist()) == ([sample], [update])


@pytest.mark.parametrize(("fan_out", "sample", "update"), [(2, 98, 68), (16, 80, 68)])
def test_wider_leaves_take_the_references_extra_cycle(fan_out, sample, update):
    # 32-bit leaves at 20,000 rows are 80 KB: two cycles to read, as in the reference's trial.
    machine = hwsim.machine("sumtree-onchip", n_rows=20_000, fan_out=fan_out, bits=32)
    report = hwsim.simulate(writes_trace(64, n_rows=20_000, samplings=1), machine)
    assert (report.latency_ns["sample"].tolist(), report.latency_ns["update"].tolist()) == ([sample], [update])


def test_without_forwarding_a_row_enters_every_three_cycles_and_without_a_pipeline_draws_go_one_by_one():
    trace = writes_trace(64, n_rows=20_000, samplings=1)
    slow = hwsim.machine("sumtree-onchip", n_rows=20_000, pipelined=False, forwarding=False)
    report = hwsim.simulate(trace, slow)
    assert report.latency_ns["update"].tolist() == [3 * 64 + 1]
    assert report.latency_ns["sample"].tolist() == [4 + 64 * 4 * (1 + 2)]
    fast = hwsim.machine("sumtree-onchip", n_rows=20_000)
    assert hwsim.simulate(trace, fast).energy_aj == report.energy_aj
    ratio = fast.components[2].area_um2 / slow.components[2].area_um2
    assert ratio == pytest.approx(hwsim.technology("cmos45").number("sram_size.two_port_area"))


def test_every_level_is_as_wide_as_the_exact_sum_below_it_and_no_wider():
    for n_rows, fan_out in ((1, 2), (2, 2), (1_000, 2), (1_000, 16), (4_096, 16), (4_097, 16)):
        levels = hwsim.machine("sumtree-onchip", n_rows=n_rows, fan_out=fan_out, bits=8).costs.levels
        below = 1
        for level in reversed(levels):
            assert level.n_words == -(-n_rows // below)
            fullest = min(below, n_rows)
            assert 2 ** (level.word_bits - 8) >= fullest > 2 ** (level.word_bits - 9)
            below *= fan_out
        assert below // fan_out < n_rows <= below or len(levels) == 1


def test_no_level_is_slower_to_read_than_the_leaves():
    for n_rows in (1, 3, 2**19 - 1, 2**19, 2**19 + 1, 10**6, 2**23):
        for fan_out in (2, 16):
            for bits in (1, 16):
                costs = hwsim.machine("sumtree-onchip", n_rows=n_rows, fan_out=fan_out, bits=bits).costs
                assert max(level.read for level in costs.levels) == costs.levels[-1].read


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**32 - 1),
    n_rows=st.integers(1, 60),
    fan_out=st.sampled_from([2, 4, 16]),
    read=st.integers(1, 4),
    forwarding=st.booleans(),
)
def test_rows_that_follow_each_other_through_the_tree_leave_exact_sums(seed, n_rows, fan_out, read, forwarding):
    rng = np.random.default_rng(seed)
    codes = rng.integers(1, 100, n_rows).tolist()
    tree = tree_machine.Tree(codes, fan_out)
    rows = [
        (int(slot), int(code)) for slot, code in zip(rng.integers(0, n_rows, 20), rng.integers(1, 100, 20), strict=True)
    ]
    interval = 1 if forwarding else 3
    cycles = tree_machine.update(tree, rows, read=read, row_interval=interval, forwarding=forwarding)
    for slot, code in rows:
        codes[slot] = code
    assert tree.levels == tree_machine.Tree(codes, fan_out).levels
    assert cycles == 19 * interval + read + 3
    drawn = np.bincount([tree.descend(rank) for rank in range(tree.levels[0][0])], minlength=n_rows)
    assert drawn.tolist() == codes


def test_rows_that_follow_too_close_without_forwarding_spoil_the_sums():
    rows = [(0, 5), (1, 7), (0, 9)]
    for interval in (1, 2):
        tree = tree_machine.Tree([1, 1, 1, 1], 2)
        tree_machine.update(tree, rows, read=1, row_interval=interval, forwarding=False)
        assert tree.levels[0] != [9 + 7 + 1 + 1]


def test_energy_of_the_tree_is_the_count_of_reads_and_writes_times_their_cost():
    trace = writes_trace(10, n_rows=300, samplings=3, batch_size=7)
    machine = hwsim.machine("sumtree-onchip", n_rows=300, fan_out=4)
    report, c = hwsim.simulate(trace, machine), machine.costs
    draws, rows = 3 * 7, 310
    assert [level.n_words for level in c.levels] == [2, 5, 19, 75, 300]
    word_aj = [level.rewrite_aj // 2 for level in c.levels]
    # A node of the topmost level has two children only; 3 roundings of half an attojoule each.
    for level, n_read, aj in zip(c.levels, (2, 4, 4, 4, 4), word_aj, strict=True):
        assert level.descend_aj == pytest.approx(n_read * aj, abs=3)
    memories = sum(draws * level.descend_aj + rows * level.rewrite_aj for level in c.levels)
    assert report.breakdown["node_memories"]["energy_aj"] == memories
    assert report.breakdown["routers"]["energy_aj"] == draws * sum(level.route_aj for level in c.levels)
    adders = c.root_add_aj + sum(level.add_aj for level in c.levels)
    assert report.breakdown["adders"]["energy_aj"] == rows * adders
    assert report.breakdown["urng"]["energy_aj"] == draws * c.urng_aj
    assert report.breakdown["draw_unit"]["energy_aj"] == draws * c.draw_aj


def test_a_faster_clock_takes_more_cycles_and_less_time():
    trace = writes_trace(64, n_rows=20_000, samplings=1)
    cycles, times = [], []
    for clock_ghz in (0.5, 1.0, 2.0):
        machine = hwsim.machine("sumtree-onchip", n_rows=20_000, clock_ghz=clock_ghz, bits=32)
        report = hwsim.simulate(trace, machine)
        times.append(int(report.latency_fs["sample"][0]))
        cycles.append(times[-1] // machine.costs.period_fs)
        assert machine.costs.levels[-1].read == {0.5: 1, 1.0: 2, 2.0: 3}[clock_ghz]
    assert cycles == sorted(cycles)
    assert times == sorted(times, reverse=True)


# -- several ops at once ----------------------------------------------------------------------------
@settings(max_examples=80, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32 - 1), spread=st.sampled_from([0, 5, 60]))
def test_ops_that_overlap_in_the_tree_leave_it_when_its_clock_says(seed, spread):
    rng = np.random.default_rng(seed)
    machine = random_tree(rng, 50)
    trace, ops = writes_trace(n_rows=50), [(False, 50, 0)]
    for at in np.sort(rng.integers(0, 12 * spread + 1, 12)).tolist():
        sampling, b = bool(rng.random() < 0.6), int(rng.integers(0, 12))
        if sampling:
            trace.record_sample(Draw(np.zeros(b, np.int64), np.ones(b), n_valid=50, n_csp=50))
        else:
            trace.record_update(np.arange(b), np.ones(b))
        ops.append((sampling, b, at))
    ended, phases, _, _ = perform_all(machine, trace, [at for _, _, at in ops])
    period = machine.costs.period_fs
    assert [t // period for t in ended] == tree_machine.TreeClock(ops, **tree_timing(machine)).run()
    for (sampling, _, at), end, split in zip(ops, ended, phases, strict=True):
        assert 0 <= sum(split.values()) <= end - at * period  # the rest it waited
        assert bool(split) == sampling


def test_saturated_samplings_reach_one_every_b_cycles():
    n_samplings, b = 40, 16
    trace = writes_trace(n_rows=1_000, samplings=n_samplings, batch_size=b)
    machine = hwsim.machine("sumtree-onchip", n_rows=1_000)
    ledger, env = Ledger(), simpy.Environment()
    components = {s.name: Component(s, i, ledger) for i, s in enumerate(machine.components)}
    processes = machine.processes(env, trace, components)
    todo, ended = list(range(1, n_samplings + 1)), []

    def actor():
        while todo:
            yield from processes.perform(todo.pop(0))
            ended.append(int(env.now) // machine.costs.period_fs)

    env.run(until=env.all_of([env.process(actor()) for _ in range(4)]))
    assert set(np.diff(ended)) == {b}
    assert ended[0] == machine.costs.draw + (b - 1) + sum(level.read + 2 for level in machine.costs.levels)
    totals = ledger.totals(len(components), int(env.now))
    assert totals[list(components).index("draw_unit")].busy_fs == n_samplings * b * machine.costs.period_fs


def test_an_update_waits_until_the_draws_before_it_have_left_and_a_sampling_for_the_rows_before_it():
    trace = writes_trace(64, n_rows=20_000, samplings=1)
    machine = hwsim.machine("sumtree-onchip", n_rows=20_000)
    insert = 20_000 + 1 + 2
    ended, _, totals, _ = perform_all(machine, trace, [0, insert, insert])
    assert [t // 10**6 for t in ended] == [insert, insert + 67, insert + 67 + 79]
    # The update issues for 64 cycles and takes 3 more to leave.
    assert dict(totals["draw_unit"].stalls) == {"issue": 64 * 10**6, "write": 3 * 10**6}
