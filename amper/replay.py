"""The replay buffer: storage, a sampler, and the rules between them.

One file, longer than most: half of it is the docstrings of the public face, which belong together.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from amper import checks, samplers
from amper.fixedpoint import PriorityEncoder
from amper.protocols import Int64, Sink, TraceHeader
from amper.state import flatten, read_npz, unflatten, write_npz
from amper.storage import RowStorage, fields_of_env, parse_fields

FORMAT_VERSION = 1


class ReplayBuffer:
    """A ring of transitions, sampled by priority.

    Not thread-safe.

    Parameters
    ----------
    capacity : int
        Transitions held; the oldest is overwritten.
    fields : mapping
        `{"obs": {"shape": (4,), "dtype": "float32"}, ...}`; shape defaults to `()`, dtype to float32.
    sampler : str
        A name of `amper.samplers.available()`.
    sampler_options : mapping, optional
        Options of that sampler.
    alpha : float
        Priority exponent: a transition's mass is (abs(TD error) + eps) ** alpha.
    beta : float
        Exponent of the importance weights where `sample` names none.
    eps : float
        Added to every priority.
    n_envs : int
        1: a batch added is that many consecutive steps of one stream. e > 1: a batch has e rows, row j one
        step of environment j.
    n_step : int
        1.
    discount : float
        Per step; `sample` hands out `discount` where `terminated` is a column.
    seed : int, optional
        Of every draw; without one draws differ from run to run.
    storage : {"memory"}
        Where the rows live.
    sink : Trace, optional
        Records what the replay does.
    threads : bool
        False.

    Raises
    ------
    TypeError, ValueError
        If a parameter is of the wrong type or out of range.

    Examples
    --------
    >>> buffer = ReplayBuffer(100, {"obs": {"shape": (2,)}, "reward": {}}, sampler="per", seed=0)
    >>> buffer.add(obs=[[0, 1], [2, 3]], reward=[0.5, 1.0])
    array([0, 1])
    >>> batch = buffer.sample(4)
    >>> batch["obs"].shape, batch["weights"].dtype, len(buffer)
    ((4, 2), dtype('float32'), 2)
    >>> buffer.update_priorities([0, 1], [0.1, 3.0])
    2
    """

    def __init__(
        self,
        capacity: int,
        fields: Mapping[str, Mapping[str, Any]],
        *,
        sampler: str = "amper-fr",
        sampler_options: Mapping[str, Any] | None = None,
        alpha: float = 0.6,
        beta: float = 0.4,
        eps: float = 1e-6,
        n_envs: int = 1,
        n_step: int = 1,
        discount: float = 0.99,
        seed: int | None = None,
        storage: str = "memory",
        sink: Sink | None = None,
        threads: bool = False,
    ) -> None:
        self._capacity = checks.whole("capacity", capacity, at_least=1)
        alpha = checks.number("alpha", alpha, 0.0, math.inf)
        self._beta = checks.number("beta", beta, 0.0, math.inf)
        eps = checks.number("eps", eps, 0.0, math.inf)
        self._discount = checks.number("discount", discount, 0.0, 1.0)
        self._n_envs = checks.whole("n_envs", n_envs, at_least=1)
        if self._n_envs > self._capacity:
            raise ValueError(f"n_envs must be at most the capacity {self._capacity}, got {n_envs!r}")
        checks.only("n_step", n_step, 1, "store one-step transitions")
        checks.only("storage", storage, "memory", "keep the rows in memory")
        checks.only("threads", threads, False, "guard calls from several threads by a lock of your own")
        if seed is not None:
            seed = checks.whole("seed", seed, at_least=0)
        parsed = parse_fields(fields)
        checks.terminated(parsed)
        self._sampler_name = sampler
        self._sampler = samplers.make_from(sampler, self._capacity, seed, sampler_options or {})
        self._encoder = PriorityEncoder(self._sampler.format, alpha, eps)
        self._fields = parsed
        self._storage = RowStorage(self._capacity, parsed)
        self._config: dict[str, Any] = {
            "capacity": self._capacity,
            "fields": {f.name: {"shape": list(f.shape), "dtype": f.dtype.str} for f in parsed},
            "sampler": sampler, "sampler_options": dict(self._sampler.options),
            "alpha": alpha, "beta": self._beta, "eps": eps,
            "n_envs": self._n_envs, "discount": self._discount, "seed": seed,
        }  # fmt: skip
        self._n_issued = 0
        self._flags = np.zeros(self._capacity, np.uint8)
        self._stats = {"stale_updates": 0, "never_sampled": 0}
        self._sink: Sink | None = None
        if sink is not None:
            self._attach(sink)

    def _attach(self, sink: Sink) -> None:
        """Record in `sink` from here on, beginning with what is stored."""
        checks.sink(sink)
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

    @classmethod
    def for_env(cls, env: Any, capacity: int, **options: Any) -> ReplayBuffer:
        """Return a buffer whose columns fit a Gymnasium environment, single or vector.

        Columns: obs, action, reward, next_obs, terminated, truncated. Reads `shape`, `dtype` and, for
        discrete actions, `n` of the spaces; `num_envs` of a vector environment becomes `n_envs`.

        Raises
        ------
        TypeError
            If `env` has no spaces of a fixed shape.
        """
        options.setdefault("n_envs", int(getattr(env, "num_envs", 1)))
        return cls(capacity, fields_of_env(env), **options)

    # -- reading ------------------------------------------------------------------------------------
    @property
    def capacity(self) -> int:
        """Largest number of transitions held."""
        return self._capacity

    def __len__(self) -> int:
        return min(self._n_issued, self._capacity)

    def __repr__(self) -> str:
        return f"ReplayBuffer({self._sampler_name}, {len(self)} of {self._capacity})"

    @property
    def sampler(self) -> Any:
        """The sampler, for studies of its law; see `protocols.Sampler`."""
        return self._sampler

    @property
    def stats(self) -> dict[str, int]:
        """Counters since construction.

        saturated: priorities beyond a fixed full scale. rescales: doublings of an automatic one.
        stale_updates: updates of overwritten ids. never_sampled: transitions overwritten without having been
        sampled once; unsampled: those stored now that were not sampled yet. redraws, fallbacks: of AMPER's
        candidate sets.
        """
        unsampled = len(self) - int(np.count_nonzero(self._flags))
        counted = {"saturated": self._encoder.n_saturated, "rescales": self._encoder.n_rescales}
        return {**counted, **self._stats, "unsampled": unsampled, **self._sampler.stats}

    # -- writing ------------------------------------------------------------------------------------
    def add(self, /, *, priorities: Any = None, **columns: Any) -> Int64:
        """Store one transition, or k of them, and return their ids.

        Parameters
        ----------
        priorities : float or float[k], optional
            Raw abs(TD error); the largest seen so far by default (1.0 when none was).
        **columns
            Every column: one value, or arrays whose first axis is k.

        Returns
        -------
        int64[k]
            Consecutive ids, never reused.

        Raises
        ------
        ValueError, TypeError
            If columns are missing, unknown, of unequal length, of the wrong shape or not convertible; if a
            priority is negative or not finite; if k exceeds the capacity. Nothing is stored then.
        """
        k, rows = checks.columns(self._storage.fields, columns)
        if self._n_envs > 1 and k != self._n_envs:
            raise ValueError(f"columns must have n_envs={self._n_envs} rows, one an environment, got {k}")
        if k > self._capacity:
            raise ValueError(f"columns must have at most capacity={self._capacity} rows, got {k}; add them in parts")
        first = self._n_issued
        ids = np.arange(first, first + k)
        raw = None if priorities is None else checks.priorities(priorities, k) + self._encoder.eps
        if k == 0:
            return ids
        if raw is None:
            codes = self._encoder.defaults(k)
        else:
            self._grow(float(raw.max()))
            codes = self._encoder.encode(raw)
        place, slots = self._places(first, k)
        if first + k > self._capacity:
            old = self._flags[place] if first >= self._capacity else self._flags[: first + k - self._capacity]
            self._stats["never_sampled"] += len(old) - int(np.count_nonzero(old))
        self._flags[place] = 0
        self._storage.write(place, rows)
        self._n_issued += k
        stored = self._sampler.insert(slots, codes, at_maximum=priorities is None)
        if self._sink is not None:
            self._sink.record_insert(slots, stored, at_maximum=priorities is None)
        return ids

    def _places(self, first: int, k: int) -> tuple[Int64 | slice, Int64]:
        """Return where k ids from `first` on are stored: as cheap an index as there is, and the slots."""
        slot = first % self._capacity
        if slot + k <= self._capacity:
            return slice(slot, slot + k), np.arange(slot, slot + k)
        slots = np.arange(first, first + k) % self._capacity
        return slots, slots

    def _grow(self, largest: float) -> None:
        """Double the full scale until it holds the mass of the priority `largest`."""
        n = self._encoder.doublings(largest)
        if n == 0:
            return
        self._sampler.rescale(n)
        self._encoder.double(n)
        if self._sink is not None and len(self):
            codes = self._sampler.codes
            stored = np.flatnonzero(codes)
            self._sink.record_update(stored, codes[stored], actor=-n)

    def update_priorities(self, indices: Any, priorities: Any) -> int:
        """Store new priorities and return how many distinct live transitions were written.

        Parameters
        ----------
        indices : int[b]
            Ids, as `sample` returned them. One already overwritten is skipped and counted; a duplicate takes
            its last value.
        priorities : float[b]
            Raw abs(TD error).

        Raises
        ------
        IndexError
            If an id is negative or was not issued.
        ValueError
            If a priority is negative or not finite, or lengths differ.
        TypeError
            If ids are not whole numbers, or priorities not numbers. Nothing is changed in any of these cases.
        """
        ids = checks.ids(indices)
        values = checks.floats("priorities", priorities)
        if len(ids) != len(values):
            raise ValueError(f"priorities must have one value an index, {len(ids)}, got {len(values)}")
        (status, at, largest, n_stale), slots, codes = self._encoder.update(ids, values, self._n_issued, self._flags)
        if status == checks.GROW:
            self._grow(largest)
            (status, at, largest, n_stale), slots, codes = self._encoder.update(
                ids, values, self._n_issued, self._flags
            )
        if status != checks.DONE:
            checks.raise_update(status, at, ids, values, self._n_issued)
        self._stats["stale_updates"] += n_stale
        if len(slots):
            self._sampler.update(slots, codes)
            if self._sink is not None:
                self._sink.record_update(slots, codes)
        return len(slots)

    def sample(self, batch_size: int, beta: float | None = None) -> dict[str, Any]:
        """Draw transitions, with replacement.

        Parameters
        ----------
        batch_size : int
            Draws, b; may exceed `len`.
        beta : float, optional
            Exponent of the importance weights; the constructor's by default.

        Returns
        -------
        dict
            Every column [b, ...]; "indices" int64[b]; "weights" float32[b], at most 1; and, where
            `terminated` is a column, "discount" float32[b]: target = reward + discount * V(next_obs).
            Fresh arrays, the caller's to keep.

        Raises
        ------
        ValueError
            If the buffer is empty, `batch_size` < 1 or `beta` is negative.
        """
        if batch_size.__class__ is not int or batch_size < 1:
            batch_size = checks.whole("batch_size", batch_size, at_least=1)
        beta = self._beta if beta is None else checks.number("beta", beta, 0.0, math.inf)
        if self._n_issued == 0:
            raise ValueError("sample must follow an add, got an empty buffer")
        draw = self._sampler.sample(batch_size)
        batch, ids, weights, ends = self._storage.gather(
            draw.slots, draw.probabilities, beta, self._n_issued, self._flags, self._discount
        )
        batch["indices"], batch["weights"] = ids, weights
        if ends is not None:
            batch["discount"] = ends
        if self._sink is not None:
            self._sink.record_sample(draw)
        return batch

    def end_episode(self, env: int | None = None) -> Int64:
        """Flush the pending steps of a stream cut without a flag; one-step transitions leave none.

        Returns
        -------
        int64[0]
            The ids issued.
        """
        if env is not None and not 0 <= checks.whole("env", env, at_least=0) < self._n_envs:
            raise IndexError(f"env must be below n_envs={self._n_envs}, got {env!r}")
        return np.empty(0, np.int64)

    # -- state --------------------------------------------------------------------------------------
    def state_dict(self) -> dict[str, Any]:
        """Return a copy of everything that makes the next calls repeat exactly."""
        return {
            "config": json.loads(json.dumps(self._config)),
            "n_issued": self._n_issued, "stats": dict(self._stats), "flags": self._flags.copy(),
            "encoder": self._encoder.state_dict(), "storage": self._storage.state_dict(),
            "sampler": self._sampler.state_dict(),
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
        checks.same_layout("d", self.state_dict(), d)
        # Into new parts first: a state that turns out broken leaves this buffer as it is.
        options, seed = self._config["sampler_options"], self._config["seed"]
        sampler = samplers.make_from(self._sampler_name, self._capacity, seed, options)
        encoder = PriorityEncoder(sampler.format, self._encoder.alpha, self._encoder.eps)
        storage = RowStorage(self._capacity, self._fields)
        try:
            sampler.load_state_dict(d["sampler"])
            encoder.load_state_dict(d["encoder"])
            storage.load_state_dict(d["storage"])
            checks.stored(sampler.codes, d["n_issued"], d["flags"])
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"d must be the state of a buffer, got a broken one: {error}") from error
        self._n_issued, self._stats, self._flags = d["n_issued"], dict(d["stats"]), d["flags"].copy()
        self._sampler, self._encoder, self._storage = sampler, encoder, storage

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the whole buffer as one .npz: temporary file first, then renamed into place."""
        values, arrays = flatten(self.state_dict())
        write_npz(Path(path), json.dumps({"version": FORMAT_VERSION, "kind": "replay", **values}), arrays)

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, sink: Sink | None = None) -> ReplayBuffer:
        """Return the buffer that `save` wrote; its next samples are those it would have drawn.

        Raises
        ------
        ValueError
            If the file is no replay, or of a newer format.
        FileNotFoundError
            If there is no such file.
        """
        header, arrays = read_npz(Path(path), "a replay written by ReplayBuffer.save", FORMAT_VERSION)
        if header.get("kind") != "replay":
            raise ValueError(f"path must name a replay written by ReplayBuffer.save, got {str(path)!r}")
        try:
            d = unflatten(header, arrays)
            config = dict(d["config"])
            buffer = cls(config.pop("capacity"), config.pop("fields"), **config)
            buffer.load_state_dict(d)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ValueError(
                f"path must name a replay written by ReplayBuffer.save, got {str(path)!r}: {error}"
            ) from error
        if sink is not None:
            buffer._attach(sink)
        return buffer

    def __getstate__(self) -> dict[str, Any]:
        """Leave the sink behind: a copy of a buffer records nothing."""
        return {**self.__dict__, "_sink": None}
