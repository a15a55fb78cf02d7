"""Who may import whom, and what a command may not import."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("amper", "hwsim", "rl", "experiments")
ALLOWED = {"amper": set(), "hwsim": {"amper"}, "rl": {"amper"}, "experiments": {"amper", "hwsim", "rl"}}

ONLY_IN = {
    "matplotlib": lambda f: f.startswith("experiments/plots/"),
    "simpy": lambda f: f.startswith("hwsim/"),
    "numba": lambda f: "/_kernels/" in f,
    "gymnasium": lambda f: f.startswith(("rl/", "experiments/")),
    "torch": lambda f: f.startswith(("amper/adapters/", "hwsim/calibrate")),
    "stable_baselines3": lambda f: f == "amper/adapters/stable_baselines3.py",
    "torchrl": lambda f: f == "amper/adapters/torchrl.py" or f.startswith("hwsim/calibrate"),
    "tensordict": lambda f: f == "amper/adapters/torchrl.py",
    "tianshou": lambda f: f == "amper/adapters/tianshou.py",
    "rich": lambda f: f == "experiments/cli.py",
    "vcd": lambda f: f == "hwsim/export.py",
}
FILES = [p for package in PACKAGES for p in sorted((ROOT / package).rglob("*.py"))]


def imports_of(source):
    """Yield (module, imported inside a TYPE_CHECKING block or not) of every import statement."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports must be absolute"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_every_package_is_read():
    assert {p.relative_to(ROOT).parts[0] for p in FILES} == set(PACKAGES)
    assert len(FILES) > 40


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_file_imports_only_what_its_package_may(path):
    name = str(path.relative_to(ROOT))
    package = path.relative_to(ROOT).parts[0]
    for module in imports_of(path.read_text()):
        top = module.split(".")[0]
        if top in PACKAGES and top != package:
            assert top in ALLOWED[package], f"{name} must not import {module}"
        if top in ONLY_IN:
            assert ONLY_IN[top](name), f"{name} must not import {module}"


def test_hwsim_sees_traces_and_never_samplers():
    for path in (p for p in FILES if p.is_relative_to(ROOT / "hwsim")):
        for module in imports_of(path.read_text()):
            if module.split(".")[0] == "amper":
                assert module.startswith("amper.trace"), f"{path.name} must not import {module}"


def test_rl_uses_public_names_of_amper_only():
    for path in (p for p in FILES if p.is_relative_to(ROOT / "rl")):
        for module in imports_of(path.read_text()):
            if module.split(".")[0] == "amper":
                assert (
                    module.startswith(("amper.protocols", "amper.schedules", "amper.ReplayBuffer")) or module == "amper"
                ), module


def test_a_kernel_calls_no_kernel_of_another_file():
    for path in (p for p in FILES if "_kernels" in p.parts):
        ours = [m for m in imports_of(path.read_text()) if m.split(".")[0] in PACKAGES]
        # But these: a test in test_rl_fused.py has every file that imports them hold their CRC.
        ours = [m for m in ours if not m.startswith(("rl._kernels.lanes", "rl._kernels.updating"))]
        assert not ours, f"{path.name} must not import {ours}: numba's cache would keep stale code"


def test_modules_of_a_package_import_each_other_without_a_cycle():
    graph = {}
    for path in FILES:
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        tree = ast.parse(path.read_text())
        found = set()
        for node in tree.body:  # imports inside functions and under TYPE_CHECKING are not executed at import
            if isinstance(node, ast.ImportFrom):
                found |= {node.module, *(f"{node.module}.{a.name}" for a in node.names)}
            elif isinstance(node, ast.Import):
                found |= {a.name for a in node.names}
        graph[name] = found
    graph = {name: {m for m in found if m in graph and m != name} for name, found in graph.items()}
    done, active = set(), []

    def visit(name):
        assert name not in active, " -> ".join([*active[active.index(name) :], name])
        if name in done:
            return
        active.append(name)
        for other in sorted(graph[name]):
            # A package's __init__ is imported before its modules whatever they import.
            if not name.startswith(f"{other}."):
                visit(other)
        active.pop()
        done.add(name)

    for name in graph:
        visit(name)


def test_a_planted_arrow_is_caught(tmp_path):
    assert "rl" in {m.split(".")[0] for m in imports_of("def f():\n    from rl.dqn import DQN\n")}
    assert "rl" not in ALLOWED["hwsim"]


HEAVY = ("numba", "gymnasium", "matplotlib", "torch")


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["report", "--help"]])
def test_help_imports_nothing_heavy(arguments):
    code = (
        "import sys, json\n"
        "from experiments.cli import main\n"
        "try:\n    main(sys.argv[1:])\n"
        "except SystemExit as end:\n    assert not end.code\n"
        f"print(json.dumps([m for m in {HEAVY!r} if m in sys.modules]))\n"
    )
    ran = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True, cwd=ROOT)
    assert json.loads(ran.stdout.splitlines()[-1]) == []


#: Files that may be longer, and why: a kernel may call kernels of its own file only, and every call costs .5 us.
LONGER = {"amper/_kernels/sample.py": 640}


def test_no_source_file_grows_beyond_reading():
    lengths = {str(p.relative_to(ROOT)): len(p.read_text().splitlines()) for p in FILES}
    assert not {name: n for name, n in lengths.items() if n > LONGER.get(name, 430)}
