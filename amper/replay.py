"""The replay buffer: storage, a sampler, and the rules between them."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from amper import checks, samplers, urng
from amper._kernels.sample import gather
from amper.compact import CompactStorage
from amper.config import ReplayConfig
from amper.distinct import draw_distinct
from amper.fields import Field, fields_of_env, parse_fields
from amper.fixedpoint import PriorityEncoder
from amper.mapped import MappedStorage
from amper.nstep import NStep
from amper.protocols import Draw, Sink
from amper.saving import Parts
from amper.schedules import Linear
from amper.sequences import Sequences, SequenceStage
from amper.shared import Queue
from amper.stages import Stage
from amper.storage import RowStorage
from amper.writing import Written


class ReplayBuffer(Written):
    """A ring of transitions, sampled by priority.

    Not thread-safe unless `threads=True`.

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
    alpha : float or Linear
        Priority exponent: a transition's mass is (abs(TD error) + eps) ** alpha. A schedule counts transitions
        issued; what was written at an earlier alpha keeps its mass until it is updated.
    beta : float or Linear
        Exponent of the importance weights where `sample` names none; a schedule counts transitions issued.
    eps : float
        Added to every priority.
    n_envs : int
        1: a batch added is that many consecutive steps of one stream. e > 1: a batch has e rows, row j one
        step of environment j.
    n_step : int
        Steps summed in `reward`; see `nstep.NStep`. Up to n_step - 1 steps an environment are pending.
    discount : float
        Per step; `sample` hands out `discount` where `terminated` is a column.
    seed : int, optional
        Of every draw; without one draws differ from run to run.
    sequences : Sequences, optional
        Store and sample sequences of steps; `capacity` then counts sequences, and ids are theirs.
    compact : bool
        Keep columns `next_X` that repeat `X` of the transition that follows once; see `compact.CompactStorage`.
    storage : "memory" or path
        Where the rows live: in memory, or in a file in a folder, which is made; see `disk.OnDisk`. An existing one is
        opened by `ReplayBuffer.open`.
    sink : Trace, optional
        Records what the replay does.
    threads : bool
        Guard every call by a lock, for use from several threads.

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

    def __new__(cls, *_args: Any, threads: bool = False, **_options: Any) -> Self:
        """Return an empty instance; of the class that guards its calls by a lock where `threads` asks for it."""
        if threads and cls is ReplayBuffer:
            from amper.threads import LockedReplayBuffer

            return LockedReplayBuffer.__new__(LockedReplayBuffer)  # type: ignore[return-value]  # a ReplayBuffer
        return super().__new__(cls)

    def __init__(
        self,
        capacity: int,
        fields: Mapping[str, Mapping[str, Any]],
        *,
        sampler: str = "amper-fr",
        sampler_options: Mapping[str, Any] | None = None,
        alpha: float | Linear = 0.6,
        beta: float | Linear = 0.4,
        eps: float = 1e-6,
        n_envs: int = 1,
        n_step: int = 1,
        discount: float = 0.99,
        seed: int | None = None,
        sequences: Sequences | None = None,
        compact: bool = False,
        storage: str | os.PathLike[str] = "memory",
        sink: Sink | None = None,
        threads: bool = False,
    ) -> None:
        config = ReplayConfig(
            capacity=capacity, alpha=alpha, beta=beta, eps=eps, n_envs=n_envs, n_step=n_step, discount=discount,
            seed=seed, sequences=sequences, compact=compact, storage=storage, threads=threads,
        )  # fmt: skip
        if config.threads and not hasattr(self, "_lock"):
            raise TypeError("threads must be False for a subclass, got True; derive from threads.LockedReplayBuffer")
        parsed = parse_fields(fields)
        checks.terminated(parsed)
        self._settings, self._step_fields = config, {f.name: f for f in parsed}
        self._capacity, self._n_envs = config.capacity, config.n_envs
        self._beta, self._discount = config.beta, config.discount
        self._sampler_name = sampler
        self._sampler_options = samplers.checked(sampler, sampler_options or {}, config.alpha)
        if isinstance(self._sampler_options.get("alpha"), Linear):
            raise ValueError(f"alpha must be a number for {sampler!r}, whose law it is, got {config.alpha!r}")
        self._is_scheduled = isinstance(config.alpha, Linear)
        self._adopt(self._new_parts_but(None))
        self._config: dict[str, Any] = {
            **config.to_dict(),
            "fields": {f.name: {"shape": list(f.shape), "dtype": f.dtype.str} for f in parsed},
            "sampler": sampler, "sampler_options": dict(self._sampler.options),
        }  # fmt: skip
        # Whether a batch needs more than the compiled call; whether one transition may be stored without detours.
        self._completes = config.compact or config.on_disk
        self._is_plain = config.n_envs == 1 and not (self._stages or self._completes or self._is_scheduled)
        self._n_issued = 0
        self._stats = {"stale_updates": 0, "never_sampled": 0, "lost": 0}
        self._sink: Sink | None = None
        self._queues: list[Queue] = []
        made = self._storage if isinstance(self._storage, MappedStorage) and not self._exists else None
        try:
            if sink is not None:
                self._attach(sink)
            if made is not None:
                made.describe(self._config)
        except BaseException:
            if made is not None:
                made.discard()
            raise

    def _new_stages(self) -> dict[str, Stage]:
        config, fields = self._settings, tuple(self._step_fields.values())
        made: dict[str, Stage] = {}
        if config.n_step > 1 or config.sequences:
            made["nstep"] = NStep(fields, config.n_step, config.n_envs, config.discount)
        if config.sequences:
            made["sequences"] = SequenceStage(made["nstep"].fields, config.sequences, config.n_envs)
        return made

    def _new_parts_but(self, storage: RowStorage | None) -> Parts:
        config = self._settings
        made = self._new_stages()
        fields = [*made.values()][-1].fields if made else tuple(self._step_fields.values())
        sampler = samplers.make_from(self._sampler_name, config.capacity, config.seed, self._sampler_options)
        alpha = config.alpha(0) if isinstance(config.alpha, Linear) else config.alpha
        encoder = PriorityEncoder(sampler.format, alpha, config.eps)
        source = urng.make("numpy", urng.stream(config.seed, "replay/without replacement"))
        return Parts(sampler, encoder, made, storage or self._new_storage(fields), source)

    def _new_storage(self, fields: tuple[Field, ...]) -> RowStorage:
        config = self._settings
        if config.on_disk:
            return MappedStorage(Path(config.storage), config.capacity, fields, exists=self._exists)
        if config.compact:
            return CompactStorage(config.capacity, fields, config.n_envs, config.n_step)
        return RowStorage(config.capacity, fields)

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
        candidate sets. lost: transitions that a process killed while adding them did not store; see `open`.
        """
        unsampled = len(self) - self._storage.n_sampled
        counted = {"saturated": self._encoder.n_saturated, "rescales": self._encoder.n_rescales}
        return {**counted, **self._stats, "unsampled": unsampled, **self._sampler.stats}

    def sample(self, batch_size: int, beta: float | None = None, *, replace: bool = True) -> dict[str, Any]:
        """Draw transitions, or sequences.

        Parameters
        ----------
        batch_size : int
            Draws, b; may exceed `len`.
        beta : float, optional
            Exponent of the importance weights; the constructor's by default.
        replace : bool
            False: draw distinct transitions, at most `len`; see `distinct.draw_distinct`. Importance weights remain
            those of a single draw.

        Returns
        -------
        dict
            Every column [b, ...]; "indices" int64[b]; "weights" float32[b], at most 1; and, where
            `terminated` is a column, "discount" float32[b]: target = reward + discount * V(next_obs).
            Of sequences every column is [b, t, ...], and "mask" bool[b, t] says which steps to learn from.
            Fresh arrays, the caller's to keep.

        Raises
        ------
        ValueError
            If the buffer is empty, `batch_size` < 1, `beta` is negative, or `batch_size` exceeds `len` where draws
            are to be distinct.
        """
        if batch_size.__class__ is not int or not 1 <= batch_size <= checks.MOST_SLOTS:
            batch_size = checks.whole("batch_size", batch_size, at_least=1, at_most=checks.MOST_SLOTS)
        if replace is not True:
            checks.truth("replace", replace)
        if self._queues:
            self.receive()
        if beta is None:
            beta = self._beta(self._n_issued) if isinstance(self._beta, Linear) else self._beta
        elif beta.__class__ is not float or not 0.0 <= beta < math.inf:
            beta = checks.number("beta", beta, 0.0, math.inf)
        if self._n_issued == 0:
            raise ValueError("sample must follow an add, got an empty buffer")
        if not replace and batch_size > len(self):
            raise ValueError(f"batch_size must be at most len, {len(self)}, without replacement, got {batch_size}")
        pool = self._storage.pool(batch_size)
        block = pool.take()
        rows, n_issued, discount = self._storage.rows, self._n_issued, self._discount
        if self._drawer is not None and self._sink is None and replace:
            n_new = self._drawer.sample_rows(
                batch_size, rows, pool.layout, pool.blocks, block, beta, n_issued, discount
            )
        else:
            draw = self._draw(batch_size, replace)
            n_new = gather(
                draw.slots, draw.probabilities, rows, pool.layout, pool.blocks, block, beta, n_issued, discount
            )
        if self._completes:
            n_new += self._storage.finish(pool, block)
        self._storage.n_sampled += n_new
        return pool.batch(block)

    def _draw(self, batch_size: int, replace: bool) -> Draw:
        """Draw slots, and record what was drawn."""
        record = (lambda draw: None) if self._sink is None else self._sink.record_sample
        if not replace:
            return draw_distinct(self._sampler, batch_size, self._source, record)
        draw = self._sampler.sample(batch_size)
        record(draw)
        return draw
