"""Links in a studies folder: a scan may lie elsewhere, a label may not, and nothing that lies elsewhere is changed."""

from __future__ import annotations

import logging
import zipfile
from pathlib import Path

import pytest
import SimpleITK as sitk
from served import label_file, studies
from synthetic import ORGAN, make_label, make_scan

from diffcl.errors import NotFoundError
from diffcl.geometry import voxels
from diffcl.io import read_label, read_scan
from diffcl.recipe import ImageSequence
from diffcl.studies.folder import FolderStudies

__all__ = ["label_file", "studies"]


@pytest.fixture
def drive(tmp_path: Path) -> Path:
    """A place outside the studies, where a scan lies under a name that says nothing of its format."""
    folder = tmp_path / "archive drive"
    folder.mkdir()
    sitk.WriteImage(make_scan("oblique"), folder / "a.nii.gz")
    (folder / "a.nii.gz").rename(folder / "IM0001")
    return folder


@pytest.fixture
def store(studies: Path, drive: Path) -> FolderStudies:
    """Studies in which the scan `p07` is a link."""
    (studies / "p07.nii.gz").symlink_to(drive / "IM0001")
    return FolderStudies(studies, lambda: [ORGAN])


def test_a_linked_scan_is_a_scan_under_the_name_of_the_link(
    store: FolderStudies, studies: Path, label_file: Path
) -> None:
    assert store.image_path("p07") == studies / "p07.nii.gz"
    scan = read_scan(store.image_path("p07"))
    assert scan.name == "p07"
    assert (voxels(scan.image) == voxels(make_scan("oblique"))).all()
    assert store.save_label("p07", label_file, "final", {})["version"] == 1
    with zipfile.ZipFile(store.export()) as packed:
        assert {"image/p07.nii.gz", "label/p07.nii.gz"} <= set(packed.namelist())


def test_a_linked_scan_that_is_replaced_or_removed_stays_where_it_lies(
    store: FolderStudies, studies: Path, drive: Path
) -> None:
    before = (drive / "IM0001").read_bytes()
    sitk.WriteImage(make_scan("straight"), studies.parent / "p07.nii.gz")
    store.add_image("p07", studies.parent / "p07.nii.gz", {})
    assert not (studies / "p07.nii.gz").is_symlink()
    (studies / "p08.nii.gz").symlink_to(drive / "IM0001")
    store.remove_image("p08")
    assert not (studies / "p08.nii.gz").is_symlink()
    assert (drive / "IM0001").read_bytes() == before
    assert [path.name for path in drive.iterdir()] == ["IM0001"]


def test_linked_images_of_one_case_belong_together_by_the_names_of_the_links(
    studies: Path, drive: Path
) -> None:
    for number in range(2):
        (studies / f"p09_000{number}.nii.gz").symlink_to(drive / "IM0001")
    sequences = (ImageSequence(name="T1"), ImageSequence(name="T2"))
    store = FolderStudies(studies, lambda: [ORGAN.model_copy(update={"sequences": sequences})])
    assert "p09" in store.scans()
    assert store.image_path("p09") == studies / "p09_0000.nii.gz"


def test_a_link_among_the_labels_is_neither_read_nor_written_through(
    store: FolderStudies, studies: Path, drive: Path, label_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    final = studies / "labels" / "final"
    secret = drive / "secret.nii.gz"
    sitk.WriteImage(make_label("oblique"), secret)
    before = secret.read_bytes()
    (final / "p07.nii.gz").symlink_to(secret)
    with caplog.at_level(logging.WARNING):
        assert store.label_path("p07", "final") is None
        store.refresh()
    assert caplog.text.count("final/'p07.nii.gz': is left out, for it is a link. Copy the label") == 1
    assert "p07" not in store.labelled()
    with pytest.raises(NotFoundError):
        store.remove_label("p07", "final")
    assert (final / "p07.nii.gz").is_symlink()
    sitk.WriteImage(make_label("oblique") > 1, label_file)
    store.save_label("p07", label_file, "final", {})
    assert not (final / "p07.nii.gz").is_symlink()
    store.remove_image("p07")
    assert secret.read_bytes() == before


def test_a_link_among_the_versions_or_proposals_is_none_of_them(
    store: FolderStudies, studies: Path, drive: Path, label_file: Path
) -> None:
    secret = drive / "secret.nii.gz"
    sitk.WriteImage(make_label("oblique"), secret)
    before = secret.read_bytes()
    for _ in range(2):
        store.save_label("p07", label_file, "final", {})
    version = studies / "history" / "p07" / "1.nii.gz"
    version.unlink()
    version.symlink_to(secret)
    with pytest.raises(Exception, match="has no version 1"):
        store.label_path("p07", "version_1")
    (studies / "proposals").mkdir()
    (studies / "proposals" / "p07.nii.gz").symlink_to(secret)
    assert store.proposed("p07").label is None
    store.keep_proposal("p07", read_label(label_file), {"model": "organ"})
    assert store.proposed("p07").label is not None
    assert secret.read_bytes() == before


def test_labels_in_a_folder_that_is_a_link_are_kept_there(
    studies: Path, drive: Path, label_file: Path
) -> None:
    (drive / "labels").mkdir()
    (studies / "labels").symlink_to(drive / "labels")
    store = FolderStudies(studies, lambda: [ORGAN])
    store.save_label("oblique", label_file, "final", {})
    assert (drive / "labels" / "final" / "oblique.nii.gz").is_file()
    assert store.label_path("oblique", "final") is not None
