"""Networks as one flat vector of parameters, with named views into it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from amper.protocols import Array, Int64


@dataclass(frozen=True, slots=True)
class Mlp:
    """A multilayer perceptron: rectified linear units, and a linear last layer.

    The parameters lie in one vector, layer by layer: weight [n_in, n_out] row by row, then bias [n_out].

    Parameters
    ----------
    sizes : tuple of int
        Width of the input, of each hidden layer, and of the output.

    Raises
    ------
    ValueError
        If there are fewer than two sizes or one is below 1.

    Examples
    --------
    >>> net = Mlp((4, 3, 2))
    >>> theta = net.init(np.random.default_rng(0))
    >>> {name: view.shape for name, view in net.views(theta).items()}
    {'weight0': (4, 3), 'bias0': (3,), 'weight1': (3, 2), 'bias1': (2,)}
    """

    sizes: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.sizes) < 2 or any(n < 1 for n in self.sizes):
            raise ValueError(f"sizes must be two or more widths of at least 1, got {self.sizes!r}")

    @property
    def n_params(self) -> int:
        """Length P of the parameter vector."""
        return sum((n_in + 1) * n_out for n_in, n_out in zip(self.sizes, self.sizes[1:], strict=False))

    @property
    def n_units(self) -> int:
        """Outputs of all layers together: the scratch one row of input needs."""
        return sum(self.sizes[1:])

    @property
    def shape(self) -> Int64:
        """The sizes as kernels take them, int64[layers + 1]."""
        return np.array(self.sizes, np.int64)

    def views(self, theta: Array) -> dict[str, Array]:
        """Return weight0, bias0, weight1, ... as views into `theta` [P]; writing in one writes there."""
        if theta.shape != (self.n_params,):
            raise ValueError(f"theta must have shape ({self.n_params},), got {theta.shape}")
        views: dict[str, Array] = {}
        at = 0
        for layer, (n_in, n_out) in enumerate(zip(self.sizes, self.sizes[1:], strict=False)):
            views[f"weight{layer}"] = theta[at : at + n_in * n_out].reshape(n_in, n_out)
            at += n_in * n_out
            views[f"bias{layer}"] = theta[at : at + n_out]
            at += n_out
        return views

    def init(self, rng: np.random.Generator) -> Array:
        """Return float32[P], every weight and bias uniform in +-1 / sqrt(n_in) of its layer.

        This is `torch.nn.Linear`'s default, which published DQN settings were tuned with.
        """
        theta = np.empty(self.n_params, np.float32)
        n_in = 0
        for view in self.views(theta).values():
            n_in = view.shape[0] if view.ndim == 2 else n_in
            view[...] = rng.uniform(-1.0, 1.0, view.shape) * n_in**-0.5
        return theta
