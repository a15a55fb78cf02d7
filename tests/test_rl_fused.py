"""Fused cells: equal to the plain learners over 1,000 steps of learning, to the bit the same by any way of running."""

import copy
import importlib.util
import pickle
import re
import sys
import zlib
from pathlib import Path

import llvmlite.binding
import numpy as np
import pytest
from numba import njit

from rl import cells, fused, learners
from rl._kernels import lanes
from rl.fused import elstm, gru, rtu
from rl.optimisers import Adam, RmsProp, Sgd
from rl.updates import Updates
from tests.rl_cases import error

KERNELS = Path(lanes.__file__).parent
LIMIT = {"float32": 1e-5, "float64": 1e-12}
#: A cell, its learner, options that thin its matrices out, streams, loss, optimiser, step size. An RTU has slow units
#: whose nu changes much: at ten times this step size plain descent itself multiplies rounding by 1e4 in 1,000 steps,
#: and Adam of gradients near 0 by 300.
CASES = [
    ("elstm", "rtrl", {}, None, "squared", Sgd(), 0.02),
    ("elstm", "rtrl", {"density": 0.5}, None, "cross-entropy", Adam(), 1e-3),
    ("elstm", "snap", {}, 6, "cross-entropy", Adam(beta2=0.99), 1e-3),
    ("elstm", "rtrl", {"bias": False}, 5, "squared", Sgd(), 0.01),
    ("elstm", "rtrl", {}, 1, "squared", Sgd(), 0.01),
    ("rtu", "rtrl", {}, None, "squared", Sgd(), 1e-3),
    ("rtu", "rtrl", {"density": 0.5}, 5, "cross-entropy", Adam(eps=1e-4), 1e-3),
    ("rtu", "rtrl", {}, 3, "squared", Sgd(), 1e-4),
    ("rtu-nonlinear", "rtrl", {}, None, "squared", Sgd(), 1e-3),
    ("rtu-nonlinear", "snap", {"density": 0.5}, 5, "cross-entropy", Adam(eps=1e-4), 1e-3),
    ("gru", "snap", {}, None, "squared", Sgd(), 0.02),
    ("gru", "snap", {"density": 0.3}, None, "cross-entropy", Adam(), 1e-3),
    ("gru", "snap", {"bias": False}, 6, "cross-entropy", Adam(), 1e-3),
    ("gru", "snap", {"density": 0.5}, 5, "squared", Sgd(), 0.01),
]
IDS = ["-".join([c[0], *map(str, c[2].values()), str(c[3]), c[4], type(c[5]).__name__]) for c in CASES]
N_OUTPUTS = 3


def task(seed, n_steps, n_inputs, batch, loss, dtype):
    """Return random inputs, targets that repeat the inputs before, and resets; one label in ten asks for nothing."""
    rng = np.random.default_rng(seed)
    shape = (n_steps,) if batch is None else (n_steps, batch)
    xs = rng.normal(size=(*shape, n_inputs)).astype(dtype)
    last = np.roll(xs[..., :N_OUTPUTS], 1, axis=0)
    labels = np.where(rng.random(shape) < 0.1, -1, last.argmax(axis=-1))
    targets = labels if loss == "cross-entropy" else last / 2
    return xs, targets, rng.random(shape) < 0.01


def plain_run(cell, learner, batch, loss, optimiser, step_size, xs, targets, resets):
    """Return theta, readout and losses of the plain learner, its updates, and a readout written out."""
    plain = learners.make(learner, cell, batch)
    updates = Updates(plain, optimiser=optimiser, step_size=step_size)
    readout = np.zeros((N_OUTPUTS, cell.n_hidden + 1), cell.dtype)
    moments, losses = optimiser.start(readout), []
    for t, (x, wanted, reset) in enumerate(zip(xs, targets, resets, strict=True)):
        plain.reset(reset)
        h = np.atleast_2d(plain.step(x))
        h1 = np.concatenate([h, np.ones((len(h), 1), h.dtype)], axis=1)
        y = h1 @ readout.T
        if loss == "squared":
            miss = y - np.atleast_2d(wanted)
            losses.append((miss**2).sum(axis=1) / 2)
        else:
            label, row = np.atleast_1d(wanted), np.arange(len(h))
            p = np.exp(y - y.max(axis=1, keepdims=True))
            p /= p.sum(axis=1, keepdims=True)
            losses.append(np.where(label < 0, 0.0, -np.log(p[row, label])))
            p[row, label] -= 1
            miss = p * (label >= 0)[:, None]
        q = miss @ readout[:, :-1]
        updates.add(q if batch is not None else q[0])
        readout, moments = optimiser.advance(readout, miss.T @ h1, moments, t + 1, step_size)
    return plain.theta, readout, np.array(losses).reshape(resets.shape)


def made(name, learner="rtrl", *, dtype="float64", batch=None, n_units=20, n_inputs=5, options=None, **more):
    cell = cells.make(name, n_inputs=n_inputs, n_units=n_units, seed=1, dtype=dtype, **(options or {}))
    return fused.make(cell, learner=learner, batch=batch, **more)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("name", "learner", "options", "batch", "loss", "optimiser", "step_size"), CASES, ids=IDS)
def test_a_run_equals_the_plain_learner_over_1000_steps(
    name, learner, options, batch, loss, optimiser, step_size, dtype
):
    learning = {"optimiser": optimiser, "step_size": step_size, "loss": loss, "n_outputs": N_OUTPUTS}
    ours = made(name, learner, dtype=dtype, batch=batch, options=options, **learning)
    xs, targets, resets = task(3, 1000, 5, batch, loss, dtype)
    losses = ours.run(xs, targets, resets=resets)
    theta, readout, wanted = plain_run(ours.cell, learner, batch, loss, optimiser, step_size, xs, targets, resets)
    moved = error(theta, ours.cell.init())
    errors = [error(ours.theta, theta), error(ours.readout, readout), error(losses, wanted)]
    print(f"{name} {batch} {dtype}: weights moved by {moved:.2g}, errors {errors}")
    assert moved > 1e-4
    assert max(errors) < LIMIT[dtype]
    assert ours.theta.dtype == dtype


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("name", "learner", "options", "batch"), [c[:4] for c in CASES], ids=IDS)
def test_steps_gradients_and_updates_equal_the_plain_learners(name, learner, options, batch, dtype):
    ours = made(name, learner, dtype=dtype, batch=batch, options=options, step_size=0.01)
    plain = learners.make(learner, ours.cell, batch)
    updates = Updates(plain, step_size=0.01)
    rng = np.random.default_rng(0)
    for t in range(40):
        x = rng.normal(size=5 if batch is None else (batch, 5)).astype(dtype)
        h = plain.step(x)
        assert error(ours.step(x), h) < LIMIT[dtype]
        q = rng.normal(size=h.shape).astype(dtype) / 10
        assert error(ours.gradient(q), plain.gradient(q)) < LIMIT[dtype] * 10
        if t % 3:  # some steps are not learned from
            ours.learn(q)
            updates.add(q)
        if t == 20:
            mask = None if batch is None else rng.random(batch) < 0.5
            ours.reset(mask)
            plain.reset(mask)
        if t in (10, 30):
            assert error(ours.theta, plain.theta) < LIMIT[dtype]
            ours.theta = plain.theta[:] = plain.theta + 0.01
    assert error(ours.theta, plain.theta) < LIMIT[dtype]


WAYS = [c[:6] for c in CASES if c[3] in (None, 5, 6)]
WAY_IDS = [i for i, c in zip(IDS, CASES, strict=True) if c[3] in (None, 5, 6)]


@pytest.mark.parametrize(("name", "learner", "options", "batch", "loss", "optimiser"), WAYS, ids=WAY_IDS)
def test_one_run_is_to_the_bit_many_runs_looked_at_between_and_saved_on_the_way(
    name, learner, options, batch, loss, optimiser, tmp_path
):
    more = {"batch": batch, "options": options, "loss": loss, "n_outputs": N_OUTPUTS, "optimiser": optimiser}
    whole, parts, other = (made(name, learner, dtype="float32", **more) for _ in range(3))
    xs, targets, resets = task(4, 60, 5, batch, loss, "float32")
    losses = whole.run(xs, targets, resets=resets)
    pieces = []
    for t in range(30):
        pieces.append(parts.run(xs[t : t + 1], targets[t : t + 1], resets=resets[t : t + 1]))
        if t % 7 == 0:
            assert np.isfinite(parts.theta).all()  # finishes what is pending
    learners.save(tmp_path / "state.npz", parts.state_dict())
    other.load_state_dict(learners.load(tmp_path / "state.npz"))
    parts.run(xs[:3], targets[:3])  # does not touch what was saved
    pieces.append(other.run(xs[30:], targets[30:], resets=resets[30:]))
    assert np.concatenate(pieces).tobytes() == losses.tobytes()
    assert other.theta.tobytes() == whole.theta.tobytes()
    assert other.readout.tobytes() == whole.readout.tobytes()
    assert other.n_steps == whole.n_steps == 60
    assert {n: a.tobytes() for n, a in other.state_dict()["arrays"].items()} == {
        n: a.tobytes() for n, a in whole.state_dict()["arrays"].items()
    }


@pytest.mark.parametrize("name", fused.available())
@pytest.mark.parametrize("batch", [None, 3])
def test_advancing_is_stepping_and_looking_changes_nothing(name, batch):
    xs, _, resets = task(5, 20, 5, batch, "squared", "float64")
    stepped, advanced = (made(name, fused.available()[name][-1], batch=batch) for _ in range(2))
    for x, reset in zip(xs, resets, strict=True):
        if reset.any():
            stepped.reset(reset)
        h = stepped.step(x)
        stepped.gradient(h)
    assert advanced.advance(xs, resets=resets).tobytes() == h.tobytes()
    assert advanced.gradient(h).tobytes() == stepped.gradient(h).tobytes()
    assert (advanced.theta == advanced.cell.init()).all()


@pytest.mark.parametrize("name", fused.available())
@pytest.mark.parametrize("batch", [None, 3])
def test_a_run_without_learning_leaves_weights_and_tells_what_the_readout_said(name, batch):
    ours = made(name, fused.available()[name][0], batch=batch, loss="squared", n_outputs=N_OUTPUTS, optimiser=Adam())
    xs, targets, _ = task(6, 30, 5, batch, "squared", "float64")
    ours.run(xs, targets)
    theta, readout = ours.theta, ours.readout
    losses = ours.run(xs, targets, learn=False)
    np.testing.assert_array_equal(ours.theta, theta)
    np.testing.assert_array_equal(ours.readout, readout)
    np.testing.assert_allclose(losses, ((ours.outputs - targets) ** 2).sum(axis=-1) / 2, rtol=1e-12)
    h = ours.step(xs[0])
    ours.reset()
    y = np.concatenate([h, np.ones((*h.shape[:-1], 1))], axis=-1) @ readout.T
    ours.load_state_dict(ours.state_dict())
    ours.readout = readout * 2
    np.testing.assert_allclose(ours.readout, 2 * readout)
    assert y.shape == ours.outputs.shape[1:]


@pytest.mark.parametrize("name", fused.available())
@pytest.mark.parametrize("batch", [None, 3])
def test_padding_and_what_a_mask_leaves_out_stay_zero(name, batch):
    learning = {"loss": "squared", "n_outputs": N_OUTPUTS, "optimiser": Adam(), "batch": batch}
    ours = made(name, fused.available()[name][0], options={"density": 0.6}, **learning)
    xs, targets, _ = task(7, 50, 5, batch, "squared", "float64")
    ours.run(xs, targets)
    assert error(ours.theta, ours.cell.init()) > 1e-3
    packed = ours._weights.copy()
    packed[ours._place] = 0.0
    assert not packed.any()


def test_a_batch_of_equal_streams_has_the_losses_of_one():
    xs, targets, _ = task(8, 30, 5, None, "squared", "float64")
    for name in fused.available():
        one, many = (
            made(name, fused.available()[name][0], batch=b, loss="squared", n_outputs=N_OUTPUTS, step_size=s)
            for b, s in ((None, 0.01), (4, 0.0025))
        )
        losses = many.run(np.repeat(xs[:, None], 4, axis=1), np.repeat(targets[:, None], 4, axis=1))
        np.testing.assert_allclose(losses, np.repeat(one.run(xs, targets)[:, None], 4, axis=1), rtol=1e-9)


def test_an_elstm_with_a_softmax_readout_learns_what_came_before():
    ours = made("elstm", dtype="float32", n_inputs=3, n_units=32, batch=16, loss="cross-entropy", n_outputs=3,
                optimiser=Adam(), step_size=3e-3)  # fmt: skip
    symbols = np.random.default_rng(0).integers(3, size=(2000, 16))
    losses = ours.run(np.eye(3, dtype=np.float32)[symbols], np.roll(symbols, 1, axis=0))
    print(f"cross entropy {losses[:50].mean():.3f} -> {losses[-50:].mean():.3f}")
    assert losses[:50].mean() > 1.0
    assert losses[-50:].mean() < 0.2


# -- planted mistakes ----------------------------------------------------------------------------------------------
PLANTED = [
    ("elstm", elstm, "fused_elstm", "store(d, at, fma(to_z, wz, fma(to_f, wf, f)))", "store(d, at, f)"),
    ("elstm", elstm, "fused_elstm", "rest * (one - z * z), (c - z) * f * rest", "rest * (one - z), (c - z) * f * rest"),
    ("elstm", elstm, "fused_elstm", "_back(out, delta, m, n_lanes)))", "fill(load(q, m), 0.0)))"),
    ("elstm", elstm, "fused_elstm", "store(before, m, load(source, m))", "store(before, m, load(before, m))"),
    ("rtu", rtu, "fused_rtu", "zero - rate * t1", "rate * t1"),
    ("rtu", rtu, "fused_rtu", "fma(q2, a, zero - q1 * b)", "fma(q2, a, q1 * b)"),
    ("rtu-nonlinear", rtu, "fused_rtu", "zero - p * k1", "zero - p * k2"),
    (
        "gru",
        gru,
        "fused_gru",
        "sums, of = (zero, zero, zero), (d, dz, dr, du)",
        "sums, of = (zero, zero, zero), (d, dz, dr, da)",
    ),
    ("gru", gru, "fused_gru", "fma(dr, load(own, 16)", "fma(dr, load(own, 0)"),
]


def planted(tmp_path, file, right, wrong):
    """Return the module of kernels with one expression replaced."""
    source = (KERNELS / f"{file}.py").read_text()
    assert right in source, right
    path = tmp_path / f"planted_{zlib.crc32(wrong.encode()):08x}.py"
    path.write_text(source.replace(right, wrong).replace("cache=True, ", ""))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
@pytest.mark.parametrize(("name", "user", "file", "right", "wrong"), PLANTED)
def test_a_mistake_planted_in_a_kernel_is_caught(name, user, file, right, wrong, tmp_path, monkeypatch):
    monkeypatch.setattr(user, file, planted(tmp_path, file, right, wrong))
    learner = fused.available()[name][0]
    ours = made(name, learner, loss="squared", n_outputs=N_OUTPUTS, step_size=1e-3)
    xs, targets, resets = task(3, 200, 5, None, "squared", "float64")
    ours.run(xs, targets, resets=resets)
    theta, _, _ = plain_run(ours.cell, learner, None, "squared", Sgd(), 1e-3, xs, targets, resets)
    assert error(ours.theta, theta) > 100 * LIMIT["float64"]


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_compiled_code_multiplies_and_adds_whole_vectors(dtype, tmp_path, monkeypatch):
    if not llvmlite.binding.get_host_cpu_features().get("fma"):
        pytest.skip("this processor has no fused multiply-add of x86")
    monkeypatch.setattr(
        elstm, "fused_elstm", planted(tmp_path, "fused_elstm", "fma(f, c, rest * z)", "fma(f, c, rest * z)")
    )
    made("elstm", dtype=dtype, loss="squared", n_outputs=1).run(np.ones((2, 5)), np.ones((2, 1)))
    run = elstm.fused_elstm.run_one
    assembly = run.inspect_asm(run.signatures[0])
    whole = re.findall(rf"vfn?m\w+p{'s' if dtype == 'float32' else 'd'}.*[yz]mm", assembly)
    single = re.findall(r"vfn?m\w+s[sd]", assembly)
    print(f"{dtype}: {len(whole)} of vectors, {len(single)} of single numbers")
    assert len(whole) > 100
    assert len(single) < 20  # the loss


def test_the_comparison_sees_a_step_size_wrong_by_a_part_in_a_million():
    xs, targets, resets = task(3, 100, 5, None, "squared", "float64")
    ours = made("gru", "snap", loss="squared", n_outputs=N_OUTPUTS, step_size=0.01 * (1 + 1e-6))
    ours.run(xs, targets, resets=resets)
    theta, _, _ = plain_run(ours.cell, "snap", None, "squared", Sgd(), 0.01, xs, targets, resets)
    assert error(ours.theta, theta) > LIMIT["float64"]


# -- what is refused -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("more", "kind", "message"),
    [
        ({"learner": "snap"}, None, None),
        ({"learner": "uoro"}, ValueError, "learner must be one of rtrl, snap, got 'uoro'"),
        ({"batch": 0}, ValueError, "batch must be at least 1, got 0"),
        ({"step_size": 0.0}, ValueError, "step_size must lie between 0 and inf"),
        ({"optimiser": RmsProp()}, ValueError, r"optimiser must be Sgd\(\) or Adam\(\) of rl.optimisers, got RmsProp"),
        ({"loss": "hinge", "n_outputs": 1}, ValueError, "loss must be one of squared, cross-entropy, got 'hinge'"),
        ({"loss": "squared"}, ValueError, "n_outputs must be given exactly where loss is, got None"),
        ({"n_outputs": 2}, ValueError, "n_outputs must be given exactly where loss is, got 2"),
        ({"loss": "squared", "n_outputs": 1, "readout_step_size": -1.0}, ValueError, "readout_step_size must lie"),
    ],
)
def test_parameters_out_of_range_are_refused(more, kind, message):
    if kind is None:
        assert isinstance(made("elstm", **more), fused.Fused)
        return
    with pytest.raises(kind, match=message):
        made("elstm", **more)


def test_cells_and_learners_that_cannot_be_fused_are_refused():
    with pytest.raises(ValueError, match="learner must be one of snap for 'gru', got 'rtrl'"):
        made("gru")
    with pytest.raises(ValueError, match=r"cell must be one of elstm, rtu, rtu-nonlinear, gru to be fused, got 'lstm'"):
        made("lstm")
    with pytest.raises(TypeError, match=r"cell must be a cell, as rl.cells.make returns, got 'elstm'"):
        fused.make("elstm")


@pytest.mark.parametrize(
    ("xs", "targets", "more", "kind", "message"),
    [
        (
            np.ones((4, 3)),
            np.ones((4, 2)),
            {},
            ValueError,
            r"xs must have shape \(4, 2\), got \(4, 3\) at step 1; noth",
        ),
        (np.ones(()), np.ones((4, 2)), {}, ValueError, r"xs must have shape \(0, 2\), got \(\)"),
        (np.ones((4, 2), complex), np.ones((4, 2)), {}, TypeError, "xs must hold real numbers, got complex128"),
        (np.full((4, 2), np.nan), np.ones((4, 2)), {}, ValueError, "xs must be finite, got nan at step 1; nothing has"),
        (np.full((4, 2), 1e300), np.ones((4, 2)), {}, ValueError, "xs must be finite, got inf"),
        (np.ones((4, 2)), np.ones((3, 2)), {}, ValueError, r"targets must have shape \(4, 2\), got \(3, 2\)"),
        (np.ones((4, 2)), np.full((4, 2), np.inf), {}, ValueError, "targets must be finite, got inf"),
        (
            np.ones((4, 2)),
            np.ones((4, 2)),
            {"resets": np.ones(4)},
            ValueError,
            r"resets must be bool\[4\], got float64",
        ),
        (
            np.ones((4, 2)),
            np.ones((4, 2)),
            {"resets": np.ones(3, bool)},
            ValueError,
            r"resets must be bool\[4\], got bo",
        ),
        (np.ones((4, 2)), np.ones((4, 2)), {"learn": 1}, TypeError, "learn must be True or False, got 1"),
    ],
)
def test_a_run_refuses_bad_arrays_and_has_changed_nothing(xs, targets, more, kind, message):
    ours = made("elstm", dtype="float32", n_inputs=2, n_units=3, loss="squared", n_outputs=2)
    before = {n: a.tobytes() for n, a in ours.state_dict()["arrays"].items()}
    with pytest.raises(kind, match=message):
        ours.run(xs, targets, **more)
    assert {n: a.tobytes() for n, a in ours.state_dict()["arrays"].items()} == before


@pytest.mark.parametrize(
    "labels",
    [np.array([0, 3]), np.array([0.0, np.nan]), np.array([True, False]), np.array([0, 2**63 + 5], np.uint64)],
)
def test_labels_must_be_whole_numbers_below_the_outputs(labels):
    ours = made("elstm", dtype="float32", loss="cross-entropy", n_outputs=3)
    with pytest.raises(ValueError, match="targets must be whole numbers below n_outputs = 3, got"):
        ours.run(np.ones((2, 5)), labels)
    assert ours.run(np.ones((0, 5)), []).shape == (0,)


def test_rows_of_different_lengths_are_refused():
    ours, ragged = made("elstm", loss="squared", n_outputs=1), [[1.0], [1.0, 2.0]]
    for name, call in (
        ("xs", lambda: ours.run(ragged, np.ones((2, 1)))),
        ("targets", lambda: ours.run(np.ones((2, 5)), ragged)),
        ("resets", lambda: ours.run(np.ones((2, 5)), np.ones((2, 1)), resets=ragged)),
        ("mask", lambda: ours.reset(ragged)),
    ):
        with pytest.raises(ValueError, match=f"{name} must be an array, got rows of different lengths"):
            call()


def test_steps_learning_and_gradients_refuse_what_does_not_fit():
    ours = made("gru", "snap", dtype="float32")
    for ask in (ours.learn, ours.gradient):
        with pytest.raises(RuntimeError, match="step must come before learn or gradient: there"):
            ask(np.ones(20))
    ours.step(np.ones(5))
    with pytest.raises(ValueError, match=r"x must have shape \(5,\), got \(4,\) at step 2; nothing has changed"):
        ours.step(np.ones(4))
    with pytest.raises(ValueError, match="dl_dh must be finite, got nan at step 1"):
        ours.learn(np.full(20, np.nan))
    with pytest.raises(ValueError, match=r"dl_dh must have shape \(20,\), got \(1,\)"):
        ours.gradient(np.ones(1))
    ours.learn(np.ones(20))
    with pytest.raises(RuntimeError, match=r"step must come before learn"):
        ours.learn(np.ones(20))
    with pytest.raises(ValueError, match=r"loss must be given to rl.fused.make for run, got None"):
        ours.run(np.ones((1, 5)), np.ones((1, 1)))
    with pytest.raises(ValueError, match="mask must be a truth value, got bool"):
        ours.reset(np.ones(3, bool))
    with pytest.raises(ValueError, match="theta must be finite, got nan"):
        ours.theta = np.full(ours.cell.n_params, np.nan)
    with pytest.raises(ValueError, match="read-only"):
        ours.theta[:] = 0.0


def test_without_a_loss_there_is_an_empty_readout():
    for batch in (None, 2):
        ours = made("elstm", batch=batch)
        ours.step(np.ones(5 if batch is None else (2, 5)))
        assert ours.readout.shape == (0, 21)
        assert ours.outputs.size == 0
        assert made("elstm", batch=batch, loss="squared", n_outputs=2).readout.shape == (2, 21)


def test_a_loss_that_is_not_finite_is_named():
    ours = made("elstm", dtype="float32", loss="squared", n_outputs=1, step_size=1e18)
    with pytest.raises(
        FloatingPointError, match=r"loss must stay finite, got (inf|nan) at step [2-9]; lower step_size"
    ):
        ours.run(np.ones((50, 5)), 1e15 * np.ones((50, 1)))


def test_states_of_others_and_damaged_ones_are_refused_and_change_nothing():
    ours = made("elstm", loss="squared", n_outputs=1)
    ours.run(np.ones((3, 5)), np.ones((3, 1)))
    good = ours.state_dict()
    others = [made("rtu", loss="squared", n_outputs=1)]
    for more in ({"n_outputs": 2}, {"n_outputs": 1, "batch": 1}, {"n_outputs": 1, "step_size": 0.5}):
        others.append(made("elstm", loss="squared", **more))
    for other in others:
        with pytest.raises(ValueError, match="state must be of a fused learner whose"):
            other.load_state_dict(good)
    weights = good["arrays"]["weights"]
    for damage, kind in (
        ({**good, "version": 9}, ValueError),
        ({k: v for k, v in good.items() if k != "ready"}, ValueError),
        ({**good, "ready": 2}, TypeError),
        ({**good, "n_steps": -1}, ValueError),
        ({**good, "arrays": {**good["arrays"], "weights": weights[1:]}}, ValueError),
        ({**good, "arrays": {**good["arrays"], "weights": weights * np.nan}}, ValueError),
        ({**good, "arrays": {**good["arrays"], "counts": np.array([0, 7])}}, ValueError),
        ({**good, "arrays": {**good["arrays"], "readout_counts": np.array([-1, 0])}}, ValueError),
    ):
        with pytest.raises(kind, match="state"):
            ours.load_state_dict(damage)
    assert ours.state_dict()["arrays"]["weights"].tobytes() == weights.tobytes()


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda ours: pickle.loads(pickle.dumps(ours))])
@pytest.mark.parametrize("name", ["elstm", "rtu", "gru"])
def test_a_copy_goes_on_to_the_bit_and_by_itself(name, copied):
    more = {"learner": "snap", "batch": 2, "loss": "squared", "n_outputs": 1, "optimiser": Adam()}
    ours, xs = made(name, **more), np.random.default_rng(0).normal(size=(6, 2, 5))
    ours.run(xs, xs[..., :1])
    ours.step(xs[0])
    other, before = copied(ours), ours.theta
    for _ in range(2):
        losses = other.run(xs, xs[..., :1])
    assert ours.theta.tobytes() == before.tobytes() != other.theta.tobytes()
    for _ in range(2):
        again = ours.run(xs, xs[..., :1])
    assert again.tobytes() == losses.tobytes()
    assert ours.theta.tobytes() == other.theta.tobytes()
    assert ours.readout.tobytes() == other.readout.tobytes()


# -- lanes ---------------------------------------------------------------------------------------------------------
@njit(_nrt=False)
def _functions(a, out):
    for i in range(0, a.shape[0], 16):
        x = lanes.load(a, i)
        lanes.store(out[0], i, lanes.exp(x))
        lanes.store(out[1], i, lanes.sigmoid(x))
        lanes.store(out[2], i, lanes.tanh(x))
        sin, cos = lanes.sin_cos(x)
        lanes.store(out[3], i, sin)
        lanes.store(out[4], i, cos)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_functions_of_lanes_are_right_to_a_few_units_in_the_last_place(dtype):
    a = np.concatenate([np.linspace(-30, 30, 16_000), np.geomspace(1e-30, 50, 8_000), -np.geomspace(1e-30, 50, 8_000)])
    a = a.astype(dtype)
    out, exact = np.zeros((5, a.size), dtype), a.astype(np.longdouble)
    _functions(a, tuple(out))
    wanted = [np.exp(exact), 1 / (1 + np.exp(-exact)), np.tanh(exact), np.sin(exact), np.cos(exact)]
    eps = np.finfo(dtype).eps
    for f, (ours, right) in enumerate(zip(out, wanted, strict=True)):
        size = np.abs(right) if f < 3 else np.maximum(np.abs(right), 0.1)  # near a root of sin the argument's bits end
        assert float(np.max(np.abs(ours - right) / size)) < (3 if f < 3 else 8) * eps


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_functions_of_lanes_saturate_and_pass_nan_on(dtype):
    a = np.array([0.0, 1e30, -1e30, np.inf, -np.inf, np.nan] + [0.0] * 10, dtype)
    out = np.zeros((5, 16), dtype)
    _functions(a, tuple(out))
    np.testing.assert_array_equal(out[2][:5], [0, 1, -1, 1, -1])
    np.testing.assert_allclose(out[1][:5], [0.5, 1, 0, 1, 0], atol=1e-37)
    assert np.isnan(out[:3, 5]).all()


@njit(_nrt=False)
def _sums(a, out):
    r = (lanes.load(a, 0), lanes.load(a, 16), lanes.load(a, 32), lanes.load(a, 48), lanes.load(a, 64),
         lanes.load(a, 80), lanes.load(a, 96), lanes.load(a, 112), lanes.load(a, 128), lanes.load(a, 144),
         lanes.load(a, 160), lanes.load(a, 176), lanes.load(a, 192), lanes.load(a, 208), lanes.load(a, 224),
         lanes.load(a, 240))  # fmt: skip
    lanes.store(out, 0, lanes.totals(r))
    out[16] = lanes.total(r[5])


def test_sums_across_lanes_are_those_of_the_rows():
    a = np.random.default_rng(0).integers(-99, 99, size=(16, 16)).astype(float)
    out = np.zeros(17)
    _sums(a.ravel(), out)
    np.testing.assert_array_equal(out, [*a.sum(axis=1), a[5].sum()])


def test_files_that_call_shared_kernels_hold_their_crc():
    shared = zlib.crc32(b"".join((KERNELS / f).read_bytes() for f in ("lanes.py", "updating.py")))
    callers = [p for p in KERNELS.glob("*.py") if "from rl._kernels." in p.read_text() and p.name != "updating.py"]
    assert len(callers) >= 3
    for path in callers:
        wanted = f"_SHARED = 0x{shared:08X}"
        assert wanted in path.read_text(), f"{path.name} must say {wanted}, or numba's cache keeps stale code"
