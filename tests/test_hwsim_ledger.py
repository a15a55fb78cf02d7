"""The ledger balances, or says what does not."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hwsim
from hwsim import units
from hwsim.component import Charge, Component, ComponentSpec
from hwsim.ledger import Ledger, check_balance

INTERVALS = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 20), st.sampled_from(["", "port", "latch"])))


@settings(max_examples=200, deadline=None, derandomize=True)
@given(INTERVALS)
def test_busy_stalled_and_idle_are_what_a_clock_would_count(intervals):
    ledger = Ledger()
    for start, duration, cause in intervals:
        ledger.append(0, 0, start, duration, 0, cause)
    at = [{c for s, d, c in intervals if s <= t < s + d} for t in range(100)]
    totals = ledger.totals(1, 100)[0]
    assert totals.busy_fs == sum("" in causes for causes in at)
    assert totals.stalled_fs == sum(bool(causes) and "" not in causes for causes in at)
    assert totals.idle_fs == sum(not causes for causes in at)
    assert totals.unit_busy_fs == sum(d for _, d, c in intervals if not c)
    assert set(totals.stalls) <= {"port", "latch"}


def test_a_component_and_the_ledger_keep_the_same_account():
    ledger = Ledger()
    component = Component(ComponentSpec(name="port", n_units=2), 0, ledger)
    component.work(0, 0, 5, 100)
    component.wait(0, 5, 2, "latch")
    k = np.array([3, 4])
    charge = Charge(
        component="port",
        op=np.array([1, 1]),
        offset_fs=k,
        duration_fs=k,
        energy_aj=10 * k,
        unit_busy_fs=2 * k,
    )
    component.charge(charge, np.array([0, 10]))
    totals = ledger.totals(1, 20)
    assert (totals[0].energy_aj, totals[0].unit_busy_fs, totals[0].stalls) == (170, 19, {"latch": 2})
    by_op = ledger.energy_by_op(2)
    assert by_op.tolist() == [100, 70]
    assert check_balance(totals, [component.energy_aj], [component.unit_busy_fs], by_op) == 170


@pytest.mark.parametrize(
    ("aj", "fs", "by_op", "message"),
    [
        (101, 5, [100], r"component 0 counted 101 aJ, 5 fs, its entries 100 aJ, 5 fs"),
        (100, 6, [100], r"component 0 counted 100 aJ, 6 fs, its entries 100 aJ, 5 fs"),
        (100, 5, [99], r"components counted 100 aJ, ops 99 aJ"),
    ],
)
def test_books_that_disagree_raise(aj, fs, by_op, message):
    ledger = Ledger()
    ledger.append(0, 0, 0, 5, 100)
    with pytest.raises(hwsim.LedgerError, match=message):
        check_balance(ledger.totals(1, 10), [aj], [fs], np.array(by_op))


@pytest.mark.parametrize(("start", "duration", "energy"), [(-1, 1, 0), (0, -1, 0), (0, 1, -1), (8, 3, 0)])
def test_an_entry_outside_the_run_or_negative_raises(start, duration, energy):
    ledger = Ledger()
    ledger.append(0, 0, start, duration, energy)
    with pytest.raises(hwsim.LedgerError, match=r"an entry"):
        ledger.totals(1, 10)


def test_a_machine_that_forgets_to_book_its_energy_is_found_out(monkeypatch):
    def work(self, op, start_fs, duration_fs, energy_aj=0, n_units=1):
        self._ledger.append(self._index, op, start_fs, duration_fs, energy_aj, n_units=n_units)

    monkeypatch.setattr(Component, "work", work)
    trace = hwsim.synthetic_trace(100, 8, 0.2, 1, seed=0)
    with pytest.raises(hwsim.LedgerError, match=r"component 0 counted 0 aJ"):
        hwsim.simulate(trace, hwsim.machine("amper-fr", n_rows=100, csb_entries=200))


def test_sums_are_exact_beyond_64_bits():
    values = np.full(10, 2**62)
    assert units.exact_sum(values) == 10 * 2**62
    assert units.exact_sum(np.zeros(0, np.int64)) == 0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (units.format_time(0), "0 fs"),
        (units.format_time(839_000_000), "839 ns"),
        (units.format_time(999_700_000), "1000 ns"),
        (units.format_time(9_600_000_000_000), "9.6 ms"),
        (units.format_time(None), "n/a"),
        (units.format_energy(3_105_000), "3.1 pJ"),
        (units.format_energy(None), "n/a"),
        (units.format_area(975.0), "975 um2"),
        (units.format_area(384_614.0), "0.385 mm2"),
        (units.format_area(83_547.0), "0.0835 mm2"),
        (units.format_area(9_999.0), "9999 um2"),
        (units.format_area(None), "n/a"),
    ],
)
def test_quantities_print_in_their_natural_unit_and_unknown_ones_as_not_available(text, expected):
    assert text == expected


def test_times_round_to_the_nearest_femtosecond_and_up_to_cycles():
    assert units.fs_from_ns(0.1394) == 139_400
    assert units.fs_from_ns(0.0000005) == 1
    assert [units.cycles_from_fs(t, 1000) for t in (0, 1, 1000, 1001)] == [0, 1, 1, 2]
    assert units.period_fs(1.0) == 10**6
