"""What pytest leaves out: files of packages that are not installed, whose import would stop every doctest."""

from importlib.util import find_spec

NEEDS = {
    "amper/adapters/stable_baselines3.py": "stable_baselines3",
    "amper/adapters/torchrl.py": "torchrl",
    "amper/adapters/tianshou.py": "tianshou",
    "hwsim/calibrate_trees.py": "torch",
    "tests/examples/cleanrl_dqn.py": "torch",
}
collect_ignore = [path for path, package in NEEDS.items() if find_spec(package) is None]
