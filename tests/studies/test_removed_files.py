"""What is removed from the studies or replaced in them is kept where nobody else has it."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from synthetic import ORGAN, SCANS, make_label, make_scan

from diffcl.errors import FullDiskError
from diffcl.geometry import voxels
from diffcl.io import read_label, write_image
from diffcl.studies.folder import FolderStudies
from diffcl.studies.removed_files import RemovedFiles


@pytest.fixture
def store(studies: Path) -> FolderStudies:
    return FolderStudies(studies, lambda: [ORGAN])


def kept(studies: Path, name: str = "oblique") -> list[str]:
    home = studies / "removed" / name
    return sorted(path.name for path in home.iterdir()) if home.is_dir() else []


def test_a_removed_scan_comes_back_by_hand_with_its_labels(
    store: FolderStudies, studies: Path, label_file: Path
) -> None:
    before = (studies / "oblique.nii.gz").read_bytes()
    store.save_label("oblique", label_file, "final", {})
    store.remove_image("oblique")
    assert "oblique" not in store.scans()
    assert kept(studies) == ["1.nii.gz"]
    (studies / "removed/oblique/1.nii.gz").rename(studies / "oblique.nii.gz")
    assert store.scans() == SCANS
    assert (studies / "oblique.nii.gz").read_bytes() == before
    store.restore_label("oblique", 1)
    assert store.labelled() == ["oblique"]


def test_a_scan_that_is_replaced_is_kept_and_the_same_one_is_not(
    store: FolderStudies, studies: Path, tmp_path: Path
) -> None:
    before = (studies / "oblique.nii.gz").read_bytes()
    shutil.copy(studies / "oblique.nii.gz", tmp_path / "same.nii.gz")
    store.add_image("oblique", tmp_path / "same.nii.gz", {})
    assert kept(studies) == []
    sitk.WriteImage(make_scan("flipped"), tmp_path / "other.nrrd")
    store.add_image("oblique", tmp_path / "other.nrrd", {})
    assert store.image_path("oblique").name == "oblique.nrrd"
    assert not (studies / "oblique.nii.gz").exists()
    assert (studies / "removed/oblique/1.nii.gz").read_bytes() == before
    store.remove_image("oblique")
    assert kept(studies) == ["1.nii.gz", "2.nrrd"]


def test_a_label_that_is_no_version_is_kept_and_a_version_is_not(
    store: FolderStudies, studies: Path, label_file: Path, tmp_path: Path
) -> None:
    write_image(read_label(label_file), studies / "labels/final/oblique.nrrd")
    by_hand = (studies / "labels/final/oblique.nrrd").read_bytes()
    assert store.labelled() == ["oblique"]
    for number in (0, 1):
        label = make_label("oblique")
        label[0, 0, 0] = number
        sitk.WriteImage(label, tmp_path / "label.nii.gz")
        store.save_label("oblique", tmp_path / "label.nii.gz", "final", {})
        store.save_label("oblique", tmp_path / "label.nii.gz", "version_1", {})
    assert kept(studies) == ["1.final.nrrd", "2.version_1.nii.gz"]
    assert (studies / "removed/oblique/1.final.nrrd").read_bytes() == by_hand
    store.remove_label("oblique", "final")
    assert len(kept(studies)) == 2
    write_image(read_label(label_file), studies / "labels/final/oblique.nii.gz")
    store.remove_image("oblique")
    assert kept(studies)[2:] == ["3.final.nii.gz", "4.version_1.nii.gz", "5.nii.gz"]


def test_a_link_stays_a_link_and_what_it_leads_to_stays(
    store: FolderStudies, studies: Path, tmp_path: Path
) -> None:
    target = tmp_path / "elsewhere.nii.gz"
    shutil.move(studies / "oblique.nii.gz", target)
    (studies / "oblique.nii.gz").symlink_to(Path("..") / target.relative_to(studies.parent))
    store.remove_image("oblique")
    found = studies / "removed/oblique/1.nii.gz"
    assert found.is_symlink()
    np.testing.assert_array_equal(voxels(sitk.ReadImage(found)), voxels(make_scan("oblique")))


def test_a_copy_is_kept_where_there_are_no_hard_links(
    store: FolderStudies, studies: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (studies / "oblique.nii.gz").read_bytes()

    def link(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("os.link", link)
    store.remove_image("oblique")
    assert (studies / "removed/oblique/1.nii.gz").read_bytes() == before


def test_more_than_its_bound_is_refused_and_nothing_of_it_lost(studies: Path) -> None:
    file = studies / "oblique.nii.gz"
    removed = RemovedFiles(studies / "removed", most_bytes=file.stat().st_size + 8192)
    removed.keep(file, "oblique", ".nii.gz")
    with pytest.raises(FullDiskError, match="removed files"):
        removed.keep(studies / "flipped.nii.gz", "flipped", ".nii.gz")
    assert kept(studies) == ["1.nii.gz"]
