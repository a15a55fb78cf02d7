"""What learners hold: saved, loaded and resumed to the bit; and kept as it was when a step is refused."""

import numpy as np
import pytest

import rl
from rl import cells, learners
from rl.learners.rtrl import Rtrl
from rl.optimisers import Adam, RmsProp
from rl.updates import Updates

PAIRS = [
    (cell, learner)
    for cell in cells.available()
    for learner in learners.available()
    if cell == "vanilla" or learner not in ("kf-rtrl", "rflo")
]


def same(a, b):
    """Whether two nested states agree to the bit."""
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    return a == b


def running(cell, learner, seed=0):
    made = learners.make(
        learner, cells.make(cell, n_inputs=3, n_units=4, seed=1, density=0.7), batch=2, **options(learner, seed)
    )
    return made, Updates(made, optimiser=Adam(), step_size=1e-3, every=2, clip=1.0)


def options(learner, seed):
    return {"seed": seed, **({"k": 3} if learner == "tbptt" else {"n": 2} if learner == "snap" else {})}


def go(learner, updates, rng, n_steps):
    for _ in range(n_steps):
        learner.step(rng.normal(size=(2, 3)))
        updates.add(rng.normal(size=(2, learner.cell.n_hidden)))


@pytest.mark.parametrize(("cell", "learner"), PAIRS)
def test_a_resumed_run_is_the_uninterrupted_one_to_the_bit(cell, learner, tmp_path):
    rng = np.random.default_rng(0)
    whole = running(cell, learner)
    go(*whole, rng, 3)
    whole[0].reset(np.array([True, False]))
    go(*whole, rng, 4)  # 7 losses, updates every 2: half an update is pending
    learners.save(tmp_path / "run", {"learner": whole[0].state_dict(), "updates": whole[1].state_dict()})
    resumed = running(cell, learner, seed=99)
    theta = resumed[0].theta
    saved = learners.load(tmp_path / "run")
    resumed[0].load_state_dict(saved["learner"])
    resumed[1].load_state_dict(saved["updates"])
    assert resumed[0].theta is theta  # still live
    q = rng.normal(size=(2, whole[0].cell.n_hidden))
    assert resumed[0].gradient(q).tobytes() == whole[0].gradient(q).tobytes()
    assert resumed[0].input_gradient(q).tobytes() == whole[0].input_gradient(q).tobytes()
    again = np.random.default_rng(1), np.random.default_rng(1)
    for run, numbers in zip((whole, resumed), again, strict=True):
        go(*run, numbers, 5)
    assert same(whole[0].state_dict(), resumed[0].state_dict())
    assert same(whole[1].state_dict(), resumed[1].state_dict())


def test_float32_resumes_to_the_bit():
    cell = cells.make("lstm", n_inputs=3, n_units=4, dtype="float32")
    whole, resumed = learners.make("tbptt", cell, k=2), learners.make("tbptt", cell, k=2)
    for x in np.random.default_rng(0).normal(size=(4, 3)):
        whole.step(x)
    resumed.load_state_dict(whole.state_dict())
    for learner in (whole, resumed):
        learner.step(np.ones(3))
    assert same(whole.state_dict(), resumed.state_dict())


def test_a_generator_left_out_of_the_state_is_caught():
    rng = np.random.default_rng(0)
    whole, resumed = running("vanilla", "uoro"), running("vanilla", "uoro", seed=99)
    go(*whole, rng, 3)
    state = whole[0].state_dict()
    resumed[0].load_state_dict({**state, "generator": resumed[0].state_dict()["generator"]})
    x = rng.normal(size=(2, 3))
    for learner in (whole[0], resumed[0]):
        learner.step(x)
    assert not same(whole[0].state_dict()["carried"], resumed[0].state_dict()["carried"])


@pytest.mark.parametrize("learner", learners.available())
def test_a_state_is_a_copy(learner):
    made, updates = running("vanilla", learner)
    go(made, updates, np.random.default_rng(0), 3)
    state, other = made.state_dict(), running("vanilla", learner)[0]
    before = {**state, "theta": state["theta"].copy()}
    other.load_state_dict(state)
    go(made, updates, np.random.default_rng(1), 3)
    other.theta[:] = 0
    other.step(np.ones((2, 3)))
    assert same(state, before)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: running("gru", "rtrl")[0], "whose cell is"),
        (lambda: running("vanilla", "uoro")[0], "whose learner is"),
        (lambda: learners.make("snap", cells.make("vanilla", n_inputs=3, n_units=4)), "whose learner is"),
        (lambda: learners.make("rtrl", cells.make("vanilla", n_inputs=3, n_units=4)), "whose cell is"),
        (lambda: learners.make("rtrl", cells.make("vanilla", n_inputs=3, n_units=4, seed=1, density=0.7)), "batch"),
        (lambda: learners.make("rtrl", cells.make("vanilla", n_inputs=3, n_units=4, tau=2.0)), "whose cell is"),
    ],
)
def test_a_state_of_another_learner_is_refused_and_nothing_changes(make, says):
    made, _ = running("vanilla", "rtrl")
    made.step(np.ones((2, 3)))
    before = made.state_dict()
    with pytest.raises(ValueError, match=f"state must be of a learner.*{says}|{says}"):
        made.load_state_dict(make().state_dict())
    assert same(made.state_dict(), before)


@pytest.mark.parametrize("break_it", ["drop", "shape", "dtype", "carried", "step", "fields"])
def test_a_damaged_state_is_refused_and_nothing_changes(break_it):
    made, updates = running("vanilla", "uoro")
    go(made, updates, np.random.default_rng(0), 2)
    before = made.state_dict()
    state = made.state_dict()
    if break_it == "drop":
        del state["generator"]
    elif break_it == "shape":
        state["theta"] = state["theta"][:-1]
    elif break_it == "dtype":
        state["state"] = state["state"].astype(np.float32)
    elif break_it == "step":
        state["steps"][0]["carry"] = state["steps"][0]["carry"][:1]
    elif break_it == "fields":
        del state["steps"][0]["x"]
    else:
        state["carried"] = {"A": state["carried"]["A"]}
    with pytest.raises(ValueError, match="must"):
        made.load_state_dict(state)
    assert same(made.state_dict(), before)


def test_other_files_are_refused(tmp_path):
    (tmp_path / "text").write_text("hello")
    with pytest.raises(ValueError, match="path must name a file that save wrote"):
        learners.load(tmp_path / "text")
    with pytest.raises(FileNotFoundError):
        learners.load(tmp_path / "absent")


def test_saving_replaces_a_file_at_once_and_leaves_nothing_beside(tmp_path):
    made, _ = running("vanilla", "rtrl")
    for _ in range(2):
        learners.save(tmp_path / "run", made.state_dict())
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


# -- bad input: refused, state unchanged, the step named ----------------------------------------------------------
@pytest.mark.parametrize(("cell", "learner"), PAIRS)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_inputs_that_are_not_finite_are_refused_and_change_nothing(cell, learner, bad):
    made, updates = running(cell, learner)
    go(made, updates, np.random.default_rng(0), 3)
    x = np.ones((2, 3))
    x[1, 2] = bad
    before = made.state_dict()
    with pytest.raises(
        ValueError, match=rf"x must be finite, got {bad} at index \(1, 2\) at step 4; nothing has changed"
    ):
        made.step(x)
    assert same(made.state_dict(), before)


@pytest.mark.parametrize("learner", [name for name in learners.available() if name not in ("kf-rtrl", "rflo")])
def test_a_step_that_overflows_is_refused_and_changes_nothing(learner):
    made, updates = running("rtu", learner)
    go(made, updates, np.random.default_rng(0), 3)
    made.cell.views(made.theta)["W1"][:] = 1e10
    before = made.state_dict()
    with pytest.raises(FloatingPointError, match=r"must stay finite, got inf .* at step 4; nothing has changed"):
        made.step(np.full((2, 3), 1e300))
    assert same(made.state_dict(), before)
    made.step(np.ones((2, 3)))


@pytest.mark.parametrize("learner", learners.available())
def test_weights_that_are_not_finite_stop_the_step_and_not_the_learner(learner):
    made, _ = running("vanilla", learner)
    made.step(np.ones((2, 3)))
    theta = made.theta.copy()
    made.theta[0] = np.nan
    before = made.state_dict()
    with pytest.raises(FloatingPointError, match=r"must stay finite, got nan .* at step 2; nothing has changed"):
        made.step(np.ones((2, 3)))
    assert same({**made.state_dict(), "theta": 0}, {**before, "theta": 0})
    made.theta[:] = theta
    made.step(np.ones((2, 3)))
    assert made.n_steps == 2


@pytest.mark.parametrize("learner", learners.available())
def test_gradients_that_are_not_finite_are_refused_by_step_and_change_nothing(learner):
    made, updates = running("vanilla", learner)
    go(made, updates, np.random.default_rng(0), 3)
    before, before_updates = made.state_dict(), updates.state_dict()
    q = np.ones((2, 4))
    q[0, 1] = np.inf
    for call in (made.gradient, made.input_gradient, updates.add):
        with pytest.raises(ValueError, match=r"dl_dh must be finite, got inf at index \(0, 1\) at step 3"):
            call(q)
    assert same(made.state_dict(), before)
    assert same(updates.state_dict(), before_updates)


def test_an_overflowing_gradient_is_refused_by_step():
    made = learners.make("rtrl", cells.make("vanilla", n_inputs=3, n_units=4, tau=100.0))
    for _ in range(100):
        made.step(np.full(3, 5.0))
    with pytest.raises(FloatingPointError, match=r"gradient must stay finite, got .* at step 100"):
        made.gradient(np.full(4, 1.7e308))


@pytest.mark.parametrize(
    ("x", "kind", "says"),
    [
        (np.ones(4), ValueError, r"x must have shape \(3,\), got \(4,\)"),
        (np.ones((1, 3)), ValueError, r"x must have shape \(3,\), got \(1, 3\)"),
        (np.array(["a", "b", "c"]), TypeError, "x must hold real numbers"),
        (np.ones(3, complex), TypeError, "x must hold real numbers"),
    ],
)
def test_inputs_of_another_shape_or_kind_are_refused(x, kind, says):
    made = learners.make("rtrl", cells.make("vanilla", n_inputs=3, n_units=4))
    with pytest.raises(kind, match=says):
        made.step(x)
    assert made.n_steps == 0


def test_shapes_of_batches_are_checked():
    made, _ = running("rtu", "rtrl")
    with pytest.raises(ValueError, match=r"x must have shape \(2, 3\)"):
        made.step(np.ones(3))
    made.step(np.ones((2, 3)))
    with pytest.raises(ValueError, match=r"dl_dh must have shape \(2, 8\), got \(2, 4\)"):
        made.gradient(np.ones((2, 4)))
    for mask in (np.ones(3, bool), np.ones(2), True):
        with pytest.raises(ValueError, match=r"mask must be bool\[2\]"):
            made.reset(mask)


@pytest.mark.parametrize("learner", learners.available())
def test_a_gradient_before_the_first_step_is_refused(learner):
    made = learners.make(learner, cells.make("vanilla", n_inputs=3, n_units=4))
    for call in (made.gradient, made.input_gradient):
        with pytest.raises(RuntimeError, match="step must come before gradient"):
            call(np.ones(4))


@pytest.mark.parametrize("learner", ["kf-rtrl", "rflo"])
@pytest.mark.parametrize("cell", [name for name in cells.available() if name != "vanilla"])
def test_a_learner_that_does_not_fit_the_cell_says_why(cell, learner):
    with pytest.raises(ValueError, match=rf"cell must be 'vanilla'.* for {learner}, got '{cell}'; \w+"):
        learners.make(learner, cells.make(cell, n_inputs=3, n_units=4))


@pytest.mark.parametrize(
    ("name", "bad", "kind", "says"),
    [
        ("rtrl", {"n": 2}, ValueError, "an option of rtrl must be one of batch, seed, got 'n'"),
        ("tbptt", {"n": 2}, ValueError, "an option of tbptt must be one of k, batch, seed, got 'n'"),
        ("rtrl", {"batch": 0}, ValueError, "batch must be at least 1"),
        ("rtrl", {"batch": 1.5}, TypeError, "batch must be a whole number"),
        ("snap", {"n": 0}, ValueError, "n must be at least 1"),
        ("tbptt", {"k": 0}, ValueError, "k must be at least 1"),
        ("uoro", {"start": "ones"}, ValueError, "start must be one of zero, normal"),
        ("uoro", {"seed": -1}, ValueError, "seed must be at least 0"),
        ("rflo", {"feedback": "symmetric"}, ValueError, "feedback must be one of true, random"),
        ("rflo", {"feedback": np.ones((3, 2))}, ValueError, r"feedback must have shape \(4, 2\)"),
        ("rflo", {"feedback": np.full((4, 2), np.nan)}, ValueError, "feedback must be finite"),
        ("rflo", {"feedback": "random", "n_errors": 0}, ValueError, "n_errors must be at least 1"),
    ],
)
def test_options_out_of_range_are_refused(name, bad, kind, says):
    with pytest.raises(kind, match=says):
        learners.make(name, cells.make("vanilla", n_inputs=3, n_units=4), **bad)


def test_unknown_learners_are_refused_and_taken_names_too():
    cell = cells.make("gru", n_inputs=3, n_units=4)
    with pytest.raises(ValueError, match=r"learner must be one of rtrl, .*did you mean 'snap'"):
        rl.learners.make("snapp", cell)
    with pytest.raises(ValueError, match="name must be new"):
        learners.register("rtrl", Rtrl)


# -- updates -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("bad", "kind", "says"),
    [
        ({"step_size": 0.0}, ValueError, "step_size must"),
        ({"step_size": -0.1}, ValueError, "step_size must"),
        ({"step_size": float("nan")}, ValueError, "step_size must"),
        ({"step_size": float("inf")}, ValueError, "step_size must"),
        ({"step_size": "small"}, TypeError, "step_size must be a number"),
        ({"every": 0}, ValueError, "every must be at least 1"),
        ({"clip": 0.0}, ValueError, "clip must"),
    ],
)
def test_step_sizes_out_of_range_are_refused(bad, kind, says):
    learner = learners.make("rtrl", cells.make("vanilla", n_inputs=3, n_units=4))
    with pytest.raises(kind, match=says):
        Updates(learner, **bad)


@pytest.mark.parametrize("optimiser", [RmsProp(), Adam()])
def test_an_update_that_overflows_is_refused_and_changes_nothing(optimiser):
    learner = learners.make("rtrl", cells.make("vanilla", n_inputs=3, n_units=4))
    updates = Updates(learner, optimiser=optimiser, step_size=0.1)
    learner.step(np.ones(3))
    before = learner.state_dict(), updates.state_dict()
    with pytest.raises(
        FloatingPointError, match="v must stay finite, got inf in update 1 at step 1; nothing has changed"
    ):
        updates.add(np.full(4, 1e200))
    assert same(learner.state_dict(), before[0])
    assert same(updates.state_dict(), before[1])
    clipped = Updates(learner, optimiser=optimiser, step_size=0.1, clip=1.0)
    assert clipped.add(np.full(4, 1e200))


def test_a_state_of_another_optimiser_is_refused():
    learner = learners.make("rtrl", cells.make("vanilla", n_inputs=3, n_units=4))
    updates = Updates(learner, optimiser=Adam())
    with pytest.raises(ValueError, match="state must be of Adam"):
        updates.load_state_dict(Updates(learner).state_dict())
    other = learners.make("rtrl", cells.make("vanilla", n_inputs=3, n_units=5))
    with pytest.raises(ValueError, match="sum must be"):
        updates.load_state_dict(Updates(other, optimiser=Adam()).state_dict())
