"""The copy task, in two published forms: read bits, then say them from memory.

A sequence of l bits takes 2 l steps: the bits, then l times the token 2, during which the bits are to be said in order.
Menick et al. (2021, arXiv 2006.07232) lengthen it as the learner gets better, `CurriculumCopy`; Irie et al. (2024,
arXiv 2305.19044) draw lengths from 1 to L, `CopyStreams`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from amper.protocols import Array, Int64
from rl import checks
from rl.streams import stream

#: Tokens: the bits 0 and 1, and the blank under which they are said.
N_TOKENS, BLANK = 3, 2
#: What takes the place of a token where a stream pauses.
PAUSE = -1


class Stretch(NamedTuple):
    """Steps of B streams, [T, B].

    Attributes
    ----------
    tokens : int64
        Inputs: 0, 1, 2; -1 where a stream pauses.
    targets : int64
        2 while the bits are read, then the bits; 2 in a pause.
    copying : bool
        Whether a bit is to be said.
    resets : bool
        Whether a sequence begins with this step.
    """

    tokens: Int64
    targets: Int64
    copying: Array
    resets: Array

    @property
    def n_characters(self) -> int:
        """Steps, pauses left out."""
        return int((self.tokens != PAUSE).sum())


def lengths_of(uniforms: Array, shortest: int, longest: int) -> Int64:
    """Return whole numbers from `shortest` to `longest`, each as often, from uniforms in [0, 1).

    Examples
    --------
    >>> lengths_of(np.array([0.0, 0.49, 0.51, 0.99]), 3, 4)
    array([3, 3, 4, 4])
    """
    return np.asarray(shortest + np.floor(uniforms * (longest - shortest + 1)), np.int64)


def sequences(lengths: Int64, uniforms: Array) -> Stretch:
    """Return one sequence a stream, all beginning with the first step; the shorter ones pause at the end.

    Parameters
    ----------
    lengths : int64[B]
        Bits of each, >= 1.
    uniforms : float[B, L]
        In [0, 1), L >= every length; a bit is 1 from .5 on.

    Raises
    ------
    ValueError
        If there is no length, or one out of range.
    """
    if not lengths.size or not 1 <= lengths.min() <= lengths.max() <= uniforms.shape[1]:
        raise ValueError(f"lengths must lie in 1 .. {uniforms.shape[1]}, the uniforms given, got {lengths.tolist()}")
    step, n = np.arange(2 * int(lengths.max()))[:, None], lengths[None, :]
    bits = (uniforms >= 0.5).T.astype(np.int64)
    reading, copying = step < n, (step >= n) & (step < 2 * n)
    place = np.where(copying, step - n, np.minimum(step, n - 1))
    of_step = np.take_along_axis(bits, place, axis=0)
    tokens = np.where(reading, of_step, np.where(copying, BLANK, PAUSE))
    return Stretch(tokens, np.where(copying, of_step, BLANK), copying, np.broadcast_to(step == 0, copying.shape).copy())


class CurriculumCopy:
    """Minibatches of sequences of max(L-5, 1) .. L bits, each length as often; L grows as they are learned.

    L begins at 1 and grows by one whenever a minibatch is said at under `threshold` bits a character.

    Parameters
    ----------
    batch : int
        Sequences of a minibatch, >= 1.
    threshold : float
        Bits a character, > 0.
    seed : int

    Raises
    ------
    ValueError, TypeError
        If a parameter is out of range.

    Notes
    -----
    Menick et al. (2021), section 5. Left open there, and chosen here: nothing but the blank tells that the copy begins;
    only characters to be said are counted (the others are no choice of the learner's, and would halve the bits a
    character), so that 1 bit is chance; the loss is that of the minibatch as it is learned from, before its update
    where there is one a minibatch; L grows by at most one a minibatch; characters seen count the inputs read as well,
    and no pauses.

    Examples
    --------
    >>> task = CurriculumCopy(batch=2, seed=0)
    >>> task.take().tokens.shape, task.grow(0.2), task.grow(0.1), task.longest
    ((2, 2), False, True, 2)
    """

    def __init__(self, *, batch: int, threshold: float = 0.15, seed: int = 0) -> None:
        self.batch = checks.whole("batch", batch, at_least=1)
        self.threshold = checks.number("threshold", threshold, above=0.0)
        self._rng = stream(checks.whole("seed", seed, at_least=0), "copy task")
        self.longest = 1

    def take(self) -> Stretch:
        """Return the next minibatch; takes batch * (1 + L) uniforms, the lengths' first."""
        uniforms = self._rng.random(self.batch), self._rng.random((self.batch, self.longest))
        return sequences(lengths_of(uniforms[0], max(self.longest - 5, 1), self.longest), uniforms[1])

    def grow(self, bits_per_character: float) -> bool:
        """Tell how well a minibatch was said; return whether L has grown."""
        grows = checks.real("bits_per_character", bits_per_character) < self.threshold
        self.longest += grows
        return grows


class CopyStreams:
    """Streams of sequences of 1 .. `longest` bits, each length as often; a stream begins one where its last has ended.

    Parameters
    ----------
    batch, longest : int
        Streams, and bits of the longest sequence, >= 1.
    seed : int

    Raises
    ------
    ValueError, TypeError
        If a parameter is out of range.

    Notes
    -----
    Irie et al. (2024), section 4.1, with L = 50 and 500. Their public code begins a minibatch's sequences together and
    pads them, which half of all steps go into; here streams go on.

    Examples
    --------
    >>> some = CopyStreams(batch=1, longest=4, seed=1).take(6)
    >>> some.tokens[:, 0].tolist(), some.targets[:, 0].tolist()
    ([0, 1, 2, 2, 1, 0], [2, 2, 0, 1, 2, 2])
    """

    def __init__(self, *, batch: int, longest: int, seed: int = 0) -> None:
        self.batch = checks.whole("batch", batch, at_least=1)
        self.longest = checks.whole("longest", longest, at_least=1)
        self._rng = stream(checks.whole("seed", seed, at_least=0), "copy task")
        self._bits = np.zeros((self.batch, self.longest), np.int64)
        self._lengths = np.zeros(self.batch, np.int64)
        self._step = np.zeros(self.batch, np.int64)

    def take(self, n_steps: int) -> Stretch:
        """Return the next steps.

        A step takes 1 + `longest` uniforms of every stream that begins a sequence with it, in order of streams.

        Raises
        ------
        ValueError, TypeError
            If `n_steps` < 1.
        """
        shape = (checks.whole("n_steps", n_steps, at_least=1), self.batch)
        out = Stretch(
            np.empty(shape, np.int64), np.empty(shape, np.int64), np.empty(shape, bool), np.empty(shape, bool)
        )
        every = np.arange(self.batch)
        for t in range(n_steps):
            begins = self._step == 2 * self._lengths
            if begins.any():
                self._begin(begins)
            copying = self._step >= self._lengths
            bits = self._bits[every, self._step - copying * self._lengths]
            out.tokens[t], out.targets[t] = np.where(copying, BLANK, bits), np.where(copying, bits, BLANK)
            out.copying[t], out.resets[t] = copying, begins
            self._step += 1
        return out

    def _begin(self, begins: Array) -> None:
        uniforms = self._rng.random((int(begins.sum()), 1 + self.longest))
        self._lengths[begins] = lengths_of(uniforms[:, 0], 1, self.longest)
        self._bits[begins] = uniforms[:, 1:] >= 0.5
        self._step[begins] = 0


def sequences_right(stretch: Stretch, right: Array) -> tuple[int, int]:
    """Return how many sequences that lie in the stretch as a whole were said without a mistake, and how many lie there.

    Parameters
    ----------
    right : bool[T, B]
        Whether each step's answer was its target; looked at where `stretch.copying`.

    Raises
    ------
    ValueError
        If `right` is not of the stretch.
    """
    shape = stretch.tokens.shape
    if right.shape != shape or right.dtype != np.bool_:
        raise ValueError(f"right must be bool{list(shape)}, got {right.dtype}{list(right.shape)}")
    n_right = n_whole = 0
    for b in range(stretch.tokens.shape[1]):
        begins = np.flatnonzero(stretch.resets[:, b])
        wrong = np.concatenate([[0], np.cumsum(stretch.copying[:, b] & ~right[:, b])])
        n_copied = np.concatenate([[0], np.cumsum(stretch.copying[:, b])])
        n_read = np.concatenate([[0], np.cumsum((stretch.tokens[:, b] != PAUSE) & ~stretch.copying[:, b])])
        ends = np.append(begins[1:], len(right))
        whole = n_copied[ends] - n_copied[begins] == n_read[ends] - n_read[begins]
        n_whole += int(whole.sum())
        n_right += int((whole & (wrong[ends] == wrong[begins])).sum())
    return n_right, n_whole


def bits_per_character(losses: Array, counted: Array) -> float:
    """Return the mean of the counted losses, in bits.

    Raises
    ------
    ValueError
        If none is counted.
    """
    if losses.shape != counted.shape or not counted.any():
        raise ValueError(
            f"counted must be True somewhere and of shape {losses.shape}, got {int(counted.sum())} and {counted.shape}"
        )
    return float(losses[counted].mean(dtype=np.float64) / math.log(2.0))
