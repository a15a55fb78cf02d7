"""The sum trees that `hwsim.calibrate` measures: of numba kernels, of PyTorch operations, and both in CUDA graphs.

A tree keeps `nodes`, float32[2 * capacity], on a device. It `prepare`s the inputs of some ops, which takes no part in
any time, and `enqueue`s one op. A program enqueues a number of ops back to back, each with inputs of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

Float32 = npt.NDArray[np.float32]
Tensor = Any  # PyTorch ships types only where it is installed
Args = tuple[Any, ...]


class Tree(Protocol):
    """A sum tree on a device."""

    capacity: int
    n_launches: dict[str, int]

    @property
    def nodes(self) -> Tensor:
        """All nodes, float32[2 * capacity]."""
        ...

    def prepare(self, kind: str, inputs: Sequence[Tensor], stream: int = 0) -> list[Args]:
        """Return what `enqueue` takes, for each row of the inputs: uniforms, or indices and masses."""
        ...

    def enqueue(self, kind: str, args: Args) -> tuple[Tensor, ...]:
        """Enqueue one op; return indices and masses of a sampling, nothing of an update."""
        ...


class Program(Protocol):
    """Ops of one kind and size, back to back."""

    results: list[tuple[Tensor, ...]]

    def load(self, inputs: Sequence[Tensor]) -> None:
        """Put the inputs, a row an op, where the ops read them."""

    def run(self) -> None:
        """Enqueue the ops; `results` are then theirs."""


class TorchTree:
    """Level by level in eager PyTorch: seven operations a level to sample, four to write.

    A duplicate takes its last value, as everywhere in this project: three operations of an update see to it, without
    which PyTorch leaves open which value stays.
    """

    def __init__(self, nodes: Float32, device: str = "cuda") -> None:
        self.nodes: Tensor = torch.from_numpy(nodes.copy()).to(device)
        self.capacity = len(nodes) // 2
        self._depth = self.capacity.bit_length() - 1
        self._pairs = self.nodes.view(-1, 2)  # row i: the children of node i
        self._last_row = torch.full((self.capacity,), -1, dtype=torch.int64, device=device)
        self._rows = torch.arange(4096, device=device)
        self.n_launches = {"sample": 7 * self._depth + 4, "update": 4 * self._depth + 7}

    def prepare(self, kind: str, inputs: Sequence[Tensor], stream: int = 0) -> list[Args]:
        """Return the rows of the inputs."""
        del kind, stream
        return list(zip(*(array.unbind(0) for array in inputs), strict=True))

    def enqueue(self, kind: str, args: Args) -> tuple[Tensor, ...]:
        """Enqueue one op on PyTorch's current stream."""
        return self._sample(*args) if kind == "sample" else self._update(*args)

    def _sample(self, uniforms: Tensor) -> tuple[Tensor, Tensor]:
        target, node = uniforms * self.nodes[1], torch.ones_like(uniforms, dtype=torch.int64)
        for _ in range(self._depth):
            left, right = self._pairs[node].unbind(1)
            goes_right = (target >= left) & (right > 0)
            target = torch.where(goes_right, target - left, target)
            node = torch.add(goes_right, node, alpha=2)
        return node - self.capacity, self.nodes[node]

    def _update(self, indices: Tensor, masses: Tensor) -> tuple[()]:
        self._last_row.scatter_reduce_(0, indices, self._rows[: len(indices)], "amax")
        node = indices + self.capacity
        self.nodes[node] = masses[self._last_row[indices]]
        self._last_row.scatter_(0, indices, -1)
        for _ in range(self._depth):
            node = node >> 1
            left, right = self._pairs[node].unbind(1)
            self.nodes[node] = left + right
        return ()


class FusedTree:
    """One kernel launch an op."""

    def __init__(self, nodes: Float32, device: str = "cuda") -> None:
        from hwsim._kernels import cuda_sumtree as kernels

        if reason := kernels.reason_unavailable():
            raise RuntimeError(reason)
        self._kernels = kernels
        self.nodes: Tensor = torch.from_numpy(nodes.copy()).to(device)
        self.capacity = len(nodes) // 2
        self._last_row = torch.full((self.capacity,), -1, dtype=torch.int32, device=device)
        self._arrays = {
            "sample": (kernels.device_array(self.nodes),),
            "update": (kernels.device_array(self.nodes), kernels.device_array(self._last_row)),
        }
        self.n_launches = {"sample": 1, "update": 1}

    def prepare(self, kind: str, inputs: Sequence[Tensor], stream: int = 0) -> list[Args]:
        """Return (launch, arrays, results) of each op: kernels take views, which are slow to make."""
        view, n = self._kernels.device_array, inputs[0].shape[1]
        of_kind = self._kernels.sampling_launch if kind == "sample" else self._kernels.update_launch
        launch, prepared = of_kind(n, self._kernels.stream_of(stream)), []
        for row in zip(*(array.unbind(0) for array in inputs), strict=True):
            results: tuple[Tensor, ...] = ()
            if kind == "sample":
                results = (torch.empty_like(row[0], dtype=torch.int64), torch.empty_like(row[0]))
            prepared.append((launch, (*self._arrays[kind], *map(view, (*row, *results))), results))
        return prepared

    def enqueue(self, kind: str, args: Args) -> tuple[Tensor, ...]:
        """Enqueue one op on the stream it was prepared for."""
        del kind
        launch, arrays, results = args
        launch(*arrays)
        return results  # type: ignore[no-any-return]


class TorchRlTree:
    """TorchRL's own tree on a CUDA device, in the calls its prioritised sampler makes."""

    def __init__(self, nodes: Float32, device: str = "cuda") -> None:
        from torchrl._torchrl import CudaSumSegmentTreeFp32

        self.capacity = len(nodes) // 2
        self._n = int(np.flatnonzero(nodes[self.capacity :])[-1]) + 1  # leaves beyond are padding
        self._tree = CudaSumSegmentTreeFp32(self._n, torch.device(device))
        self._ends = torch.zeros((), dtype=torch.int64, device=device), torch.full((), self._n, device=device)
        leaves = torch.from_numpy(nodes[self.capacity : self.capacity + self._n].copy()).to(device)
        self._tree[torch.arange(self._n, device=device)] = leaves
        self.n_launches = {"sample": 12, "update": 64}  # estimated; only bounds how many ops are enqueued at once

    @property
    def nodes(self) -> Tensor:
        """The leaves alone, at the places they have in a flat tree; the rest is not to be seen, and NaN."""
        device = self._ends[0].device
        nodes = torch.full((2 * self.capacity,), float("nan"), device=device)
        nodes[self.capacity : self.capacity + self._n] = self._tree[torch.arange(self._n, device=device)]
        return nodes

    def prepare(self, kind: str, inputs: Sequence[Tensor], stream: int = 0) -> list[Args]:
        """Return the rows of the inputs."""
        del kind, stream
        return list(zip(*(array.unbind(0) for array in inputs), strict=True))

    def enqueue(self, kind: str, args: Args) -> tuple[Tensor, ...]:
        """Enqueue one op on PyTorch's current stream."""
        if kind == "update":
            self._tree[args[0]] = args[1]
            return ()
        index = self._tree.scan_lower_bound(args[0] * self._tree.query(*self._ends))
        index.clamp_max_(self._n - 1)
        return index, self._tree[index]


class Eager:
    """Every op enqueued by the host."""

    def __init__(self, tree: Tree, kind: str, n: int, n_ops: int) -> None:
        del n, n_ops
        self._tree, self._kind = tree, kind
        self._args: list[Args] = []
        self.results: list[tuple[Tensor, ...]] = []

    def load(self, inputs: Sequence[Tensor]) -> None:
        """Keep a row of the inputs for every op."""
        self._args = self._tree.prepare(self._kind, inputs)

    def run(self) -> None:
        """Enqueue the ops one by one."""
        self.results = [self._tree.enqueue(self._kind, args) for args in self._args]


class Graph:
    """All ops captured in one CUDA graph, which reads its inputs where `load` copies them."""

    def __init__(self, tree: Tree, kind: str, n: int, n_ops: int) -> None:
        device = tree.nodes.device
        if kind == "sample":
            self._inputs = [torch.zeros((n_ops, n), device=device)]
        else:  # leaf 0 takes the mass it has: warming up changes nothing
            self._inputs = [
                torch.zeros((n_ops, n), dtype=torch.int64, device=device),
                torch.empty((n_ops, n), device=device),
            ]
            self._inputs[1].copy_(tree.nodes[tree.capacity].expand(n_ops, n))
        side, self._graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()
        side.wait_stream(torch.cuda.current_stream())
        self._args = tree.prepare(kind, self._inputs, side.cuda_stream)
        with torch.cuda.stream(side):
            tree.enqueue(kind, self._args[0])
        torch.cuda.synchronize()
        with torch.cuda.graph(self._graph, stream=side, capture_error_mode="thread_local"):
            self.results = [tree.enqueue(kind, args) for args in self._args]
        torch.cuda.synchronize()

    def load(self, inputs: Sequence[Tensor]) -> None:
        """Copy the inputs to where the graph reads them."""
        for mine, given in zip(self._inputs, inputs, strict=True):
            mine.copy_(given)

    def run(self) -> None:
        """Replay the graph."""
        self._graph.replay()


#: What is measured, by name: the tree, and what makes its programs.
VARIANTS: dict[str, tuple[Callable[[Float32, str], Tree], Callable[[Tree, str, int, int], Program]]] = {
    "fused": (FusedTree, Eager),
    "torch": (TorchTree, Eager),
    "torchrl": (TorchRlTree, Eager),
    "torch-graph": (TorchTree, Graph),
    "fused-graph": (FusedTree, Graph),
}
