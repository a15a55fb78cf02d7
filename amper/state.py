"""Nested state dictionaries as flat arrays and one JSON object, for files without pickles."""

from __future__ import annotations

from collections.abc import Mapping
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
