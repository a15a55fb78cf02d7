"""Who works, waits and pays in the associative machine, as its formula finds it: cycles and attojoules, op by op."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from amper.trace import OpKind, Trace
from hwsim._kernels import amper as kernels
from hwsim.component import Charge

if TYPE_CHECKING:
    from hwsim.machines.amper import AmperMachine

Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What every sampling did, int64[samplings] each.

    Parameters
    ----------
    batch, attempts, empty
        Draws; attempts that searched, and that found every group skipped.
    keys, words, tallies, products, neighbours
        Representatives; ternary words; words counted; products and comparisons; best matches.
    kept
        Groups whose counts the rank tree kept.
    matches, lost
        Addresses brought out, and those that found the buffer full.
    moving, moved, waited
        Cycles in which a port moved a word; words moved; cycles that results waited for the match latch.
    reads
        Addresses drawn from the buffer.
    ranks, again, selecting
        Ranks sent down the tree; words searched again for them; cycles in which an array did so.
    """

    batch: Int64
    attempts: Int64
    empty: Int64
    keys: Int64
    words: Int64
    tallies: Int64
    products: Int64
    neighbours: Int64
    kept: Int64
    matches: Int64
    lost: Int64
    moving: Int64
    moved: Int64
    waited: Int64
    reads: Int64
    ranks: Int64
    again: Int64
    selecting: Int64


def sample_charges(machine: AmperMachine, t: Tally, op_of_sample: Int64) -> list[Charge]:
    """Return the work and the waiting of all samplings.

    The entries of one op are laid end to end for each component: only their sums mean anything. A pipelined
    unit is busy while it takes work in; units that work side by side have their time in `unit_busy_fs`.
    """
    c, n_arrays = machine.costs, machine.geometry.n_arrays
    _check_size(machine, t)
    counted = t.tallies + (t.attempts if machine.readout == "rank_select" and machine.unique else 0)
    searching = t.words * c.search + t.neighbours * c.best_match
    # component: (busy, energy), and the working time over all units where they work side by side
    work = {
        "urng": (
            t.keys + t.attempts * (c.urng - 1) + t.empty * c.urng + t.batch,
            (t.keys + t.empty + t.batch) * c.urng_aj,
        ),
        "query_generator": (t.attempts * (c.query - 1) + t.words, t.words * c.query_aj),
        "htree_down": (
            t.words + t.neighbours + t.ranks,
            (t.words + t.neighbours) * c.key_down_aj + t.ranks * c.rank_down_aj,
        ),
        "arrays": (
            searching + t.selecting,
            t.words * c.search_aj + t.neighbours * c.best_match_aj + t.again * c.array_aj,
        ),
        "counters": (counted, counted * (c.tally_aj + c.counts_up_aj)),
        "multiplier": (t.products, t.products * c.multiply_aj),
        "compare_tree": (t.neighbours * (c.compare - 1), t.neighbours * (c.compare_aj + c.winner_up_aj)),
        "encoders": (t.moving, t.matches * c.encode_aj),
        "csb": (t.moving + t.reads, (t.matches - t.lost + t.reads) * c.csb_aj),
        "rank_tree": (t.kept + t.ranks, t.kept * c.keep_aj + t.ranks * c.route_aj),
        "selectors": (t.ranks, t.ranks * c.select_aj),
        "htree_up": (
            t.moving + t.ranks + t.reads,
            (t.matches + t.ranks) * c.address_up_aj + t.reads * c.draw_up_aj,
        ),
        "draw_unit": (c.draw + t.batch, t.batch * c.draw_aj),
    }
    side_by_side = {
        "arrays": searching * n_arrays + t.again * c.search,
        "encoders": t.moved,
        "csb": t.moved + t.reads,
        "htree_up": t.moved + t.ranks + t.reads,
    }
    at_start = np.zeros(len(op_of_sample), np.int64)
    charges = [
        Charge(
            component=spec.name,
            op=op_of_sample,
            offset_fs=at_start,
            duration_fs=work[spec.name][0],
            energy_aj=work[spec.name][1],
            unit_busy_fs=side_by_side.get(spec.name),
        )
        for spec in machine.components
        if spec.name in work
    ]
    waiting = Charge(
        component="arrays",
        op=op_of_sample,
        offset_fs=work["arrays"][0],
        duration_fs=t.waited,
        energy_aj=at_start,
        cause="readout",
    )
    return [*charges, waiting]


def _check_size(machine: AmperMachine, t: Tally) -> None:
    """Raise OverflowError unless what each sampling takes, over all units, fits 63 bits."""
    c = machine.costs
    most = {name: int(getattr(t, name).max(initial=0)) for name in t.__slots__}
    units_fs = most["words"] * c.search + most["neighbours"] * (c.best_match + c.compare + 2 * c.way) + most["moved"]
    energy_aj = most["words"] * (c.search_aj + c.query_aj + c.key_down_aj)
    energy_aj += most["neighbours"] * (c.best_match_aj + c.compare_aj + c.winner_up_aj)
    energy_aj += most["matches"] * (c.encode_aj + c.csb_aj + c.address_up_aj)
    energy_aj += most["tallies"] * (c.tally_aj + c.counts_up_aj) + most["kept"] * c.keep_aj
    energy_aj += (most["batch"] + most["again"]) * (c.array_aj + c.route_aj + c.draw_aj + c.csb_aj)
    if max(units_fs * machine.geometry.n_arrays * c.period_fs, energy_aj) >= 2**63:
        raise OverflowError("a sampling takes more than 63 bits of fs or aJ")


def write_charges(machine: AmperMachine, trace: Trace, latency: Int64) -> list[Charge]:
    """Fill in the latency of every write; return the work of write ports and tree, in cycles.

    From the first row's arrival on some bank always writes: rows arrive every cycle, and after the last one the
    bank that ends last has its queue full.
    """
    c, ops = machine.costs, trace.ops
    op = np.flatnonzero((ops["kind"] != OpKind.SAMPLE) & (ops["count"] > 0))
    count, lasts = ops["count"][op].astype(np.int64), np.zeros(len(op), np.int64)
    kernels.write(
        ops["first"][op].astype(np.int64), count, trace.writes["slot"], machine.bank_of_array(),
        machine.rows_per_array, machine.n_banks, c.way, c.write, lasts,
    )  # fmt: skip
    latency[op] = lasts
    at_start, way = np.zeros(len(op), np.int64), np.full(len(op), c.way)
    ports = Charge(
        component="write_ports", op=op, offset_fs=way, duration_fs=lasts - c.way,
        energy_aj=count * c.write_aj, unit_busy_fs=count * c.write,
    )  # fmt: skip
    tree = Charge(component="write_bus", op=op, offset_fs=at_start, duration_fs=count, energy_aj=count * c.row_down_aj)
    return [ports, tree]
