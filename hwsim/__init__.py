"""Time, energy and wear of the hardware that could have served a replay: sees traces, never samplers."""

from __future__ import annotations

from hwsim import machines
from hwsim.arrivals import Closed, Poisson
from hwsim.closedform import NotApplicableError
from hwsim.endurance import Endurance, endurance
from hwsim.events import DeadlockError
from hwsim.ledger import LedgerError
from hwsim.locks import ReleaseError
from hwsim.machines import make as machine
from hwsim.report import Report
from hwsim.simulate import simulate
from hwsim.technology import technologies, technology
from hwsim.traces import synthetic_trace

__all__ = [
    "Closed",
    "DeadlockError",
    "Endurance",
    "LedgerError",
    "NotApplicableError",
    "Poisson",
    "ReleaseError",
    "Report",
    "endurance",
    "machine",
    "machines",
    "simulate",
    "synthetic_trace",
    "technologies",
    "technology",
]
