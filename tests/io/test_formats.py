from __future__ import annotations

from pathlib import Path

import pytest

from diffcl.io import is_scan, scan_name


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("a/case.nii.gz", "case"),
        ("case.nii", "case"),
        ("case.v2.NRRD", "case.v2"),
        ("case.mha", "case"),
        ("case.dcm", "case"),
        ("folder/p07.t1", "p07.t1"),
    ],
)
def test_a_case_is_called_after_its_file_or_folder(path: str, name: str) -> None:
    assert scan_name(Path(path)) == name


def test_scans_are_known_by_suffix_and_folders_by_what_they_hold(tmp_path: Path, series: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("no scan", encoding="utf-8")
    assert is_scan(series)
    assert not is_scan(tmp_path / "notes")
    assert is_scan(Path("case.nii.gz"))
    assert is_scan(Path("case.dcm"))
    assert not is_scan(Path("case.txt"))
