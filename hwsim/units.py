"""The one place that converts and prints time, energy, power and area.

Inside the simulator time is a whole number of femtoseconds and energy a whole number of attojoules, so that
totals are exact in any order. Numbers enter here once, rounded to the nearest unit, and leave here.
"""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import numpy.typing as npt

FS_PER_NS = 10**6
AJ_PER_PJ = 10**6
NOT_AVAILABLE = "n/a"

_TIME_STEPS = ((10**15, "s"), (10**12, "ms"), (10**9, "us"), (10**6, "ns"), (10**3, "ps"), (1, "fs"))
_POWER_STEPS = ((10**6, "W"), (10**3, "mW"), (1, "uW"))
_ENERGY_STEPS = (
    (10**18, "J"),
    (10**15, "mJ"),
    (10**12, "uJ"),
    (10**9, "nJ"),
    (10**6, "pJ"),
    (10**3, "fJ"),
    (1, "aJ"),
)


def fs_from_ns(ns: float) -> int:
    """Return nanoseconds as whole femtoseconds, floor(x + 0.5).

    Examples
    --------
    >>> fs_from_ns(4.242)
    4242000
    """
    return math.floor(ns * FS_PER_NS + 0.5)


def aj_from_pj(pj: float) -> int:
    """Return picojoules as whole attojoules, floor(x + 0.5)."""
    return math.floor(pj * AJ_PER_PJ + 0.5)


def ns_from_fs(fs: int) -> float:
    """Return femtoseconds as nanoseconds."""
    return fs / FS_PER_NS


def s_from_fs(fs: int) -> float:
    """Return femtoseconds as seconds."""
    return fs / 10**15


def ns_array(fs: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return int64 femtoseconds as float64 nanoseconds, same shape."""
    return fs / np.float64(FS_PER_NS)


def pj_from_aj(aj: int | None) -> float | None:
    """Return attojoules as picojoules; None, for what is not known, stays None."""
    return None if aj is None else aj / AJ_PER_PJ


def leaked_aj(leakage_uw: float, time_fs: int) -> int:
    """Return what a power leaks in a time, whole attojoules, floor(x + 0.5); no float product loses digits.

    Examples
    --------
    >>> leaked_aj(250.0, 1_000_000)  # 250 uW for a nanosecond: .25 pJ
    250000
    """
    return math.floor(Fraction(leakage_uw) * time_fs / 1000 + Fraction(1, 2))


def mean_uw(aj: int, time_fs: int) -> float:
    """Return the mean power of an energy spent over a time, microwatts."""
    return 1000 * aj / time_fs


def uw_from_nw(nw: float) -> float:
    """Return nanowatts as microwatts."""
    return nw / 10**3


def uw_from_pw(pw: float) -> float:
    """Return picowatts as microwatts."""
    return pw / 10**6


def period_fs(clock_ghz: float) -> int:
    """Return the clock period in femtoseconds, rounded to the nearest."""
    return math.floor(FS_PER_NS / clock_ghz + 0.5)


def cycles_from_fs(time_fs: int, period: int) -> int:
    """Return the cycles of `period` femtoseconds that an analog time takes, rounded up.

    Examples
    --------
    >>> cycles_from_fs(4_242_000, 1_000_000)
    5
    """
    return -(-time_fs // period)


def product(values: npt.NDArray[np.int64], factor: int) -> npt.NDArray[np.int64]:
    """Return `values` times `factor`, int64.

    Raises
    ------
    OverflowError
        If a product is beyond 2^63.
    """
    largest = int(values.max(initial=0)) * factor
    if largest >= 2**63:
        raise OverflowError(f"{largest} does not fit 63 bits")
    return values * factor


def exact_sum(values: npt.NDArray[np.int64]) -> int:
    """Return the sum of non-negative int64 values as a Python int, never wrapped around.

    Blocks are so short that length * largest value < 2^63.
    """
    largest = int(values.max(initial=0))
    block = max(1, (2**63 - 1) // max(1, largest))
    return sum(int(values[i : i + block].sum()) for i in range(0, len(values), block))


def format_time(fs: float | None) -> str:
    """Return a time in its natural unit, three significant digits or more; "n/a" for None.

    Examples
    --------
    >>> format_time(3_068_000_000), format_time(None)
    ('3.07 us', 'n/a')
    """
    return _format(fs, _TIME_STEPS)


def format_energy(aj: float | None) -> str:
    """Return an energy in its natural unit; "n/a" for None."""
    return _format(aj, _ENERGY_STEPS)


def format_power(uw: float | None) -> str:
    """Return a power in its natural unit, from a microwatt on; "n/a" for None.

    Examples
    --------
    >>> format_power(47_263.0), format_power(0.031)
    ('47.3 mW', '0.031 uW')
    """
    if uw is not None and 0 < abs(uw) < 1:
        return f"{uw:.3g} uW"
    return _format(uw, _POWER_STEPS)


def format_years(years: float | None) -> str:
    """Return a time in years, three significant digits; "n/a" for None.

    Examples
    --------
    >>> format_years(4.7123), format_years(31_688.0), format_years(None)
    ('4.71 years', '31,700 years', 'n/a')
    """
    if years is None:
        return NOT_AVAILABLE
    return f"{float(f'{years:.3g}'):,.0f} years" if years >= 100 else f"{years:.3g} years"


def format_area(um2: float | None) -> str:
    """Return an area in um2, or in mm2 from 0.01 mm2 on; "n/a" for None."""
    if um2 is None:
        return NOT_AVAILABLE
    return f"{um2 / 1e6:.3g} mm2" if um2 >= 1e4 else f"{um2:.0f} um2"


def _format(value: float | None, steps: tuple[tuple[int, str], ...]) -> str:
    if value is None:
        return NOT_AVAILABLE
    for scale, unit in steps:
        if abs(value) >= scale:
            scaled = value / scale
            return f"{scaled:.0f} {unit}" if abs(scaled) >= 999.5 else f"{scaled:.3g} {unit}"
    return f"0 {steps[-1][1]}"
