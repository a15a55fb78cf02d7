"""A technology in another process: every scaled number says by which law, intervals are carried along."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from hwsim.checks import positive
from hwsim.scaling import LAWS, Factor, feature_area, stillmaker_baas_area
from hwsim.technology import Technology
from hwsim.technology_numbers import ArrayEntry, Cited

_QUANTITY_OF_UNIT = {"ns": "delay", "um2": "area", "pJ": "energy"}


def at_node(tech: Technology, node_nm: float) -> Technology:
    """Return what `Technology.at_node` says."""
    node = positive("node_nm", node_nm)
    if tech.node_nm is None or tech.scaling is None:
        raise ValueError(f"technology must state node_nm and scaling to leave its process, got {tech.name!r}")
    if node == tech.node_nm:
        return tech
    arrays, sections = tech.arrays, tech.sections
    if tech.kind == "tcam":
        arrays = tuple(_scaled_array(entry, tech, node) for entry in tech.arrays)
        what = "arrays "
    else:
        sections = {name: _scaled_blocks(numbers, tech, node) for name, numbers in tech.sections.items()}
        what = ""
    return dataclasses.replace(
        tech,
        name=f"{tech.name} at {node:g} nm",
        title=f"{tech.title}; {what}scaled to {node:g} nm by {tech.scaling}",
        arrays=arrays,
        sections=sections,
        stated=tech.stated or tech.arrays,
        node_nm=node,
    )


def _factor(tech: Technology, quantity: str, node: float) -> Factor:
    """Return the law's factor; its refusal names what was asked for."""
    assert tech.scaling is not None
    assert tech.node_nm is not None
    try:
        return LAWS[tech.scaling](quantity, tech.node_nm, node)
    except ValueError as error:
        raise ValueError(f"node_nm of {tech.name!r}, by {tech.scaling}: {error}") from error


def _times(cited: Cited, tech: Technology, law: str, factor: Factor) -> Cited:
    why = f"scaled from {tech.node_nm:g} nm by {law} ({factor.source})"
    if factor.low == factor.high:
        return cited.times(factor.value, why)
    return cited.times(factor.value, why, factor.low, factor.high)


def _scaled_blocks(numbers: Mapping[str, Cited], tech: Technology, node: float) -> dict[str, Cited]:
    """Return delays, areas and energies scaled; numbers of other units are left out, no law holds for them."""
    return {
        key: _times(cited, tech, tech.scaling or "", _factor(tech, _QUANTITY_OF_UNIT[cited.unit], node))
        for key, cited in numbers.items()
        if cited.unit in _QUANTITY_OF_UNIT
    }


def _scaled_array(entry: ArrayEntry, tech: Technology, node: float) -> ArrayEntry:
    """Return an array whose searches follow the law.

    A write takes as long, since the cell's switching sets it, and between the search's energy and as much; the area
    is the cells' published shrink, or the square of the feature size; leakage is left out.
    """
    delay, energy, from_nm = _factor(tech, "delay", node), _factor(tech, "energy", node), tech.node_nm
    assert from_nm is not None
    law = tech.scaling or ""
    written = dataclasses.replace(energy, low=min(energy.low, 1.0), high=max(energy.high, 1.0))
    area, square = stillmaker_baas_area(from_nm, node), feature_area(from_nm, node)
    area = dataclasses.replace(area, low=min(area.low, square.low), high=max(area.high, square.high))
    numbers = {}
    for key, cited in entry.numbers.items():
        if key == "write_ns":
            why = f"kept from {from_nm:g} nm, assumed: the cell's switching sets it"
            numbers[key] = dataclasses.replace(cited, source=f"{cited.source}; {why}")
        elif key == "write_pj":
            numbers[key] = _times(cited, tech, f"{law} as a search's, assumed", written)
        elif key == "area_um2":
            numbers[key] = _times(cited, tech, "stillmaker_baas_area, interval with feature_area", area)
        elif key != "leakage_uw":
            numbers[key] = _times(cited, tech, law, delay if cited.unit == "ns" else energy)
    return dataclasses.replace(entry, numbers=numbers)
