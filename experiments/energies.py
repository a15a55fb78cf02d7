"""Who wins energy with what leaks and without, and how long cells last, in words."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from experiments.contenders import ON_CHIP
from experiments.measures import STEPS_PER_SECOND
from experiments.speedups import Speedup
from experiments.study import Row
from hwsim import units
from hwsim.technology import technology

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
        f"dynamic: {_lost(best, 'step_energy', largest)}",
        f"with leakage: {_lost(best, 'step_energy_total', largest)}",
        *([f"leaked of a step's energy: {', '.join(shares)}"] if shares else []),
        *(f"{name} states no leakage of its arrays" for name in unknown),
    ]
    return f"In energy a step, {'; '.join(said)}."


def _lost(best: Mapping[tuple[str, str, int], Speedup], quantity: str, n: int) -> str:
    """Return to how many designs AMPER-fr's best machine loses, and which it cannot be told apart from.

    Designs are named where they are not all or none.
    """
    found = {ON_CHIP[key]: best[key, quantity, n] for key in ON_CHIP if (key, quantity, n) in best}
    if not found:
        return units.NOT_AVAILABLE

    def named(names: Collection[str]) -> str:
        return f" ({', '.join(names)})" if 0 < len(names) < len(found) else ""

    lost = [name for name, speedup in found.items() if speedup.most < 1]
    alike = [name for name, speedup in found.items() if speedup.least <= 1 <= speedup.most]
    said = f"AMPER-fr loses to {len(lost)} of {len(found)} designs{named(lost)}"
    return f"{said} and cannot be told apart from {len(alike)}{named(alike)}" if alike else said


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
    limits = dict.fromkeys(_limit(row["parameters"]["technology"]) for row in mine)
    return (
        f"At {STEPS_PER_SECOND:,.0f} steps a second the row written most often lasts {'; '.join(said)}; an SRAM "
        f"has no such limit. Years go with the writes that a cell survives: {'; '.join(limits)}."
    )


def _limit(name: str) -> str:
    """Return how many writes the cells of a technology survive, and the interval declared, for reading.

    Examples
    --------
    >>> _limit("evacam-fefet45")
    '1e10 (1e4 to 1e12)'
    """
    cited = technology(name).sections["endurance"]["writes"]
    interval = "" if cited.low is None else f" ({_power(cited.low)} to {_power(cited.high or cited.low)})"
    return f"{_power(cited.value)}{interval}"


def _power(value: float) -> str:
    mantissa, _, exponent = f"{value:.0e}".partition("e")
    return f"{mantissa}e{int(exponent)}"
