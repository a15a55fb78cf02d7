"""Random cells, sequences and the one measure of error, shared by the tests of cells and learners."""

import functools

import numpy as np

from rl import cells

#: A cell's name, and options that change its equations or thin its matrices out.
CASES = [
    ("vanilla", {}),
    ("vanilla", {"tau": 3.0}),
    ("vanilla", {"tau": 1.5, "density": 0.5}),
    ("lstm", {}),
    ("lstm", {"density": 0.4}),
    ("gru", {}),
    ("gru", {"density": 0.4}),
    ("columnar-lstm", {}),
    ("columnar-lstm", {"density": 0.6}),
    ("elstm", {}),
    ("elstm", {"density": 0.6}),
    ("rtu", {}),
    ("rtu", {"density": 0.6}),
    ("rtu-nonlinear", {}),
    ("rtu-nonlinear", {"density": 0.6}),
]
IDS = ["-".join([name, *map(str, options.values())]) for name, options in CASES]


def error(a, b):
    """|a - b| / max(|a|, |b|, 1e-12), L2 norms over the whole gradient."""
    a, b = np.ravel(a), np.ravel(b)
    return np.linalg.norm(a - b) / max(np.linalg.norm(a), np.linalg.norm(b), 1e-12)


def random_cell(name, rng, make=None, least=1, **options):
    """Return a cell of a random shape; a mask that leaves a unit without weights is drawn again, a bit wider.

    `make` takes the place of the registry, for cells with a planted mistake; `least` of inputs and units lets
    every mistake matter.
    """
    make = make or functools.partial(cells.make, name)
    n_inputs, n_units = int(rng.integers(least, 6)), int(rng.integers(least, 7))
    while True:
        try:
            return make(n_inputs=n_inputs, n_units=n_units, seed=int(rng.integers(2**31)), **options)
        except ValueError as refused:
            if "incoming weight" not in str(refused):
                raise
            n_inputs += 1


def random_theta(cell, rng):
    """Return weights large enough for every path to matter; decays of recurrent trace units well inside (0, 1)."""
    theta = rng.normal(size=cell.n_params) * 0.7
    views = cell.views(theta)
    if "nu" in views:
        views["nu"][:] = rng.uniform(-2.0, 0.0, cell.n_units)
        views["vartheta"][:] = rng.uniform(-1.5, 0.7, cell.n_units)
    return theta


def dense_parameters(cell, theta):
    """Return theta by name, left-out entries as zeros: what the naive cells take."""
    return {name: placed.dense(theta) for name, placed in cell.layout.placed.items()}


def gathered(cell, by_name):
    """Return gradients by name as one vector in the order of theta; left-out entries drop away."""
    parts = []
    for name, placed in cell.layout.placed.items():
        full = by_name[name]
        parts.append(full[placed.rows, placed.columns] if placed.block.is_matrix else full)
    return np.concatenate(parts)


def naive_options(cell):
    return {"tau": cell.tau} if cell.name == "vanilla" else {}
