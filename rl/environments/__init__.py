"""Small tasks with known answers, made as streams of steps.

Example: `steps = rl.environments.TracePatterning(seed=0).stream(100_000)`.
"""

from rl.environments.trace_patterning import Stretch, TracePatterning

__all__ = ["Stretch", "TracePatterning"]
