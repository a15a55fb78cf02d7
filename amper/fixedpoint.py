"""How a mass becomes an unsigned fixed-point code."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from amper._kernels.fixedpoint import encode_masses
from amper.protocols import Float64, Int64

FullScale = float | Literal["auto"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PriorityFormat:
    """Width and full scale of the codes a replay stores.

    Parameters
    ----------
    bits : int
        Width W, 4..32. Codes are 1 .. 2**W - 1: a valid entry is never 0.
    full_scale : float or "auto"
        Mass that maps to 2**W - 1. "auto" starts at 1.0 and doubles whenever a mass exceeds it, halving
        every stored code; a number is fixed, and larger masses saturate.

    Raises
    ------
    ValueError
        If `bits` or `full_scale` is out of range.
    """

    bits: int = 16
    full_scale: FullScale = "auto"

    def __post_init__(self) -> None:
        if isinstance(self.bits, bool) or not isinstance(self.bits, int | np.integer) or not 4 <= self.bits <= 32:
            raise ValueError(f"bits must be a whole number in 4..32, got {self.bits!r}")
        if self.full_scale == "auto":
            return
        if (
            isinstance(self.full_scale, bool | str)
            or not isinstance(self.full_scale, int | float | np.number)
            or not 0 < self.full_scale < math.inf
        ):
            raise ValueError(f"full_scale must be 'auto' or a positive finite number, got {self.full_scale!r}")

    @property
    def top(self) -> int:
        """Largest code."""
        return (1 << self.bits) - 1

    @property
    def is_fixed(self) -> bool:
        """Whether larger masses saturate instead of doubling the scale."""
        return self.full_scale != "auto"

    @property
    def start(self) -> float:
        """Scale before any mass was seen."""
        return 1.0 if self.full_scale == "auto" else float(self.full_scale)

    def doublings(self, scale: float, mass: float) -> int:
        """Return how often `scale` must double to hold `mass`; 0 where the scale is fixed."""
        if self.is_fixed or mass <= scale:
            return 0
        # frexp: a = f * 2**e with 1/2 <= f < 1, so an exact power of two has one in e too many.
        fraction, exponent = math.frexp(mass / scale)
        return exponent - 1 if fraction == 0.5 else exponent

    def encode(self, masses: Float64, scale: float) -> tuple[Int64, int]:
        """Return the codes of `masses` at `scale`, rounded half up, and how many saturated."""
        codes = np.empty(len(masses), np.int64)
        saturated = encode_masses(masses, scale, self.top, codes)
        return codes, int(saturated)


def halve(codes: Int64, times: int) -> Int64:
    """Return codes halved `times` times, rounded once (half up), at least 1.

    Examples
    --------
    >>> halve(np.array([1, 2, 5, 8]), 1)
    array([1, 1, 3, 4])
    """
    if times > 32:  # nothing is left of 32 bits
        return np.ones_like(codes)
    return np.maximum((codes + (1 << (times - 1))) >> times, 1) if times else codes


def convert(codes: Int64, from_bits: int, to_bits: int) -> Int64:
    """Return codes of one width in another: the same fraction of full scale, rounded half up, at least 1.

    Examples
    --------
    >>> convert(np.array([1, 2**31, 2**32 - 1]), 32, 16)
    array([    1, 32768, 65535])
    """
    if from_bits == to_bits:
        return codes
    old, new = (1 << from_bits) - 1, (1 << to_bits) - 1
    # 32-bit codes times 2**16 stay below 2**48; the reverse below 2**48 too; 32 to 31 bits below 2**63.
    return np.maximum((codes * new + old // 2) // old, 1)
