"""AMPER (Li et al., ICCAD 2022): search an associative memory for a candidate set, draw from it uniformly."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from amper import urng as uniform_sources
from amper._kernels.sample import gather, group_queries, range_queries, sample_ranges
from amper._kernels.update import update_index
from amper.candidates import MATCHES, CandidateSearch, aligned_full_scale
from amper.faults import from_option
from amper.fixedpoint import PriorityFormat, halve
from amper.fullscale import make_rule
from amper.inclusion import expected_multiplicity
from amper.index import CodeIndex
from amper.options import AmperOptions
from amper.protocols import Array, Draw, Float64, Int64, UInt32, UpdateKernel, UpdateResult
from amper.tcam_search import TcamSearch


class AmperSampler:
    """Associative-memory sampling (Li et al., ICCAD 2022): search for candidates, draw from them uniformly.

    Parameters
    ----------
    capacity : int
        Slots.
    seed : numpy.random.SeedSequence
        Of the representatives and draws.
    **options
        As `options.AmperOptions` takes them; `variant`, which search, among them.

    Raises
    ------
    ValueError
        If an option is out of range or does not fit another.
    TypeError
        If an option is unknown, or `faults` holds what is no number.
    """

    def __init__(self, capacity: int, seed: np.random.SeedSequence, **options: Any) -> None:
        chosen = AmperOptions(**options)
        self.format = PriorityFormat(bits=chosen.bits, full_scale=chosen.full_scale)
        self.options: dict[str, Any] = chosen.to_dict()
        self.stats = {"redraws": 0, "fallbacks": 0}
        self._groups = chosen.groups
        self._rule = make_rule(chosen.v_max, capacity, chosen.bits)
        self._variant, self._match, self._lam = chosen.variant, MATCHES.index(chosen.match), self.options["lam"]
        self._weights, self._unique = chosen.weights, chosen.unique
        self._min_csp, self._max_redraws = chosen.min_csp, chosen.max_redraws
        self._source = uniform_sources.make(chosen.urng, seed)
        self._search = self._make_search(chosen, capacity, seed)
        self._v_max, self._full, self._edges, self._plan = -1, 0, np.empty(0), np.empty(0)
        self._expected, self._expected_at = np.empty(0), 0  # E[multiplicity] by code, and the F it holds for
        self._default = np.zeros(1, np.int64)
        m = self._groups.n_groups
        self._n_keys = 2 * m
        # What the kernels that do everything in one call work on, where they can.
        index = self._search.arrays if isinstance(self._search, CodeIndex) else None
        self._writes_into = index if not len(self._rule.is_updated) else None
        does_all = chosen.variant == "fr" and chosen.weights == "per" and not chosen.unique
        self._draws_from = index if does_all else None
        self._queries = np.empty((m, 8), np.int64)
        self._rows = np.empty(((1 + chosen.max_redraws) * 2 * m, 8), np.int64)

    def _make_search(self, chosen: AmperOptions, capacity: int, seed: np.random.SeedSequence) -> CandidateSearch:
        if chosen.uses_index:
            return CodeIndex(capacity, chosen.bits, self._part_bits())
        return TcamSearch(
            capacity, chosen.bits, distance="hamming" if chosen.distance == "hamming" else "value",
            unique=chosen.unique, faults=from_option(chosen.faults), seed=seed,
        )  # fmt: skip

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
