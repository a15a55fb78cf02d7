"""Time, energy and wear of the hardware that could have served a replay: sees traces, never samplers."""

from __future__ import annotations

from hwsim import machines
from hwsim.activity import Activity
from hwsim.arrivals import Closed, Poisson
from hwsim.closedform import NotApplicableError
from hwsim.events import DeadlockError
from hwsim.export import write_perfetto, write_vcd
from hwsim.ledger import LedgerError
from hwsim.locks import ReleaseError
from hwsim.machines import make as machine
from hwsim.report import Report
from hwsim.simulate import simulate
from hwsim.technology import Technology, technologies, technology
from hwsim.traces import load_csv, synthetic_trace
from hwsim.wear import Endurance, endurance

__all__ = [
    "Activity",
    "Closed",
    "DeadlockError",
    "Endurance",
    "LedgerError",
    "NotApplicableError",
    "Poisson",
    "ReleaseError",
    "Report",
    "Technology",
    "endurance",
    "load_csv",
    "machine",
    "machines",
    "simulate",
    "synthetic_trace",
    "technologies",
    "technology",
    "write_perfetto",
    "write_vcd",
]
