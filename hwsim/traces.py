"""Traces without an agent: synthetic ones, and those of ops that a file lists."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from amper.trace import Trace
from hwsim import checks
from hwsim.workload import Workload

_HEADER = ["op", "size"]
_KINDS = ("insert", "update", "sample")


def synthetic_trace(
    n_rows: int,
    batch_size: int = 64,
    csp_fraction: float = 0.15,
    n_ops: int = 10,
    seed: int = 0,
    sampler: str = "amper-fr",
    clustering: float = 0.0,
    unique: bool = False,
    n_inserts: int = 0,
) -> Trace:
    """Return a trace of one insert of `n_rows` rows, then `n_ops` times a sampling, its update, and inserts.

    Parameters
    ----------
    n_rows : int
        Rows, all valid, with 16-bit codes of masses uniform in [0, 1].
    batch_size : int
        Draws of a sampling.
    csp_fraction : float
        Expected size of the candidate set over `n_rows`, 0 to 1; with `unique`, before slots found twice are counted
        once. The radius law's lambda' equals it for these masses; AMPER-k's lambda is twice it.
    n_ops : int
        Samplings.
    seed : int
        Of the codes, the searches and the draws.
    sampler : {"amper-fr", "amper-k"}
        Whose searches are recorded: 20 linear groups of [0, 2^16), one masked search each (AMPER-fr), or one
        count and N_i best matches each (AMPER-k).
    clustering : float
        Chance, 0 to 1, that a slot holds the code that follows its predecessor's in ascending order: runs of
        neighbouring slots, 1 / (1 - clustering) long in the mean, hold neighbouring codes and are found together. With
        0 slots are independent, with 1 codes ascend with the slots; the codes are the same ones in every case.
    unique : bool
        Draw from the union of the groups' matches: a slot found twice stands in the candidate set once, `n_csp` is
        the size of the union, and draws name no group.
    n_inserts : int
        Inserts of one row after every update, over the oldest slots in turn; a row has the code its slot held.

    Returns
    -------
    Trace
        Each update lets the drawn slots exchange their codes, so that every `n_matches` is exact. It takes them out of
        their runs, so that clusters wear down: slowly where few of the rows are drawn, `n_ops` * `batch_size` at most.

    Raises
    ------
    TypeError, ValueError
        If a parameter is out of range.

    Examples
    --------
    >>> synthetic_trace(1_000, batch_size=8, csp_fraction=0.1, n_ops=2, seed=1)
    Trace(amper-fr, n_rows=1000, inserts=1, updates=2, samplings=2)
    """
    batch_size, n_ops = checks.whole("batch_size", batch_size, 1), checks.whole("n_ops", n_ops, 0)
    n_inserts = checks.whole("n_inserts", n_inserts, 0)
    workload = Workload(n_rows, csp_fraction, seed, sampler, clustering, unique)
    workload.insert(n_rows)
    for _ in range(n_ops):
        workload.update(np.unique(workload.sample(batch_size)))
        for _ in range(n_inserts):
            workload.insert(1)
    return workload.trace


def load_csv(
    path: str | os.PathLike[str],
    n_rows: int,
    csp_fraction: float = 0.15,
    seed: int = 0,
    sampler: str = "amper-fr",
    clustering: float = 0.0,
    unique: bool = False,
) -> Trace:
    r"""Return a trace of the ops that a CSV file lists, on the synthetic priorities of `hwsim.synthetic_trace`.

    The first line is `op,size`; every other one has `insert`, `update` or `sample` and a whole number from 1: rows
    inserted, priorities written, draws of the sampling. Inserts fill the slots in turn and then overwrite the oldest;
    an update writes to the slots that the last sampling drew, in that order and from the first of them again where its
    size is larger (before any sampling, to the slots filled). Kinds and sizes are all that a sum tree's cost depends
    on; the searches of an associative memory also depend on priorities, which a file of ops does not have.

    Parameters
    ----------
    path : path
        The file, UTF-8.
    n_rows : int
        Slots; a sampling searches those filled by then.
    csp_fraction, seed, sampler, clustering, unique
        As in `hwsim.synthetic_trace`.

    Returns
    -------
    Trace
        Every `n_matches` is exact: updates let slots exchange their codes, and inserts keep the one the slot held.

    Raises
    ------
    ValueError
        If the file breaks a rule; the message names file and line. Or if a parameter is out of range.
    TypeError
        If a parameter is of another type.
    OSError
        If the file cannot be read.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "ops.csv")
    ...     n = path.write_text("op,size\ninsert,1000\nsample,32\nupdate,32\n")
    ...     load_csv(path, n_rows=2_000)
    Trace(amper-fr, n_rows=2000, inserts=1, updates=1, samplings=1)
    """
    workload = Workload(n_rows, csp_fraction, seed, sampler, clustering, unique, source="ops of a CSV file")
    drawn = np.zeros(0, np.int64)
    for place, kind, size in _ops(Path(path)):
        if kind == "insert":
            if size > n_rows:
                raise ValueError(f"{place}: size of an insert must be at most n_rows, {n_rows}, got {size}")
            workload.insert(size)
            continue
        if not workload.n_stored:
            raise ValueError(f"{place}: op must be 'insert' before anything is stored, got {kind!r}")
        if kind == "sample":
            drawn = workload.sample(size)
        else:
            workload.update(np.resize(drawn if len(drawn) else np.arange(workload.n_stored), size))
    return workload.trace


def _ops(path: Path) -> Iterator[tuple[str, str, int]]:
    """Yield (file and line, kind, size) of every line that is not empty."""
    try:
        # The reader counts lines itself: a quoted field may run over several.
        reader = csv.reader(io.StringIO(path.read_text(encoding="utf-8-sig"), newline=""))
        lines = [([field.strip() for field in fields], reader.line_num) for fields in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"path must name a CSV file in UTF-8, got {str(path)!r}: {error}") from error
    header = lines[0][0] if lines else []
    if header != _HEADER:
        raise ValueError(f"{path}, line 1: header must be 'op,size', got {','.join(header)!r}")
    for values, number in lines[1:]:
        place = f"{path}, line {number}"
        if not any(values):
            continue
        if len(values) != len(_HEADER):
            raise ValueError(f"{place}: line must have two fields, op and size, got {','.join(values)!r}")
        kind, size = values
        if kind not in _KINDS:
            raise ValueError(f"{place}: op must be one of 'insert', 'update', 'sample', got {kind!r}")
        is_number = size.isascii() and size.isdigit() and len(size) <= len(str(checks.LARGEST))
        if not (is_number and 1 <= int(size) <= checks.LARGEST):
            raise ValueError(f"{place}: size must be a whole number from 1 to {checks.LARGEST}, got {size!r}")
        yield place, kind, int(size)
