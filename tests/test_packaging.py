"""What is installed: four packages with their data files; and caches where the folder cannot be written."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import amper

ROOT = Path(__file__).parent.parent
PACKAGES = {"amper", "hwsim", "rl", "experiments"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    pytest.importorskip("build")
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT],
        check=True,
        capture_output=True,
    )
    (path,) = folder.glob("*.whl")
    return zipfile.ZipFile(path)


def test_the_wheel_holds_exactly_four_packages_with_their_data_files(wheel):
    names = wheel.namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == PACKAGES
    for package in PACKAGES:
        assert f"{package}/py.typed" in names
        expected = {
            str(p.relative_to(ROOT))
            for p in (ROOT / package).rglob("*")
            if p.suffix in {".py", ".toml", ".json"} and "__pycache__" not in p.parts
        }
        assert expected <= set(names)


def test_the_wheel_says_what_it_is(wheel):
    (metadata,) = (name for name in wheel.namelist() if name.endswith("METADATA"))
    text = wheel.read(metadata).decode()
    assert f"Version: {amper.__version__}" in text
    assert "License-Expression: MIT" in text
    (entry,) = (name for name in wheel.namelist() if name.endswith("entry_points.txt"))
    assert "amper = experiments.cli:main" in wheel.read(entry).decode()


def test_compiled_code_is_cached_for_the_user_where_the_folder_is_read_only(tmp_path):
    site, home = tmp_path / "site", tmp_path / "home"
    home.mkdir()
    shutil.copytree(ROOT / "amper", site / "amper", ignore=shutil.ignore_patterns("__pycache__"))
    # A file where the cache folder would be made stops every user, the administrator too.
    (site / "amper" / "_kernels" / "__pycache__").write_text("")
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith(("NUMBA_", "XDG_"))},
        "HOME": str(home),
        "PYTHONPATH": str(site),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    code = (
        "import amper, amper._kernels.urng as k\n"
        "from amper.urng import make, stream\n"
        "make('lfsr', stream(0, 'x')).random(3)\n"
        f"assert amper.__file__.startswith({str(site)!r})\n"
        "print(k.lfsr_numbers.stats.cache_path)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith(str(home))
    assert list(home.rglob("*.nbi"))
