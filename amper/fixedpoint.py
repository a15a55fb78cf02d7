"""How a mass becomes an unsigned fixed-point code."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from amper._kernels.update import encode
from amper.protocols import Float64, Int64, UpdateKernel, UpdateResult

FullScale = float | Literal["auto"]
LARGEST_MASS = 2.0**1023  # what a full scale, a power of two, can still hold


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
            or not 0 < self.full_scale <= LARGEST_MASS
        ):
            raise ValueError(
                f"full_scale must be 'auto' or a positive finite number of at most 2**1023, got {self.full_scale!r}"
            )

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

    def encode(self, priorities: Float64, alpha: float, scale: float) -> tuple[Int64, int]:
        """Return the codes of the masses priorities ** alpha at `scale`, rounded half up, and how many saturated.

        Masses are right to one part in 10**13, alike on every machine.
        """
        codes = np.empty(len(priorities), np.int64)
        saturated = encode(priorities, alpha, scale, self.top, codes)
        return codes, int(saturated)


class PriorityEncoder:
    """Turns priorities into codes, and keeps what that depends on: the full scale, the largest priority seen.

    Parameters
    ----------
    format : PriorityFormat
        Of the codes.
    alpha, eps : float
        mass = (abs(TD error) + eps) ** alpha.

    Attributes
    ----------
    scale : float
        Mass of the largest code.
    largest : float
        Largest priority seen, eps included; negative before any.
    n_saturated, n_rescales : int
        Codes cut at a fixed scale; doublings of an automatic one.
    """

    def __init__(self, format: PriorityFormat, alpha: float, eps: float) -> None:
        self.format, self.alpha, self.eps = format, alpha, eps
        self._is_fixed, self._top = format.is_fixed, format.top
        self.scale, self.largest = format.start, -1.0
        self.n_saturated = self.n_rescales = 0
        self._written = np.empty((2, 256), np.int64)
        self._default_of = (-1.0, 0.0, 0.0)  # largest priority, scale and alpha that `_default` was encoded from
        self._default, self._default_saturates = np.zeros(1, np.int64), 0

    def defaults(self, k: int) -> Int64:
        """Return the codes of k new transitions without priorities: the largest seen, 1.0 before any. Read only."""
        if self._default_of != (self.largest, self.scale, self.alpha):
            self._encode_default()
        self.n_saturated += k * self._default_saturates
        return self._default if k == 1 else np.repeat(self._default, k)

    @property
    def default(self) -> int:
        """The code of new transitions without priorities, as `defaults`, but counted nowhere."""
        if self._default_of != (self.largest, self.scale, self.alpha):
            self._encode_default()
        return int(self._default[0])

    def _encode_default(self) -> None:
        priority = np.array([self.largest if self.largest >= 0 else 1.0])
        self._default, self._default_saturates = self.format.encode(priority, self.alpha, self.scale)
        self._default_of = (self.largest, self.scale, self.alpha)

    def encode(self, priorities: Float64) -> Int64:
        """Return the codes of new priorities, eps included, that the scale holds (see `doublings`)."""
        self.largest = max(self.largest, float(priorities.max()))
        codes, saturated = self.format.encode(priorities, self.alpha, self.scale)
        self.n_saturated += saturated
        return codes

    def update(
        self, ids: Int64, priorities: Float64, n_issued: int, capacity: int, kernel: UpdateKernel
    ) -> UpdateResult:
        """Let `kernel` check an update and write it; return what `_kernels.update.check` does."""
        if len(ids) > self._written.shape[1]:
            self._written = np.empty((2, 2 * len(ids)), np.int64)
        result = kernel(
            ids, priorities, n_issued, capacity, self.eps, self.alpha, self.scale,
            self._is_fixed, self._top, self._written,
        )  # fmt: skip
        if result[2]:
            self.largest = max(self.largest, float(result[3]))
            self.n_saturated += int(result[5])
        return result

    def written(self, b: int, n_live: int) -> tuple[Int64, Int64]:
        """Return the slots and codes of the last update, of b ids and n_live live ones; until the next one."""
        return self._written[0, b - n_live : b], self._written[1, b - n_live : b]

    def doublings(self, largest: float) -> int:
        """Return how often the scale must double to hold the priority `largest`.

        Raises
        ------
        ValueError
            If no scale can hold it.
        """
        return 0 if self.format.is_fixed else self.format.doublings(self.scale, mass(largest, self.alpha))

    def double(self, n: int) -> None:
        """Take the scale that many doublings up; the stored codes are halved by whoever stores them."""
        self.scale *= 2.0**n
        self.n_rescales += n

    def state_dict(self) -> dict[str, Any]:
        """Return what the next codes depend on, and the counters."""
        return {
            "scale": self.scale, "largest": self.largest,
            "n_saturated": self.n_saturated, "n_rescales": self.n_rescales,
        }  # fmt: skip

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state`.

        Raises
        ------
        ValueError
            If the scale is none this format can have, or the largest priority is not finite.
        """
        scale, start = state["scale"], self.format.start
        if not 0 < scale <= LARGEST_MASS or not state["largest"] < math.inf:
            raise ValueError(f"scale must be positive, it and largest finite, got {scale!r} and {state['largest']!r}")
        if scale != start and (self.format.is_fixed or scale < start or math.frexp(scale)[0] != 0.5):
            raise ValueError(f"scale must be {start!r}{'' if self.format.is_fixed else ' doubled'}, got {scale!r}")
        self.scale, self.largest = float(state["scale"]), float(state["largest"])
        self.n_saturated, self.n_rescales = int(state["n_saturated"]), int(state["n_rescales"])


def mass(largest: float, alpha: float) -> float:
    """Return largest ** alpha, the mass of a priority with eps added, if a full scale can hold it."""
    try:
        value = float(largest**alpha)
    except OverflowError:
        value = math.inf
    if not value <= LARGEST_MASS:
        raise ValueError(
            f"priorities must have a mass, (priority + eps) ** alpha, of at most 2**1023, got priority {largest:g}"
        )
    return value


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
