"""A library that fails in the middle of a scan."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from diffcl.io import read_scan


def fail_on(name: str, kind: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the reading of the file of that name raise an exception."""

    def fail(path: Path, **options: Any) -> Any:
        if path.name == name:
            raise kind("inside a filter")
        return read_scan(path, **options)

    monkeypatch.setattr("diffcl.data.sequences.read_scan", fail)
