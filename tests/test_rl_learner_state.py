"""What learners hold: saved, loaded and resumed to the bit; and kept as it was when a step is refused."""

import copy
import dataclasses
import tracemalloc

import numpy as np
import pytest

import rl
from rl import cells, learners
from rl.cells.vanilla import Vanilla
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


def arrays_of(state, at="state"):
    """Yield (place, array) of every array in a nested state."""
    if isinstance(state, np.ndarray):
        yield at, state
    entries = state.items() if isinstance(state, dict) else enumerate(state) if isinstance(state, list) else ()
    for name, entry in entries:
        yield from arrays_of(entry, f"{at}[{name!r}]")


@pytest.mark.parametrize("learner", learners.available())
def test_a_state_taken_is_a_copy(learner):
    made, updates = running("vanilla", learner)
    go(made, updates, np.random.default_rng(0), 3)
    states = made.state_dict(), updates.state_dict()
    before = copy.deepcopy(states)
    made.reset(np.array([True, False]))  # writes to what is held, in place
    assert all(map(same, states, before))
    go(made, updates, np.random.default_rng(1), 3)
    made.reset()
    made.theta[:] = 0
    assert all(map(same, states, before))


@pytest.mark.parametrize("learner", learners.available())
def test_a_state_taken_is_written_to_without_harm(learner):
    made, updates = running("vanilla", learner)
    go(made, updates, np.random.default_rng(0), 3)
    before = copy.deepcopy((made.state_dict(), updates.state_dict()))
    for taken in (made.state_dict(), updates.state_dict()):
        for _, values in arrays_of(taken):
            values[...] = 1
    assert same(made.state_dict(), before[0])
    assert same(updates.state_dict(), before[1])


@pytest.mark.parametrize("learner", learners.available())
def test_a_state_loaded_is_a_copy(learner):
    made, updates = running("vanilla", learner)
    go(made, updates, np.random.default_rng(0), 3)
    states = made.state_dict(), updates.state_dict()
    before = copy.deepcopy(states)
    other = running("vanilla", learner, seed=5)
    for holder, state in zip(other, states, strict=True):
        holder.load_state_dict(state)
    other[0].reset(np.array([True, False]))
    go(*other, np.random.default_rng(1), 3)
    other[0].reset()
    other[0].theta[:] = 0
    assert all(map(same, states, before))
    for holder, state in zip(other, states, strict=True):
        holder.load_state_dict(state)
    for state in states:
        for _, values in arrays_of(state):
            values[...] = 1
    assert same(other[0].state_dict(), before[0])
    assert same(other[1].state_dict(), before[1])


@pytest.mark.parametrize("learner", learners.available())
def test_what_a_learner_takes_and_returns_is_written_to_without_harm(learner):
    made, _ = running("vanilla", learner)
    x, q = np.ones((2, 3)), np.ones((2, 4))
    h = made.step(x)
    before = made.state_dict()
    gradients = made.gradient(q), made.input_gradient(q)
    for values in (x, q, h, made.state, *(g.copy() for g in gradients)):
        values[:] = 7.0
    assert same(made.state_dict(), before)
    again = made.gradient(np.ones((2, 4))), made.input_gradient(np.ones((2, 4)))
    for first, second in zip(gradients, again, strict=True):
        np.testing.assert_array_equal(first, second)
        first[:] = 7.0
    assert same(made.state_dict(), before)


@pytest.mark.parametrize("learner", ["bptt", "tbptt"])
def test_a_reset_of_every_stream_empties_the_window(learner):
    made, updates = running("vanilla", learner)
    go(made, updates, np.random.default_rng(0), 3)
    made.reset()
    assert (made.state_dict()["steps"], made.state_dict()["began"]) == ([], [])
    fresh, _ = running("vanilla", learner)
    fresh.theta[:] = made.theta
    for one in (made, fresh):
        one.step(np.full((2, 3), 0.5))
        assert len(one.state_dict()["steps"]) == 1
    np.testing.assert_array_equal(made.gradient(np.ones((2, 4))), fresh.gradient(np.ones((2, 4))))


@pytest.mark.parametrize("learner", ["bptt", "tbptt"])
def test_weights_that_steps_share_are_saved_and_held_once(learner):
    cell = cells.make("vanilla", n_inputs=3, n_units=400, seed=0)
    made = learners.make(learner, cell, **({"k": 50} if learner == "tbptt" else {}))
    for t, x in enumerate(np.random.default_rng(0).normal(size=(50, 3))):
        made.step(x)
        if t == 20:
            made.theta[:] *= 0.5
    state = made.state_dict()
    assert [len(state["thetas"]), len(state["steps"])] == [2, 50]
    assert [step["theta"] for step in state["steps"]] == [0] * 21 + [1] * 29
    other = learners.make(learner, cell, **({"k": 50} if learner == "tbptt" else {}))
    tracemalloc.start()
    try:
        other.load_state_dict(state)
        held, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    steps = sum(values.nbytes for _, values in arrays_of(state["steps"]))
    assert held < 2 * made.theta.nbytes + steps  # less, as a state before is the one after the step before it
    assert most < held + 3 * made.theta.nbytes
    for one in (made, other):
        one.step(np.ones(3))
    assert same(made.state_dict(), other.state_dict())
    np.testing.assert_array_equal(made.gradient(np.ones(400)), other.gradient(np.ones(400)))


def test_theta_is_written_in_place_and_never_replaced():
    made, _ = running("vanilla", "rtrl")
    theta, step = made.theta, np.full(made.theta.shape, 0.25)
    expected = theta - step
    made.theta -= step
    assert made.theta is theta
    np.testing.assert_array_equal(theta, expected)
    for other in (theta.copy(), theta[:], 0.0):
        with pytest.raises(AttributeError, match="theta must be written in place, got another array"):
            made.theta = other
    np.testing.assert_array_equal(made.theta, expected)


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


def put(value, *path):
    """Return a function that puts `value` at `path` of a state; without it what is there is taken out."""

    def damage(state):
        for name in path[:-1]:
            state = state[name]
        if value is OUT:
            del state[path[-1]]
        else:
            state[path[-1]] = value(state[path[-1]]) if callable(value) else value

    return damage


OUT = object()

DAMAGES = [
    (put(OUT, "generator"), "state must hold .*generator"),
    (put(OUT, "version"), "state must hold a version, got learner"),
    (put(2, "version"), r"state\['version'\] must be at most 1, got 2; it was saved by a later rl"),
    (put("1", "version"), r"state\['version'\] must be a whole number"),
    (put(0, "version"), r"state\['version'\] must be at least 1"),
    (put(0, "surplus"), "state must hold .*surplus"),
    (put(None, "options"), "whose options is"),
    (put(np.ones(2), "batch"), "whose batch is 2"),
    (put("abc", "n_steps"), r"state\['n_steps'\] must be a whole number, got 'abc'"),
    (put(-3.7, "n_steps"), r"state\['n_steps'\] must be a whole number, got -3.7"),
    (put(-3, "n_steps"), r"state\['n_steps'\] must be at least 0, got -3"),
    (put(None, "generator"), r"state\['generator'\] must be the state of a PCG64, got None"),
    (put(OUT, "generator", "uinteger"), r"state\['generator'\] must be the state of a PCG64"),
    (put(OUT, "generator", "state", "inc"), r"state\['generator'\] must be the state of a PCG64"),
    (put(-1, "generator", "state", "state"), r"state\['generator'\] must be the state of a PCG64"),
    (put(1.5, "generator", "state", "state"), r"state\['generator'\] must be the state of a PCG64"),
    (put("MT19937", "generator", "bit_generator"), r"state\['generator'\] must be the state of a PCG64"),
    (put(lambda a: a[:-1], "theta"), r"state\['theta'\] must be float64\[\d+\], got float64\[\d+\]"),
    (put(lambda a: a * np.nan, "theta"), r"state\['theta'\] must be finite, got nan"),
    (put(lambda a: a.tolist(), "theta"), r"state\['theta'\] must be float64\[\d+\], got list"),
    (put(None, "state"), r"state\['state'\] must be float64\[2, 1, 4\], got NoneType"),
    (put(lambda a: a.astype(np.float32), "state"), r"state\['state'\] must be float64"),
    (put(lambda a: a + 1, "state"), r"state\['state'\] must be the state after the last of its steps"),
    (put(lambda a: a.astype(int), "stepped"), r"state\['stepped'\] must be bool\[2\], got int64\[2\]"),
    (put(lambda a: ~a, "stepped"), r"state\['steps'\] must hold a step exactly if a stream has stepped"),
    (put([], "steps"), r"state\['steps'\] must hold a step exactly if a stream has stepped"),
    (put(lambda a: a * 4, "steps"), r"state\['steps'\] must hold at most"),
    (put(None, "steps"), r"state\['steps'\] must be a list"),
    (put(None, "thetas"), r"state\['thetas'\] must be a list"),
    (put([], "thetas"), r"state\['steps'\]\[0\]\['theta'\] must be an index into thetas"),
    (put(lambda a: a[:1], "thetas", 0), r"state\['thetas'\]\[0\] must be float64"),
    (put(5, "steps", 0, "theta"), "must be an index into thetas, got 5 of "),
    (put(-1, "steps", 0, "theta"), "must be at least 0"),
    (put(None, "steps", 0), r"state\['steps'\]\[0\] must be a dict"),
    (put(OUT, "steps", 0, "x"), r"state\['steps'\]\[0\] must hold"),
    (put(lambda a: a[:1], "steps", 0, "carry"), r"state\['steps'\]\[0\]\['carry'\] must be float64"),
    (put(lambda a: a * np.inf, "steps", 0, "coefficients"), r"\['coefficients'\] must be finite"),
    (put(None, "carried"), r"state\['carried'\] must be a dict, got NoneType"),
    (put(0, "carried", "Z"), r"state\['carried'\] must hold"),
]


def refused_without_a_change(holder, state, damage, says):
    before = copy.deepcopy(holder.state_dict())
    damage(state)
    with pytest.raises((ValueError, TypeError), match=says):
        holder.load_state_dict(state)
    assert same(holder.state_dict(), before)


@pytest.mark.parametrize(("damage", "says"), DAMAGES, ids=range(len(DAMAGES)))
@pytest.mark.parametrize("learner", ["uoro", "tbptt", "bptt"])
def test_a_damaged_state_is_refused_and_nothing_changes(learner, damage, says):
    other, updates = running("vanilla", learner, seed=3)
    go(other, updates, np.random.default_rng(0), 2)
    made, updates = running("vanilla", learner)
    go(made, updates, np.random.default_rng(1), 4)
    refused_without_a_change(made, other.state_dict(), damage, says)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (put(lambda a: a[:1], "began", 0), r"state\['began'\]\[0\] must be bool\[2\], got bool\[1\]"),
        (put(lambda a: a.astype(int), "began", 0), r"state\['began'\]\[0\] must be bool\[2\], got int64\[2\]"),
        (put(lambda a: a.tolist(), "began", 0), r"state\['began'\]\[0\] must be bool\[2\], got list"),
        (put(lambda a: a[:-1], "began"), r"state\['began'\] must have an entry for each of 2 steps, got 1"),
        (put(None, "began"), r"state\['began'\] must be a list"),
        (put(OUT, "began"), "state must hold began"),
    ],
)
@pytest.mark.parametrize("learner", ["tbptt", "bptt"])
def test_damaged_beginnings_are_refused_and_nothing_changes(learner, damage, says):
    made, updates = running("vanilla", learner)
    go(made, updates, np.random.default_rng(0), 2)
    refused_without_a_change(made, made.state_dict(), damage, says)
    if learner == "bptt":
        never = put(lambda a: a & False, "began", 0)
        refused_without_a_change(made, made.state_dict(), never, "must hold the beginning of every stream")


@pytest.mark.parametrize("state", [None, [], "state"])
def test_what_is_no_state_is_refused(state):
    for holder in running("vanilla", "rtrl"):
        with pytest.raises(TypeError, match="state must be a dict"):
            holder.load_state_dict(state)


@pytest.mark.parametrize(
    ("learner", "one", "other"),
    [
        ("tbptt", {"k": 3}, {"k": 4}),
        ("snap", {"n": 4}, {"n": 5}),  # the same pairs
        ("uoro", {"start": "zero"}, {"start": "normal"}),
        ("rflo", {"feedback": "true"}, {"feedback": "random"}),
        ("rflo", {"feedback": np.ones((4, 2))}, {"feedback": np.full((4, 2), 2.0)}),
    ],
)
def test_a_state_of_other_options_is_refused(learner, one, other):
    cell = cells.make("vanilla", n_inputs=3, n_units=4)
    made, differing = learners.make(learner, cell, **one), learners.make(learner, cell, **other)
    for running_one in (made, differing):
        running_one.step(np.ones(3))
    refused_without_a_change(
        made, differing.state_dict(), lambda _: None, "state must be of a learner whose options is"
    )
    learners.make(learner, cell, **one).load_state_dict(made.state_dict())


def test_a_state_of_a_cell_of_another_mask_is_refused():
    made = [
        learners.make("rtrl", cells.make("elstm", n_inputs=2, n_units=2, mask={"W_oc": np.eye(2, dtype=bool)[[i, i]]}))
        for i in range(2)
    ]
    refused_without_a_change(made[0], made[1].state_dict(), lambda _: None, "whose cell is")


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


def test_an_overflowing_input_gradient_is_refused_by_step():
    made = learners.make("rtrl", cells.make("vanilla", n_inputs=3, n_units=4))
    made.cell.views(made.theta)["W"][:] = 10.0
    made.cell.views(made.theta)["b"][:] = 0.0
    made.step(np.zeros(3))  # tanh' = 1
    with pytest.raises(FloatingPointError, match=r"input gradient must stay finite, got inf at index .* at step 1"):
        made.input_gradient(np.full(4, 1e308))


@pytest.mark.parametrize(
    ("x", "kind", "says"),
    [
        (np.ones(4), ValueError, r"x must have shape \(3,\), got \(4,\) at step 1; nothing has changed"),
        ([[1.0], [1.0, 2.0]], ValueError, "x must be an array, got rows of different lengths at step 1"),
        (np.ones((1, 3)), ValueError, r"x must have shape \(3,\), got \(1, 3\)"),
        (np.array(["a", "b", "c"]), TypeError, "x must hold real numbers, got .* at step 1; nothing has changed"),
        (np.ones(3, complex), TypeError, "x must hold real numbers, got .* at step 1; nothing has changed"),
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
    with pytest.raises(ValueError, match=r"dl_dh must have shape \(2, 8\), got \(2, 4\) at step 1; nothing has"):
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


COSTS_REFUSED = [
    ("kf-rtrl", "lstm", {}, ValueError, "cell must be 'vanilla'.* for kf-rtrl, got 'lstm'"),
    ("rflo", "gru", {}, ValueError, "cell must be 'vanilla'.* for rflo, got 'gru'"),
    ("rflo", "elstm", {"feedback": "random"}, ValueError, "cell must be 'vanilla'.* for rflo, got 'elstm'"),
    ("snap", "vanilla", {"n": 0}, ValueError, "n must be at least 1, got 0"),
    ("snap", "vanilla", {"n": 1.5}, TypeError, "n must be a whole number, got 1.5"),
    ("tbptt", "vanilla", {"k": -5}, ValueError, "k must be at least 1, got -5"),
    ("tbptt", "vanilla", {"n_weights": 0}, ValueError, "n_weights must be at least 1, got 0"),
    ("bptt", "vanilla", {"n_steps": 0}, ValueError, "n_steps must be at least 1, got 0"),
    ("bptt", "vanilla", {}, TypeError, "n_steps must be given for the cost of bptt"),
    ("rtrl", "vanilla", {"speed": 1}, ValueError, "an option of rtrl's cost must be one of seed, got 'speed'"),
    ("tbptt", "vanilla", {"n": 1}, ValueError, "an option of tbptt's cost must be one of k, n_weights, seed, got 'n'"),
    ("rtrl", "vanilla", {"seed": -1}, ValueError, "seed must be at least 0"),
    ("uoro", "vanilla", {"start": "ones"}, ValueError, "start must be one of zero, normal, got 'ones'"),
    ("rflo", "vanilla", {"feedback": "both"}, ValueError, "feedback must be one of true, random, got 'both'"),
    ("rflo", "vanilla", {"feedback": np.ones((3, 2))}, ValueError, r"feedback must have shape \(4, 2\)"),
    ("rflo", "vanilla", {"feedback": "random", "n_errors": 0}, ValueError, "n_errors must be at least 1"),
]


@pytest.mark.parametrize(("name", "cell", "bad", "kind", "says"), COSTS_REFUSED)
def test_the_cost_of_what_cannot_be_made_is_refused(name, cell, bad, kind, says):
    with pytest.raises(kind, match=says):
        learners.cost(name, cells.make(cell, n_inputs=3, n_units=4), **bad)


def test_the_cost_of_what_can_be_made_is_counted():
    for cell, learner in PAIRS:
        made = cells.make(cell, n_inputs=3, n_units=4)
        needed = {"n_steps": 5} if learner == "bptt" else {}
        assert learners.cost(learner, made, 2, seed=1, **needed) == learners.cost(learner, made, 2, **needed)


class CountedByAnyOptions(Rtrl):
    """A learner as a user would add it, whose cost names no options."""

    @classmethod
    def cost(cls, cell, n_streams, **options):
        return n_streams, options


def test_the_cost_of_a_registered_learner_takes_its_options(monkeypatch):
    monkeypatch.setattr(learners, "_REGISTRY", dict(learners._REGISTRY))
    learners.register("any", CountedByAnyOptions)
    cell = cells.make("gru", n_inputs=3, n_units=4)
    assert learners.cost("any", cell, 2, depth=5, seed=1) == (2, {"depth": 5, "seed": 1})
    with pytest.raises(ValueError, match="seed must be at least 0"):
        learners.cost("any", cell, seed=-1)


class Charged(Vanilla):
    """A cell whose state does not begin at 0."""

    def initial_state(self, batch):
        return np.full((batch, 1, self.n_units), 0.5)


@pytest.mark.parametrize("learner", learners.available())
def test_a_stream_that_is_reset_begins_where_the_cell_says(learner):
    made = learners.make(learner, Charged(n_inputs=3, n_units=4, tau=2.0), batch=2)
    first = made.step(np.ones((2, 3)))
    made.reset(np.array([False, True]))
    assert (made.state[1] == 0.5).all()
    assert (made.state[0] != 0.5).any()
    np.testing.assert_array_equal(made.step(np.ones((2, 3)))[1], first[1])


@pytest.mark.parametrize("bad", ["vanilla", None, Vanilla])
def test_what_is_no_cell_is_refused(bad):
    for call in (learners.make, learners.cost):
        for name in learners.available():
            with pytest.raises(TypeError, match=r"cell must be a cell, as rl\.cells\.make returns, got "):
                call(name, bad)


class SecretLeak(Vanilla):
    """A leaky cell that says its units take over nothing."""

    def __init__(self, **options):
        super().__init__(**options)
        self.layout = dataclasses.replace(self.layout, carries=False)


@pytest.mark.parametrize("learner", learners.available())
def test_a_cell_that_hides_what_its_units_take_over_is_refused(learner):
    with pytest.raises(ValueError, match="cell must have carries = True where its units take over their own state"):
        learners.make(learner, SecretLeak(n_inputs=3, n_units=4, tau=2.0))
    learners.make(learner, SecretLeak(n_inputs=3, n_units=4, tau=1.0))


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
        ({"optimiser": "adam"}, TypeError, r"optimiser must be Sgd\(\), .* got 'adam'"),
        ({"optimiser": Adam}, TypeError, r"optimiser must be Sgd\(\), .* got <class"),
        ({"optimiser": 0}, TypeError, r"optimiser must be Sgd\(\), .* got 0"),
    ],
)
def test_step_sizes_out_of_range_are_refused(bad, kind, says):
    learner = learners.make("rtrl", cells.make("vanilla", n_inputs=3, n_units=4))
    with pytest.raises(kind, match=says):
        Updates(learner, **bad)


def test_updates_of_what_is_no_learner_are_refused():
    with pytest.raises(TypeError, match=r"learner must be a learner, .* got 'rtrl'"):
        Updates("rtrl")


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


def test_a_state_of_other_updates_is_refused():
    learner = learners.make("rtrl", cells.make("vanilla", n_inputs=3, n_units=4))
    same_as = {"optimiser": Adam(), "step_size": 0.1, "every": 2, "clip": 1.0}
    updates = Updates(learner, **same_as)
    learner.step(np.ones(3))
    updates.add(np.ones(4))
    for name, value in {
        "optimiser": Adam(beta1=0.8), "step_size": 0.2, "every": 3, "clip": None,
    }.items():  # fmt: skip
        other = Updates(learner, **{**same_as, name: value})
        refused_without_a_change(
            updates, other.state_dict(), lambda _: None, f"state must be of updates whose {name} is"
        )
    other = Updates(learner, **{**same_as, "optimiser": RmsProp()})
    refused_without_a_change(updates, other.state_dict(), lambda _: None, "whose optimiser is 'Adam.*got 'RmsProp")
    wider = learners.make("rtrl", cells.make("vanilla", n_inputs=3, n_units=5))
    refused_without_a_change(updates, Updates(wider, **same_as).state_dict(), lambda _: None, r"\['sum'\] must be")


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (put(OUT, "version"), "state must hold a version"),
        (put(2, "version"), "must be at most 1, got 2"),
        (put(OUT, "sum"), "state must hold .*sum"),
        (put(None, "sum"), r"state\['sum'\] must be float64"),
        (put(lambda a: a.tolist(), "sum"), r"state\['sum'\] must be float64\[\d+\], got list"),
        (put(lambda a: a * np.nan, "sum"), r"state\['sum'\] must be finite, got nan"),
        (put(lambda a: a + np.inf, "moments", "v"), r"state\['moments'\]\['v'\] must be finite, got inf"),
        (put(OUT, "moments", "v"), r"state\['moments'\] must hold m, v, got m"),
        (put(None, "moments"), r"state\['moments'\] must be a dict"),
        (put(2, "n_summed"), r"state\['n_summed'\] must be below every = 2, got 2"),
        (put(-1, "n_summed"), r"state\['n_summed'\] must be at least 0"),
        (put(0.5, "n_updates"), r"state\['n_updates'\] must be a whole number"),
    ],
)
def test_a_damaged_state_of_updates_is_refused_and_nothing_changes(damage, says):
    learner, updates = running("vanilla", "rtrl")
    go(learner, updates, np.random.default_rng(0), 3)
    refused_without_a_change(updates, updates.state_dict(), damage, says)
