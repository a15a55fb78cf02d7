"""SnAp-n: equal to exact RTRL where it must be, to its definition elsewhere, and to the counts of the papers."""

import itertools

import numpy as np
import pytest

from rl import cells, learners
from rl.learners.counting import full_products, pairs, recursion_products
from rl.learners.rtrl import Rtrl, Snap
from tests.naive import recurrent as naive
from tests.rl_cases import CASES, IDS, dense_parameters, error, gathered, naive_options, random_cell, random_theta

LINKED = [(name, options) for name, options in CASES if name in ("vanilla", "lstm", "gru")]
LINKED_IDS = [i for i in IDS if i.split("-")[0] in ("vanilla", "lstm", "gru")]
CAUGHT = 1e-3


def total_gradient(learner, theta, xs, dl_dh):
    learner.theta[:] = theta
    total = np.zeros(learner.cell.n_params)
    for x, q in zip(xs, dl_dh, strict=True):
        learner.step(x)
        total += learner.gradient(q)
    return total


def case(name, options, seed, least=1):
    rng = np.random.default_rng(seed)
    cell = random_cell(name, rng, least=least, **options)
    xs, dl_dh = rng.normal(size=(15, cell.n_inputs)), rng.normal(size=(15, cell.n_hidden))
    return cell, random_theta(cell, rng), xs, dl_dh


def naive_masks(cell):
    return {name: placed.dense(np.ones(cell.n_params)) for name, placed in cell.layout.placed.items() if name[0] == "U"}


@pytest.mark.parametrize(("name", "options"), CASES, ids=IDS)
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("beyond", [0, 3])
def test_with_n_of_at_least_the_units_snap_is_rtrl(name, options, seed, beyond):
    cell, theta, xs, dl_dh = case(name, options, seed)
    exact = total_gradient(learners.make("rtrl-dense", cell), theta, xs, dl_dh)
    found = total_gradient(learners.make("snap", cell, n=cell.n_units + beyond), theta, xs, dl_dh)
    assert error(found, exact) < 1e-10


@pytest.mark.parametrize(("name", "options"), LINKED, ids=LINKED_IDS)
@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("seed", range(3))
def test_snap_is_its_definition_computed_naively(name, options, n, seed):
    cell, theta, xs, dl_dh = case(name, options, seed)
    by_name = naive.snap_gradient(
        name, dense_parameters(cell, theta), naive_masks(cell), xs, dl_dh, cell.n_units, n, **naive_options(cell)
    )
    found = total_gradient(learners.make("snap", cell, n=n), theta, xs, dl_dh)
    assert error(found, gathered(cell, by_name)) < 1e-10


class ReachOffByOne(Snap):
    def __init__(self, cell, n):
        super().__init__(cell, n=n + 1)


class TransposedReach(Snap):
    """Keeps the units a unit reads instead of those that read it."""

    def __init__(self, cell, n):
        reach = type(cell.layout).reach
        object.__setattr__(cell.layout, "reach", lambda n: reach(cell.layout, n).T)
        try:
            super().__init__(cell, n=n)
        finally:
            object.__delattr__(cell.layout, "reach")


@pytest.mark.parametrize("planted", [ReachOffByOne, TransposedReach])
@pytest.mark.parametrize("name", ["vanilla", "lstm", "gru"])
def test_a_mask_off_by_one_is_caught(name, planted):
    # A ring: every unit reads the one before it and nothing else.
    ring = np.concatenate([np.ones((5, 3), bool), np.roll(np.eye(5, dtype=bool), 1, axis=0)], axis=1)
    rng = np.random.default_rng(1)
    cell = cells.make(name, n_inputs=3, n_units=5, mask=ring)
    theta, xs, dl_dh = random_theta(cell, rng), rng.normal(size=(12, 3)), rng.normal(size=(12, 5))
    for n in (2, 3):
        by_name = naive.snap_gradient(name, dense_parameters(cell, theta), naive_masks(cell), xs, dl_dh, 5, n)
        assert error(total_gradient(Snap(cell, n=n), theta, xs, dl_dh), gathered(cell, by_name)) < 1e-10
        assert error(total_gradient(planted(cell, n), theta, xs, dl_dh), gathered(cell, by_name)) > CAUGHT


def test_the_last_step_of_reach_matters_on_a_ring():
    ring = np.concatenate([np.ones((5, 3), bool), np.roll(np.eye(5, dtype=bool), 1, axis=0)], axis=1)
    rng = np.random.default_rng(1)
    cell = cells.make("vanilla", n_inputs=3, n_units=5, mask=ring)
    theta, xs, dl_dh = random_theta(cell, rng), rng.normal(size=(12, 3)), rng.normal(size=(12, 5))
    exact = total_gradient(learners.make("rtrl-dense", cell), theta, xs, dl_dh)
    assert error(total_gradient(Snap(cell, n=5), theta, xs, dl_dh), exact) < 1e-10
    assert error(total_gradient(Snap(cell, n=4), theta, xs, dl_dh), exact) > CAUGHT


def test_sensitivities_are_stored_for_kept_pairs_only():
    cell = cells.make("lstm", n_inputs=4, n_units=24, density=0.1, seed=3)
    for n in (1, 2, 3):
        stored = learners.make("snap", cell, n=n).state_dict()["carried"]["J"]
        assert stored.size == 2 * pairs(cell, n)  # c and h
    assert pairs(cell, 1) < pairs(cell, 2) < pairs(cell, 3) < 24 * cell.n_params
    exact = Rtrl(cell).state_dict()["carried"]["J"]
    assert exact.size == 2 * pairs(cell, 24)


# -- counts --------------------------------------------------------------------------------------------------------
def brute_force(cell, n):
    """Return pairs, products of the kept recursion and of the full one, by walking every entry."""
    units = range(cell.n_units)
    reads = {(m, m) for m in units} if cell.name != "vanilla" or cell.tau != 1.0 else set()
    unit_of = []
    for name, placed in cell.layout.placed.items():
        full = placed.dense(np.ones(cell.n_params))
        for index in zip(*np.nonzero(full), strict=True):
            unit_of.append(index[0])
            if name.startswith("U"):
                reads.add((index[0], index[1]))
    kept = {(k, k) for k in units}
    for _ in range(n - 1):
        kept |= {(m, k) for (m, via), (j, k) in itertools.product(reads, kept) if via == j}
    products = sum((m, u) in kept and (via, u) in kept for m, via in reads for u in unit_of)
    return sum((m, u) in kept for m in units for u in unit_of), products, len(reads) * len(unit_of)


@pytest.mark.parametrize(("name", "options"), LINKED, ids=LINKED_IDS)
@pytest.mark.parametrize("n", [1, 2, 3, 9])
@pytest.mark.parametrize("seed", range(3))
def test_counts_are_those_of_brute_force_for_any_mask(name, options, n, seed):
    cell = case(name, options, seed)[0]
    assert (pairs(cell, n), recursion_products(cell, n), full_products(cell)) == brute_force(cell, n)


@pytest.mark.parametrize(("cell", "full", "snap1"), [("lstm", 143_360, 4_480), ("gru", 107_520, 3_360)])
def test_pair_counts_of_32_units_3_inputs_no_biases_are_the_papers(cell, full, snap1):
    cell = cells.make(cell, n_inputs=3, n_units=32, bias=False)
    assert (pairs(cell, 32), pairs(cell, 1)) == (full, snap1)


def figures(cell):
    """Return SnAp-1 nonzeros, SnAp-2 % of full, SnAp-2 cost and full cost over nnz(W) + nnz(U)."""
    weights = sum(len(p.rows) for p in cell.layout.placed.values() if p.block.is_matrix)
    return np.array(
        [
            pairs(cell, 1),
            100.0 * pairs(cell, 2) / (cell.n_units * cell.n_params),
            recursion_products(cell, 2) / weights,
            full_products(cell) / weights,
        ]
    )


def test_the_dense_row_is_exact():
    found = figures(cells.make("vanilla", n_inputs=32, n_units=128))
    assert found[0] == 20_608
    assert found[1] == 100.0
    assert np.round(found[2:]).tolist() == [16_486, 16_486]


@pytest.mark.parametrize(
    ("name", "density", "nonzeros"),
    [
        ("vanilla", 0.25, 5_248),
        ("vanilla", 0.0625, 1_408),
        ("gru", 0.25, 15_744),
        ("gru", 0.0625, 4_224),
        ("gru", 0.0156, 1_344),
    ],
)
def test_masks_of_exact_counts_have_the_papers_nonzeros(name, density, nonzeros):
    for cell in masked_cells(name, density, 3, exact_count=True):
        assert pairs(cell, 1) == nonzeros


def masked_cells(name, density, n, **options):
    """Return `n` cells of 32 inputs and 128 units; masks that leave a unit without weights are passed over."""
    found = []
    for seed in itertools.count():
        if len(found) == n:
            return found
        try:
            found.append(cells.make(name, n_inputs=32, n_units=128, density=density, seed=seed, **options))
        except ValueError as refused:
            if "incoming weight" not in str(refused):
                raise
    return found


#: Of 200 masks drawn and counted by other code: SnAp-1 nonzeros and their deviation, SnAp-2 %, SnAp-2 and full cost.
TABLE = [
    ("vanilla", 0.25, 5_250, 61, 25.6, 306, 4_199),
    ("vanilla", 0.0625, 1_407, 34, 7.0, 14.2, 1_126),
    ("gru", 0.25, 15_758, 95, 58.2, 3_366, 9_766),
    ("gru", 0.0625, 4_225, 59, 18.2, 151, 3_288),
    ("gru", 0.0156, 1_344, 30, 5.4, 20.4, 1_230),
]


@pytest.mark.parametrize(("name", "density", "nonzeros", "sd", "percent", "snap2", "full"), TABLE)
def test_counts_of_random_masks_are_within_four_deviations_of_the_table(
    name, density, nonzeros, sd, percent, snap2, full
):
    found = np.array([figures(cell) for cell in masked_cells(name, density, 40)])
    assert (np.abs(found[:, 0] - nonzeros) < 4 * sd).all()
    mean, spread = found.mean(axis=0), found.std(axis=0, ddof=1)
    print(name, density, "mean", mean.round(1), "sd", spread.round(1))
    # The table's means are of 200 masks and rounded to its last digit.
    rounding = np.array([0.5, 0.05, 0.05 if snap2 < 100 else 0.5, 0.5])
    allowed = 4 * spread * np.sqrt(1 / 40 + 1 / 200) + rounding
    assert (np.abs(mean - [nonzeros, percent, snap2, full]) < allowed).all()
