"""From one process to another: named pure functions, each citing its paper, each a factor with an interval.

Between the processes a law states it is interpolated, log over log; beyond them nothing is.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from hwsim.checks import one_of, positive

__all__ = [
    "LAWS",
    "Factor",
    "evacam_64x64",
    "feature_area",
    "osu180_nangate45",
    "stillmaker_baas",
    "stillmaker_baas_area",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Factor:
    """What a number is multiplied by, and where that came from.

    Parameters
    ----------
    value, low, high : float
        low <= value <= high.
    source : str
        Paper and table, tool and run.
    """

    value: float
    low: float
    high: float
    source: str


#: 180 nm, 1.8 V over 45 nm, 1.1 V: high performance, low power.
_STILLMAKER_180_45 = {"delay": (5.8, 1.8), "area": (19.0, 19.0), "energy": (25.0, 22.0)}
#: The same blocks in two cell libraries: least and largest ratio.
_LIBRARIES_180_45 = {"delay": (2.8, 3.8), "area": (18.0, 38.0), "energy": (14.0, 19.0)}
#: Area over that at 45 nm, by process.
_STILLMAKER_AREA = {130: 6.4, 90: 2.8, 65: 1.5, 45: 1.0, 32: 0.46, 20: 0.21}
_EVACAM_64X64 = {
    "delay": {90: 640.0, 45: 313.8, 32: 261.0, 22: 211.0},
    "energy": {90: 6.50, 45: 2.24, 32: 1.34, 22: 0.88},
}


def stillmaker_baas(quantity: str, from_nm: float, to_nm: float) -> Factor:
    """Return the factor of digital CMOS between 180 nm at 1.8 V and 45 nm at 1.1 V.

    Parameters
    ----------
    quantity : {"delay", "area", "energy"}
        What is scaled.
    from_nm, to_nm : float
        180 and 45 in either order, or the same process twice.

    Notes
    -----
    A. Stillmaker, B. Baas, Scaling equations for the accurate prediction of CMOS device performance from 180 nm to
    7 nm, Integration 58, 2017: high performance and low power are the interval, their geometric mean the value.

    Examples
    --------
    >>> stillmaker_baas("energy", 180, 45).low, round(stillmaker_baas("delay", 180, 45).value, 3)
    (0.04, 0.309)
    """
    source = "Stillmaker, Baas, Integration 58, 2017: 180 nm 1.8 V and 45 nm 1.1 V, high performance and low power"
    return _two_processes(_STILLMAKER_180_45, quantity, from_nm, to_nm, source)


def osu180_nangate45(quantity: str, from_nm: float, to_nm: float) -> Factor:
    """Return the factor between two cell libraries, measured on the blocks of the presets cmos180 and cmos45.

    Examples
    --------
    >>> factor = osu180_nangate45("delay", 45, 180)
    >>> factor.low, factor.high
    (2.8, 3.8)
    """
    source = "measured: the blocks of presets cmos180 and cmos45, OSU 180 nm and Nangate 45 nm cell libraries"
    return _two_processes(_LIBRARIES_180_45, quantity, from_nm, to_nm, source)


def stillmaker_baas_area(from_nm: float, to_nm: float) -> Factor:
    """Return the factor of an area between 130 and 20 nm.

    Notes
    -----
    A. Stillmaker, B. Baas, Integration 58, 2017, table of area factors, stated to two digits.

    Examples
    --------
    >>> stillmaker_baas_area(45, 32).value
    0.46
    """
    return _interpolated(_STILLMAKER_AREA, from_nm, to_nm, "Stillmaker, Baas, Integration 58, 2017, area")


def feature_area(from_nm: float, to_nm: float) -> Factor:
    """Return the factor of a cell of as many squares of the feature size; at worst its area shrinks with the size.

    Notes
    -----
    R. Dennard et al., Design of ion-implanted MOSFETs with very small physical dimensions, IEEE JSSC 9(5), 1974.

    Examples
    --------
    >>> factor = feature_area(90, 45)
    >>> factor.low, factor.value, factor.high
    (0.25, 0.25, 0.5)
    """
    ratio = positive("to_nm", to_nm) / positive("from_nm", from_nm)
    ends = sorted((ratio, ratio**2))
    return Factor(value=ratio**2, low=ends[0], high=ends[1], source="square of the feature size (Dennard, JSSC 1974)")


def evacam_64x64(quantity: str, from_nm: float, to_nm: float) -> Factor:
    """Return the factor of one exact search of a 2FeFET TCAM array, 22 to 90 nm.

    Parameters
    ----------
    quantity : {"delay", "energy"}
        What is scaled.
    from_nm, to_nm : float
        From 22 to 90. Stated: 90, 45, 32 and 22 nm; between them the neighbours are the interval.

    Notes
    -----
    Measured with the public EvaCAM release, 64 x 64 cells; other geometries are taken to scale alike.

    Examples
    --------
    >>> factor = evacam_64x64("delay", 45, 28)
    >>> round(factor.low, 3), round(factor.value, 3), round(factor.high, 3)
    (0.672, 0.771, 0.832)
    """
    table = _EVACAM_64X64[one_of("quantity", quantity, _EVACAM_64X64)]
    return _interpolated(table, from_nm, to_nm, f"EvaCAM, public release, 2FeFET 64 x 64 by process, search {quantity}")


#: Laws that a technology file may name.
LAWS: Mapping[str, Callable[[str, float, float], Factor]] = {
    "evacam_64x64": evacam_64x64,
    "stillmaker_baas": stillmaker_baas,
}


def _two_processes(
    ratios: Mapping[str, tuple[float, float]], quantity: str, from_nm: float, to_nm: float, source: str
) -> Factor:
    """Return a factor of a law that knows 180 and 45 nm alone."""
    ends = ratios[one_of("quantity", quantity, ratios)]
    for name, node in (("from_nm", from_nm), ("to_nm", to_nm)):
        if positive(name, node) not in (180, 45):
            raise ValueError(f"{name} must be 180 or 45, got {node!r}; nothing is interpolated between the two")
    power = 0 if from_nm == to_nm else 1 if to_nm == 180 else -1
    low, high = sorted(ratio**power for ratio in ends)
    return Factor(value=math.sqrt(ends[0] * ends[1]) ** power, low=low, high=high, source=source)


def _interpolated(table: Mapping[int, float], from_nm: float, to_nm: float, source: str) -> Factor:
    (top, top_low, top_high) = _at(table, "to_nm", to_nm)
    (bottom, bottom_low, bottom_high) = _at(table, "from_nm", from_nm)
    if from_nm == to_nm:
        return Factor(value=1.0, low=1.0, high=1.0, source=source)
    return Factor(value=top / bottom, low=top_low / bottom_high, high=top_high / bottom_low, source=source)


def _at(table: Mapping[int, float], name: str, node_nm: float) -> tuple[float, float, float]:
    """Return the value at a process, and those of its stated neighbours; a stated one is its own."""
    nodes, node = sorted(table), positive(name, node_nm)
    if not nodes[0] <= node <= nodes[-1]:
        raise ValueError(
            f"{name} must lie between {nodes[0]} and {nodes[-1]}, got {node_nm!r}; nothing is extrapolated"
        )
    if node in table:
        return (table[int(node)],) * 3
    for a, b in itertools.pairwise(nodes):
        if a < node < b:
            part = math.log(node / a) / math.log(b / a)
            value = math.exp((1 - part) * math.log(table[a]) + part * math.log(table[b]))
            return value, table[a], table[b]
    raise AssertionError(f"{node} lies between no two of {nodes}")
