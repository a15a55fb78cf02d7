"""What a machine leaks, from what its components leak; and the energy of one op, dynamic and leaked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hwsim import units

Breakdown = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class OpEnergy:
    """Mean energy of one op.

    Parameters
    ----------
    dynamic_pj : float or None
        What its work takes; None where not modelled.
    leakage_pj : float or None
        What the whole machine leaks over its mean latency; None where unknown.
    """

    dynamic_pj: float | None
    leakage_pj: float | None

    @property
    def total_pj(self) -> float | None:
        """Both together; None where either is unknown."""
        if self.dynamic_pj is None or self.leakage_pj is None:
            return None
        return self.dynamic_pj + self.leakage_pj

    def to_dict(self) -> dict[str, float | None]:
        """Return both and their sum, JSON-serialisable."""
        return {"dynamic_pj": self.dynamic_pj, "leakage_pj": self.leakage_pj, "total_pj": self.total_pj}


def per_op(n_ops: int, latency_fs: int, energy_aj: int | None, leakage_uw: float | None) -> OpEnergy:
    """Return the mean energy of `n_ops` ops from the sums of their latencies and dynamic energies."""
    leaked = None if leakage_uw is None else units.leaked_aj(leakage_uw, latency_fs)
    dynamic_pj, leakage_pj = units.pj_from_aj(energy_aj), units.pj_from_aj(leaked)
    return OpEnergy(
        dynamic_pj=None if dynamic_pj is None else dynamic_pj / n_ops,
        leakage_pj=None if leakage_pj is None else leakage_pj / n_ops,
    )


def unknown(breakdown: Breakdown) -> tuple[str, ...]:
    """Return the components with an area whose leakage is unknown; what has no area lies in another, or nowhere."""
    return tuple(
        name for name, part in breakdown.items() if part["area_um2"] is not None and part["leakage_uw"] is None
    )


def leakage_uw(breakdown: Breakdown) -> float | None:
    """Return the components' leakages added up; None unless every one with an area knows its own."""
    known = _known(breakdown, "leakage_uw")
    return None if known is None else float(sum(known))


def leakage_aj(breakdown: Breakdown) -> int | None:
    """Return what the components leak over the makespan, added up; None unless every one with an area knows."""
    known = _known(breakdown, "leakage_aj")
    return None if known is None else int(sum(known))


def _known(breakdown: Breakdown, key: str) -> list[Any] | None:
    known = [part[key] for part in breakdown.values() if part["leakage_uw"] is not None]
    return known if known and not unknown(breakdown) else None
