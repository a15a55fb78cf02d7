"""A replay's parts, how they are recorded, and how they are kept: as a state, as a file, as a copy."""

from __future__ import annotations

import json
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np

from amper import checks
from amper.config import ReplayConfig, from_dict
from amper.fields import Field
from amper.fixedpoint import PriorityEncoder
from amper.protocols import RowDrawer, RowWriter, Sampler, Sink, TraceHeader, UniformSource
from amper.shared import Queue
from amper.stages import Stage
from amper.state import flatten, read_npz, unflatten, write_npz
from amper.storage import RowStorage

FORMAT_VERSION = 3


class Parts(NamedTuple):
    """What a replay consists of."""

    sampler: Sampler
    encoder: PriorityEncoder
    stages: dict[str, Stage]
    storage: RowStorage
    source: UniformSource


class Saved(ABC):
    """The parts of `ReplayBuffer`; recording, saving and loading them."""

    _settings: ReplayConfig
    _step_fields: dict[str, Field]
    _is_plain: bool
    _is_scheduled: bool
    _completes: bool
    _capacity: int
    _n_envs: int
    _config: dict[str, Any]
    _sampler_name: str
    _sampler: Sampler
    _drawer: RowDrawer | None
    _writer: RowWriter | None
    _encoder: PriorityEncoder
    _stages: dict[str, Stage]
    _storage: RowStorage
    _source: UniformSource
    _n_issued: int
    _stats: dict[str, int]
    _sink: Sink | None
    _queues: list[Queue]

    def __new__(cls, *_args: Any, threads: bool = False, **_options: Any) -> Self:
        """Return an empty instance; a subclass may choose its class by `threads`."""
        return super().__new__(cls)

    @abstractmethod
    def __init__(self, capacity: int, fields: Mapping[str, Mapping[str, Any]], **options: Any) -> None:
        """Construct the parts."""

    def __len__(self) -> int:
        return min(self._n_issued, self._capacity)

    @abstractmethod
    def _new_stages(self) -> dict[str, Stage]:
        """Return what stands between a step and a stored transition, empty."""

    @abstractmethod
    def _new_parts_but(self, storage: RowStorage | None) -> Parts:
        """Return parts as this replay's configuration asks for them, empty; but `storage`, where it is given."""

    def _adopt(self, parts: Parts) -> None:
        """Take `parts`, and the shortcuts the sampler has."""
        self._sampler, self._encoder, self._stages, self._storage, self._source = parts
        sampler = parts.sampler
        self._drawer = sampler if isinstance(sampler, RowDrawer) else None
        self._writer = sampler if isinstance(sampler, RowWriter) and sampler.update_rows is not None else None

    def _attach(self, sink: Sink) -> None:
        """Record in `sink` from here on, beginning with what is stored."""
        checks.sink(sink)
        if self._is_scheduled:
            raise ValueError("sink must be absent where alpha follows a schedule: a trace cannot tell, got both")
        sink.begin(
            TraceHeader(
                n_rows=self._capacity, row_bytes=self._storage.row_bytes, bits=self._sampler.format.bits,
                sampler=self._sampler_name, options=self._sampler.options, seed=self._config["seed"],
                source="ReplayBuffer",
            )
        )  # fmt: skip
        codes = self._sampler.codes
        stored = np.flatnonzero(codes)
        if len(stored):
            sink.record_insert(stored, codes[stored])
        self._sink = sink

    def state_dict(self) -> dict[str, Any]:
        """Return a copy of everything that makes the next calls repeat exactly."""
        return {**self._state(), "storage": self._storage.state_dict()}

    def _state(self) -> dict[str, Any]:
        """Return the state without what is stored."""
        return {
            "config": json.loads(json.dumps(self._config)),
            "n_issued": self._n_issued, "stats": dict(self._stats),
            "encoder": self._encoder.state_dict(), "sampler": self._sampler.state_dict(),
            "source": self._source.state_dict(),
            "stages": {name: stage.state_dict() for name, stage in self._stages.items()},
        }  # fmt: skip

    def load_state_dict(self, d: Mapping[str, Any]) -> None:
        """Continue from `state_dict()` of a buffer constructed alike.

        Raises
        ------
        ValueError
            If the state is of another configuration, or not a state; or if a sink records this buffer, whose
            trace could not follow. Nothing is changed then.
        """
        if self._sink is not None:
            raise ValueError("sink must be absent to load a state; pass it to ReplayBuffer.load instead")
        checks.same_config(json.loads(json.dumps(self._config)), d)
        checks.same_layout("d", {**self._state(), "storage": {}}, d)
        # Into new parts first: a state that turns out broken leaves this buffer as it is.
        if self._settings.on_disk:
            raise ValueError(
                "storage must be 'memory' to load a state, got a folder; ReplayBuffer.open goes on with it"
            )
        parts = self._new_parts_but(None)
        self._fill(parts, d)
        self._n_issued, self._stats = d["n_issued"], dict(d["stats"])
        self._adopt(parts)

    def _fill(self, parts: Parts, d: Mapping[str, Any]) -> None:
        """Load a state into new parts; ValueError if it is broken."""
        try:
            parts.sampler.load_state_dict(d["sampler"])
            parts.encoder.load_state_dict(d["encoder"])
            if "storage" in d:
                parts.storage.load_state_dict(d["storage"])
                parts.storage.check_flags(min(d["n_issued"], self._capacity))
            parts.source.load_state_dict(d["source"])
            for name, stage in parts.stages.items():
                stage.load_state_dict(d["stages"][name])
            checks.stored(parts.sampler.codes, d["n_issued"])
            checks.counters(d["stats"], self._stats)
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"d must be the state of a buffer, got a broken one: {error}") from error

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the whole buffer as one .npz: temporary file first, then renamed into place."""
        values, arrays = flatten(self.state_dict())
        write_npz(Path(path), json.dumps({"version": FORMAT_VERSION, "kind": "replay", **values}), arrays)

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, sink: Sink | None = None, threads: bool = False) -> Self:
        """Return the buffer that `save` wrote; its next samples are those it would have drawn.

        `sink` and `threads` are as in the constructor: neither is kept in a file.

        Raises
        ------
        ValueError
            If the file is no replay, or of a newer format.
        FileNotFoundError
            If there is no such file.
        """
        header, arrays = read_npz(Path(path), "a replay written by ReplayBuffer.save", FORMAT_VERSION, "replay")
        if header["version"] < FORMAT_VERSION:
            raise ValueError(
                f"path must name a replay of format {FORMAT_VERSION}, got {str(path)!r} of format {header['version']}; "
                "fill a new buffer"
            )
        try:
            d = unflatten(header, arrays)
            config = from_dict(d["config"])
            buffer = cls(config.pop("capacity"), config.pop("fields"), threads=threads, **config)
            buffer.load_state_dict(d)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ValueError(
                f"path must name a replay written by ReplayBuffer.save, got {str(path)!r}: {error}"
            ) from error
        if sink is not None:
            buffer._attach(sink)
        return buffer

    def __getstate__(self) -> dict[str, Any]:
        """Leave sink and queues behind: a copy of a buffer records nothing, and nobody writes to it."""
        if self._settings.on_disk:
            raise TypeError(
                "a replay on disk must not be copied or pickled: two would write one file; save() it instead"
            )
        return {**self.__dict__, "_sink": None, "_queues": []}
