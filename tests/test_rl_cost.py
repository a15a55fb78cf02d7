"""Counted operations and bytes: against arrays measured, formulas of the papers, and masks counted by hand."""

import gc
import tracemalloc

import numpy as np
import pytest

from rl import cells, learners
from rl.learners.counting import tbptt_budget

FITS_ALL = [name for name in learners.available() if name not in ("kf-rtrl", "rflo")]
#: Units at which Python's own objects, which the count leaves out, are small beside the arrays.
SMALL = {"vanilla": 64, "lstm": 40, "gru": 48, "columnar-lstm": 300, "elstm": 200, "rtu": 400, "rtu-nonlinear": 400}
LARGE = dict.fromkeys(SMALL, 400)
MEASURED = [
    *((cell, learner, {}, {}) for cell in cells.available() for learner in FITS_ALL if learner != "rtrl-dense"),
    *((cell, "rtrl-dense", {}, {}) for cell in ("vanilla", "lstm", "gru")),
    *(("vanilla", learner, {}, {}) for learner in ("kf-rtrl", "rflo")),
    ("vanilla", "rflo", {}, {"feedback": "random", "n_errors": 5}),
    ("gru", "snap", {"density": 0.02}, {"n": 2}),
    ("vanilla", "snap", {"density": 0.02}, {"n": 3}),
    ("lstm", "tbptt", {}, {"k": 25}),
]


def measured(cell, learner, batch, n_steps, options, write=False):
    """Return the bytes alive after some steps that were not before; the cell's own tables are made beforehand."""
    xs = np.random.default_rng(0).normal(size=(n_steps, *(() if batch is None else (batch,)), cell.n_inputs))
    learners.make(learner, cell, batch, **options).step(xs[0])
    gc.collect()
    tracemalloc.start()
    try:
        running = learners.make(learner, cell, batch, **options)
        for x in xs:
            running.step(x)
            if write:
                running.theta[:] += 1e-3
        gc.collect()
        return tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(("name", "learner", "mask", "options"), MEASURED)
@pytest.mark.parametrize("batch", [None, 3])
def test_measured_memory_is_the_counted_within_five_percent(name, learner, mask, options, batch):
    sizes = LARGE if mask or learner in ("tbptt", "bptt", "uoro", "rflo") else SMALL
    cell = cells.make(name, n_inputs=16, n_units=sizes[name], seed=0, **mask)
    n_steps = 30 if learner in ("tbptt", "bptt") else 2
    counting = {**options, "n_steps": n_steps} if learner == "bptt" else options
    counted = learners.cost(learner, cell, batch, **counting).bytes_held
    found = measured(cell, learner, batch, n_steps, options)
    print(f"{name} {learner} batch {batch}: measured {found} / counted {counted} = {found / counted:.4f}")
    assert abs(found / counted - 1) < 0.05


def test_a_window_over_changing_weights_holds_each():
    cell = cells.make("lstm", n_inputs=16, n_units=100)
    counted = learners.cost("tbptt", cell, k=8, n_weights=8).bytes_held
    assert abs(measured(cell, "tbptt", None, 20, {"k": 8}, write=True) / counted - 1) < 0.05


def test_a_forgotten_factor_in_the_count_would_be_caught():
    cell = cells.make("lstm", n_inputs=16, n_units=40)
    counted = learners.cost("rtrl", cell)
    found = measured(cell, "rtrl", None, 2, {})
    for wrong in (counted.bytes_carried // 2, counted.bytes_held // 2, 2 * counted.bytes_held):
        assert abs(found / wrong - 1) > 0.05


@pytest.mark.parametrize("name", ["columnar-lstm", "elstm", "rtu", "rtu-nonlinear"])
def test_exact_sensitivities_of_columns_are_linear_in_the_parameters(name):
    for n_units in (8, 64, 512):
        cell = cells.make(name, n_inputs=4, n_units=n_units)
        counted = learners.cost("rtrl", cell)
        s = cell.n_components
        assert counted.bytes_carried == s * 8 * cell.layout.n_state_params
        assert counted.sensitivities == (s * s + s) * cell.layout.n_state_params


def test_dense_cells_pay_units_squared_times_parameters():
    cell = cells.make("gru", n_inputs=5, n_units=12)
    p = cell.n_params
    assert learners.cost("rtrl", cell).sensitivities == 144 * p + p
    assert learners.cost("snap", cell).sensitivities == p + p
    assert learners.cost("rtrl-dense", cell).sensitivities == 144 * p
    assert learners.cost("rtrl", cell, batch=7).sensitivities == 7 * 145 * p
    assert learners.cost("rtrl", cell).forward == 3 * 12 * (5 + 12)


def test_budgets_of_truncated_bptt_are_the_papers():
    # Javed et al. (2023): truncation:features of about 4k operations at 12 inputs.
    for k, features in ((3, 10), (5, 8), (8, 5), (10, 5), (15, 4), (20, 3), (30, 2)):
        budget = tbptt_budget(12, features, k)
        assert 3_000 < budget < 4_500
        cell = cells.make("lstm", n_inputs=12, n_units=features)
        assert budget == cell.n_params * (k + 1)
        assert budget < learners.cost("tbptt", cell, k=k).operations < 2.5 * budget


def test_the_count_takes_what_the_learner_takes():
    cell = cells.make("vanilla", n_inputs=3, n_units=4)
    with pytest.raises(ValueError, match="learner must be one of"):
        learners.cost("adam", cell)
    with pytest.raises(ValueError, match="batch must be at least 1"):
        learners.cost("rtrl", cell, batch=0)
    assert learners.cost("rflo", cell, feedback=np.ones((4, 2))).gradient == 4 * (4 + 3 + 1) + 4 * 2
    assert learners.cost("uoro", cell).operations > 0
    assert learners.cost("kf-rtrl", cell).bytes_carried == 8 * (16 + 8)
