from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.dataset import Dataset

from diffcl.errors import ScanError
from diffcl.io import read_scan
from diffcl.io.dicom.series_write import write_series

Edit = Callable[[Path, Callable[[Dataset, int], None]], None]


@pytest.fixture
def values() -> np.ndarray:
    """A smooth scan of values 100 to about 900, `(Z, Y, X)`."""
    z, y, x = np.mgrid[:7, :11, :9]
    return 100 + 8 * z * y + 12 * x


@pytest.fixture
def smooth(values: np.ndarray, tmp_path: Path) -> Path:
    """The folder of the smooth scan as an MR series."""
    image = sitk.GetImageFromArray(values.astype(np.float32))
    write_series(image, tmp_path / "smooth")
    return tmp_path / "smooth"


def stored(edit: Edit, folder: Path, values: np.ndarray, **header: object) -> None:
    """Store other values, as unsigned numbers of 16 bits, and change the header."""

    def change(one: Dataset, index: int) -> None:
        one.PixelRepresentation = 0
        for keyword, value in header.items():
            if keyword.startswith("PixelPadding"):
                one.add_new(keyword, "US", value)  # the dictionary leaves it open whether it has a sign
            else:
                setattr(one, keyword, value)
        one.PixelData = values[index].astype("<u2").tobytes()

    edit(folder, change)


def read(folder: Path) -> tuple[np.ndarray, tuple[str, ...]]:
    scan = read_scan(folder)
    return sitk.GetArrayFromImage(scan.image), scan.remarks


@pytest.mark.parametrize(
    "invert", [lambda v: v.min() + v.max() - v, lambda v: 65535 - v], ids=["range", "bits"]
)
def test_a_scan_whose_low_values_are_white_is_inverted(
    smooth: Path, values: np.ndarray, edit: Edit, invert: Callable[[np.ndarray], np.ndarray]
) -> None:
    stored(edit, smooth, invert(values), PhotometricInterpretation="MONOCHROME1")
    got, remarks = read(smooth)
    np.testing.assert_array_equal(got - got.min(), values - values.min())
    assert remarks == ("low values are meant to be white (MONOCHROME1), so the scan was inverted",)


def test_hounsfield_units_stay_as_they_are(ct_series: Path, image: sitk.Image, edit: Edit) -> None:
    edit(ct_series, lambda one, _: setattr(one, "PhotometricInterpretation", "MONOCHROME1"))
    got, remarks = read(ct_series)
    np.testing.assert_array_equal(got, sitk.GetArrayFromImage(image))
    assert remarks == ("low values are meant to be white (MONOCHROME1); Hounsfield units stay as they are",)
    edit(ct_series, lambda one, _: setattr(one, "RescaleIntercept", 0))
    with pytest.raises(ScanError, match=r"MONOCHROME1, and most voxels are denser than bone\. Export"):
        read(ct_series)


def test_a_series_of_both_kinds_is_refused(smooth: Path, edit: Edit) -> None:
    edit(smooth, lambda one, index: setattr(one, "PhotometricInterpretation", f"MONOCHROME{1 + index % 2}"))
    with pytest.raises(
        ScanError, match=r"images of MONOCHROME1 and MONOCHROME2\. Export each kind as a series"
    ):
        read(smooth)


@pytest.mark.parametrize(
    ("pad", "header"),
    [
        (63536, {"PixelPaddingValue": 63536}),
        (63540, {"PixelPaddingValue": 63536, "PixelPaddingRangeLimit": 63550}),
        (0, {"PixelPaddingValue": 0, "PhotometricInterpretation": "MONOCHROME1"}),
        (63536, {"PixelPaddingValue": 63536, "BitsStored": 12, "HighBit": 11}),
    ],
    ids=["value", "range", "inverted", "beyond the stored bits"],
)
def test_padding_gets_the_lowest_value(
    smooth: Path, values: np.ndarray, edit: Edit, pad: int, header: dict[str, object]
) -> None:
    padded = values.copy()
    padded[:, :, -2:] = pad
    stored(edit, smooth, padded, **header)
    inside = values[:, :, :-2]
    want = np.full(values.shape, inside.min())
    want[:, :, :-2] = (
        inside.min() + inside.max() - inside if "PhotometricInterpretation" in header else inside
    )
    got, remarks = read(smooth)
    np.testing.assert_array_equal(got, want)
    assert remarks[-1] == f"22.2% of the voxels are padding, taken as {inside.min()}"


@pytest.mark.parametrize("implicit", [False, True], ids=["explicit", "implicit"])
def test_negative_padding_is_known_however_it_is_written(
    smooth: Path, values: np.ndarray, edit: Edit, implicit: bool
) -> None:
    padded = values.copy()
    padded[:, 0] = -2000
    stored(edit, smooth, padded, PixelRepresentation=1)

    def change(one: Dataset, _: int) -> None:
        one.add_new("PixelPaddingValue", "US", 63536)  # as some programs do, although the pixels have a sign
        if implicit:
            one.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian
            one.is_implicit_VR = True

    edit(smooth, change)
    got, _ = read(smooth)
    assert got.min() == values[:, 1:].min()


def test_padding_like_the_background_changes_nothing(smooth: Path, values: np.ndarray, edit: Edit) -> None:
    padded = values - values.min() + 1
    padded[:, 0] = 0
    stored(edit, smooth, padded, PixelPaddingValue=0)
    got, remarks = read(smooth)
    np.testing.assert_array_equal(got, padded)
    assert remarks == ()


def test_a_scan_of_padding_alone_is_refused(smooth: Path, values: np.ndarray, edit: Edit) -> None:
    stored(edit, smooth, values, PixelPaddingValue=0, PixelPaddingRangeLimit=65535)
    with pytest.raises(ScanError, match="every voxel is padding"):
        read(smooth)


def test_stored_bits_end_at_the_high_bit(smooth: Path, values: np.ndarray, edit: Edit) -> None:
    stored(edit, smooth, values << 4, BitsStored=12, HighBit=15)
    got, remarks = read(smooth)
    np.testing.assert_array_equal(got, values)
    assert remarks == ()


@pytest.mark.parametrize("high", [15, 7], ids=["above", "below"])
def test_a_high_bit_that_cannot_be_meant_is_passed_over(
    smooth: Path, values: np.ndarray, edit: Edit, high: int
) -> None:
    stored(edit, smooth, values, BitsStored=12, HighBit=high)
    got, (remark,) = read(smooth)
    np.testing.assert_array_equal(got, values)
    assert remark.startswith(f"HighBit {high} ")
    assert remark.endswith("was taken as 11")


def test_values_larger_than_the_stored_bits_are_kept(smooth: Path, values: np.ndarray, edit: Edit) -> None:
    stored(edit, smooth, 8 * values, BitsStored=12, HighBit=11)
    got, (remark,) = read(smooth)
    np.testing.assert_array_equal(got, 8 * values)
    assert remark.startswith("bits above the stored ones are set in")
    assert remark.endswith("taken as part of the values")


@pytest.mark.parametrize("declared", [False, True])
def test_drawings_above_the_stored_bits_are_left_out(
    smooth: Path, values: np.ndarray, edit: Edit, declared: bool
) -> None:
    drawn = values.copy()
    drawn[:, 2:9:3, 1:8:2] |= 1 << 12
    stored(edit, smooth, drawn, BitsStored=12, HighBit=11)
    if declared:
        edit(smooth, lambda one, _: one.add_new((0x6000, 0x0102), "US", 12))
    got, remarks = read(smooth)
    np.testing.assert_array_equal(got, values)
    assert remarks == (
        () if declared else ("bits above the stored ones are set in 7 images and were left out",)
    )
