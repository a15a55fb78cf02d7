"""Agents that learn from any replay, the loop around them; recurrent cells and their real-time learners.

The names below load on first use, so that importing the package needs neither numba nor gymnasium.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__all__ = [
    "DQN",
    "DqnConfig",
    "Evaluation",
    "TrainResult",
    "Updates",
    "agents",
    "ccn",
    "cells",
    "dense",
    "environments",
    "evaluate",
    "fused",
    "learners",
    "prediction",
    "steps",
    "train",
]

if TYPE_CHECKING:
    from rl import agents, ccn, cells, dense, environments, fused, learners, prediction
    from rl.dqn import DQN, DqnConfig
    from rl.evaluation import Evaluation, evaluate
    from rl.interaction import steps
    from rl.training import TrainResult, train
    from rl.updates import Updates

# No module is named as a function it holds: importing it would bind the module over the function.
_HOMES = {
    "DQN": "rl.dqn",
    "DqnConfig": "rl.dqn",
    "Evaluation": "rl.evaluation",
    "TrainResult": "rl.training",
    "Updates": "rl.updates",
    "agents": "rl.agents",
    "ccn": "rl.ccn",
    "cells": "rl.cells",
    "dense": "rl.dense",
    "environments": "rl.environments",
    "evaluate": "rl.evaluation",
    "fused": "rl.fused",
    "learners": "rl.learners",
    "prediction": "rl.prediction",
    "steps": "rl.interaction",
    "train": "rl.training",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'rl' has no attribute {name!r}")
    module = importlib.import_module(_HOMES[name])
    return module if _HOMES[name] == f"rl.{name}" else getattr(module, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
