"""Technology files: valid by the schema, then whole; nothing is half-loaded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hwsim.checks import one_of
from hwsim.schemas import read_toml, validate
from hwsim.technology import Technology, technologies
from hwsim.technology_numbers import FITTED_FROM, PARTS, ArrayEntry, Cited

#: The arrays that a model of others needs at least.
FEWEST_FITTED = 4
_HEAD = ("title", "kind", "based_on", "array", "geometry", "node_nm", "scaling")


def load(path: Path, name: str, preset: Callable[[str], Technology]) -> Technology:
    """Return what a technology file states.

    Parameters
    ----------
    path, name : Path, str
        Where it lies, and what it is called.
    preset : callable
        Returns the presets that `based_on` may name.

    Raises
    ------
    ValueError
        If it cannot be read or is not valid; the message names file and key.
    """
    document = read_toml("technology", path)
    validate(document, "technology", path)
    kind: str = document["kind"]
    bases = [_base(path, kind, i, base, preset) for i, base in enumerate(document.get("based_on", []))]
    sections: dict[str, dict[str, Cited]] = {}
    for base in bases:
        for section, numbers in base.sections.items():
            sections.setdefault(section, {}).update(numbers)
    for section, entries in document.items():
        if section not in _HEAD:
            own = {key: _cited(path, f"{section}.{key}", entry) for key, entry in entries.items()}
            sections.setdefault(section, {}).update(own)
    return Technology(
        name=name,
        title=document["title"],
        kind=kind,
        sections=sections,
        **_own_or_based(document, path, [base for base in bases if base.kind == kind]),
    )


def _own_or_based(document: Mapping[str, Any], path: Path, bases: Iterable[Technology]) -> dict[str, Any]:
    """Return arrays and their process, as a file of the same kind states them unless this one has arrays."""
    found: dict[str, Any] = {}
    for base in bases:
        found = {key: getattr(base, key) for key in ("arrays", "geometry", "node_nm", "scaling")}
    if "array" in document:
        found = {"arrays": _arrays(path, document["array"])}
    found |= {key: document[key] for key in ("geometry", "node_nm", "scaling") if key in document}
    if found.get("geometry") == "fitted":
        _check_fitted(path, found.get("arrays", ()))
        if "array" in document and path.parent != Path(__file__).parent / "presets":  # a preset's fit is tested once
            _check_model(path, found["arrays"])
    return found


def _check_fitted(path: Path, arrays: Iterable[ArrayEntry]) -> None:
    """Raise ValueError unless a model of arrays can be fitted to these."""
    entries = list(arrays)
    if len(entries) < FEWEST_FITTED:
        raise ValueError(
            f"geometry in {str(path)!r} must be 'listed' with fewer than {FEWEST_FITTED} arrays, got 'fitted' with "
            f"{len(entries)}"
        )
    for index, entry in enumerate(entries):
        for key in FITTED_FROM:
            if key not in entry.numbers or not entry.numbers[key].value > 0:
                got = entry.numbers[key].value if key in entry.numbers else "nothing"
                raise ValueError(f"array[{index}].{key} in {str(path)!r} must be above 0 to be fitted to, got {got!r}")


def _check_model(path: Path, arrays: Sequence[ArrayEntry]) -> None:
    """Raise ValueError unless the arrays determine the model."""
    from hwsim.technology_geometry import model_of, points

    try:
        model_of(points(arrays))
    except ValueError as error:
        raise ValueError(f"array in {str(path)!r} must be arrays that a model can be fitted to: {error}") from error


def _base(path: Path, kind: str, index: int, name: str, preset: Callable[[str], Technology]) -> Technology:
    where = f"based_on[{index}] in {str(path)!r}"
    one_of(where, name, technologies())
    base = preset(name)
    # The blocks around TCAM arrays are CMOS; other kinds share no section.
    if base.kind not in {kind, "cmos" if kind == "tcam" else kind}:
        raise ValueError(f"{where} must name a preset whose sections kind {kind!r} has, got {name!r} of {base.kind!r}")
    return base


def _arrays(path: Path, entries: Iterable[Mapping[str, Any]]) -> tuple[ArrayEntry, ...]:
    arrays: list[ArrayEntry] = []
    for index, entry in enumerate(entries):
        where = f"array[{index}]"
        array = _array(path, where, entry)
        if any((a.words, a.bits) == (array.words, array.bits) for a in arrays):
            raise ValueError(
                f"{where} in {str(path)!r} must have a geometry of its own, got {array.words} x {array.bits} again"
            )
        arrays.append(array)
    return tuple(arrays)


def _array(path: Path, where: str, entry: Mapping[str, Any]) -> ArrayEntry:
    numbers = {key: _cited(path, f"{where}.{key}", value) for key, value in entry.items() if isinstance(value, dict)}
    array = ArrayEntry(
        words=entry["words"],
        bits=entry["bits"],
        narrower_words=entry.get("narrower_words", False),
        numbers=numbers,
    )
    for whole in PARTS:
        if not array.cited()[whole].value > 0:
            raise ValueError(f"{where}.{whole} in {str(path)!r} must be above 0, got 0 as the sum of its parts")
    return array


def _cited(path: Path, key: str, entry: Mapping[str, Any]) -> Cited:
    """Return one number; the schema has checked it alone, not against its interval."""
    value, low, high = float(entry["value"]), entry.get("low"), entry.get("high")
    if low is not None and not low <= value:
        raise ValueError(f"{key}.low in {str(path)!r} must be at most the value, {value:g}, got {low!r}")
    if high is not None and not high >= value:
        raise ValueError(f"{key}.high in {str(path)!r} must be at least the value, {value:g}, got {high!r}")
    source = entry.get("source") or f"assumed: {entry['assumed']}"
    return Cited(
        value, entry["unit"], source, None if low is None else float(low), None if high is None else float(high)
    )
