"""A measured sum tree: the JSON file of `amper calibrate-gpu`, checked, and times between its points."""

from __future__ import annotations

import bisect
import json
import math
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from hwsim import checks

FORMAT = 1
#: What stands in a row, microseconds: see `hwsim.calibrate`.
FIGURES = ("idle_us", "queued_us", "device_us", "host_us")
KINDS = ("sample", "update")
_LONGEST_US = 1e9
Point = tuple[int, int]  # n, b


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """Medians of one file.

    Parameters
    ----------
    name : str
        Of the file, as it was asked for.
    gpu : str
        The GPU's own name.
    medians : mapping
        By variant and kind: by (n, b): by figure, microseconds.
    absent : mapping
        Variants that were not measured, and why.
    """

    name: str
    gpu: str
    medians: Mapping[tuple[str, str], Mapping[Point, Mapping[str, float]]]
    absent: Mapping[str, str]

    @property
    def variants(self) -> list[str]:
        """Names that were measured, sampling and update."""
        return sorted({variant for variant, _ in self.medians})

    def batches(self, variant: str, kind: str) -> list[int]:
        """Return the measured sizes of an op, ascending."""
        return sorted({b for _, b in self.medians[variant, kind]})

    def latency_us(self, variant: str, kind: str, n: int, b: int, figure: str = "idle_us") -> float:
        """Return one op's time: linear in log n between measured n, and linear in b between measured b.

        Raises
        ------
        ValueError
            If n or b lies outside what was measured; the message says what to measure.
        """
        points = self.medians[variant, kind]
        low, high = self._around("n", n, sorted({n for n, _ in points}))
        left, right = self._around("batch", b, self.batches(variant, kind))

        def at(n: int) -> float:
            return _between(b, left, right, points[n, left][figure], points[n, right][figure])

        return _between(math.log(n), math.log(low), math.log(high), at(low), at(high))

    def _around(self, name: str, value: int, known: Sequence[int]) -> tuple[int, int]:
        if not known[0] <= value <= known[-1]:
            raise ValueError(
                f"{name} must lie between {known[0]} and {known[-1]}, measured in {self.name!r}, got {value!r}; "
                f"measure it: amper calibrate-gpu --{name} {' '.join(map(str, (*known, value)))} --out FILE"
            )
        return known[bisect.bisect_right(known, value) - 1], known[bisect.bisect_left(known, value)]


def _between(x: float, x0: float, x1: float, y0: float, y1: float) -> float:
    return y0 if x0 == x1 else y0 + (y1 - y0) * (x - x0) / (x1 - x0)


def measurements() -> list[str]:
    """Return the names of the measurements that come with the package, in alphabetical order."""
    folder = resources.files("hwsim") / "measurements"
    return sorted(p.name.removesuffix(".json") for p in folder.iterdir() if p.name.endswith(".json"))


def measurement(name_or_path: str | Path) -> Measurement:
    """Return a measurement that comes with the package by name, or a user's JSON file by path.

    Parameters
    ----------
    name_or_path : str or Path
        One of `measurements()`, or a path; a string counts as a path if it ends in ".json".

    Raises
    ------
    TypeError
        If it is neither a string nor a path.
    ValueError
        If the name is unknown (the known ones are listed), or the file cannot be read or is not valid (the
        message names file and key).
    """
    if isinstance(name_or_path, Path) or (isinstance(name_or_path, str) and name_or_path.endswith(".json")):
        return _load(Path(name_or_path), str(name_or_path))
    if not isinstance(name_or_path, str):
        raise TypeError(f"measurement must be a name or a path, got {name_or_path!r}")
    advice = "give the path of a .json file that amper calibrate-gpu wrote"
    checks.one_of("measurement", name_or_path, measurements() or ["(none is shipped)"], advice)
    with resources.as_file(resources.files("hwsim") / "measurements" / f"{name_or_path}.json") as path:
        return _load(path, name_or_path)


def checked_path(path: str | Path) -> Path:
    """Return where a measurement can be written; refuse what cannot be before any work."""
    path = Path(path)
    if path.suffix != ".json" or path.is_dir() or not os.access(path.parent, os.W_OK):
        raise ValueError(f"out must be a .json file in a folder that can be written, got {str(path)!r}")
    return path


def write(path: str | Path, document: Mapping[str, Any]) -> None:
    """Write what `hwsim.calibrate.measure` returned: all of it or, where that fails, nothing."""
    path = checked_path(path)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(json.dumps(document, indent=1, allow_nan=False) + "\n")
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


# -- reading --------------------------------------------------------------------------------------------
def _load(path: Path, name: str) -> Measurement:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:  # ValueError: bytes, syntax, integers of 5,000 digits
        raise ValueError(f"measurement must name a readable JSON file, got {str(path)!r}: {error}") from error
    where = f"in {str(path)!r}"
    if not isinstance(document, dict) or document.get("kind") != "gpu-sum-tree":
        raise ValueError(f"kind {where} must be 'gpu-sum-tree'; amper calibrate-gpu writes such files")
    if document.get("format") != FORMAT or document["format"] is True:  # which equals 1
        raise ValueError(f"format {where} must be {FORMAT}, got {document.get('format')!r}")
    gpu = document.get("gpu")
    if not isinstance(gpu, dict) or not isinstance(gpu.get("name"), str):
        raise ValueError(f"gpu.name {where} must be a text, got {gpu!r}")
    rows, absent = document.get("rows"), document.get("absent", {})
    if not isinstance(rows, list) or not rows:
        raise ValueError(f"rows {where} must be a list of one measured op or more, got {rows!r}")
    if not isinstance(absent, dict):
        raise ValueError(f"absent {where} must be an object, got {absent!r}")
    medians: dict[tuple[str, str], dict[Point, dict[str, float]]] = {}
    for i, row in enumerate(rows):
        key, point, times = _row(where, f"rows[{i}]", row)
        if point in medians.setdefault(key, {}):
            raise ValueError(f"rows[{i}] {where} must be measured once, got {(*key, *point)!r} again")
        medians[key][point] = times
    for variant in {variant for variant, _ in medians}:
        _check_grid(where, variant, medians)
    return Measurement(name=name, gpu=gpu["name"], medians=medians, absent=absent)


def _row(where: str, at: str, row: Any) -> tuple[tuple[str, str], Point, dict[str, float]]:
    if not isinstance(row, dict):
        raise ValueError(f"{at} {where} must be an object, got {row!r}")
    if not isinstance(row.get("variant"), str) or not row["variant"]:
        raise ValueError(f"{at}.variant {where} must be a text, got {row.get('variant')!r}")
    kind = checks.one_of(f"{at}.kind {where}", row.get("kind"), KINDS)
    for key in ("n", "b"):
        if isinstance(row.get(key), bool) or not isinstance(row.get(key), int) or not 1 <= row[key] <= checks.LARGEST:
            raise ValueError(
                f"{at}.{key} {where} must be a whole number from 1 to {checks.LARGEST}, got {row.get(key)!r}"
            )
    times = {}
    for figure in FIGURES:
        spread = row.get(figure)
        value = spread.get("median") if isinstance(spread, dict) else None
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= _LONGEST_US:
            raise ValueError(
                f"{at}.{figure}.median {where} must be a number above 0 and at most {_LONGEST_US:g}, got {value!r}"
            )
        times[figure] = float(value)
    return (row["variant"], kind), (row["n"], row["b"]), times


def _check_grid(where: str, variant: str, medians: Mapping[tuple[str, str], Mapping[Point, Any]]) -> None:
    """Raise ValueError unless sampling and update were both measured, each with every b at every n."""
    for kind in KINDS:
        points = medians.get((variant, kind), {})
        wanted = {(n, b) for n in {n for n, _ in points} for b in {b for _, b in points}}
        if not points or wanted != set(points):
            missing = sorted(wanted - set(points))
            raise ValueError(f"rows {where} must hold every b at every n, got none for {variant} {kind} {missing}")
