"""What can be chosen of AMPER's samplers: names, defaults, and what fits what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from amper.candidates import MATCHES, Groups, make_groups
from amper.faults import TcamFaults, from_option
from amper.fixedpoint import FullScale, PriorityFormat
from amper.fullscale import make_rule
from amper.inclusion import LARGEST_TOP
from amper.index import COUNTED_BITS
from amper.urng import NAMES as URNGS

WEIGHTS = ("per", "csp", "none", "inclusion")


@dataclass(frozen=True, slots=True, kw_only=True)
class AmperOptions:
    """Options of `associative.AmperSampler`.

    Parameters
    ----------
    variant : {"fr", "k"}
        Fixed radius around each representative, or its nearest neighbours.
    grouping : {"tapered", "linear", "octave"}, optional
        Octaves cut in parts, the upper ones finer; groups of equal width (the paper's); octaves cut alike. By
        default what `n_groups` fits, tapered where that is not given either. See `candidates`.
    n_groups : int or tuple of int
        Linear: m, default 20. Octave: (octaves, parts), default (7, 3). Tapered: (octaves, parts, parts of the
        uppermost octave), default (7, 2, 8).
    lam : float
        lambda' of AMPER-fr (default .15 linear, 1.0 octave, .5 tapered); lambda of AMPER-k (default .3).
    match : {"dithered", "prefix", "radius"}
        How AMPER-fr searches an interval: one ternary search whose width is a power of two drawn so that its
        mean is exact; the nearest power of two; the exact interval in several searches.
    bits, full_scale
        As in `fixedpoint.PriorityFormat`.
    min_csp, max_redraws : int
        A smaller candidate set is drawn anew, so many times at most; then draws are uniform.
    distance : {"value", "hamming"}
        What nearest means to AMPER-k.
    v_max : "running", "decayN" or "qXX"
        Full scale of the groups: the largest code written; that, halved in every N updated codes; or the XX %
        quantile of the updated codes; then rounded up by `candidates.aligned_full_scale`. See `fullscale`.
    weights : {"per", "csp", "none", "inclusion"}
        Probability that importance weights use: code / sum; multiplicity / |CSP|, which varies little within a batch
        and corrects little; a constant; or E[multiplicity] / |CSP|, by which weighted means are unbiased: see
        `inclusion`. That one is AMPER-fr's, for at most 16 bits; its table is computed anew whenever F changes, in some
        2 ms with the default groups, n_groups * 2**bits steps at worst. Of a TCAM with faults it is nominal.
    unique : bool
        Let a slot found for two groups stand in the candidate set once.
    urng : {"numpy", "lfsr"}
        Uniform source.
    engine : {"auto", "index", "tcam"}
        Counts per code, or the bit-true scan; both find the same candidate set. "auto" takes the index where
        it can: AMPER-fr always, AMPER-k nearest in value, with at most 16 bits and without `unique`; never with
        `faults` above 0.
    faults : mapping, optional
        Rates by name, as `faults.TcamFaults` defines them: what goes wrong where searches read the rows. AMPER-k takes
        stuck cells only, for its best match compares discharge rates with each other and not with a threshold.

    Raises
    ------
    ValueError
        If an option is unknown, out of range, or does not fit another.
    TypeError
        If `faults` is no mapping, or holds what is no number.
    """

    variant: str
    grouping: str | None = None
    n_groups: Any = None
    lam: float | None = None
    match: str = "dithered"
    bits: int = 16
    full_scale: FullScale = "auto"
    min_csp: int = 1
    max_redraws: int = 4
    distance: str = "value"
    v_max: str = "running"
    weights: str = "per"
    unique: bool = False
    urng: str = "numpy"
    engine: str = "auto"
    faults: Mapping[str, float] | None = None

    def __post_init__(self) -> None:
        _require_choice("variant", self.variant, ("fr", "k"))
        PriorityFormat(bits=self.bits, full_scale=self.full_scale)
        groups = self.groups
        lam = self.lam if self.lam is not None else 0.3 if self.variant == "k" else groups.lam
        _require("lam", "be a number of 1e-9 to 1e6", lam, _is_number(lam) and 1e-9 <= lam <= 1e6)
        for name, value in (("grouping", groups.name), ("n_groups", groups.option), ("lam", float(lam))):
            object.__setattr__(self, name, value)
        self._check_choices()
        for name, least, most in (("min_csp", 1, 2**31), ("max_redraws", 0, 10_000)):
            value = getattr(self, name)
            spelled = "1..2**31" if most == 2**31 else f"{least}..{most}"
            _require(name, f"be a whole number in {spelled}", value, _is_whole(value) and least <= value <= most)
        _require("unique", "be True or False", self.unique, isinstance(self.unique, bool))
        wrong = from_option(self.faults)
        if wrong is not None and not wrong.to_dict():
            wrong = None  # rates of 0: a sound memory
        object.__setattr__(self, "faults", None if wrong is None else wrong.to_dict())
        self._check_variant(wrong)
        self._check_engine(wrong)

    def _check_choices(self) -> None:
        for name, choices in (
            ("match", MATCHES),
            ("distance", ("value", "hamming")),
            ("weights", WEIGHTS),
            ("engine", ("auto", "index", "tcam")),
            ("urng", URNGS),
        ):
            value = getattr(self, name)
            _require_choice(name, value, choices)
        make_rule(self.v_max, 1, self.bits)
        if self.weights == "inclusion":
            _require(
                "bits", "be at most 16 where weights are 'inclusion'", self.bits, (1 << self.bits) - 1 <= LARGEST_TOP
            )

    def _check_variant(self, wrong: TcamFaults | None) -> None:
        if self.variant == "fr":
            if self.distance == "hamming":
                raise ValueError(
                    "distance must be 'value' for amper-fr, got 'hamming'; only amper-k searches for nearest"
                )
            return
        if self.v_max != "running":
            # Neighbours of a representative below the full scale would hardly ever lie above it.
            raise ValueError(f"v_max must be 'running' for amper-k, got {self.v_max!r}")
        if self.weights == "inclusion":
            raise ValueError(
                "weights must be one of 'per', 'csp', 'none' for amper-k, got 'inclusion'; how often neighbours are "
                "found has no closed form"
            )
        if wrong is not None and wrong.are_transient:
            raise ValueError(f"faults must be stuck_cells alone for amper-k, got {wrong.to_dict()!r}")

    def _check_engine(self, wrong: TcamFaults | None) -> None:
        if self.engine != "index":
            return
        if wrong is not None:
            raise ValueError(f"engine must be 'tcam' or 'auto' with faults={wrong.to_dict()!r}, got 'index'")
        if not self._can_be_indexed:
            raise ValueError(
                f"engine must be 'tcam' or 'auto' for bits={self.bits}, distance={self.distance!r}, "
                f"unique={self.unique}, got 'index'"
            )

    @property
    def groups(self) -> Groups:
        """The groups that `grouping` and `n_groups` name."""
        return make_groups(self.grouping, self.n_groups)

    @property
    def _can_be_indexed(self) -> bool:
        is_counted = self.bits <= COUNTED_BITS and not self.unique
        return self.faults is None and self.distance == "value" and (self.variant == "fr" or is_counted)

    @property
    def uses_index(self) -> bool:
        """Whether counts per code answer the searches; else the bit-true scan does."""
        return self.engine != "tcam" and self._can_be_indexed

    def to_dict(self) -> dict[str, Any]:
        """Return what makes these again but the variant, JSON-serialisable."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name != "variant"}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _require(name: str, rule: str, value: Any, holds: bool) -> None:
    if not holds:
        raise ValueError(f"{name} must {rule}, got {value!r}")


def _require_choice(name: str, value: Any, choices: tuple[str, ...]) -> None:
    is_one = isinstance(value, str) and value in choices
    _require(name, f"be one of {', '.join(map(repr, choices))}", value, is_one)
