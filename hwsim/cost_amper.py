"""What the actions and parts of the associative machine cost: cycles, attojoules, um2."""

from __future__ import annotations

import math
from dataclasses import dataclass

from hwsim import units
from hwsim.cost import HTree, cycles_of, h_tree, memory_cycles, memory_um2, sram_access_pj, tree_levels, tree_nodes
from hwsim.technology import Technology

#: Addresses of one array that readout "burst" packs into one word of a bank's buffer.
BURST_WIDTH = 8
#: Inputs of a population count, an encoder, a rank select: larger arrays take several.
_BLOCK = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Geometry:
    """How the rows lie in arrays, banks and ports, and what is kept beside them.

    Parameters
    ----------
    n_rows, rows_per_array, bits : int
        `n_arrays` = ceil(n_rows / rows_per_array) arrays of `bits` columns.
    n_banks, n_csb_ports : int
        Arrays are spread over banks, banks over the ports of the candidate-set buffer.
    csb_entries : int
        Addresses the candidate-set buffer holds.
    n_groups : int
        Counts that the nodes of the rank tree keep of each child.
    readout : str
        How matches leave.
    n_parts : int
        Equal parts of the buffer, each where the banks are that it serves.
    parts : frozenset of str
        Components the machine has, by name: what lies among the arrays makes their square larger.
    """

    n_rows: int
    rows_per_array: int
    bits: int
    n_banks: int
    n_csb_ports: int
    csb_entries: int
    n_groups: int
    readout: str
    n_parts: int
    parts: frozenset[str]

    @property
    def n_arrays(self) -> int:
        """Number of arrays."""
        return -(-self.n_rows // self.rows_per_array)

    @property
    def n_blocks(self) -> int:
        """Number of blocks of up to 64 rows, the leaves of every tree."""
        return self.n_arrays * -(-self.rows_per_array // _BLOCK)

    @property
    def address_bits(self) -> int:
        """Width of a slot's address."""
        return max(1, (self.n_rows - 1).bit_length())

    def count_bits(self) -> list[tuple[int, int]]:
        """Return, level by level of the radix-16 tree, (counts stored, width of one); leaves first.

        Examples
        --------
        >>> geometry = Geometry(n_rows=20_000, rows_per_array=64, bits=16, n_banks=8, n_csb_ports=1, csb_entries=1,
        ...                     n_groups=20, readout="rank_select", n_parts=1, parts=frozenset())
        >>> geometry.count_bits(), round(sum(n * bits for n, bits in geometry.count_bits()) * 20 / 313)
        ([(313, 7), (20, 11), (2, 15)], 156)
        """
        counts, n, rows = [], self.n_blocks, min(self.rows_per_array, _BLOCK)
        while n > 1:
            counts.append((n, rows.bit_length()))
            n, rows = -(-n // 16), rows * 16
        return counts

    def stored_bits(self) -> dict[str, int]:
        """Return the bits of SRAM in each component that has any, whether this machine has it or not."""
        return {
            "csb": self.csb_entries * self.address_bits,
            "rank_tree": self.n_groups * sum(n * bits for n, bits in self.count_bits()),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class AmperCosts:
    """Costs of every action of the associative machine; times in cycles of `period_fs`.

    Parameters
    ----------
    period_fs : int
        One clock cycle.
    urng, query, way : int
        One uniform number (U); the query generator's depth (Q); one way over the H-tree (w).
    search, best_match, write : int
        One exact search (s), one best-match search, one row written.
    population, tally : int
        From match lines to a block's count (POP); to a count at the root (POP + 2 Lu).
    multiply : int
        A product of AMPER-k's N_i, or a comparison of a bisection's count with it (MUL).
    compare : int
        From the arrays' encoders to one winner at the root: 1 + Lu + 1.
    draw : int
        From |CSP| and a uniform number to a rank (DRAW).
    csb_read : int
        An address from the candidate-set buffer: further cycles than one are passed once, it is pipelined.
    route, select : int
        A rank down the tree to its array (2 Ld); its match among 64 (SEL).
    urng_aj, query_aj, draw_aj, multiply_aj : int
        One number, one ternary word, one rank, one product or comparison.
    array_aj, search_aj, best_match_aj : int
        One search of one array; one search, one best match of *all* arrays.
    write_aj, encode_aj, csb_aj : int
        One row written; one address encoded; one address written to or read from the candidate-set buffer.
    tally_aj, keep_aj, compare_aj : int
        One count over all arrays; its parts kept by all nodes; one best match compared up the tree.
    route_aj, select_aj : int
        One rank down the tree, nodes and their counts; one match selected.
    key_down_aj, rank_down_aj, row_down_aj : int
        One key and mask to all arrays; one rank with them, one row with its address to one array.
    address_up_aj, draw_up_aj : int
        One address from its array to its part of the buffer, or the root; from there to the root.
    counts_up_aj, winner_up_aj : int
        The counts, the best distances and addresses of all arrays.
    """

    period_fs: int
    urng: int
    query: int
    way: int
    search: int
    best_match: int
    write: int
    population: int
    tally: int
    multiply: int
    compare: int
    draw: int
    csb_read: int
    route: int
    select: int
    urng_aj: int
    query_aj: int
    draw_aj: int
    multiply_aj: int
    array_aj: int
    search_aj: int
    best_match_aj: int
    write_aj: int
    encode_aj: int
    csb_aj: int
    tally_aj: int
    keep_aj: int
    compare_aj: int
    route_aj: int
    select_aj: int
    key_down_aj: int
    rank_down_aj: int
    row_down_aj: int
    address_up_aj: int
    draw_up_aj: int
    counts_up_aj: int
    winner_up_aj: int


def largest_clock_ghz(tech: Technology) -> float:
    """Return the clock at which the slowest single-cycle block still fits its cycle."""
    blocks = ("urng.delay_ns", "encoder.delay_ns", "adder.delay_ns", "sram.access_ns")
    return 1.0 / max(tech.number(name) for name in blocks)


def amper_costs(tech: Technology, geometry: Geometry, clock_ghz: float, best_match_factor: float) -> AmperCosts:
    """Return the costs of one associative machine.

    Parameters
    ----------
    tech : Technology
        Arrays and 45 nm periphery.
    geometry : Geometry
        Arrays, banks, ports, buffer.
    clock_ghz : float
        One clock for everything.
    best_match_factor : float
        Best match over exact match, in time and in energy [assumed: no absolute number was found].

    Notes
    -----
    At 1 GHz: U = 1, Q = 6 (three stages of one 1.6 ns multiply each), w = 1 up to a million rows, POP = 2,
    two cycles a level of the radix-16 adder tree (Lu levels) and of the radix-4 routing tree (Ld levels),
    SEL = 3, DRAW = 4 (a multiply and a look-up of the same length), MUL = 2.
    """
    array = tech.array(words=geometry.rows_per_array, bits=geometry.bits)
    period = units.period_fs(clock_ghz)

    def cycles(name: str) -> int:
        return cycles_of(tech.number(f"{name}.delay_ns"), period)

    search, multiply = cycles_of(array.search_ns, period), cycles("query_generator")
    levels = tree_levels(geometry.n_blocks, 16)
    part_bits = -(-geometry.csb_entries // min(geometry.n_parts, geometry.n_arrays)) * geometry.address_bits
    return AmperCosts(
        period_fs=period,
        urng=cycles("urng"),
        query=3 * multiply,
        way=max(1, units.cycles_from_fs(_tree(tech, geometry).way_fs, period)),
        search=search,
        # The guard keeps 3.0 * 5 from becoming 16 through a rounding error of the product.
        best_match=max(1, math.ceil(best_match_factor * search - 1e-9)),
        write=cycles_of(array.write_ns, period),
        population=cycles("population_count"),
        tally=cycles("population_count") + levels * cycles("adder_tree_node"),
        multiply=multiply,
        compare=1 + levels * cycles("compare_tree_node") + 1,
        draw=2 * multiply,
        csb_read=memory_cycles(tech, part_bits, period),
        route=tree_levels(geometry.n_blocks, 4) * cycles_of(tech.number("routing_node.radix_4_ns"), period),
        select=cycles("rank_select"),
        **_energies(tech, geometry, best_match_factor),
    )


def _energies(tech: Technology, geometry: Geometry, best_match_factor: float) -> dict[str, int]:
    """Return the energy of every action, attojoules."""
    array = tech.array(words=geometry.rows_per_array, bits=geometry.bits)
    tree, bit_pj = _tree(tech, geometry), tech.number("wire.bit_mm_pj")
    n, n_blocks, nodes = geometry.n_arrays, geometry.n_blocks, tree_nodes(geometry.n_blocks, 16)
    aj, key, address = units.aj_from_pj, 2 * geometry.bits, geometry.address_bits
    search_aj = aj(array.search_pj)
    # What a node of the rank tree keeps: sixteen counts a group, read and written together.
    keeps = [
        (-(-count // 16), sram_access_pj(tech, 2 * bits * geometry.n_groups, 16 * bits))
        for count, bits in geometry.count_bits()
    ]
    descent_pj = tree_levels(n_blocks, 4) * tech.number("routing_node.energy_pj") + sum(pj for _, pj in keeps)
    tally_pj = n_blocks * tech.number("population_count.energy_pj") + nodes * tech.number("adder_tree_node.energy_pj")
    up_bits, up_mm, draw_mm = _upward(geometry, tree)
    per_word = BURST_WIDTH if geometry.readout == "burst" else 1
    part_bytes = -(-geometry.csb_entries // min(geometry.n_parts, geometry.n_arrays)) * address / 8
    return {
        "urng_aj": aj(tech.number("urng.energy_pj")),
        "query_aj": aj(tech.number("query_generator.energy_pj")),
        "draw_aj": aj(tech.number("draw_unit.energy_pj")),
        "multiply_aj": aj(tech.number("draw_unit.energy_pj")),
        "array_aj": search_aj,
        "search_aj": n * search_aj,
        "best_match_aj": n * math.floor(best_match_factor * search_aj + 0.5),
        "write_aj": aj(array.write_pj),
        # One encoder names the array, one the row in it.
        "encode_aj": 2 * aj(tech.number("encoder.energy_pj")),
        "csb_aj": aj(sram_access_pj(tech, part_bytes, address)),
        "tally_aj": aj(tally_pj),
        "keep_aj": aj(sum(n_nodes * pj for n_nodes, pj in keeps)),
        "compare_aj": nodes * aj(tech.number("compare_tree_node.energy_pj")),
        "route_aj": aj(descent_pj),
        "select_aj": aj(tech.number("rank_select.energy_pj")),
        "key_down_aj": aj(key * tree.total_mm * bit_pj),
        "rank_down_aj": aj((address + key) * tree.path_mm * bit_pj),
        "row_down_aj": aj((address + geometry.bits) * tree.path_mm * bit_pj),
        "address_up_aj": aj(up_bits / per_word * up_mm * bit_pj),
        "draw_up_aj": aj(address * draw_mm * bit_pj),
        "counts_up_aj": aj(_COUNT_BITS * tree.total_mm * bit_pj),
        "winner_up_aj": aj((geometry.bits + address) * tree.total_mm * bit_pj),
    }


#: Wires of a count: most of the length is at the arrays' end, where it has 7 bits and grows by 2 a fork.
_COUNT_BITS = 9


def _upward(geometry: Geometry, tree: HTree) -> tuple[int, float, float]:
    """Return the width of what leaves an array, its way to its part of the buffer, and from there to the root, mm.

    A burst names the array once and up to eight rows in it.
    """
    row_bits = max(1, (geometry.rows_per_array - 1).bit_length())
    width = geometry.address_bits
    if geometry.readout == "burst":
        width += (BURST_WIDTH - 1) * min(row_bits, width)
    # A part serves a square of its own, one of n_parts in the whole.
    across, parts = math.sqrt(geometry.n_arrays), math.sqrt(min(geometry.n_parts, geometry.n_arrays))
    side_mm = tree.path_mm / (1 - 1 / across) if geometry.n_arrays > 1 else 0.0
    return width, side_mm / parts * (1 - parts / across), side_mm * (1 - 1 / parts)


def _among_arrays_um2(tech: Technology, geometry: Geometry) -> dict[str, float]:
    """Return the area of what lies among the arrays, and theirs, without wires."""
    array = tech.array(words=geometry.rows_per_array, bits=geometry.bits)
    n_blocks, nodes = geometry.n_blocks, tree_nodes(geometry.n_blocks, 16)
    per_bank = -(-n_blocks // geometry.n_banks)
    row_encoder = tech.number("burst_encoder.area_um2" if geometry.readout == "burst" else "encoder.area_um2")
    kept_bits = geometry.stored_bits()["rank_tree"]
    found = {
        "arrays": geometry.n_arrays * array.area_um2,
        "encoders": n_blocks * row_encoder
        + geometry.n_banks * -(-per_bank // _BLOCK) * tech.number("encoder.area_um2"),
        "counters": n_blocks * tech.number("population_count.area_um2")
        + nodes * tech.number("adder_tree_node.area_um2"),
        "compare_tree": nodes * tech.number("compare_tree_node.area_um2"),
        "rank_tree": tree_nodes(n_blocks, 4) * tech.number("routing_node.area_um2") + memory_um2(tech, kept_bits),
        "selectors": n_blocks * tech.number("rank_select.area_um2"),
    }
    return {name: um2 for name, um2 in found.items() if name in geometry.parts}


def _tree(tech: Technology, geometry: Geometry) -> HTree:
    """Return the H-tree over the arrays and what lies among them."""
    square_um2 = sum(_among_arrays_um2(tech, geometry).values())
    return h_tree(tech, geometry.n_arrays, square_um2 / geometry.n_arrays)


def amper_areas_um2(tech: Technology, geometry: Geometry) -> dict[str, float]:
    """Return the area of each component of an associative machine, um2.

    Write drivers lie inside the arrays' area. Wires run above them; their repeaters count.
    """
    tree, among, address = _tree(tech, geometry), _among_arrays_um2(tech, geometry), geometry.address_bits
    wire_um2 = tech.number("wire.repeaters_mm_um2")
    up_bits, _, _ = _upward(geometry, tree)
    across, parts = math.sqrt(geometry.n_arrays), math.sqrt(min(geometry.n_parts, geometry.n_arrays))
    # Of the whole tree's forks those inside the parts carry what leaves the arrays, the others what is drawn.
    to_root = (parts - 1) / (across - 1) if across > 1 else 0.0
    repeaters = {
        "htree_down": 2 * geometry.bits + address,
        "write_bus": geometry.bits + address,
        "htree_up": up_bits * (1 - to_root) + address * to_root,
        "counters": _COUNT_BITS,
        "compare_tree": geometry.bits + address,
    }
    others = {
        "urng": tech.number("urng.area_um2"),
        "query_generator": tech.number("query_generator.area_um2"),
        "csb": memory_um2(tech, geometry.stored_bits()["csb"]),
        "draw_unit": tech.number("draw_unit.area_um2"),
        "multiplier": tech.number("draw_unit.area_um2"),
    }
    wires = {name: bits * tree.total_mm * wire_um2 for name, bits in repeaters.items()}
    names = {*among, *others, *wires} & (geometry.parts | {"htree_down", "write_bus"})
    return {name: among.get(name, 0.0) + others.get(name, 0.0) + wires.get(name, 0.0) for name in names}
