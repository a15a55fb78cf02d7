"""Runs the cells of a study in local processes, keeping every row as it finishes."""

from __future__ import annotations

import importlib
import multiprocessing
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait

from experiments.store import Store
from experiments.study import Cell, Parameters, Row, Stage, Study, no_stage


def run(
    study: Study,
    cells: Sequence[Cell],
    *,
    store: Store | None = None,
    n_workers: int = 1,
    fresh: bool = False,
    stage: Stage = no_stage,
) -> list[Row]:
    """Return the rows of `cells`, in order; those in `store` are not computed again.

    Parameters
    ----------
    n_workers : int
        Processes; 1 runs in this one.
    fresh : bool
        Compute them again all the same.
    stage : callable, optional
        Hears of rows finished; of a lone row, what it is doing.

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
        stage(study.name, len(rows), len(cells))

    missing = []
    for i, cell in enumerate(cells):
        found = None if store is None or fresh else store.get(study.name, cell)
        if found is None:
            missing.append(i)
        else:
            keep(i, found, is_new=False)
    if n_workers == 1 or len(missing) < 2:
        for i in missing:
            inner = stage if len(cells) == 1 else no_stage
            keep(i, study.run(cells[i].parameters, cells[i].seed, inner), is_new=True)
    else:
        _in_processes(study, cells, missing, n_workers, keep)
    return [rows[i] for i in range(len(cells))]


def _in_processes(
    study: Study, cells: Sequence[Cell], missing: Sequence[int], n_workers: int, keep: Callable[..., None]
) -> None:
    # Spawned, not forked: a fork would inherit the threads of BLAS in an unknown state.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(n_workers, len(missing)), mp_context=context, initializer=_leave_interrupts)
    module = study.run.__module__
    try:
        pending = {pool.submit(_run_cell, module, dict(cells[i].parameters), cells[i].seed): i for i in missing}
        while pending:
            done, _ = wait(pending, return_when=FIRST_COMPLETED)
            for future in sorted(done, key=lambda f: f.exception() is not None):  # what succeeded is kept first
                keep(pending.pop(future), future.result(), is_new=True)
    except BaseException:
        # Rows under way are given up at once: an hour's row would hold up the prompt for an hour.
        workers = list((pool._processes or {}).values())
        pool.shutdown(wait=False, cancel_futures=True)
        for worker in workers:
            worker.terminate()
        raise
    pool.shutdown()


def _leave_interrupts() -> None:
    """Let the parent alone answer Ctrl-C: it ends its workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _run_cell(module: str, parameters: Parameters, seed: int) -> Row:
    study: Study = importlib.import_module(module).STUDY
    return study.run(parameters, seed, no_stage)
