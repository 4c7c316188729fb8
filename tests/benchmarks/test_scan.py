"""The benchmark of the scan also says what there is to say where our peak cannot be seen."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def scan(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import scan

    yield scan
    del sys.modules["scan"]


def test_a_peak_of_nothing_has_no_ratio(
    scan: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["scan.py", "--json"])
    monkeypatch.setattr(scan, "seconds", lambda names, *_, **__: dict.fromkeys(names, 1.0))
    monkeypatch.setattr(scan, "peak_bytes", lambda name, *_, **__: 0 if name == "ours" else 4096)
    scan.main()
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["memory_ratio_4096"] == 0.0
    monkeypatch.setattr(scan, "peak_bytes", lambda *_, **__: 0)
    scan.main()
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["memory_ratio_4096"] is None
