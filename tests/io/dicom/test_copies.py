from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import gdcm
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from dicom_forms import compress
from pydicom.dataset import Dataset

from diffcl.errors import ScanError
from diffcl.io import read_label, read_scan
from diffcl.io.dicom.seg_write import write_seg
from diffcl.io.dicom.sr import write_sr
from diffcl.recipe import load_recipe

Edit = Callable[[Path, Callable[[Dataset, int], None]], None]
LABELS = load_recipe("hippocampus").labels
MODEL = {"model_name": "model", "model_version": 1}


def share_in_pairs(folder: Path) -> None:
    """Give each slice with an even number the identifier of the one before."""
    files = sorted(folder.glob("*.dcm"))
    for one, other in zip(files[::2], files[1::2], strict=False):
        content = pydicom.dcmread(other)
        content.SOPInstanceUID = content.file_meta.MediaStorageSOPInstanceUID = pydicom.dcmread(
            one
        ).SOPInstanceUID
        content.save_as(other)


def test_different_slices_with_one_identifier_are_all_used(
    image: sitk.Image, label: sitk.Image, series: Path, tmp_path: Path, dciodvfy: Callable[[Path], str]
) -> None:
    share_in_pairs(series)
    scan = read_scan(series)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(scan.image), sitk.GetArrayFromImage(image))
    assert scan.remarks == (
        "6 of 7 images share their SOPInstanceUID with another; all were used, and a DICOM segmentation refers to "
        "these by their position alone",
    )
    assert scan.series is not None
    seg, report = tmp_path / "seg.dcm", tmp_path / "report.dcm"
    write_seg(label, scan.series, LABELS, seg, **MODEL)
    for reference in (None, scan):
        got = read_label(seg, reference=reference)
        np.testing.assert_array_equal(sitk.GetArrayFromImage(got), sitk.GetArrayFromImage(label))
    content = pydicom.dcmread(seg)
    referenced = [
        one.ReferencedSOPInstanceUID for one in content.ReferencedSeriesSequence[0].ReferencedInstanceSequence
    ]
    uids = [header.SOPInstanceUID for header in scan.series.headers]
    assert referenced == list(dict.fromkeys(uids))
    sources = {
        one.ReferencedSOPInstanceUID
        for group in content.PerFrameFunctionalGroupsSequence
        for derivation in group.DerivationImageSequence
        for one in derivation.SourceImageSequence
    }
    assert sources == {uids[-1]}  # the only one that nobody can take for another
    volumes = {one.name: 1.0 for one in LABELS}
    write_sr(volumes, 0.1, seg, scan.series, LABELS, report, **MODEL)
    assert dciodvfy(seg) == dciodvfy(report) == ""


@pytest.mark.parametrize("change", ["byte for byte", "another header", "compressed"])
def test_copies_are_left_out(image: sitk.Image, series: Path, tmp_path: Path, change: str) -> None:
    shutil.copytree(series, tmp_path / "copies")
    if change == "another header":
        for file in (tmp_path / "copies").iterdir():
            content = pydicom.dcmread(file)
            content.ContentTime = "235959"
            content.save_as(file)
    if change == "compressed":
        compress(tmp_path / "copies", gdcm.TransferSyntax.JPEGLSLossless)
    shutil.move(tmp_path / "copies", series / "copies")
    scan = read_scan(series)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(scan.image), sitk.GetArrayFromImage(image))
    assert scan.remarks == ("7 of 14 files are copies of others and were left out",)


def test_other_pixels_at_the_same_place_are_no_copy(series: Path, tmp_path: Path, edit: Edit) -> None:
    shutil.copytree(series, tmp_path / "later")
    edit(tmp_path / "later", lambda one, _: setattr(one, "PixelData", one.PixelData[::-1]))
    shutil.move(tmp_path / "later", series / "later")
    with pytest.raises(ScanError, match="2 images at every position"):
        read_scan(series)
