"""Learners against each other, the tape and central differences; each comparison also catches planted mistakes."""

import numpy as np
import pytest

from rl import cells, learners
from rl.cells.base import GatedCell
from rl.cells.columnar_lstm import ColumnarLstm
from rl.cells.elstm import Elstm
from rl.cells.gru import Gru
from rl.cells.layout import Block, Layout
from rl.cells.lstm import Lstm
from rl.cells.rtu import NonlinearRtu, Rtu
from rl.cells.vanilla import Vanilla
from rl.learners.bptt import Bptt, TruncatedBptt
from rl.learners.rflo import Rflo
from rl.learners.rtrl import DenseRtrl, Rtrl
from tests.naive import recurrent as naive
from tests.rl_cases import CASES, IDS, dense_parameters, error, gathered, naive_options, random_cell, random_theta

SEEDS = range(5)
#: A mistake is caught where the error passes this; right answers stay below 1e-10.
CAUGHT = 1e-3


def sequence(cell, rng, batch=None, n_steps=None):
    """Return inputs and dL/dh of up to 30 steps, a loss at every step."""
    n_steps = n_steps or int(rng.integers(1, 31))
    rows = () if batch is None else (batch,)
    return (
        rng.normal(size=(n_steps, *rows, cell.n_inputs)),
        rng.normal(size=(n_steps, *rows, cell.n_hidden)),
    )


def total_gradient(learner, xs, dl_dh):
    """Return the sum over steps of the gradients of each step's loss."""
    total = np.zeros(learner.cell.n_params)
    for x, q in zip(xs, dl_dh, strict=True):
        learner.step(x)
        total += learner.gradient(q)
    return total


def made(learner, cell, theta, **options):
    """Return a learner, by name or class, with these weights."""
    new = learners.make(learner, cell, **options) if isinstance(learner, str) else learner(cell, **options)
    new.theta[:] = theta
    return new


def tape_gradient(cell, theta, xs, dl_dh, **options):
    by_name = naive.loss_gradient(
        cell.name, dense_parameters(cell, theta), xs, dl_dh, cell.n_units, **naive_options(cell), **options
    )
    return gathered(cell, by_name)


def loss(cell, theta, xs, dl_dh):
    state, total = cell.initial_state(1), 0.0
    for x, q in zip(xs, dl_dh, strict=True):
        h, state = cell.step(theta, x[None], state)
        total += h[0] @ q
    return total


def central_differences(cell, theta, xs, dl_dh):
    gradient = np.empty_like(theta)
    for p in range(len(theta)):
        ends = []
        for step in (1e-5, -1e-5):
            moved = theta.copy()
            moved[p] += step
            ends.append(loss(cell, moved, xs, dl_dh))
        gradient[p] = (ends[0] - ends[1]) / 2e-5
    return gradient


def errors(name, options, seed, learner="rtrl", make=None, least=1, n_steps=None):
    """Return the errors of a learner's gradient against dense RTRL, full BPTT, tape, and central differences."""
    rng = np.random.default_rng(seed)
    cell = random_cell(name, rng, make, least, **options)
    theta = random_theta(cell, rng)
    xs, dl_dh = sequence(cell, rng, n_steps=n_steps)
    gradient = total_gradient(made(learner, cell, theta), xs, dl_dh)
    return {
        "dense": error(gradient, total_gradient(made(DenseRtrl, cell, theta), xs, dl_dh)),
        "bptt": error(gradient, total_gradient(made(Bptt, cell, theta), xs, dl_dh)),
        "tape": error(gradient, tape_gradient(cell, theta, xs, dl_dh)),
        "differences": error(gradient, central_differences(cell, theta, xs, dl_dh)),
    }


@pytest.mark.parametrize(("name", "options"), CASES, ids=IDS)
@pytest.mark.parametrize("seed", SEEDS)
def test_structured_rtrl_dense_rtrl_bptt_tape_and_differences_agree(name, options, seed):
    found = errors(name, options, seed)
    print({k: f"{v:.1e}" for k, v in found.items()})
    assert max(found["dense"], found["bptt"], found["tape"]) < 1e-10
    assert found["differences"] < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options"), CASES, ids=IDS)
@pytest.mark.parametrize("seed", range(100, 140))
def test_forty_more_random_cells_agree(name, options, seed):
    found = errors(name, options, seed)
    assert max(found["dense"], found["bptt"], found["tape"]) < 1e-10
    assert found["differences"] < 1e-6


# -- planted mistakes in cells: learners share them, the tape and the differences do not ------------------------
def scaled(cell, component, gate, factor):
    """Return a subclass of `cell` with one coefficient ds/da wrong by a factor; None: a gate's own value."""

    class Planted(cell):
        def _advance(self, theta, a, state):
            after, coefficients, carry = super()._advance(theta, a, state)
            coefficients[:, component, gate] *= factor(self, theta, a) if callable(factor) else factor
            return after, coefficients, carry

    return Planted


def without_vartheta_factor(self, theta, a):
    return np.exp(-self.views(theta)["vartheta"])[None]


class WithoutOutputPath(Elstm):
    """The gradient of the eLSTM's cell without W_oc^T (q c o(1-o))."""

    def output_vjp(self, at, dl_dh):
        _, own, by_x = super().output_vjp(at, dl_dh)
        return (dl_dh * self._gate(at.theta, at.x, at.state[:, 0]))[:, None], own, by_x


class WithoutLeak(Vanilla):
    def _advance(self, theta, a, state):
        after, coefficients, carry = super()._advance(theta, a, state)
        return after, coefficients, 0 * carry


class WithoutReset(Gru):
    """The standard mistake: da instead of da r for U_a."""

    def _advance(self, theta, a, state):
        after, coefficients, carry = super()._advance(theta, a, state)
        coefficients[:, :, 3] = coefficients[:, :, 2]
        return after, coefficients, carry


class ShiftedLayout(Layout):
    """A mask off by one: sources of masked matrices taken one column further."""

    @property
    def source_of(self):
        shifted = Layout.source_of.func(self).copy()
        inputs = shifted < self.n_inputs
        shifted[inputs] = (shifted[inputs] + 1) % self.n_inputs
        return shifted


class MaskOffByOne(ColumnarLstm):
    def __init__(self, **options):
        super().__init__(**options)
        at = self.layout
        self.layout = ShiftedLayout(at.n_inputs, at.n_units, at.n_gates, at.blocks, at.masks, at.carries)


PLANTED_CELLS = [
    ("columnar-lstm", scaled(ColumnarLstm, 1, 2, 0.0), {}),  # kO missing in TH
    ("columnar-lstm", scaled(ColumnarLstm, 0, 1, 0.5), {}),  # half of kF
    ("columnar-lstm", MaskOffByOne, {"density": 0.6}),
    ("lstm", scaled(Lstm, 1, 0, 0.0), {}),  # B kI missing
    ("gru", WithoutReset, {}),
    ("gru", scaled(Gru, 0, 1, 0.0), {}),  # the path through r missing
    ("vanilla", WithoutLeak, {"tau": 3.0}),
    ("elstm", WithoutOutputPath, {}),
    ("elstm", scaled(Elstm, 0, 1, 0.5), {}),
    ("rtu", scaled(Rtu, slice(None), 3, without_vartheta_factor), {}),
    ("rtu-nonlinear", scaled(NonlinearRtu, slice(None), 3, without_vartheta_factor), {}),
    ("rtu", scaled(Rtu, 0, 2, 0.0), {}),  # nu missing in the first component
]


@pytest.mark.parametrize(("name", "planted", "options"), PLANTED_CELLS)
def test_a_planted_cell_is_caught_by_tape_and_differences(name, planted, options):
    found = errors(name, options, 11, make=planted, least=3, n_steps=20)
    assert min(found["tape"], found["differences"]) > CAUGHT


# -- planted mistakes in learners --------------------------------------------------------------------------------
class WithoutOwnLink(Rtrl):
    """Structured RTRL that forgets E TH in TH' (or its like): the last component's own past."""

    def _advance(self, at, carried):
        j = carried["J"].reshape(self.n_streams, self.cell.n_components, -1).copy()
        j[:, -1] = 0
        return super()._advance(at, {"J": j.reshape(carried["J"].shape)})


class WithoutRecurrentPath(DenseRtrl):
    def _advance(self, at, carried):
        return {"J": self.cell.immediate(at).toarray()}


class TransposedRecurrence(DenseRtrl):
    def _advance(self, at, carried):
        d = self.cell.recurrent(at).toarray().transpose(0, 2, 1)
        return {"J": self.cell.immediate(at).toarray() + d @ carried["J"]}


@pytest.mark.parametrize("planted", [WithoutOwnLink, WithoutRecurrentPath, TransposedRecurrence])
@pytest.mark.parametrize("name", ["vanilla", "lstm", "gru", "columnar-lstm", "rtu"])
def test_a_planted_learner_is_caught_by_every_comparison(name, planted):
    found = errors(name, {}, 11, learner=planted, least=3, n_steps=20)
    assert min(found.values()) > CAUGHT


class WindowOffByOne(TruncatedBptt):
    def _length(self):
        return self.k + 1


@pytest.mark.parametrize(("name", "options"), CASES, ids=IDS)
@pytest.mark.parametrize("k", [1, 2, 5])
def test_truncated_bptt_is_the_tape_detached_k_steps_ago(name, options, k):
    rng = np.random.default_rng(k)
    cell = random_cell(name, rng, least=2, **options)
    theta = random_theta(cell, rng)
    xs, dl_dh = sequence(cell, rng, n_steps=12)
    expected = tape_gradient(cell, theta, xs, dl_dh, window=k)
    assert error(total_gradient(made("tbptt", cell, theta, k=k), xs, dl_dh), expected) < 1e-10
    assert error(total_gradient(made(WindowOffByOne, cell, theta, k=k), xs, dl_dh), expected) > CAUGHT


@pytest.mark.parametrize(("name", "options"), CASES, ids=IDS)
def test_input_gradients_are_those_of_the_tape(name, options):
    rng = np.random.default_rng(3)
    cell = random_cell(name, rng, **options)
    theta = random_theta(cell, rng)
    xs, dl_dh = sequence(cell, rng)
    expected = naive.input_gradient(
        name, dense_parameters(cell, theta), xs, dl_dh[-1], cell.n_units, **naive_options(cell)
    )
    for learner in ("rtrl", "rtrl-dense", "bptt", "tbptt", "snap", "uoro"):
        running = made(learner, cell, theta)
        for x in xs:
            running.step(x)
        assert error(running.input_gradient(dl_dh[-1]), expected) < 1e-10


# -- RFLO --------------------------------------------------------------------------------------------------------
class LeaklessRflo(Rflo):
    def _advance(self, at, carried):
        return super()._advance(at, {"P": 0 * carried["P"]})


@pytest.mark.parametrize("options", [{}, {"tau": 3.0}, {"tau": 1.5, "density": 0.5}])
@pytest.mark.parametrize("seed", SEEDS)
def test_rflo_is_the_tape_with_the_recurrent_path_cut(options, seed):
    rng = np.random.default_rng(seed)
    cell = random_cell("vanilla", rng, least=2, **options)
    theta = random_theta(cell, rng)
    xs, dl_dh = sequence(cell, rng, n_steps=20)
    expected = tape_gradient(cell, theta, xs, dl_dh, cut=True)
    assert error(total_gradient(made("rflo", cell, theta), xs, dl_dh), expected) < 1e-10
    assert error(total_gradient(made("rtrl", cell, theta), xs, dl_dh), expected) > CAUGHT
    if cell.tau > 1:
        assert error(total_gradient(made(LeaklessRflo, cell, theta), xs, dl_dh), expected) > CAUGHT


def test_rflo_sends_errors_back_through_its_fixed_random_matrix():
    rng = np.random.default_rng(0)
    cell = cells.make("vanilla", n_inputs=3, n_units=5, tau=2.0)
    xs, errors_of_readout = rng.normal(size=(8, 3)), rng.normal(size=(8, 2))
    random = made("rflo", cell, cell.init(), feedback="random", n_errors=2, seed=4)
    true = made("rflo", cell, cell.init())
    given = made("rflo", cell, cell.init(), feedback=random.feedback)
    expected = total_gradient(true, xs, errors_of_readout @ random.feedback.T)
    assert error(total_gradient(random, xs, errors_of_readout), expected) < 1e-13
    assert error(total_gradient(given, xs, errors_of_readout), expected) < 1e-13
    assert random.feedback.shape == (5, 2)
    assert (random.feedback != made("rflo", cell, cell.init(), feedback="random", n_errors=2, seed=5).feedback).all()


# -- streams, live weights, resets -------------------------------------------------------------------------------
EXACT = ["rtrl", "rtrl-dense", "bptt"]
DETERMINISTIC = [*EXACT, "snap", "tbptt"]


@pytest.mark.parametrize("learner", DETERMINISTIC)
@pytest.mark.parametrize(("name", "options"), CASES, ids=IDS)
def test_a_batch_is_its_streams_one_by_one_and_the_gradient_their_sum(name, options, learner):
    rng = np.random.default_rng(8)
    cell = random_cell(name, rng, **options)
    theta = random_theta(cell, rng)
    xs, dl_dh = sequence(cell, rng, batch=3, n_steps=9)
    together = made(learner, cell, theta, batch=3)
    alone = [made(learner, cell, theta) for _ in range(3)]
    ended = {4: np.array([False, True, False]), 7: np.array([True, True, False])}
    for t, (x, q) in enumerate(zip(xs, dl_dh, strict=True)):
        if t in ended:
            together.reset(ended[t])
            for stream, over in zip(alone, ended[t], strict=True):
                if over:
                    stream.reset()
        h = together.step(x)
        np.testing.assert_allclose(h, [s.step(x[b]) for b, s in enumerate(alone)], rtol=1e-12, atol=1e-14)
        assert error(together.gradient(q), sum(s.gradient(q[b]) for b, s in enumerate(alone))) < 1e-12
        by_stream = [s.input_gradient(q[b]) for b, s in enumerate(alone)]
        assert error(together.input_gradient(q), by_stream) < 1e-12


@pytest.mark.parametrize(("name", "options"), CASES, ids=IDS)
def test_exact_learners_agree_while_weights_are_written_at_every_step(name, options):
    rng = np.random.default_rng(9)
    cell = random_cell(name, rng, **options)
    theta = random_theta(cell, rng)
    xs, dl_dh = sequence(cell, rng, n_steps=15)
    running = [made(learner, cell, theta) for learner in (*EXACT, "tbptt")]
    running[-1] = made("tbptt", cell, theta, k=15)
    for x, q in zip(xs, dl_dh, strict=True):
        gradients = []
        for learner in running:
            learner.step(x)
            gradients.append(learner.gradient(q))
            learner.theta[:] -= 0.01 * np.sign(theta)  # takes effect at the next step
            np.testing.assert_array_equal(learner.gradient(q), gradients[-1])
        for gradient in gradients[1:]:
            assert error(gradient, gradients[0]) < 1e-10


@pytest.mark.parametrize("learner", learners.available())
def test_gradients_change_nothing_and_reset_starts_anew(learner):
    rng = np.random.default_rng(2)
    cell = cells.make("vanilla", n_inputs=3, n_units=4, tau=2.0, seed=1)
    xs, dl_dh = sequence(cell, rng, n_steps=6)
    running, twin = learners.make(learner, cell), learners.make(learner, cell)
    for x, q in zip(xs, dl_dh, strict=True):
        running.step(x)
        twin.step(x)
        first = running.gradient(q)
        running.input_gradient(q)
        np.testing.assert_array_equal(running.gradient(q), first)
        np.testing.assert_array_equal(twin.gradient(q), first)
    running.reset()
    with pytest.raises(RuntimeError, match="step must come before gradient"):
        running.gradient(dl_dh[0])
    fresh = learners.make(learner, cell)
    np.testing.assert_array_equal(running.step(xs[0]), fresh.step(xs[0]))
    if learner not in ("uoro", "kf-rtrl"):
        np.testing.assert_array_equal(running.gradient(dl_dh[0]), fresh.gradient(dl_dh[0]))


def test_full_bptt_holds_no_step_from_before_every_stream_began():
    running = learners.make("bptt", cells.make("gru", n_inputs=1, n_units=2), batch=3)
    lengths = []
    for t in range(30):
        running.reset(np.arange(3) == t % 3)  # one stream after the other
        running.step(np.ones((3, 1)))
        lengths.append(len(running.state_dict()["steps"]))
    assert lengths == [1, 2, *[3] * 28]


@pytest.mark.parametrize("learner", DETERMINISTIC)
def test_a_stream_that_was_reset_counts_for_nothing_until_its_next_step(learner):
    rng = np.random.default_rng(2)
    cell = cells.make("elstm", n_inputs=3, n_units=4, seed=1)
    running = learners.make(learner, cell, batch=2)
    alone = learners.make(learner, cell)
    x, q = rng.normal(size=(2, 3)), rng.normal(size=(2, 4))
    running.step(x)
    alone.step(x[0])
    running.reset(np.array([False, True]))
    assert error(running.gradient(q), alone.gradient(q[0])) < 1e-12


@pytest.mark.parametrize("learner", learners.available())
def test_float32_stays_float32_and_near_float64(learner):
    rng = np.random.default_rng(0)
    xs, dl_dh = rng.normal(size=(10, 3)), rng.normal(size=(10, 6))
    found = []
    for dtype in ("float32", "float64"):
        cell = cells.make("vanilla", n_inputs=3, n_units=6, tau=2.0, dtype=dtype)
        running = learners.make(learner, cell)
        theta = np.random.default_rng(1).normal(size=cell.n_params) * 0.3
        running.theta[:] = theta
        for x, q in zip(xs, dl_dh, strict=True):
            assert running.step(x).dtype == dtype
            gradient = running.gradient(q)
        assert gradient.dtype == running.input_gradient(q).dtype == dtype
        assert all(values.dtype == dtype for values in running.state_dict()["carried"].values())
        found.append(gradient)
    assert error(*found) < 1e-4


class IndRnn(GatedCell):
    """h = tanh(W x + u h- + b), each unit reading itself only (Li et al. 2018): a cell as a user would add it."""

    name = "indrnn"
    gates = ("h",)
    carries = False

    def _blocks(self):
        return [
            Block(name="W", gate=0, reads="x"),
            Block(name="u", gate=0, reads="own"),
            Block(name="b", gate=0, reads="one"),
        ]

    def _advance(self, theta, a, state):
        h = np.tanh(a)
        return h, (1 - h**2)[:, None], np.zeros_like(h)[:, :, None]


def test_a_cell_of_a_few_lines_gets_every_learner_that_fits(monkeypatch):
    monkeypatch.setattr(cells, "_REGISTRY", dict(cells._REGISTRY))
    cells.register("indrnn", IndRnn)
    cell = cells.make("indrnn", n_inputs=3, n_units=5, density=0.8)
    rng = np.random.default_rng(0)
    theta = random_theta(cell, rng)
    xs, dl_dh = sequence(cell, rng, n_steps=20)
    expected = central_differences(cell, theta, xs, dl_dh)
    for learner in (*EXACT, "snap"):
        assert error(total_gradient(made(learner, cell, theta), xs, dl_dh), expected) < 1e-6
    assert learners.cost("rtrl", cell).bytes_carried == 8 * cell.n_params
    total_gradient(made("uoro", cell, theta), xs, dl_dh)
    with pytest.raises(ValueError, match="kf-rtrl, got 'indrnn'"):
        learners.make("kf-rtrl", cell)
