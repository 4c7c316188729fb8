from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from diffcl.errors import ScanError
from diffcl.io.fingerprint import fingerprint, state_of


def test_a_series_changes_with_any_of_its_files(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).write_text(name)
    before = fingerprint(tmp_path)
    assert fingerprint(tmp_path) == before
    (tmp_path / "b").write_text("changed")
    assert fingerprint(tmp_path) != before


def test_a_scan_that_vanished_is_named(tmp_path: Path) -> None:
    with pytest.raises(ScanError, match=r"away\.nii\.gz: cannot be read"):
        fingerprint(tmp_path / "away.nii.gz")


def test_studies_that_moved_are_the_same(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    (tmp_path / "one/a.nii.gz").write_bytes(b"scan")
    shutil.copy2(tmp_path / "one/a.nii.gz", tmp_path / "two/a.nii.gz")
    assert state_of(tmp_path / "one/a.nii.gz") == state_of(tmp_path / "two/a.nii.gz")
    os.utime(tmp_path / "two/a.nii.gz", (1, 1))
    assert state_of(tmp_path / "one/a.nii.gz") != state_of(tmp_path / "two/a.nii.gz")
