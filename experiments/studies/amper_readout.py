"""Which readout, or which rival, would an architect build for a given buffer?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from experiments.readouts import (
    READOUTS,
    TREES,
    Cell,
    Costs,
    best_amper,
    best_tree,
    contenders,
    cost,
    costs_by_cell,
    format_area,
    percent,
    ratio,
    up_to,
    where,
)
from experiments.speedups import times
from experiments.study import Answer, Parameters, Row, Stage, Study, no_stage
from experiments.study import Cell as StudyCell
from hwsim import units

if TYPE_CHECKING:
    from experiments.plots.base import Figure

ALIKE = 1.2  # who takes less than this many times rank_select's latency keeps up with it
#: What csb by one port takes over rank_select at least, by n; rank_select at 1e6 over itself at 5k at most.
REQUIRED: Mapping[int, float] = {20_000: 10.0, 1_000_000: 300.0}
FLAT = 1.15
SRAM_FACTOR = 3.0  # within which the energy of an SRAM access is known
_REFERENCE = "camasim-fefet45"
_ONE_PORT, _RANK, _RANK_FEW = "csb, 1 port", "rank_select, 64", "rank_select, 8"
_PORT_A_BANK = ("csb, 64 x 64", "burst, 64")
_SHOWN_N, _SHOWN_CSP = (20_000, 1_000_000), (0.15, 0.02)
_AXES = {"sample_fs": "sampling", "step_fs": "a step", "step_aj": "energy", "row_um2": "area"}
Found = Mapping[Cell, Costs]


def cells(parameters: Parameters) -> list[StudyCell]:
    """Return a cell a buffer size and CSP: one trace serves every machine of it."""
    from hwsim import technology

    for name in parameters["technology"]:
        technology(name)  # raises where there is none
    if max(parameters["csp_fraction"]) > 1:
        raise ValueError(f"csp_fraction must be at most 1, got {max(parameters['csp_fraction'])!r}")
    shared = {key: parameters[key] for key in ("technology", "batch", "n_ops")}
    return [
        StudyCell({"n": n, "csp_fraction": csp, **shared}, parameters["seed"])
        for n in parameters["n"]
        for csp in parameters["csp_fraction"]
    ]


def run(parameters: Parameters, seed: int, stage: Stage = no_stage) -> Row:
    """Put every machine through the searches of one buffer."""
    import hwsim

    n, csp = parameters["n"], parameters["csp_fraction"]
    machines = list(contenders(n, parameters["technology"]))
    traces = {
        sampler: hwsim.synthetic_trace(
            n, parameters["batch"], csp, n_ops=parameters["n_ops"], seed=seed, sampler=sampler
        )
        for sampler in dict.fromkeys(machine.sampler for machine in machines)
    }
    found = []
    for i, machine in enumerate(machines):
        stage(f"n = {n:,}, CSP {csp:.0%}", i, len(machines))
        found.append(cost(machine, traces[machine.sampler]))
    stage(f"n = {n:,}, CSP {csp:.0%}", len(machines), len(machines))
    trace = traces["amper-fr"]
    return {
        "n": n,
        "csp_fraction": csp,
        "mean_csp": float(trace.samples["n_csp"].mean()) / n,
        "batch_size": parameters["batch"],
        "rows_updated": len(trace.writes[n:]) / parameters["n_ops"],
        "technologies": list(parameters["technology"]),
        "machines": found,
    }


# -- the answer ------------------------------------------------------------------------------------------
def answer(rows: Sequence[Row]) -> Answer:
    """Return a line a technology, size and CSP; who wins by which axis, and where rank_select is worth its trees."""
    found = costs_by_cell(rows)
    technologies = list(dict.fromkeys(name for row in rows for name in row["technologies"]))
    table = [_line(technology, *cell, costs) for technology in technologies for cell, costs in found.items()]
    columns = (
        "technology", "n", "CSP", "csb, 1 port / rank_select", "csb, 64 x 64", "burst, 64", "AMPER: step", "tree",
        "AMPER: energy a step", "tree", "AMPER: um2 a row", "tree",
    )  # fmt: skip
    parts = [
        _verdict(found, technologies),
        *(_trees(found, name) for name in technologies),
        *(_leaking(found, name) for name in technologies),
        *(_readouts(found, name) for name in technologies),
        *(_keeping_up(found, name) for name in technologies),
        *(_updates(found, name) for name in technologies),
        _technologies(found, technologies),
        _others(found, technologies),
        _required(found),
        _how(rows),
    ]
    return Answer(columns, tuple(table), " ".join(part for part in parts if part))


def _line(technology: str, n: int, csp: float, costs: Costs) -> tuple[str, ...]:
    pairs = {axis: (best_amper(costs, technology, axis), best_tree(costs, axis)) for axis in _AXES}
    steps = [f"{units.format_time(machine['step_fs'])}, {_short(machine)}" for machine in pairs["step_fs"]]
    energies = [f"{units.format_energy(machine['step_aj'])}, {_short(machine)}" for machine in pairs["step_aj"]]
    areas = [f"{machine['row_um2']:.1f}, {_short(machine)}" for machine in pairs["row_um2"]]
    fast = [units.format_time(costs[label, technology]["sample_fs"]) for label in _PORT_A_BANK]
    first = ratio(costs[_ONE_PORT, technology], costs[_RANK, technology])
    return (technology, f"{n:,}", percent([csp]), first, *fast, *steps, *energies, *areas)


def _short(machine: Mapping[str, Any]) -> str:
    return str(machine["label"]).rpartition("tree, ")[2].replace("_select, ", " ").replace(", ", " ")


def _over_tree(found: Found, technology: str, axis: str) -> dict[Cell, float]:
    """Return what AMPER's best machine of an axis takes over the best on-chip tree."""
    return {
        cell: best_amper(costs, technology, axis)[axis] / best_tree(costs, axis)[axis] for cell, costs in found.items()
    }


def _verdict(found: Found, technologies: Sequence[str]) -> str:
    """Say how often a tree wins everything, and which readout samples fastest how often."""
    n_all, fastest = 0, dict.fromkeys(READOUTS, 0)
    for technology in technologies:
        over = [_over_tree(found, technology, axis) for axis in _AXES]
        n_all += sum(all(ratios[cell] > 1 for ratios in over) for cell in found)
        for costs in found.values():
            fastest[min(READOUTS, key=lambda label, c=costs, t=technology: c[label, t]["sample_fs"])] += 1  # type: ignore[misc]
    counts = [f"{label.removesuffix(', 8')} in {n}" for label, n in sorted(fastest.items(), key=lambda i: -i[1]) if n]
    return (
        f"An on-chip sum tree beats every AMPER machine in sampling, step, energy and area in {n_all} of "
        f"{len(found) * len(technologies)} buffers and technologies; of AMPER's readouts the fastest to sample is "
        f"{', '.join(counts)}."
    )


def _trees(found: Found, technology: str) -> str:
    """Say on which axis an on-chip tree beats AMPER's best machine, each on its own."""
    said = []
    for axis, words in _AXES.items():
        over = _over_tree(found, technology, axis)
        labels = dict.fromkeys(best_tree(costs, axis)["label"].rpartition("= ")[2] for costs in found.values())
        wins = where({cell for cell in found if over[cell] > 1}, list(found))
        said.append(f"in {words} {wins} (AMPER / tree {_span(list(over.values()))}; best K = {' or '.join(labels)})")
        if axis == "step_aj":
            sure = where({cell for cell in found if over[cell] > SRAM_FACTOR}, list(found))
            said[-1] += f", by more than the factor of {SRAM_FACTOR:g} within which an SRAM access is known {sure}"
    return f"It beats the best AMPER machine of each axis in {technology} {'; '.join(said)}."


def _leaking(found: Found, technology: str) -> str:
    """Say where an on-chip tree takes less energy with leakage, and how much of a step's energy is leaked."""
    if any(costs[_RANK, technology]["step_total_aj"] is None for costs in found.values()):
        return f"Energy with leakage in {technology}: {units.NOT_AVAILABLE}, it states none for its arrays."
    over = _over_tree(found, technology, "step_total_aj")
    best = [best_amper(costs, technology, "step_total_aj") for costs in found.values()]
    trees = [best_tree(costs, "step_total_aj") for costs in found.values()]
    wins = where({cell for cell in found if over[cell] > 1}, list(found))
    return (
        f"With what leaks over a step, nothing gated, a tree takes less energy than AMPER's best machine in "
        f"{technology} {wins} (AMPER / tree {_span(list(over.values()))}); leakage is {_leaked(best)} of AMPER's "
        f"energy, {_leaked(trees)} of a tree's."
    )


def _leaked(machines: Sequence[Mapping[str, Any]]) -> str:
    shares = [machine["step_leakage_aj"] / machine["step_total_aj"] for machine in machines]
    return f"{min(shares):.0%} to {max(shares):.0%}"


def _span(ratios: Sequence[float]) -> str:
    low, high = times(min(ratios)), times(max(ratios))
    return low if low == high else f"{low} to {high}"


def _readouts(found: Found, technology: str) -> str:
    """Say what csb by one port, and by a port a bank, take over rank_select."""
    wanted = [(n, csp) for n in _SHOWN_N for csp in _SHOWN_CSP if (n, csp) in found] or [max(found)]
    said = []
    for n, csp in wanted:
        rank, *others = (found[n, csp][label, technology] for label in (_RANK, _ONE_PORT, *_PORT_A_BANK))
        one, many, burst = (ratio(machine, rank) for machine in others)
        said.append(f"n = {n:,}, CSP {percent([csp])}: {one}; a port a bank, 64: {many}, in bursts {burst}")
    return f"Sampling over rank_select, {technology}, csb by one port at {'. At '.join(said)}."


def _keeping_up(found: Found, technology: str) -> str:
    """Say up to which n each readout keeps up with rank_select."""
    said = []
    for label in READOUTS:
        if not label.startswith("rank_select"):
            pairs = {cell: (costs[label, technology], costs[_RANK, technology]) for cell, costs in found.items()}
            alike = {cell for cell, (mine, rank) in pairs.items() if mine["sample_fs"] < ALIKE * rank["sample_fs"]}
            said.append(f"over {label} {up_to(alike, list(found))}")
    return f"rank_select's advantage is gone (below {ALIKE:g}x, {technology}) {'; '.join(said)}."


def _updates(found: Found, technology: str) -> str:
    """Say what part of a step updating takes, and why."""
    cell, costs = _shown(found)
    few, many = costs[_RANK_FEW, technology], costs[_RANK, technology]
    tree = best_tree(costs, "step_fs")
    time = units.format_time
    parts = [
        f"{time(machine['update_fs'])} of a step's {time(machine['step_fs'])} with {banks} banks, the fullest of which "
        f"writes {machine['rows_in_fullest_bank']:.0f} rows one after another"
        for machine, banks in ((few, 8), (many, 64))
    ]
    others = [each[_RANK_FEW, technology] for each in found.values()]
    shares = [machine["update_fs"] / machine["step_fs"] for machine in others]
    return (
        f"An update waits for write ports, one a bank, {time(few['write_fs'])} a row in {technology}: at "
        f"{_words(cell)} rank_select, {'; '.join(parts)}; over all buffers {min(shares):.0%} to {max(shares):.0%} of a "
        f"step with 8 banks. A tree takes a row a cycle: {time(tree['update_fs'])} of {time(tree['step_fs'])}."
    )


def _shown(found: Found) -> tuple[Cell, Costs]:
    """Return the size and CSP that stand for the rest: n = 20,000 and 15%, or the last there are."""
    cell = (_SHOWN_N[0], _SHOWN_CSP[0])
    cell = cell if cell in found else max(found)
    return cell, found[cell]


def _words(cell: Cell) -> str:
    return f"n = {cell[0]:,}, CSP {percent([cell[1]])},"


def _technologies(found: Found, technologies: Sequence[str]) -> str:
    """Say what the technology changes, at one size and CSP."""
    if len(technologies) < 2:
        return ""
    cell, costs = _shown(found)
    first, second = technologies[:2]
    axes = {"sample_fs": "sampling", "update_fs": "update", "step_aj": "energy a step", "row_um2": "area a row"}
    said = [f"{words} {ratio(costs[_RANK, first], costs[_RANK, second], axis)}" for axis, words in axes.items()]
    port = ratio(costs[_ONE_PORT, first], costs[_ONE_PORT, second])
    return (
        f"{first} over {second} at {_words(cell)} rank_select of 64 banks: {', '.join(said)}; where the port decides "
        f"(csb by one) the technology hardly matters: sampling {port}."
    )


def _others(found: Found, technologies: Sequence[str]) -> str:
    """Say how the machines that are neither a readout of AMPER-fr nor a tree stand."""
    cell, costs = _shown(found)
    said = []
    for (label, technology), machine in costs.items():
        if label in READOUTS or label in TREES or technology not in (None, technologies[0]):
            continue
        numbers = [units.format_time(machine["step_fs"])]
        if machine["step_aj"] is not None:
            numbers += [units.format_energy(machine["step_aj"]), f"{format_area(machine['row_um2'])} a row"]
        name = label if technology is None else f"{label} ({technology})"
        said.append(f"{name} {', '.join(numbers)}{' (measured)' if machine['source'] == 'measured' else ''}")
    return f"A step of the others at {_words(cell)} {'; '.join(said)}."


def _required(found: Found) -> str:
    """Say whether rank_select is as far below csb, and as flat, as it must be; where the rows can tell."""
    mine = {n: costs for (n, csp), costs in found.items() if csp == _SHOWN_CSP[0] and (_RANK, _REFERENCE) in costs}
    said = []
    for n, least in REQUIRED.items():
        if n in mine:
            one, rank = mine[n][_ONE_PORT, _REFERENCE], mine[n][_RANK, _REFERENCE]
            met = one["sample_fs"] >= least * rank["sample_fs"]
            said.append(f"csb by one port {ratio(one, rank)} at n = {n:,}, at least {least:g}x: {_met(met)}")
    if {5_000, 1_000_000} <= mine.keys():
        large, small = mine[1_000_000][_RANK, _REFERENCE], mine[5_000][_RANK, _REFERENCE]
        met = large["sample_fs"] <= FLAT * small["sample_fs"]
        said.append(f"its own from n = 5,000 to 1,000,000 {ratio(large, small)}, at most {FLAT:g}x: {_met(met)}")
    if not said:
        return ""
    return f"Required over rank_select, {_REFERENCE}, CSP {percent(_SHOWN_CSP[:1])}: {'; '.join(said)}."


def _met(is_met: bool) -> str:
    return "met" if is_met else "MISSED"


def _how(rows: Sequence[Row]) -> str:
    machines = [machine for row in rows for machine in row["machines"]]
    n_closed = sum(machine["fidelity"] == "closed" for machine in machines)
    buffers = [machine["buffer_row_um2"] / machine["row_um2"] for machine in machines if machine["label"] == _ONE_PORT]
    return (
        f"A step is a sampling of {rows[0]['batch_size']} and its update of the distinct rows drawn; the fetch of the "
        "rows, alike for all, is in neither. Synthetic traces of U[0,1] masses, 20 groups; median latencies, mean "
        f"energies; the CPU tree is measured, all else modelled: {n_closed} of {len(machines)} machines by formula, "
        "the rest, where two ranks met in an array, by events. A candidate-set buffer holds n addresses, or what the "
        f"trace needs if that is more: {min(buffers):.0%} to {max(buffers):.0%} of the area of csb by one port."
    )


def figure(rows: Sequence[Row]) -> Figure:
    """Return sampling latency against n, and energy against area."""
    from experiments.plots.readout import readout_figure

    return readout_figure(rows, _SHOWN_CSP, _SHOWN_N[0])


_DEFAULT = {
    "n": [1_000, 5_000, 20_000, 100_000, 1_000_000],
    "csp_fraction": [0.01, 0.02, 0.05, 0.15, 0.5],
    "technology": ["camasim-fefet45", "evacam-fefet45"],
    "batch": 64,
    "n_ops": 100,
    "seed": 0,
}
STUDY = Study(
    name="amper-readout",
    question="Which readout, or which rival, would an architect build for a given buffer?",
    settings={
        "tiny": {**_DEFAULT, "n": [1_000, 2_000], "csp_fraction": [0.02, 0.15], "n_ops": 4},
        "default": _DEFAULT,
        "full": {
            **_DEFAULT, "n": [1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000, 1_000_000],
            "csp_fraction": [0.005, 0.01, 0.02, 0.05, 0.15, 0.3, 0.5], "n_ops": 200,
        },
    },
    cells=cells,
    run=run,
    answer=answer,
    figure=figure,
)  # fmt: skip
