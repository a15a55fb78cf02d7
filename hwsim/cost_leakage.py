"""What the components of each machine leak: arrays as their table states, SRAM by the bit, logic by its area.

Everything leaks all the time, at the temperature the technology's numbers are for. FeFET cells keep their codes
unpowered, so that an idle array could be gated; nothing here is, and reports keep leakage apart from what work takes.
"""

from __future__ import annotations

from hwsim import units
from hwsim.cost import memory_um2
from hwsim.cost_amper import Geometry, amper_areas_um2
from hwsim.cost_onchip import TreeCosts, code_bits, rejection_areas_um2, tree_areas_um2
from hwsim.technology import Technology


def stated(tech: Technology, key: str) -> float | None:
    """Return the value of `section.key`, None where the technology does not state it."""
    section, _, name = key.partition(".")
    cited = tech.sections.get(section, {}).get(name)
    return None if cited is None else cited.value


def block_leakage_uw(tech: Technology, um2: float, n_bits: int = 0, *, two_ports: bool = False) -> float | None:
    """Return what a block leaks, uW; None where it has something of which the technology states no leakage.

    Parameters
    ----------
    um2 : float
        Its area; what its SRAM does not take is logic, and leaks by area.
    n_bits : int
        Bits of SRAM in it; they leak one by one, and in proportion to their cells' size.
    two_ports : bool
        Whether its cells have two ports.

    Examples
    --------
    >>> from hwsim.technology import technology
    >>> tech = technology("cmos45")
    >>> round(block_leakage_uw(tech, memory_um2(tech, 8_192), 8_192), 3), block_leakage_uw(tech, 1_000.0)
    (13.107, 52.0)
    """
    logic_um2 = um2 - memory_um2(tech, n_bits, two_ports=two_ports) if n_bits else um2
    cells = n_bits * (tech.number("sram_size.two_port_area") if two_ports else 1.0)
    parts = (
        (logic_um2, "leakage.logic_um2_nw", units.uw_from_nw),
        (cells, "leakage.sram_bit_pw", units.uw_from_pw),
    )
    leaked = 0.0
    for amount, key, to_uw in parts:
        if amount:
            each = stated(tech, key)
            if each is None:
                return None
            leaked += to_uw(amount * each)
    return leaked


def amper_leakages_uw(tech: Technology, geometry: Geometry) -> dict[str, float | None]:
    """Return what each component of an associative machine leaks, uW; None where the technology does not say.

    Arrays leak what their table states, write drivers and sense amplifiers included; of the others SRAM leaks by
    the bit, logic and repeaters by area.
    """
    array_uw = tech.array(words=geometry.rows_per_array, bits=geometry.bits).leakage_uw
    bits = geometry.stored_bits()
    leakages = {
        name: block_leakage_uw(tech, um2, bits.get(name, 0)) for name, um2 in amper_areas_um2(tech, geometry).items()
    }
    return leakages | {"arrays": None if array_uw is None else geometry.n_arrays * array_uw}


def tree_leakages_uw(tech: Technology, costs: TreeCosts, fan_out: int, *, two_ports: bool) -> dict[str, float | None]:
    """Return what each component of an on-chip sum tree leaks, uW; None where the technology does not say."""
    areas = tree_areas_um2(tech, costs, fan_out, two_ports=two_ports)
    memory = block_leakage_uw(tech, areas["node_memories"], costs.stored_bits, two_ports=two_ports)
    return {name: block_leakage_uw(tech, um2) for name, um2 in areas.items()} | {"node_memories": memory}


def rejection_leakages_uw(
    tech: Technology, n_rows: int, n_lanes: int, bits: int, n_ranges: int
) -> dict[str, float | None]:
    """Return what each component of on-chip rejection leaks, uW; None where the technology does not say."""
    areas = rejection_areas_um2(tech, n_rows, n_lanes, bits, n_ranges)
    memory = block_leakage_uw(tech, areas["memory"], code_bits(n_rows, n_lanes, bits))
    return {name: block_leakage_uw(tech, um2) for name, um2 in areas.items()} | {"memory": memory}
