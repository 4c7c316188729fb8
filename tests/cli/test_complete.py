"""`diffcl complete`: a label that is begun, with a model and without, and what is said of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from synthetic import make_scan, publish_untrained

import diffcl
from diffcl.cli.main import run
from diffcl.errors import UsageError
from diffcl.geometry import Geometry, voxels
from diffcl.models import ModelRegistry


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    """A scan, beside a label with two drawn slices."""
    image = make_scan("oblique")
    label = np.zeros(image.GetSize(), np.uint8)
    label[4:12, 5:15, [3, 8]] = 1
    sitk.WriteImage(image, tmp_path / "scan.nii.gz")
    sitk.WriteImage(Geometry.of(image).place(label), tmp_path / "drawn.nii.gz")
    return tmp_path / "scan.nii.gz"


@pytest.mark.parametrize("with_model", [True, False], ids=["with a model", "without"])
def test_the_drawn_slices_are_kept_and_the_rest_is_found(
    scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], with_model: bool
) -> None:
    words = [
        "complete",
        str(scan),
        "--drawn",
        str(tmp_path / "drawn.nii.gz"),
        "--out",
        str(tmp_path / "out.nrrd"),
    ]
    if with_model:
        store = ModelRegistry(tmp_path / "store")
        publish_untrained(store)
        words += ["--model", "organ", "--store", str(store.folders[0])]
    assert run([*words, "--plane", "axial"]) == 0
    said = capsys.readouterr()
    assert "2 axial slices (3, 8), background included." in said.out
    assert ("has not learned to complete" in said.err) == with_model
    drawn, found = (voxels(sitk.ReadImage(tmp_path / name)) for name in ("drawn.nii.gz", "out.nrrd"))
    assert (found[..., [3, 8]] == drawn[..., [3, 8]]).all()
    if not with_model:
        assert (found[4:12, 5:15, 4:8] == 1).all()


def test_an_empty_label_is_refused_and_nothing_is_written(
    scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = sitk.ReadImage(tmp_path / "drawn.nii.gz") * 0
    sitk.WriteImage(empty, tmp_path / "empty.nii.gz")
    words = [
        "complete",
        str(scan),
        "--drawn",
        str(tmp_path / "empty.nii.gz"),
        "--out",
        str(tmp_path / "out.nii.gz"),
    ]
    assert run(words) == 1
    assert "empty.nii.gz: nothing is drawn. Draw in some slices, then ask again" in capsys.readouterr().err
    assert not (tmp_path / "out.nii.gz").exists()


@pytest.mark.parametrize(
    ("out", "uncertainty", "said"),
    [
        ("scan.nii.gz", None, "scan.nii.gz: is a scan itself. Write the result elsewhere"),
        ("link.nii.gz", None, "link.nii.gz: is a scan itself"),
        ("drawn.nii.gz", None, "drawn.nii.gz: is a label that is read. Write the result elsewhere"),
        ("out.nii.gz", "scan.nii.gz", "scan.nii.gz: is a scan itself"),
        ("out.nii.gz", "drawn.nii.gz", "drawn.nii.gz: is a label that is read"),
        ("out.nii.gz", "out.nii.gz", "out.nii.gz: would be written twice"),
        ("folder", "folder", "scan.nii.gz: would be written twice"),
        (".", None, "scan.nii.gz: is a scan itself"),
        ("out.dcm", None, "out.dcm: a finished label is not written as DICOM. Name a folder, or a file"),
        ("out.txt", None, "out.txt: cannot hold the label"),
        ("out.nii.gz", "out.txt", "out.txt: cannot hold the uncertainty"),
        ("out.nii.gz", "out.dcm", "out.dcm: cannot hold the uncertainty"),
    ],
)
def test_no_file_that_is_read_is_replaced_and_what_cannot_be_written_is_refused_first(
    out: str,
    uncertainty: str | None,
    said: str,
    scan: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "link.nii.gz").symlink_to(scan)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    words = ["complete", str(scan), "--drawn", str(tmp_path / "drawn.nii.gz"), "--out", str(tmp_path / out)]
    with monkeypatch.context() as patched:
        patched.setattr("diffcl.api.complete", lambda *_, **__: pytest.fail("it was computed"))
        assert (
            run(words + ([] if uncertainty is None else ["--uncertainty", str(tmp_path / uncertainty)])) == 2
        )
    assert said in " ".join(capsys.readouterr().err.split())
    found = diffcl.complete(scan, tmp_path / "drawn.nii.gz", start=tmp_path / "drawn.nii.gz")
    with pytest.raises(UsageError, match=said.split(". ")[0].split(": ")[1]):
        found.save(tmp_path / out, None if uncertainty is None else tmp_path / uncertainty)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_folder_holds_the_label_by_the_name_of_its_scan(
    scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        "complete",
        str(scan),
        "--drawn",
        str(tmp_path / "drawn.nii.gz"),
        "--out",
        str(tmp_path / "labels"),
    ]
    assert run([*words, "--uncertainty", str(tmp_path / "doubts")]) == 0
    assert (tmp_path / "labels" / "scan.nii.gz").exists()
    assert (tmp_path / "doubts" / "scan.nii.gz").exists()
    assert "labels/scan.nii.gz" in "".join(capsys.readouterr().out.split())
