"""The machines of the report: AMPER's, and the baselines that each of them stands against."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from experiments.compose import MachineSpec
from hwsim.machines.gpu_sumtree import QUALITIES

#: Searches that the recorded writes are put through: sampler, its options, its name in the report.
SEARCHED: Mapping[str, tuple[str, Mapping[str, Any], str]] = {
    "amper-fr": ("amper-fr", {}, "AMPER-fr"),
    "amper-fr-linear": ("amper-fr", {"grouping": "linear"}, "AMPER-fr linear"),
    "amper-k": ("amper-k", {}, "AMPER-k"),
}
TECHNOLOGIES = ("evacam-fefet45", "camasim-fefet45")
CPU = "cpu-epyc"
GPU = "h100"  # the one that was measured
MEASURED: Mapping[str, str] = {"h100-fused": "fused-graph", "h100-eager": "eager"}
FAN_OUTS = (16, 2)  # the fastest on-chip tree, and the one that spends least
LANES = (8, 64)  # on-chip rejection with as many banks as AMPER's machines, and with a bank a draw

#: Baselines by key, in words that follow "against".
OFF_CHIP: Mapping[str, str] = {
    "fused": "one fused kernel",
    "torchrl": "TorchRL-like (CUDA tree)",
    "eager": "eager framework ops",
    "host": "a loop on the host",
    "h100-fused": "one fused kernel on an H100, launched by a graph (measured)",
    "h100-eager": "eager framework ops on an H100 (measured)",
    "cpu": f"this library's tree on one CPU core, {CPU}",
}
ON_CHIP: Mapping[str, str] = {
    **{f"tree{fan_out}": f"the on-chip sum tree of fan-out {fan_out}" for fan_out in FAN_OUTS},
    **{f"rejection{lanes}": f"on-chip rejection in {lanes} lanes" for lanes in LANES},
}
BASELINES: Mapping[str, str] = {**OFF_CHIP, **ON_CHIP}
#: Those that a terminal has room for; HTML and CSV have all.
ON_A_TERMINAL = ("fused", "torchrl", "eager", "h100-fused", "cpu", "tree16")
#: The same, as heads of columns, each with where its numbers come from.
HEADS: Mapping[str, str] = {
    "fused": "fused kernel (modelled)",
    "torchrl": "TorchRL-like (modelled)",
    "eager": "eager ops (modelled)",
    "host": "host loop (modelled)",
    "h100-fused": "fused kernel, H100 (measured)",
    "h100-eager": "eager ops, H100 (measured)",
    "cpu": f"CPU tree, {CPU} (measured)",
    **{f"tree{fan_out}": f"on-chip tree, fan-out {fan_out} (modelled)" for fan_out in FAN_OUTS},
    **{f"rejection{lanes}": f"on-chip rejection, {lanes} lanes (modelled)" for lanes in LANES},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """A machine, the trace it serves, and what the report calls it.

    Parameters
    ----------
    key : str
        One of `BASELINES`; of an AMPER machine its search, and its readout where that is not csb.
    label : str
        In tables and figures.
    replay : str
        The trace it serves: "per", which a tree serves by kinds and sizes alone, or one of `SEARCHED`.
    machine : MachineSpec
    drawn : bool
        Whether figures show it; tables always do.
    """

    key: str
    label: str
    replay: str
    machine: MachineSpec
    drawn: bool = True

    @property
    def is_amper(self) -> bool:
        """Whether it is a machine the report is about, rather than a baseline."""
        return self.key not in BASELINES


def _amper() -> Iterator[Contender]:
    """Yield the readout csb of every search, and rank_select of the default one, in each technology."""
    for replay, (sampler, _, words) in SEARCHED.items():
        for readout in ("csb", "rank_select") if replay == "amper-fr" else ("csb",):
            more = () if readout == "csb" else (("readout", readout),)
            key, name = (replay, words) if readout == "csb" else (f"{replay}-rank", f"{words} {readout}")
            for technology in TECHNOLOGIES:
                spec = MachineSpec(sampler, (("technology", technology), *more))
                yield Contender(key=key, label=f"{name}, {technology}", replay=replay, machine=spec)


def _baselines() -> Iterator[Contender]:
    """Yield the trees, and rejection for each search that rejection can serve."""
    for quality in QUALITIES:
        spec = MachineSpec("sumtree-gpu", (("gpu", "gtx1080"), ("quality", quality)))
        yield Contender(key=quality, label=f"GPU tree, gtx1080 {quality}", replay="per", machine=spec)
    for key, quality in MEASURED.items():
        spec = MachineSpec("sumtree-gpu", (("measurement", GPU), ("quality", quality)))
        yield Contender(key=key, label=f"GPU tree, {GPU} {quality}", replay="per", machine=spec)
    spec = MachineSpec("sumtree-cpu", (("technology", CPU),))
    yield Contender(key="cpu", label=f"CPU tree, {CPU}", replay="per", machine=spec)
    for fan_out in FAN_OUTS:
        spec = MachineSpec("sumtree-onchip", (("fan_out", fan_out),))
        yield Contender(key=f"tree{fan_out}", label=f"On-chip tree, fan-out {fan_out}", replay="per", machine=spec)
    for replay, words in (("amper-fr", ""), ("amper-fr-linear", " linear")):
        for lanes in LANES:
            yield Contender(
                key=f"rejection{lanes}",
                label=f"On-chip rejection{words}, {lanes} lanes",
                replay=replay,
                machine=MachineSpec("rejection-onchip", (("n_lanes", lanes),)),
                drawn=replay == "amper-fr",
            )


AMPER = tuple(_amper())
RIVALS = tuple(_baselines())
CONTENDERS = (*AMPER, *RIVALS)
