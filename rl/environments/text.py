"""Text as a stream of characters: crops to learn from, and a held-out part to be scored on.

By default the text is that of some modules of the standard library of the running Python, in a fixed order: the same
characters wherever that Python release runs, and somewhat others under another one.
"""

from __future__ import annotations

import sysconfig
from pathlib import Path
from typing import NamedTuple

import numpy as np

from amper.protocols import Array, Int64
from rl import checks
from rl.streams import stream

#: Modules of the default text: prose-like and long, and there in every release since 3.11.
STANDARD_MODULES = (
    "argparse", "ast", "calendar", "codecs", "configparser", "contextlib", "copy", "csv", "datetime", "decimal",
    "difflib", "doctest", "enum", "fractions", "ftplib", "functools", "gettext", "heapq", "imaplib", "inspect",
    "ipaddress", "locale", "mailbox", "optparse", "pathlib", "pdb", "pickle", "pickletools", "platform", "plistlib",
    "random", "shutil", "smtplib", "socket", "ssl", "statistics", "string", "subprocess", "tarfile", "tempfile",
    "textwrap", "threading", "tokenize", "traceback", "typing", "uuid", "warnings", "weakref", "zipfile",
)  # fmt: skip
#: Characters that have a token of their own; all others share the last one.
ALPHABET = "\n" + "".join(map(chr, range(32, 127)))


class Crops(NamedTuple):
    """Steps of B streams, [T, B], each a crop of the text.

    Attributes
    ----------
    tokens, targets : int64
        Characters, and those that follow.
    counted : bool
        True throughout: every character is predicted.
    resets : bool
        The first step.
    """

    tokens: Int64
    targets: Int64
    counted: Array
    resets: Array


def standard_text() -> str:
    """Return the sources of `STANDARD_MODULES`, one after the other; a module that is absent is left out."""
    folder = Path(sysconfig.get_path("stdlib"))
    paths = [path for name in STANDARD_MODULES for path in (folder / f"{name}.py", folder / name / "__init__.py")]
    return "".join(path.read_text("utf-8") for path in paths if path.is_file())


def encoded(text: str) -> Int64:
    """Return a token a character: its place in `ALPHABET`, or len(ALPHABET) if it has none.

    Examples
    --------
    >>> encoded(chr(10) + " !" + chr(228)).tolist()
    [0, 1, 2, 96]
    """
    codes = np.frombuffer(text.encode("utf-32-le"), np.uint32).astype(np.int64)
    return np.where(codes == 10, 0, np.where((codes >= 32) & (codes < 127), codes - 31, len(ALPHABET)))


class Text:
    """Crops of a text, drawn at random from its beginning, and in order from the held-out end.

    Parameters
    ----------
    path : path, optional
        A text file in UTF-8, such as WikiText103's; by default `standard_text`.
    batch : int
        Streams, >= 1.
    length : int
        Characters of a crop, >= 1; Menick et al. (2021) take 128.
    held_out : float
        Share of the text that is held out, in (0, 1).
    seed : int

    Raises
    ------
    ValueError, TypeError
        If a parameter is out of range, or the text too short for a crop on both sides, or not UTF-8.
    OSError
        If there is no such file.

    Examples
    --------
    >>> text = Text(batch=2, length=5)
    >>> crops = text.take()
    >>> crops.tokens.shape, bool((crops.tokens[1:] == crops.targets[:-1]).all())
    ((5, 2), True)
    """

    def __init__(
        self,
        path: Path | str | None = None,
        *,
        batch: int,
        length: int = 128,
        held_out: float = 0.05,
        seed: int = 0,
    ) -> None:
        self.batch, self.length = (checks.whole(k, v, at_least=1) for k, v in (("batch", batch), ("length", length)))
        share = checks.number("held_out", held_out, above=0.0, below=1.0)
        tokens = encoded(standard_text() if path is None else Path(path).read_text("utf-8"))
        cut = len(tokens) - int(share * len(tokens))
        self._train, self._held_out = tokens[:cut], tokens[cut:]
        if min(len(self._train), len(self._held_out)) <= self.length:
            raise ValueError(
                f"path must name a text of more than length = {self.length} characters on both sides of held_out, "
                f"got {len(self._train)} and {len(self._held_out)}"
            )
        self._rng = stream(checks.whole("seed", seed, at_least=0), "text")

    @property
    def n_tokens(self) -> int:
        """Different tokens there can be."""
        return len(ALPHABET) + 1

    @property
    def n_characters(self) -> tuple[int, int]:
        """Characters to learn from, and held out."""
        return len(self._train), len(self._held_out)

    def take(self) -> Crops:
        """Return a crop a stream, each place as likely; takes `batch` uniforms."""
        starts = np.floor(self._rng.random(self.batch) * (len(self._train) - self.length)).astype(np.int64)
        return self._crops(self._train, starts)

    def held_out(self, n_crops: int) -> Crops:
        """Return `n_crops` crops spread evenly over the held-out part, a stream each.

        Raises
        ------
        ValueError, TypeError
            If `n_crops` < 1.
        """
        n_crops = checks.whole("n_crops", n_crops, at_least=1)
        last = len(self._held_out) - self.length - 1
        return self._crops(self._held_out, np.linspace(0, last, n_crops).astype(np.int64))

    def _crops(self, tokens: Int64, starts: Int64) -> Crops:
        at = starts + np.arange(self.length)[:, None]
        resets = np.zeros(at.shape, bool)
        resets[0] = True
        return Crops(tokens[at], tokens[at + 1], np.ones(at.shape, bool), resets)
