"""What README shows is executed."""

import re
import shlex
from pathlib import Path

import pytest

from amper import samplers
from experiments import cli

README = Path(__file__).parent.parent / "README.md"
TEXT = README.read_text()
PYTHON = re.findall(r"```python\n(.*?)```", TEXT, flags=re.S)
BASH = [line for block in re.findall(r"```bash\n(.*?)```", TEXT, flags=re.S) for line in block.splitlines()]
COMMANDS = [line for line in BASH if line.startswith("amper ")]
LONG = ("amper compare",)


def test_the_quick_start_is_the_two_commands_that_ci_runs():
    assert "pip install . && amper report" in BASH
    assert 'pip install -e ".[test]" && pytest' in BASH
    assert not [line for line in BASH if re.search(r"pip install amper\b", line)]


def packages_of(code):
    return {m.split(".")[0] for m in re.findall(r"^(?:from|import) (\w+)", code, flags=re.M)} - {"amper", "hwsim", "rl"}


@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"
)  # third parties'
@pytest.mark.parametrize("code", PYTHON, ids=[f"block {i}" for i in range(len(PYTHON))])
def test_the_python_shown_runs(code, tmp_path, monkeypatch, capsys):
    for package in packages_of(code):
        pytest.importorskip(package)
    if "amper.adapters" in code:
        pytest.importorskip(re.search(r"amper\.adapters\.(\w+)", code)[1])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(samplers, "_REGISTRY", dict(samplers._REGISTRY))
    exec(compile(code, "README.md", "exec"), {"__name__": "readme"})


def test_every_command_shown_is_understood():
    assert len(COMMANDS) >= 6
    for line in COMMANDS:
        cli.build_parser().parse_args(shlex.split(line)[1:])


def test_the_short_commands_shown_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for line in COMMANDS:
        if not line.startswith(LONG):
            assert cli.main(shlex.split(line)[1:]) == 0, line
            assert capsys.readouterr().out


@pytest.mark.slow
def test_the_long_commands_shown_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for line in COMMANDS:
        if line.startswith(LONG):
            assert cli.main(shlex.split(line)[1:]) == 0, line
            assert capsys.readouterr().out


def test_the_figure_and_the_files_named_exist():
    for path in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", TEXT, flags=re.S):
        assert (README.parent / path).exists(), path
    for name in re.findall(r"`([a-z_]+\.py)`", TEXT):
        assert list(README.parent.glob(f"*/**/{name}")), name


def test_no_line_names_a_machine_of_ours():
    assert not re.search(r"/(?:home|root|work|Users)/", TEXT)
