"""Files read slice by slice are what they are when they are read as a whole."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from numpy.typing import NDArray

from diffcl.errors import ScanError
from diffcl.geometry import Geometry, same_grid
from diffcl.io import read_label, read_scan
from diffcl.io.read import read_scans
from diffcl.io.slices import Slices, label_slices, scan_slices
from diffcl.phantom import phantom_grid

GRID = phantom_grid(orientation="ASR", rotation=(8.0, -12.0, 10.0), spacing=(3.3, 2.9, 4.1))
SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".mha")


def scan(kind: type = np.int16) -> sitk.Image:
    return GRID.place(np.random.default_rng(0).normal(100, 30, GRID.size).astype(kind))


def written(image: sitk.Image, path: Path) -> Path:
    sitk.WriteImage(image, str(path))
    return path


def whole(slices: Slices) -> NDArray[Any]:
    return np.stack(list(slices.arrays))


@pytest.mark.parametrize("kind", [np.int16, np.uint8, np.float64], ids=["int16", "uint8", "float64"])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_slices_of_a_scan_are_the_scan(tmp_path: Path, suffix: str, kind: type) -> None:
    path = written(scan(kind), tmp_path / f"scan{suffix}")
    found, want = scan_slices(path), read_scan(path).image
    assert same_grid(found.grid, Geometry.of(want))
    values = whole(found)
    assert values.dtype == np.float32
    np.testing.assert_array_equal(values, sitk.GetArrayFromImage(want))


def test_the_slices_of_a_series_are_the_series(series: Path) -> None:
    found, want = scan_slices(series), read_scan(series).image
    assert found.grid == Geometry.of(want)
    np.testing.assert_array_equal(whole(found), sitk.GetArrayFromImage(want))


def test_values_are_scaled_as_the_header_says(tmp_path: Path) -> None:
    path = written(scan(), tmp_path / "scan.nii")
    content = bytearray(path.read_bytes())
    content[112:120] = np.array([0.5, -7.0], "<f4").tobytes()
    path.write_bytes(content)
    want = sitk.GetArrayFromImage(read_scan(path).image)
    np.testing.assert_allclose(whole(scan_slices(path)), want, atol=1e-4)
    assert want.mean() == pytest.approx(0.5 * 100 - 7, abs=1)


def test_the_first_of_several_volumes_counts_where_there_may_be_several(tmp_path: Path) -> None:
    path = written(sitk.JoinSeries([scan(), scan() + 50]), tmp_path / "two.nii.gz")
    want = sitk.GetArrayFromImage(read_scans(path)[0].image)
    np.testing.assert_array_equal(whole(scan_slices(path, first=True)), want)
    with pytest.raises(ScanError, match="a 4D image"):
        scan_slices(path)


@pytest.mark.parametrize("kind", [sitk.sitkUInt8, sitk.sitkFloat32], ids=["uint8", "float32"])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_slices_of_a_label_are_the_label(tmp_path: Path, suffix: str, kind: int) -> None:
    path = written(sitk.Cast(scan() > 110, kind), tmp_path / f"label{suffix}")
    found, want = label_slices(path), read_label(path)
    assert same_grid(found.grid, Geometry.of(want))
    values = whole(found)
    assert values.dtype == np.uint8
    np.testing.assert_array_equal(values, sitk.GetArrayFromImage(want))


def assert_refused_alike(path: Path) -> None:
    with pytest.raises(ScanError) as whole_file:
        read_scan(path)
    with pytest.raises(ScanError) as in_slices:
        whole(scan_slices(path))
    assert str(in_slices.value) == str(whole_file.value)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("kept", [0, 200, 360, 0.5, 0.99], ids=str)
def test_a_file_that_ends_early_is_refused(tmp_path: Path, suffix: str, kept: float) -> None:
    path = written(scan(), tmp_path / f"scan{suffix}")
    content = path.read_bytes()
    path.write_bytes(content[: int(kept if kept >= 1 else kept * len(content))])
    assert_refused_alike(path)


def test_a_packed_file_with_a_wrong_checksum_or_too_long_is_refused(tmp_path: Path) -> None:
    path = written(scan(), tmp_path / "scan.nii.gz")
    content = bytearray(path.read_bytes())
    content[-8] ^= 1
    path.write_bytes(content)
    with pytest.raises(ScanError, match="damaged"):
        whole(scan_slices(path))
    plain = written(scan(), tmp_path / "scan.nii").read_bytes()
    path.write_bytes(gzip.compress(plain + bytes(3 << 20)))
    with pytest.raises(ScanError, match="holds more than"):
        whole(scan_slices(path))


def flat() -> sitk.Image:
    return GRID.place(np.full(GRID.size, 7, np.int16))


def not_finite() -> sitk.Image:
    image = scan(np.float32)
    image[3, 4, 5], image[0, 0, 0] = float("nan"), float("inf")
    return image


def thin() -> sitk.Image:
    image: sitk.Image = sitk.RegionOfInterest(scan(), [*GRID.size[:2], 1])
    return image


def narrow() -> sitk.Image:
    image = scan()
    image.SetSpacing([0.0005] * 3)
    return image


@pytest.mark.parametrize("bad", [flat, not_finite, thin, narrow], ids=lambda bad: bad.__name__)
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_is_no_scan_is_refused_in_the_same_words(tmp_path: Path, suffix: str, bad: object) -> None:
    assert callable(bad)
    assert_refused_alike(written(bad(), tmp_path / f"scan{suffix}"))


def test_what_is_no_label_or_not_there_is_refused(tmp_path: Path) -> None:
    path = written(scan(np.float32), tmp_path / "label.nii.gz")
    with pytest.raises(ScanError, match="is not a label"):
        whole(label_slices(path))
    for read in (scan_slices, label_slices):
        with pytest.raises(ScanError, match="no such file"):
            read(tmp_path / "gone.nii.gz")
        (tmp_path / "text.nii").write_bytes(b"text")
        with pytest.raises(ScanError, match="not a NIfTI file"):
            read(tmp_path / "text.nii")
