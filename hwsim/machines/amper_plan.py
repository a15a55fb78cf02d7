"""What a trace asks of the associative machine: which words it searches, and what leaves its arrays when.

Worked out once per trace, from the trace's searches and its profile; the closed form and the event
simulations read the same plan, so that they can only differ in time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from amper.trace import Trace
from hwsim._kernels import amper as kernels
from hwsim.cost_amper import BURST_WIDTH

if TYPE_CHECKING:
    from hwsim.machines.amper import AmperMachine

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The searches of a trace, one load of the match latch after another.

    Parameters
    ----------
    sample, attempt, group : int64[k]
        Sampling, attempt (0, then redraws) and group of each load; -1: all groups together.
    row : int64[k + 1]
        The trace's searches `row[g] .. row[g + 1]` make load g.
    n_keys : int64[k]
        Representatives drawn for it.
    n_words : int64[k]
        Ternary words searched for it, one after another.
    n_tallies : int64[k]
        Words of which the matches are counted.
    n_products : int64[k]
        N_i computed, or counts compared with it.
    n_neighbours : int64[k]
        Best-match searches.
    last_words : int64[k]
        Words of the search whose matches leave the arrays: what a rank's array searches again.
    kept : int64[k]
        Counts of it that every node of a rank tree keeps.
    count, search : int64[k]
        Cycles from the load before, if nothing waits: counting, then the search itself.
    words : int64 or int32[k, ports]
        Words that leave through each port; no column where none leave by a port.
    matches : int64 or int32[k, parts]
        Addresses that leave for each part of the candidate-set buffer.
    n_empty : int64[samplings]
        Attempts in which every group was skipped: only the URNG worked.
    first, n : int64[samplings]
        Loads of each sampling.
    again : int64[draws]
        Words that the array of each draw searches again (readout "rank_select").
    unknown : int
        The first draw of a group that was not searched, -1 for none.
    """

    sample: Int64
    attempt: Int64
    group: Int64
    row: Int64
    n_keys: Int64
    n_words: Int64
    n_tallies: Int64
    n_products: Int64
    n_neighbours: Int64
    last_words: Int64
    kept: Int64
    count: Int64
    search: Int64
    words: Int64 | Int32
    matches: Int64 | Int32
    n_empty: Int64
    first: Int64
    n: Int64
    again: Int64
    unknown: int


def make_plan(machine: AmperMachine, trace: Trace) -> Plan:
    """Return the plan of a trace on a machine that can serve it."""
    rows, samples = trace.searches, trace.samples
    sample = np.repeat(np.arange(len(samples)), samples["n_searches"])
    attempt = rows["attempt"].astype(np.int64)
    begins = _begins(sample, attempt)
    loads = _bisected(machine, trace) if machine.neighbours == "bisection" else _searched(machine, trace)
    loads["group"] = rows["group"].astype(np.int64)
    row = np.arange(len(rows) + 1)
    if machine.unique:
        row = np.append(begins, len(rows))
        sample, attempt = sample[begins], attempt[begins]
        loads = {name: _merged(values, begins) for name, values in loads.items()}
        loads["group"], loads["kept"] = np.full(len(sample), -1), np.minimum(loads["kept"], 1)
        begins = np.arange(len(sample))
    words, matches = _leaving(machine, trace, len(sample))
    n_attempts = np.bincount(sample[begins], minlength=len(samples)) if len(samples) else np.zeros(0, np.int64)
    n = np.bincount(sample, minlength=len(samples)) if len(samples) else np.zeros(0, np.int64)
    first = np.cumsum(n) - n
    again, unknown = np.zeros(len(trace.draws), np.int64), -1
    if machine.readout == "rank_select" and not machine.unique:
        unknown = kernels.words_of_draws(
            first,
            n,
            attempt,
            loads["group"],
            loads["last_words"],
            samples["first_draw"].astype(np.int64),
            np.where(samples["fallback"], 0, samples["batch_size"]).astype(np.int64),
            trace.draws["group"],
            again,
        )
    n_empty = np.maximum(samples["n_redraws"].astype(np.int64) + 1 - n_attempts, 0)
    return Plan(
        sample=sample, attempt=attempt, row=row, words=words, matches=matches, n_empty=n_empty, first=first, n=n,
        again=again, unknown=int(unknown), **loads,
    )  # fmt: skip


def _begins(sample: Int64, attempt: Int64) -> Int64:
    """Return where each run of searches of one attempt begins."""
    if not len(sample):
        return np.zeros(0, np.int64)
    new = (np.diff(sample) != 0) | (np.diff(attempt) != 0)
    return np.concatenate(([0], np.flatnonzero(new) + 1))


def _merged(values: Int64, begins: Int64) -> Int64:
    """Return `values` added up by attempt: their match vectors are OR-ed into one load."""
    return np.add.reduceat(values, begins) if len(begins) else values[:0]


def _searched(machine: AmperMachine, trace: Trace) -> dict[str, Int64]:
    """Return the loads of a machine that searches each group once, or finds neighbours one by one."""
    rows, c = trace.searches, machine.costs
    words, neighbours = rows["n_ternary_words"].astype(np.int64), rows["n_neighbours"].astype(np.int64)
    zero = np.zeros(len(rows), np.int64)
    if machine.variant == "amper-fr":
        tallies = words if machine.readout == "rank_select" and not machine.unique else zero
        return {
            "n_keys": zero + 1, "n_words": words, "n_tallies": tallies, "n_products": zero, "n_neighbours": neighbours,
            "last_words": words, "kept": zero + 1, "count": zero, "search": c.search * words,
        }  # fmt: skip
    counted = (neighbours == 0).astype(np.int64)
    words = counted * words
    return {
        "n_keys": counted, "n_words": words, "n_tallies": words, "n_products": counted, "n_neighbours": neighbours,
        "last_words": zero, "kept": zero, "count": counted * (2 * c.way + c.tally + c.multiply) + c.search * words,
        "search": neighbours * c.best_match,
    }  # fmt: skip


def _bisected(machine: AmperMachine, trace: Trace) -> dict[str, Int64]:
    """Return the loads of AMPER-k that finds each group's radius by counting: halved until N_i codes lie in it.

    A count of k words takes 2 w + s k + POP + 2 Lu, and then MUL for the product N_i, or one cycle to compare
    with it. The range found is searched once more, w + s k, to load the latch - or, for a rank tree, to keep
    its counts, POP + 2 Lu + w. The two codes at the radius are words of their own, for of what they match only as
    much belongs to the N_i nearest as is missing without them: those in the lowest slots, which leave an encoder
    first and stand first in a tree of counts. A drain ends there; a rank tree keeps two counts a group.
    """
    rows, c = trace.searches, machine.costs
    words, neighbours = rows["n_ternary_words"].astype(np.int64), rows["n_neighbours"].astype(np.int64)
    found = (neighbours > 0).astype(np.int64)
    halved = np.zeros((len(rows), 3), np.int64)
    key, lo, hi = (np.ascontiguousarray(rows[name], np.int64) for name in ("key", "lo", "hi"))
    kernels.bisections(key, lo, hi, neighbours, trace.header.bits, halved)
    steps, stepped, last = halved[:, 0], halved[:, 1], halved[:, 2]
    words = (1 - found) * words
    once = 2 * c.way + c.tally
    keeps = found if machine.readout == "rank_select" and not machine.unique else 0 * found
    return {
        "n_keys": 1 - found,
        "n_words": words + stepped + last,
        "n_tallies": words + stepped + keeps * last,
        "n_products": 1 - found + steps,
        "n_neighbours": 0 * found,
        "last_words": last,
        "kept": 2 * found,
        "count": (1 - found) * (once + c.multiply)
        + steps * (once + 1)
        + c.search * (words + stepped)
        + keeps * (c.tally + c.way),
        "search": found * c.way + c.search * last,
    }


def _leaving(machine: AmperMachine, trace: Trace, n_loads: int) -> tuple[Int64 | Int32, Int64 | Int32]:
    """Return the words through each port, int[loads, ports], and the addresses into each part of the buffer."""
    none = np.zeros((n_loads, 0), np.int64)
    if machine.readout == "rank_select":
        return none, none
    if not machine.drains:
        return none, trace.searches["n_neighbours"].astype(np.int64)[:, None]
    if machine.readout == "burst":
        # In this order: counting words counts the addresses in them too.
        return bank_counts(machine, trace, addresses_per_word=BURST_WIDTH), bank_counts(machine, trace)
    counts = bank_counts(machine, trace)
    if machine.n_parts == machine.n_banks:  # a port a bank
        return counts, counts
    words = np.zeros((n_loads, machine.n_csb_ports), np.int64)
    kernels.to_ports(counts, words)
    return words, words if machine.n_parts > 1 else words.sum(axis=1, keepdims=True)


def bank_counts(machine: AmperMachine, trace: Trace, addresses_per_word: int = 1) -> Int32:
    """Return what each load brings out of each bank, int32[loads, banks]: the trace's profile."""
    counts = trace.match_counts(
        machine.rows_per_array,
        machine.n_banks,
        "interleaved" if machine.mapping == "interleaved" else "contiguous",
        union=machine.unique,
        addresses_per_word=addresses_per_word,
        n_arrays=machine.geometry.n_arrays,
    )
    return _read_out(machine, trace, counts, addresses_per_word)


def array_counts(machine: AmperMachine, trace: Trace, addresses_per_word: int = 1) -> Int32:
    """Return what each load brings out of each of the trace's arrays, int32[loads, arrays]."""
    counts = trace.match_counts(
        machine.rows_per_array, 1, per="array", union=machine.unique, addresses_per_word=addresses_per_word
    )
    return _read_out(machine, trace, counts, addresses_per_word)


def _check_matches(trace: Trace, counts: npt.NDArray[np.uint32]) -> None:
    """Raise ValueError unless every search found as many rows as the trace says."""
    found, recorded = np.zeros(len(counts), np.int64), trace.searches["n_matches"]
    kernels.row_sums(counts, found)
    if not np.array_equal(found, recorded):
        i = int(np.argmax(found != recorded))
        raise ValueError(f"n_matches of a trace must be what was written, {found[i]} in search {i}, got {recorded[i]}")


def _read_out(machine: AmperMachine, trace: Trace, counts: npt.NDArray[np.uint32], addresses_per_word: int) -> Int32:
    """Return the counts without those of AMPER-k's groups, which are counted and not read out."""
    if machine.variant == "amper-k" and not machine.unique:
        counts = counts.copy()
        counts[trace.searches["n_neighbours"] == 0] = 0
    elif machine.variant == "amper-fr" and not machine.unique and addresses_per_word == 1:
        _check_matches(trace, counts)
    return counts.view(np.int32)  # signed, so that a kernel's sums are int64; a count is at most n_rows
