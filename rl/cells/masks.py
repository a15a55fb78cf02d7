"""Fixed sparse masks: drawn from a seed by density, or given, and checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from amper.protocols import Array
from rl.cells.layout import Block


def drawn(rng: np.random.Generator, shape: tuple[int, int], density: float, exact_count: bool) -> Array:
    """Return bool[shape]: each entry kept with probability `density`, or exactly round(density * size) of them.

    Examples
    --------
    >>> int(drawn(np.random.default_rng(0), (8, 5), 0.25, exact_count=True).sum())
    10
    """
    if not exact_count:
        return rng.random(shape) < density
    mask = np.zeros(shape[0] * shape[1], bool)
    mask[rng.permutation(mask.size)[: int(np.floor(density * mask.size + 0.5))]] = True
    return mask.reshape(shape)


def given(mask: Any, blocks: list[Block], n_inputs: int, n_units: int) -> dict[str, Array]:
    """Return the masks of a user by block name, checked.

    `mask` maps names of matrices to bool[shape]; or it is one array bool[n_units, n_inputs + n_units] for every
    gate, inputs first (bool[n_units, n_inputs] for a cell whose units do not read each other).
    """
    shapes = {b.name: (n_units, n_inputs if b.reads == "x" else n_units) for b in blocks if b.is_matrix}
    if not isinstance(mask, Mapping):
        linked = any(b.reads == "state" and b.gate >= 0 for b in blocks)
        whole = _bools("mask", mask, (n_units, n_inputs + n_units * linked))
        parts = {"x": whole[:, :n_inputs], "state": whole[:, n_inputs:]}
        return {b.name: parts[b.reads] for b in blocks if b.is_matrix and b.gate >= 0}
    for name in mask:
        if name not in shapes:
            raise ValueError(f"mask must name matrices among {', '.join(shapes)}, got {name!r}")
    return {name: _bools(f"mask[{name!r}]", value, shapes[name]) for name, value in mask.items()}


def _bools(name: str, value: Any, shape: tuple[int, ...]) -> Array:
    try:
        mask = np.array(value)
    except ValueError as error:
        raise ValueError(f"{name} must be bool{list(shape)}, got rows of different lengths") from error
    if mask.dtype != np.bool_ or mask.shape != shape:
        raise ValueError(f"{name} must be bool{list(shape)}, got {mask.dtype}{list(mask.shape)}")
    return mask


def refuse_deaf_units(masks: Mapping[str, Array], blocks: list[Block], n_units: int) -> None:
    """Refuse a unit with no incoming weight in any gate; one that lacks them in some gates is let be."""
    matrices = [b for b in blocks if b.is_matrix and b.gate >= 0]
    if any(b.name not in masks for b in matrices):
        return
    heard = np.zeros(n_units, bool)
    for b in matrices:
        heard |= masks[b.name].any(axis=1)
    if not heard.all():
        raise ValueError(
            f"mask must leave every unit an incoming weight in some gate, got none for unit "
            f"{int(np.argmin(heard))}; raise density or take another seed"
        )
