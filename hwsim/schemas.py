"""TOML files against the shipped JSON Schemas: read whole or refused by file, key, rule and value.

A schema may word the rule of a keyword itself, in `x-rules`: {"oneOf": "have either a source or a reason assumed"}.
"""

from __future__ import annotations

import difflib
import functools
import json
import math
import re
import tomllib
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

_KINDS = {
    "number": "a finite number",
    "integer": "a whole number",
    "string": "a text",
    "object": "a table",
    "array": "a list",
    "boolean": "true or false",
}


def read_toml(parameter: str, path: Path) -> dict[str, Any]:
    """Return what a TOML file holds.

    Raises
    ------
    ValueError
        If it cannot be read, or is no TOML: the message names the file, and the line of a syntax error.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:  # ValueError: bytes, syntax, integers of 5,000 digits
        raise ValueError(f"{parameter} must name a readable TOML file, got {str(path)!r}: {error}") from error


@functools.cache
def schema(name: str) -> Mapping[str, Any]:
    """Return the shipped schema `presets/<name>.schema.json`."""
    text = (resources.files("hwsim") / "presets" / f"{name}.schema.json").read_text(encoding="utf-8")
    document: dict[str, Any] = json.loads(text)
    return document


def validate(document: Mapping[str, Any], name: str, path: Path) -> None:
    """Do nothing if a document is valid by the schema of that name.

    Raises
    ------
    ValueError
        If it is not; the message names file and key, the rule and the value, and a name that is close.
    """
    errors = list(_validator(name).iter_errors(document))
    if errors:
        # A name misspelt is also a name missing: the former says what to do.
        raise ValueError(_message(min(errors, key=lambda e: e.validator != "additionalProperties"), path))


@functools.cache
def _validator(name: str) -> Any:
    from jsonschema import Draft202012Validator, validators

    # TOML tells 64 from 64.0, and knows nan and inf.
    types = Draft202012Validator.TYPE_CHECKER.redefine_many({"integer": _is_whole, "number": _is_finite})
    return validators.extend(Draft202012Validator, type_checker=types)(schema(name))


def _is_whole(_: Any, value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_finite(_: Any, value: Any) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and abs(value) < math.inf  # unlike math.isfinite, also of integers beyond every float


def dotted(keys: Iterable[str | int]) -> str:
    """Return a key's path as it is printed.

    Examples
    --------
    >>> dotted(["array", 0, "search_ns", "value"])
    'array[0].search_ns.value'
    """
    return re.sub(r"\.(\[\d+\])", r"\1", ".".join(f"[{key}]" if isinstance(key, int) else key for key in keys))


def _message(error: Any, path: Path) -> str:
    """Return what is wrong, in the words of this project."""
    keys, rule, value, advice = list(error.absolute_path), "", repr(error.instance), ""
    ours = error.schema.get("x-rules", {})
    match error.validator:
        case "additionalProperties":
            found, known = _unknown(error)
            keys, rule, value = [*keys, found], f"be one of {', '.join(map(repr, known))}", repr(found)
            advice = did_you_mean(found, known)
        case "required":
            missing = next(name for name in error.validator_value if name not in error.instance)
            keys, rule, value = [*keys, missing], "be given", "nothing"
        case "type":
            rule = f"be {_KINDS[error.validator_value]}"
        case "const":
            rule = f"be {error.validator_value!r}"
        case "enum":
            rule = f"be one of {', '.join(map(repr, error.validator_value))}"
            advice = did_you_mean(error.instance, error.validator_value)
        case "minimum":
            rule = f"be at least {error.validator_value}"
        case "exclusiveMinimum":
            rule = f"be above {error.validator_value}"
        case "maximum":
            rule = f"be at most {error.validator_value}"
        case "minLength" | "minItems" | "minProperties":
            rule = "not be empty"
        case "multipleOf":
            rule = f"be a multiple of {error.validator_value}"
        case _:
            value = ", ".join(map(repr, error.instance)) if isinstance(error.instance, dict) else value
    rule = ours.get(error.validator, rule) or f"be valid by the schema's {error.validator!r}"
    where = f"{dotted(keys)} in {str(path)!r}" if keys else repr(str(path))
    return f"{where} must {rule}, got {value}{advice}"


def _unknown(error: Any) -> tuple[str, list[str]]:
    """Return the first name that a table must not have, and those it may have."""
    patterns = list(error.schema.get("patternProperties", ()))
    known = [*error.schema.get("properties", ()), *patterns]
    found = next(n for n in error.instance if n not in known and not any(re.search(p, n) for p in patterns))
    return found, known


def did_you_mean(name: object, known: Iterable[object]) -> str:
    """Return advice that names the closest known name, or nothing where none is close.

    Examples
    --------
    >>> did_you_mean("wirte_ns", ["search_ns", "write_ns"])
    "; did you mean 'write_ns'?"
    >>> did_you_mean("speed", ["search_ns", "write_ns"])
    ''
    """
    close = difflib.get_close_matches(str(name), [str(k) for k in known], n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
