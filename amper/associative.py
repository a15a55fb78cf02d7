"""AMPER (Li et al., ICCAD 2022): search an associative memory for a candidate set, draw from it uniformly."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from amper import urng as uniform_sources
from amper._kernels.sample import gather, group_queries, range_queries, sample_ranges
from amper._kernels.update import update_index
from amper.candidates import MATCHES, CandidateSearch, aligned_full_scale, make_groups
from amper.faults import from_option
from amper.fixedpoint import FullScale, PriorityFormat, halve
from amper.fullscale import make_rule
from amper.inclusion import LARGEST_TOP, expected_multiplicity
from amper.index import COUNTED_BITS, CodeIndex
from amper.protocols import Array, Draw, Float64, Int64, UInt32, UpdateKernel, UpdateResult
from amper.tcam import TcamSearch

WEIGHTS = ("per", "csp", "none", "inclusion")


class AmperSampler:
    """Associative-memory sampling (Li et al., ICCAD 2022): search for candidates, draw from them uniformly.

    Parameters
    ----------
    capacity : int
        Slots.
    seed : numpy.random.SeedSequence
        Of the representatives and draws.
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
        `inclusion`. That one is AMPER-fr's, for at most 16 bits; its table is computed anew, in some 2 ms, whenever F
        changes. Of a TCAM with faults it is nominal.
    unique : bool
        Let a slot found for two groups stand in the candidate set once.
    urng : {"numpy", "lfsr"}
        Uniform source.
    engine : {"auto", "index", "tcam"}
        Counts per code, or the bit-true scan; both find the same candidate set. "auto" takes the index where
        it can: AMPER-fr always, AMPER-k nearest in value, with at most 16 bits and without `unique`; never with
        `faults`.
    faults : mapping, optional
        Rates by name, as `faults.TcamFaults` defines them: what goes wrong where searches read the rows. AMPER-k takes
        stuck cells only, for its best match compares discharge rates with each other and not with a threshold.

    Raises
    ------
    ValueError
        If an option is unknown, out of range, or does not fit another.
    """

    def __init__(
        self,
        capacity: int,
        seed: np.random.SeedSequence,
        *,
        variant: str,
        grouping: str | None = None,
        n_groups: Any = None,
        lam: float | None = None,
        match: str = "dithered",
        bits: int = 16,
        full_scale: FullScale = "auto",
        min_csp: int = 1,
        max_redraws: int = 4,
        distance: str = "value",
        v_max: str = "running",
        weights: str = "per",
        unique: bool = False,
        urng: str = "numpy",
        engine: str = "auto",
        faults: Mapping[str, float] | None = None,
    ) -> None:
        self.format = PriorityFormat(bits=bits, full_scale=full_scale)
        self._groups = make_groups(grouping, n_groups)
        if lam is None:
            lam = 0.3 if variant == "k" else self._groups.lam
        _require("lam", "be a number of 1e-9 to 1e6", lam, _is_number(lam) and 1e-9 <= lam <= 1e6)
        _require_choice("match", match, MATCHES)
        _require_choice("distance", distance, ("value", "hamming"))
        _require_choice("weights", weights, WEIGHTS)
        _check_inclusion(weights, variant, bits)
        _require_choice("engine", engine, ("auto", "index", "tcam"))
        _require("min_csp", "be a whole number in 1..2**31", min_csp, _is_whole(min_csp) and 1 <= min_csp <= 2**31)
        _require(
            "max_redraws",
            "be a whole number in 0..10000",
            max_redraws,
            _is_whole(max_redraws) and 0 <= max_redraws <= 10_000,
        )
        _require("unique", "be True or False", unique, isinstance(unique, bool))
        self._rule = make_rule(v_max, capacity, bits)
        if variant == "k" and self._rule.open_top:
            # Neighbours of a representative below the full scale would hardly ever lie above it.
            raise ValueError(f"v_max must be 'running' for amper-k, got {v_max!r}")
        if variant == "fr" and distance == "hamming":
            raise ValueError("distance must be 'value' for amper-fr, got 'hamming'; only amper-k searches for nearest")
        wrong = from_option(faults)
        if variant == "k" and wrong is not None and wrong.are_transient:
            raise ValueError(f"faults must be stuck_cells alone for amper-k, got {wrong.to_dict()!r}")
        if wrong is not None and engine == "index":
            raise ValueError(f"engine must be 'tcam' or 'auto' with faults={wrong.to_dict()!r}, got 'index'")
        indexable = distance == "value" and (variant == "fr" or (bits <= COUNTED_BITS and not unique))
        if engine == "index" and not indexable:
            raise ValueError(
                f"engine must be 'tcam' or 'auto' for bits={bits}, distance={distance!r}, unique={unique}, got 'index'"
            )
        self.options: dict[str, Any] = {
            "grouping": self._groups.name,
            "n_groups": self._groups.option,
            "lam": float(lam), "match": match, "bits": bits, "full_scale": full_scale,
            "min_csp": min_csp, "max_redraws": max_redraws, "distance": distance, "v_max": v_max,
            "weights": weights, "unique": unique, "urng": urng, "engine": engine,
            "faults": None if wrong is None else wrong.to_dict(),
        }  # fmt: skip
        self.stats = {"redraws": 0, "fallbacks": 0}
        self._variant, self._match, self._lam = variant, MATCHES.index(match), float(lam)
        self._weights, self._unique = weights, unique
        self._min_csp, self._max_redraws = min_csp, max_redraws
        self._source = uniform_sources.make(urng, seed)
        self._search: CandidateSearch = (
            CodeIndex(capacity, bits, self._part_bits())
            if indexable and engine != "tcam" and wrong is None
            else TcamSearch(
                capacity, bits, distance="hamming" if distance == "hamming" else "value", unique=unique,
                faults=wrong, seed=seed,
            )
        )  # fmt: skip
        self._v_max, self._full, self._edges, self._plan = -1, 0, np.empty(0), np.empty(0)
        self._expected, self._expected_at = np.empty(0), 0  # E[multiplicity] by code, and the F it holds for
        self._default = np.zeros(1, np.int64)
        m = self._groups.n_groups
        self._n_keys = 2 * m
        # What the kernels that do everything in one call work on, where they can.
        index = self._search.arrays if isinstance(self._search, CodeIndex) else None
        self._writes_into = index if not len(self._rule.is_updated) else None
        self._draws_from = index if variant == "fr" and weights == "per" and not unique else None
        self._queries = np.empty((m, 8), np.int64)
        self._rows = np.empty(((1 + max_redraws) * 2 * m, 8), np.int64)

    @property
    def codes(self) -> UInt32:
        """Code stored for each slot, uint32[capacity]."""
        return self._search.codes

    @property
    def engine(self) -> str:
        """What answers the searches: "index" or "tcam"."""
        return "index" if isinstance(self._search, CodeIndex) else "tcam"

    @property
    def full(self) -> int:
        """F, the groups' full scale in codes, as the next sampling will use it."""
        self._set_full_scale()
        return self._full

    @property
    def expected_multiplicity(self) -> Float64:
        """E[multiplicity] of AMPER-fr's next candidate set by code, float64[2**bits]; see `inclusion`; read-only."""
        self._set_full_scale()
        if self._expected_at != self._full:
            self._expected = expected_multiplicity(
                self._edges, self._full, self._lam, match=MATCHES[self._match], thinned=self._groups.thinned,
                top=self.format.top, open_top=self._rule.open_top, unique=self._unique,
            )  # fmt: skip
            self._expected.flags.writeable = False
            self._expected_at = self._full
        return self._expected

    def insert(self, slots: Int64, codes: Int64, *, at_maximum: bool) -> Int64:
        """Write new transitions and return the codes stored: F - 1 for those at the maximum."""
        self._rule.inserted(slots, codes, self._search.read, at_maximum=at_maximum)
        if at_maximum:
            self._set_full_scale()
            if self._default[0] != min(self._full - 1, self.format.top):
                self._default = np.full(1, min(self._full - 1, self.format.top))
            codes = self._default if len(slots) == 1 else np.repeat(self._default, len(slots))
        self._search.write(slots, codes)
        return codes

    def set_maximum(self, code: int) -> None:
        """Take `code`, or the largest stored, for the largest written."""
        self._rule.load(max(code, self._search.largest), self._rule.is_updated, self._search.read)

    def probabilities(self, slots: Int64) -> Float64:
        """Return the chance of each slot in a draw of a candidate set that is not known, as the weights take it."""
        if self._weights == "inclusion":
            expected = self.expected_multiplicity
            codes = self._search.codes
            chances: Float64 = expected[codes[slots]] / expected[codes].sum()  # over E|CSP|; empty rows count 0
            return chances
        return self._probabilities(slots, 0)

    def update(self, slots: Int64, codes: Int64) -> None:
        """Write new codes."""
        if not len(slots):
            return
        self._rule.updated(slots, codes, self._search.read)
        self._search.write(slots, codes)

    @property
    def update_rows(self) -> UpdateKernel | None:
        """What checks an update and writes it in one compiled call, where the index answers the searches."""
        return self._update_index if self._writes_into is not None else None

    def _update_index(self, *update: Any) -> UpdateResult:
        result: UpdateResult = update_index(*self._writes_into, *update)  # type: ignore[misc]  # not None
        if result[2]:
            self._rule.raise_to(int(result[6]), int(result[2]))
        return result

    def rescale(self, n_halvings: int) -> None:
        """Halve every stored code."""
        if self._search.n_valid == 0:
            return
        slots = np.flatnonzero(self._search.codes)
        before = self._search.read(slots)
        codes = halve(before, n_halvings)
        self._rule.halved(slots, before, codes, int(halve(np.array([math.ceil(self._rule.largest)]), n_halvings)[0]))
        if not self._rule.open_top:
            # Halving rounds up what stood at F - 1; above the groups' new full scale nothing would find it.
            self._set_full_scale()
            codes = np.minimum(codes, max(self._full - 1, 1))
        self._search.write(slots, codes)

    def sample(self, batch_size: int) -> Draw:
        """Form the candidate set and draw from it, with replacement."""
        self._set_full_scale()
        return self._draw(self._source.random(self._n_keys + batch_size), batch_size)

    def sample_rows(
        self, batch_size: int, rows: Array, layout: Int64, blocks: Array, block: int, beta: float, n_issued: int,
        discount: float,
    ) -> int:  # fmt: skip
        """Form the candidate set, draw from it and hand out the rows: in one compiled call where that can be."""
        self._set_full_scale()
        uniforms = self._source.random(self._n_keys + batch_size)
        if self._draws_from is not None:
            n_new: int = sample_ranges(
                *self._draws_from, uniforms, self._plan, rows, layout, blocks, block, beta, n_issued, discount
            )
            if n_new >= 0:
                return n_new
        draw = self._draw(uniforms, batch_size)  # from the start: it finds the same, and draws it anew
        return int(gather(draw.slots, draw.probabilities, rows, layout, blocks, block, beta, n_issued, discount))

    def _draw(self, uniforms: Float64, batch_size: int) -> Draw:
        """Search by the first `uniforms`, drawn anew while the CSP is too small; draw from it by the others."""
        n_valid = self._search.n_valid
        n_csp, n_rows, n_redraws = self._form(uniforms[: self._n_keys])
        self.stats["redraws"] += n_redraws
        searches, uniforms = self._rows[:n_rows], uniforms[self._n_keys :]
        if n_csp < self._min_csp:
            self.stats["fallbacks"] += 1
            slots = self._search.draw_valid(uniforms)
            groups = np.full(batch_size, -1)
            return Draw(slots, self._probabilities(slots, 0), n_valid, n_csp, n_redraws, True, groups, searches)
        slots, groups = self._search.draw(n_csp, uniforms)
        return Draw(slots, self._probabilities(slots, n_csp), n_valid, n_csp, n_redraws, False, groups, searches)

    def law(self, n_samplings: int) -> Float64:
        """Return the mean of multiplicity / |CSP| over `n_samplings` candidate sets, float64[capacity].

        The chance of each slot in one draw, free of the noise of drawn indices. Advances the uniform source,
        as sampling would; counts no stats. Samplings that fall back count as uniform.
        """
        self._set_full_scale()
        total, n_fallbacks = self._search.new_tally(), 0
        for _ in range(n_samplings):
            n_csp, _, _ = self._form(self._source.random(self._n_keys))
            if n_csp < self._min_csp:
                n_fallbacks += 1
            else:
                self._search.tally(total, 1.0 / n_csp)
        law = self._search.tallied(total)
        law[self._search.codes > 0] += n_fallbacks / self._search.n_valid
        return law / n_samplings

    def candidates(self) -> tuple[Int64, Int64]:
        """Form one candidate set; return its slots and groups as a multiset, int64[|CSP|] each."""
        self._set_full_scale()
        self._form(self._source.random(self._n_keys))
        return self._search.members()

    def state_dict(self) -> dict[str, Any]:
        """Return everything that makes the next samplings repeat exactly."""
        return {
            "search": self._search.state_dict(), "source": self._source.state_dict(),
            "largest": self._rule.largest, "is_updated": self._rule.is_updated.copy(), "stats": dict(self.stats),
        }  # fmt: skip

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state`.

        Raises
        ------
        ValueError
            If the largest code, or where updated codes are, cannot be.
        """
        self._search.load_state_dict(state["search"])
        self._source.load_state_dict(state["source"])
        largest = type(self._rule.largest)(state["largest"])
        if not (self._search.n_valid > 0) <= largest <= self.format.top:
            raise ValueError(f"largest must be a code of at most {self.format.top}, got {largest}")
        if np.any(state["is_updated"] & (self._search.codes[: len(self._rule.is_updated)] == 0)):
            raise ValueError("is_updated must mark slots that hold a code, got one that holds none")
        self.stats.update(state["stats"])
        self._rule.load(largest, state["is_updated"], self._search.read)

    # -- forming the candidate set ------------------------------------------------------------------
    def _form(self, uniforms: Float64) -> tuple[int, int, int]:
        """Search until the CSP is large enough; return (|CSP|, rows of `_rows` used, redraws)."""
        used, n_csp, attempt = 0, 0, 0
        for attempt in range(1 + self._max_redraws):
            n_rows, n_csp = self._attempt(uniforms, attempt, self._rows[used:])
            used += n_rows
            if n_csp >= self._min_csp:
                break
            if attempt < self._max_redraws:
                uniforms = self._source.random(self._n_keys)
        return n_csp, used, attempt

    def _attempt(self, uniforms: Float64, attempt: int, rows: Int64) -> tuple[int, int]:
        top = self.format.top
        if self._variant == "k":
            group_queries(uniforms, self._edges, top, attempt, self._queries)
            return self._search.find_nearest(self._queries, self._lam, self._full, rows)
        n_rows = range_queries(
            uniforms, self._edges, self._full, self._lam, self._match,
            self._groups.thinned, top, self._rule.open_top, attempt, rows,
        )  # fmt: skip
        return n_rows, self._search.find_ranges(rows[:n_rows], unique=self._unique)

    def _set_full_scale(self) -> None:
        v_max = self._rule.v_max
        if v_max == self._v_max:
            return
        self._v_max = v_max
        full = aligned_full_scale(v_max, self._groups, self._lam, self.format.bits)
        if full == self._full:
            return
        self._full = full
        self._edges = self._groups.edges(full)
        settings = (self._match, self._groups.thinned, self._rule.open_top, self._min_csp)
        self._plan = np.array([full, self._lam, self.format.top, *settings, *self._edges])

    def _part_bits(self) -> int:
        """Return how finely the index cuts octaves of codes: about as finely as a search, whose width is relative."""
        return min(max(math.ceil(-math.log2(2 * self._lam * self._groups.middle)), 3), 9)

    def _probabilities(self, slots: Int64, n_csp: int) -> Float64:
        if self._weights == "per":
            return self._search.read(slots) / self._search.code_sum
        if self._weights == "csp" and n_csp:
            return self._search.multiplicity(slots) / n_csp
        if self._weights == "inclusion" and n_csp:
            return self.expected_multiplicity[self._search.read(slots)] / n_csp
        return np.full(len(slots), 1.0 / self._search.n_valid)


# -- options --------------------------------------------------------------------------------------------
def _check_inclusion(weights: str, variant: str, bits: int) -> None:
    if weights != "inclusion":
        return
    if variant == "k":
        raise ValueError(
            "weights must be one of 'per', 'csp', 'none' for amper-k, got 'inclusion'; how often neighbours are found "
            "has no closed form"
        )
    _require("bits", "be at most 16 where weights are 'inclusion'", bits, (1 << bits) - 1 <= LARGEST_TOP)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _require(name: str, rule: str, value: Any, holds: bool) -> None:
    if not holds:
        raise ValueError(f"{name} must {rule}, got {value!r}")


def _require_choice(name: str, value: Any, choices: tuple[str, ...]) -> None:
    _require(name, f"be one of {', '.join(map(repr, choices))}", value, value in choices)
