"""What pytest leaves out: files of packages that are not installed, whose import would stop every doctest."""

from importlib.util import find_spec

ADAPTERS = {"stable_baselines3": "stable_baselines3", "torchrl": "torchrl", "tianshou": "tianshou"}
collect_ignore = [f"amper/adapters/{name}.py" for name, package in ADAPTERS.items() if find_spec(package) is None]
