"""Names on a command line to objects of the packages: the one place that joins their registries."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class MachineSpec:
    """A machine by name and options, as `NAME[:key=value,...]` spells it.

    A machine file, `FILE.toml[:key=value,...]`, is spelled out when it is read: rows keep what was simulated, whatever
    becomes of the file.

    Examples
    --------
    >>> spec = MachineSpec.parse("sumtree-gpu:gpu=a100,quality=fused")
    >>> spec.name, dict(spec.options), str(spec)
    ('sumtree-gpu', {'gpu': 'a100', 'quality': 'fused'}, 'sumtree-gpu:gpu=a100,quality=fused')
    """

    name: str
    options: tuple[tuple[str, Any], ...] = ()

    @classmethod
    def parse(cls, text: str) -> MachineSpec:
        """Return the machine that `text` names.

        Raises
        ------
        ValueError
            If an option is not `key=value`, or a machine file is not valid; the message names file and key.
        """
        name, _, rest = text.partition(":")
        options = []
        for part in rest.split(",") if rest else []:
            key, equals, value = part.partition("=")
            if not equals or not key:
                raise ValueError(f"machine must be NAME[:key=value,...], got {text!r}")
            if key == "n_rows":
                raise ValueError(f"machine must leave its size to n, got {text!r}")
            options.append((key, parse_value(value)))
        return cls._of_file(name, options) if name.endswith(".toml") else cls(name, tuple(options))

    @classmethod
    def _of_file(cls, path: str, options: list[tuple[str, Any]]) -> MachineSpec:
        """Return the machine of a file, options after its parameters; its size is left to n."""
        from hwsim.configuration import load_machine

        file, given = load_machine(path), dict(options)
        refused = file.refused(given)
        if refused is not None:
            raise ValueError(refused)
        for key, value in file.parameters.items():
            if isinstance(value, str) and ("," in value or parse_value(value) != value):
                raise ValueError(f"{key} in {path!r} must be a text that a command line can hold, got {value!r}")
        kept = {key: value for key, value in file.parameters.items() if key != "n_rows"}
        return cls(file.name, tuple({**kept, **given}.items()))

    def __str__(self) -> str:
        if not self.options:
            return self.name
        return f"{self.name}:{','.join(f'{key}={_spell(value)}' for key, value in self.options)}"

    @property
    def sampler(self) -> str:
        """The sampler whose searches the machine serves."""
        if self.name == "rejection-onchip":
            return "amper-fr"
        return self.name if self.name.startswith("amper-") else "per"

    def make(self, n_rows: int) -> Any:
        """Return the machine with `n_rows` rows."""
        import hwsim

        return hwsim.machine(self.name, n_rows=n_rows, **dict(self.options))


def _spell(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def parse_value(text: str) -> Any:
    """Return a number, truth value or null as JSON spells it, else the text itself.

    Examples
    --------
    >>> parse_value("8"), parse_value("2.5"), parse_value("true"), parse_value("csb")
    (8, 2.5, True, 'csb')
    """
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text
