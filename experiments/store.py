"""Rows that outlive the run: one SQLite table, one row a (study, parameters, seed)."""

from __future__ import annotations

import functools
import hashlib
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from experiments.study import Cell, Row

DEFAULT_PATH = Path("amper-results.sqlite")
_SCHEMA = """
CREATE TABLE IF NOT EXISTS rows (
    study TEXT NOT NULL,
    parameters TEXT NOT NULL,
    seed INTEGER NOT NULL,
    version TEXT NOT NULL,
    finished TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP,
    result TEXT NOT NULL,
    PRIMARY KEY (study, parameters, seed, version)
)"""


class Store:
    """A file of finished rows. Each row is committed as it arrives, so an interrupted study resumes.

    Parameters
    ----------
    path : path
        Made if absent.
    version : str
        What computes rows now; rows of another version are kept, and not reused.

    Raises
    ------
    ValueError
        If the file exists and is no such store.
    """

    def __init__(self, path: Path | str = DEFAULT_PATH, *, version: str) -> None:
        self.path, self._version = Path(path), version
        try:
            with closing(self._connect()) as connection, connection:
                connection.execute(_SCHEMA)
                connection.execute("SELECT study, parameters, seed, version, finished, result FROM rows LIMIT 1")
        except sqlite3.DatabaseError as error:
            raise ValueError(f"store must be a SQLite file of results, got {str(path)!r}: {error}") from error

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self.path, timeout=30)

    def get(self, study: str, cell: Cell) -> Row | None:
        """Return the row of a cell, None if it was not computed by this version."""
        with closing(self._connect()) as connection:
            found = connection.execute(
                "SELECT result FROM rows WHERE study=? AND parameters=? AND seed=? AND version=?",
                (study, _key(cell), cell.seed, self._version),
            ).fetchone()
        return None if found is None else dict(json.loads(found[0]))

    def put(self, study: str, cell: Cell, row: Row) -> None:
        """Keep the row of a cell."""
        with closing(self._connect()) as connection, connection:
            connection.execute(
                "INSERT OR REPLACE INTO rows (study, parameters, seed, version, result) VALUES (?, ?, ?, ?, ?)",
                (study, _key(cell), cell.seed, self._version, json.dumps(row)),
            )

    def rows(self, study: str | None = None) -> Iterator[dict[str, Any]]:
        """Yield what is kept: study, parameters, seed, version, finished, result; oldest first."""
        with closing(self._connect()) as connection:
            found = connection.execute(
                "SELECT study, parameters, seed, version, finished, result FROM rows "
                "WHERE ? IS NULL OR study=? ORDER BY rowid",
                (study, study),
            ).fetchall()
        for name, parameters, seed, version, finished, result in found:
            yield {
                "study": name,
                "parameters": json.loads(parameters),
                "seed": seed,
                "version": version,
                "finished": finished,
                "result": json.loads(result),
            }


@functools.cache
def code_version() -> str:
    """Return the package's version and a digest of its sources: what a stored row was computed by."""
    import amper

    root = Path(amper.__file__).parent.parent
    digest = hashlib.sha256()
    for package in ("amper", "hwsim", "rl", "experiments"):
        for path in sorted((root / package).rglob("*")):
            if path.suffix in {".py", ".toml"}:
                digest.update(path.read_bytes())
    return f"{amper.__version__}+{digest.hexdigest()[:10]}"


def _key(cell: Cell) -> str:
    return json.dumps(dict(cell.parameters), sort_keys=True)
