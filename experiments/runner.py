"""Runs the cells of a study in local processes, keeping every row as it finishes."""

from __future__ import annotations

import importlib
import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait

from experiments.store import Store
from experiments.study import Cell, Parameters, Row, Study

Progress = Callable[[int, int], None]


def run(
    study: Study,
    cells: Sequence[Cell],
    *,
    store: Store | None = None,
    n_workers: int = 1,
    progress: Progress | None = None,
) -> list[Row]:
    """Return the rows of `cells`, in order; those in `store` are not computed again.

    Parameters
    ----------
    n_workers : int
        Processes; 1 runs in this one.
    progress : callable, optional
        Called with (rows finished, rows in all).

    Raises
    ------
    ValueError
        If `n_workers` < 1.
    """
    if n_workers < 1:
        raise ValueError(f"workers must be at least 1, got {n_workers!r}")
    rows: dict[int, Row] = {}

    def keep(i: int, row: Row, *, is_new: bool) -> None:
        rows[i] = row
        if is_new and store is not None:
            store.put(study.name, cells[i], row)
        if progress is not None:
            progress(len(rows), len(cells))

    missing = []
    for i, cell in enumerate(cells):
        found = store.get(study.name, cell) if store is not None else None
        if found is None:
            missing.append(i)
        else:
            keep(i, found, is_new=False)
    if n_workers == 1 or len(missing) < 2:
        for i in missing:
            keep(i, study.run(cells[i].parameters, cells[i].seed), is_new=True)
    else:
        _in_processes(study, cells, missing, n_workers, keep)
    return [rows[i] for i in range(len(cells))]


def _in_processes(
    study: Study, cells: Sequence[Cell], missing: Sequence[int], n_workers: int, keep: Callable[..., None]
) -> None:
    # Spawned, not forked: a fork would inherit the threads of BLAS in an unknown state.
    context = multiprocessing.get_context("spawn")
    module = study.run.__module__
    with ProcessPoolExecutor(min(n_workers, len(missing)), mp_context=context) as pool:
        pending = {
            pool.submit(_run_cell, module, dict(cells[i].parameters), cells[i].seed): i for i in missing
        }
        try:
            while pending:
                done, _ = wait(pending, return_when=FIRST_COMPLETED)
                for future in done:
                    keep(pending.pop(future), future.result(), is_new=True)
        except BaseException:
            for future in pending:
                future.cancel()
            raise


def _run_cell(module: str, parameters: Parameters, seed: int) -> Row:
    study: Study = importlib.import_module(module).STUDY
    return study.run(parameters, seed)
