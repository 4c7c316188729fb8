"""The wheel carries what a server needs, nothing else, and works without a checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    build = [
        sys.executable,
        "-m",
        "build",
        "--wheel",
        "--no-isolation",
        "--outdir",
        str(folder),
        str(CHECKOUT),
    ]
    subprocess.run(build, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with nothing but the unpacked wheel."""
    folder = tmp_path_factory.mktemp("installed")
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target"]
    subprocess.run([*install, str(folder), str(wheel)], check=True, capture_output=True)
    return folder


def run_installed(installed: Path, *arguments: str, cwd: Path) -> str:
    """Output of Python with the unpacked wheel before everything else."""
    environment = {**os.environ, "PYTHONPATH": str(installed), "COLUMNS": "120"}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def files_under(folder: Path) -> set[str]:
    """Files of the checkout that git does not ignore, relative to `folder`."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    output = subprocess.run(listed, cwd=folder, check=True, capture_output=True, text=True).stdout
    return {name for name in output.split("\0") if name and (folder / name).is_file()}


def test_the_wheel_carries_the_library_the_app_and_the_models_and_nothing_else(names: set[str]) -> None:
    trees = {"diffcl": "diffcl", "apps/diffcl": "diffcl/shipped/app", "models": "diffcl/shipped/models"}
    wanted = {
        f"{target}/{name}" for source, target in trees.items() for name in files_under(CHECKOUT / source)
    }
    assert {name for name in names if ".dist-info/" not in name} == wanted


def test_the_wheel_is_small_and_has_one_version_of_every_model(wheel: Path, names: set[str]) -> None:
    assert wheel.stat().st_size < 40e6
    versions = [name for name in names if name.endswith("/model.json")]
    assert len(versions) == len({name.split("/")[-3] for name in versions}) == 3


def test_the_wheel_says_under_which_license_and_for_which_python(wheel: Path, names: set[str]) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (metadata,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        lines = archive.read(metadata).decode().splitlines()
    assert "License-Expression: Apache-2.0" in lines
    assert "Requires-Python: >=3.10" in lines


def test_an_installed_wheel_finds_its_own_app_models_and_recipes(installed: Path, tmp_path: Path) -> None:
    script = (
        "from diffcl.recipe import load_recipe\n"
        "from diffcl.resources import app_folder, models_folder\n"
        "print(app_folder(), models_folder(), load_recipe('hippocampus').name, sep='\\n')"
    )
    app, models, recipe = run_installed(installed, "-c", script, cwd=tmp_path).splitlines()
    assert app == str(installed / "diffcl/shipped/app")
    assert models == str(installed / "diffcl/shipped/models")
    assert recipe == "hippocampus"


@pytest.mark.parametrize("command", [[], ["serve"]], ids=["diffcl", "serve"])
def test_an_installed_wheel_explains_its_commands(
    command: list[str], installed: Path, tmp_path: Path
) -> None:
    help_text = run_installed(installed, "-m", "diffcl.cli.main", *command, "--help", cwd=tmp_path)
    assert "Usage:" in help_text
