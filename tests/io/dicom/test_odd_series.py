"""Series that are not as the standard has them, and that can be read nevertheless."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import gdcm
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from dicom_forms import compress, write_enhanced, write_parts
from pydicom.dataset import Dataset, FileMetaDataset

from diffcl.errors import ScanError
from diffcl.io import read_label, read_scan
from diffcl.io.dicom.seg_write import write_seg
from diffcl.io.dicom.series_write import write_series
from diffcl.io.dicom.sr import write_sr
from diffcl.recipe import load_recipe

Edit = Callable[[Path, Callable[[Dataset, int], None]], None]
LABELS = load_recipe("hippocampus").labels
NATIVE = {
    "explicit": gdcm.TransferSyntax.ExplicitVRLittleEndian,
    "implicit": gdcm.TransferSyntax.ImplicitVRLittleEndian,
    "big endian": gdcm.TransferSyntax.ExplicitVRBigEndian,
}
MODEL = {"model_name": "model", "model_version": 1}


@pytest.fixture
def assert_used(
    image: sitk.Image, label: sitk.Image, tmp_path: Path, dciodvfy: Callable[[Path], str]
) -> Callable[..., Dataset]:
    """Asserts that a series reads as `image`, that its results are valid and read back; gives the segmentation."""

    def check(series: Path, place: float = 1e-6) -> Dataset:
        scan = read_scan(series)
        np.testing.assert_array_equal(sitk.GetArrayFromImage(scan.image), sitk.GetArrayFromImage(image))
        for corner in ((0, 0, 0), (8, 10, 6), (8, 0, 6)):
            got, want = (one.TransformIndexToPhysicalPoint(corner) for one in (scan.image, image))
            np.testing.assert_allclose(got, want, rtol=0, atol=place)
        assert scan.series is not None
        seg, report = tmp_path / "seg.dcm", tmp_path / "report.dcm"
        write_seg(place_on(scan.image, label), scan.series, LABELS, seg, **MODEL)
        write_sr({one.name: 1.0 for one in LABELS}, 0.1, seg, scan.series, LABELS, report, **MODEL)
        assert dciodvfy(seg) == dciodvfy(report) == ""
        for reference in (None, scan):
            got = read_label(seg, reference=reference)
            np.testing.assert_array_equal(sitk.GetArrayFromImage(got), sitk.GetArrayFromImage(label))
        return pydicom.dcmread(seg)

    return check


def place_on(image: sitk.Image, label: sitk.Image) -> sitk.Image:
    """The label on the grid of the image."""
    moved = sitk.Image(label)
    moved.CopyInformation(image)
    return moved


def test_one_frame_may_be_said_in_so_many_words(
    series: Path, edit: Edit, assert_used: Callable[..., Dataset]
) -> None:
    edit(series, lambda one, _: setattr(one, "NumberOfFrames", 1))
    assert_used(series)


@pytest.mark.parametrize(
    ("counts", "compressed"),
    [((1,) * 7, False), ((1,) * 7, True), ((4, 3), False), ((3, 1, 3), False)],
    ids=["one frame each", "compressed", "two", "three"],
)
def test_a_series_may_be_several_enhanced_images(
    series: Path,
    tmp_path: Path,
    counts: tuple[int, ...],
    compressed: bool,
    assert_used: Callable[..., Dataset],
) -> None:
    whole = write_enhanced(series, tmp_path / "enhanced.dcm")
    parts = write_parts(whole, tmp_path / "parts", counts)
    whole.unlink()
    if compressed:
        compress(parts, gdcm.TransferSyntax.JPEG2000Lossless)
    seg = assert_used(parts)
    headers = [pydicom.dcmread(file, stop_before_pixels=True) for file in sorted(parts.iterdir())]
    listed = {
        one.ReferencedSOPInstanceUID for one in seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence
    }
    assert listed == {header.SOPInstanceUID for header in headers}
    by_uid = {header.SOPInstanceUID: header for header in headers}
    for group in seg.PerFrameFunctionalGroupsSequence:
        (source,) = group.DerivationImageSequence[0].SourceImageSequence
        assert source.ReferencedSOPClassUID == headers[0].SOPClassUID
        frames = by_uid[source.ReferencedSOPInstanceUID].PerFrameFunctionalGroupsSequence
        frame = frames[int(source.get("ReferencedFrameNumber", 1)) - 1]
        want = frame.PlanePositionSequence[0].ImagePositionPatient
        assert group.PlanePositionSequence[0].ImagePositionPatient == want


@pytest.mark.parametrize("step", [0.1, 0.5])
def test_positions_may_be_rounded(
    series: Path, edit: Edit, step: float, assert_used: Callable[..., Dataset]
) -> None:
    def round_off(one: Dataset, _: int) -> None:
        one.ImagePositionPatient = [round(float(x) / step) * step for x in one.ImagePositionPatient]

    edit(series, round_off)
    if step > 0.1:  # then a slice may lie by more than a pixel's quarter beside the others
        with pytest.raises(ScanError, match=r"shifted sideways|unevenly spaced, \d\.\d+ to \d\.\d+ mm"):
            read_scan(series)
    else:
        assert_used(series, place=0.1)


def test_thin_slices_with_rounded_positions_are_no_gap(image: sitk.Image, tmp_path: Path, edit: Edit) -> None:
    image.SetSpacing((0.7, 0.9, 1.0))
    write_series(image, tmp_path / "thin")

    def round_off(one: Dataset, _: int) -> None:
        one.ImagePositionPatient = [round(float(x), 1) for x in one.ImagePositionPatient]

    edit(tmp_path / "thin", round_off)
    assert read_scan(tmp_path / "thin").image.GetSpacing()[2] == pytest.approx(1.0, abs=0.03)
    (tmp_path / "thin" / "0004.dcm").unlink()
    with pytest.raises(ScanError, match=r"with the 1 missing slice$"):
        read_scan(tmp_path / "thin")


def test_what_is_uneven_is_said_with_numbers_that_differ(series: Path, edit: Edit) -> None:
    def sink(one: Dataset, index: int) -> None:
        row, column = np.reshape(one.ImageOrientationPatient, (2, 3)).astype(float)
        place = np.array(one.ImagePositionPatient, float) + (0.3 if index == 3 else 0) * np.cross(row, column)
        one.ImagePositionPatient = [f"{number:.8f}" for number in place]

    edit(series, sink)
    with pytest.raises(ScanError, match=r"unevenly spaced, 2\.20 to 2\.80 mm apart"):
        read_scan(series)


def test_a_hundredth_of_a_millimetre_is_no_shear(
    series: Path, edit: Edit, assert_used: Callable[..., Dataset]
) -> None:
    def shear(one: Dataset, index: int) -> None:
        row = np.array(one.ImageOrientationPatient[:3], float)
        place = np.array(one.ImagePositionPatient, float) + 0.01 * index / 6 * row
        one.ImagePositionPatient = [f"{number:.8f}" for number in place]

    edit(series, shear)
    assert_used(series, place=0.011)


@pytest.mark.parametrize("syntax", NATIVE.values(), ids=NATIVE.keys())
@pytest.mark.parametrize("lacks", ["syntax", "meta", "preamble"])
def test_an_encoding_that_is_not_stated_is_told_from_the_content(
    series: Path, syntax: int, lacks: str, assert_used: Callable[..., Dataset]
) -> None:
    if syntax != gdcm.TransferSyntax.ExplicitVRLittleEndian:
        compress(series, syntax)
    for file in series.iterdir():
        one = pydicom.dcmread(file)
        if lacks == "syntax":
            del one.file_meta.TransferSyntaxUID
        else:
            one.file_meta = FileMetaDataset()
        one.save_as(file, write_like_original=True)
        if lacks == "preamble":
            file.write_bytes(file.read_bytes()[132:])
    assert_used(series)


def test_a_compression_that_is_not_stated_is_the_cause(series: Path, edit: Edit) -> None:
    compress(series, gdcm.TransferSyntax.JPEG2000Lossless)

    def forget(one: Dataset, _: int) -> None:
        del one.file_meta.TransferSyntaxUID

    edit(series, forget)
    with pytest.raises(ScanError, match=r"compressed, but it does not say how \(no TransferSyntaxUID\)"):
        read_scan(series)


@pytest.mark.parametrize(
    "keyword",
    ["SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"],
)
def test_several_values_where_one_identifier_must_be_are_refused(
    keyword: str, series: Path, edit: Edit
) -> None:
    edit(series, lambda header, _: header.update({keyword: ["1.2.3", "1.2.4"]}))
    with pytest.raises(ScanError, match="damaged, or not a DICOM file"):
        read_scan(series)


def without(keyword: str, *, empty: bool) -> Callable[[Dataset, int], None]:
    """Takes an attribute or its value away."""

    def change(one: Dataset, _: int) -> None:
        if empty:
            one[keyword].value = None
        else:
            del one[keyword]

    return change


@pytest.mark.parametrize("empty", [False, True], ids=["absent", "empty"])
@pytest.mark.parametrize(
    "keyword",
    ["SamplesPerPixel", "PhotometricInterpretation", "BitsStored", "HighBit", "PixelRepresentation"],
)
def test_what_a_header_leaves_out_that_can_have_but_one_value_is_known(
    keyword: str, empty: bool, image: sitk.Image, tmp_path: Path, edit: Edit
) -> None:
    above = sitk.Cast(sitk.Abs(image), sitk.sitkFloat32)  # of values below 0 the sign would have to be known
    write_series(above, tmp_path / "series", modality="MR")
    expected = sitk.GetArrayFromImage(read_scan(tmp_path / "series").image)
    edit(tmp_path / "series", without(keyword, empty=empty))
    found = sitk.GetArrayFromImage(read_scan(tmp_path / "series").image)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("keyword", "said"),
    [
        ("PixelRepresentation", "does not say whether its values have a sign"),
        ("BitsAllocated", "lacks BitsAllocated"),
        ("Rows", "lacks Rows|damaged"),
        ("SeriesInstanceUID", "lacks SeriesInstanceUID"),
        ("SOPClassUID", "lacks SOPClassUID"),
    ],
)
def test_what_a_header_leaves_out_that_nobody_can_know_is_named(
    keyword: str, said: str, image: sitk.Image, tmp_path: Path, edit: Edit
) -> None:
    write_series(sitk.Cast(image, sitk.sitkFloat32) - 2000.0, tmp_path / "series", modality="MR")
    edit(tmp_path / "series", lambda one, _: setattr(one, "PixelRepresentation", 1))
    edit(tmp_path / "series", without(keyword, empty=False))
    with pytest.raises(ScanError, match=said):
        read_scan(tmp_path / "series")


def test_pixels_that_are_no_whole_numbers_need_no_attributes_of_those_that_are(
    image: sitk.Image, tmp_path: Path, edit: Edit
) -> None:
    write_series(sitk.Cast(image, sitk.sitkFloat32), tmp_path / "series", modality="MR")
    expected = sitk.GetArrayFromImage(read_scan(tmp_path / "series").image)

    def as_floats(one: Dataset, _: int) -> None:
        values = np.frombuffer(one.PixelData, "<i2").astype("<f4")
        for keyword in ("PixelData", "BitsStored", "HighBit", "PixelRepresentation"):
            del one[keyword]
        one.BitsAllocated, one.FloatPixelData = 32, values.tobytes()

    edit(tmp_path / "series", as_floats)
    found = sitk.GetArrayFromImage(read_scan(tmp_path / "series").image)
    np.testing.assert_array_equal(found, expected)
