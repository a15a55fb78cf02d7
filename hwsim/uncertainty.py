"""How uncertain the numbers of technologies are, as factors that can be drawn: one draw serves every machine.

A number that states `low` and `high` is log-normal on either side of its value, with 95% of the draws between the
two: a factor is (high / value) ** (z / 1.96) for a standard normal z above 0, (low / value) ** (-z / 1.96) below;
where `low` is 0 it falls linearly instead. Two technologies that state the same section share its numbers, and so
their draws; numbers of arrays are each technology's own. Numbers that one cause makes uncertain are drawn together
(`_JOINT`): independent draws would cancel out, or turn a law fitted through three of them around.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hwsim.checks import whole
from hwsim.technology import Technology

Float64 = npt.NDArray[np.float64]
#: Standard deviations of a normal between its median and its 97.5% point.
_Z = 1.959964
#: Assumptions that stand for many numbers: by section, and the unit that their keys end in.
_BLOCKS = (
    "urng", "lfsr_step", "query_generator", "encoder", "population_count", "adder_tree_node", "compare_tree_node",
    "rank_select", "arbiter", "burst_encoder", "draw_unit", "routing_node", "adder",
)  # fmt: skip
_JOINT: Mapping[tuple[str, str], str] = {
    **{(section, "ns"): "delay of all digital blocks" for section in _BLOCKS},
    **{(section, "um2"): "area of all digital blocks" for section in _BLOCKS},
    **{(section, "pj"): "energy of all digital blocks" for section in _BLOCKS},
    ("sram", "pj"): "energy of an SRAM access",
}
#: No number is drawn below this share of its value.
_LEAST = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class Assumption:
    """A number whose interval is declared.

    Parameters
    ----------
    name : str
        Key of the number, that of an array's with the technology's name before it; or what stands for many numbers.
    low, high : float
        Ends of the interval over the value: 95% of the draws lie between them.
    value : float or None
        In `unit`; None where the name stands for many numbers, or the array is none that is listed.
    unit, source : str
        As stated.
    """

    name: str
    low: float
    high: float
    value: float | None = None
    unit: str = ""
    source: str = ""

    def __post_init__(self) -> None:
        if not 0 <= self.low <= 1 <= self.high < math.inf:
            raise ValueError(f"interval of {self.name!r} must hold its value, got {self.low!r} .. {self.high!r} of it")

    def factor(self, z: float) -> float:
        """Return the factor of a standard normal number.

        Examples
        --------
        >>> t_op = Assumption(name="model.t_op_us", low=0.5, high=2.0)
        >>> t_op.factor(0.0), round(t_op.factor(1.959964), 6), round(t_op.factor(-1.959964), 6)
        (1.0, 2.0, 0.5)
        """
        if z >= 0:
            return math.exp(z / _Z * math.log(self.high))
        drawn = math.exp(-z / _Z * math.log(self.low)) if self.low > 0 else 1 + z / _Z
        return max(drawn, _LEAST)

    @property
    def ends(self) -> tuple[float, float]:
        """Factors at both ends of the interval."""
        return max(self.low, _LEAST), self.high


def assumptions(technologies: Iterable[Technology], words: int = 64, bits: int = 16) -> list[Assumption]:
    """Return every number with a declared interval once, in order of appearance.

    Parameters
    ----------
    technologies : iterable of Technology
    words, bits : int
        The arrays that are meant.

    Raises
    ------
    ValueError
        If two technologies state different intervals under one name.
    """
    found: dict[str, Assumption] = {}
    for tech in technologies:
        stated = tech.cited()
        for key, (low, high) in tech.uncertainty(words, bits).items():
            cited, name = stated.get(key.replace("array.", f"array {words}x{bits}.")), _name(tech, key)
            number: dict[str, Any] = {"source": "many numbers"}
            if cited is not None and name.endswith(key):
                number = {"value": cited.value, "unit": cited.unit, "source": cited.source}
            # Stated ends are rounded: those of numbers drawn together agree to three digits.
            new = Assumption(name=name, low=float(f"{low:.3g}"), high=float(f"{high:.3g}"), **number)
            if found.setdefault(name, new) != new:
                raise ValueError(
                    f"{name} must be stated alike by all numbers of that name, got {low:g} .. {high:g} times {key!r} "
                    f"in {tech.name!r}, {found[name].low:g} .. {found[name].high:g} before"
                )
    return list(found.values())


def draw(n_assumptions: int, n_draws: int, seed: int) -> Float64:
    """Return standard normal numbers, float64[n_draws, n_assumptions], a Latin hypercube.

    Each column covers its distribution evenly, so that few draws give steady percentiles.

    Examples
    --------
    >>> z = draw(3, 64, seed=0)
    >>> z.shape, bool(abs(z.mean()) < 0.02), bool(abs(z.std() - 1) < 0.05)
    ((64, 3), True, True)
    """
    from scipy.special import ndtri
    from scipy.stats import qmc

    whole("n_draws", n_draws, 1)
    if not n_assumptions:
        return np.zeros((n_draws, 0))
    uniforms = qmc.LatinHypercube(n_assumptions, rng=np.random.default_rng(seed)).random(n_draws)
    return np.asarray(ndtri(uniforms), np.float64)


def drawn(tech: Technology, known: Sequence[Assumption], z: Float64) -> Technology:
    """Return the technology with its uncertain numbers drawn; `z` float64[len(known)]."""
    return tech.scaled(_mine(tech, {a.name: a.factor(float(value)) for a, value in zip(known, z, strict=True)}))


def at_end(tech: Technology, assumption: Assumption, end: int) -> Technology:
    """Return the technology with one number at the low (0) or the high end (1) of its interval."""
    return tech.scaled(_mine(tech, {assumption.name: assumption.ends[end]}))


def _mine(tech: Technology, factors: Mapping[str, float]) -> dict[str, float]:
    """Return the factors of the numbers that the technology states, by its own keys."""
    # Of an array's numbers, any listed array may be the one that declares the interval.
    own = {key for entry in tech.arrays for key in tech.uncertainty(entry.words, entry.bits)} or tech.uncertainty()
    return {key: factors[_name(tech, key)] for key in own if _name(tech, key) in factors}


def _name(tech: Technology, key: str) -> str:
    section, _, name = key.partition(".")
    if section == "array":
        return f"{tech.name} {key}"
    return _JOINT.get((section, name.rpartition("_")[2]), key)
