"""Files that are packed as a whole unpack to no more than a scan may have."""

from __future__ import annotations

import shutil
from pathlib import Path

import gdcm
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from dicom_forms import bomb, compress

from diffcl.errors import ScanError
from diffcl.io import read_label, read_scan
from diffcl.io.dicom import data_set
from diffcl.io.dicom.series_write import write_series


@pytest.fixture
def series(tmp_path: Path) -> Path:
    """A series of five small slices."""
    values = np.random.default_rng(3).integers(0, 900, (5, 6, 4)).astype(np.float32)
    write_series(sitk.GetImageFromArray(values), tmp_path / "series", modality="MR")
    return tmp_path / "series"


def deflated(series: Path) -> Path:
    folder = series.parent / "deflated"
    shutil.copytree(series, folder)
    compress(folder, gdcm.TransferSyntax.DeflatedExplicitVRLittleEndian)
    return folder


def body_of(content: bytes) -> int:
    """Where the packed part of a file begins: behind group 2, whose length its first element says."""
    assert content[132:140] == b"\x02\x00\x00\x00UL\x04\x00"
    return 144 + int.from_bytes(content[140:144], "little")


def test_a_packed_series_is_read_as_the_plain_one(series: Path) -> None:
    packed, plain = (sitk.GetArrayFromImage(read_scan(one).image) for one in (deflated(series), series))
    np.testing.assert_array_equal(packed, plain)


@pytest.mark.parametrize("stated", ["rightly", "wrongly", "not at all"])
def test_a_bomb_is_refused_before_it_is_unpacked(
    stated: str, series: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the file says about where its packed part begins."""
    file = min(deflated(series).iterdir())
    content = file.read_bytes()
    head = content[: body_of(content)]
    if stated == "wrongly":
        head = head[:140] + (17).to_bytes(4, "little") + head[144:]
    elif stated == "not at all":
        head = head[:132] + head[144:]
    file.write_bytes(head + bomb(8 << 20))
    monkeypatch.setattr(data_set, "ALWAYS", 1 << 20)
    monkeypatch.setattr(pydicom, "dcmread", lambda *_, **__: pytest.fail("the bomb was read"))
    for read in (read_scan, read_label):
        with pytest.raises(ScanError, match=f"{file.name}: unpacks to far more than it is") as caught:
            read(file.parent if read is read_scan else file)
        assert "\n" not in str(caught.value)


def test_what_is_packed_less_than_a_bomb_may_be_large(series: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = next(deflated(series).iterdir())
    monkeypatch.setattr(data_set, "ALWAYS", 0)
    data_set.read_data_set(file)
    monkeypatch.setattr(data_set, "MOST", 100)
    with pytest.raises(ScanError, match="unpacks to far more"):
        data_set.read_data_set(file)


@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_packed_file_that_is_damaged_is_refused_in_one_line(share: float, series: Path) -> None:
    folder = deflated(series)
    file = next(folder.iterdir())
    content = bytearray(file.read_bytes())
    start = body_of(bytes(content))
    at = start + int(share * (len(content) - start - 20))
    content[at : at + 20] = b"\xff" * 20
    file.write_bytes(content)
    with pytest.raises(ScanError, match="Export") as caught:
        read_scan(folder)
    assert "\n" not in str(caught.value)


def test_a_series_of_more_voxels_than_may_be_is_refused_before_its_pixels_are_read(
    series: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("diffcl.io.images.integrity.LARGEST_VOXELS", 119)
    monkeypatch.setattr("diffcl.io.dicom.series.read_voxels", lambda *_: pytest.fail("pixels were read"))
    with pytest.raises(ScanError, match="4 x 6 x 5 voxels, more than the 119 that are read"):
        read_scan(series)
