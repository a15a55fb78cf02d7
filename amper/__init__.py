"""Experience replay with swappable samplers: uniform, exact proportional, and associative search.

The names below load on first use, so that importing the package stays free of compiled code.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["Linear", "ReplayBuffer", "Sequences", "Trace", "__version__"]

if TYPE_CHECKING:
    from amper.replay import ReplayBuffer
    from amper.schedules import Linear
    from amper.sequences import Sequences
    from amper.trace import Trace

_HOMES = {
    "Linear": "amper.schedules",
    "ReplayBuffer": "amper.replay",
    "Sequences": "amper.sequences",
    "Trace": "amper.trace",
    "samplers": "amper.samplers",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'amper' has no attribute {name!r}")
    module = importlib.import_module(_HOMES[name])
    return module if name == "samplers" else getattr(module, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
