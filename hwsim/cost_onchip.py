"""What the machines without a TCAM cost: an SRAM by its size, a level of a sum tree, a try of rejection.

Times are cycles, energies whole attojoules of one action, as in `cost`. An adder, a subtractor and a comparator
cost the same by the bit and take one cycle (`fastest_clock_ghz`). Everything is pipelined: cycles are depths, and
one item a cycle enters.
"""

from __future__ import annotations

from dataclasses import dataclass

from hwsim import units
from hwsim.cost import cycles_of, memory_cycles, memory_um2, sram_access_pj, tree_levels
from hwsim.technology import Technology

FAN_OUTS = (2, 4, 8, 16)


def fastest_clock_ghz(tech: Technology) -> float:
    """Return the clock at which a uniform number, and an addition, still fit a cycle; memories take several."""
    return 1.0 / max(tech.number("urng.delay_ns"), tech.number("adder.delay_ns"))


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeLevel:
    """One level below the root: a memory, a routing node behind it, an adder beside it.

    Parameters
    ----------
    n_words, word_bits : int
        Sums (masses at the leaves), each wide enough for the exact sum of the leaves below it.
    read : int
        Cycles of the memory.
    descend_aj : int
        One draw: the children of a node read in one wide word.
    route_aj : int
        One draw routed to one of them.
    rewrite_aj : int
        One row: one word read and written.
    add_aj : int
        One row: its difference formed (leaves) or added (above).
    """

    n_words: int
    word_bits: int
    read: int
    descend_aj: int
    route_aj: int
    rewrite_aj: int
    add_aj: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeCosts:
    """Costs of an on-chip sum tree; times in cycles of `period_fs`.

    Parameters
    ----------
    period_fs : int
        One clock cycle.
    draw : int
        From a uniform number and the root's sum to a rank (DRAW), as in the associative machine.
    route : int
        Through one routing node.
    root_bits : int
        Width of the root, a register.
    urng_aj, draw_aj, root_add_aj : int
        One uniform number, one rank, one addition to the root.
    levels : tuple of TreeLevel
        Below the root, the leaves last.
    """

    period_fs: int
    draw: int
    route: int
    root_bits: int
    urng_aj: int
    draw_aj: int
    root_add_aj: int
    levels: tuple[TreeLevel, ...]

    @property
    def stored_bits(self) -> int:
        """Bits of SRAM, all levels."""
        return sum(level.n_words * level.word_bits for level in self.levels)


def tree_costs(tech: Technology, n_rows: int, fan_out: int, bits: int, clock_ghz: float) -> TreeCosts:
    """Return the costs of a sum tree with one SRAM a level.

    Parameters
    ----------
    tech : Technology
        SRAM and digital blocks.
    n_rows, fan_out, bits : int
        Leaves, children of a node (K), width of a leaf.
    clock_ghz : float
        One clock for everything.

    Notes
    -----
    D = ceil(log_K n), at least 1; level l holds ceil(n / K^(D - l)) words of bits + ceil(log2 K^(D - l)) bits.
    A routing node's area and energy are the radix-4 node's, in proportion to K - 1 comparisons and to the width.
    """
    period = units.period_fs(clock_ghz)
    depth = max(1, tree_levels(n_rows, fan_out))
    bit_pj = tech.number("adder.bit_energy_pj")
    levels = []
    for below in (fan_out ** (depth - level) for level in range(1, depth + 1)):
        n_words, width = -(-n_rows // below), _sum_bits(bits, n_rows, below)
        n_bytes = n_words * width / 8
        word_pj = sram_access_pj(tech, n_bytes, width)
        levels.append(
            TreeLevel(
                n_words=n_words,
                word_bits=width,
                read=memory_cycles(tech, n_words * width, period),
                descend_aj=units.aj_from_pj(min(fan_out, n_words) * word_pj),
                route_aj=units.aj_from_pj(tech.number("routing_node.energy_pj") * _node_size(fan_out, width)),
                rewrite_aj=2 * units.aj_from_pj(word_pj),
                add_aj=units.aj_from_pj(width * bit_pj),
            )
        )
    root_bits = _sum_bits(bits, n_rows, n_rows)
    return TreeCosts(
        period_fs=period,
        draw=2 * cycles_of(tech.number("query_generator.delay_ns"), period),
        route=cycles_of(tech.number(f"routing_node.radix_{fan_out}_ns"), period),
        root_bits=root_bits,
        urng_aj=units.aj_from_pj(tech.number("urng.energy_pj")),
        draw_aj=units.aj_from_pj(tech.number("draw_unit.energy_pj")),
        root_add_aj=units.aj_from_pj(root_bits * bit_pj),
        levels=tuple(levels),
    )


def tree_areas_um2(tech: Technology, costs: TreeCosts, fan_out: int, *, two_ports: bool) -> dict[str, float]:
    """Return the area of each component of an on-chip sum tree, um2."""
    node = tech.number("routing_node.area_um2")
    added_bits = costs.root_bits + sum(level.word_bits for level in costs.levels)
    return {
        "urng": tech.number("urng.area_um2"),
        "draw_unit": tech.number("draw_unit.area_um2"),
        "node_memories": memory_um2(tech, costs.stored_bits, two_ports=two_ports),
        "routers": sum(node * _node_size(fan_out, level.word_bits) for level in costs.levels),
        "adders": added_bits * tech.number("adder.bit_area_um2"),
    }


def _sum_bits(bits: int, n_rows: int, below: int) -> int:
    """Return the width that holds the sum of `below` leaves, or of all there are."""
    return bits + (min(below, n_rows) - 1).bit_length()


def _node_size(fan_out: int, width: int) -> float:
    """Return a routing node's comparisons times their width, over those of the radix-4 node of 20 bits."""
    return (fan_out - 1) / 3 * width / 20


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectionCosts:
    """Costs of on-chip rejection; times in cycles of `period_fs`.

    Parameters
    ----------
    period_fs : int
        One clock cycle.
    urng, query : int
        One uniform number (U); the query generator's depth (Q).
    address : int
        From a uniform number to a slot: one multiplication.
    read, accept : int
        One code read; its matches counted (POP) and accepted or not (1). The comparison between takes one.
    urng_aj, query_aj, address_aj, read_aj, accept_aj : int
        One uniform number, one range, one slot, one code read, one count with its decision.
    range_aj : int
        One code compared with one range, both ends.
    write_aj : int
        One code written.
    """

    period_fs: int
    urng: int
    query: int
    address: int
    read: int
    accept: int
    urng_aj: int
    query_aj: int
    address_aj: int
    read_aj: int
    range_aj: int
    accept_aj: int
    write_aj: int

    @property
    def depth(self) -> int:
        """Cycles of one try from its uniform number to its decision."""
        return self.address + self.read + 1 + self.accept


def rejection_costs(tech: Technology, n_rows: int, n_lanes: int, bits: int, clock_ghz: float) -> RejectionCosts:
    """Return the costs of rejection on `n_lanes` banks of one SRAM."""
    period = units.period_fs(clock_ghz)
    bank_bits = -(-n_rows // n_lanes) * bits
    multiply = cycles_of(tech.number("query_generator.delay_ns"), period)
    access_aj = units.aj_from_pj(sram_access_pj(tech, bank_bits / 8, bits))
    return RejectionCosts(
        period_fs=period,
        urng=cycles_of(tech.number("urng.delay_ns"), period),
        query=3 * multiply,
        address=multiply,
        read=memory_cycles(tech, bank_bits, period),
        accept=cycles_of(tech.number("population_count.delay_ns"), period) + 1,
        urng_aj=units.aj_from_pj(tech.number("urng.energy_pj")),
        query_aj=units.aj_from_pj(tech.number("query_generator.energy_pj")),
        address_aj=units.aj_from_pj(tech.number("draw_unit.energy_pj")),
        read_aj=access_aj,
        range_aj=units.aj_from_pj(2 * bits * tech.number("adder.bit_energy_pj")),
        accept_aj=units.aj_from_pj(tech.number("population_count.energy_pj")),
        write_aj=access_aj,
    )


def rejection_areas_um2(tech: Technology, n_rows: int, n_lanes: int, bits: int, n_ranges: int) -> dict[str, float]:
    """Return the area of each component of on-chip rejection, um2; every lane has comparators of its own."""
    return {
        "urng": 2 * n_lanes * tech.number("urng.area_um2"),
        "query_generator": tech.number("query_generator.area_um2"),
        "address_units": n_lanes * tech.number("draw_unit.area_um2"),
        "memory": memory_um2(tech, code_bits(n_rows, n_lanes, bits)),
        "comparators": n_lanes * n_ranges * 2 * bits * tech.number("adder.bit_area_um2"),
        "counters": n_lanes * tech.number("population_count.area_um2"),
    }


def code_bits(n_rows: int, n_lanes: int, bits: int) -> int:
    """Return the bits of all banks, which are equally large."""
    return n_lanes * -(-n_rows // n_lanes) * bits
