"""States on disk: nested dicts and lists of arrays, numbers and strings, exact to the bit, without pickle."""

from __future__ import annotations

import json
import os
from typing import Any

import numpy as np

from amper.protocols import Array

_TREE = "tree"


def save(path: str | os.PathLike[str], state: dict[str, Any]) -> None:
    """Write a `state_dict()` to `path`: a NumPy archive of its arrays, and the rest as JSON within it.

    The file takes the place of an older one only when it is complete.
    """
    arrays: list[Array] = []
    tree = json.dumps(_without_arrays(state, arrays))
    beside = f"{os.fspath(path)}.{os.getpid()}.part"
    try:
        with open(beside, "wb") as file:
            named = {f"array{i}": values for i, values in enumerate(arrays)}
            np.savez(file, **{_TREE: np.frombuffer(tree.encode(), np.uint8)}, **named)  # type: ignore[arg-type]
        os.replace(beside, path)
    finally:
        if os.path.exists(beside):
            os.remove(beside)


def load(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return what `save` wrote.

    Raises
    ------
    ValueError
        If the file is not one of `save`.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            state: dict[str, Any] = _with_arrays(json.loads(archive[_TREE].tobytes()), archive)
    except OSError:
        raise
    except Exception as error:
        raise ValueError(f"path must name a file that save wrote, got {os.fspath(path)!r}; {error}") from error
    return state


def _without_arrays(value: Any, arrays: list[Array]) -> Any:
    """Return `value` with every array replaced by its place in `arrays`, where it is put."""
    if isinstance(value, np.ndarray):
        arrays.append(value)
        return {"array": len(arrays) - 1}
    if isinstance(value, dict):
        return {"dict": {name: _without_arrays(entry, arrays) for name, entry in value.items()}}
    if isinstance(value, list):
        return [_without_arrays(entry, arrays) for entry in value]
    return value


def _with_arrays(value: Any, archive: Any) -> Any:
    if isinstance(value, dict) and "array" in value:
        return archive[f"array{value['array']}"]
    if isinstance(value, dict):
        return {name: _with_arrays(entry, archive) for name, entry in value["dict"].items()}
    if isinstance(value, list):
        return [_with_arrays(entry, archive) for entry in value]
    return value
