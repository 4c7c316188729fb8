from __future__ import annotations

import logging
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import gdcm
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from dicom_forms import compress
from pydicom.dataset import Dataset
from pydicom.uid import (
    UID,
    ComprehensiveSRStorage,
    EncapsulatedPDFStorage,
    GrayscaleSoftcopyPresentationStateStorage,
    MediaStorageDirectoryStorage,
    RawDataStorage,
    RTDoseStorage,
    RTStructureSetStorage,
    SegmentationStorage,
    generate_uid,
)

from diffcl.errors import ScanError, UsageError
from diffcl.geometry import Geometry
from diffcl.io import read_scan
from diffcl.io.dicom.headers import find_dicom
from diffcl.io.dicom.pixels import read_voxels
from diffcl.io.dicom.series_write import write_series
from diffcl.io.dicom.slices import slices_of

Edit = Callable[[Path, Callable[[Dataset, int], None]], None]


def voxels(image: sitk.Image) -> np.ndarray:
    return sitk.GetArrayFromImage(image)


def assert_same(got: sitk.Image, want: sitk.Image) -> None:
    """Same voxels, same place to a nanometre."""
    np.testing.assert_array_equal(voxels(got), voxels(want))
    np.testing.assert_allclose(got.GetOrigin(), want.GetOrigin(), rtol=0, atol=1e-6)
    np.testing.assert_allclose(got.GetSpacing(), want.GetSpacing(), rtol=0, atol=1e-6)
    np.testing.assert_allclose(got.GetDirection(), want.GetDirection(), rtol=0, atol=1e-6)


AXIAL = (1, 0, 0, 0, 1, 0, 0, 0, 1)
CORONAL = (1, 0, 0, 0, 0, 1, 0, -1, 0)
SAGITTAL = (0, 0, -1, 1, 0, 0, 0, -1, 0)


@pytest.mark.parametrize(
    "direction", [AXIAL, CORONAL, SAGITTAL, None], ids=["axial", "coronal", "sagittal", "oblique"]
)
def test_a_series_reads_as_the_image_it_was_made_of(
    image: sitk.Image, tmp_path: Path, direction: tuple[float, ...] | None
) -> None:
    if direction:
        image.SetDirection(direction)
    write_series(image, tmp_path / "p07")
    scan = read_scan(tmp_path / "p07")
    assert_same(scan.image, image)
    assert (scan.name, scan.modality, scan.remarks) == ("p07", "MR", ())
    assert scan.series is not None
    assert scan.series.geometry == Geometry.of(scan.image)
    assert [file.name for file in scan.series.files] == [f"{index:04d}.dcm" for index in range(1, 8)]


def test_the_geometry_follows_from_the_headers_and_is_that_of_itk(series: Path) -> None:
    image = read_scan(series).image
    for index, file in enumerate(sorted(series.iterdir())):
        header = pydicom.dcmread(file, stop_before_pixels=True)
        row, column = np.reshape(header.ImageOrientationPatient, (2, 3)).astype(float)
        corner = np.array(header.ImagePositionPatient, float)
        opposite = corner + 8 * row * header.PixelSpacing[1] + 10 * column * header.PixelSpacing[0]
        np.testing.assert_allclose(image.TransformIndexToPhysicalPoint((0, 0, index)), corner, atol=1e-9)
        np.testing.assert_allclose(image.TransformIndexToPhysicalPoint((8, 10, index)), opposite, atol=1e-9)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(series)))
    assert_same(image, sitk.Cast(reader.Execute(), sitk.sitkFloat32))


def test_order_is_by_position_and_not_by_name_or_number(image: sitk.Image, series: Path, edit: Edit) -> None:
    names = ["e", "a", "g", "b", "d", "c", "f"]
    for file, name in zip(sorted(series.iterdir()), names, strict=True):
        file.rename(series / f"{name}.dcm")

    def renumber(one: Dataset, index: int) -> None:
        one.InstanceNumber = 7 - index

    edit(series, renumber)
    assert_same(read_scan(series).image, image)


def test_each_slice_has_its_own_slope_and_intercept(image: sitk.Image, series: Path, edit: Edit) -> None:
    def rescale(one: Dataset, index: int) -> None:
        one.RescaleSlope, one.RescaleIntercept = 1 + index / 4, -8 * index

    edit(series, rescale)
    planes = np.arange(7, dtype=np.float32)[:, None, None]
    np.testing.assert_array_equal(
        voxels(read_scan(series).image), voxels(image) * (1 + planes / 4) - 8 * planes
    )


@pytest.mark.parametrize(("signed", "bits"), [(0, 16), (1, 16), (0, 12), (1, 12)])
def test_signed_and_unsigned_values_of_fewer_bits_keep_their_sign(
    series: Path, edit: Edit, signed: int, bits: int
) -> None:
    values = np.random.default_rng(0).integers(-(2 ** (bits - 1)), 2 ** (bits - 1), (7, 11, 9))
    values += 0 if signed else 2 ** (bits - 1)
    overlay = 0 if bits == 16 else 0b1010 << 12  # what stands above the stored bits is not part of the value

    def store(one: Dataset, index: int) -> None:
        one.PixelRepresentation, one.BitsStored, one.HighBit = signed, bits, bits - 1
        raw = (values[index] & (2**bits - 1)) | overlay
        one.PixelData = raw.astype("<u2").tobytes()

    edit(series, store)
    np.testing.assert_array_equal(voxels(read_scan(series).image), values)


@pytest.mark.parametrize("kind", ["enhanced", "enhanced_ct"])
def test_an_enhanced_multi_frame_image_reads_as_its_slices(
    image: sitk.Image, kind: str, request: pytest.FixtureRequest
) -> None:
    file = request.getfixturevalue(kind)
    scan = read_scan(file)
    assert_same(scan.image, image)
    assert (scan.name, scan.modality) == (file.stem, "CT" if kind == "enhanced_ct" else "MR")
    assert scan.series is not None
    assert scan.series.frames == (1, 3, 5, 0, 6, 4, 2)
    assert scan.series.files == (file,)


def test_files_that_are_not_dicom_are_ignored(image: sitk.Image, series: Path) -> None:
    (series / "notes.txt").write_text("seven slices", encoding="utf-8")
    (series / "Thumbs.db").write_bytes(bytes(300))
    (series / "._0001.dcm").write_bytes(bytes(300))
    assert_same(read_scan(series).image, image)


def test_slices_may_lie_in_folders_below(image: sitk.Image, series: Path) -> None:
    (series / "DISK1").mkdir()
    for file in sorted(series.glob("*.dcm"))[::2]:
        file.rename(series / "DISK1" / file.stem)
    assert_same(read_scan(series).image, image)


def test_copies_and_localisers_are_left_out_with_a_remark(image: sitk.Image, series: Path) -> None:
    shutil.copy(series / "0003.dcm", series / "copy.dcm")
    scout = pydicom.dcmread(series / "0001.dcm")
    scout.ImageType, scout.SOPInstanceUID = ["ORIGINAL", "PRIMARY", "LOCALIZER"], generate_uid()
    scout.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]
    scout.save_as(series / "scout.dcm")
    scan = read_scan(series)
    assert_same(scan.image, image)
    assert scan.remarks == (
        "1 of 9 files are copies of others and were left out",
        "1 of 8 images are localisers, left out",
    )


def test_one_of_several_series_is_chosen_by_its_uid(image: sitk.Image, series: Path, tmp_path: Path) -> None:
    other = write_series(
        image + 1, tmp_path / "series" / "other", modality="CT", name="other", intercept=-10.0
    )
    uid = str(pydicom.dcmread(other[0]).SeriesInstanceUID)
    scan = read_scan(series, series_uid=uid)
    assert_same(scan.image, image + 1)
    assert scan.modality == "CT"
    mine = str(pydicom.dcmread(series / "0001.dcm").SeriesInstanceUID)
    listed = {f"{uid} (CT, 7 images)", f"{mine} (MR, 7 images)"}
    with pytest.raises(ScanError) as caught:
        read_scan(series)
    assert caught.value.what.startswith("holds 2 series: ")
    assert set(caught.value.what.removeprefix("holds 2 series: ").split("; ")) == listed
    assert caught.value.next_step == "Choose one by its SeriesInstanceUID"
    with pytest.raises(ScanError, match=r"no series 1\.2\.3; there is .*Choose one of these"):
        read_scan(series, series_uid="1.2.3")


def test_a_scan_is_found_beside_other_objects_of_its_study(image: sitk.Image, series: Path) -> None:
    other = pydicom.dcmread(series / "0001.dcm")
    other.SOPClassUID, other.SeriesInstanceUID = SegmentationStorage, generate_uid()
    other.save_as(series / "seg.dcm")
    assert_same(read_scan(series).image, image)
    with pytest.raises(ScanError, match=r"holds a segmentation \(SEG\), not a scan"):
        read_scan(series, series_uid=other.SeriesInstanceUID)


def test_only_dicom_has_series_to_choose(image: sitk.Image, tmp_path: Path) -> None:
    sitk.WriteImage(image, str(tmp_path / "scan.nii"))
    with pytest.raises(UsageError, match="not DICOM, so it has no series to choose"):
        read_scan(tmp_path / "scan.nii", series_uid="1.2.3")


def _repeat(one: Dataset, keyword: str) -> None:
    """Make another image of the same place."""
    one.SOPInstanceUID = generate_uid()
    setattr(one, keyword, 40)


def _move(one: Dataset, millimetres: float) -> None:
    """Move a slice along the normal."""
    row, column = np.reshape(one.ImageOrientationPatient, (2, 3)).astype(float)
    place = np.array(one.ImagePositionPatient, float) + millimetres * np.cross(row, column)
    one.ImagePositionPatient = [f"{number:.8f}" for number in place]


def _tilt(one: Dataset, index: int) -> None:
    column = np.array(one.ImageOrientationPatient[3:], float)
    place = np.array(one.ImagePositionPatient, float) + 2.5 * index * np.tan(np.radians(12)) * column
    one.ImagePositionPatient = [f"{number:.8f}" for number in place]


def _jitter(one: Dataset, index: int) -> None:
    one.ImagePositionPatient = [one.ImagePositionPatient[0] + index % 2, *one.ImagePositionPatient[1:]]


def _resize(one: Dataset, index: int) -> None:
    if index == 2:
        one.Rows, one.PixelData = 10, one.PixelData[: 10 * 9 * 2]


def _turn(one: Dataset, index: int) -> None:
    if index == 2:
        one.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]


def _colour(one: Dataset, _: int) -> None:
    one.SamplesPerPixel, one.PhotometricInterpretation, one.PlanarConfiguration = 3, "RGB", 0
    one.PixelData = one.PixelData * 3


def _becomes(sop_class: UID) -> Callable[[Dataset, int], None]:
    def change(one: Dataset, _: int) -> None:
        one.SOPClassUID = sop_class
        del one.Rows

    return change


def _sets(**values: object) -> Callable[[Dataset, int], None]:
    def change(one: Dataset, _: int) -> None:
        for keyword, value in values.items():
            setattr(one, keyword, value)

    return change


def _lacks(*keywords: str, only: int | None = None) -> Callable[[Dataset, int], None]:
    def change(one: Dataset, index: int) -> None:
        for keyword in keywords if only in {None, index} else ():
            del one[keyword]

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_tilt, "slices are sheared by 12.0 degrees (gantry tilt). "
                "Reconstruct the series without tilt, or resample it to a straight grid"),
        (lambda one, index: _move(one, 0.3 * index**2),
         "slices are unevenly spaced, 2.80 to 5.80 mm apart. "
         "Reconstruct the series with even spacing, or resample it"),
        (_jitter, "slices are shifted sideways by up to 1.0 mm. Export the series again"),
        (_resize, "images of different size (9 x 11 and 9 x 10 pixels). Export the series again"),
        (_turn, "images of different orientation. Export each orientation as a series"),
        (lambda one, index: setattr(one, "PixelSpacing", [0.9, 0.7 + index // 6]),
         "images of different pixel size (0.7 x 0.9 and 1.7 x 0.9 mm). Export the series again"),
        (lambda one, index: setattr(one, "FrameOfReferenceUID", f"1.2.{index}"),
         "images in different frames of reference. Export each as a series"),
        (lambda one, index: _move(one, -2.5 * index), "7 images at every position. "
                                                      "Export one image a position as a series"),
        (lambda one, index: _move(one, -2.5 if index == 3 else 0), "2 images at one position. "
                                                                   "Export one image a position as a series"),
        (_sets(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]),
         "holds a localiser only. Give the series that was planned on it"),
        (_colour, "0001.dcm: an image in colour (RGB). Give images of grey values"),
        (_lacks("PixelData", only=4),
         "0005.dcm: the image has no pixel data. Export the series with its images"),
        (_lacks("ImagePositionPatient", only=4),
         "0005.dcm: the header does not state the position of the image. Export the series again"),
        (_lacks("ImageOrientationPatient"),
         "0001.dcm: the header does not state the orientation of the image. Export the series again"),
        (_lacks("PixelSpacing"),
         "0001.dcm: the header does not state the pixel size of the image. Export the series again"),
        (_sets(ImageOrientationPatient=[1, 0, 0, 0.6, 0.8, 0]),
         "0001.dcm: row and column directions are not perpendicular unit vectors. Export the series again"),
        (_sets(PixelSpacing=[0, 1]), "0001.dcm: its header is damaged. Export the series again"),
        (_sets(NumberOfFrames=7), "0001.dcm: a multi-frame image that does not say where each frame lies. "
                                  "Give an enhanced CT or MR image, or one image a slice"),
        (_becomes(SegmentationStorage), "holds a segmentation (SEG), not a scan. "
                                        "Give a folder with CT or MR images"),
        (_becomes(RTStructureSetStorage), "holds radiotherapy contours (RTSTRUCT), not a scan. "
                                          "Give a folder with CT or MR images"),
        (_becomes(ComprehensiveSRStorage), "holds a structured report (SR), not a scan. "
                                           "Give a folder with CT or MR images"),
        (_becomes(RTDoseStorage), "holds a radiotherapy dose (RTDOSE), not a scan. "
                                  "Give a folder with CT or MR images"),
        (_becomes(GrayscaleSoftcopyPresentationStateStorage), "holds a presentation state, not a scan. "
                                                              "Give a folder with CT or MR images"),
        (_becomes(EncapsulatedPDFStorage),
         "holds a PDF document, not a scan. Give a folder with CT or MR images"),
        (_becomes(RawDataStorage), "holds an object without an image (Raw Data Storage), not a scan. "
                                   "Give a folder with CT or MR images"),
        (_sets(PixelData=bytes(20)), "0001.dcm: its pixels are damaged or end early. Export it again"),
        (_sets(PixelData=bytes(198)), "every voxel is 0. Give a scan that shows something"),
    ],
)  # fmt: skip
def test_a_series_that_is_no_straight_even_grid_is_refused_in_one_line(
    series: Path,
    edit: Edit,
    capfd: pytest.CaptureFixture[str],
    change: Callable[[Dataset, int], None],
    message: str,
) -> None:
    edit(series, change)
    with pytest.raises(ScanError) as caught:
        read_scan(series)
    assert str(caught.value) == f"{series}: {message}"
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("macro", "keyword"),
    [
        ("MREchoSequence", "EffectiveEchoTime"),
        ("MRDiffusionSequence", "DiffusionBValue"),
        ("FrameContentSequence", "TemporalPositionIndex"),
    ],
)
def test_frames_at_one_position_are_told_apart(enhanced: Path, macro: str, keyword: str) -> None:
    both = pydicom.dcmread(enhanced)
    frames = both.PerFrameFunctionalGroupsSequence
    both.PerFrameFunctionalGroupsSequence = [
        *frames,
        *pydicom.dcmread(enhanced).PerFrameFunctionalGroupsSequence,
    ]
    for index, frame in enumerate(both.PerFrameFunctionalGroupsSequence):
        group = Dataset()
        setattr(group, keyword, 1 + index // len(frames))
        setattr(frame, macro, [group])
    both.NumberOfFrames = 14
    both.PixelData = both.PixelData[: 14 * 99] * 2
    both.save_as(enhanced)
    with pytest.raises(ScanError, match=f"2 images at every position, which differ in {keyword}. Export"):
        read_scan(enhanced)


def test_a_missing_slice_is_named_by_its_neighbours(series: Path) -> None:
    (series / "0004.dcm").unlink()
    with pytest.raises(ScanError) as caught:
        read_scan(series)
    assert str(caught.value) == (
        f"{series}: 5.0 mm between slices 3 and 4, 2.5 mm elsewhere. "
        "Export the series again with the 1 missing slice"
    )


@pytest.mark.parametrize("keyword", ["TriggerTime", "EchoTime"])
def test_several_images_at_each_position_are_told_apart(
    series: Path, tmp_path: Path, edit: Edit, keyword: str
) -> None:
    shutil.copytree(series, tmp_path / "later")
    edit(tmp_path / "later", lambda one, _: _repeat(one, keyword))
    shutil.move(tmp_path / "later", series / "later")
    with pytest.raises(ScanError, match=f"2 images at every position, which differ in {keyword}. Export"):
        read_scan(series)


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ScanError, match=r"an empty folder\. Give a folder with the images of a DICOM series"):
        read_scan(tmp_path)


def test_a_folder_without_dicom_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no scan", encoding="utf-8")
    with pytest.raises(ScanError, match=r"1 files, none of them DICOM\. Give a folder"):
        read_scan(tmp_path)


def test_one_slice_is_no_series(series: Path) -> None:
    for file in sorted(series.iterdir())[1:]:
        file.unlink()
    with pytest.raises(ScanError, match=r"only one image\. Give a series of at least two slices"):
        read_scan(series)


def test_the_directory_of_a_disc_is_ignored(image: sitk.Image, series: Path) -> None:
    disc = pydicom.dcmread(series / "0001.dcm", specific_tags=[])
    disc.file_meta.MediaStorageSOPClassUID = MediaStorageDirectoryStorage
    disc.FileSetID, disc.DirectoryRecordSequence = "DISC", []
    disc.save_as(series / "DICOMDIR")
    assert_same(read_scan(series).image, image)


@pytest.mark.parametrize("length", [0, 100, 200, 900])
def test_a_damaged_file_among_the_slices_is_named(series: Path, length: int) -> None:
    file = series / "0003.dcm"
    file.write_bytes(file.read_bytes()[:length])
    with pytest.raises(ScanError, match=r"0003\.dcm"):
        read_scan(series)


def test_pixels_that_do_not_fit_their_header_are_refused(series: Path, edit: Edit) -> None:
    slices = [one for file in find_dicom(series) for one in slices_of(series, file)]
    edit(series, _resize)  # somebody writes another image in its place meanwhile
    with pytest.raises(ScanError, match=r"0003\.dcm: its pixels do not fit its header\. Export it again"):
        read_voxels(series, tuple(slices))


def test_one_slice_alone_asks_for_its_folder(series: Path) -> None:
    with pytest.raises(ScanError, match=r"0002\.dcm: one image of a series\. Give the folder"):
        read_scan(series / "0002.dcm")


def test_several_multi_frame_images_are_not_joined(enhanced: Path, tmp_path: Path) -> None:
    (tmp_path / "both").mkdir()
    for name in ("a.dcm", "b.dcm"):
        one = pydicom.dcmread(enhanced)
        one.SOPInstanceUID = generate_uid()
        one.save_as(tmp_path / "both" / name)
    with pytest.raises(ScanError, match="2 multi-frame images in one series"):
        read_scan(tmp_path / "both")


SYNTAXES = {
    "JPEG Lossless": gdcm.TransferSyntax.JPEGLosslessProcess14_1,
    "JPEG-LS": gdcm.TransferSyntax.JPEGLSLossless,
    "JPEG 2000": gdcm.TransferSyntax.JPEG2000Lossless,
    "RLE": gdcm.TransferSyntax.RLELossless,
    "big endian": gdcm.TransferSyntax.ExplicitVRBigEndian,
    "deflated": gdcm.TransferSyntax.DeflatedExplicitVRLittleEndian,
    "implicit": gdcm.TransferSyntax.ImplicitVRLittleEndian,
}


@pytest.mark.parametrize("syntax", SYNTAXES.values(), ids=SYNTAXES.keys())
def test_transfer_syntaxes_are_read_alike(image: sitk.Image, series: Path, syntax: int) -> None:
    compress(series, syntax)
    assert_same(read_scan(series).image, image)


def test_a_compressed_image_that_ends_its_decoder_is_refused(series: Path) -> None:
    compress(series, gdcm.TransferSyntax.JPEGLSLossless)
    file = series / "0003.dcm"
    size = b"\xff\xf7\x00\x0b\x10\x00\x0b\x00\x09"  # 16 bits, 11 rows, 9 columns; of none at all gdcm dies
    assert file.read_bytes().count(size) == 1
    file.write_bytes(file.read_bytes().replace(size, size[:-1] + b"\0"))
    with pytest.raises(ScanError, match=r"0003\.dcm: its pixels are damaged or end early\. Export it again"):
        read_scan(series)


def _compressed_as(syntax: str) -> Callable[[Dataset, int], None]:
    def change(one: Dataset, _: int) -> None:
        one.file_meta.TransferSyntaxUID = UID(syntax)
        one.PixelData = pydicom.encaps.encapsulate([one.PixelData])
        one["PixelData"].is_undefined_length = True

    return change


def test_a_syntax_that_nothing_decodes_is_named(series: Path, edit: Edit) -> None:
    edit(series, _compressed_as("1.2.840.10008.1.2.4.100"))
    with pytest.raises(ScanError) as caught:
        read_scan(series)
    assert str(caught.value) == (
        f"{series}: 0001.dcm: compressed as MPEG2 Main Profile / Main Level, "
        "which no plug-in of pydicom decodes. Export the series uncompressed"
    )


def test_a_syntax_without_its_plug_in_names_the_plug_in(series: Path, edit: Edit) -> None:
    edit(series, _compressed_as("1.2.840.10008.1.2.4.70"))
    script = (
        "import sys\n"
        "sys.modules.update(dict.fromkeys(['gdcm', 'pylibjpeg']))\n"
        "from pathlib import Path\n"
        "from diffcl.io import read_scan\n"
        f"read_scan(Path({str(series)!r}))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert "which needs the plug-in python-gdcm. Install it" in done.stderr.splitlines()[-1]


def test_nothing_said_names_the_patient(
    series: Path, edit: Edit, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.INFO)
    edit(series, _sets(PatientName="Invented^Person", PatientID="secret-17"))
    scan = read_scan(series)
    edit(series, _tilt)
    with pytest.raises(ScanError) as caught:
        read_scan(series)
    said = f"{scan} {scan.series!r} {caught.value} {caplog.text} {capfd.readouterr()}"
    assert "Invented" not in said
    assert "secret" not in said
