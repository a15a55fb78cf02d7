"""Cells: every step and Jacobian against the tape and central differences; masks, views, and bad options."""

import numpy as np
import pytest

import rl
from rl import cells, learners
from rl.cells.gru import Gru
from rl.cells.masks import drawn
from tests.naive import recurrent as naive
from tests.rl_cases import CASES, IDS, dense_parameters, error, gathered, naive_options, random_cell, random_theta

SEEDS = range(4)
STRUCTURES = {
    "vanilla": "dense", "lstm": "dense", "gru": "dense", "columnar-lstm": "columns", "elstm": "diagonal",
    "rtu": "columns", "rtu-nonlinear": "columns",
}  # fmt: skip


def linearised(cell, rng, batch=2):
    theta = random_theta(cell, rng)
    x = rng.normal(size=(batch, cell.n_inputs))
    state = rng.normal(size=(batch, cell.n_components, cell.n_units))
    return cell.linearise(theta, x, state)


@pytest.mark.parametrize(("name", "options"), CASES, ids=IDS)
@pytest.mark.parametrize("seed", SEEDS)
def test_a_step_and_its_jacobians_are_those_of_the_tape(name, options, seed):
    rng = np.random.default_rng(seed)
    cell = random_cell(name, rng, **options)
    at = linearised(cell, rng)
    parameters = dense_parameters(cell, at.theta)
    immediate, recurrent = cell.immediate(at).toarray(), cell.recurrent(at).toarray()
    for b in range(2):
        state, d, i = naive.step_jacobians(name, parameters, at.x[b], at.before[b], cell.n_units, **naive_options(cell))
        assert error(at.state[b], state) < 1e-13
        assert error(recurrent[b], d) < 1e-13
        rows = [gathered(cell, {k: v[row] for k, v in i.items()}) for row in range(len(d))]
        assert error(immediate[b], np.array(rows)[:, : cell.layout.n_state_params]) < 1e-13


@pytest.mark.parametrize(("name", "options"), CASES, ids=IDS)
def test_jacobians_are_central_differences(name, options):
    rng = np.random.default_rng(5)
    cell = random_cell(name, rng, **options)
    at = linearised(cell, rng)

    def differences(vary):
        columns = []
        size = at.theta.size if vary == "theta" else at.before[0].size if vary == "state" else cell.n_inputs
        for j in range(size):
            ends = []
            for sign in (1e-5, -1e-5):
                theta, state, x = at.theta.copy(), at.before.copy(), at.x.copy()
                {"theta": theta[None], "state": state.reshape(2, -1), "x": x}[vary][:, j] += sign
                ends.append(cell.step(theta, x, state)[1].reshape(2, -1))
            columns.append((ends[0] - ends[1]) / 2e-5)
        return np.stack(columns, axis=-1)

    assert error(cell.immediate(at).toarray(), differences("theta")[..., : cell.layout.n_state_params]) < 1e-8
    assert error(cell.recurrent(at).toarray(), differences("state")) < 1e-8
    q = rng.normal(size=at.state.shape)
    by_x = np.einsum("bi,bij->bj", q.reshape(2, -1), differences("x"))
    assert error(cell.input_vjp(at, q), by_x) < 1e-8


@pytest.mark.parametrize(("name", "options"), CASES, ids=IDS)
@pytest.mark.parametrize("seed", SEEDS)
def test_products_with_jacobians_are_those_of_the_arrays(name, options, seed):
    rng = np.random.default_rng(seed)
    cell = random_cell(name, rng, **options)
    at = linearised(cell, rng)
    v = rng.normal(size=at.state.shape)
    flat = v.reshape(2, -1)
    immediate, recurrent = cell.immediate(at), cell.recurrent(at)
    d, i = recurrent.toarray(), immediate.toarray()
    assert error(cell.state_jvp(at, v), np.einsum("bij,bj->bi", d, flat)) < 1e-13
    assert error(cell.state_vjp(at, v), np.einsum("bij,bi->bj", d, flat)) < 1e-13
    assert error(immediate.vjp(v), np.einsum("bip,bi->bp", i, flat)) < 1e-13
    assert error(immediate.vjp_sum(v), np.einsum("bip,bi->p", i, flat)) < 1e-13
    s, n = cell.n_components, cell.n_units
    own = np.einsum("bsmtm->bstm", d.reshape(2, s, n, s, n))
    np.testing.assert_array_equal(recurrent.own_blocks(), own)


@pytest.mark.parametrize("name", cells.available())
def test_every_cell_has_the_public_face(name):
    cell = rl.cells.make(name, n_inputs=3, n_units=5, seed=0, dtype="float32")
    theta = cell.init()
    assert (cell.n_inputs, cell.n_hidden) == (3, 10 if name.startswith("rtu") else 5)
    assert theta.shape == (cell.n_params,)
    assert theta.dtype == np.float32
    views = cell.views(theta)
    assert sum(view.size for view in views.values()) == cell.n_params
    for view in views.values():
        view[...] = 7.0
    assert (theta == 7.0).all()
    h, state = cell.step(cell.init(), np.ones((2, 3), np.float32), cell.initial_state(2))
    assert (h.dtype, state.dtype, h.shape) == (np.float32, np.float32, (2, cell.n_hidden))
    assert cell.structure == STRUCTURES[name]
    assert (cell.init() == cells.make(name, n_inputs=3, n_units=5, seed=0, dtype="float32").init()).all()


def test_counts_of_parameters_are_the_papers():
    n_params = {name: cells.make(name, n_inputs=8, n_units=32).n_params for name in cells.available()}
    assert n_params["columnar-lstm"] == 32 * 4 * (8 + 2)
    assert n_params["lstm"] == 4 * 32 * (8 + 32 + 1)
    assert n_params["gru"] == 3 * 32 * (8 + 32 + 1)
    assert n_params["vanilla"] == 32 * (8 + 32 + 1)
    assert n_params["rtu"] == 32 * (2 * 8 + 2)
    assert n_params["elstm"] == 32 * (2 * (8 + 2) + 8 + 32 + 1)


def test_masked_matrices_are_stored_without_their_zeros():
    rng = np.random.default_rng(0)
    masks = {"U": rng.random((4, 4)) < 0.5, "W": rng.random((4, 3)) < 0.7}
    masks["U"][:, 0] = True
    cell = cells.make("vanilla", n_inputs=3, n_units=4, mask=masks)
    theta = np.arange(1.0, cell.n_params + 1)
    assert cell.n_params == masks["U"].sum() + masks["W"].sum() + 4
    for name, mask in masks.items():
        assert ((cell.layout.placed[name].dense(theta) != 0) == mask).all()
        np.testing.assert_array_equal(cell.views(theta)[name], cell.layout.placed[name].dense(theta)[mask])
    assert cell.structure == "sparse"


def test_one_mask_serves_every_gate():
    mask = np.random.default_rng(1).random((4, 7)) < 0.5
    mask[:, 0] = True
    cell = cells.make("gru", n_inputs=3, n_units=4, mask=mask)
    for gate in "zra":
        assert (cell.layout.placed[f"W_{gate}"].dense(np.ones(cell.n_params)) == mask[:, :3]).all()
        assert (cell.layout.placed[f"U_{gate}"].dense(np.ones(cell.n_params)) == mask[:, 3:]).all()


def test_drawn_masks_repeat_by_seed_and_differ_by_gate():
    one, two, other = (cells.make("gru", n_inputs=9, n_units=16, density=0.3, seed=s) for s in (3, 3, 4))
    rows = {name: (placed.rows.tolist(), placed.columns.tolist()) for name, placed in one.layout.placed.items()}
    assert rows == {n: (p.rows.tolist(), p.columns.tolist()) for n, p in two.layout.placed.items()}
    assert rows["U_z"] != rows["U_r"]
    assert rows != {n: (p.rows.tolist(), p.columns.tolist()) for n, p in other.layout.placed.items()}


def test_exact_counts_keep_round_of_density_times_size():
    cell = cells.make("gru", n_inputs=32, n_units=128, density=0.0625, exact_count=True, seed=0)
    for name, placed in cell.layout.placed.items():
        if placed.block.is_matrix:
            assert len(placed.rows) == round(0.0625 * np.prod(placed.shape)), name
    assert drawn(np.random.default_rng(0), (3, 3), 1.0, exact_count=False).all()


def test_a_unit_that_hears_in_one_gate_only_is_let_be():
    mask = {f"{m}_{g}": np.zeros((2, k), bool) for g in "zra" for m, k in (("W", 3), ("U", 2))}
    mask["W_r"][:, 0] = True
    assert cells.make("gru", n_inputs=3, n_units=2, mask=mask).n_params == 2 + 6


@pytest.mark.parametrize("name", cells.available())
def test_a_unit_without_any_incoming_weight_is_refused_by_number(name):
    cell = cells.make(name, n_inputs=3, n_units=4)
    mask = {n: np.ones(p.shape, bool) for n, p in cell.layout.placed.items() if p.block.is_matrix}
    for m in mask.values():
        m[2] = False
    with pytest.raises(ValueError, match=r"some gate, got none for unit 2"):
        cells.make(name, n_inputs=3, n_units=4, mask=mask)


@pytest.mark.parametrize(
    ("bad", "kind", "says"),
    [
        ({"n_inputs": 0}, ValueError, "n_inputs must be at least 1"),
        ({"n_units": 2.5}, TypeError, "n_units must be a whole number"),
        ({"seed": -1}, ValueError, "seed must be"),
        ({"dtype": "float16"}, ValueError, "dtype must be one of"),
        ({"dtype": "foo"}, ValueError, "dtype must be one of float32, float64, got 'foo'"),
        ({"dtype": None}, ValueError, "dtype must be one of float32, float64, got None"),
        ({"bias": "no"}, TypeError, "bias must be True or False, got 'no'"),
        ({"exact_count": 1, "density": 0.5}, TypeError, "exact_count must be True or False, got 1"),
        ({"exact_count": True}, ValueError, "exact_count must be left out where density is, got True"),
        ({"n_units": "4"}, TypeError, "n_units must be a whole number, got '4'"),
        ({"density": "half"}, TypeError, "density must be a number, got 'half'"),
        ({"density": 0.5 + 0j}, TypeError, "density must be a number"),
        ({"tau": 10**400}, ValueError, "tau must lie between"),
        ({"density": 0.0}, ValueError, "density must"),
        ({"density": 1.1}, ValueError, "density must"),
        ({"density": float("nan")}, ValueError, "density must"),
        ({"density": 0.5, "mask": np.ones((4, 7), bool)}, ValueError, "mask must be left out"),
        ({"mask": np.ones((4, 6), bool)}, ValueError, r"mask must be bool\[4, 7\]"),
        ({"mask": np.ones((4, 7))}, ValueError, r"mask must be bool\[4, 7\], got float64"),
        ({"mask": [[True], [True, False]]}, ValueError, r"mask must be bool\[4, 7\], got rows of different lengths"),
        ({"mask": {"V": np.ones((4, 4), bool)}}, ValueError, "mask must name matrices among U, W"),
        ({"mask": {"U": np.ones((4, 3), bool)}}, ValueError, r"mask\['U'\] must be bool\[4, 4\]"),
        ({"sparsity": 0.5}, ValueError, "an option of vanilla must be one of tau, n_inputs, .*, got 'sparsity'"),
        ({"tau": 0.5}, ValueError, "tau must be at least 1"),
        ({"tau": float("inf")}, ValueError, "tau must"),
    ],
)
def test_bad_options_are_refused(bad, kind, says):
    with pytest.raises(kind, match=says):
        cells.make("vanilla", **{"n_inputs": 3, "n_units": 4, **bad})


def test_unknown_cells_are_refused_and_taken_names_too():
    with pytest.raises(ValueError, match=r"cell must be one of columnar-lstm, .*did you mean 'vanilla'"):
        cells.make("vanila", n_inputs=1, n_units=1)
    with pytest.raises(ValueError, match="name must be new"):
        cells.register("gru", Gru)


@pytest.mark.parametrize(
    ("name", "factory", "says"),
    [
        (5, Gru, "name must be a string that is not empty, got 5"),
        ("", Gru, "name must be a string that is not empty, got ''"),
        ("none", None, "factory must be a class or another callable, got None"),
    ],
)
@pytest.mark.parametrize("registry", [cells, learners])
def test_what_cannot_be_made_by_name_is_not_registered(registry, name, factory, says):
    before = registry.available()
    with pytest.raises(TypeError, match=says):
        registry.register(name, factory)
    assert registry.available() == before


def test_views_of_a_vector_of_another_length_are_refused():
    with pytest.raises(ValueError, match=r"theta must have shape \(12,\)"):
        cells.make("vanilla", n_inputs=1, n_units=3, bias=False).views(np.zeros(11))


@pytest.mark.parametrize(
    ("shapes", "says"),
    [
        (((14,), (2, 2), (2, 1, 3)), r"theta must have shape \(18,\), got \(14,\)"),
        (((18,), (2, 3), (2, 1, 3)), r"x must have shape \(2, 2\), got \(2, 3\)"),
        (((18,), (2, 2), (3, 1, 3)), r"state must have shape \(2, 1, 3\), got \(3, 1, 3\)"),
        (((18,), (2,), (2, 1, 3)), r"x must be float\[B, n_inputs\], a row of 2 for each stream, got shape \(2,\)"),
        (((18,), (), (2, 1, 3)), r"x must be float\[B, n_inputs\], .* got shape \(\)"),
    ],
)
def test_a_step_of_mismatched_shapes_is_refused(shapes, says):
    with pytest.raises(ValueError, match=says):
        cells.make("vanilla", n_inputs=2, n_units=3).step(*map(np.zeros, shapes))


def kept_only(name, shape, column):
    mask = np.zeros(shape, bool)
    mask[:, column] = True
    return {name: mask}


def test_cells_of_different_masks_have_different_signatures():
    def signature(name, **options):
        return cells.make(name, n_inputs=2, n_units=2, **options).signature

    one, other = np.eye(2, dtype=bool), ~np.eye(2, dtype=bool)
    differing = [
        [("elstm", {"mask": kept_only("W_oc", (2, 2), column)}) for column in (0, 1)],
        [("elstm", {"mask": kept_only("W_ox", (2, 2), column)}) for column in (0, 1)],
        [
            ("gru", {"bias": False, "mask": {kept: np.ones((2, 2), bool), empty: np.zeros((2, 2), bool)}})
            for kept, empty in (("W_z", "W_r"), ("W_r", "W_z"))
        ],
        [("vanilla", {"mask": {"U": mask}}) for mask in (one, other)],
        [("vanilla", {"mask": {name: one}}) for name in ("U", "W")],
        [("lstm", {"bias": bias}) for bias in (True, False)],
    ]
    for pair in differing:
        first, second = (signature(name, **options) for name, options in pair)
        assert first != second, pair
        assert first == signature(pair[0][0], **pair[0][1])


@pytest.mark.parametrize("name", cells.available())
def test_what_a_step_returns_is_written_to_without_harm(name):
    cell = cells.make(name, n_inputs=2, n_units=3)
    theta, x, before = cell.init(), np.ones((2, 2)), np.full((2, cell.n_components, 3), 0.25)
    h, state = cell.step(theta, x, before)
    kept = state.copy()
    h[:] = 7.0
    np.testing.assert_array_equal(state, kept)
    state[:] = 7.0
    assert (before == 0.25).all()
    assert (x == 1.0).all()
    np.testing.assert_array_equal(theta, cell.init())
