"""What the report's ratios say about 55x to 270x, and where AMPER loses, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from experiments.contenders import BASELINES, CPU, GPU, MEASURED, OFF_CHIP, ON_CHIP
from experiments.energies import energies, wear
from experiments.speedups import QUANTITIES, Speedup, share, times
from experiments.study import Row
from hwsim import units
from hwsim.machines.gpu_sumtree import QUALITIES

CLAIM = (55.0, 270.0)  # Li et al., ICCAD 2022, abstract: latency of PER on a GPU over AMPER's
LISTED = ("sample", "update", "step", "sample_energy", "step_energy", "step_energy_total", "area")
READOUTS = {"amper-fr": "csb", "amper-fr-rank": "rank_select"}


def verdict(rows: Sequence[Row], ratios: Sequence[Speedup], laws: Sequence[Mapping[str, Any]]) -> str:
    """Return what was found: the claim, who is faster than AMPER, what drives it. A paragraph each."""
    paragraphs = (
        [*_claim(ratios), _readouts(rows)],
        [_measured(ratios), _lost_off_chip(ratios)],
        [*_on_chip(ratios), energies(rows, best_machines(ratios), READOUTS), _writes(rows), wear(rows)],
        [_other_searches(rows, ratios, laws), _drivers(rows), _growth(rows), _caveat()],
    )
    return "\n\n".join(" ".join(sentence for sentence in sentences if sentence) for sentences in paragraphs)


def _caveat() -> str:
    return (
        f"Measured are the trees on an H100 ({GPU}) and on a CPU core ({CPU}); read every other ratio as a model's. "
        "Brackets hold 95% of what the declared uncertainty of all technology numbers at once makes of a ratio, and "
        "are left out where that is nothing; designs of other kinds are in none. Leakage is at 350 K with nothing "
        "gated, known by device class only, and in no quantity but those that name it."
    )


# -- the claim --------------------------------------------------------------------------------------
def _claim(ratios: Sequence[Speedup]) -> list[str]:
    """Say for both readouts whether 55x to 270x comes out, against which baseline."""
    standings = {key: [_against(key, quality, ratios) for quality in QUALITIES] for key in READOUTS}
    said = [
        f"with readout {READOUTS[key]} {'; '.join(f'{figures}: {standing}' for figures, standing in found)}"
        for key, found in standings.items()
    ]
    agree = len({standing for found in standings.values() for _, standing in found}) == 1
    return [
        f"The paper reports {CLAIM[0]:.0f}x to {CLAIM[1]:.0f}x over PER on a GPU (cited: abstract). Here, modelled, "
        f"AMPER-fr's sampling comes out, {said[0]}.",
        *(f"{words[0].upper()}{words[1:]}." for words in said[1:]),
        "" if agree else "So the claim stands or falls with the baseline.",
    ]


def _against(key: str, quality: str, ratios: Sequence[Speedup]) -> tuple[str, str]:
    """Return the figures of the machines of that key against one GPU quality; how the claim stands."""
    mine = _chosen(ratios, "sample", quality, key)
    found = [s.ratio for s in mine]
    interval = min(s.least for s in mine), max(s.most for s in mine)
    figures = (
        f"{_span(found)} against {BASELINES[quality]} ({times(interval[0])} to {times(interval[1])} with the "
        "uncertainty)"
    )
    return figures, _versus_claim(found, interval)


def _chosen(ratios: Sequence[Speedup], quantity: str, against: str, *keys: str) -> list[Speedup]:
    """Return the ratios of a quantity against one baseline, of the machines of those keys, or of all."""
    return [s for s in ratios if s.quantity == quantity and s.against == against and (not keys or s.key in keys)]


def _span(ratios: Sequence[float]) -> str:
    low, high = times(min(ratios)), times(max(ratios))
    return low if low == high else f"{low} to {high}"


def _versus_claim(ratios: Sequence[float], interval: tuple[float, float]) -> str:
    inside = sum(CLAIM[0] <= ratio <= CLAIM[1] for ratio in ratios)
    if inside:
        return f"inside the claim in {inside} of {len(ratios)} cases"
    if min(ratios) > CLAIM[1]:
        return "above the claim" if interval[0] > CLAIM[1] else "above the claim, though the interval reaches it"
    if max(ratios) < CLAIM[0]:
        return "below the claim" if interval[1] < CLAIM[0] else "below the claim, though the interval reaches it"
    return "on both sides of the claim"


def _readouts(rows: Sequence[Row]) -> str:
    """Say what rank_select gains over csb, and what it pays."""
    of_key = {key: [row for row in rows if row["key"] == key] for key in READOUTS}
    pairs = [
        (csb, ranked)
        for csb in of_key["amper-fr"]
        for ranked in of_key["amper-fr-rank"]
        if (csb["n"], csb["parameters"]["technology"]) == (ranked["n"], ranked["parameters"]["technology"])
    ]
    faster = _span([csb["sample_fs"] / ranked["sample_fs"] for csb, ranked in pairs])
    energy, area = (_span([ranked[q] / csb[q] for csb, ranked in pairs]) for q in ("step_aj", "area_um2"))
    return f"Rank_select samples {faster} as fast as csb, for {energy} its energy a step and {area} its area."


# -- who is faster ----------------------------------------------------------------------------------
def _measured(ratios: Sequence[Speedup]) -> str:
    """Say how AMPER stands against the trees that were measured."""
    return " ".join(_against_measured(ratios, key) for key in (*MEASURED, "cpu"))


def _against_measured(ratios: Sequence[Speedup], against: str) -> str:
    figures = [
        f"{name} {_span([s.ratio for s in _chosen(ratios, 'sample', against, key)])}"
        for key, name in (
            ("amper-fr", "AMPER-fr with csb"),
            ("amper-fr-rank", "with rank_select"),
            ("amper-fr-linear", "by linear groups"),
            ("amper-k", "AMPER-k"),
        )
    ]
    words = OFF_CHIP[against]
    return f"Against {words}{'' if 'measured' in words else ' (measured)'}: {', '.join(figures)}."


def _lost_off_chip(ratios: Sequence[Speedup]) -> str:
    """Name every search that is slower, in a sampling or a step, than something an AMPER machine is sold against."""
    worst: dict[tuple[str, str, str], Speedup] = {}
    for s in ratios:
        if s.against in OFF_CHIP and s.quantity in ("sample", "step") and s.least < 1:
            place = s.key, s.against, s.quantity
            worst[place] = min(worst.get(place, s), s, key=lambda other: other.least)
    if not worst:
        return "No AMPER machine loses to a baseline off the chip, in a sampling or in a step."
    said = [f"{s.label} to {BASELINES[s.against]}, {QUANTITIES[s.quantity][1]} {_figure(s)}" for s in worst.values()]
    return f"AMPER loses to baselines off the chip, at worst: {'; '.join(said)}."


def _figure(s: Speedup) -> str:
    if s.ratio >= 1:
        return f"at the low end of the interval only ({s.text} at n = {s.n:,})"
    return f"{s.text} at n = {s.n:,}{', though the interval reaches 1x' if s.most >= 1 else ''}"


def _on_chip(ratios: Sequence[Speedup]) -> list[str]:
    """Say, of each design for a chip, in what AMPER-fr's best machine loses to it and in what it wins."""
    largest = max(s.n for s in ratios)
    best = best_machines(ratios)
    lost = {q: sum(best[against, q, largest].most < 1 for against in ON_CHIP) for q in ("sample", "step")}
    opening = (
        f"On a chip (modelled; n = {largest:,}; each quantity by AMPER-fr's best machine for it), of {len(ON_CHIP)} "
        f"designs without a TCAM {lost['sample']} sample faster than AMPER-fr and {lost['step']} step faster."
    )
    return [opening, *(_standing(against, largest, best) for against in ON_CHIP)]


def best_machines(ratios: Sequence[Speedup]) -> dict[tuple[str, str, int], Speedup]:
    """Return, by (baseline, quantity, n), the largest ratio of AMPER-fr's machines."""
    best: dict[tuple[str, str, int], Speedup] = {}
    for s in ratios:
        if s.key in READOUTS:
            place = s.against, s.quantity, s.n
            best[place] = max(best.get(place, s), s, key=lambda other: other.ratio)
    return best


def _standing(against: str, largest: int, best: Mapping[tuple[str, str, int], Speedup]) -> str:
    """Return one sentence: what is lost to a design at the largest n, what is won, and where a smaller n differs."""
    here = {q: best[against, q, largest] for q in LISTED if (against, q, largest) in best}
    parts = [
        f"{verb} {', '.join(f'{QUANTITIES[q][1]} {s.text}' for q, s in chosen.items())}"
        for verb, chosen in (
            ("loses", {q: s for q, s in here.items() if s.most < 1}),
            ("wins", {q: s for q, s in here.items() if s.least > 1}),
            ("cannot be told apart in", {q: s for q, s in here.items() if s.least <= 1 <= s.most}),
        )
        if chosen
    ]
    turned = [
        f"{QUANTITIES[q][1]} {times(s.ratio)} at n = {n:,}"
        for (rival, q, n), s in best.items()
        if rival == against and q in here and n < largest and (s.ratio < 1) != (here[q].ratio < 1)
    ]
    elsewhere = f" (but {', '.join(turned)})" if turned else ""
    return f"Against {ON_CHIP[against]} it {'; it '.join(parts)}{elsewhere}."


def _writes(rows: Sequence[Row]) -> str:
    """Say what an update pays for writing a TCAM."""
    largest = max(row["n"] for row in rows)
    said = dict.fromkeys(
        f"{units.format_time(row['write_fs'])} a row in {row['parameters']['technology']}, so that an update takes "
        f"{units.format_time(row['update_fs'])} through {row['parameters']['n_banks']} write ports"
        for row in rows
        if row["key"] == "amper-fr" and row["n"] == largest
    )
    return f"A step pays for the TCAM's writes: {'; '.join(said)}."


# -- what drives it ---------------------------------------------------------------------------------
def _other_searches(rows: Sequence[Row], ratios: Sequence[Speedup], laws: Sequence[Mapping[str, Any]]) -> str:
    """Say what the paper's form and the other variant cost against the same baselines, and how well they draw."""
    divergence = {law["sampler"]: law["divergence"] for law in laws}

    def figures(key: str, against: str, quantity: str = "sample") -> str:
        return _span([s.ratio for s in _chosen(ratios, quantity, against, key)])

    fr, linear = (_fraction(rows, key) for key in ("amper-fr", "amper-fr-linear"))
    return (
        f"AMPER-fr's speed goes with candidate sets of {fr:.1%} of this agent's buffer, and a law that strays from "
        f"PER by KL {divergence['amper-fr']:.2g} (uniform sampling: {divergence['uniform']:.2g}); the trees stray by "
        f"none. The paper's linear groups, in our numbers, take {linear:.1%} and stray by "
        f"{divergence['amper-fr-linear']:.2g}; their ratios are {figures('amper-fr-linear', 'fused')} (fused) and "
        f"{figures('amper-fr-linear', 'torchrl')} (TorchRL-like). AMPER-k, one best-match search a neighbour, reaches "
        f"{figures('amper-k', 'fused')} (fused) and {figures('amper-k', 'eager')} (eager) at KL "
        f"{divergence['amper-k']:.2g}. With the fetch of the sampled rows, alike for all, AMPER-fr's "
        f"{figures('amper-fr', 'fused')} over a fused kernel become {figures('amper-fr', 'fused', 'fetched')} with "
        f"csb, its {figures('amper-fr-rank', 'fused')} become {figures('amper-fr-rank', 'fused', 'fetched')} with "
        "rank_select."
    )


def _fraction(rows: Sequence[Row], key: str) -> float:
    largest = max(row["n"] for row in rows)
    return max(float(row["csp_fraction"]) for row in rows if row["key"] == key and row["n"] == largest)


def _drivers(rows: Sequence[Row]) -> str:
    """Say what most of a sampling is spent on, machine by machine."""
    largest = max(row["n"] for row in rows)
    last = [row for row in rows if row["n"] == largest]
    shares = [share(row)["readout"] for row in last if row["key"] == "amper-fr"]
    eager = next(row for row in last if row["key"] == "eager")
    tree = next(row for row in last if row["key"] == next(iter(ON_CHIP)))
    ranked = ", ".join(
        f"{name} {part:.0%} ({row['parameters']['technology']})"
        for row in last
        if row["key"] == "amper-fr-rank"
        for name, part in [_largest(row)]
    )
    name, part = _largest(tree)
    return (
        f"Where the time of a sampling goes at n = {largest:,}: in the AMPER-fr machine with csb, moving candidates "
        f"through the port into the candidate-set buffer, {min(shares):.0%} to {max(shares):.0%}; with rank_select, "
        f"{ranked}; in {ON_CHIP[tree['key']]}, {name} {part:.0%}, one draw a cycle; on the GPU, kernel launches, "
        f"{share(eager)['launches']:.0%} of an eager sampling at an assumed {eager['parameters']['t_op_us']:g} us each."
    )


def _largest(row: Row) -> tuple[str, float]:
    return max(share(row).items(), key=lambda part: part[1])


def _growth(rows: Sequence[Row]) -> str:
    """Say how the latencies grow with n, where there is more than one."""
    sizes = sorted({row["n"] for row in rows})
    if len(sizes) < 2:
        return ""

    def grows(key: str) -> str:
        found = {(row["label"], row["n"]): row["sample_fs"] for row in rows if row["key"] == key}
        labels = dict.fromkeys(label for label, _ in found)
        all_ = [f"{found[label, sizes[-1]] / found[label, sizes[0]] - 1:.0%}" for label in labels]
        low, high = min(all_, key=lambda text: float(text[:-1])), max(all_, key=lambda text: float(text[:-1]))
        return low if low == high else f"{low} to {high}"

    return (
        f"From n = {sizes[0]:,} to {sizes[-1]:,} an AMPER-fr sampling with csb grows by {grows('amper-fr')}, with "
        f"rank_select by {grows('amper-fr-rank')}, by linear groups {grows('amper-fr-linear')}, an eager tree's by "
        f"{grows('eager')}, the on-chip tree's by {grows(next(iter(ON_CHIP)))}."
    )
