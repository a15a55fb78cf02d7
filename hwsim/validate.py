"""The simulator against points: what it was fitted to, what it was not, and what no point covers.

Every check states a signed error, found over expected less 1; those with a limit must keep to it, the others show a
spread. `amper validate` prints them.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hwsim.array_fit import LIMITS, splits
from hwsim.measurement import Measurement, measurement
from hwsim.scaling import LAWS
from hwsim.technology import Technology, technology
from hwsim.technology_geometry import model_of, points

#: What each kind of check says, and what it does not.
SCOPES: Mapping[str, str] = {
    "fitted": "The array model at the points it was fitted to: what the form itself cannot follow.",
    "held out": "The array model fitted to four of EvaCAM's six points, at the other two: all 15 splits, of 64 to 256 "
    "words and 16 to 64 bits; beyond, the model rests on the tool's published formulas.",
    "composed": "CAMASim's search latencies and energies, as sums of the parts it states.",
    "published": "EvaCAM's 64 x 64 array against other 2FeFET circuits: no two of one design, so a spread and no error "
    "to keep small. Areas of cells are without periphery.",
    "scaled": "180 nm blocks brought to 45 nm by Stillmaker and Baas, against the same blocks synthesised at 45 nm: "
    "delays lie within high performance .. low power, energies come out too low, areas too large.",
    "events": "Formula against event simulation, op by op, on a synthetic trace; in femtoseconds, where both apply.",
    "measured": "The model of a sum tree on a GPU against one measured there: launch time 5 us, its interval 2.6 to "
    "10.",
}
#: What nothing above tells.
NOT_COVERED = (
    "No TCAM machine of this kind was built: its control, its clock tree and its placement are in no check.",
    "EvaCAM is a simulator; the only silicon here are the quoted energies and latencies of other cells.",
    "Best-match searches, SRAM delay and SRAM energy rest on assumptions with wide intervals (amper tech cmos45).",
    "Variation, noise, retention and temperature other than 350 K are not modelled.",
    "One GPU was measured; the other GPUs' rows are the model's.",
)
_QUANTITIES = {
    "precharge_ns": "ns", "row_drive_ns": "ns", "match_line_ns": "ns", "sense_ns": "ns", "search_ns": "ns",
    "search_pj": "pJ", "write_ns": "ns", "write_pj": "pJ", "area_um2": "um2", "leakage_uw": "uW",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One number of the simulator beside one that it should reproduce.

    Parameters
    ----------
    kind : str
        One of `SCOPES`.
    subject, quantity, unit : str
        What was compared.
    expected, found : float
        The point's number, the simulator's.
    limit : float or None
        Largest error allowed, as a fraction; None where the point shows a spread.
    interval : (float, float) or None
        Between which the simulator says its number lies, where it says so.
    """

    kind: str
    subject: str
    quantity: str
    unit: str
    expected: float
    found: float
    limit: float | None = None
    interval: tuple[float, float] | None = None

    @property
    def error(self) -> float:
        """Found over expected, less 1; 0 where both are 0."""
        if self.expected == 0:
            return 0.0 if self.found == 0 else float("inf")
        return self.found / self.expected - 1

    @property
    def holds(self) -> bool | None:
        """Whether the error keeps to its limit, or the point lies in the interval; None where neither is stated."""
        if self.limit is not None:
            return abs(self.error) <= self.limit
        if self.interval is not None:
            return self.interval[0] <= self.expected <= self.interval[1]
        return None


def validate(measured: str | Path | Measurement | None = "h100") -> list[Check]:
    """Return every check; those of a GPU against `measured`, None for none.

    Raises
    ------
    ValueError
        If there is no such measurement, or it is of a GPU that has no model.
    """
    taken = measurement(measured) if isinstance(measured, str | Path) else measured
    evacam = technology("evacam-fefet45")
    checks = [*fitted(evacam), *held_out(evacam), *composed(), *published(evacam), *scaled(), *events()]
    return [*checks, *gpu(taken)] if taken is not None else checks


def fitted(tech: Technology) -> Iterator[Check]:
    """Yield the array model at the points it is fitted to."""
    model = model_of(points(tech.arrays))
    for point in points(tech.arrays):
        for quantity, error in model.errors(point).items():
            yield _of_array("fitted", point.words, point.bits, quantity, getattr(point, quantity), error)


def held_out(tech: Technology) -> Iterator[Check]:
    """Yield the model of four points at the other two, over all splits."""
    known = {(point.words, point.bits): point for point in points(tech.arrays)}
    for found in splits(list(known.values())):
        point = known[found.words, found.bits]
        for quantity, error in found.errors.items():
            expected = getattr(point, quantity)
            check = _of_array("held out", found.words, found.bits, quantity, expected, error)
            yield dataclasses.replace(check, subject=f"{check.subject}, split {found.split + 1}")


def _of_array(kind: str, words: int, bits: int, quantity: str, expected: float, error: float) -> Check:
    return Check(
        kind=kind,
        subject=f"EvaCAM {words} x {bits}",
        quantity=quantity,
        unit=_QUANTITIES[quantity],
        expected=expected,
        found=expected * (1 + error),
        limit=LIMITS.get(quantity),
    )


def composed() -> Iterator[Check]:
    """Yield CAMASim's totals, which its parts must add up to exactly."""
    camasim = technology("camasim-fefet45")
    for size, expected_ns, expected_pj in ((64, 4.242, 3.105), (128, 5.944, 4.527)):
        array = camasim.array(words=size, bits=size)
        for quantity, expected, found in (
            ("search_ns", expected_ns, array.search_ns),
            ("search_pj", expected_pj, array.search_pj),
        ):
            yield Check(
                kind="composed",
                subject=f"CAMASim {size} x {size}",
                quantity=quantity,
                unit=_QUANTITIES[quantity],
                expected=expected,
                found=found,
                limit=0.0,
            )


def published(tech: Technology) -> Iterator[Check]:
    """Yield the 64 x 64 array beside other FeFET circuits."""
    array = tech.array(words=64, bits=64)
    ours = {
        "search_ns": (array.search_ns, "ns"),
        "search_fj_per_bit": (array.search_pj * 1000 / (64 * 64), "fJ/bit"),
        "cell_um2": (array.area_um2 / (64 * 64), "um2"),
    }
    for section, numbers in technology("published-tcams").sections.items():
        for quantity, (found, unit) in ours.items() if section.startswith("fefet_") else ():
            if quantity in numbers:
                expected = numbers[quantity].value
                yield Check(
                    kind="published",
                    subject=f"{section}, {numbers[quantity].source.partition(':')[0]}",
                    quantity=quantity,
                    unit=unit,
                    expected=expected,
                    found=found,
                )


def scaled() -> Iterator[Check]:
    """Yield digital blocks of 180 nm scaled to 45 nm beside those synthesised there."""
    old, new = technology("cmos180"), technology("cmos45")
    for section, numbers in old.sections.items():
        for key, quantity in (("delay_ns", "delay"), ("area_um2", "area"), ("energy_pj", "energy")):
            if key in numbers and key in new.sections.get(section, {}) and not new.sections[section][key].is_assumed:
                factor, value = LAWS["stillmaker_baas"](quantity, 180, 45), numbers[key].value
                yield Check(
                    kind="scaled",
                    subject=section,
                    quantity=key,
                    unit=numbers[key].unit,
                    expected=new.sections[section][key].value,
                    found=value * factor.value,
                    interval=(value * factor.low, value * factor.high),
                )


def events(n_rows: int = 2_000) -> Iterator[Check]:
    """Yield the largest difference between formula and events of every machine, which must be none."""
    from hwsim.machines import make
    from hwsim.simulate import simulate
    from hwsim.traces import synthetic_trace

    forms: tuple[tuple[str, dict[str, Any]], ...] = (
        ("amper-fr", {}), ("amper-fr", {"n_csb_ports": 8}), ("amper-fr", {"readout": "burst"}),
        ("amper-fr", {"readout": "rank_select", "technology": "evacam-fefet45"}), ("amper-k", {}),
        ("rejection-onchip", {}), ("sumtree-onchip", {}), ("sumtree-cpu", {}), ("sumtree-gpu", {}),
    )  # fmt: skip
    for name, options in forms:
        sampler = "amper-k" if name == "amper-k" else "amper-fr"
        trace = synthetic_trace(n_rows, batch_size=64, csp_fraction=0.1, n_ops=4, seed=0, sampler=sampler)
        machine = make(name, n_rows=n_rows, **options)
        formula, simulated = (simulate(trace, machine, fidelity=form).latency_fs for form in ("closed", "burst"))
        difference = max(int(np.abs(formula[kind] - simulated[kind]).max(initial=0)) for kind in formula)
        subject = ", ".join([name, *(f"{key}={value}" for key, value in options.items())])
        yield Check(
            kind="events", subject=subject, quantity="largest difference", unit="fs", expected=0.0,
            found=float(difference), limit=0.0,
        )  # fmt: skip


#: Quality of the model, measured variant, figure of it that says the same, in words.
_GPU = (
    ("fused", "fused-graph", "idle_us", "fused kernel, launched by a graph"),
    ("fused", "fused", "device_us", "fused kernel, launches hidden"),
    ("eager", "torch", "idle_us", "eager operations"),
    ("torchrl", "torchrl", "idle_us", "TorchRL"),
)
#: What the modelled GPUs call themselves.
_CALLED = {"gtx1080": "GTX 1080", "v100": "V100", "a100": "A100", "h100": "H100"}


def _modelled(name: str) -> str:
    """Return which of the modelled GPUs calls itself `name`."""
    for key, words in _CALLED.items():
        if re.search(rf"\b{words}\b(?! Ti)", name):
            return key
    raise ValueError(f"measurement must be of a GPU that has a model, {', '.join(_CALLED.values())}, got {name!r}")


def gpu(taken: Measurement, batch_size: int = 64) -> Iterator[Check]:
    """Yield the model of that GPU's sum tree beside a measurement, where both know the size."""
    from amper.trace import OpKind
    from hwsim.machines.gpu_sumtree import T_OP_INTERVAL_US, GpuSumtree

    model = _modelled(taken.gpu)
    for quality, variant, figure, words in _GPU:
        if variant not in taken.variants:
            continue
        for kind in (OpKind.SAMPLE, OpKind.UPDATE):
            name = kind.name.lower()
            for n in sorted({n for n, _ in taken.medians[variant, name]}):
                tree = GpuSumtree(n_rows=n, gpu=model, quality=quality)
                us = [sum(t.split_fs(kind, batch_size)) / 1e9 for t in (tree, *map(tree.with_t_op, T_OP_INTERVAL_US))]
                yield Check(
                    kind="measured",
                    subject=f"{taken.gpu}, {words}, n = {n:,}",
                    quantity=name,
                    unit="us",
                    expected=taken.latency_us(variant, name, n, batch_size, figure),
                    found=us[0],
                    interval=(us[1], us[2]),
                )
