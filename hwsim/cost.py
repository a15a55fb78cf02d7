"""What an action costs: pure functions from technology numbers to whole femtoseconds and attojoules.

Rounding happens here and nowhere else. Analog times are rounded up to clock cycles; energies once, to the
nearest attojoule of one action, so that totals are sums of whole numbers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from hwsim import units
from hwsim.technology import Technology, technology


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


def cycles_of(ns: float, period_fs: int) -> int:
    """Return the cycles an analog time takes, at least one."""
    return max(1, units.cycles_from_fs(units.fs_from_ns(ns), period_fs))


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


def memory_cycles(tech: Technology, n_bits: int, period_fs: int) -> int:
    """Return the cycles from address to word of an SRAM of `n_bits`.

    Examples
    --------
    >>> [memory_cycles(technology("cmos45"), 8 * kb * 1024, 10**6) for kb in (64, 65, 256, 257, 4096)]
    [1, 2, 2, 3, 4]
    """
    reach, n_fourfolds = 8 * int(tech.number("sram_size.fast_bytes")), 0
    while n_bits > reach:
        reach, n_fourfolds = 4 * reach, n_fourfolds + 1
    return cycles_of(tech.number("sram.access_ns") + n_fourfolds * tech.number("sram_size.fourfold_ns"), period_fs)


def memory_um2(tech: Technology, n_bits: int, *, two_ports: bool = False) -> float:
    """Return the area of an SRAM, um2; a second port takes larger cells."""
    cell = tech.number("sram.cell_area_um2") * (tech.number("sram_size.two_port_area") if two_ports else 1.0)
    return n_bits * cell / tech.number("sram.area_efficiency")


@dataclass(frozen=True, slots=True, kw_only=True)
class HTree:
    """The wires of an H-tree over a square of equal tiles, one bit wide.

    Parameters
    ----------
    way_fs : int
        One way between the root and a tile, by repeated wire as long as the square's side S.
    path_mm, total_mm : float
        Wire between the root and one tile; to all tiles.

    Notes
    -----
    An H of side S has 1.5 S of wire and four of half the side at its ends, so 4**k tiles take
    1.5 S (2**k - 1) of wire, and lie S (1 - 2**-k) from the root: half of S for the first H, and so on.
    Between powers of four, 2**k is the square root of the number of tiles.
    """

    way_fs: int
    path_mm: float
    total_mm: float


def h_tree(tech: Technology, n_tiles: int, tile_um2: float) -> HTree:
    """Return the H-tree over `n_tiles` tiles of `tile_um2` each.

    Examples
    --------
    >>> tree = h_tree(technology("camasim-fefet45"), 313, 1228.8)  # a square of .62 mm
    >>> tree.way_fs / 1e6, round(tree.path_mm, 3), round(tree.total_mm, 2)
    (0.049614, 0.585, 15.53)
    """
    side_mm, across = math.sqrt(n_tiles * tile_um2) / 1000, math.sqrt(n_tiles)
    return HTree(
        way_fs=units.fs_from_ns(tech.number("wire.delay_ps_per_mm") * side_mm / 1000),
        path_mm=side_mm * (1 - 1 / across),
        total_mm=1.5 * side_mm * (across - 1),
    )


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
        D dependent memory accesses with their comparison: the sum of (L + c_alu) / f over the levels.
    """

    t_op_fs: int
    depth: int
    descent_fs: int


def gpu_costs(tech: Technology, gpu: str, n_rows: int, t_op_us: float) -> GpuCosts:
    """Return the costs of a sum tree of two float32 sums a row.

    A level's access has the latency of the L2 cache while that level and all above it fit the cache, else DRAM's: the
    upper levels are touched by every descent and stay.

    Examples
    --------
    >>> costs = [gpu_costs(technology("gpus"), "h100", n, 5.0) for n in (20_000, 10_000_000)]
    >>> [(c.depth, round(c.descent_fs / 1e9, 2)) for c in costs]  # 24 levels, the last two in DRAM
    [(15, 1.83), (24, 3.58)]
    """
    depth = (n_rows - 1).bit_length()
    # The sums of level k and above are 2^(k + 1) - 1; the last level holds n_rows.
    sums = [*(2 ** (level + 1) - 1 for level in range(1, depth)), 2 * n_rows]
    n_far = sum(4 * n > tech.number(f"{gpu}.l2_bytes") for n in sums) if depth else 0
    clock, alu = tech.number(f"{gpu}.clock_ghz"), tech.number("model.alu_cycles")
    near, far = (tech.number(f"{gpu}.{memory}_cycles") + alu for memory in ("l2", "dram"))
    return GpuCosts(
        t_op_fs=units.fs_from_ns(t_op_us * 1000),
        depth=depth,
        descent_fs=units.fs_from_ns(((depth - n_far) * near + n_far * far) / clock),
    )
