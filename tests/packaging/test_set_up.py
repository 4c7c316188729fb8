"""The set-up behind `make serve` and `make test` says in one line what is missing, and does nothing then."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with what the set-up reads, and a folder of programs that come before the real ones."""
    for name in (".ci/set-up", "pyproject.toml", "constraints.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "programs").mkdir()
    return tmp_path


def program(checkout: Path, name: str, script: str) -> Path:
    path = checkout / "programs" / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def set_up(checkout: Path, what: str = "serve", **environment: str) -> subprocess.CompletedProcess[str]:
    path = f"{checkout / 'programs'}:{os.environ['PATH']}"
    return subprocess.run(
        [checkout / ".ci" / "set-up", what],
        env={**os.environ, "PATH": path, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_python_that_is_too_old_is_named(checkout: Path) -> None:
    for name in ("python3.10", "python3.11", "python3.12", "python3", "python"):
        program(
            checkout, name, 'case "$2" in *version_info\\[:2\\]\\)*) echo "is Python 3.9";; *) exit 1;; esac'
        )
    done = set_up(checkout, PYTHON="python3")
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert line.startswith("set-up: python3 ")
    assert "MONAI Label needs Python 3.10, 3.11 or 3.12" in line
    assert not (checkout / ".venv").exists()


def test_a_full_disk_is_named_before_anything_is_installed(checkout: Path) -> None:
    program(checkout, "df", "echo Filesystem; echo /dev/sda 100 90 2097152 90% /")
    done = set_up(checkout, PYTHON=sys.executable)
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert "2 GB free, but the set-up needs 14 GB" in line
    assert not (checkout / ".venv").exists()


def test_a_set_up_that_is_done_takes_no_time_and_says_nothing(checkout: Path) -> None:
    program(checkout, "df", "exit 1")
    key = subprocess.run(
        ["bash", "-c", "{ pwd; cat pyproject.toml constraints.txt .ci/set-up; } | sha256sum | cut -c1-16"],
        cwd=checkout,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    (checkout / ".venv").mkdir()
    (checkout / ".venv" / f"ready-to-serve-{key}").touch()
    done = set_up(checkout)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_second_environment_needs_the_first(checkout: Path) -> None:
    done = set_up(checkout, "core", PYTHON=sys.executable)
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert line.endswith(".venv is missing, which .venv-core takes torch from. Run make test")
    assert not (checkout / ".venv-core").exists()
