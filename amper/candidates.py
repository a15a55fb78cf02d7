"""Groups, representatives, radii and full scale: how AMPER chooses what to search for.

Paper symbols (Li et al., ICCAD 2022): m `n_groups`, V_i `key`, Delta_i `radius`, lambda `lam`; F is the full
scale of the groups, in codes.

Notes
-----
The law of AMPER-fr, for groups of any widths w_g. V is uniform in a group and the search 2 Delta = 2 lambda' V w_g / F
wide, so a code q is found with probability (2 Delta) / w_g = 2 lambda' q / F: in proportion to its mass, whatever the
widths are, and E|CSP| = 2 lambda' n mean(q) / F. A draw takes one of the |CSP| entries found together; to first order
in 1 / |CSP| (E[x/C] = E x / E C - Cov(x, C) / (E C)^2 + E x Var C / (E C)^3, groups being independent) the chance of an
entry is its mass's times 1 + s(q) - b(q), up to a constant, and KL to PER is about half the variance of s - b over PER:

- b(q) = (E[n_g | q found] - E[n_g]) / E|CSP|, n_g the entries found by its group: the crowd that q is found with. It
  is large where one group holds much of the mass at uneven density: 20 linear groups hold nearly all of a trained
  agent's priorities in the first. New transitions, all of one code, are the worst crowd; the more surely they are
  found, with chance 2 lambda', the less their share swings: lambda' = 1/2 is the least at which that is 1.
- s(q) = E[multiplicity] F / (2 lambda' q) - 1, the staircase: a search is an aligned block, all of its codes found
  alike. KL about (lambda' w / F)^2 over the mass in groups of width w, so narrow groups above, where masses weigh.
  A block of at most lambda' <= 1/2 of an octave's part never leaves its group if parts are a power of two; where it
  does, neighbours of unequal widths share codes unevenly: why equal-mass edges draw worse than octaves.

So: octaves, for they are narrow wherever an agent's priorities have come to lie; finer above, for the staircase of the
uppermost; parts that are powers of two; lambda' = 1/2. That is `tapered`, (7, 2, 8): 23 searches.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np

from amper.protocols import Float64, Int64, UInt32

MATCHES: tuple[str, ...] = ("radius", "prefix", "dithered")


class CandidateSearch(Protocol):
    """What answers AMPER's searches: `index.CodeIndex` (fast) or `tcam_search.TcamSearch` (bit-true)."""

    @property
    def codes(self) -> UInt32:
        """Stored codes, uint32[capacity]; 0 where nothing was written."""
        ...

    @property
    def n_valid(self) -> int:
        """Slots that hold a code."""
        ...

    @property
    def largest(self) -> int:
        """Largest code stored, or a code little above it; 0 where there is none."""
        ...

    @property
    def code_sum(self) -> int:
        """Exact sum of all codes."""
        ...

    def read(self, slots: Int64) -> Int64:
        """Return the codes of `slots`."""
        ...

    def write(self, slots: Int64, codes: Int64) -> None:
        """Store codes (>= 1)."""
        ...

    def find_ranges(self, rows: Int64, *, unique: bool = False) -> int:
        """Fill `n_matches` of range searches; return |CSP| of their union."""
        ...

    def find_nearest(self, queries: Int64, lam: float, full: int, rows: Int64) -> tuple[int, int]:
        """Count each group and find its nearest codes; return (searches written to `rows`, |CSP|)."""
        ...

    def draw(self, n_csp: int, uniforms: Float64) -> tuple[Int64, Int64]:
        """Draw uniformly from the CSP found last: slots and groups."""
        ...

    def draw_valid(self, uniforms: Float64) -> Int64:
        """Draw uniformly from all slots that hold a code."""
        ...

    def multiplicity(self, slots: Int64) -> Int64:
        """Return how often each slot stands in the CSP found last."""
        ...

    def members(self) -> tuple[Int64, Int64]:
        """Return slots and groups of the CSP found last, as a multiset."""
        ...

    def new_tally(self) -> Any:
        """Return an empty tally."""
        ...

    def tally(self, total: Any, weight: float) -> None:
        """Add `weight` for every entry of the CSP found last."""
        ...

    def tallied(self, total: Any) -> Float64:
        """Return a tally by slot, float64[capacity]."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Return what makes the next draws repeat."""
        ...

    def load_state_dict(self, state: Any) -> None:
        """Continue from `state`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class LinearGroups:
    """`n_groups` (m) groups of equal width over [0, F): the paper's form."""

    n_groups: int = 20
    name: ClassVar[str] = "linear"
    lam: ClassVar[float] = 0.15
    thinned: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not _is_count(self.n_groups, 2**16):
            raise ValueError(f"n_groups must be a whole number in 1..65536, got {self.n_groups!r}")

    @property
    def option(self) -> int:
        """The `n_groups` option that makes these."""
        return int(self.n_groups)

    def edges(self, full: int) -> Float64:
        """Return where the groups begin and the last one ends, float64[m + 1], ascending, in codes."""
        return np.arange(self.n_groups + 1) * full / self.n_groups

    @property
    def widest(self) -> float:
        """Width of the widest group, as a fraction of F."""
        return 1.0 / self.n_groups

    @property
    def middle(self) -> float:
        """Width of a middling group, as a fraction of F."""
        return self.widest


@dataclass(frozen=True, slots=True, kw_only=True)
class OctaveGroups:
    """Octave j, [F/2^(j+1), F/2^j), cut in max(`n_parts`, `n_top` / 2^j) groups; and one group for the rest.

    Narrow groups where the codes of a trained agent lie, however far below the maximum that is. With `n_top` =
    `n_parts`, the default, every octave is cut alike; with more, groups have one width above, F/(2 `n_top`), and
    taper below. `thinned`: where 2 Delta < 1, one code is searched with probability 2 Delta.
    """

    n_octaves: int = 7
    n_parts: int = 3
    n_top: int = 0
    thinned: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for name in ("n_octaves", "n_parts", "n_top"):
            value = getattr(self, name)
            if not _is_count(value, 256) and not (name == "n_top" and value == 0):
                raise ValueError(f"n_groups must hold whole numbers in 1..256, got {value!r} as {name}")
        if self.n_top and self.n_top < self.n_parts:
            raise ValueError(f"n_groups must have n_top of at least n_parts = {self.n_parts}, got {self.n_top!r}")

    @property
    def name(self) -> str:
        """The `grouping` option that makes these."""
        return "tapered" if self.n_top else "octave"

    @property
    def lam(self) -> float:
        """The default of lambda'."""
        return 0.5 if self.n_top else 1.0

    @property
    def option(self) -> list[int]:
        """The `n_groups` option that makes these, as JSON has it."""
        return [int(n) for n in (self.n_octaves, self.n_parts, *([self.n_top] if self.n_top else []))]

    @property
    def parts(self) -> list[int]:
        """How many groups each octave is cut in, the uppermost first."""
        return [max(self.n_parts, int(self.n_top / 2**j + 0.5)) for j in range(self.n_octaves)]

    @property
    def n_groups(self) -> int:
        """Groups in all."""
        return sum(self.parts) + 1

    def edges(self, full: int) -> Float64:
        """Return where the groups begin and the last one ends, float64[m + 1], ascending, in codes."""
        edges = [0.0]
        for j, n_parts in reversed(list(enumerate(self.parts))):
            low = full / 2 ** (j + 1)
            edges += [low + low * i / n_parts for i in range(n_parts)]
        return np.array([*edges, float(full)])

    @property
    def widest(self) -> float:
        """Width of the widest group, as a fraction of F."""
        return max(0.5**self.n_octaves, *(0.5 ** (j + 1) / n_parts for j, n_parts in enumerate(self.parts)))

    @property
    def middle(self) -> float:
        """Width of a middling group, as a fraction of F."""
        return 0.5 / self.n_parts * 0.5 ** (self.n_octaves // 2)


Groups = LinearGroups | OctaveGroups
GROUPINGS = ("tapered", "linear", "octave")
TAPERED = (7, 2, 8)


def make_groups(grouping: str | None, n_groups: Any) -> Groups:
    """Return the groups named by the options `grouping` and `n_groups`.

    Raises
    ------
    ValueError
        If `grouping` is unknown or `n_groups` does not fit it.

    Examples
    --------
    >>> make_groups(None, None).parts
    [8, 4, 2, 2, 2, 2, 2]
    >>> make_groups(None, 20)
    LinearGroups(n_groups=20)
    """
    if grouping is not None and not (isinstance(grouping, str) and grouping in GROUPINGS):
        raise ValueError(f"grouping must be one of {', '.join(map(repr, GROUPINGS))}, got {grouping!r}")
    numbers = tuple(n_groups) if isinstance(n_groups, tuple | list) else None
    if grouping is None:
        fits = {2: "octave", 3: "tapered"}.get(len(numbers), "") if numbers is not None else "linear"
        grouping = "tapered" if n_groups is None else fits
    if grouping == "linear":
        return LinearGroups(n_groups=20 if n_groups is None else n_groups)
    if n_groups is None:
        numbers = TAPERED if grouping == "tapered" else (7, 3)
    if numbers is None or len(numbers) != (3 if grouping == "tapered" else 2):
        form = {
            "octave": "a pair (octaves, parts) for octave groups",
            "tapered": "three numbers (octaves, parts, parts of the uppermost octave) for tapered groups",
        }
        raise ValueError(f"n_groups must be {form.get(grouping, 'one, two or three numbers')}, got {n_groups!r}")
    return OctaveGroups(n_octaves=numbers[0], n_parts=numbers[1], n_top=numbers[2] if len(numbers) == 3 else 0)


def _is_count(value: Any, most: int) -> bool:
    return not isinstance(value, bool) and isinstance(value, int | np.integer) and bool(1 <= value <= most)


def aligned_full_scale(v_max: int, groups: Groups, lam: float, bits: int) -> int:
    """Return F: `v_max` rounded up to the largest block the widest group can search.

    New transitions are stored as F - 1, so that the last aligned block covers them whatever the maximum is.
    Without it the chance to find one ran from 0 to .296, depending on `v_max` modulo the block.

    Examples
    --------
    >>> aligned_full_scale(65535, LinearGroups(n_groups=20), 0.15, 16)
    65536
    >>> aligned_full_scale(40000, LinearGroups(n_groups=20), 0.15, 16)
    40960
    """
    widest_block = 2.0 * lam * v_max * groups.widest
    k = min(max(math.ceil(math.log2(widest_block)), 0), bits) if widest_block > 0 else 0
    return ((v_max >> k) + 1) << k
