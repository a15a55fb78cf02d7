"""What a technology is made of: numbers with unit, source and interval, and TCAM arrays of known geometry."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from hwsim import units

#: The parts a search may be stated by, and the number that is then their sum.
PARTS = {
    "search_ns": (
        ("precharge_ns", "row_drive_ns", "match_line_ns", "sense_ns"),
        ("subarray_ns", "interconnect_ns", "peripheral_ns"),
    ),
    "search_pj": (("subarray_pj", "interconnect_pj", "peripheral_pj"),),
}
#: What a model of other geometries is fitted to.
FITTED_FROM = (*PARTS["search_ns"][0], "search_pj", "write_ns", "write_pj", "area_um2", "leakage_uw")


@dataclass(frozen=True, slots=True)
class Cited:
    """A number, its unit, where it came from, and how far off it may be.

    Parameters
    ----------
    value : float
        The number, in `unit`.
    unit : str
        As printed: "ns", "pJ", "um2", ...
    source : str
        Paper and table, tool and run; or `assumed: <why>`.
    low, high : float or None
        Its declared uncertainty, low <= value <= high; both None where none is declared.
    """

    value: float
    unit: str
    source: str
    low: float | None = None
    high: float | None = None

    @property
    def is_assumed(self) -> bool:
        """Whether no source stands behind the number."""
        return self.source.startswith("assumed: ")

    def times(self, factor: float, why: str, low: float | None = None, high: float | None = None) -> Cited:
        """Return the number times a factor, which may have an interval of its own; the source says why.

        Examples
        --------
        >>> Cited(2.0, "ns", "a paper", 1.0, 4.0).times(0.5, "halved", 0.25, 0.5)
        Cited(value=1.0, unit='ns', source='a paper; halved', low=0.25, high=2.0)
        """
        lowest = highest = None
        if low is not None or self.low is not None:
            lowest = (self.value if self.low is None else self.low) * (factor if low is None else low)
            highest = (self.value if self.high is None else self.high) * (factor if high is None else high)
        return Cited(self.value * factor, self.unit, f"{self.source}; {why}", lowest, highest)


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
    parts_ns, parts_pj : mapping
        What `search_ns` and `search_pj` are the sums of, by name (`PARTS`); empty where unknown.
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
    parts_ns: Mapping[str, float] = field(default_factory=dict)
    parts_pj: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrayEntry:
    """One `[[array]]` of a technology file.

    Parameters
    ----------
    words, bits : int
        Its geometry.
    narrower_words : bool
        Whether fewer bits occupy the same array.
    numbers : mapping
        What the file states; a search stated by parts has no `search_ns` (`search_pj`) here.
    """

    words: int
    bits: int
    narrower_words: bool
    numbers: Mapping[str, Cited]

    def holds(self, words: int, bits: int) -> bool:
        """Return whether it answers for a geometry."""
        return self.words == words and (self.bits == bits or (self.narrower_words and 1 <= bits < self.bits))

    def cited(self) -> dict[str, Cited]:
        """Return every number, sums of parts before their parts."""
        result = {}
        for whole in PARTS:
            parts = self.parts(whole)
            if parts:
                result[whole] = _sum(parts)
        return {**result, **self.numbers}

    def parts(self, whole: str) -> dict[str, Cited]:
        """Return what `search_ns` or `search_pj` is the sum of; nothing where the file states the sum itself."""
        for names in PARTS[whole]:
            if all(name in self.numbers for name in names):
                return {name: self.numbers[name] for name in names}
        return {}

    def array(self, words: int, bits: int) -> ArrayNumbers:
        """Return the numbers of the array, as one of `bits` columns."""
        values = {key: cited.value for key, cited in self.numbers.items()}
        parts = {whole: {name: values[name] for name in self.parts(whole)} for whole in PARTS}
        values |= {whole: exact_sum(summands.values()) for whole, summands in parts.items() if summands}
        return ArrayNumbers(
            words=words,
            bits=bits,
            masked_bits=self.bits - bits,
            search_ns=values["search_ns"],
            search_pj=values["search_pj"],
            write_ns=values["write_ns"],
            write_pj=values["write_pj"],
            area_um2=values["area_um2"],
            leakage_uw=values.get("leakage_uw"),
            parts_ns=parts["search_ns"],
            parts_pj=parts["search_pj"],
        )


def exact_sum(values: Iterable[float]) -> float:
    """Return a sum of nanoseconds or picojoules, formed in whole femtoseconds or attojoules.

    Examples
    --------
    >>> exact_sum([4.2, 0.277, 1.467]), sum([4.2, 0.277, 1.467])
    (5.944, 5.944000000000001)
    """
    return math.fsum(units.fs_from_ns(value) for value in values) / units.FS_PER_NS


def _sum(parts: Mapping[str, Cited]) -> Cited:
    numbers = list(parts.values())
    sources = list(dict.fromkeys(cited.source.removeprefix("assumed: ") for cited in numbers))
    # What all parts say of themselves, and not which part each is.
    shared = [text for text in sources[0].split("; ") if all(text in other.split("; ") for other in sources)]
    names = " + ".join(name.rpartition("_")[0] for name in parts)
    low = high = None
    if any(cited.low is not None for cited in numbers):
        low = exact_sum(cited.value if cited.low is None else cited.low for cited in numbers)
        high = exact_sum(cited.value if cited.high is None else cited.high for cited in numbers)
    assumed = any(cited.is_assumed for cited in numbers)
    source = f"{'assumed: ' if assumed else ''}sum of {names}: {'; '.join(shared or sources)}"
    return Cited(exact_sum(cited.value for cited in numbers), numbers[0].unit, source, low, high)
