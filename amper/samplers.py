"""The samplers by name: uniform, per, per-rank, amper-k, amper-fr; one word swaps them.

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
from amper.checks import MOST_SLOTS, whole
from amper.fixedpoint import convert
from amper.options import AmperOptions
from amper.proportional import ProportionalSampler, UniformSampler
from amper.protocols import Int64, Sampler
from amper.rank import RankSampler
from amper.trace import OpKind, Trace

Factory = Callable[..., Sampler]


# -- registry -------------------------------------------------------------------------------------------
def _amper_fr(capacity: int, seed: np.random.SeedSequence, **options: Any) -> Sampler:
    return AmperSampler(capacity, seed, variant="fr", **options)


def _amper_k(capacity: int, seed: np.random.SeedSequence, **options: Any) -> Sampler:
    return AmperSampler(capacity, seed, variant="k", **options)


_REGISTRY: dict[str, Factory] = {
    "uniform": UniformSampler,
    "per": ProportionalSampler,
    "per-rank": RankSampler,
    "amper-k": _amper_k,
    "amper-fr": _amper_fr,
}


def available() -> tuple[str, ...]:
    """Return the registered names, in order of registration.

    Examples
    --------
    >>> available()
    ('uniform', 'per', 'per-rank', 'amper-k', 'amper-fr')
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
    plain = checked(name, options)
    capacity = whole("capacity", capacity, at_least=1, at_most=MOST_SLOTS)
    return _REGISTRY[name](capacity, uniform_sources.stream(seed, f"sampler/{name}"), **plain)


def checked(name: str, options: Mapping[str, Any], alpha: Any = None) -> dict[str, Any]:
    """Return options of a registered sampler, as plain Python values; refuse unknown names.

    `alpha`, a replay's exponent, is filled in where the sampler has one of its own and none is given.
    """
    if not isinstance(name, str) or name not in _REGISTRY:
        close = difflib.get_close_matches(str(name), _REGISTRY, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"sampler must be one of {', '.join(_REGISTRY)}, got {name!r}{hint}")
    if not isinstance(options, Mapping):
        raise TypeError(f"sampler_options must be a mapping, got {options!r}")
    known = _option_names(name)
    for option in options:
        if not isinstance(option, str) or (known and option not in known):
            raise ValueError(f"sampler_options must be among {', '.join(known)} for {name!r}, got {option!r}")
    filled = {"alpha": alpha} if alpha is not None and "alpha" in known else {}
    return {**filled, **{option: _plain(value) for option, value in options.items()}}


def _plain(value: Any) -> Any:
    """Return NumPy scalars and arrays as Python's, so that options can be written as JSON."""
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, tuple | list):
        return tuple(_plain(entry) for entry in value)
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items()}
    return value.item() if isinstance(value, np.generic) else value


def _option_names(name: str) -> list[str]:
    """Return the keyword options a registered sampler takes; empty where it cannot be told."""
    factory = _REGISTRY[name]
    source = AmperOptions if factory in (_amper_fr, _amper_k) else factory
    parameters = inspect.signature(source).parameters.values()
    if source is factory and any(p.kind is p.VAR_KEYWORD for p in parameters):
        return []
    return [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.name != "variant"]


def refuse_own_scale(options: Mapping[str, Any]) -> None:
    """Refuse a full scale for a sampler that takes the codes of another: they are fractions of the other's."""
    if "full_scale" in options:
        raise ValueError("full_scale must stay the recording's, got it as an option; codes are fractions of it")


def replay_trace(trace: Trace, name: str, *, seed: int | None = None, **options: Any) -> tuple[Trace, Sampler]:
    """Put the writes and batch sizes of `trace` through another sampler; return its trace, and it.

    `Trace.replay` is this without the sampler; the sampler, as it is at the end, tells the law it samples by.
    """
    header = trace.header
    trace.check()
    refuse_own_scale(options)
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
    rows = trace.writes[first : first + count]
    slots, codes = rows["slot"].copy(), rows["code"].astype(np.int64)
    slots, codes = follow(sampler, OpKind(kind), slots, codes, trace.header.bits, actor, at_maximum=at_maximum)
    if kind == OpKind.INSERT:
        sink.record_insert(slots, codes, actor, at_maximum=at_maximum)
    else:
        sink.record_update(slots, codes, actor)


def follow(
    sampler: Sampler, kind: OpKind, slots: Int64, codes: Int64, bits: int, actor: int = 0, *, at_maximum: bool = False
) -> tuple[Int64, Int64]:
    """Let `sampler` write what another one wrote, in codes of `bits` bits; return the slots and codes it stored.

    A negative `actor` marks an update of everything that was a halving of all codes, -actor times: see `Trace`.
    """
    if actor < 0:
        sampler.rescale(-actor)
        stored = np.flatnonzero(sampler.codes)
        return stored, sampler.codes[stored].astype(np.int64)
    codes = convert(codes, bits, sampler.format.bits)
    if kind == OpKind.INSERT:
        return slots, sampler.insert(slots, codes, at_maximum=at_maximum)
    sampler.update(slots, codes)
    return slots, codes
