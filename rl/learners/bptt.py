"""Backpropagation through time: over the last k steps, or over all of them."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np

from amper.protocols import Array
from rl import checks
from rl.cells.base import Linearised
from rl.learners import counting
from rl.learners.base import Carried, OnlineLearner
from rl.learners.counting import Cost
from rl.protocols import Cell


class Bptt(OnlineLearner):
    """The gradient of each step's loss through every step since the stream's start; memory grows with each.

    (Werbos 1990.) A step is held with the weights it was taken with, so that the gradient is that of real-time
    recurrent learning even while theta is written to; equal weights are held once.
    """

    name = "bptt"

    def __init__(self, cell: Cell, *, batch: int | None = None, seed: int = 0) -> None:
        super().__init__(cell, batch=batch, seed=seed)
        # Steps, oldest first, and which streams began with each.
        self._window: deque[tuple[Linearised, Array]] = deque(maxlen=self._length())

    @classmethod
    def cost(cls, cell: Cell, n_streams: int, *, n_steps: int, n_weights: int = 1) -> Cost:
        """Return the cost of a window of `n_steps`, taken with `n_weights` different weights."""
        state_bytes = cell.n_components * cell.n_units * cell.dtype.itemsize
        theta_bytes = cell.n_params * cell.dtype.itemsize
        # The state before a step is the state after the one before it.
        carried = n_streams * (state_bytes + n_steps * (counting.step_bytes(cell) + 1)) + n_weights * theta_bytes
        back = counting.carry_products(cell) + cell.layout.n_state_params
        return Cost(
            forward=counting.forward_products(cell, n_streams),
            sensitivities=0,
            gradient=n_streams * n_steps * back + counting.output_products(cell, n_streams),
            bytes_carried=carried,
            bytes_held=carried + theta_bytes,
        )

    def _length(self) -> int | None:
        return None

    def _advance(self, at: Linearised, carried: Carried) -> Carried:
        return {}

    def _commit(self, at: Linearised, carried: Carried) -> None:
        self._window.append((at, ~self._stepped))
        if not self._stepped.all():
            self._forget()
        super()._commit(at, carried)

    def _forget(self) -> None:
        """Drop the steps that lie before the beginning of every stream."""
        begun = np.zeros(self.n_streams, bool)
        for n_needed, (_, began) in enumerate(reversed(self._window), 1):
            begun |= began
            if begun.all():
                for _ in range(len(self._window) - n_needed):
                    self._window.popleft()
                return

    def _state_gradient(self, at: Linearised, q: Array) -> Array:
        gradient = np.zeros(self.cell.layout.n_state_params, self.cell.dtype)
        for step, began in reversed(self._window):
            gradient += self.cell.immediate(step).vjp_sum(q)
            q = self.cell.state_vjp(step, q)
            q[began] = 0
        return gradient

    def reset(self, mask: Array | None = None) -> None:
        """Start the streams in `mask` anew; steps that no stream needs any more are dropped with the next one."""
        super().reset(mask)
        if self._at is None:
            self._window.clear()

    def state_dict(self) -> dict[str, Any]:
        """Return everything, copied: the window's steps too."""
        return {**super().state_dict(), "began": [began.copy() for _, began in self._window]}

    def _read(self, state: dict[str, Any]) -> dict[str, Any]:
        if "began" not in state:
            raise ValueError(f"state must hold began, got {', '.join(map(str, state))}")
        read = super()._read({name: value for name, value in state.items() if name != "began"})
        saved, steps = state["began"], read["steps"]
        if not isinstance(saved, list):
            raise TypeError(f"state['began'] must be a list, got {type(saved).__name__}")
        if len(saved) != len(steps):
            raise ValueError(f"state['began'] must have an entry for each of {len(steps)} steps, got {len(saved)}")
        read["began"] = [
            checks.saved_array(f"state['began'][{i}]", began, (self.n_streams,), np.bool_)
            for i, began in enumerate(saved)
        ]
        if self._length() is None and steps and not np.any(read["began"], axis=0).all():
            raise ValueError("state['began'] must hold the beginning of every stream, got none of some")
        return read

    def _put(self, read: dict[str, Any]) -> None:
        super()._put(read)
        self._window.clear()
        self._window.extend(zip(read["steps"], read["began"], strict=True))

    def _steps(self) -> list[Linearised]:
        return [at for at, _ in self._window]

    def _most_steps(self) -> int | None:
        return self._length()


class TruncatedBptt(Bptt):
    """T-BPTT(k): the gradient of this step's loss through the last k steps, a sliding window.

    4 d (n + d + 1)(k + 1) operations a step for an LSTM of d units and n inputs.

    Parameters
    ----------
    k : int
        At least 1.
    """

    name = "tbptt"

    def __init__(self, cell: Cell, *, k: int = 10, batch: int | None = None, seed: int = 0) -> None:
        self.k = checks.whole("k", k, at_least=1)
        super().__init__(cell, batch=batch, seed=seed)

    @classmethod
    def cost(  # type: ignore[override]  # k stands for the steps
        cls, cell: Cell, n_streams: int, *, k: int = 10, n_weights: int = 1
    ) -> Cost:
        """Return the cost of a full window of `k` steps, taken with `n_weights` different weights."""
        return super().cost(cell, n_streams, n_steps=k, n_weights=n_weights)

    def _length(self) -> int | None:
        return self.k

    def _options(self) -> dict[str, Any]:
        return {"k": self.k}
