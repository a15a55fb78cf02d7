"""TorchRL: amper's samplers as a prioritized sampler of its replay buffers; no compiled extension of TorchRL needed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

try:
    import torch
    from torchrl.data import replay_buffers as theirs  # type: ignore[import-untyped,unused-ignore]
    from torchrl.data.replay_buffers.samplers import PrioritizedSampler  # type: ignore[import-untyped,unused-ignore]
    from torchrl.data.replay_buffers.storages import Storage  # type: ignore[import-untyped,unused-ignore]
except ImportError as error:
    raise ImportError(
        'amper.adapters.torchrl needs torchrl: pip install ".[adapters]" from a clone of this repository '
        "(where there is no GPU, torch's CPU build first)"
    ) from error

from amper import checks
from amper.adapters.slots import SlotPriorities
from amper.protocols import Float64, Int64
from amper.state import flatten, read_npz, unflatten, write_npz

_FILE, _KIND, _VERSION = "amper.npz", "torchrl-sampler", 1
_NOWHERE = -1  # the index that TorchRL's writers give to what they did not write


class AmperSampler(PrioritizedSampler):  # type: ignore[misc,unused-ignore]  # it ships no types
    """A prioritized sampler for TorchRL's replay buffers that draws by any of amper's samplers.

    In place of `torchrl.data.PrioritizedSampler`, which it is an instance of, for TorchRL asks for one.

    Parameters
    ----------
    max_capacity : int
        Elements the storage can hold.
    alpha, beta, eps : float
        A transition's mass is (priority + eps) ** alpha; `priority_weight` is
        (least mass in the buffer / mass) ** beta. Schedulers of TorchRL may change alpha and beta.
    reduction : {"max", "min", "median", "mean"}
        How `TensorDictReplayBuffer` makes one priority of an element that has several.
    sampler, sampler_options, seed
        As in `amper.ReplayBuffer`. Draws come from `seed`: a buffer's `generator` moves none.

    Raises
    ------
    TypeError, ValueError
        If a parameter is of the wrong type or out of range.

    Notes
    -----
    Priorities live on the CPU, the storage where it likes. New elements get the largest priority seen, 1.0 before
    any. Masses are whole numbers of `bits` (an option of the sampler): the least is full scale / 2**bits. A sampler
    whose draws do not go by mass weighs them relative to the least probable of a batch. Setting alpha makes masses
    anew from what the stored ones tell, in O(max_capacity).

    Examples
    --------
    >>> from torchrl.data import LazyTensorStorage, ReplayBuffer
    >>> buffer = ReplayBuffer(storage=LazyTensorStorage(10), sampler=AmperSampler(10, sampler="per", seed=0))
    >>> index = buffer.extend(torch.arange(4.0))
    >>> buffer.update_priority(index, torch.tensor([0.0, 0.0, 0.0, 9.0]))
    >>> sample, info = buffer.sample(3, return_info=True)
    >>> sample, info["index"]
    (tensor([3., 3., 3.]), tensor([3, 3, 3]))
    """

    def __init__(
        self,
        max_capacity: int,
        alpha: float = 0.6,
        beta: float = 0.4,
        eps: float = 1e-8,
        *,
        reduction: str = "max",
        sampler: str = "amper-fr",
        sampler_options: Mapping[str, Any] | None = None,
        seed: int | None = None,
    ) -> None:
        # TorchRL's own constructor makes trees of its compiled extension: nothing of it is wanted here.
        if reduction not in ("max", "min", "median", "mean"):
            raise ValueError(f"reduction must be one of max, min, median, mean, got {reduction!r}")
        self._slots = SlotPriorities(
            max_capacity, sampler=sampler, sampler_options=sampler_options, alpha=alpha, beta=beta, eps=eps, seed=seed
        )
        self._max_capacity, self._beta = self._slots.capacity, float(beta)
        self.reduction = reduction

    # -- what TorchRL reads and sets ----------------------------------------------------------------
    @property
    def device(self) -> torch.device:
        """Where the priorities live: the CPU."""
        return torch.device("cpu")

    @property
    def alpha(self) -> float:
        """Priority exponent."""
        return self._slots.alpha

    @alpha.setter
    def alpha(self, value: float) -> None:
        if value != self._slots.alpha:
            self._slots = self._slots.with_alpha(value)

    @property
    def beta(self) -> float:
        """Exponent of the importance weights."""
        return self._beta

    @beta.setter
    def beta(self, value: float) -> None:
        self._beta = checks.number("beta", value, 0.0, float("inf"))

    @property
    def default_priority(self) -> float:
        """The priority of new elements: the largest seen, 1.0 before any."""
        return self._slots.largest

    @property
    def slots(self) -> SlotPriorities:
        """The priorities, by index; flat where the storage has several dimensions."""
        return self._slots

    def __repr__(self) -> str:
        return (
            f"{self.__class__.__name__}({self._slots!r}, alpha={self.alpha}, beta={self.beta}, eps={self._slots.eps}, "
            f"reduction={self.reduction})"
        )

    # -- writing ------------------------------------------------------------------------------------
    def mark_update(self, index: Any, *, storage: Storage | None = None) -> None:
        """Take in elements newly written at `index`, at the default priority."""
        self._slots.insert(self._written(index, storage))

    def add(self, index: Any) -> None:
        """Take in an element at `index`, unless `mark_update` did."""
        self.extend(index)

    def extend(self, index: Any) -> None:
        """Take in the elements at `index` that `mark_update` did not."""
        array = _numpy(index)
        if array.ndim <= 1:  # of several dimensions nothing is known here but by `mark_update`, which has the storage
            slots = self._written(array, None)
            self._slots.insert(slots[~self._slots.holds(slots)])

    def update_priority(self, index: Any, priority: Any, *, storage: Storage | None = None) -> None:
        """Store new priorities.

        Parameters
        ----------
        index : int or int[b] or int[b, d]
            Elements; -1 is skipped, one named twice takes its last value.
        priority : float or float[b]
            Raw abs(TD error). An element given exactly the default priority counts as new.
        storage : Storage, optional
            Needed where it has d > 1 dimensions.

        Raises
        ------
        IndexError
            If there is no such element.
        ValueError
            If a priority is negative or not finite, or shapes differ.
        TypeError
            If indices are not whole numbers, or priorities not numbers. Nothing is changed in any of these cases.
        """
        slots = self._flat(index, storage)
        values = _one_each(priority, len(slots))
        written = slots != _NOWHERE
        slots, values = slots[written], values[written]
        if storage is not None:
            self._catch_up(len(storage))
        # So does TorchRL write an element that it added: AMPER keeps new ones a little higher.
        if (values.astype(np.float32) == np.float32(self.default_priority)).all() and self._slots.holds(slots).all():
            self._slots.insert(slots)
        else:
            self._slots.update(slots, values)

    def _written(self, index: Any, storage: Storage | None) -> Int64:
        """Return the flat indices that something was written to."""
        slots: Int64 = self._flat(index, storage)
        written: Int64 = slots[slots != _NOWHERE]
        return written

    def _flat(self, index: Any, storage: Storage | None) -> Int64:
        """Return an index as int64[b], flat where the storage has several dimensions."""
        array = _numpy(index)
        if array.dtype.kind not in "iu" and array.size:
            raise TypeError(f"index must hold whole numbers, got dtype {array.dtype}")
        if array.ndim <= 1:
            return np.asarray(np.atleast_1d(array), np.int64)
        if storage is None or array.ndim != 2 or array.shape[1] != storage.ndim:
            have = "none" if storage is None else f"one of {storage.ndim} dimensions"
            raise ValueError(
                f"index must have shape (b, d) for a storage of d dimensions, got {array.shape} and {have}"
            )
        try:
            return np.asarray(np.ravel_multi_index(tuple(array.T.astype(np.int64)), tuple(storage.shape)), np.int64)
        except ValueError as error:
            raise IndexError(f"index must lie within {tuple(storage.shape)}, got {array.tolist()}") from error

    def _empty(self) -> None:
        self._slots.clear()

    # -- drawing ------------------------------------------------------------------------------------
    def sample(self, storage: Storage, batch_size: int) -> tuple[Any, dict[str, Any]]:
        """Draw elements, with replacement.

        Returns
        -------
        int64[b], or a tuple of them, one a dimension of the storage
            Where the elements are.
        dict
            "priority_weight" float32[b].

        Raises
        ------
        RuntimeError
            If the storage is empty, or holds less than this sampler was told of.
        """
        n = len(storage)
        if n == 0:
            raise RuntimeError("Cannot sample from an empty storage.")  # TorchRL's words
        self._catch_up(n)
        slots, probabilities, least = self._slots.draw(batch_size)
        index: Any = torch.from_numpy(slots)
        weight = torch.from_numpy(((least / probabilities) ** self._beta).astype(np.float32))
        return torch.unravel_index(index, storage.shape) if storage.ndim > 1 else index, {"priority_weight": weight}

    def _catch_up(self, n: int) -> None:
        """Take in, at the default priority, what a storage of n elements holds and nobody told of."""
        if len(self._slots) == n:
            return
        everything = np.arange(min(n, self._max_capacity))
        self._slots.insert(everything[~self._slots.holds(everything)])
        if len(self._slots) != n:
            raise RuntimeError(
                f"storage must hold what this sampler was told of, {len(self._slots)} elements of at most "
                f"{self._max_capacity}, got one of {n}; empty the replay buffer, or give it a sampler of its own"
            )

    # -- keeping ------------------------------------------------------------------------------------
    def state_dict(self) -> dict[str, Any]:
        """Return tensors and plain values that make the next samples repeat; `torch.load` reads them weights only."""
        state: dict[str, Any] = _mapped({**self._slots.state_dict(), "beta": self._beta}, np.ndarray, torch.from_numpy)
        return state

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue from `state_dict()`; alpha, beta and eps are then those of the state.

        Raises
        ------
        ValueError
            If the state is of another capacity, sampler or options, or not a state. Nothing is changed then.
        """
        state = _mapped(state_dict, torch.Tensor, lambda tensor: tensor.detach().cpu().numpy())
        self._slots.load_state_dict(state)
        self._beta = float(state["beta"])

    def dumps(self, path: Any) -> None:
        """Write the state into the folder `path`, made if need be, without pickles."""
        folder = Path(path).absolute()
        folder.mkdir(exist_ok=True)
        values, arrays = flatten({**self._slots.state_dict(), "beta": self._beta})
        write_npz(folder / _FILE, json.dumps({"version": _VERSION, "kind": _KIND, **values}), arrays)

    def loads(self, path: Any) -> None:
        """Continue from what `dumps` wrote into the folder `path`.

        Raises
        ------
        ValueError
            If it holds no state of such a sampler. Nothing is changed then.
        FileNotFoundError
            If it holds nothing.
        """
        header, arrays = read_npz(
            Path(path).absolute() / _FILE, "a state written by AmperSampler.dumps", _VERSION, _KIND
        )
        state = unflatten(header, arrays)
        self._slots.load_state_dict(state)
        self._beta = float(state["beta"])


class PrioritizedReplayBuffer(theirs.PrioritizedReplayBuffer):  # type: ignore[misc,unused-ignore]  # it ships no types
    """TorchRL's `PrioritizedReplayBuffer`, drawn from by one of amper's samplers.

    Parameters
    ----------
    alpha, beta, eps, sampler, sampler_options, seed
        As in `AmperSampler`.
    storage, **options
        As in TorchRL's class, which has `sync` True.
    """

    def __init__(
        self,
        *,
        alpha: float,
        beta: float,
        eps: float = 1e-8,
        storage: Storage | None = None,
        sampler: str = "amper-fr",
        sampler_options: Mapping[str, Any] | None = None,
        seed: int | None = None,
        **options: Any,
    ) -> None:
        storage = theirs.ListStorage(max_size=1_000) if storage is None else storage
        made = AmperSampler(
            storage.max_size, alpha, beta, eps, sampler=sampler, sampler_options=sampler_options, seed=seed
        )
        super().__init__(alpha=alpha, beta=beta, eps=eps, storage=storage, sampler=made, **options)


class TensorDictPrioritizedReplayBuffer(theirs.TensorDictPrioritizedReplayBuffer):  # type: ignore[misc,unused-ignore]
    """TorchRL's `TensorDictPrioritizedReplayBuffer`, drawn from by one of amper's samplers.

    Parameters
    ----------
    alpha, beta, eps, reduction, sampler, sampler_options, seed
        As in `AmperSampler`.
    storage, **options
        As in TorchRL's class, which has `sync` True.
    """

    def __init__(
        self,
        *,
        alpha: float,
        beta: float,
        eps: float = 1e-8,
        storage: Any = None,
        reduction: str = "max",
        sampler: str = "amper-fr",
        sampler_options: Mapping[str, Any] | None = None,
        seed: int | None = None,
        **options: Any,
    ) -> None:
        storage = self._maybe_make_storage(storage, compilable=options.get("compilable", False))
        # What TorchRL's constructor sets beside making its own sampler.
        self._sync, self._prioritized_sampler, self._prioritized_sampler_write_count = True, None, 0
        made = AmperSampler(
            storage.max_size, alpha, beta, eps, reduction=reduction,
            sampler=sampler, sampler_options=sampler_options, seed=seed,
        )  # fmt: skip
        theirs.TensorDictReplayBuffer.__init__(self, storage=storage, sampler=made, **options)


def _numpy(values: Any) -> Any:
    """Return a tensor of any device, a tuple of them as TorchRL's coordinates, or anything alike, as an array."""
    if isinstance(values, tuple):
        values = torch.stack(values, -1)
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu()
        values = (values.double() if values.is_floating_point() else values).numpy()
    return checks.as_array("index", values)


def _one_each(priority: Any, n: int) -> Float64:
    """Return one priority an index; a single one is everyone's."""
    values = _numpy(priority)
    if values.size == 1 and n != 1:
        values = np.repeat(values.ravel(), n)
    if values.size != n:
        raise ValueError(f"priority must be one number, or one an index, {n}, got shape {values.shape}")
    return checks.floats("priority", values.ravel())


def _mapped(state: Any, kind: type, function: Any) -> Any:
    """Return nested dictionaries with `function` applied to every value of a kind."""
    if isinstance(state, Mapping):
        return {key: _mapped(value, kind, function) for key, value in state.items()}
    return function(state) if isinstance(state, kind) else state
