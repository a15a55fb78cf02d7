"""What the latency, energy, area and leakage of a TCAM array consist of, as functions of its words and bits.

An array of `words` rows of `bits` cells has one match line a word, over `bits` cells, and two search lines a bit, over
`words` cells (EvaCAM draws it turned by a quarter: its columns are the words). Each quantity is a part that is known
beforehand plus a sum of terms, each a shape from here times a coefficient that `hwsim.array_fit.fit` finds.

Search-line and precharge drivers are inverter chains sized by logical effort. Their number of inverters is whole
and its parity fixed, so driver size, and with it area and leakage, jumps where the chain grows: search lines go from
two inverters to four between 105 and 106 words, precharge from one to three at 21 and to five at 328. Between two
jumps everything is smooth. The search line's own wire adds a delay that grows with words squared.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType

from hwsim.checks import store_positive

_LN2 = math.log(2)
#: Effort of one stage at which a chain is neither too long nor too short (Sutherland, Sproull, Harris 1999; EvaCAM).
_STAGE_EFFORT = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Circuit:
    """Ratios of the technology that the shapes need; the defaults are EvaCAM's 2FeFET TCAM at 45 nm and 350 K.

    None of them was found from an array's numbers: they follow from the cell file `2FeFET_TCAM.cell` (300 F^2, 1.76 as
    high as wide, 10 kOhm on) and from the tables for 45 nm high-performance transistors and conservative local wires
    in the public EvaCAM release (github.com/eva-cam/EvaCAM at dc761af; the tables are NVSim's and CACTI's).
    The unit inverter is the smallest: NMOS 1.5 F wide, PMOS 3.6 F; it loads .305 fF, and its resistance
    times that load, the time constant, is 3.90 ps.

    Parameters
    ----------
    row_effort_per_word : float
        Load of a search line, in unit inverters a word: 1.6 x (.172 fF of wire + .060 fF of gate) / .305 fF.
    row_wire_per_word2 : float
        Elmore delay of the search line's wire (7.46 Ohm a word, half the load) in time constants a word squared.
    precharge_effort_per_word : float
        Load of the precharge signal a word: one unit inverter and .172 fF of wire, in unit inverters.
    precharge_load : float
        What the inverter of each word drives, two PMOS of 30 F and one of 1.5 F, in unit inverters.
    precharge_self_bits : float
        Drain load of those PMOS, in bits of match line (.363 fF each).
    match_wire_per_bit : float
        Half the wire resistance of one bit of match line (13.1 Ohm) over that of the PMOS (728 Ohm).
    inverter_gain, precharge_gain : float
        1 / (on-resistance x transconductance), of the inverter and of the precharge PMOS: how much a slow input slows.
    nand_self : float
        Drain load of the NAND gate that feeds a search line, in unit inverters.
    largest_inverter : float
        500 F, the widest NMOS allowed, in unit inverters.
    inverter_fj : float
        Energy of charging the load of a unit inverter at 1 V.
    sense_uw : float
        Power of a word's and its reference's match line while it is sensed: twice `ReadPower`, 5.62 uW.
    word_leakage, nand_leakage : float
        Leakage of the precharge and sense transistors of a word, and of that NAND gate, in unit inverters.
    cell_um2, pulse_ns : float
        300 F^2; `SetPulse`.
    """

    row_effort_per_word: float = 1.2164
    row_wire_per_word2: float = 3.539e-4
    precharge_effort_per_word: float = 1.563
    precharge_load: float = 12.55
    precharge_self_bits: float = 1.459
    match_wire_per_bit: float = 9.008e-3
    inverter_gain: float = 0.6133
    precharge_gain: float = 0.5395
    nand_self: float = 0.886
    largest_inverter: float = 500 / 1.5
    inverter_fj: float = 0.3047
    sense_uw: float = 11.24
    word_leakage: float = 10.68
    nand_leakage: float = 0.96
    cell_um2: float = 0.6075
    pulse_ns: float = 10.0

    def __post_init__(self) -> None:
        for item in fields(self):
            store_positive(self, item.name)


def inverters(effort: float, *, odd: bool) -> tuple[float, ...]:
    """Return the sizes, in unit inverters, of the chain that drives a load of `effort` unit inverters.

    The rounding is EvaCAM's (and NVSim's): about one inverter per factor of 4, one more where the parity asks for it.

    Examples
    --------
    >>> [round(size, 1) for size in inverters(64.0, odd=False)]
    [4.0, 16.0]
    """
    count = max(1, int(math.log(effort, _STAGE_EFFORT) + 0.5) - 1)
    count += (count % 2 == 1) != odd
    stage = effort ** (1 / (count + 1))
    return tuple(stage**k for k in range(1, count + 1))


def _ramped(tau: float, gain: float, previous: float) -> float:
    """Return the delay of a stage of time constant `tau` whose input takes `previous` (Horowitz 1983, half swing)."""
    return math.sqrt((_LN2 * tau) ** 2 + 2 * gain * tau * previous)


def _chain(effort: float, sizes: tuple[float, ...], wire: float, previous: float, c: Circuit) -> list[float]:
    """Return the delay of each inverter of the chain, in time constants; `wire` is added behind the last."""
    delays = []
    for k, size in enumerate(sizes):
        last = k == len(sizes) - 1
        width = min(size, c.largest_inverter) if last else size
        # A folded transistor's drain loads it with .20 of its own gate; the two ends of each add .33 unit inverters.
        tau = 0.20 + 0.33 / width + (effort / width + wire if last else sizes[k + 1] / size)
        previous = _ramped(tau, c.inverter_gain, previous)
        delays.append(previous)
    return delays


def row_chain(words: int, c: Circuit) -> tuple[float, ...]:
    """Return the sizes of a search line's inverters."""
    return inverters(c.row_effort_per_word * words, odd=False)


def row_shape(words: int, bits: int, c: Circuit) -> float:
    """Return the delay of the search lines in time constants: NAND gate, inverters, wire."""
    sizes = row_chain(words, c)
    previous = 1.5  # The gate before, whose delay is in the coefficient `decode`, switches in about that.
    delay = 0.0
    if bits > 8:  # Up to 8 lines the predecoder's outputs are used without the NAND gate (RowDecoder, EvaCAM).
        # Two NMOS in series, each twice as wide: the same resistance, half the gain.
        previous = _ramped(c.nand_self + sizes[0], c.inverter_gain / 2, previous)
        delay = previous
    wire = c.row_wire_per_word2 * words**2
    return delay + sum(_chain(c.row_effort_per_word * words, sizes, wire, previous, c))


def _precharge_line(bits: int, c: Circuit) -> float:
    return c.precharge_self_bits + bits + c.match_wire_per_bit * bits**2


def _precharge_ramp(words: int, c: Circuit) -> float:
    """Return how long the gates of the precharge PMOS take to switch, in time constants."""
    effort = c.precharge_effort_per_word * words
    last = _chain(effort, inverters(effort, odd=True), 0.0, 0.0, c)[-1]
    return _ramped(c.precharge_load, c.inverter_gain, last)


def _charged(effort: float, sizes: tuple[float, ...]) -> float:
    """Return the load that a chain charges, its own included, in unit inverters."""
    return effort + sum(1.20 * s + 0.33 for s in sizes)


def _line_pj(words: int, bits: int, c: Circuit) -> float:
    """Return the energy of driving two search lines, all that the tool counts; the word term holds the rest."""
    lines = _charged(c.row_effort_per_word * words, row_chain(words, c)) + (c.nand_self if bits > 8 else 0.0)
    return 1e-3 * c.inverter_fj * 2 * lines


def _search_known_pj(words: int, bits: int, c: Circuit, found: Mapping[str, float]) -> float:
    """Return the energy of the driver chains and of the sense amplifiers' current while the match lines fall."""
    effort = c.precharge_effort_per_word * words
    precharge = 1e-3 * c.inverter_fj * _charged(effort, inverters(effort, odd=True))
    sensing = 1e-3 * c.sense_uw * words * (found["match_line_ns"] + found["sense_ns"])
    return _line_pj(words, bits, c) + precharge + sensing


def _driver_area(words: int, c: Circuit) -> float:
    """Return the width of a search line's driver in F: 4 for the NAND gate, 6 an inverter, more where it is folded."""
    sizes = row_chain(words, c)
    return 4 + 6 * (len(sizes) + 1) + 0.378 * sum(sizes)


def _leaking(words: int, bits: int, c: Circuit) -> float:
    """Return how many unit inverters leak as much as all drivers do; EvaCAM's FeFET cells do not leak."""
    lines = 2 * bits * ((c.nand_leakage if bits > 8 else 0.0) + sum(row_chain(words, c)))
    return lines + sum(inverters(c.precharge_effort_per_word * words, odd=True)) + c.word_leakage * words


Shape = Callable[[int, int, Circuit], float]
Known = Callable[[int, int, Circuit, Mapping[str, float]], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantity:
    """A quantity of an array: `known` plus the sum of coefficient times shape; its square where `squared`.

    Parameters
    ----------
    known : callable or None
        Part without a coefficient, from words, bits, circuit, and the quantities before it in `QUANTITIES`.
    terms : tuple of (name, unit, shape)
        What a coefficient is called, its unit, and what it multiplies.
    squared : bool
        Two delays that overlap add as squares (`_ramped`).
    """

    terms: tuple[tuple[str, str, Shape], ...]
    known: Known | None = None
    squared: bool = False


#: In the order of evaluation.
QUANTITIES: Mapping[str, Quantity] = MappingProxyType(
    {
        "precharge_ns": Quantity(
            terms=(
                ("line", "ns2", lambda w, b, c: _precharge_line(b, c) ** 2),
                ("ramp", "ns2", lambda w, b, c: _precharge_line(b, c) * _precharge_ramp(w, c)),
            ),
            squared=True,
        ),
        "row_drive_ns": Quantity(
            terms=(("decode", "ns", lambda w, b, c: 1.0), ("time_constant", "ns", row_shape)),
        ),
        "match_line_ns": Quantity(
            terms=(("cell", "ns/bit", lambda w, b, c: float(b)), ("wire", "ns/bit2", lambda w, b, c: float(b * b))),
        ),
        "sense_ns": Quantity(terms=(("amplifier", "ns", lambda w, b, c: 1.0),)),
        "search_pj": Quantity(
            known=_search_known_pj,
            terms=(
                ("word", "pJ/word", lambda w, b, c: float(w)),
                ("cell", "pJ/(word bit)", lambda w, b, c: float(w * b)),
            ),
        ),
        "write_ns": Quantity(
            known=lambda w, b, c, found: c.pulse_ns + found["row_drive_ns"],
            terms=(("decode", "ns", lambda w, b, c: 1.0), ("decode_bit", "ns/bit", lambda w, b, c: float(b))),
        ),
        "write_pj": Quantity(
            known=lambda w, b, c, found: _line_pj(w, b, c),
            terms=(
                ("word", "pJ/word", lambda w, b, c: float(w)),
                ("bit", "pJ/bit", lambda w, b, c: float(b)),
                ("cell", "pJ/(word bit)", lambda w, b, c: float(w * b)),
            ),
        ),
        "area_um2": Quantity(
            known=lambda w, b, c, found: c.cell_um2 * w * b,
            terms=(
                ("word", "um2/word", lambda w, b, c: float(w)),
                ("bit", "um2/bit", lambda w, b, c: float(b)),
                ("driver", "um2/F", lambda w, b, c: b * _driver_area(w, c)),
            ),
        ),
        "leakage_uw": Quantity(
            terms=(("inverter", "uW", _leaking), ("decode_bit", "uW/bit", lambda w, b, c: float(b))),
        ),
    }
)
