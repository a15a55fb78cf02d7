"""How many actors can insert while the learner samples and updates?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from experiments.readouts import READOUTS, RIVALS, percent
from experiments.study import Answer, Cell, Parameters, Row, Stage, Study, no_stage
from hwsim import units

if TYPE_CHECKING:
    from experiments.plots.base import Figure

ACTOR_HZ = 10_000.0  # assumed: inserts a second of one actor, a fast simulated environment
BUSY = 0.85  # whose units work for more of the time is the bottleneck by itself
_PARTS = {
    "csb": "the ports into the candidate-set buffer",
    "row_memory": "the row memory, fetching sampled rows,",
    "write_ports": "write ports",
    "htree_up": "the way up",
    "node_memories": "node memories",
    "launches": "kernel launches",
    "memory": "GPU memory",
}
_CAUSES = {"write": "waiting for writes", "search": "waiting for searches", "readout": "waiting for the readout"}


def cells(parameters: Parameters) -> list[Cell]:
    """Return a cell a machine, CSP and number of inserts."""
    from hwsim import technology

    technology(parameters["technology"])  # raises where there is none
    for label in parameters["machine"]:
        if label not in (*READOUTS, *RIVALS):
            raise ValueError(f"machine must be among {'; '.join((*READOUTS, *RIVALS))}, got {label!r}")
    shared = {key: parameters[key] for key in ("technology", "n", "batch", "n_ops", "n_clients", "load")}
    return [
        Cell({"machine": machine, "csp_fraction": csp, "n_inserts": n_inserts, **shared}, parameters["seed"])
        for csp in parameters["csp_fraction"]
        for n_inserts in parameters["n_inserts"]
        for machine in parameters["machine"]
    ]


def run(parameters: Parameters, seed: int, stage: Stage = no_stage) -> Row:
    """Serve one machine's inserts, samplings and updates as fast as it goes, and as they arrive."""
    from experiments.concurrency import measure

    return measure(parameters, seed, stage)


# -- reading the rows ------------------------------------------------------------------------------------
def saturated(row: Row) -> Row:
    """Return the closed loop of most throughput."""
    loop: Row = max(row["closed"], key=lambda each: each["throughput_hz"])
    return loop


def insert_hz(row: Row) -> float:
    """Return how many of the ops a second at saturation are inserts."""
    hz: float = row["saturation_hz"] * row["n_inserts"] / (row["n_inserts"] + 2)
    return hz


def at_load(row: Row, load: float) -> Row:
    """Return the run whose load is nearest to `load` of saturation."""
    found: Row = min(row["loads"], key=lambda each: abs(each["load"] - load))
    return found


def step_hz(row: Row) -> float:
    """Return the steps a second of the one learner, at most, while actors insert."""
    hz: float = max(each["throughput_hz"] for each in row["loads"]) / (row["n_inserts"] + 2)
    return hz


def bottleneck(usage: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the part that is busy most of the time; where none is, the one that is busy or waited for.

    Where that leaves time too, no single part is to blame: ops, or samplings, are at work one at a time.

    Examples
    --------
    >>> bottleneck({"csb": {"busy": 0.95, "stalls": {}}, "arrays": {"busy": 0.1, "stalls": {"readout": 0.88}}})
    'the ports into the candidate-set buffer busy 95%'
    >>> bottleneck({"csb": {"busy": 0.5, "stalls": {}}, "arrays": {"busy": 0.1, "stalls": {"write": 0.8}}})
    'arrays busy 10%, waiting for writes 80%'
    >>> bottleneck({"launches": {"busy": 0.7, "stalls": {}}, "memory": {"busy": 0.3, "stalls": {}}})
    'one op at a time: kernel launches busy 70%'
    """
    name = max(usage, key=lambda each: usage[each]["busy"])
    if usage[name]["busy"] >= BUSY:
        return f"{_PARTS.get(name, name)} busy {usage[name]['busy']:.0%}"
    name = max(usage, key=lambda each: usage[each]["busy"] + sum(usage[each]["stalls"].values()))
    waits = sorted(usage[name]["stalls"].items(), key=lambda item: -item[1])
    said = [f"{_CAUSES.get(cause, f'waiting ({cause})')} {share:.0%}" for cause, share in waits if share >= 0.01]
    words = ", ".join([f"{_PARTS.get(name, name)} busy {usage[name]['busy']:.0%}", *said])
    if usage[name]["busy"] + sum(usage[name]["stalls"].values()) >= BUSY:
        return words
    return f"one {'sampling' if 'arrays' in usage else 'op'} at a time: {words}"


def format_rate(hz: float) -> str:
    """Return events a second, for reading.

    Examples
    --------
    >>> format_rate(13_360_000), format_rate(142_600), format_rate(820)
    ('13.4 M/s', '143 k/s', '820 /s')
    """
    for scale, unit in ((1e6, "M/s"), (1e3, "k/s")):
        if hz >= scale:
            return f"{hz / scale:.3g} {unit}"
    return f"{hz:.3g} /s"


# -- the answer ------------------------------------------------------------------------------------------
def answer(rows: Sequence[Row]) -> Answer:
    """Return a line a machine, CSP and number of inserts; where each saturates, on what, and who pays."""
    columns = (
        "CSP", "inserts a step", "machine", "saturated, ops", "of it inserts", "actors alone", "bottleneck",
        "insert, 99%: light, half, full load", "sampling begun, 50 and 99%: no actors", "full load", "steps: no actors",
        "actors",
    )  # fmt: skip
    return Answer(columns, tuple(_line(row) for row in rows), " ".join([
        _actors(rows), _saturation(rows), _one_bank(rows), _growth(rows), _learner(rows), _how(rows),
    ]))  # fmt: skip


def _line(row: Row) -> tuple[str, ...]:
    light, half, full = row["loads"][0], at_load(row, 0.5), at_load(row, 1.0)
    return (
        percent([row["csp_fraction"]]),
        str(row["n_inserts"]),
        row["machine"],
        *(format_rate(hz) for hz in (row["saturation_hz"], insert_hz(row), row["actors_alone"]["insert_hz"])),
        bottleneck(saturated(row)["usage"]),
        ", ".join(_p99(each, "insert") for each in (light, half, full)),
        _both(row["learner_alone"]["sample_fs"]),
        _both(full["begun_fs"]),
        format_rate(row["learner_alone"]["step_hz"]),
        format_rate(step_hz(row)),
    )


def _p99(run: Row, kind: str) -> str:
    return units.format_time(run["latency_fs"][kind][-1])


def _both(latency_fs: Sequence[float]) -> str:
    return f"{units.format_time(latency_fs[0])}, {units.format_time(latency_fs[-1])}"


def _by_machine(rows: Sequence[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row["machine"], []).append(row)
    return found


def _range(values: Sequence[float], form: Any) -> str:
    low, high = form(min(values)), form(max(values))
    return str(low if low == high else f"{low} to {high}")


def _mix(row: Row) -> str:
    return f"CSP {percent([row['csp_fraction']])}, {row['n_inserts']} inserts"


def _saturation(rows: Sequence[Row]) -> str:
    """Say at which rate each machine saturates, and on what."""
    said = []
    for machine, mine in _by_machine(rows).items():
        rates = [format_rate(row["saturation_hz"]) for row in mine]
        each = ", ".join(f"{rate} ({_mix(row)})" for rate, row in zip(rates, mine, strict=True))
        numbers = f"{rates[0]} in every mix" if len(set(rates)) == 1 < len(rates) else each
        worst = min(mine, key=lambda row: row["saturation_hz"])
        at = f" most at {_mix(worst)}" if len(mine) > 1 else ""
        said.append(f"{machine} at {numbers}, held up{at} by {bottleneck(saturated(worst)['usage'])}")
    return f"Saturated by closed loops, in ops a second (samplings, updates, inserts): {'; '.join(said)}."


def _actors(rows: Sequence[Row]) -> str:
    """Say how many actors that is."""

    def count(n: float) -> str:
        return f"{n:,.0f}"

    said = []
    for machine, mine in _by_machine(rows).items():
        beside_one = [step_hz(row) * row["n_inserts"] / ACTOR_HZ for row in mine]
        saturating = [insert_hz(row) / ACTOR_HZ for row in mine]
        said.append(f"{machine} {_range(beside_one, count)} ({_range(saturating, count)})")
    ratios = " or ".join(str(n) for n in sorted({row["n_inserts"] for row in rows}))
    return (
        f"Actors of {ACTOR_HZ:,.0f} inserts a second each (assumed), {ratios} inserts to a step, beside one learner at "
        f"full speed (in brackets: beside as many as saturate the machine): {'; '.join(said)}."
    )


def _one_bank(rows: Sequence[Row]) -> str:
    """Say what inserts in slot order do to the banks."""
    mine = [row for row in rows if "write_ports" in row["actors_alone"]["usage"]]
    if not mine:
        return ""
    ports = [row["actors_alone"]["usage"]["write_ports"] for row in mine]
    together = [port["unit_busy"] * port["n_units"] / port["busy"] for port in ports]
    alone = [row["actors_alone"]["insert_hz"] for row in mine]
    return (
        f"Inserts of one row in slot order fall into one array of 64 rows, so into one bank: without a learner "
        f"{_range(alone, format_rate)}, {_range(together, lambda n: f'{n:.2g}')} of "
        f"{_range([port['n_units'] for port in ports], str)} write ports at work at once; banks interleaved by array "
        "help only from array to array."
    )


def _growth(rows: Sequence[Row]) -> str:
    """Say how the 99th percentile of an insert's latency grows with the load."""
    said = []
    for machine, mine in _by_machine(rows).items():
        steps = []
        for load in (0.0, 0.5, 1.0, 9.0):
            runs = [at_load(row, load) for row in mine]
            steps.append(_range([run["latency_fs"]["insert"][-1] for run in runs], units.format_time))
        said.append(f"{machine} {', '.join(steps)}")
    loads = [at_load(rows[0], load)["load"] for load in (0.0, 0.5, 1.0, 9.0)]
    words = ", ".join(f"{load:g}" for load in loads)
    return (
        f"99th percentile of an insert's latency at {words} of saturation: {'; '.join(said)}. Beyond saturation a "
        "queue grows as long as the trace lasts."
    )


def _learner(rows: Sequence[Row]) -> str:
    """Say what the learner pays for the actors."""
    said = []
    for machine, mine in _by_machine(rows).items():
        slower = [100 * (step_hz(row) / row["learner_alone"]["step_hz"] - 1) for row in mine]
        alone = [row["learner_alone"]["sample_fs"][-1] for row in mine]
        begun = [[at_load(row, load)["begun_fs"][-1] for row in mine] for load in (0.5, 1.0)]
        times = [_range(values, units.format_time) for values in (alone, *begun)]
        said.append(f"{machine} {', '.join(times)}, {_range(slower, _change)}")
    limits = [step_hz(row) * (row["n_inserts"] + 2) / row["saturation_hz"] for row in rows]
    return (
        "What the learner pays - 99th percentile of a sampling, from when the learner has come to it, without actors, "
        "at half and at full load; then steps a second at most, against those without actors - is "
        f"{'; '.join(said)}. A learner takes its steps one after another, fetch included, and so keeps up with "
        f"{_range(limits, lambda x: f'{x:.0%}')} of the saturated rate; what it is offered beyond waits for itself."
    )


def _change(percent_more: float) -> str:
    return f"{round(percent_more):+d}%".replace("+0%", "0%")


def _how(rows: Sequence[Row]) -> str:
    row = rows[0]
    return (
        f"n = {row['n']:,}, {row['technology']}, batches of {row['batch_size']}, synthetic traces of "
        f"{row['n_samplings']:,} samplings; as many actors as inserts a step; arrivals at random (Poisson), all "
        "modelled, by events; the insert that fills the buffer left out. A GPU is charged a launch an insert: actors "
        "that batch theirs would share it."
    )


def figure(rows: Sequence[Row]) -> Figure:
    """Return 99th percentiles of latency against the offered load."""
    from experiments.plots.concurrency import concurrency_figure

    return concurrency_figure(rows)


_DEFAULT = {
    "machine": ["csb, 1 port", "csb, 8 x 8", "rank_select, 8", "on-chip tree, K = 16", "GPU tree, A100 fused"],
    "technology": "camasim-fefet45",
    "csp_fraction": [0.02, 0.15],
    "n_inserts": [8, 32],
    "n": 20_000,
    "batch": 64,
    "n_ops": 300,
    "n_clients": [1, 4, 16, 64],
    "load": [0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 1.0, 1.25, 1.6],
    "seed": 0,
}
STUDY = Study(
    name="concurrent-actors",
    question="How many actors can insert while the learner samples and updates?",
    settings={
        "tiny": {
            **_DEFAULT, "csp_fraction": [0.15], "n_inserts": [8], "n": 1_000, "n_ops": 20, "n_clients": [1, 16],
            "load": [0.1, 0.5, 1.0, 1.6],
        },
        "default": _DEFAULT,
        "full": {
            **_DEFAULT, "n_ops": 1_000,
            "machine": ["csb, 1 port", "csb, 8 x 8", "csb, 64 x 64", "rank_select, 8", "rank_select, 64",
                        "on-chip tree, K = 16", "GPU tree, A100 fused"],
        },
    },
    cells=cells,
    run=run,
    answer=answer,
    figure=figure,
)  # fmt: skip
