"""The samplers by name: uniform, per, amper-k, amper-fr; one word swaps them.

A sampler keeps codes by slot and returns slots. See `protocols.Sampler`; `replay.ReplayBuffer` calls it.
"""

from __future__ import annotations

import dataclasses
import difflib
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from amper import urng as uniform_sources
from amper.associative import AmperSampler
from amper.checks import whole
from amper.fixedpoint import FullScale, PriorityFormat, convert, halve
from amper.proportional import ProportionalSampler
from amper.protocols import Draw, Float64, Int64, Sampler, UInt32
from amper.trace import OpKind, Trace

Factory = Callable[..., Sampler]


class UniformSampler:
    """Every stored transition alike; codes are kept only so that a trace can replay them elsewhere.

    Parameters
    ----------
    capacity : int
        Slots.
    seed : numpy.random.SeedSequence
        Of the draws.
    bits, full_scale
        As in `fixedpoint.PriorityFormat`.
    """

    def __init__(
        self, capacity: int, seed: np.random.SeedSequence, *, bits: int = 32, full_scale: FullScale = "auto"
    ) -> None:
        self.format = PriorityFormat(bits=bits, full_scale=full_scale)
        self.options: dict[str, Any] = {"bits": bits, "full_scale": full_scale}
        self.stats: dict[str, int] = {}
        self._source = uniform_sources.make("numpy", seed)
        self._codes = np.zeros(capacity, np.uint32)
        self._n_valid = 0

    @property
    def codes(self) -> UInt32:
        """Code stored for each slot, uint32[capacity]; read-only."""
        view = self._codes.view()
        view.flags.writeable = False
        return view

    def insert(self, slots: Int64, codes: Int64, *, at_maximum: bool) -> Int64:
        """Write new transitions and return the codes stored."""
        self._n_valid = min(self._n_valid + len(slots), len(self._codes))  # slots fill in order
        self._codes[slots] = codes
        return codes

    def update(self, slots: Int64, codes: Int64) -> None:
        """Write new codes."""
        self._codes[slots] = codes

    def rescale(self, n_halvings: int) -> None:
        """Halve every stored code."""
        self._codes[: self._n_valid] = halve(self._codes[: self._n_valid].astype(np.int64), n_halvings)

    def sample(self, batch_size: int) -> Draw:
        """Draw uniformly from the stored slots."""
        n = self._n_valid
        slots = np.minimum((self._source.random(batch_size) * n).astype(np.int64), n - 1)
        return Draw(slots, np.full(batch_size, 1.0 / n), n, n)

    def law(self, n_samplings: int) -> Float64:
        """Return the chance of each slot in one draw, float64[capacity]."""
        return (self._codes > 0) / self._n_valid

    def state_dict(self) -> dict[str, Any]:
        """Return codes and source."""
        return {"codes": self._codes.copy(), "source": self._source.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state`."""
        self._codes[...] = state["codes"]
        self._n_valid = int(np.count_nonzero(self._codes))
        self._source.load_state_dict(state["source"])


# -- registry -------------------------------------------------------------------------------------------
def _amper_fr(capacity: int, seed: np.random.SeedSequence, **options: Any) -> Sampler:
    return AmperSampler(capacity, seed, variant="fr", **options)


def _amper_k(capacity: int, seed: np.random.SeedSequence, **options: Any) -> Sampler:
    return AmperSampler(capacity, seed, variant="k", **options)


_REGISTRY: dict[str, Factory] = {
    "uniform": UniformSampler,
    "per": ProportionalSampler,
    "amper-k": _amper_k,
    "amper-fr": _amper_fr,
}


def available() -> tuple[str, ...]:
    """Return the registered names, in order of registration.

    Examples
    --------
    >>> available()
    ('uniform', 'per', 'amper-k', 'amper-fr')
    """
    return tuple(_REGISTRY)


def register(name: str, factory: Factory) -> None:
    """Make `factory(capacity, seed, **options)` available as `name`.

    Raises
    ------
    ValueError
        If the name is taken.
    """
    if name in _REGISTRY:
        raise ValueError(f"name must be new, got {name!r}; registered are {', '.join(_REGISTRY)}")
    _REGISTRY[name] = factory


def make(name: str, capacity: int, *, seed: int | None = None, **options: Any) -> Sampler:
    """Return a sampler over `capacity` slots.

    Slots and codes passed to it are not checked again: `ReplayBuffer` and `Trace` do that.

    Raises
    ------
    ValueError
        If the name or an option is unknown, or an option is out of range.
    """
    return make_from(name, capacity, seed, options)


def make_from(name: str, capacity: int, seed: int | None, options: Mapping[str, Any]) -> Sampler:
    """Return a sampler, as `make`, its options in one mapping."""
    if not isinstance(name, str) or name not in _REGISTRY:
        close = difflib.get_close_matches(str(name), _REGISTRY, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"sampler must be one of {', '.join(_REGISTRY)}, got {name!r}{hint}")
    if not isinstance(options, Mapping):
        raise TypeError(f"sampler_options must be a mapping, got {options!r}")
    factory = _REGISTRY[name]
    known = _option_names(factory)
    for option in options:
        if not isinstance(option, str) or (known and option not in known):
            raise ValueError(f"sampler_options must be among {', '.join(known)} for {name!r}, got {option!r}")
    plain = {option: _plain(value) for option, value in options.items()}
    capacity = whole("capacity", capacity, at_least=1)
    return factory(capacity, uniform_sources.stream(seed, f"sampler/{name}"), **plain)


def _plain(value: Any) -> Any:
    """Return NumPy scalars as Python's, so that options can be written as JSON."""
    if isinstance(value, tuple | list):
        return tuple(_plain(entry) for entry in value)
    return value.item() if isinstance(value, np.generic) else value


def _option_names(factory: Factory) -> list[str]:
    """Return the keyword options a factory takes; empty where it cannot be told."""
    source = AmperSampler if factory in (_amper_fr, _amper_k) else factory
    parameters = inspect.signature(source).parameters.values()
    if source is factory and any(p.kind is p.VAR_KEYWORD for p in parameters):
        return []
    return [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.name != "variant"]


def replay_trace(
    trace: Trace, name: str, *, seed: int | None = None, **options: Any
) -> tuple[Trace, Sampler]:
    """Put the writes and batch sizes of `trace` through another sampler; return its trace, and it.

    `Trace.replay` is this without the sampler; the sampler, as it is at the end, tells the law it samples by.
    """
    header = trace.header
    trace.check()
    if "full_scale" in options:
        raise ValueError(
            "full_scale must stay the recording's, got it as an option; codes are fractions of it"
        )
    kinds = trace.ops["kind"]
    if len(kinds) and kinds[0] == OpKind.SAMPLE:
        raise ValueError("trace must insert before it samples, got a sampling as op 0; record from the start")
    seed = header.seed if seed is None else whole("seed", seed, at_least=0)
    sampler = make(name, header.n_rows, seed=seed, **options)
    result = Trace()
    result.begin(
        dataclasses.replace(
            header,
            bits=sampler.format.bits,
            sampler=name,
            options=sampler.options,
            seed=seed,
            source=f"replay of {header.sampler}: {header.source}",
        )
    )
    for op in range(len(trace)):
        _replay_op(trace, op, sampler, result)
    return result, sampler


def _replay_op(trace: Trace, op: int, sampler: Sampler, sink: Trace) -> None:
    """Put op number `op` through `sampler`, recording what it does in `sink`."""
    kind, actor, first, count, at_maximum = trace.ops[op].item()
    if kind == OpKind.SAMPLE:
        sink.record_sample(sampler.sample(count), actor)
        return
    if actor < 0:
        sampler.rescale(-actor)
        stored = np.flatnonzero(sampler.codes)
        sink.record_update(stored, sampler.codes[stored], actor)
        return
    rows = trace.writes[first : first + count]
    slots = rows["slot"].copy()
    codes = convert(rows["code"].astype(np.int64), trace.header.bits, sampler.format.bits)
    if kind == OpKind.INSERT:
        stored = sampler.insert(slots, codes, at_maximum=at_maximum)
        sink.record_insert(slots, stored, actor, at_maximum=at_maximum)
    else:
        sampler.update(slots, codes)
        sink.record_update(slots, codes, actor)
