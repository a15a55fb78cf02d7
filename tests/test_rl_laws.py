"""Laws one step can show: accuracy at extreme weights, initial weights, and what stochastic learners carry."""

import math
from decimal import Decimal, localcontext

import numpy as np
import pytest

from rl import cells, learners
from rl.cells.gates import sigmoid
from rl.cells.jacobians import LinkedJacobian
from rl.cells.layout import Block
from rl.cells.vanilla import Vanilla
from tests.rl_cases import error, random_theta


# -- accuracy ---------------------------------------------------------------------------------------------------
def exact_rtu(nu):
    """Return (r, e^nu r, sqrt(1 - r^2) + 1e-8, e^nu r^2 / sqrt(1 - r^2)) to fifty digits, as floats."""
    with localcontext() as context:
        context.prec = 50
        rate = Decimal(float(nu)).exp()
        r = (-rate).exp()
        root = (1 - r * r).sqrt()
        return [float(value) for value in (r, rate * r, root + Decimal("1e-8"), rate * r * r / root)]


@pytest.mark.parametrize(("dtype", "low", "high"), [("float64", -40, 10), ("float32", -16, 5)])
def test_recurrent_trace_units_are_accurate_from_the_slowest_to_the_fastest(dtype, low, high):
    nus = np.linspace(low, high, 301).astype(dtype)
    cell = cells.make("rtu", n_inputs=1, n_units=len(nus), dtype=dtype)
    theta = cell.init()
    views = cell.views(theta)
    views["nu"][:], views["vartheta"][:], views["W1"][:], views["W2"][:] = nus, -20.0, 1.0, 0.0
    still = cell.linearise(theta, np.ones((1, 1), dtype), cell.initial_state(1))
    moving = cell.linearise(theta, np.zeros((1, 1), dtype), np.ones((1, 2, len(nus)), dtype))
    r, rate_r, n, n_nu = np.array([exact_rtu(nu) for nu in nus]).T
    # Condition: e^nu and what follows from it move by nu epsilons, r by e^nu epsilons, where it does not vanish.
    epsilon, tiny = np.finfo(dtype).eps, np.finfo(dtype).tiny
    tolerance = 8 * epsilon * (1 + np.abs(nus) + 3 * np.exp(np.minimum(nus, 7)))
    for found, exact in (
        (still.coefficients[0, 0, 0], n),
        (still.coefficients[0, 0, 2], n_nu),
        (-moving.coefficients[0, 0, 2], rate_r * (1 - np.exp(-20.0))),
        (still.carry[0, 0, 0], r),
    ):
        assert found.dtype == dtype
        assert np.isfinite(found).all()
        assert (np.abs(found - exact) <= tolerance * exact + tiny).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["rtu", "rtu-nonlinear"])
def test_recurrent_trace_units_stay_finite_at_any_nu(name, dtype):
    cell = cells.make(name, n_inputs=2, n_units=6, dtype=dtype)
    learner = learners.make("rtrl", cell)
    cell.views(learner.theta)["nu"][:] = [-1e4, -800.0, -104.0, 89.0, 710.0, 1e4]
    for _ in range(3):
        h = learner.step(np.ones(2, dtype))
    assert np.isfinite(h).all()
    assert np.isfinite(learner.gradient(np.ones_like(h))).all()
    at = cell.linearise(learner.theta, np.ones((1, 2), dtype), cell.initial_state(1) + 1)  # no warning either
    assert np.isfinite(at.coefficients).all()


def test_slow_units_in_float32_have_the_gradient_of_float64():
    gradients = {}
    for dtype in ("float32", "float64"):
        cell = cells.make("rtu", n_inputs=1, n_units=3, dtype=dtype, seed=1)
        learner = learners.make("rtrl", cell)
        cell.views(learner.theta)["nu"][:] = [-4.0, -10.0, -16.0]
        for x in np.random.default_rng(0).normal(size=(5, 1)).astype("float32"):
            h = learner.step(x)
        gradients[dtype] = cell.views(learner.gradient(np.ones_like(h)))["nu"]
    np.testing.assert_allclose(gradients["float32"], gradients["float64"], rtol=1e-5)


@pytest.mark.parametrize(("dtype", "far"), [("float64", 700), ("float32", 87)])
def test_the_sigmoid_is_accurate_on_both_sides(dtype, far):
    a = np.linspace(-far, far, 2001).astype(dtype)
    exact = np.array([1 / (1 + math.exp(-v)) for v in a.tolist()])
    found = sigmoid(a)
    assert found.dtype == dtype
    assert (np.abs(found - exact) <= 4 * np.finfo(dtype).eps * exact).all()


# -- what a step forms ------------------------------------------------------------------------------------------
LINKED = [("vanilla", {"tau": 2.0}), ("vanilla", {"density": 0.5}), ("lstm", {}), ("gru", {"density": 0.5})]


@pytest.mark.parametrize(("name", "options"), LINKED)
@pytest.mark.parametrize("learner", ["rtrl", "snap", "rtrl-dense"])
def test_where_weights_lie_among_the_edges_is_found_once(name, options, learner, monkeypatch):
    running = learners.make(learner, cells.make(name, n_inputs=3, n_units=6, **options))
    running.step(np.ones(3))
    monkeypatch.setattr(np, "searchsorted", None)
    monkeypatch.setattr(np, "flatnonzero", None)
    running.step(np.ones(3))


@pytest.mark.parametrize(("name", "options"), LINKED)
def test_snap_1_forms_no_links_between_units(name, options, monkeypatch):
    def refused(jacobian):
        raise AssertionError("all links were formed")

    cell = cells.make(name, n_inputs=3, n_units=6, **options)
    monkeypatch.setattr(LinkedJacobian, "link", property(refused))
    learners.make("snap", cell, n=1).step(np.ones(3))
    with pytest.raises(AssertionError, match="all links"):
        learners.make("snap", cell, n=2).step(np.ones(3))


class SelfWeighted(Vanilla):
    """h = tanh(U h- + w h- + W x + b): a weight of its own beside the matrix."""

    def _blocks(self):
        return [*super()._blocks(), Block(name="w", gate=0, reads="own")]


@pytest.mark.parametrize("options", [{}, {"tau": 2.0, "density": 0.5}])
def test_own_weights_beside_a_recurrent_matrix_lie_on_the_diagonal(options):
    cell = SelfWeighted(n_inputs=3, n_units=5, seed=3, **options)
    rng = np.random.default_rng(0)
    at = cell.linearise(random_theta(cell, rng), rng.normal(size=(2, 3)), rng.normal(size=(2, 1, 5)))
    v = rng.normal(size=(2, 1, 5))
    d = cell.recurrent(at)
    assert error(cell.state_jvp(at, v)[:, 0], np.einsum("bij,bj->bi", d.toarray(), v[:, 0])) < 1e-14
    np.testing.assert_array_equal(d.own_blocks()[:, 0, 0], np.einsum("bii->bi", d.toarray()))


# -- RFLO's feedback --------------------------------------------------------------------------------------------
def rflo(feedback="random", n_units=3, batch=None, **options):
    cell = cells.make("vanilla", n_inputs=2, n_units=n_units, tau=2.0)
    return learners.make("rflo", cell, batch, feedback=feedback, **options)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"feedback": "true", "n_errors": 2}, "n_errors must be left out unless feedback is 'random', got 2 and true"),
        ({"feedback": np.ones((3, 2)), "n_errors": 2}, "n_errors must be left out .* got 2 and a matrix"),
        ({"feedback": np.ones(3)}, r"feedback must have shape \(3, k\), n_hidden by n_errors, got \(3,\)"),
        (
            {"feedback": np.ones((4, 2))},
            r"feedback must have shape \(3, 2\), n_hidden by n_errors, got \(4, 2\)",
        ),
        ({"feedback": "symmetric"}, "feedback must be one of true, random"),
        ({"n_errors": 0, "feedback": "random"}, "n_errors must be at least 1"),
    ],
)
def test_feedback_that_makes_no_sense_is_refused_by_make_and_cost(options, says):
    with pytest.raises(ValueError, match=says):
        rflo(**options)
    with pytest.raises(ValueError, match=says):
        learners.cost("rflo", cells.make("vanilla", n_inputs=2, n_units=3, tau=2.0), **options)


def test_a_given_feedback_matrix_is_copied():
    matrix = np.ones((3, 2))
    learner = rflo(matrix)
    learner.step(np.ones(2))
    before = learner.gradient(np.ones(2))
    matrix[:] = 7.0
    np.testing.assert_array_equal(learner.gradient(np.ones(2)), before)


def test_random_feedback_has_a_variance_of_one_over_the_errors():
    # 4000 normal entries: the mean of squares is within 6 standard deviations, sqrt(2 / 4000) each, of 1.
    for n_errors, n_units in ((20, 200), (200, 20)):
        entries = rflo(n_units=n_units, n_errors=n_errors).feedback.ravel()
        assert abs((entries**2).mean() * n_errors - 1) < 6 * (2 / 4000) ** 0.5
        assert abs(entries.mean()) < 6 * (n_errors * 4000) ** -0.5


@pytest.mark.parametrize(
    ("errors", "kind", "says"),
    [
        (np.ones(3), ValueError, r"dl_dy must have shape \(2,\), got \(3,\)"),
        (np.array([1.0, np.nan]), ValueError, "dl_dy must be finite"),
        (np.ones(2, complex), TypeError, "dl_dy must hold real numbers"),
    ],
)
def test_errors_of_the_readout_are_checked(errors, kind, says):
    learner = rflo(n_errors=2)
    learner.step(np.ones(2))
    for ask in (learner.gradient, learner.input_gradient):
        with pytest.raises(kind, match=says):
            ask(errors)


def test_errors_of_streams_that_were_reset_count_for_nothing():
    errors = np.array([[1.0, 2.0], [3.0, -1.0]])
    both, first = rflo(batch=2, n_errors=2), rflo(batch=1, n_errors=2)
    for learner in (both, first):
        learner.step(np.ones((learner.batch, 2)))
    both.reset(np.array([False, True]))
    np.testing.assert_allclose(both.gradient(errors), first.gradient(errors[:1]), rtol=1e-14)
    reached = both.input_gradient(errors)
    np.testing.assert_allclose(reached[0], first.input_gradient(errors[:1])[0], rtol=1e-14)
    assert (reached[1] == 0).all()


def test_learners_of_different_feedback_exchange_no_states():
    one = rflo(np.ones((3, 2)))
    for other in (rflo(2 * np.ones((3, 2))), rflo(np.ones((3, 1))), rflo("true"), rflo("random", n_errors=2)):
        with pytest.raises(ValueError, match="options"):
            other.load_state_dict(one.state_dict())
    rflo(np.ones((3, 2))).load_state_dict(one.state_dict())


# -- initial weights --------------------------------------------------------------------------------------------
def initial(name, n_inputs=50, n_units=200):
    cell = cells.make(name, n_inputs=n_inputs, n_units=n_units, seed=5)
    return {view: np.sort(values.ravel()) for view, values in cell.views(cell.init()).items()}


def assert_drawn_from(values, quantile_of):
    """Kolmogorov-Smirnov: sqrt(n) D exceeds 3 with probability 2 exp(-18), 3e-8."""
    n = len(values)
    at = quantile_of(values)
    distance = max((np.arange(1, n + 1) / n - at).max(), (at - np.arange(n) / n).max())
    assert distance * n**0.5 < 3


def uniform(limit):
    return lambda values: np.clip((values / limit + 1) / 2, 0, 1)


@pytest.mark.parametrize(("name", "limit"), [("columnar-lstm", 0.01), ("vanilla", 200**-0.5), ("lstm", 200**-0.5)])
def test_initial_weights_are_uniform_within_their_bound(name, limit):
    for values in initial(name).values():
        assert np.abs(values).max() <= limit
        assert_drawn_from(values, uniform(limit))


def test_initial_weights_of_the_elstm_are_normal_and_its_biases_zero():
    for name, values in initial("elstm").items():
        if name.startswith("b_"):
            assert (values == 0).all(), name
        else:
            assert_drawn_from(values, lambda v: np.array([(1 + math.erf(x / 0.1 / 2**0.5)) / 2 for x in v]))


@pytest.mark.parametrize("name", ["rtu", "rtu-nonlinear"])
def test_initial_decays_and_angles_of_recurrent_trace_units_are_uniform(name):
    views = initial(name, n_inputs=4, n_units=5000)
    # nu = log(-log(u) / 2) decreases in u, so 1 - u is ordered like nu.
    assert_drawn_from(views["nu"], lambda v: 1 - np.exp(-2 * np.exp(v)))
    assert_drawn_from(views["vartheta"], lambda v: np.exp(v) / 6.28)
    for view in ("W1", "W2"):
        assert_drawn_from(views[view], uniform(0.5))


# -- what stochastic learners carry -----------------------------------------------------------------------------
def norm(a):
    """Return the L2 norm of each stream."""
    return np.sqrt((a.reshape(len(a), -1) ** 2).sum(axis=1))


def steps_taken(learner, n_steps=40):
    """Yield (step, carried before, carried after): streams see inputs of different size, and weights change."""
    cell, rng = learner.cell, np.random.default_rng(0)
    learner.theta[:] = random_theta(cell, rng)
    sizes = 10.0 ** np.arange(learner.batch)[:, None] / 10
    for _ in range(n_steps):
        before = learner.state_dict()
        x = sizes * rng.normal(size=(learner.batch, cell.n_inputs))
        learner.step(x)
        yield cell.linearise(before["theta"], x, before["state"]), before["carried"], learner.state_dict()["carried"]
        learner.theta[:] += 0.01 * rng.normal(size=cell.n_params)


CARRIED_BY_ALL = [("vanilla", {}), ("vanilla", {"tau": 2.0, "density": 0.6}), ("lstm", {}), ("elstm", {}), ("rtu", {})]


@pytest.mark.parametrize("start", ["zero", "normal"])
@pytest.mark.parametrize(("name", "options"), CARRIED_BY_ALL)
def test_every_step_of_uoro_is_its_two_equations_in_each_stream(name, options, start):
    cell = cells.make(name, n_inputs=3, n_units=4, **options)
    signs = []
    for at, before, after in steps_taken(learners.make("uoro", cell, 3, start=start, seed=1)):
        d, i = cell.recurrent(at).toarray(), cell.immediate(at).toarray()
        carried = np.einsum("bij,bj->bi", d, before["A"].reshape(3, -1))
        p0 = np.sqrt(norm(before["B"]) / norm(carried)) if carried.any() else np.ones(3)
        fresh = after["A"].reshape(3, -1) - p0[:, None] * carried
        nu = np.sign(fresh)
        inward = np.einsum("bi,bip->bp", nu, i)
        p1 = np.sqrt(norm(inward) / norm(nu))
        np.testing.assert_allclose(fresh, p1[:, None] * nu, rtol=1e-9)
        np.testing.assert_allclose(
            after["B"], before["B"] / p0[:, None] + inward / p1[:, None], rtol=1e-9, atol=1e-12 * np.abs(inward).max()
        )
        signs.append(nu)
    assert_independent(np.moveaxis(signs, 0, 1))


def assert_independent(signs):
    """Rows of 40 signs and more each: no two the same, none all of one sign; by chance less than 1 in 2^35."""
    rows = [tuple(row) for row in signs.reshape(len(signs), -1)]
    assert len(set(rows)) == len(rows)
    assert all(set(row) == {-1.0, 1.0} for row in rows)


@pytest.mark.parametrize("options", [{}, {"tau": 2.0}, {"density": 0.6, "bias": False}])
def test_every_step_of_kf_rtrl_is_its_two_equations_in_each_stream(options):
    cell = cells.make("vanilla", n_inputs=3, n_units=4, **options)
    signs = []
    for at, before, after in steps_taken(learners.make("kf-rtrl", cell, 3, seed=1)):
        forward = cell.recurrent(at).toarray() @ before["A"]
        slope = at.coefficients[:, 0, 0]
        p1 = np.sqrt((norm(forward) + 1e-12) / (norm(before["u"]) + 1e-12))
        p2 = np.sqrt((norm(slope) + 1e-12) / (norm(at.sources) + 1e-12))
        chosen = []
        for b in range(3):
            off = {}
            for c1, c2 in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
                a = c1 / p1[b] * forward[b] + c2 / p2[b] * np.diag(slope[b])
                u = c1 * p1[b] * before["u"][b] + c2 * p2[b] * at.sources[b]
                off[c1, c2] = max(error(a, after["A"][b]), error(u, after["u"][b]))
            best = min(off, key=off.get)
            assert off[best] < 1e-9
            chosen.append([float(c) for c in best])
        signs.append(chosen)
    signs = np.array(signs)[1:]  # at the first step there is nothing for c1 to turn
    assert_independent(signs.transpose(1, 2, 0).reshape(6, -1))


@pytest.mark.parametrize("options", [{}, {"feedback": "random"}])
def test_every_step_of_rflo_is_its_equation_in_each_stream(options):
    cell = cells.make("vanilla", n_inputs=3, n_units=4, tau=2.0, density=0.6)
    layout = cell.layout
    for at, before, after in steps_taken(learners.make("rflo", cell, 3, **options), n_steps=10):
        phi = 2 * (at.state[:, 0] - at.before[:, 0] / 2)
        fresh = (1 - phi**2)[:, layout.unit_of] * at.sources[:, layout.source_of]
        np.testing.assert_allclose(after["P"], before["P"] / 2 + fresh / 2, rtol=1e-9, atol=1e-12)


def test_half_the_sensitivities_of_a_linear_recurrent_trace_unit_follow_from_the_other_half():
    cell = cells.make("rtu", n_inputs=3, n_units=4)
    w1, w2 = (cell.layout.placed[name].at for name in ("W1", "W2"))
    for _, _, after in steps_taken(learners.make("rtrl", cell, 3), n_steps=10):
        j = after["J"]
        np.testing.assert_allclose(j[:, 0, w2], -j[:, 1, w1], rtol=1e-12, atol=1e-15)
        np.testing.assert_allclose(j[:, 1, w2], j[:, 0, w1], rtol=1e-12, atol=1e-15)
