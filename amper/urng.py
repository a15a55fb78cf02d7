"""Uniform sources: NumPy's generator, and the shift register of the hardware; named streams of a seed."""

from __future__ import annotations

import zlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np

from amper._kernels.urng import lfsr_numbers
from amper.protocols import Float64, UniformSource

NAMES = ("numpy", "lfsr")
_BLOCK = 1024


def stream(seed: int | None, name: str) -> np.random.SeedSequence:
    """Return the seed sequence of the consumer called `name`: a new consumer moves no other."""
    return np.random.SeedSequence(seed, spawn_key=(zlib.crc32(name.encode()),))


def child(seed: np.random.SeedSequence, name: str) -> np.random.SeedSequence:
    """Return the seed sequence of the part called `name` of a consumer seeded with `seed`."""
    return np.random.SeedSequence(seed.entropy, spawn_key=(*seed.spawn_key, zlib.crc32(name.encode())))


class _BlockSource(ABC):
    """Draws numbers a block ahead and hands them out in order: a call of a generator costs .6 us, a slice .1 us.

    The numbers are those the generator would have given one call after another. A subclass says what its
    generator's state is, how to set it, and how to go on.
    """

    name: str

    def __init__(self) -> None:
        self._before: Any = self._generator_state()  # of the generator, where the block begins
        self._block = np.empty(0)
        self._at = 0

    @abstractmethod
    def _generator_state(self) -> Any:
        """Return where the generator stands."""

    @abstractmethod
    def _set_generator_state(self, state: Any) -> None:
        """Put the generator where `state` stood."""

    @abstractmethod
    def _generate(self, n: int) -> Float64:
        """Return the generator's next `n` numbers."""

    def random(self, n: int) -> Float64:
        """Return the next `n` numbers, to be read only."""
        at, end = self._at, self._at + n
        if end <= len(self._block):
            self._at = end
            return self._block[at:end]
        rest = self._block[at:]
        self._at = n - len(rest)
        self._before = self._generator_state()
        self._block = self._generate(max(_BLOCK, self._at))
        return np.concatenate([rest, self._block[: self._at]]) if len(rest) else self._block[: self._at]

    def state_dict(self) -> dict[str, Any]:
        """Return the generator's state where the block begins, and how many numbers were taken since."""
        if self._at == len(self._block):
            return {self.name: self._generator_state(), "taken": 0}
        return {self.name: self._before, "taken": self._at}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue the stream that `state` was taken from."""
        taken = int(state["taken"])
        if not 0 <= taken <= _BLOCK:
            raise ValueError(f"taken must lie in 0..{_BLOCK}, got {taken}")
        self._set_generator_state(state[self.name])
        self._before = self._generator_state()
        self._block, self._at = self._generate(_BLOCK), taken


class NumpySource(_BlockSource):
    """Uniforms of 53 bits from a PCG64 generator."""

    name = "numpy"

    def __init__(self, seed: np.random.SeedSequence) -> None:
        self._generator = np.random.Generator(np.random.PCG64(seed))
        super().__init__()

    def _generator_state(self) -> Any:
        return self._generator.bit_generator.state

    def _set_generator_state(self, state: Any) -> None:
        self._generator.bit_generator.state = state

    def _generate(self, n: int) -> Float64:
        return self._generator.random(n)


class LfsrSource(_BlockSource):
    """Uniforms of 32 bits from a 32-bit shift register that leaps 32 steps a number.

    One step a number would correlate neighbours (.499 at lag 1); 32 steps give .004.
    """

    name = "lfsr"

    def __init__(self, seed: np.random.SeedSequence) -> None:
        self._state = int(seed.generate_state(1, np.uint32)[0]) or 1
        super().__init__()

    def _generator_state(self) -> Any:
        return self._state

    def _set_generator_state(self, state: Any) -> None:
        if not 0 < int(state) < 2**32:
            raise ValueError(f"lfsr must be a register of 32 bits that is not 0, got {state!r}")
        self._state = int(state)

    def _generate(self, n: int) -> Float64:
        numbers = np.empty(n)
        self._state = int(lfsr_numbers(self._state, numbers))
        return numbers


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
