"""State as files without pickles: nested dictionaries as flat arrays and one JSON header, in one .npz."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from amper.protocols import Array

_SEPARATOR = "/"


def flatten(nested: Mapping[str, Any], prefix: str = "") -> tuple[dict[str, Any], dict[str, Array]]:
    """Return (JSON-serialisable values, nested as they were; arrays by path).

    Examples
    --------
    >>> flatten({"a": {"b": np.arange(2), "n": 3}})
    ({'a': {'n': 3}}, {'a/b': array([0, 1])})
    """
    values: dict[str, Any] = {}
    arrays: dict[str, Array] = {}
    for key, value in nested.items():
        if isinstance(value, np.ndarray):
            arrays[prefix + key] = value
        elif isinstance(value, Mapping):
            values[key], inner = flatten(value, prefix + key + _SEPARATOR)
            arrays.update(inner)
        else:
            values[key] = value
    return values, arrays


def unflatten(values: Mapping[str, Any], arrays: Mapping[str, Array]) -> dict[str, Any]:
    """Return the nested dictionary that `flatten` took apart."""
    nested: dict[str, Any] = {k: unflatten(v, {}) if isinstance(v, Mapping) else v for k, v in values.items()}
    for path, array in arrays.items():
        *parents, name = path.split(_SEPARATOR)
        place = nested
        for parent in parents:
            place = place.setdefault(parent, {})
        place[name] = array
    return nested


def write_npz(path: Path, header: str, arrays: dict[str, Array], *, compressed: bool = True) -> None:
    """Write arrays and a JSON header to `path` atomically, without pickles.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist.
    """
    if not path.parent.is_dir():
        raise FileNotFoundError(f"path must lie in an existing folder, got {str(path)!r}")
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as file:
            write = np.savez_compressed if compressed else np.savez
            write(file, header=np.frombuffer(header.encode(), np.uint8), **arrays)  # type: ignore[arg-type]
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            shutil.copymode(path, temporary)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def read_npz(path: Path, what: str, version: int, kind: str | None = None) -> tuple[dict[str, Any], dict[str, Array]]:
    """Read what `write_npz` wrote, with `kind` in its header; ValueError names `what` the file must be."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as content:
            arrays = {name: content[name] for name in content.files}
        header = json.loads(arrays.pop("header").tobytes().decode())
        found, found_kind = header["version"], header.get("kind")
    except (FileNotFoundError, MemoryError):
        raise
    except Exception as error:  # a damaged archive raises whatever its decoders raise
        reason = f"{type(error).__name__} while reading"
        raise ValueError(f"path must name {what}, got {str(path)!r}: {reason}") from error
    if found_kind != kind:
        raise ValueError(f"path must name {what}, got {str(path)!r}: kind {found_kind!r}")
    if found.__class__ is not int or found < 1:
        raise ValueError(f"path must name {what}, got {str(path)!r}: version {found!r}")
    if found > version:
        raise ValueError(f"path must name {what} of version <= {version}, got version {found}; upgrade this package")
    return header, arrays
