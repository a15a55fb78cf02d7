"""Networks of columns: the kernel is the naive network; stages freeze; sensitivities are derivatives."""

import dataclasses

import numpy as np
import pytest

from rl._kernels import columns
from rl.ccn import ColumnNetwork
from tests.ccn_cases import NETWORKS, everything, naive_everything, naive_predictions, naive_twin, predictor, stream
from tests.naive import ccn as naive
from tests.rl_cases import error

TOLERANCE = {"float64": 1e-12, "float32": 1e-5}


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("network", NETWORKS)
def test_a_thousand_steps_are_those_of_the_naive_network(network, dtype):
    td = predictor(network, dtype)
    # The same numbers reach both: what float32 cannot hold is rounded before.
    xs, cumulants, discounts = (a.astype(dtype).astype(float) for a in stream(1_000, 4))
    twin = naive_twin(td)
    fast, slow = td.run(xs, cumulants, discounts), naive_predictions(twin, xs, cumulants, discounts)
    assert error(fast, slow) < TOLERANCE[dtype]
    expected = naive_everything(twin, td.network.n_stages)
    found = everything(td)
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert error(found[name], values) < 10 * TOLERANCE[dtype], name


@pytest.mark.parametrize("network", ["columnar", "ccn"])
def test_fan_in_divides_a_column_s_step_size_by_its_inputs(network):
    td = predictor(network, fan_in=True)
    data = stream(1_000, 4, seed=1)
    assert error(td.run(*data), naive_predictions(naive_twin(td), *data)) < 1e-12
    plain = predictor(network)
    assert error(plain.run(*data), td.run(*data)) > 1e-3


@pytest.mark.nojit
def test_a_few_steps_are_those_of_the_naive_network_in_either_mode():
    td = predictor("ccn", n_inputs=2, optimiser=dataclasses.replace(predictor("ccn").settings.optimiser))
    network = dataclasses.replace(td.network, steps_per_stage=6)
    td = type(td)(network, step_size=0.01, trace_decay=0.9)
    data = stream(20, 2, ends=0.1)
    assert error(td.run(*data), naive_predictions(naive_twin(td), *data)) < 1e-12


@pytest.fixture(scope="module")
def small_variance():
    """A stream with a variance below the floor, and what is predicted on it: as the naive network does."""
    xs, cumulants, discounts = stream(700, 4)
    xs[:, 1] *= 0.05
    fast = predictor("ccn").run(xs, cumulants, discounts)
    assert error(fast, naive_predictions(naive_twin(predictor("ccn")), xs, cumulants, discounts)) < 1e-12
    return (xs, cumulants, discounts), fast


# -- planted mistakes: the comparison would see them ----------------------------------------------------------
class NormalisesItsOwnOutput(naive.Network):
    def open_stage(self):
        super().open_stage()
        for column in self.columns[-self.u :]:
            own, forward = naive.Statistics(self.beta, self.cap), column.forward

            def normalised(raw, column=column, own=own, forward=forward):
                column.h = own.normalise(column.h)
                return forward(raw)

            column.forward = normalised


class ForgetsTheFloor(naive.Network):
    def open_stage(self):
        self.cap = 0.0
        super().open_stage()


class SeesTheInputBeforeTheTraces(naive.Network):
    def accumulate(self):
        pass

    def forward(self, x):
        p = super().forward(x)
        super().accumulate()
        return p


class ComputesThePredictionAgain(naive.Network):
    def step(self, x, cumulant, discount):
        if self.p is not None:
            self.p = sum(w.value * h for w, h in zip(self.readout, self.hh, strict=True)) + self.bias.value
        return super().step(x, cumulant, discount)


class KeepsTheStateOverAnEnd(naive.Network):
    def step(self, x, cumulant, discount):
        return super().step(x, cumulant, max(discount, 1e-300))


class KeepsLearningEndedStages(naive.Network):
    def open_stage(self):
        super().open_stage()
        for column in self.columns:
            column.frozen = False


class KeepsEndedStagesStatisticsRunning(naive.Network):
    def open_stage(self):
        super().open_stage()
        for column in self.columns:
            for statistics in column.inputs:
                statistics.frozen = False


class StopsOldReadoutStatistics(naive.Network):
    def open_stage(self):
        for statistics in self.outputs:
            statistics.frozen = True
        super().open_stage()


class GivesTheReadoutTheWholeStep(naive.Network):
    def learn(self, delta):
        size = self.step_size
        self.step_size = size * len(self.columns)
        for w in [*self.readout, self.bias]:
            w.learn(delta, size)
        self.step_size = size
        for column in self.columns:
            if not column.frozen:
                for g in naive.GATES:
                    for w in column.w[g]:
                        w.learn(delta, size)


class ReadsTheLastFeatures(naive.Network):
    def forward(self, x):
        last = [column.h for column in self.columns]
        features = []
        for k, column in enumerate(self.columns):
            features.append(column.forward([*x, *last[: k // self.u * self.u]]))
        self.hh = [s.normalise(h) for s, h in zip(self.outputs, features, strict=True)]
        return sum(w.value * h for w, h in zip(self.readout, self.hh, strict=True)) + self.bias.value


@pytest.mark.parametrize(
    "mistaken",
    [
        NormalisesItsOwnOutput,
        ForgetsTheFloor,
        SeesTheInputBeforeTheTraces,
        ComputesThePredictionAgain,
        KeepsTheStateOverAnEnd,
        KeepsLearningEndedStages,
        KeepsEndedStagesStatisticsRunning,
        StopsOldReadoutStatistics,
        GivesTheReadoutTheWholeStep,
        ReadsTheLastFeatures,
    ],
)
def test_a_planted_mistake_is_caught(mistaken, small_variance):
    data, fast = small_variance
    assert error(fast, naive_predictions(naive_twin(predictor("ccn"), mistaken), *data)) > 1e-6


# -- stages ------------------------------------------------------------------------------------------------------
def test_an_ended_stage_keeps_its_weights_to_the_bit():
    td = predictor("ccn")
    data = stream(1_000, 4)
    td.run(*(a[:310] for a in data))
    first = td.network.weights(td.arrays, 0)
    td.run(*(a[310:620] for a in data))
    second = td.network.weights(td.arrays, 1)
    frozen = td.arrays["frozen_inputs"].copy()
    td.run(*(a[620:] for a in data))
    assert td.network.weights(td.arrays, 0).tobytes() == first.tobytes()
    assert td.network.weights(td.arrays, 1).tobytes() == second.tobytes()
    assert td.arrays["frozen_inputs"].tobytes() == frozen.tobytes()
    assert error(first, td.network.init(0)) > 0.01  # it had learned


def test_the_features_of_ended_stages_are_a_fresh_forward_pass():
    td = predictor("ccn")
    data = stream(1_000, 4, ends=0.0)
    td.run(*(a[:620] for a in data))
    network, arrays = td.network, td.arrays
    mu, scale = arrays["frozen_inputs"]
    state = [network._real(arrays["hc"])[:, 3 * s : 3 * s + 3].copy() for s in range(2)]
    for t in range(620, 700):
        td.run(*(a[t : t + 1] for a in data))
        raw = data[0][t]
        start = 0
        for s in range(2):
            n = network.n_sources(s) - 2
            h, c = state[s]
            x = (raw - mu[start : start + n]) * scale[start : start + n]
            w = network.weights(td.arrays, s)
            a = np.einsum("gpu,p->gu", w[:, :n], x) + w[:, n] * h + w[:, n + 1]
            i, f, o = 1 / (1 + np.exp(-a[:3]))
            c = f * c + i * np.tanh(a[3])
            state[s] = np.array([o * np.tanh(c), c])
            raw = np.append(raw, state[s][0])
            start += n
        assert error(network.readout(td.arrays)["h"][:6], raw[4:]) < 1e-13


def test_features_open_one_stage_after_the_other_and_the_last_learns_on():
    td = predictor("constructive")
    data = stream(1_200, 4)
    opened = []
    for t in range(0, 1_200, 190):
        opened.append(len(td.network.readout(td.arrays)["h"]))
        td.run(*(a[t : t + 190] for a in data))
    assert opened == [1, 2, 3, 4, 5, 5, 5]
    before = td.network.weights(td.arrays, 4)
    td.run(*stream(10, 4))
    assert error(td.network.weights(td.arrays, 4), before) > 0


def test_units_that_fill_a_block_stay_zero():
    td = predictor("ccn-17")
    td.run(*stream(1_000, 4))
    fields = td.arrays["learning"].reshape(2, -1, 5, 4, 16)
    assert not fields[1, :, 0, :, 1:].any()
    assert not td.arrays["raw"].reshape(2, 32)[:, 17:].any()


# -- derivatives ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("network", ["columnar", "ccn"])
def test_sensitivities_are_central_differences_of_the_learning_stage(network):
    """With the weights held, as by a step size of nothing; statistics of the inputs do not depend on them."""
    td = predictor(network, step_size=1e-300)
    n_frozen = 310 if network == "ccn" else 0
    data = stream(n_frozen + 12, 4, ends=0.0)
    td.run(*(a[:n_frozen] for a in data))
    start = td.state_dict()
    rest = [a[n_frozen:] for a in data]
    td.run(*rest)
    found = td.network.learning(td.arrays)["TH"]
    width = td.network.n_lanes
    for gate, source, unit in np.ndindex(found.shape):
        moved = []
        for sign in (1, -1):
            state = {**start, "arrays": {k: v.copy() for k, v in start["arrays"].items()}}
            fields = state["arrays"]["learning"].reshape(-1, 5, 4, width)
            fields[source, 0, gate, unit] += sign * 1e-5
            td.load_state_dict(state)
            td.run(*rest)
            moved.append(td.network.readout(td.arrays)["h"])
        slope = (moved[0] - moved[1]) / 2e-5
        own = unit + (3 if network == "ccn" else 0)
        assert slope[own] == pytest.approx(found[gate, source, unit], rel=1e-6, abs=1e-9)
        assert not np.delete(slope, own).any()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_kernel_s_sigmoid_and_tanh_are_right_to_a_few_units_in_the_last_place(dtype):
    x = np.concatenate([np.geomspace(1e-8, 60, 4_000), -np.geomspace(1e-8, 60, 4_000), [0.0]]).astype(dtype)
    both = np.concatenate([x, x])
    columns._activate(both, np.uint64(0), len(x), len(x), columns._series(both))
    sigmoid, tanh = both[: len(x)].astype(float), both[len(x) :].astype(float)
    exact, eps = x.astype(float), np.finfo(dtype).eps
    assert abs(tanh - np.tanh(exact)).max() < 4 * eps
    assert (abs(tanh - np.tanh(exact)) <= 6 * eps * abs(np.tanh(exact))).all()
    assert abs(sigmoid - 1 / (1 + np.exp(-exact))).max() < 4 * eps


def test_what_is_not_a_number_stays_so():
    both = np.array([np.nan, 0.0, 0.0, np.nan])
    columns._activate(both, np.uint64(0), 2, 2, columns._series(both))
    assert np.isnan(both).tolist() == [True, False, False, True]


# -- bad descriptions ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("options", "error_type", "message"),
    [
        ({"n_inputs": 0}, ValueError, "n_inputs must be at least 1, got 0"),
        ({"n_features": 2.5}, TypeError, "n_features must be a whole number, got 2.5"),
        ({"features_per_stage": 4}, ValueError, "features_per_stage must divide n_features = 6, got 4"),
        ({"features_per_stage": 2}, ValueError, "steps_per_stage must be given with 3 stages"),
        ({"features_per_stage": 2, "steps_per_stage": 0}, ValueError, "steps_per_stage must be at least 1"),
        ({"beta": 1.0}, ValueError, r"beta must be in \[0, 1\), got 1.0"),
        ({"cap": 0.0}, ValueError, "cap must lie between 0 and inf"),
        ({"init_range": -1.0}, ValueError, "init_range must lie between 0 and 8.98847e"),
        ({"dtype": "float16"}, ValueError, "dtype must be one of float32, float64, got 'float16'"),
        ({"seed": -3}, ValueError, "seed must be at least 0"),
    ],
)
def test_a_bad_parameter_is_refused(options, error_type, message):
    with pytest.raises(error_type, match=message):
        ColumnNetwork(**{"n_inputs": 3, "n_features": 6, **options})


def test_a_stage_that_is_not_open_has_no_weights():
    td = predictor("ccn")
    with pytest.raises(IndexError, match=r"stage must lie in \[0, 1\), the stages opened, got 1"):
        td.network.weights(td.arrays, 1)
