"""Samplers that hold what a running replay holds: the same writes, another law."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from amper import samplers
from amper.protocols import Array, Draw, Int64, Sampler
from amper.trace import OpKind, TraceHeader


class Shadows:
    """Let other samplers write all that a replay writes, as it happens: `Trace.replay` without a trace.

    Pass it as `sink=` to a `ReplayBuffer`. Nothing is drawn from the others; what they would draw, or by which law,
    can be asked of them at any time.

    Parameters
    ----------
    wanted : mapping
        Name of your own -> (sampler's registered name, its options).

    Attributes
    ----------
    samplers : dict
        The samplers, by the same names; empty until the replay begins.

    Raises
    ------
    TypeError
        If `wanted` holds anything else.
    ValueError
        If a sampler or option is unknown, or a full scale is asked for, when the replay begins.

    Examples
    --------
    >>> import amper
    >>> shadows = Shadows({"tree": ("per", {}), "octaves": ("amper-fr", {"grouping": "octave"})})
    >>> buffer = amper.ReplayBuffer(100, {"x": {}}, sampler="amper-fr", seed=0, sink=shadows)
    >>> ids = buffer.add(x=[1.0, 2.0], priorities=[0.25, 1.0])
    >>> {name: sampler.codes[:2].tolist() for name, sampler in shadows.samplers.items()}
    {'tree': [934754231, 2147516416], 'octaves': [14263, 32768]}
    """

    def __init__(self, wanted: Mapping[str, tuple[str, Mapping[str, Any]]]) -> None:
        for name, made in wanted.items():
            if not (isinstance(made, tuple | list) and len(made) == 2):
                raise TypeError(f"wanted must map names to (sampler, options), got {made!r} for {name!r}")
        self._wanted = dict(wanted)
        self._bits = 0
        self.samplers: dict[str, Sampler] = {}

    def begin(self, header: TraceHeader) -> None:
        """Make the samplers, as large as the replay and of its seed."""
        if self.samplers:
            raise ValueError("sink must be new Shadows, got ones that already follow a replay")
        for _, options in self._wanted.values():
            samplers.refuse_own_scale(options)
        self._bits = header.bits
        self.samplers = {
            name: samplers.make_from(sampler, header.n_rows, header.seed, options)
            for name, (sampler, options) in self._wanted.items()
        }

    def record_insert(self, slots: Int64, codes: Array, actor: int = 0, *, at_maximum: bool = False) -> None:
        """Insert what the replay inserted; at the maximum where it did."""
        self._follow(OpKind.INSERT, slots, codes, actor, at_maximum)

    def record_update(self, slots: Int64, codes: Array, actor: int = 0) -> None:
        """Update what the replay updated."""
        self._follow(OpKind.UPDATE, slots, codes, actor, False)

    def record_sample(self, draw: Draw, actor: int = 0) -> None:
        """Leave a sampling alone: it writes nothing."""

    def _follow(self, kind: OpKind, slots: Int64, codes: Array, actor: int, at_maximum: bool) -> None:
        slots, codes = np.array(slots, np.int64), np.asarray(codes, np.int64)
        for sampler in self.samplers.values():
            samplers.follow(sampler, kind, slots, codes, self._bits, actor, at_maximum=at_maximum)
