"""What every Python process that a test starts does first."""

from __future__ import annotations

from pathlib import Path

import pytest

import diffcl

FULL_DISK = (
    "import resource, signal\nsignal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
    "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
)
"""Lets a process write files of 1000 bytes at most, as if the disk were full then."""


def let_children_begin_with(program: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have Python processes that are started from now on run a program before anything else.

    Args:
        program: What they run.
        folder: Where it is kept.
        monkeypatch: Ends it with the test.
    """
    (folder / "sitecustomize.py").write_text(program)
    monkeypatch.setenv("PYTHONPATH", f"{folder}:{Path(diffcl.__file__).parents[1]}")
