"""Intervals of the report's ratios, and the ranking of assumptions, on a small synthetic run."""

import dataclasses

import numpy as np
import pytest

import hwsim
from experiments import contenders, speedups, uncertainty
from experiments.plots import tornado
from experiments.report import _NAMES
from hwsim.uncertainty import Assumption

N = 5_000
KEPT = ("AMPER-fr rank_select, evacam-fefet45", "AMPER-fr, evacam-fefet45", "GPU tree, gtx1080 fused",
        "CPU tree, cpu-epyc", "GPU tree, h100 fused-graph", "On-chip tree, fan-out 16")  # fmt: skip


@pytest.fixture(scope="module")
def traces():
    return {
        name: hwsim.synthetic_trace(N, batch_size=64, csp_fraction=0.1, n_ops=40, seed=0, sampler=sampler)
        for name, sampler in (("per", "amper-fr"), ("amper-fr", "amper-fr"))
    }


@pytest.fixture(scope="module")
def machines():
    return [c for c in contenders.CONTENDERS if c.label in KEPT]


@pytest.fixture(scope="module")
def ratios(machines, traces):
    rows = [speedups.machine_row(c, N, traces[c.replay]) for c in machines]
    bare = speedups.speedups(rows)
    assert all(s.low is None for s in bare)
    return uncertainty.intervals(machines, bare, traces, N)


def of(ratios, label, against, quantity):
    return next(s for s in ratios if (s.label, s.against, s.quantity) == (label, against, quantity))


def test_a_ratio_of_launches_spans_the_launch_times(ratios):
    fused = of(ratios, KEPT[1], "fused", "sample")
    assert fused.low < fused.ratio < fused.high
    assert fused.low / fused.ratio == pytest.approx((2.6 + 2.0) / (5 + 2.0), rel=0.1)
    assert fused.high / fused.ratio == pytest.approx((10 + 2.0) / (5 + 2.0), rel=0.1)


def test_what_no_uncertain_number_is_in_has_no_interval(machines, traces, monkeypatch):
    monkeypatch.setattr(uncertainty, "known", lambda *_: [])
    rows = [speedups.machine_row(c, N, traces[c.replay]) for c in machines]
    found = uncertainty.intervals(machines, speedups.speedups(rows), traces, N)
    assert all(s.low is None and s.high is None and s.interval == "" for s in found)


def test_a_measured_baseline_is_uncertain_by_amper_alone(ratios):
    measured, modelled = (of(ratios, KEPT[1], key, "sample") for key in ("h100-fused", "fused"))
    assert measured.source == "measured"
    assert measured.high / measured.low < 1.2 < modelled.high / modelled.low


def test_draws_are_shared_so_that_a_common_factor_leaves_a_ratio_alone(machines, traces, monkeypatch):
    leakage = [Assumption(name="leakage.sram_bit_pw", low=0.5, high=2.0)]
    monkeypatch.setattr(uncertainty, "known", lambda *_: leakage)
    rows = [speedups.machine_row(c, N, traces[c.replay]) for c in machines]
    found = uncertainty.intervals(machines, speedups.speedups(rows), traces, N)
    assert of(found, KEPT[0], "tree16", "sample").low is None
    assert of(found, KEPT[0], "tree16", "step_energy_total").low is not None


def test_the_ranking_lists_the_launch_time_first_and_moves_one_number_at_a_time(machines, ratios, traces):
    rows = uncertainty.ranking(machines, ratios, traces, N)
    for row in rows:
        assert row["ratio"] == of(ratios, row["label"], row["against"], row["quantity"]).ratio
    assert next(row["name"] for row in rows) == "model.t_op_us"
    swings = {}
    for row in rows:
        swings.setdefault((row["label"], row["against"], row["quantity"]), []).append(
            abs(np.log(row["ratios"][1] / row["ratios"][0]))
        )
    assert len(swings) == len(uncertainty.RANKED)
    assert all(values == sorted(values, reverse=True) for values in swings.values())
    figure = tornado.tornado_figure(rows, _NAMES)
    assert len(figure.axes) == len(uncertainty.RANKED)


def test_a_slow_draw_slows_the_clock_instead_of_being_refused(machines, traces):
    contender = next(c for c in machines if c.label == KEPT[1])
    nominal = contender.machine.make(N)
    slow = uncertainty._made(contender, nominal, lambda tech: tech.scaled({"sram.access_ns": 4.0}))
    assert slow.clock_ghz == pytest.approx(0.5)
    assert dataclasses.asdict(nominal)["clock_ghz"] == 1.0


def test_the_best_match_factor_moves_amper_k(machines, traces):
    contender = next(c for c in contenders.CONTENDERS if c.key == "amper-k")
    nominal = contender.machine.make(N)
    doubled = uncertainty._made(contender, nominal, lambda tech: tech.scaled({"best_match.factor": 2.0}))
    assert doubled.best_match_factor == 2 * nominal.best_match_factor
