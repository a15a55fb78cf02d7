"""Trace patterning: which patterns announce a signal that comes long after them? (Javed et al. 2023.)"""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

import numpy as np

from amper.protocols import Array, Float64
from rl import checks
from rl._kernels.trace_patterning import fill
from rl.streams import stream

#: Of what `state_dict` returns; a reader refuses later ones.
_VERSION = 1
#: Bits of the pattern, the signal, and distractors: the length of x.
N_INPUTS = 12
#: Where the signal (the US) is in x.
US = 6
#: The patterns: three of six bits.
PATTERNS = tuple(itertools.combinations(range(6), 3))
#: Uniforms a step takes.
_WIDTH = 8


class Stretch(NamedTuple):
    """Steps of the stream; row t is step t.

    Attributes
    ----------
    xs : float[n, 12]
        Six bits of the pattern (CS), the US, five distractors; each 0 or 1.
    cumulants : float[n]
        The US.
    targets : float64[n]
        discount^(steps to the US - 1) while a US is pending, else 0: what a prediction at this step should be.
    """

    xs: Array
    cumulants: Array
    targets: Float64


class TracePatterning:
    """A pattern for one step, a silence, and after a valid pattern the signal; without end.

    Ten of the twenty patterns are valid, drawn by seed. The US comes exactly ISI steps after a valid CS, and an invalid
    one waits as long; ITI steps after it, or after where it would have been, comes the next CS. Distractor k = 1..5 is
    on with probability 1/(10 k), independently of everything. The stream begins where a US would have been.

    A constant prediction has a mean squared error of .0188, a prediction that knows which patterns are valid, but not
    the ISI, .0017.

    Parameters
    ----------
    seed : int
        Of the valid patterns and of the stream.
    isi, iti : (int, int)
        Least and largest interval from CS to US and from US to CS, uniform between them, both ends included, >= 1.
    discount : float
        Of the targets, in (0, 1].
    dtype : str
        Of `xs` and `cumulants`, "float32" or "float64".

    Raises
    ------
    ValueError, TypeError
        If a parameter is out of range.

    Examples
    --------
    >>> steps = TracePatterning(seed=0).stream(1_000)
    >>> steps.xs.shape, bool((steps.xs[:, US] == steps.cumulants).all())
    ((1000, 12), True)
    """

    def __init__(
        self,
        *,
        seed: int = 0,
        isi: tuple[int, int] = (24, 36),
        iti: tuple[int, int] = (80, 120),
        discount: float = 0.9,
        dtype: str = "float64",
    ) -> None:
        self.seed = checks.whole("seed", seed, at_least=0)
        self.isi, self.iti = _interval("isi", isi), _interval("iti", iti)
        if not 0.0 < checks.real("discount", discount) <= 1.0:
            raise ValueError(f"discount must be in (0, 1], got {discount!r}")
        self.discount = float(discount)
        self.dtype = checks.known("dtype", dtype, ("float32", "float64"))
        #: bool[20], by the order of `PATTERNS`.
        self.valid = np.zeros(len(PATTERNS), bool)
        self.valid[stream(self.seed, "trace patterning/valid").permutation(len(PATTERNS))[:10]] = True
        self._rng = stream(self.seed, "trace patterning/steps")
        self._clock = np.array([0, 0, -1, 0])

    @property
    def n_steps(self) -> int:
        """Steps so far."""
        return int(self._clock[0])

    def stream(self, n_steps: int) -> Stretch:
        """Return the next steps; several calls give what one call for all of them gives."""
        n_steps = checks.whole("n_steps", n_steps, at_least=0)
        xs, targets = np.zeros((n_steps, N_INPUTS), self.dtype), np.empty(n_steps)
        fill(
            self._rng.random((n_steps, _WIDTH)), np.array(PATTERNS), self.valid, np.array([*self.isi, *self.iti]),
            self.discount ** np.arange(float(self.isi[1])), self._clock, xs, targets,
        )  # fmt: skip
        return Stretch(xs, xs[:, US].copy(), targets)

    def state_dict(self) -> dict[str, Any]:
        """Return everything, copied."""
        return {
            "version": _VERSION,
            **self._identity(),
            "clock": self._clock.copy(),
            "generator": self._rng.bit_generator.state,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on exactly where `state` was taken.

        Raises
        ------
        ValueError, TypeError
            If it was taken with other parameters or by a later version, or is damaged; nothing has changed.
        """
        checks.saved_version(state, _VERSION)
        checks.saved_keys("state", state, ("version", *self._identity(), "clock", "generator"))
        checks.saved_alike(state, self._identity(), "a stream")
        clock = checks.saved_array("state['clock']", state["clock"], (4,), np.int64)
        now, us, cs, pending = (int(value) for value in clock)
        waiting = us - now if us >= now else cs - now
        if now < 0 or pending not in (0, 1) or not 0 <= waiting <= max(self.isi[1], self.iti[1]):
            raise ValueError(f"state['clock'] must be of a stream, got {clock.tolist()}")
        if pending and not now <= us < now + self.isi[1]:
            raise ValueError(f"state['clock'] must have a pending signal ahead, got {clock.tolist()}")
        scratch = np.random.PCG64(0)
        try:
            scratch.state = state["generator"]
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise ValueError(f"state['generator'] must be a generator's, got {state['generator']!r}") from error
        self._rng.bit_generator.state = scratch.state
        self._clock = clock

    def _identity(self) -> dict[str, Any]:
        return {
            "seed": self.seed,
            "isi": list(self.isi),
            "iti": list(self.iti),
            "discount": self.discount,
            "dtype": self.dtype,
        }


def _interval(name: str, value: Any) -> tuple[int, int]:
    """Return (least, largest), both whole and at least 1."""
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise TypeError(f"{name} must be a pair of whole numbers, got {value!r}")
    low = checks.whole(f"{name}[0]", value[0], at_least=1)
    high = checks.whole(f"{name}[1]", value[1], at_least=1)
    if low > high:
        raise ValueError(f"{name} must have its least value first, got {value!r}")
    return low, high
