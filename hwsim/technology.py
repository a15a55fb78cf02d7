"""Technologies: presets in `presets/*.toml`, and user files of the same form; every number has a source.

A file holds a `title`, a `kind`, and sections of numbers `{ value, unit, source | assumed, low?, high? }` that are
known by kind (`presets/technology.schema.json`); for TCAMs also a list of `[[array]]` geometries. `based_on =
["cmos45"]` takes over what another preset states; what the file itself states wins.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

from hwsim.checks import one_of, positive
from hwsim.schemas import did_you_mean
from hwsim.technology_numbers import PARTS, ArrayEntry, ArrayNumbers, Cited

__all__ = ["ArrayNumbers", "Cited", "Technology", "technologies", "technology"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Technology:
    """What one technology file states.

    Parameters
    ----------
    name : str
        Preset name, or the path of a user's file.
    title, kind : str
        What it describes; "tcam", "cmos", "dram", "gpu", "cpu" or "published".
    sections : mapping
        Numbers by section, then key; those of `based_on` included.
    arrays : tuple of ArrayEntry
        TCAM arrays, by geometry.
    geometry : {"listed", "fitted"}
        Whether only the arrays' own geometries are answered for, or others by a model fitted to them.
    node_nm : float or None
        Process of the arrays, or of the digital blocks of kind "cmos".
    scaling : str or None
        The law of `hwsim.scaling` by which `at_node` leaves that process.
    stated : tuple of ArrayEntry
        The arrays as the file states them, where they were scaled since: what the model is fitted to.
    """

    name: str
    title: str
    kind: str
    sections: Mapping[str, Mapping[str, Cited]]
    arrays: tuple[ArrayEntry, ...] = field(default=())
    geometry: str = "listed"
    node_nm: float | None = None
    scaling: str | None = None
    stated: tuple[ArrayEntry, ...] = field(default=(), repr=False)

    def __str__(self) -> str:
        return self.name

    def __hash__(self) -> int:
        return hash((self.name, self.title, self.kind))  # mappings have no hash

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
            If the file does not list that geometry and has no model of others, or the model does not reach it.

        Examples
        --------
        >>> evacam = technology("evacam-fefet45")
        >>> evacam.array(words=64, bits=32).search_ns, evacam.array(words=128, bits=24).search_ns
        (0.1962, 0.197565)
        """
        for entry in self.arrays:
            if entry.holds(words, bits):
                return entry.array(words, bits)
        if not self.arrays:
            raise ValueError(f"technology must have TCAM arrays ([[array]]), got {self.name!r}")
        return self._fitted(words, bits) if self.geometry == "fitted" else self._unlisted(words, bits)

    def _fitted(self, words: int, bits: int) -> ArrayNumbers:
        from hwsim.technology_geometry import fitted_array

        try:
            return fitted_array(self.stated or self.arrays, self.arrays, words, bits)
        except ValueError as error:
            raise ValueError(f"array of {self.name!r}: {error}") from error

    def _unlisted(self, words: int, bits: int) -> ArrayNumbers:
        raise ValueError(
            f"words x bits must be a geometry of {self.name!r}, got {words!r} x {bits!r}; "
            f"known: {', '.join(self._known_geometries())}"
        )

    def _known_geometries(self) -> Iterator[str]:
        for entry in self.arrays:
            yield f"{entry.words} x {entry.bits}" + (" or fewer bits" if entry.narrower_words else "")

    def cited(self) -> dict[str, Cited]:
        """Return every number by its key, arrays first: `array 64x32.search_ns`, `encoder.delay_ns`."""
        result = {
            f"array {entry.words}x{entry.bits}.{key}": cited
            for entry in self.arrays
            for key, cited in entry.cited().items()
        }
        for section, numbers in self.sections.items():
            result |= {f"{section}.{key}": cited for key, cited in numbers.items()}
        return result

    def rows(self) -> list[tuple[str, float, str, str]]:
        """Return every number as (key, value, unit, source), in the order of `cited`."""
        return [(key, cited.value, cited.unit, cited.source) for key, cited in self.cited().items()]

    def uncertainty(self, words: int = 64, bits: int = 32) -> dict[str, tuple[float, float]]:
        """Return (low, high) over the value of every number that declares an interval, by its key for `scaled`.

        Parameters
        ----------
        words, bits : int
            The array whose numbers are meant, or the listed one nearest to it; a search stated by parts is uncertain
            part by part.

        Examples
        --------
        >>> technology("camasim-fefet45").uncertainty(64, 16)["wire.delay_ps_per_mm"]
        (0.625, 1.5)
        """
        from hwsim.technology_geometry import nearest

        entry = next((entry for entry in self.arrays if entry.holds(words, bits)), nearest(self.arrays, words, bits))
        numbers = {f"array.{key}": cited for key, cited in entry.numbers.items()} if entry else {}
        for section, known in self.sections.items():
            numbers |= {f"{section}.{key}": cited for key, cited in known.items()}
        return {
            key: (cited.low / cited.value, cited.high / cited.value)
            for key, cited in numbers.items()
            if cited.low is not None and cited.high is not None and cited.low < cited.high
        }

    def scaled(self, factors: Mapping[str, float]) -> Technology:
        """Return the same technology with some of its numbers multiplied.

        Parameters
        ----------
        factors : mapping
            Factor by key: "wire.delay_ps_per_mm", or "array.search_ns" for the arrays of every geometry. A search
            stated by parts is scaled part by part; a part may be named itself. Intervals are scaled along.

        Raises
        ------
        ValueError
            If no number has that key, or a factor is not finite and above 0.

        Examples
        --------
        >>> slower = technology("camasim-fefet45").scaled({"array.search_ns": 2, "wire.delay_ps_per_mm": 0.5})
        >>> slower.array(64, 16).search_ns, slower.number("wire.delay_ps_per_mm"), slower.name
        (8.484, 40.0, 'camasim-fefet45, scaled')
        """
        if not factors:
            return self
        checked = {key: positive(f"factor of {key!r}", factor) for key, factor in factors.items()}
        known = list(self._keys())
        for key in checked:
            if key not in known:
                raise ValueError(f"key must be a number of {self.name!r}, got {key!r}{did_you_mean(key, known)}")
        sections = {
            section: {key: _times(cited, checked.get(f"{section}.{key}")) for key, cited in numbers.items()}
            for section, numbers in self.sections.items()
        }
        arrays = tuple(_times_entry(entry, checked) for entry in self.arrays)
        name = self.name if self.name.endswith(", scaled") else f"{self.name}, scaled"
        return dataclasses.replace(self, name=name, sections=sections, arrays=arrays, stated=self.stated or self.arrays)

    def _keys(self) -> Iterator[str]:
        """Yield the keys that `scaled` takes."""
        yield from dict.fromkeys(f"array.{key}" for entry in self.arrays for key in entry.cited())
        for section, numbers in self.sections.items():
            yield from (f"{section}.{key}" for key in numbers)

    def at_node(self, node_nm: float) -> Technology:
        """Return the technology in another process, by the law of `hwsim.scaling` that its file names.

        Arrays of a TCAM are scaled and what surrounds them stays in its own process; of kind "cmos" every block is.

        Raises
        ------
        ValueError
            If the file states no process or no law, or the law does not reach that process.

        Examples
        --------
        >>> smaller = technology("evacam-fefet45").at_node(22)
        >>> round(smaller.array(64, 64).search_ns, 4), smaller.name
        (0.211, 'evacam-fefet45 at 22 nm')
        """
        from hwsim.technology_nodes import at_node

        return at_node(self, node_nm)


def _times(cited: Cited, factor: float | None) -> Cited:
    return cited if factor in (None, 1.0) else cited.times(float(factor or 1.0), f"times {factor:g}")


def _times_entry(entry: ArrayEntry, factors: Mapping[str, float]) -> ArrayEntry:
    whole_of = {part: whole for whole in PARTS for part in entry.parts(whole)}
    numbers = {}
    for key, cited in entry.numbers.items():
        factor = factors.get(f"array.{key}", 1.0) * factors.get(f"array.{whole_of.get(key, '')}", 1.0)
        numbers[key] = _times(cited, factor)
    return dataclasses.replace(entry, numbers=numbers)


def technologies() -> list[str]:
    """Return the names of the presets, in alphabetical order."""
    folder = resources.files("hwsim") / "presets"
    return sorted(p.name.removesuffix(".toml") for p in folder.iterdir() if p.name.endswith(".toml"))


def technology(name_or_path: str | Path | Technology) -> Technology:
    """Return a preset by name, or a user's TOML file by path; a technology is returned as it is.

    Parameters
    ----------
    name_or_path : str, Path or Technology
        One of `technologies()`, or a path; a string counts as a path if it ends in ".toml".

    Raises
    ------
    TypeError
        If it is none of these.
    ValueError
        If the name is unknown (the known ones are listed), or the file cannot be read or is not valid (the
        message names file and key).
    """
    from hwsim.technology_files import load

    if isinstance(name_or_path, Technology):
        return name_or_path
    if isinstance(name_or_path, Path) or (isinstance(name_or_path, str) and name_or_path.endswith(".toml")):
        return load(Path(name_or_path), str(name_or_path), _preset)
    if not isinstance(name_or_path, str):
        raise TypeError(f"technology must be a name or a path, got {name_or_path!r}")
    known = technologies()
    one_of("technology", name_or_path, known, "or give the path of a .toml file")
    return _preset(name_or_path)


@functools.cache
def _preset(name: str) -> Technology:
    from hwsim.technology_files import load

    with resources.as_file(resources.files("hwsim") / "presets" / f"{name}.toml") as path:
        return load(path, name, _preset)
