"""A TCAM array of any geometry from a handful that a tool was run for: `fit`, and what `fit` gets wrong, `splits`.

The shapes come from the circuit (`hwsim.array_terms`), the 19 coefficients from the points: non-negative least squares
of relative errors, each quantity by itself, so that a small array counts as much as a large one.

The splits test the coefficients, not all of the shapes: from 64 to 256 words a straight line describes EvaCAM's row
drive as well (.65% at worst, as here), yet gives 278 ps at 512 words where the circuit's wire makes it 362. Beyond the
points, the model is as good as its reading of the published formulas, and below 9 bits, where the tool drops a gate
from the search lines' drivers, no point tests it at all.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
from scipy.optimize import nnls

from hwsim.array_terms import QUANTITIES, Circuit, Quantity
from hwsim.checks import store_positive, store_whole, whole

_LATENCIES = ("precharge_ns", "row_drive_ns", "match_line_ns", "sense_ns")
_FEWEST = 4
#: How far beyond the points the model may be asked, as factors. Words: the parts that grow fastest, the search line's
#: wire and the drivers, have their shape from the circuit and not from the points. Bits upwards: a match line's delay
#: is known from few widths, and its quadratic part doubles its share with every doubling.
_BELOW, _WORDS_ABOVE, _BITS_ABOVE = 4, 4, 2
#: A chain for fewer words has no inverter by the tool's rule, and the tool's own numbers are undefined there.
_FEWEST_WORDS = 8
#: assumed: twice the worst error of a split of EvaCAM's six points (7.5%). Predecoders grow in steps, too, with the
#: number of address bits, and no shape here says where.
LEAKAGE_MARGIN = 0.15
#: What a fit must keep to, as fractions: each part of the latency, their sum, energy, area.
LIMITS: Mapping[str, float] = MappingProxyType(
    {**dict.fromkeys(_LATENCIES, 0.03), "search_ns": 0.01, "search_pj": 0.02, "area_um2": 0.06}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrayPoint:
    """One array of `words` rows of `bits` cells: what a tool says, or what the model says.

    Parameters
    ----------
    words, bits : int
        Geometry.
    precharge_ns, row_drive_ns, match_line_ns, sense_ns : float
        Parts of the latency of a search, one after the other.
    search_pj : float
        One search of the whole array.
    write_ns, write_pj : float
        One row written.
    area_um2, leakage_uw : float
        Cells and periphery.
    """

    words: int
    bits: int
    precharge_ns: float
    row_drive_ns: float
    match_line_ns: float
    sense_ns: float
    search_pj: float
    write_ns: float
    write_pj: float
    area_um2: float
    leakage_uw: float

    def __post_init__(self) -> None:
        store_whole(self, "words", "bits")
        for item in fields(self)[2:]:
            store_positive(self, item.name)

    @property
    def search_ns(self) -> float:
        """Latency of a search: the sum of its four parts."""
        return self.precharge_ns + self.row_drive_ns + self.match_line_ns + self.sense_ns


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrayModel:
    """What `fit` found: every quantity of an array from its geometry.

    Parameters
    ----------
    coefficients : mapping of str to tuple of float
        For each quantity, in the order of its terms in `hwsim.array_terms.QUANTITIES`.
    words, bits : tuple of int
        Smallest and largest that `at` accepts.
    circuit : Circuit
        The ratios used.
    """

    coefficients: Mapping[str, tuple[float, ...]]
    words: tuple[int, int]
    bits: tuple[int, int]
    circuit: Circuit

    def at(self, words: int, bits: int) -> ArrayPoint:
        """Return the modelled array of `words` rows of `bits` cells.

        Raises
        ------
        ValueError
            If words or bits lie outside the range of validity.
        """
        for name, value, (low, high) in (("words", words, self.words), ("bits", bits, self.bits)):
            if not low <= whole(name, value, 1) <= high:
                raise ValueError(f"{name} must lie between {low} and {high}, where the fit holds, got {value!r}")
        return self._anywhere(words, bits)

    def _anywhere(self, words: int, bits: int) -> ArrayPoint:
        found: dict[str, float] = {}
        for name, quantity in QUANTITIES.items():
            found[name] = _value(quantity, self.coefficients[name], words, bits, self.circuit, found)
        return ArrayPoint(words=words, bits=bits, **found)

    def errors(self, point: ArrayPoint) -> dict[str, float]:
        """Return model over `point`, less 1, of each quantity and of `search_ns`, in or out of the range."""
        modelled = self._anywhere(point.words, point.bits)
        return {name: getattr(modelled, name) / getattr(point, name) - 1 for name in ("search_ns", *QUANTITIES)}

    def leakage_interval(self, words: int, bits: int) -> tuple[float, float]:
        """Return between which powers, in uW, the leakage is expected: the modelled one less and plus the margin."""
        leakage = self.at(words, bits).leakage_uw
        return leakage * (1 - LEAKAGE_MARGIN), leakage * (1 + LEAKAGE_MARGIN)

    def terms(self) -> dict[str, tuple[float, str]]:
        """Return each coefficient and its unit by `quantity.term`, for printing."""
        return {
            f"{name}.{term}": (value, unit)
            for name, quantity in QUANTITIES.items()
            for (term, unit, _), value in zip(quantity.terms, self.coefficients[name], strict=True)
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOut:
    """A point that a split left out, and how far the fit of the others misses it.

    Parameters
    ----------
    split : int
        Which split, from 0.
    words, bits : int
        The point.
    errors : mapping of str to float
        Model over tool, less 1, of each quantity and of `search_ns`.
    """

    split: int
    words: int
    bits: int
    errors: Mapping[str, float]


def fit(points: Sequence[ArrayPoint], circuit: Circuit | None = None) -> ArrayModel:
    """Return the model whose relative errors at `points` are smallest, quantity by quantity.

    Parameters
    ----------
    points : sequence of ArrayPoint
        At least four, of different geometries, with at least two words and two bits among them.
    circuit : Circuit, optional
        Ratios of the technology; EvaCAM's 2FeFET TCAM at 45 nm if absent.

    Raises
    ------
    ValueError
        If the points are too few, repeat a geometry, or leave a coefficient undetermined.
    """
    circuit = Circuit() if circuit is None else circuit
    geometries = _geometries(points)
    coefficients: dict[str, tuple[float, ...]] = {}
    found: list[dict[str, float]] = [{} for _ in points]
    for name, quantity in QUANTITIES.items():
        coefficients[name] = _coefficients(name, quantity, points, circuit, found)
        for (words, bits), values in zip(geometries, found, strict=True):
            values[name] = _value(quantity, coefficients[name], words, bits, circuit, values)
    all_words, all_bits = zip(*geometries, strict=True)
    return ArrayModel(
        coefficients=MappingProxyType(coefficients),
        words=(max(_FEWEST_WORDS, min(all_words) // _BELOW), max(all_words) * _WORDS_ABOVE),
        bits=(max(1, min(all_bits) // _BELOW), max(all_bits) * _BITS_ABOVE),
        circuit=circuit,
    )


def splits(points: Sequence[ArrayPoint], circuit: Circuit | None = None) -> list[HeldOut]:
    """Return, for every pair of points, how far the model fitted on the others misses the two: two rows a pair.

    Raises
    ------
    ValueError
        If fewer than four points remain, or do not determine a coefficient.
    """
    if len(points) < _FEWEST + 2:
        raise ValueError(f"points must be at least {_FEWEST + 2}, as each split leaves out two, got {len(points)}")
    rows = []
    for split, pair in enumerate(itertools.combinations(points, 2)):
        model = fit([p for p in points if p not in pair], circuit)
        for point in pair:
            rows.append(HeldOut(split=split, words=point.words, bits=point.bits, errors=model.errors(point)))
    return rows


def _geometries(points: Sequence[ArrayPoint]) -> list[tuple[int, int]]:
    geometries = [(p.words, p.bits) for p in points]
    if len(points) < _FEWEST:
        raise ValueError(f"points must be at least {_FEWEST}, got {len(points)}")
    if len(set(geometries)) < len(points):
        raise ValueError(f"points must have different geometries, got {geometries!r}")
    if min(geometries)[0] < _FEWEST_WORDS:
        raise ValueError(f"points must have at least {_FEWEST_WORDS} words, got {geometries!r}")
    return geometries


def _value(
    quantity: Quantity, coefficients: Sequence[float], words: int, bits: int, c: Circuit, found: Mapping[str, float]
) -> float:
    value = 0.0 if quantity.known is None else quantity.known(words, bits, c, found)
    for k, (_, _, shape) in zip(coefficients, quantity.terms, strict=True):
        value += k * shape(words, bits, c)
    return value**0.5 if quantity.squared else value


def _coefficients(
    name: str, quantity: Quantity, points: Sequence[ArrayPoint], c: Circuit, found: Sequence[Mapping[str, float]]
) -> tuple[float, ...]:
    target: npt.NDArray[np.float64] = np.array([getattr(p, name) for p in points])
    if quantity.squared:
        target = target**2
    known = np.zeros(len(points))
    if quantity.known is not None:
        known = np.array([quantity.known(p.words, p.bits, c, f) for p, f in zip(points, found, strict=True)])
    shapes = np.array([[shape(p.words, p.bits, c) for _, _, shape in quantity.terms] for p in points])
    scaled = shapes / target[:, None]
    size = np.linalg.norm(scaled, axis=0)
    if np.linalg.matrix_rank(scaled / size, tol=1e-3) < len(size):
        raise ValueError(
            f"points must determine {name}'s {len(size)} coefficients, got {[(p.words, p.bits) for p in points]!r}; "
            "add one of other words and bits"
        )
    # Columns of like size, for the solver's tolerance; a coefficient below 0 has no meaning here.
    solution, _ = nnls(scaled / size, (target - known) / target)
    return tuple(float(k) for k in solution / size)
