"""The machines as formulas, in whole clock cycles: exact where no other op holds or requests the hardware.

Every function takes flat int64 arrays over all searches, samplings or rows of a trace and loops over none.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hwsim.component import Charge
from hwsim.cost import AmperCosts

Int64 = npt.NDArray[np.int64]


class NotApplicableError(ValueError):
    """The closed form does not hold for an op; the message names the op and the reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosedTimes:
    """What a formula says of a trace.

    Parameters
    ----------
    latency_fs : int64[ops]
        Latency of each op.
    phases_fs : dict of int64[samplings]
        The latency of each sampling, split along its critical path.
    charges : list of Charge
        Who worked, waited and paid.
    """

    latency_fs: Int64
    phases_fs: dict[str, Int64]
    charges: list[Charge]


@dataclass(frozen=True, slots=True, kw_only=True)
class Searches:
    """The searches of a trace as the machine's timing sees them.

    Parameters
    ----------
    sample : int64[k]
        Sampling each search belongs to, ascending.
    attempt : int64[k]
        0, then redraws.
    n_words : int64[k]
        Ternary words searched one after another.
    n_neighbours : int64[k]
        Best-match searches; 0 for a range search.
    drain : int64[k]
        Matches through the most loaded port (D).
    n_matches : int64[k]
        Matches of all banks.
    """

    sample: Int64
    attempt: Int64
    n_words: Int64
    n_neighbours: Int64
    drain: Int64
    n_matches: Int64


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempts:
    """Runs of searches between two draws of the representatives.

    Parameters
    ----------
    first, last : int64[a]
        First and last search of each attempt.
    sample : int64[a]
        Its sampling.
    """

    first: Int64
    last: Int64
    sample: Int64


def attempts_of(searches: Searches) -> Attempts:
    """Return the attempts that searched at all, in order."""
    k = len(searches.sample)
    if k == 0:
        none = np.zeros(0, np.int64)
        return Attempts(first=none, last=none, sample=none)
    new = np.diff(searches.sample) != 0
    new |= np.diff(searches.attempt) != 0
    first = np.concatenate(([0], np.flatnonzero(new) + 1)).astype(np.int64)
    last = np.concatenate((first[1:] - 1, [k - 1])).astype(np.int64)
    return Attempts(first=first, last=last, sample=searches.sample[first])


def candidates(searches: Searches, runs: Attempts) -> Int64:
    """Return int64[a]: how many addresses each attempt offers to the candidate-set buffer."""
    return np.add.reduceat(searches.n_matches, runs.first) if len(runs.first) else runs.first


def csb_sampling(
    searches: Searches, costs: AmperCosts, batch_size: Int64, n_empty: Int64
) -> tuple[dict[str, Int64], Int64]:
    """Return the phases of AMPER-fr samplings read out through a candidate-set buffer, in cycles.

    Parameters
    ----------
    searches : Searches
        k searches.
    costs : AmperCosts
        Cycles of every action.
    batch_size, n_empty : int64[samplings]
        Draws; attempts in which every group was skipped, so that only the URNG worked.

    Returns
    -------
    phases : dict of int64[samplings]
        `query`, `search`, `readout`, `draw`; their sum is the latency.
    stall : int64[k]
        Cycles each search's result waits for the match latch.

    Notes
    -----
    With k_g ternary words and D_g matches through the most loaded port, an attempt runs

        load_0     = U + Q + w + s k_0
        end_g      = load_g + (D_g > 0 ? 1 + D_g : 0)
        load_{g+1} = max(load_g + s k_{g+1}, end_g - 1)
        attempt    = max over g of end_g + w + 1

    so load_{g+1} - load_g = max(s k_{g+1}, D_g): the latch is loaded again in the last cycle of the drain.
    The maximum is end_last, unless the last search found nothing while the drain before it was still in its
    last cycle: then it is one cycle more. A redraw starts when the count of the attempt before it is known.
    latency = sum of attempts + DRAW + b; an attempt without searches costs U. The gap between two loads
    belongs to `search` where the search decides it (ties included), to `readout` where the drain does.
    """
    n_samples = len(batch_size)
    runs = attempts_of(searches)
    search = costs.search * searches.n_words
    gap = search.copy()
    follows = np.ones(len(search), bool)
    follows[runs.first] = False
    inner = np.flatnonzero(follows)
    gap[inner] = np.maximum(search[inner], searches.drain[inner - 1])
    drained = gap > search
    tail = searches.drain[runs.last] + (searches.drain[runs.last] > 0)
    before = searches.drain[runs.last - 1]
    spills = (runs.last > runs.first) & (before > 0) & (before >= search[runs.last])
    tail = np.maximum(tail, spills)
    phases = {
        "query": n_empty * costs.urng + add_by(runs.sample, costs.urng + costs.query + costs.way, n_samples),
        "search": add_by(searches.sample, np.where(drained, 0, gap), n_samples),
        "readout": add_by(searches.sample, np.where(drained, gap, 0), n_samples)
        + add_by(runs.sample, tail + costs.way + 1, n_samples),
        "draw": costs.draw + batch_size,
    }
    return phases, gap - search


def nearest_sampling(searches: Searches, costs: AmperCosts, batch_size: Int64, n_empty: Int64) -> dict[str, Int64]:
    """Return the phases of AMPER-k samplings, in cycles; one row at a time leaves the arrays.

    Parameters
    ----------
    searches : Searches
        Per group a count (n_neighbours 0) and, where N_i > 0, a nearest row.
    costs, batch_size, n_empty
        As for `csb_sampling`.

    Returns
    -------
    dict of int64[samplings]
        `query`, `count`, `search`, `readout`, `draw`; their sum is the latency.

    Notes
    -----
    The rows of an attempt run one after another, so the latency is a plain sum:

        attempt = U + Q + sum over rows + 1          (the last address enters the buffer)
        count   = 2 w + k s + POP + 2 Lu + MUL       (down, k words, count up the adder tree, N_i)
        nearest = N (2 w + ceil(f s) + 1 + Lu + 1)   (down, best match, encoder, compare tree, back)

    with f = best_match_factor. latency = sum of attempts + DRAW + b. An address enters the buffer while the
    next search is on its way down. `search` holds the best matches alone, `readout` their ways and trees.
    """
    n_samples = len(batch_size)
    runs = attempts_of(searches)
    is_count = searches.n_neighbours == 0
    count = np.where(is_count, 2 * costs.way + costs.search * searches.n_words + costs.count, 0)
    return {
        "query": n_empty * costs.urng + add_by(runs.sample, costs.urng + costs.query, n_samples),
        "count": add_by(searches.sample, count, n_samples),
        "search": add_by(searches.sample, searches.n_neighbours * costs.best_match, n_samples),
        "readout": add_by(searches.sample, searches.n_neighbours * (2 * costs.way + costs.compare), n_samples)
        + add_by(runs.sample, 1, n_samples),
        "draw": costs.draw + batch_size,
    }


def write_finish(op: Int64, bank: Int64, n_banks: int, costs: AmperCosts) -> Int64:
    """Return when each row of the writes is stored, in cycles after its op's start.

    Parameters
    ----------
    op, bank : int64[rows]
        Op (ascending) and bank of each row, in the order in which rows arrive.
    n_banks : int
        Number of banks; each writes one row at a time.
    costs : AmperCosts
        Cycles of a write (W) and of one way over the H-tree (w).

    Returns
    -------
    int64[rows]
        Row j of an op reaches its bank at w + j. Over the rows i = 0..k of that bank the max-plus recursion
        finish_k = max(w + j_k, finish_{k-1}) + W unrolls to max over i <= k of w + j_i + (k - i + 1) W.
    """
    if not len(op):
        return np.zeros(0, np.int64)
    position = np.arange(len(op)) - _first_of_run(op)
    queue = op * n_banks + bank
    order = np.argsort(queue, kind="stable")
    place = np.arange(len(op)) - _first_of_run(queue[order])
    slack = position[order] - place * costs.write
    # One cumulative maximum serves all queues: each is lifted above everything before it.
    lift = (np.cumsum(np.diff(queue[order], prepend=queue[order][0]) != 0)) * (np.ptp(slack) + 1)
    best = np.maximum.accumulate(slack + lift) - lift
    finish = np.empty(len(op), np.int64)
    finish[order] = costs.way + best + (place + 1) * costs.write
    return finish


def _first_of_run(values: Int64) -> Int64:
    """Return, for each element, where its run of equal neighbours begins."""
    starts = np.concatenate(([True], np.diff(values) != 0))
    return np.maximum.accumulate(np.where(starts, np.arange(len(values)), 0))


def add_by(index: Int64, values: Int64 | int, n: int) -> Int64:
    """Return int64[n]: `values` added up by `index`, int64[k]."""
    result = np.zeros(n, np.int64)
    np.add.at(result, index, values)
    return result
