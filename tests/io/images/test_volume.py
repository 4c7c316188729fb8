from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from diffcl.errors import DiffclError, OutputError, ScanError
from diffcl.io import read_label, read_scan, write_image
from diffcl.io.images.integrity import NO_VOXEL_SIZE
from diffcl.io.images.volume import read_volume

FORMATS = ["nii", "nii.gz", "nrrd", "mha"]


def affine(image: sitk.Image) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    matrix[:3, 3] = image.GetOrigin()
    return matrix


@pytest.mark.parametrize("suffix", FORMATS)
def test_what_is_written_reads_back_with_its_voxels_and_geometry(
    image: sitk.Image, label: sitk.Image, tmp_path: Path, suffix: str
) -> None:
    write_image(image, tmp_path / f"scan.{suffix}")
    write_image(label, tmp_path / f"label.{suffix}")
    scan, back = read_scan(tmp_path / f"scan.{suffix}"), read_label(tmp_path / f"label.{suffix}")
    assert scan.name == "scan"
    assert back.GetPixelID() == sitk.sitkUInt8
    for got, want in ((scan.image, image), (back, label)):
        np.testing.assert_array_equal(sitk.GetArrayViewFromImage(got), sitk.GetArrayViewFromImage(want))
        np.testing.assert_allclose(affine(got), affine(want), rtol=0, atol=1e-5)
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"label.{suffix}", f"scan.{suffix}"]


def test_the_nifti_affine_is_the_one_that_other_software_reads(image: sitk.Image, tmp_path: Path) -> None:
    write_image(image, tmp_path / "scan.nii.gz")
    ras = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine(image)
    other = nib.load(tmp_path / "scan.nii.gz")
    np.testing.assert_allclose(other.affine, ras, atol=1e-5)
    np.testing.assert_array_equal(other.get_fdata().T, sitk.GetArrayViewFromImage(image))


def test_a_scan_is_float_whatever_the_file_stores(tmp_path: Path) -> None:
    values = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    scaled = nib.Nifti1Image(values, np.eye(4))
    scaled.header.set_slope_inter(2, 3)
    nib.save(scaled, tmp_path / "scan.nii")
    image = read_scan(tmp_path / "scan.nii").image
    assert image.GetPixelID() == sitk.sitkFloat32
    np.testing.assert_array_equal(sitk.GetArrayViewFromImage(image), values.T * 2 + 3)


def test_a_nifti_without_orientation_is_read_with_a_remark(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(np.arange(60.0).reshape(3, 4, 5), None), tmp_path / "scan.nii")
    (remark,) = read_scan(tmp_path / "scan.nii").remarks
    assert remark.startswith("the header states no orientation")


@pytest.mark.parametrize("scaled", [False, True])
def test_of_two_files_of_one_name_each_has_its_own_voxels(scaled: bool, tmp_path: Path) -> None:
    """ITK gives those of the one that is not compressed for either."""
    values = {"scan.nii": np.arange(60, dtype=np.int16).reshape(3, 4, 5)}
    values["scan.nii.gz"] = values["scan.nii"][::-1] + 100
    for name, array in values.items():
        image = nib.Nifti1Image(array, np.diag([1.0, 2.0, 3.0, 1.0]))
        image.header.set_slope_inter(2 if scaled else 1, 3 if scaled else 0)
        nib.save(image, tmp_path / name)
    for name in values:
        scan = read_scan(tmp_path / name).image
        np.testing.assert_array_equal(
            sitk.GetArrayViewFromImage(scan).T, nib.load(tmp_path / name).get_fdata()
        )
        assert scan.GetSpacing() == (1.0, 2.0, 3.0)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"])
def test_voxels_of_every_kind_are_the_stored_ones(kind: str, order: str, tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 100, (3, 4, 5)).astype(order + kind)
    header = nib.Nifti1Header(endianness=order)
    header.set_data_dtype(values.dtype)
    nib.save(nib.Nifti1Image(values, np.eye(4), header), tmp_path / "scan.nii.gz")
    image, _ = read_volume(tmp_path / "scan.nii.gz")
    stored = sitk.GetArrayFromImage(image)
    assert stored.dtype == values.dtype.newbyteorder("=")
    np.testing.assert_array_equal(stored.T, values)


def unsized(folder: Path, suffix: str) -> Path:
    """A scan whose header states no voxel size along at least one axis."""
    path, values = folder / f"scan{suffix}", np.arange(60, dtype=np.uint8).reshape(3, 4, 5)
    header = {
        ".nrrd": "NRRD0004\ntype: uchar\ndimension: 3\nsizes: 3 4 5\nencoding: raw\n\n",
        ".mha": "ObjectType = Image\nNDims = 3\nDimSize = 3 4 5\nElementType = MET_UCHAR\nElementDataFile = LOCAL\n",
    }
    if suffix in header:
        path.write_bytes(header[suffix].encode() + values.tobytes(order="F"))
        return path
    image = nib.Nifti1Image(values, None)
    image.header["pixdim"][3], image.header["vox_offset"] = 0, 352
    path.write_bytes(image.header.binaryblock + bytes(4) + values.tobytes(order="F"))
    return path


def test_a_negative_voxel_size_turns_its_axis_round_as_itk_has_it(tmp_path: Path) -> None:
    stored = nib.Nifti1Image(np.arange(60, dtype=np.int16).reshape(3, 4, 5), None)
    content = bytearray(stored.to_bytes())
    content[80:84] = np.float32(-0.8).tobytes()
    (tmp_path / "scan.nii").write_bytes(content)
    scan, by_itk = read_scan(tmp_path / "scan.nii").image, sitk.ReadImage(tmp_path / "scan.nii")
    assert scan.GetDirection()[0] == -1
    assert (scan.GetSpacing(), scan.GetOrigin(), scan.GetDirection()) == (
        by_itk.GetSpacing(), by_itk.GetOrigin(), by_itk.GetDirection()
    )  # fmt: skip
    assert np.array_equal(sitk.GetArrayFromImage(scan), sitk.GetArrayFromImage(by_itk))


@pytest.mark.parametrize("suffix", [".nii", ".nrrd", ".mha"])
def test_a_scan_without_a_voxel_size_is_read_with_a_remark(suffix: str, tmp_path: Path) -> None:
    scan = read_scan(unsized(tmp_path, suffix))
    assert scan.image.GetSpacing() == (1.0, 1.0, 1.0)
    assert scan.guesses[0] == NO_VOXEL_SIZE
    assert len(scan.guesses) == (2 if suffix == ".nii" else 1)
    assert all(any(guess in remark for remark in scan.remarks) for guess in scan.guesses)


def _save(values: np.ndarray, path: Path) -> None:
    sitk.WriteImage(sitk.GetImageFromArray(values), str(path))


GREY = np.random.default_rng(0).normal(size=(4, 5, 6)).astype(np.float32)


def _save_vector(values: np.ndarray, path: Path, *, vector: bool) -> None:
    sitk.WriteImage(sitk.GetImageFromArray(values, isVector=vector), str(path))


def _save_nifti(values: np.ndarray, path: Path, *, shear: float = 0.0) -> None:
    matrix = np.eye(4)
    matrix[0, 1] = shear
    nib.save(nib.Nifti1Image(values, matrix), path)


def _save_truncated(path: Path) -> None:
    whole = path.with_name("whole.nii")
    _save(GREY, whole)
    path.write_bytes(gzip.compress(whole.read_bytes()[:-40]))


def _save_truncated_gzip(path: Path) -> None:
    _save(GREY, path)
    path.write_bytes(path.read_bytes()[:-40])


def _with(values: np.ndarray, **spoilt: float) -> np.ndarray:
    """A copy whose first voxels are replaced."""
    copy = values.copy()
    copy.flat[: len(spoilt)] = list(spoilt.values())
    return copy


BROKEN: dict[str, Callable[[Path], object]] = {
    "missing": lambda path: None,
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_bytes(b"not an image\n" * 99),
    "gzip of text": lambda path: path.write_bytes(gzip.compress(b"not an image\n" * 99)),
    "truncated gzip": _save_truncated_gzip,
    "truncated": _save_truncated,
    "2D": lambda path: _save(GREY[0], path),
    "4D": lambda path: _save_vector(np.stack([GREY, GREY]), path, vector=False),
    "RGB": lambda path: _save_vector(np.zeros((4, 5, 6, 3), np.uint8), path, vector=True),
    "complex": lambda path: _save_nifti(GREY.astype(np.complex64), path),
    "zero": lambda path: _save(np.zeros_like(GREY), path),
    "constant": lambda path: _save(np.full_like(GREY, 7.5), path),
    "NaN": lambda path: _save(_with(GREY, a=np.nan, b=np.inf, c=-np.inf), path),
    "beyond 32 bits": lambda path: _save(_with(GREY.astype(np.float64), a=1e300), path),
    "thin": lambda path: _save(GREY[:, :1], path),
    "sheared": lambda path: _save_nifti(GREY, path, shear=0.3),
}
"""Writers of files that are no usable scans."""


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("missing", "no such file or folder. Correct the name"),
        ("empty", "not a NIfTI file. Give a NIfTI, NRRD or MetaImage file"),
        ("text", "not a NIfTI file. Give a NIfTI, NRRD or MetaImage file"),
        ("gzip of text", "not a NIfTI file. Give a NIfTI, NRRD or MetaImage file"),
        ("truncated gzip", "the compressed file is damaged or ends early. Export or copy the file again"),
        ("truncated", "ends early: 792 of 832 bytes are there. Export or copy the file again"),
        ("2D", "a 2D image (6 x 5). Give a scan of one 3D volume"),
        ("4D", "a 4D image (6 x 5 x 4 x 2). Give a scan of one 3D volume: one of its points in time; if they are "
               "sequences, name them in the recipe"),
        ("RGB", "holds 3 values a voxel. Give a scan with one grey value a voxel"),
        ("complex", "holds several values a voxel (complex numbers). Give a scan with one grey value a voxel"),
        ("zero", "every voxel is 0. Give a scan that shows something"),
        ("constant", "every voxel is 7.5. Give a scan that shows something"),
        ("NaN", "3 of 120 voxels are NaN or infinite. Repair the scan"),
        ("beyond 32 bits", "1 of 120 voxels are NaN or infinite. Repair the scan"),
        ("thin", "only one voxel thin (6 x 1 x 4). Give a scan of at least two slices"),
        ("sheared", "its axes are not perpendicular. Resample it to a straight grid"),
    ],
)  # fmt: skip
def test_what_is_no_usable_scan_is_refused_in_one_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], kind: str, message: str
) -> None:
    path = tmp_path / "scan.nii.gz"
    BROKEN[kind](path)
    with pytest.raises(ScanError) as caught:
        read_scan(path)
    assert str(caught.value) == f"{path}: {message}"
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("suffix", FORMATS)
def test_every_truncation_is_noticed_and_nothing_is_printed(
    image: sitk.Image, tmp_path: Path, capfd: pytest.CaptureFixture[str], suffix: str
) -> None:
    path = tmp_path / f"scan.{suffix}"
    write_image(image, path)
    content = path.read_bytes()
    for length in np.linspace(0, len(content) - 1, 23).astype(int):
        path.write_bytes(content[:length])
        with pytest.raises(ScanError):
            read_scan(path)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("name", "header"),
    [
        (
            "scan.mhd",
            "NDims = 3\nDimSize = 2 2 2\nElementType = MET_UCHAR\nElementDataFile = ../secret.raw\n",
        ),
        ("scan.mha", "NDims = 3\nDimSize = 2 2 2\nElementType = MET_UCHAR\nElementDataFile = LIST\n"),
        ("scan.nhdr", "NRRD0004\ntype: uchar\ndimension: 3\nsizes: 2 2 2\ndata file: ../secret.raw\n"),
    ],
)
def test_a_header_cannot_point_to_files_elsewhere(tmp_path: Path, name: str, header: str) -> None:
    (tmp_path / "secret.raw").write_bytes(bytes(range(8)))
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / name).write_text(header, encoding="utf-8")
    with pytest.raises(ScanError, match=r"its voxels are not in one file beside it\. Convert it to \.mha"):
        read_scan(tmp_path / "in" / name)


def test_voxels_in_a_file_beside_the_header_are_read(image: sitk.Image, tmp_path: Path) -> None:
    for name in ("scan.mhd", "scan.nhdr"):
        sitk.WriteImage(image, str(tmp_path / name))
        got = read_scan(tmp_path / name).image
        np.testing.assert_array_equal(sitk.GetArrayViewFromImage(got), sitk.GetArrayViewFromImage(image))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("ElementType = MET_STRANGE", "its MetaImage header is damaged"),
        ("DimSize = 9 eleven 7", "its MetaImage header is damaged"),
        ("DimSize = 9 11", "its MetaImage header is damaged"),
        ("DimSize = 9 11 700", "ends early: 2772 of 277200 bytes are there"),
    ],
)
def test_a_damaged_metaimage_header_is_named(
    image: sitk.Image, tmp_path: Path, capfd: pytest.CaptureFixture[str], line: str, message: str
) -> None:
    path = tmp_path / "scan.mha"
    sitk.WriteImage(image, str(path))
    field = line.split()[0].encode()
    lines = [line.encode() if one.startswith(field) else one for one in path.read_bytes().split(b"\n")]
    path.write_bytes(b"\n".join(lines))
    with pytest.raises(ScanError, match=message):
        read_scan(path)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("NDims = 2", "its MetaImage header is damaged"),
        ("ElementNumberOfChannels = 3", "holds 3 values a voxel"),
        ("TransformMatrix = 1 0 0 0 1 0 0 0.5 1", "its axes are not perpendicular"),
        ("TransformMatrix = 1 0 0 1", "its MetaImage header is damaged"),
        ("ElementSpacing = 1 1 nan", "its MetaImage header is damaged|is not a number"),
        ("BinaryData = False", "its MetaImage header is damaged|ends early"),
    ],
)
def test_a_metaimage_of_another_kind_is_refused(
    image: sitk.Image, tmp_path: Path, line: str, message: str
) -> None:
    path = tmp_path / "scan.mha"
    sitk.WriteImage(image, str(path))
    kept = [one for one in path.read_bytes().split(b"\n") if not one.startswith(line.split()[0].encode())]
    path.write_bytes(b"\n".join(kept).replace(b"ElementType", line.encode() + b"\nElementType", 1))
    with pytest.raises(ScanError, match=message):
        read_scan(path)


def test_a_metaimage_of_two_dimensions_is_refused(tmp_path: Path) -> None:
    _save(GREY[0], tmp_path / "scan.mha")
    with pytest.raises(ScanError, match=r"a 2D image \(6 x 5\)\. Give a scan of one 3D volume"):
        read_scan(tmp_path / "scan.mha")


@pytest.mark.parametrize(("order", "flag"), [("<", "False"), (">", "True")])
def test_a_header_written_by_hand_wraps_the_end_of_a_raw_file(tmp_path: Path, order: str, flag: str) -> None:
    values = np.arange(60, dtype=f"{order}i2").reshape(5, 4, 3)
    (tmp_path / "scan.raw").write_bytes(b"something else" + values.tobytes())
    header = (
        f"NDims = 3\nDimSize = 3 4 5\nElementType = MET_SHORT\nHeaderSize = -1\nElementByteOrderMSB = {flag}\n"
        "ElementSize = 1 2 3\nPosition = 4 5 6\nElementDataFile = scan.raw\n"
    )
    (tmp_path / "scan.mhd").write_text(header, encoding="utf-8")
    got = read_scan(tmp_path / "scan.mhd").image
    np.testing.assert_array_equal(sitk.GetArrayViewFromImage(got), values)
    assert (got.GetSpacing(), got.GetOrigin()) == ((1, 2, 3), (4, 5, 6))


def test_an_unknown_suffix_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    (tmp_path / "scan.png").write_bytes(b"content")
    with pytest.raises(
        ScanError, match=r"not a format that is read\. Give a DICOM folder or one of \.nii\.gz"
    ):
        read_scan(tmp_path / "scan.png")


def test_a_file_that_may_not_be_read_is_named(
    image: sitk.Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_image(image, tmp_path / "scan.nii")

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(ScanError, match=r"scan\.nii: cannot be read \(Permission denied\)"):
        read_scan(tmp_path / "scan.nii")


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.int32, np.float32, np.float64])
def test_labels_may_be_stored_as_any_type_of_number(label: sitk.Image, tmp_path: Path, kind: type) -> None:
    values = sitk.GetArrayFromImage(label)
    _save(values.astype(kind), tmp_path / "label.nii.gz")
    np.testing.assert_array_equal(sitk.GetArrayFromImage(read_label(tmp_path / "label.nii.gz")), values)


def test_an_empty_label_map_is_valid(tmp_path: Path) -> None:
    _save(np.zeros((3, 4, 5), np.uint8), tmp_path / "label.nii.gz")
    assert not sitk.GetArrayFromImage(read_label(tmp_path / "label.nii.gz")).any()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (0.5, r"value 0.5 is not a label \(0-255\)\. Give a label map"),
        (-1.0, "value -1 is not a label"),
        (256.0, "value 256 is not a label"),
        (np.nan, "1 of 60 voxels are NaN"),
    ],
)
def test_a_label_map_holds_whole_numbers_of_a_byte(tmp_path: Path, value: float, message: str) -> None:
    values = np.zeros((3, 4, 5), np.float32)
    values[1, 2, 3] = value
    _save(values, tmp_path / "label.nii.gz")
    with pytest.raises(DiffclError, match=message):
        read_label(tmp_path / "label.nii.gz")


@pytest.mark.parametrize("name", ["out.png", "out.mhd", "out"])
def test_formats_that_are_not_written_are_refused(label: sitk.Image, tmp_path: Path, name: str) -> None:
    with pytest.raises(OutputError, match="not a format that is written"):
        write_image(label, tmp_path / name)
    assert not [*tmp_path.iterdir()]


def test_an_output_folder_that_is_missing_is_named(label: sitk.Image, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot be written"):
        write_image(label, tmp_path / "missing" / "out.nii.gz")
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("name", ["out.nii.gz", "out.nii", "out.nrrd"])
def test_a_file_that_was_cut_short_unnoticed_is_an_error_and_is_removed(
    name: str, tmp_path: Path, image: sitk.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ITK reports success when the disk is full in the middle of a NIfTI file."""

    class CutShort(sitk.ImageFileWriter):
        def Execute(self, *arguments: sitk.Image) -> None:  # noqa: N802
            super().Execute(*arguments)
            file = Path(self.GetFileName())
            file.write_bytes(file.read_bytes()[:-100])

    monkeypatch.setattr(sitk, "ImageFileWriter", CutShort)
    with pytest.raises(OutputError, match=f"{name}: cannot be written"):
        write_image(image, tmp_path / name)
    assert list(tmp_path.iterdir()) == []
