"""Technology numbers, each with its source: presets in `presets/*.toml`, and user files of the same form.

A file holds a `title`, a `kind`, sections of numbers `{ value, unit, source | assumed }`, and for TCAMs a
list of `[[array]]` geometries; a CPU's sections are the sizes that were measured, `[n10000]`. `based_on = ["cmos45"]`
takes over the sections of another preset; a section or key of the file itself wins. A number whose key ends in a unit
(`_ns`, `_pj`, ...) must state it.
"""

from __future__ import annotations

import functools
import math
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from hwsim.checks import one_of

_UNIT_OF_SUFFIX = {
    "ns": "ns",
    "us": "us",
    "pj": "pJ",
    "um2": "um2",
    "uw": "uW",
    "pw": "pW",
    "nw": "nW/um2",
    "ghz": "GHz",
    "bytes": "B",
    "cycles": "cycles",
    "mm": "ps/mm",
    "efficiency": "1",
}
_KINDS = ("tcam", "cmos", "dram", "gpu", "cpu")
_ARRAY_REQUIRED = ("search_ns", "search_pj", "write_ns", "write_pj", "area_um2")
_ARRAY_KEYS = (*_ARRAY_REQUIRED, "leakage_uw")


@dataclass(frozen=True, slots=True)
class Cited:
    """A number, its unit, and where it came from.

    Parameters
    ----------
    value : float
        The number, in `unit`.
    unit : str
        As printed: "ns", "pJ", "um2", ...
    source : str
        Paper and table, tool and run; or `assumed: <why>`.
    """

    value: float
    unit: str
    source: str

    @property
    def is_assumed(self) -> bool:
        """Whether no source stands behind the number."""
        return self.source.startswith("assumed: ")


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrayNumbers:
    """One TCAM array of a known geometry.

    Parameters
    ----------
    words, bits : int
        Geometry asked for; the table's own may be wider (`masked_bits` columns are then don't-care).
    masked_bits : int
        Columns that take part in no search.
    search_ns, search_pj : float
        One search of the whole array.
    write_ns, write_pj : float
        One row written.
    area_um2 : float
        Cells and periphery.
    leakage_uw : float or None
        None where unknown.
    """

    words: int
    bits: int
    masked_bits: int
    search_ns: float
    search_pj: float
    write_ns: float
    write_pj: float
    area_um2: float
    leakage_uw: float | None


@dataclass(frozen=True, slots=True)
class _Geometry:
    words: int
    bits: int
    narrower_words: bool
    numbers: Mapping[str, Cited]


@dataclass(frozen=True, slots=True, kw_only=True)
class Technology:
    """What one technology file states.

    Parameters
    ----------
    name : str
        Preset name, or the path of a user's file.
    title, kind : str
        What it describes; "tcam", "cmos", "dram", "gpu" or "cpu".
    sections : mapping
        Numbers by section, then key; those of `based_on` included.
    """

    name: str
    title: str
    kind: str
    sections: Mapping[str, Mapping[str, Cited]]
    geometries: tuple[_Geometry, ...] = field(default=())

    def number(self, key: str) -> float:
        """Return the value of `section.key`.

        Raises
        ------
        ValueError
            If the file has no such number; the message names both.
        """
        section, _, name = key.partition(".")
        try:
            return self.sections[section][name].value
        except KeyError:
            raise ValueError(f"technology must state {key!r}, got none in {self.name!r}") from None

    def array(self, words: int = 64, bits: int = 32) -> ArrayNumbers:
        """Return the array of `words` rows of `bits` ternary cells.

        Raises
        ------
        ValueError
            If the file does not list that geometry; nothing is interpolated.

        Examples
        --------
        >>> technology("evacam-fefet45").array(words=64, bits=32).search_ns
        0.1962
        """
        for g in self.geometries:
            if g.words == words and (g.bits == bits or (g.narrower_words and 1 <= bits < g.bits)):
                numbers = {key: g.numbers[key].value for key in _ARRAY_REQUIRED}
                leakage = g.numbers.get("leakage_uw")
                return ArrayNumbers(
                    words=words,
                    bits=bits,
                    masked_bits=g.bits - bits,
                    leakage_uw=None if leakage is None else leakage.value,
                    **numbers,
                )
        if not self.geometries:
            raise ValueError(f"technology must have TCAM arrays ([[array]]), got {self.name!r}")
        raise ValueError(
            f"words x bits must be a geometry of {self.name!r}, got {words!r} x {bits!r}; "
            f"known: {', '.join(self._known_geometries())}"
        )

    def _known_geometries(self) -> Iterator[str]:
        for g in self.geometries:
            yield f"{g.words} x {g.bits}" + (" or fewer bits" if g.narrower_words else "")

    def rows(self) -> list[tuple[str, float, str, str]]:
        """Return every number as (key, value, unit, source), arrays first: what `amper tech NAME` prints."""
        result = []
        for g in self.geometries:
            for key, cited in g.numbers.items():
                result.append((f"array {g.words}x{g.bits}.{key}", cited.value, cited.unit, cited.source))
        for section, numbers in self.sections.items():
            for key, cited in numbers.items():
                result.append((f"{section}.{key}", cited.value, cited.unit, cited.source))
        return result


def technologies() -> list[str]:
    """Return the names of the presets, in alphabetical order."""
    folder = resources.files("hwsim") / "presets"
    return sorted(p.name.removesuffix(".toml") for p in folder.iterdir() if p.name.endswith(".toml"))


def technology(name_or_path: str | Path) -> Technology:
    """Return a preset by name, or a user's TOML file by path.

    Parameters
    ----------
    name_or_path : str or Path
        One of `technologies()`, or a path; a string counts as a path if it ends in ".toml".

    Raises
    ------
    TypeError
        If it is neither a string nor a path.
    ValueError
        If the name is unknown (the known ones are listed), or the file cannot be read or is not valid (the
        message names file and key).
    """
    if isinstance(name_or_path, Path) or (isinstance(name_or_path, str) and name_or_path.endswith(".toml")):
        return _load(Path(name_or_path), str(name_or_path))
    if not isinstance(name_or_path, str):
        raise TypeError(f"technology must be a name or a path, got {name_or_path!r}")
    one_of("technology", name_or_path, technologies(), "or give the path of a .toml file")
    return _preset(name_or_path)


@functools.cache
def _preset(name: str) -> Technology:
    with resources.as_file(resources.files("hwsim") / "presets" / f"{name}.toml") as path:
        return _load(path, name)


def _load(path: Path, name: str) -> Technology:
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ValueError(f"technology must name a readable TOML file, got {str(path)!r}: {error}") from error
    title = _text(path, document, "title")
    kind = one_of(f"kind in {str(path)!r}", document.pop("kind", None), _KINDS)
    sections: dict[str, dict[str, Cited]] = {}
    based_on = document.pop("based_on", [])
    if not isinstance(based_on, list):
        raise ValueError(f"based_on in {str(path)!r} must be a list of preset names, got {based_on!r}")
    for base in based_on:
        one_of(f"based_on in {str(path)!r}", base, technologies())
        for section, numbers in _preset(base).sections.items():
            sections.setdefault(section, {}).update(numbers)
    arrays = document.pop("array", [])
    if not isinstance(arrays, list):
        raise ValueError(f"array in {str(path)!r} must be a list of tables ([[array]]), got {arrays!r}")
    geometries = tuple(_geometry(path, i, entry) for i, entry in enumerate(arrays))
    for section, numbers in document.items():
        if not isinstance(numbers, dict):
            raise ValueError(f"{section} in {str(path)!r} must be a section of numbers, got {numbers!r}")
        own = {key: _cited(path, f"{section}.{key}", entry) for key, entry in numbers.items()}
        sections.setdefault(section, {}).update(own)
    return Technology(name=name, title=title, kind=kind, sections=sections, geometries=geometries)


def _text(path: Path, document: dict[str, Any], key: str) -> str:
    value = document.pop(key, None)
    if not isinstance(value, str) or not value:
        raise ValueError(f"{key} in {str(path)!r} must be a text, got {value!r}")
    return value


def _geometry(path: Path, index: int, entry: Any) -> _Geometry:
    where = f"array[{index}]"
    if not isinstance(entry, dict):
        raise ValueError(f"{where} in {str(path)!r} must be a table, got {entry!r}")
    sizes = []
    for key in ("words", "bits"):
        value = entry.get(key)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"{where}.{key} in {str(path)!r} must be a whole number of at least 1, got {value!r}")
        sizes.append(value)
    narrower = entry.get("narrower_words", False)
    if not isinstance(narrower, bool):
        raise ValueError(f"{where}.narrower_words in {str(path)!r} must be true or false, got {narrower!r}")
    for key in entry:
        one_of(
            f"{where}.{key} in {str(path)!r}: its name",
            key,
            ("words", "bits", "narrower_words", *_ARRAY_KEYS),
        )
    for key in _ARRAY_REQUIRED:
        if key not in entry:
            raise ValueError(f"{where}.{key} in {str(path)!r} must be given, got nothing")
    numbers = {key: _cited(path, f"{where}.{key}", entry[key]) for key in _ARRAY_KEYS if key in entry}
    for key in _ARRAY_REQUIRED:
        if not numbers[key].value > 0:
            raise ValueError(f"{where}.{key} in {str(path)!r} must be above 0, got {numbers[key].value!r}")
    return _Geometry(words=sizes[0], bits=sizes[1], narrower_words=narrower, numbers=numbers)


def _cited(path: Path, key: str, entry: Any) -> Cited:
    """Return one number of the file, or raise naming file and key."""
    form = "a table { value, unit, source | assumed }"
    if not isinstance(entry, dict) or not {"value", "unit"} <= entry.keys():
        raise ValueError(f"{key} in {str(path)!r} must be {form}, got {entry!r}")
    value, unit = entry["value"], entry["unit"]
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        raise ValueError(f"{key} in {str(path)!r} must have a finite value of at least 0, got {value!r}")
    if not isinstance(unit, str) or not unit:
        raise ValueError(f"{key} in {str(path)!r} must have a unit, got {unit!r}")
    expected = _UNIT_OF_SUFFIX.get(key.rpartition("_")[2])
    if expected is not None and unit != expected:
        raise ValueError(f"{key} in {str(path)!r} must be in {expected!r}, as its name says, got {unit!r}")
    reasons = {k: v for k, v in entry.items() if k in ("source", "assumed")}
    if len(reasons) != 1 or len(entry) != 3 or not all(isinstance(v, str) and v for v in reasons.values()):
        raise ValueError(f"{key} in {str(path)!r} must have either a source or a reason assumed, got {entry!r}")
    source = reasons.get("source") or f"assumed: {reasons['assumed']}"
    return Cited(value=float(value), unit=unit, source=source)
