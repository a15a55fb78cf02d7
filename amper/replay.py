"""The replay buffer: storage, a sampler, and the rules between them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from amper import checks, samplers
from amper._kernels.sample import gather
from amper._kernels.update import check
from amper.config import ReplayConfig
from amper.fixedpoint import PriorityEncoder
from amper.protocols import Int64, Sink
from amper.saving import Saved
from amper.storage import RowStorage, fields_of_env, parse_fields


class ReplayBuffer(Saved):
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
        config = ReplayConfig(
            capacity=capacity, alpha=alpha, beta=beta, eps=eps, n_envs=n_envs, n_step=n_step, discount=discount,
            seed=seed, storage=storage, threads=threads,
        )  # fmt: skip
        parsed = parse_fields(fields)
        checks.terminated(parsed)
        self._capacity, self._n_envs = config.capacity, config.n_envs
        self._beta, self._discount = config.beta, config.discount
        self._sampler_name = sampler
        self._adopt(samplers.make_from(sampler, config.capacity, config.seed, sampler_options or {}))
        self._encoder = PriorityEncoder(self._sampler.format, config.alpha, config.eps)
        self._fields = parsed
        self._storage = RowStorage(config.capacity, parsed)
        self._config: dict[str, Any] = {
            **config.to_dict(),
            "fields": {f.name: {"shape": list(f.shape), "dtype": f.dtype.str} for f in parsed},
            "sampler": sampler, "sampler_options": dict(self._sampler.options),
        }  # fmt: skip
        self._n_issued = 0
        self._stats = {"stale_updates": 0, "never_sampled": 0}
        self._sink: Sink | None = None
        if sink is not None:
            self._attach(sink)

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
        unsampled = len(self) - self._storage.n_sampled
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
        if priorities is None and self._n_envs == 1:
            row = self._storage.as_row(columns)
            if row is not None:
                return self._add_row(row)
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
        self._stats["never_sampled"] += max(0, min(k, first + k - self._capacity)) - self._storage.write(place, rows)
        self._n_issued += k
        stored = self._sampler.insert(slots, codes, at_maximum=priorities is None)
        if self._sink is not None:
            self._sink.record_insert(slots, stored, at_maximum=priorities is None)
        return ids

    def _add_row(self, row: tuple[Any, ...]) -> Int64:
        """Store one transition whose values need no conversion: `add` without its detours."""
        first = self._n_issued
        slot = first % self._capacity
        was_sampled = self._storage.write_row(slot, row)
        if first >= self._capacity:
            self._stats["never_sampled"] += 1 - was_sampled
        self._n_issued = first + 1
        ids, slots = np.empty(1, np.int64), np.empty(1, np.int64)
        ids[0], slots[0] = first, slot
        stored = self._sampler.insert(slots, self._encoder.defaults(1), at_maximum=True)
        if self._sink is not None:
            self._sink.record_insert(slots, stored, at_maximum=True)
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
        kernel = (self._writer and self._writer.update_rows) or check
        n, capacity = self._n_issued, self._capacity
        status, at, n_live, largest, n_stale, _, _ = self._encoder.update(ids, values, n, capacity, kernel)
        if status == checks.GROW:
            self._grow(largest)
            status, at, n_live, largest, n_stale, _, _ = self._encoder.update(ids, values, n, capacity, kernel)
        if status != checks.DONE:
            checks.raise_update(status, at, ids, values, n)
        self._stats["stale_updates"] += n_stale
        if n_live and (self._writer is None or self._sink is not None):
            slots, codes = self._encoder.written(len(ids), n_live)
            if self._writer is None:
                self._sampler.update(slots, codes)
            if self._sink is not None:
                self._sink.record_update(slots, codes)
        return n_live

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
        if batch_size.__class__ is not int or not 1 <= batch_size <= checks.MOST_SLOTS:
            batch_size = checks.whole("batch_size", batch_size, at_least=1, at_most=checks.MOST_SLOTS)
        if beta is None:
            beta = self._beta
        elif beta.__class__ is not float or not 0.0 <= beta < math.inf:
            beta = checks.number("beta", beta, 0.0, math.inf)
        if self._n_issued == 0:
            raise ValueError("sample must follow an add, got an empty buffer")
        pool = self._storage.pool(batch_size)
        block = pool.take()
        rows, n_issued, discount = self._storage.rows, self._n_issued, self._discount
        if self._drawer is not None and self._sink is None:
            n_new = self._drawer.sample_rows(
                batch_size, rows, pool.layout, pool.blocks, block, beta, n_issued, discount
            )
        else:
            draw = self._sampler.sample(batch_size)
            n_new = gather(
                draw.slots, draw.probabilities, rows, pool.layout, pool.blocks, block, beta, n_issued, discount
            )
            if self._sink is not None:
                self._sink.record_sample(draw)
        self._storage.n_sampled += n_new
        return pool.batch(block)

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
