"""What an action costs: pure functions from technology numbers to whole femtoseconds and attojoules.

Rounding happens here and nowhere else. Analog times are rounded up to clock cycles; energies once, to the
nearest attojoule of one action, so that totals are sums of whole numbers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from hwsim import units
from hwsim.technology import Technology, technology


@dataclass(frozen=True, slots=True, kw_only=True)
class Geometry:
    """How the rows lie in arrays, banks and ports.

    Parameters
    ----------
    n_rows, rows_per_array, bits : int
        `n_arrays` = ceil(n_rows / rows_per_array) arrays of `bits` columns.
    n_banks, n_csb_ports : int
        Arrays are spread over banks, banks statically over the ports of the candidate-set buffer.
    csb_entries : int
        Addresses the candidate-set buffer holds.
    """

    n_rows: int
    rows_per_array: int
    bits: int
    n_banks: int
    n_csb_ports: int
    csb_entries: int

    @property
    def n_arrays(self) -> int:
        """Number of arrays."""
        return -(-self.n_rows // self.rows_per_array)

    @property
    def address_bits(self) -> int:
        """Width of a slot's address."""
        return max(1, (self.n_rows - 1).bit_length())


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
    count : int
        Population count, adder tree and the product N_i: POP + Lu * 2 + MUL at 45 nm and 1 GHz.
    compare : int
        From the arrays' encoders to one winner at the root: 1 + Lu + 1.
    draw : int
        From |CSP| and a uniform number to a rank (DRAW).
    urng_aj, query_aj, draw_aj : int
        One number, one ternary word, one rank.
    search_aj, best_match_aj : int
        One search of *all* arrays.
    write_aj, encode_aj, csb_aj : int
        One row written; one address encoded; one address written to or read from the candidate-set buffer.
    count_aj, compare_aj : int
        One population count over all arrays with its N_i; one best match compared up the tree.
    """

    period_fs: int
    urng: int
    query: int
    way: int
    search: int
    best_match: int
    write: int
    count: int
    compare: int
    draw: int
    urng_aj: int
    query_aj: int
    draw_aj: int
    search_aj: int
    best_match_aj: int
    write_aj: int
    encode_aj: int
    csb_aj: int
    count_aj: int
    compare_aj: int


def tree_levels(n_leaves: int, radix: int) -> int:
    """Return ceil(log_radix(n_leaves)) without floating point.

    Examples
    --------
    >>> tree_levels(313, 16), tree_levels(256, 16), tree_levels(1, 16)
    (3, 2, 0)
    """
    levels, reach = 0, 1
    while reach < n_leaves:
        levels, reach = levels + 1, reach * radix
    return levels


def tree_nodes(n_leaves: int, radix: int) -> int:
    """Return the inner nodes of a tree of that radix over `n_leaves`; a lone leaf has none."""
    nodes = 0
    while n_leaves > 1:
        n_leaves = -(-n_leaves // radix)
        nodes += n_leaves
    return nodes


def largest_clock_ghz(tech: Technology) -> float:
    """Return the clock at which the slowest single-cycle block still fits its cycle."""
    return 1.0 / max(tech.number("urng.delay_ns"), tech.number("encoder.delay_ns"), tech.number("sram.access_ns"))


def sram_access_pj(tech: Technology, n_bytes: float, access_bits: int) -> float:
    """Return the energy of one SRAM access, between (and beyond) three sizes by power laws.

    The sizes are stated for 64-bit accesses; a narrower one is taken as proportional to its width, since
    bit lines and sense amplifiers dominate.
    """
    points = [(2.0**13, "8kb"), (2.0**15, "32kb"), (2.0**20, "1mb")]
    (x0, y0), (x1, y1), (x2, y2) = [
        (math.log(size), math.log(tech.number(f"sram.energy_{name}_pj"))) for size, name in points
    ]
    x = math.log(max(n_bytes, 1.0))
    y = y0 + (x - x0) * (y1 - y0) / (x1 - x0) if x < x1 else y1 + (x - x1) * (y2 - y1) / (x2 - x1)
    return math.exp(y) * access_bits / 64


def h_tree_fs(tech: Technology, n_arrays: int, array_um2: float) -> int:
    """Return one way over the H-tree: the side of the square of all arrays, by repeated wire."""
    side_mm = math.sqrt(n_arrays * array_um2) / 1000
    return units.fs_from_ns(tech.number("wire.delay_ps_per_mm") * side_mm / 1000)


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
    two cycles an adder-tree level, DRAW = 4 (a multiply and a look-up of the same length), MUL = 2.
    """
    array = tech.array(words=geometry.rows_per_array, bits=geometry.bits)
    period = units.period_fs(clock_ghz)

    def cycles(ns: float) -> int:
        return max(1, units.cycles_from_fs(units.fs_from_ns(ns), period))

    n_arrays = geometry.n_arrays
    levels = tree_levels(n_arrays, 16)
    nodes = tree_nodes(n_arrays, 16)
    search = cycles(array.search_ns)
    multiply = cycles(tech.number("query_generator.delay_ns"))
    search_aj = units.aj_from_pj(array.search_pj)
    count_pj = n_arrays * -(-geometry.rows_per_array // 64) * tech.number("population_count.energy_pj")
    count_pj += nodes * tech.number("adder_tree_node.energy_pj") + tech.number("draw_unit.energy_pj")
    csb_bytes = geometry.csb_entries * geometry.address_bits / 8
    return AmperCosts(
        period_fs=period,
        urng=cycles(tech.number("urng.delay_ns")),
        query=3 * multiply,
        way=max(1, units.cycles_from_fs(h_tree_fs(tech, n_arrays, array.area_um2), period)),
        search=search,
        # The guard keeps 3.0 * 5 from becoming 16 through a rounding error of the product.
        best_match=max(1, math.ceil(best_match_factor * search - 1e-9)),
        write=cycles(array.write_ns),
        count=cycles(tech.number("population_count.delay_ns"))
        + levels * cycles(tech.number("adder_tree_node.delay_ns"))
        + multiply,
        compare=1 + levels + 1,
        draw=2 * multiply,
        urng_aj=units.aj_from_pj(tech.number("urng.energy_pj")),
        query_aj=units.aj_from_pj(tech.number("query_generator.energy_pj")),
        draw_aj=units.aj_from_pj(tech.number("draw_unit.energy_pj")),
        search_aj=n_arrays * search_aj,
        best_match_aj=n_arrays * math.floor(best_match_factor * search_aj + 0.5),
        write_aj=units.aj_from_pj(array.write_pj),
        # One encoder names the array, one the row in it.
        encode_aj=2 * units.aj_from_pj(tech.number("encoder.energy_pj")),
        csb_aj=units.aj_from_pj(sram_access_pj(tech, csb_bytes, geometry.address_bits)),
        count_aj=units.aj_from_pj(count_pj),
        compare_aj=nodes * units.aj_from_pj(tech.number("compare_tree_node.energy_pj")),
    )


def amper_areas_um2(tech: Technology, geometry: Geometry) -> dict[str, float]:
    """Return the area of each component of the associative machine, um2.

    Write drivers lie inside the arrays' area. Wires, control and the clock tree are not covered.
    """
    array = tech.array(words=geometry.rows_per_array, bits=geometry.bits)
    n_arrays, per_array = geometry.n_arrays, -(-geometry.rows_per_array // 64)
    arrays_per_bank = -(-n_arrays // geometry.n_banks)
    n_encoders = n_arrays * per_array + geometry.n_banks * -(-arrays_per_bank // 64)
    nodes = tree_nodes(n_arrays, 16)
    csb_bits = geometry.csb_entries * geometry.address_bits
    return {
        "urng": tech.number("urng.area_um2"),
        "query_generator": tech.number("query_generator.area_um2"),
        "arrays": n_arrays * array.area_um2,
        "encoders": n_encoders * tech.number("encoder.area_um2"),
        "csb": csb_bits * tech.number("sram.cell_area_um2") / tech.number("sram.area_efficiency"),
        "draw_unit": tech.number("draw_unit.area_um2"),
        "counters": n_arrays * per_array * tech.number("population_count.area_um2")
        + nodes * tech.number("adder_tree_node.area_um2")
        + tech.number("draw_unit.area_um2"),
        "compare_tree": nodes * tech.number("compare_tree_node.area_um2"),
    }


def fetch_fs(batch_size: int, row_bytes: int) -> int:
    """Return the time to gather the rows of one batch from one DRAM channel, the same for every machine.

    Examples
    --------
    >>> fetch_fs(64, 100) == (60 + 64 * 2 * 2.5) * 10**6
    True
    """
    memory = technology("row-memory")
    lines = -(-row_bytes // int(memory.number("row_memory.line_bytes")))
    line_fs = units.fs_from_ns(memory.number("row_memory.line_ns"))
    return units.fs_from_ns(memory.number("row_memory.access_ns")) + batch_size * lines * line_fs


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuCosts:
    """Costs of a sum tree on one GPU.

    Parameters
    ----------
    t_op_fs : int
        One operation launched.
    depth : int
        Levels of the tree, D = ceil(log2 n_rows).
    descent_fs : int
        D dependent memory accesses with their comparison: D (L + c_alu) / f.
    """

    t_op_fs: int
    depth: int
    descent_fs: int


def gpu_costs(tech: Technology, gpu: str, n_rows: int, t_op_us: float) -> GpuCosts:
    """Return the costs of a sum tree; L is L2's latency while 8 n bytes fit it, else DRAM's."""
    depth = (n_rows - 1).bit_length()
    fits = 8 * n_rows <= tech.number(f"{gpu}.l2_bytes")
    latency = tech.number(f"{gpu}.l2_cycles" if fits else f"{gpu}.dram_cycles")
    level_ns = (latency + tech.number("model.alu_cycles")) / tech.number(f"{gpu}.clock_ghz")
    return GpuCosts(
        t_op_fs=units.fs_from_ns(t_op_us * 1000), depth=depth, descent_fs=units.fs_from_ns(depth * level_ns)
    )
