"""A library that fails in the middle of a scan."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


def fail_on(name: str, kind: type[Exception], readers: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the `read_scan` of a module raise an exception at the file of that name."""
    read = readers.read_scan

    def fail(path: Path) -> Any:
        if path.name == name:
            raise kind("inside a filter")
        return read(path)

    monkeypatch.setattr(readers, "read_scan", fail)
