"""Names on a command line to objects of the packages: the one place that joins their registries."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class MachineSpec:
    """A machine by name and options, as `NAME[:key=value,...]` spells it.

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
            If an option is not `key=value`.
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
        return cls(name, tuple(options))

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
