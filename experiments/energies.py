"""Who wins energy with what leaks and without, and how long cells last, in words."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import hwsim
from experiments.contenders import ON_CHIP
from experiments.measures import STEPS_PER_SECOND
from experiments.speedups import Speedup
from experiments.study import Row
from hwsim import units

_SERVED = ("per", "amper-fr")  # traces that a design for a chip serves beside AMPER-fr's default machines


def energies(rows: Sequence[Row], best: Mapping[tuple[str, str, int], Speedup], keys: Collection[str]) -> str:
    """Say who wins the energy of a step, without leakage and with it, and what part of it is leaked.

    Parameters
    ----------
    rows : sequence of Row
        All machines.
    best : mapping of Speedup
        AMPER-fr's best machine, by baseline, quantity and n.
    keys : collection of str
        Of AMPER-fr's machines.
    """
    largest = max(row["n"] for row in rows)
    last = [row for row in rows if row["n"] == largest]
    mine = [row for row in last if row["key"] in keys]
    rivals = [row for row in last if row["key"] in ON_CHIP and row["replay"] in _SERVED]
    shares = [
        f"{row['label']} {row['step_leakage_aj'] / row['step_total_aj']:.0%}"
        for row in (*mine, *rivals)
        if row["step_total_aj"] is not None
    ]
    unknown = dict.fromkeys(row["parameters"]["technology"] for row in mine if row["leakage_uw"] is None)
    said = [
        f"dynamic {_lost(best, 'step_energy', largest)}",
        f"with leakage {_lost(best, 'step_energy_total', largest)}",
        *([f"leaked of a step's energy: {', '.join(shares)}"] if shares else []),
        *(f"{name} states no leakage of its arrays" for name in unknown),
    ]
    return f"In energy a step, {'; '.join(said)}."


def _lost(best: Mapping[tuple[str, str, int], Speedup], quantity: str, n: int) -> str:
    """Return to how many designs AMPER-fr's best machine loses, and to which where it is not to all or none."""
    found = {ON_CHIP[key]: best[key, quantity, n] for key in ON_CHIP if (key, quantity, n) in best}
    if not found:
        return units.NOT_AVAILABLE
    lost = [name for name, speedup in found.items() if speedup.ratio < 1]
    named = f" ({', '.join(lost)})" if 0 < len(lost) < len(found) else ""
    return f"AMPER-fr loses to {len(lost)} of {len(found)} designs{named}"


def wear(rows: Sequence[Row]) -> str:
    """Say how long the TCAM's cells last; nothing where none has a limit."""
    largest = max(row["n"] for row in rows)
    mine = [row for row in rows if row["key"] == "amper-fr" and row["n"] == largest and row["endurance_years"]]
    said = dict.fromkeys(
        f"{units.format_years(row['endurance_years'])} in {row['parameters']['technology']} "
        f"({units.format_years(row['endurance_mean_years'])} if all rows shared the writes)"
        for row in mine
    )
    if not said:
        return ""
    return (
        f"At {STEPS_PER_SECOND:,.0f} steps a second the row written most often lasts {'; '.join(said)}; an SRAM "
        f"has no such limit. {_endurances(mine)}"
    )


def _endurances(rows: Sequence[Row]) -> str:
    """Say what these years rest on."""
    stated = {
        name: hwsim.technology(name).cited()["endurance.writes"]
        for name in dict.fromkeys(row["parameters"]["technology"] for row in rows)
    }
    said = dict.fromkeys(
        f"{cited.value:.0e} writes a cell{' (assumed)' if cited.is_assumed else ''}, reported from {cited.low:.0e} to "
        f"{cited.high:.0e}"
        if cited.low is not None
        else f"{cited.value:.0e} writes a cell"
        for cited in stated.values()
    )
    return f"That takes {' or '.join(said)}: years shrink and grow in proportion."
