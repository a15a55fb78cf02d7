"""Machines as TOML files: a name and parameters, valid by `presets/machine.schema.json`; errors name file and key.

A file holds `name = "amper-fr"`, and of that machine's parameters what it likes: `readout = "rank_select"`. The path
of a technology, `technology = "mine.toml"`, or of a measurement, is as seen from the file.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hwsim import machines
from hwsim.checks import one_of
from hwsim.schemas import did_you_mean, read_toml, validate

__all__ = ["MachineFile", "load_machine"]

#: A refused geometry is of these parameters.
_GEOMETRY = ("rows_per_array", "bits", "technology")


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineFile:
    """What one machine file states.

    Parameters
    ----------
    path : Path
        Where it lies.
    name : str
        One of `hwsim.machines.available()`.
    parameters : mapping
        What the file gives to that machine; paths are already ones from the working folder.
    """

    path: Path
    name: str
    parameters: Mapping[str, Any]

    def make(self, **parameters: Any) -> machines.Machine:
        """Return the machine; parameters given here win over the file's.

        Raises
        ------
        ValueError, TypeError
            If the machine refuses a parameter: the machine's own message, behind file and key where the file gave it.
        """
        try:
            return machines.make(self.name, **{**self.parameters, **parameters})
        except (ValueError, TypeError) as error:
            kind = TypeError if isinstance(error, TypeError) else ValueError
            raise kind(self._located(str(error), parameters)) from error

    def refused(self, parameters: Collection[str]) -> str | None:
        """Return why the machine would refuse what the file gives; parameters named here are others' to give.

        What depends on the number of rows is judged at the file's own `n_rows`, or at 20,000.
        """
        kept = {key: value for key, value in self.parameters.items() if key not in parameters}
        try:
            machines.make(self.name, **{"n_rows": 20_000, **kept})
        except (ValueError, TypeError) as error:
            key = self._key(str(error))
            return None if key is None or key in parameters else self._located(str(error), ())
        return None

    def _key(self, message: str) -> str | None:
        """Return the file's key that a machine's message is about."""
        about = message.split(maxsplit=1)[0]
        if about == "parameters":  # of ... must be among ..., got 'key'
            about = message.rpartition("got ")[2].strip("'")
        if about == "array":  # of ...: words must ...
            about = message.partition(": ")[2].split(maxsplit=1)[0]
        candidates = _GEOMETRY if about == "words" else (about,)
        if f"in {str(self.parameters.get('technology'))!r}" in message:  # what is wrong inside that file
            candidates = ("technology",)
        return next((key for key in candidates if key in self.parameters), None)

    def _located(self, message: str, others: Collection[str]) -> str:
        key = self._key(message)
        if key is not None and key not in others:
            return f"{key} in {str(self.path)!r}: {message}"
        return message


def load_machine(path: str | Path) -> MachineFile:
    """Return what a machine file states.

    Raises
    ------
    ValueError
        If it cannot be read, has no known name, or a key or value that this machine does not take; the message names
        file and key. What the machine makes of its values shows when it is made.
    """
    path = Path(path)
    document = read_toml("machine", path)
    validate(document, "machine", path)
    known = machines.available()
    name = document.pop("name")
    one_of(f"name in {str(path)!r}", name, known, did_you_mean(name, known).removeprefix("; "))
    for key, suffix in (("technology", ".toml"), ("measurement", ".json")):
        given = document.get(key)
        if isinstance(given, str) and given.endswith(suffix):
            document[key] = str(path.parent / given)
    return MachineFile(path=path, name=name, parameters=document)
