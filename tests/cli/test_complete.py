"""`diffcl complete`: a label that is begun, with a model and without, and what is said of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from synthetic import make_scan, publish_untrained

from diffcl.cli.main import run
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
