from __future__ import annotations

from pathlib import Path

import pytest

from diffcl.studies.folder_listing import FolderListing


def test_of_two_scans_of_a_name_one_counts_and_the_log_names_the_other_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("p1.nii.gz", "p1.nrrd", "p2.nrrd"):
        (tmp_path / name).touch()
    listing = FolderListing()
    for _ in range(2):
        assert listing.scans(tmp_path, {}) == {"p1": ".nii.gz", "p2": ".nrrd"}
    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path.name}/'p1.nrrd': is left out, for p1.nii.gz has the same name. Keep one of them, or rename one"
    ]
    assert listing.scans(tmp_path, {"p1": ".nrrd"})["p1"] == ".nrrd"  # the one that was there before
