"""Uniform sources: NumPy's generator, and the shift register of the hardware; named streams of a seed."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from amper._kernels.urng import lfsr_numbers
from amper.protocols import Float64, UniformSource

NAMES = ("numpy", "lfsr")


def stream(seed: int | None, name: str) -> np.random.SeedSequence:
    """Return the seed sequence of the consumer called `name`: a new consumer moves no other."""
    return np.random.SeedSequence(seed, spawn_key=(zlib.crc32(name.encode()),))


class NumpySource:
    """Uniforms of 53 bits from a PCG64 generator."""

    def __init__(self, seed: np.random.SeedSequence) -> None:
        self._generator = np.random.Generator(np.random.PCG64(seed))

    def random(self, n: int) -> Float64:
        """Return the next `n` numbers."""
        return self._generator.random(n)

    def state_dict(self) -> dict[str, Any]:
        """Return the generator's state."""
        return {"numpy": self._generator.bit_generator.state}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue the stream that `state` was taken from."""
        self._generator.bit_generator.state = state["numpy"]


class LfsrSource:
    """Uniforms of 32 bits from a 32-bit shift register that leaps 32 steps a number.

    One step a number would correlate neighbours (.499 at lag 1); 32 steps give .004.
    """

    def __init__(self, seed: np.random.SeedSequence) -> None:
        self._state = int(seed.generate_state(1, np.uint32)[0]) or 1

    def random(self, n: int) -> Float64:
        """Return the next `n` numbers."""
        numbers = np.empty(n)
        self._state = int(lfsr_numbers(self._state, numbers))
        return numbers

    def state_dict(self) -> dict[str, Any]:
        """Return the register."""
        return {"lfsr": self._state}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue the stream that `state` was taken from."""
        self._state = int(state["lfsr"])


def make(name: str, seed: np.random.SeedSequence) -> UniformSource:
    """Return the uniform source called `name`.

    Raises
    ------
    ValueError
        If there is none of that name.
    """
    if name == "numpy":
        return NumpySource(seed)
    if name == "lfsr":
        return LfsrSource(seed)
    raise ValueError(f"urng must be one of {', '.join(NAMES)}, got {name!r}")
