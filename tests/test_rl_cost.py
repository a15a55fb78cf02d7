"""Counted operations and bytes: against arrays measured, formulas of the papers, and masks counted by hand."""

import gc
import tracemalloc

import numpy as np
import pytest

from rl import cells, learners
from rl._kernels.influence import multiply_edges
from rl.learners import influence
from rl.learners.counting import step_bytes, tbptt_budget

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


def peak_of(call):
    """Return the most bytes alive at once during a call that were not before."""
    gc.collect()
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


PEAKS = [
    *((cell, learner, mask, options) for cell, learner, mask, options in MEASURED if learner not in ("tbptt", "bptt")),
    ("vanilla", "kf-rtrl", {"density": 0.3}, {}), ("lstm", "rtrl", {"density": 0.1}, {}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "learner", "mask", "options"), PEAKS)
@pytest.mark.parametrize("batch", [None, 3])
def test_a_call_needs_no_more_at_its_peak_than_the_count_says(name, learner, mask, options, batch):
    sizes = LARGE if learner in ("uoro", "rflo", "kf-rtrl") or (mask and learner == "snap") else SMALL
    cell = cells.make(name, n_inputs=16, n_units=sizes[name], seed=0, **mask)
    running, counted = learners.make(learner, cell, batch, **options), learners.cost(learner, cell, batch, **options)
    axis, b = (() if batch is None else (batch,)), batch or 1
    x, q = np.ones((*axis, 16)), np.ones((*axis, options.get("n_errors", cell.n_hidden)))
    for _ in range(2):
        running.step(x)
        running.gradient(q)
    own, carried = b * step_bytes(cell), counted.bytes_carried
    links = 8 * b * len(cell.layout.edges[0]) if learner == "kf-rtrl" and mask else 0
    found = peak_of(lambda: running.step(x))
    print(f"{name} {learner} batch {batch}: {found} at peak, step {own}, carried {carried}")
    assert carried + own < found < 1.06 * (own + 2 * carried + links)
    scratch = (2 if learner == "kf-rtrl" else 1) * b * cell.n_components * cell.layout.n_state_params
    assert peak_of(lambda: running.gradient(q)) < 1.1 * 8 * (2 * cell.n_params + scratch)


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


def matrix_products(monkeypatch, take):
    """Return how many products numpy's matmul takes during a call of `take`."""
    counted, matmul = [], np.matmul

    def counting(a, b, **options):
        out = matmul(a, b, **options)
        counted.append(out.size * a.shape[-1])
        return out

    with monkeypatch.context() as patched:
        patched.setattr(np, "matmul", counting)
        take()
    return sum(counted)


def zero_triples(layout, reached):
    """Return how many (m, l, p) have both pairs (m, p), (l, p) kept and no edge from l to m.

    Those of a parameter whose units are linked by at most a sixth of all possible edges are not multiplied.
    """
    linked = np.zeros((layout.n_units, layout.n_units), bool)
    linked[layout.edges] = True
    count = 0
    for k in layout.unit_of:
        within = linked[np.ix_(reached[:, k], reached[:, k])]
        count += 0 if 6 * within.sum() <= within.size else (~within).sum()
    return count


@pytest.mark.parametrize("name", ["vanilla", "lstm", "gru"])
@pytest.mark.parametrize(("density", "n_units"), [(1.0, 11), (0.3, 11), (0.06, 40)])
@pytest.mark.parametrize(("learner", "options"), [("rtrl", {}), ("snap", {"n": 2}), ("snap", {"n": 3})])
def test_products_taken_are_the_operations_and_the_padding(name, density, n_units, learner, options, monkeypatch):
    cell = cells.make(name, n_inputs=60, n_units=n_units, density=density, seed=7)
    running, counted = learners.make(learner, cell, 2, **options), learners.cost(learner, cell, 2, **options)
    s, p = cell.n_components, cell.layout.n_state_params
    reached = cell.layout.reach(options.get("n", n_units))
    elsewhere = 2 * s * p + 2 * s * (s - 1) * reached[:, cell.layout.unit_of].sum()  # I, and what a unit carries
    by_edges = []

    def counting(link, edges, places, before, read, after):
        by_edges.append(len(edges) * after.shape[0] * after.shape[2])
        multiply_edges(link, edges, places, before, read, after)

    monkeypatch.setattr(influence, "multiply_edges", counting)
    taken = matrix_products(monkeypatch, lambda: running.step(np.ones((2, 60)))) + sum(by_edges)
    assert taken == counted.sensitivities - elsewhere + counted.padding
    assert counted.padding == 2 * s * zero_triples(cell.layout, reached)
    assert counted.multiplied == counted.operations + counted.padding
    if density >= 0.3:  # at .06 some groups are multiplied one way, some the other
        assert (counted.padding > 0) == (density == 0.3)
    if (name, density) == ("vanilla", 0.06):
        assert by_edges


@pytest.mark.nojit
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_product_by_edges_is_that_of_the_matrix(dtype):
    rng = np.random.default_rng(0)
    d = np.zeros((2, 5, 5), dtype)
    places, edges = np.array([1, 7, 9, 20], "int32"), np.array([6, 0, 3, 2], "int32")
    link, before = rng.normal(size=(2, 7)).astype(dtype), rng.normal(size=(2, 5, 3)).astype(dtype)
    after = np.full_like(before, np.nan)
    multiply_edges(link, edges, places, before, 1, after)
    for place, edge in zip(places, edges, strict=True):
        d[:, place // 5, place % 5] = link[:, edge]
    np.testing.assert_allclose(after, d @ before[1], rtol=1e-6)


@pytest.mark.parametrize(("density", "tau"), [(1.0, 1.0), (0.3, 1.0), (0.3, 2.0)])
def test_products_of_kf_rtrl_are_the_operations_and_the_padding(density, tau, monkeypatch):
    cell = cells.make("vanilla", n_inputs=9, n_units=11, density=density, tau=tau, seed=7)
    running, counted = learners.make("kf-rtrl", cell, 2), learners.cost("kf-rtrl", cell, 2)
    n_edges = len(cell.layout.edges[0])
    assert counted.sensitivities == 2 * (n_edges * 11 + 11 * 11 + 2 * (9 + 11 + 1))
    assert counted.gradient == 2 * (11 * 11 + cell.n_params)
    assert counted.padding == 2 * (11**2 - n_edges) * 11
    assert matrix_products(monkeypatch, lambda: running.step(np.ones((2, 9)))) == 2 * 11**3
    assert (counted.padding > 0) == (density < 1)


def test_learners_without_blocks_multiply_no_zeros():
    cell = cells.make("gru", n_inputs=3, n_units=8, density=0.4)
    for learner in ("uoro", "tbptt", "snap", "rtrl-dense"):
        counted = learners.cost(learner, cell)
        assert counted.multiplied == counted.operations


def test_operations_of_uoro_and_truncated_bptt_are_those_counted_by_hand():
    # A dense LSTM of 3 units and 2 inputs: 4 gates, 2 components; D v is 4 * 9 recurrent weights, 4 * 2 * 3 sums
    # into components and 2 * 2 * 3 carries.
    lstm = cells.make("lstm", n_inputs=2, n_units=3)
    p, carry = 4 * 3 * (2 + 3 + 1), 36 + 24 + 12
    uoro, tbptt = learners.cost("uoro", lstm), learners.cost("tbptt", lstm, 5, k=7)
    assert (uoro.forward, uoro.sensitivities, uoro.gradient) == (4 * 3 * 5, carry + 2 * p, 6 + p)
    assert (tbptt.forward, tbptt.sensitivities, tbptt.gradient) == (5 * 4 * 3 * 5, 0, 5 * 7 * (carry + p))
    # An eLSTM of 3 units and 2 inputs: 2 gates and one component, 2 * 3 weights of the units' own; the output map
    # has 3 * 2 and 3 * 3 weights and 3 biases, passed three times: once more forward, transposed, and its gradient.
    elstm = cells.make("elstm", n_inputs=2, n_units=3)
    p, carry, output = 2 * 3 * (2 + 1 + 1), 6 + 6 + 3, 3 * (6 + 9 + 3)
    uoro, tbptt = learners.cost("uoro", elstm), learners.cost("tbptt", elstm, 5, k=7)
    assert (uoro.forward, uoro.sensitivities, uoro.gradient) == (12 + 6 + 15, carry + 2 * p, 3 + p + output)
    assert tbptt.gradient == 5 * (7 * (carry + p) + output)
    assert learners.cost("rtrl", elstm, 5).gradient == 5 * (p + output)
    masked = cells.make("vanilla", n_inputs=9, n_units=9, density=0.3, bias=False)
    n_links = len(masked.layout.placed["U"].rows)
    assert learners.cost("uoro", masked).sensitivities == n_links + 9 * (1 + 1) + 2 * masked.n_params


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
