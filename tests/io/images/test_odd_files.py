"""Files that other programs write and that a careless reader stumbles over; what they hold is known here."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from diffcl.errors import ScanError
from diffcl.geometry import Geometry, same_grid, voxels
from diffcl.io import read_label, read_scan
from diffcl.io.images import integrity


@pytest.fixture
def array(image: sitk.Image) -> np.ndarray:
    """The voxels of `image`, int16, `(X, Y, Z)`."""
    return voxels(image).astype(np.int16)


@pytest.fixture
def grid(image: sitk.Image) -> Geometry:
    return Geometry.of(image)


def nrrd(array: np.ndarray, grid: Geometry, **changes: str | None) -> bytes:
    """An NRRD file; `changes` are fields with `_` for blanks, None takes one away."""
    steps = (grid.axes * grid.spacing).T
    fields: dict[str, str | None] = {
        "type": "short",
        "dimension": "3",
        "space": "left-posterior-superior",
        "sizes": " ".join(map(str, array.shape)),
        "space directions": " ".join(f"({','.join(map(repr, step.tolist()))})" for step in steps),
        "kinds": "domain domain domain",
        "endian": "little",
        "encoding": "raw",
        "space origin": f"({','.join(map(repr, grid.origin))})",
    }
    fields |= {key.replace("_", " "): value for key, value in changes.items()}
    lines = [
        "NRRD0004",
        "# a comment",
        *(f"{key}: {value}" for key, value in fields.items() if value is not None),
    ]
    data = array.astype("<i2").tobytes(order="F")
    if fields["encoding"] == "gzip":
        data = gzip.compress(data)
    return ("\n".join(lines) + "\n\n").encode() + data


def metaimage(array: np.ndarray, grid: Geometry, data: bytes | None = None, **changes: str | None) -> bytes:
    """A MetaImage file; `changes` are fields, None takes one away."""
    fields: dict[str, str | None] = {
        "ObjectType": "Image",
        "NDims": "3",
        "BinaryData": "True",
        "TransformMatrix": " ".join(map(repr, grid.axes.T.ravel().tolist())),
        "Offset": " ".join(map(repr, grid.origin)),
        "ElementSpacing": " ".join(map(repr, grid.spacing)),
        "DimSize": " ".join(map(str, array.shape)),
        "ElementType": "MET_SHORT",
    }
    fields |= changes
    lines = [f"{key} = {value}" for key, value in fields.items() if value is not None]
    data = array.astype("<i2").tobytes(order="F") if data is None else data
    return ("\n".join([*lines, "ElementDataFile = LOCAL"]) + "\n").encode() + data


def directions(grid: Geometry, *places: str) -> str:
    """Space directions with `none` where a place says so, else those of the grid in turn."""
    steps = iter((grid.axes * grid.spacing).T.tolist())
    return " ".join(
        "none" if place == "none" else f"({','.join(map(repr, next(steps)))})" for place in places
    )


def assert_is(path: Path, array: np.ndarray, grid: Geometry) -> tuple[str, ...]:
    """Whether a file is read as these voxels on this grid; its remarks."""
    scan = read_scan(path)
    np.testing.assert_array_equal(voxels(scan.image), array)
    assert same_grid(Geometry.of(scan.image), grid)
    return scan.remarks


@pytest.mark.parametrize("list_axis", [0, 1, 3], ids=["first", "second", "last"])
@pytest.mark.parametrize("kind", ["list", "vector", "scalar", "point", "time", "???", "domain", None])
def test_an_nrrd_axis_of_one_value_is_no_axis(
    array: np.ndarray, grid: Geometry, tmp_path: Path, list_axis: int, kind: str | None
) -> None:
    sizes, kinds, places = [*array.shape], ["domain"] * 3, ["axis"] * 3
    sizes.insert(list_axis, 1)
    kinds.insert(list_axis, kind or "")
    places.insert(list_axis, "none")
    content = nrrd(array, grid, dimension="4", sizes=" ".join(map(str, sizes)),
                   kinds=" ".join(kinds) if kind else None, space_directions=directions(grid, *places))  # fmt: skip
    (tmp_path / "scan.nrrd").write_bytes(content)
    assert assert_is(tmp_path / "scan.nrrd", array, grid) == ()
    header, voxels_alone = content.split(b"\n\n", 1)
    (tmp_path / "scan.nhdr").write_bytes(header + b"\ndata file: ./beside.raw\n")
    (tmp_path / "beside.raw").write_bytes(voxels_alone)
    assert assert_is(tmp_path / "scan.nhdr", array, grid) == ()


@pytest.mark.parametrize("kinds", ["domain domain domain time", None], ids=str)
def test_an_nrrd_of_several_times_is_told_as_such(
    array: np.ndarray, grid: Geometry, tmp_path: Path, kinds: str | None
) -> None:
    content = nrrd(np.stack([array, array], axis=3), grid, dimension="4", kinds=kinds,
                   space_directions=directions(grid, "x", "y", "z", "none"))  # fmt: skip
    (tmp_path / "scan.nrrd").write_bytes(content)
    with pytest.raises(ScanError, match=r"a 4D image \(9 x 11 x 7 x 2\)"):
        read_scan(tmp_path / "scan.nrrd")


def test_an_nrrd_of_several_values_is_refused(array: np.ndarray, grid: Geometry, tmp_path: Path) -> None:
    content = nrrd(np.stack([array, array]), grid, dimension="4", kinds="vector domain domain domain",
                   space_directions=directions(grid, "none", "x", "y", "z"))  # fmt: skip
    (tmp_path / "scan.nrrd").write_bytes(content)
    with pytest.raises(ScanError, match="holds several values a voxel"):
        read_scan(tmp_path / "scan.nrrd")


@pytest.mark.parametrize(
    ("factor", "units", "message"),
    [
        (
            1000,
            '"microns" "microns" "microns"',
            r"would be 17\.5 m wide, .* header says \"microns\".*millimetres",
        ),
        (
            1000,
            None,
            r"it would be 17\.5 m wide, so its voxel size is not in millimetres\. Save it in millimetres",
        ),
        (0.1, '"cm" "cm" "cm"', r"its positions are in \"cm\", in millimetres it would be 0\.00175 m wide"),
        (0.001, '"m" "m" "m"', r"its positions are in \"m\""),
        (0.001, None, r"it would be 0\.018 mm wide, so its voxel size is not in millimetres"),
    ],
    ids=["microns", "microns not said", "centimetres", "metres", "metres not said"],
)
def test_an_nrrd_in_another_unit_is_refused_by_its_width(
    array: np.ndarray, grid: Geometry, tmp_path: Path, factor: float, units: str | None, message: str
) -> None:
    steps = (grid.axes * grid.spacing * factor).T.tolist()
    places = " ".join(f"({','.join(map(repr, step))})" for step in steps)
    (tmp_path / "scan.nrrd").write_bytes(nrrd(array, grid, space_directions=places, space_units=units))
    with pytest.raises(ScanError, match=message):
        read_scan(tmp_path / "scan.nrrd")


def test_an_nrrd_that_says_millimetres_is_read(array: np.ndarray, grid: Geometry, tmp_path: Path) -> None:
    (tmp_path / "scan.nrrd").write_bytes(nrrd(array, grid, space_units='"mm" "mm" "mm"', encoding="gzip"))
    assert_is(tmp_path / "scan.nrrd", array, grid)


@pytest.mark.parametrize(
    "changes",
    [
        {"space_directions": " ".join(["(1,0,0)"] * 300)},
        {"space_directions": "(1,0,0) (0,1,0)"},
        {"space_directions": "(1,0,0) (0,1,0) (0,0,inf)"},
        {"space_directions": "(1,0,0) (0,1,0) (0,0,0)"},
        {"space_directions": "(1,0,0) (0,1,0) (1,1,0)"},
        {"space_directions": "(1,0,0,0) (0,1,0) (0,0,1)"},
        {"space_origin": "(1,2)"},
        {"space_origin": "(1,2,3) (1,2,3)"},
        {"sizes": "9 11"},
        {"sizes": "9 11 -7"},
        {"sizes": "9 11 99999999999999999999"},
        {"sizes": "9 11 700"},
        {"sizes": "90000 110000 70000"},
        {"dimension": "300"},
        {"dimension": "3 3"},
        {"kinds": "domain domain"},
        {"kinds": "domain domain d" + "9" * 1800},
        {"sizes": "9 11 " + "0" * 1800 + "7"},
        {"endian": "little" * 300},
        {"space": "left-pos" + "(1,0,0)" * 200},
        {"space": "left posterior " * 50},
        {"encoding": "raw " * 100},
        {"sample_units": "HU " * 100},
        {"labels": '"' + "x " * 100 + '" "y" "z"'},
        {"type": "block"},
        {"encoding": "bzip2"},
        {"encoding": None},
        {"byte_skip": "-2"},
        {"measurement_frame": "(1,0,0) (0,1,0)"},
        {"labels": '"x" "y'},
        {"unknown": "field"},
        {"spacings": "1 1 1"},
    ],
    ids=str,
)
def test_an_nrrd_header_that_could_harm_a_native_reader_is_refused_before(
    array: np.ndarray,
    grid: Geometry,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, str | None],
) -> None:
    (tmp_path / "scan.nrrd").write_bytes(nrrd(array, grid, **changes))
    monkeypatch.delattr(sitk, "ImageFileReader")
    with pytest.raises(ScanError) as caught:
        read_scan(tmp_path / "scan.nrrd")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("true", ["True", "true", "T", "1", "TRUE"])
def test_metaimage_values_are_true_as_metaio_reads_them(
    array: np.ndarray, grid: Geometry, tmp_path: Path, true: str
) -> None:
    big = array.astype(">i2").tobytes(order="F")
    (tmp_path / "big.mha").write_bytes(metaimage(array, grid, big, BinaryDataByteOrderMSB=true))
    assert_is(tmp_path / "big.mha", array, grid)
    packed = zlib.compress(array.astype("<i2").tobytes(order="F"))
    (tmp_path / "packed.mha").write_bytes(
        metaimage(array, grid, packed, BinaryData=true, CompressedData=true)
    )
    assert_is(tmp_path / "packed.mha", array, grid)


@pytest.mark.parametrize("local", ["Local", "local"])
def test_the_word_for_the_file_itself_may_be_spelt_as_metaio_reads_it(
    array: np.ndarray, grid: Geometry, tmp_path: Path, local: str
) -> None:
    content = metaimage(array, grid).replace(b"= LOCAL\n", f"= {local}\n".encode())
    (tmp_path / "scan.mha").write_bytes(content)
    assert_is(tmp_path / "scan.mha", array, grid)


def test_fields_that_mean_the_same_may_all_be_there(
    array: np.ndarray, grid: Geometry, tmp_path: Path
) -> None:
    place = " ".join(map(repr, grid.origin))
    content = metaimage(array, grid, ElementSize="9 9 9", Position=place, Origin=place)
    (tmp_path / "scan.mha").write_bytes(content)
    assert_is(tmp_path / "scan.mha", array, grid)
    (tmp_path / "scan.mha").write_bytes(metaimage(array, grid, Position="0 0 0"))
    with pytest.raises(ScanError, match="its Offset and Position are not the same"):
        read_scan(tmp_path / "scan.mha")


def test_a_metaimage_written_as_text_is_read(array: np.ndarray, grid: Geometry, tmp_path: Path) -> None:
    text = " ".join(map(str, array.ravel(order="F"))).encode()
    (tmp_path / "scan.mha").write_bytes(metaimage(array, grid, text, BinaryData="false"))
    assert_is(tmp_path / "scan.mha", array, grid)


def test_a_metaimage_with_a_last_axis_of_one_is_one_volume(
    array: np.ndarray, grid: Geometry, tmp_path: Path
) -> None:
    matrix = np.eye(4)
    matrix[:3, :3] = grid.axes.T
    content = metaimage(
        array, grid, NDims="4", DimSize="9 11 7 1", TransformMatrix=" ".join(map(repr, matrix.ravel().tolist())),
        Offset=" ".join(map(repr, (*grid.origin, 0.0))), ElementSpacing=" ".join(map(repr, (*grid.spacing, 1.0))),
    )  # fmt: skip
    (tmp_path / "scan.mha").write_bytes(content)
    assert_is(tmp_path / "scan.mha", array, grid)


@pytest.mark.parametrize(
    "changes",
    [
        {"TransformMatrix": "1 0 0 0 inf 0 0 0 1"},
        {"TransformMatrix": "0 0 0 0 0 0 0 0 0"},
        {"TransformMatrix": "2 0 0 0 2 0 0 0 2"},
        {"Offset": "nan 0 0"},
        {"ElementSpacing": "0.7 0.9 -2.5"},
        {"ElementSpacing": "0.7 0.9 0"},
        {"DimSize": "9 11 7 1 1 1 1 1 1 1 1 1", "NDims": "12"},
        {"DimSize": "90000 110000 70000"},
        {"DimSize": "9 11 0"},
        {"HeaderSize": "-7"},
        {"HeaderSize": "99999999999"},
        {"DistanceUnits": "um"},
        {"Position": "0 0 0"},
    ],
    ids=str,
)
def test_a_metaimage_header_that_makes_no_sense_is_refused(
    array: np.ndarray, grid: Geometry, tmp_path: Path, changes: dict[str, str | None]
) -> None:
    (tmp_path / "scan.mha").write_bytes(metaimage(array, grid, **changes))
    with pytest.raises(ScanError) as caught:
        read_scan(tmp_path / "scan.mha")
    assert "\n" not in str(caught.value)


def test_a_nifti_with_two_places_is_read_by_the_sform_and_says_so(
    array: np.ndarray, grid: Geometry, tmp_path: Path
) -> None:
    mirrored = grid.affine.copy()
    mirrored[0] *= -1
    file = nib.Nifti1Image(array, grid.affine)
    file.set_sform(grid.affine, code=2)
    file.set_qform(mirrored, code=1)
    nib.save(file, tmp_path / "scan.nii.gz")
    (remark,) = assert_is(tmp_path / "scan.nii.gz", array, grid)
    assert "sform against qform: its axes" in remark
    label = nib.Nifti1Image((array > 0).astype(np.uint8), nib.load(tmp_path / "scan.nii.gz").affine)
    nib.save(label, tmp_path / "label.nii.gz")
    assert same_grid(Geometry.of(read_label(tmp_path / "label.nii.gz")), grid)


def test_a_nifti_places_its_voxels_by_the_qform_where_there_is_no_sform(
    array: np.ndarray, grid: Geometry, tmp_path: Path
) -> None:
    file = nib.Nifti1Image(array, grid.affine)
    file.set_sform(None, code=0)
    file.set_qform(grid.affine, code=1)
    nib.save(file, tmp_path / "scan.nii.gz")
    assert assert_is(tmp_path / "scan.nii.gz", array, grid) == ()


def test_the_sform_counts_against_another_voxel_size_in_the_header(
    array: np.ndarray, grid: Geometry, tmp_path: Path
) -> None:
    file = nib.Nifti1Image(array, grid.affine)
    file.header["pixdim"][1:4] = 1
    file.to_filename(tmp_path / "scan.nii")
    assert_is(tmp_path / "scan.nii", array, grid)


@pytest.mark.parametrize("field", ["quatern_b", "qoffset_x", "pixdim"])
@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30])
def test_what_stands_in_unused_fields_of_a_nifti_does_not_matter(
    array: np.ndarray, grid: Geometry, tmp_path: Path, field: str, value: float
) -> None:
    file = nib.Nifti1Image(array, grid.affine)
    file.set_sform(grid.affine, code=1)
    file.set_qform(grid.affine, code=0)
    if field == "pixdim":
        file.header["pixdim"][5] = value
    else:
        file.header[field] = value
    file.to_filename(tmp_path / "scan.nii")
    assert assert_is(tmp_path / "scan.nii", array, grid) == ()


@pytest.mark.parametrize("slope", [0.0, np.nan])
def test_what_a_nifti_without_a_factor_says_to_add_is_not_added(
    array: np.ndarray, grid: Geometry, tmp_path: Path, slope: float
) -> None:
    content = bytearray(nib.Nifti1Image(array, grid.affine).to_bytes())
    content[112:120] = np.array([slope, 5.0], "<f4").tobytes()
    (tmp_path / "scan.nii").write_bytes(content)
    assert_is(tmp_path / "scan.nii", array, grid)


@pytest.mark.parametrize("step", [1e-300, 1e300, np.nan])
@pytest.mark.parametrize("placed", [True, False], ids=["by the sform", "by nothing else"])
def test_a_voxel_size_that_no_reader_can_hold_counts_only_where_it_places_the_voxels(
    array: np.ndarray, grid: Geometry, tmp_path: Path, step: float, placed: bool
) -> None:
    file = nib.Nifti2Image(array, grid.affine)
    file.set_sform(grid.affine, code=1)
    content = bytearray(file.to_bytes())
    content[120:128] = np.array([step], "<f8").tobytes()  # of pixdim
    content[344:352] = np.array([0, int(placed)], "<i4").tobytes()  # the codes of both forms
    (tmp_path / "scan.nii").write_bytes(content)
    if placed:
        assert_is(tmp_path / "scan.nii", array, grid)
    else:
        with pytest.raises(ScanError, match="is not a number"):
            read_scan(tmp_path / "scan.nii")


def test_nifti_2_is_read(array: np.ndarray, grid: Geometry, tmp_path: Path) -> None:
    nib.save(nib.Nifti2Image(array, grid.affine), tmp_path / "scan.nii.gz")
    assert assert_is(tmp_path / "scan.nii.gz", array, grid) == ()


@pytest.mark.parametrize("shape", [(1,), (1, 1)], ids=["4D", "5D"])
def test_a_nifti_with_one_volume_in_further_axes_is_read(
    array: np.ndarray, grid: Geometry, tmp_path: Path, shape: tuple[int, ...]
) -> None:
    file = nib.Nifti1Image(array.reshape(*array.shape, *shape), grid.affine)
    file.header["dim"][0] = 3 + len(shape)
    file.to_filename(tmp_path / "scan.nii.gz")
    assert_is(tmp_path / "scan.nii.gz", array, grid)


@pytest.mark.parametrize("packed", [True, False], ids=["gzip named .nii", "plain named .nii.gz"])
def test_a_nifti_is_read_whatever_its_name_says_about_compression(
    array: np.ndarray, grid: Geometry, tmp_path: Path, *, packed: bool
) -> None:
    nib.save(nib.Nifti1Image(array, grid.affine), tmp_path / "plain.nii")
    content = (tmp_path / "plain.nii").read_bytes()
    path = tmp_path / ("scan.nii" if packed else "scan.nii.gz")
    path.write_bytes(gzip.compress(content) if packed else content)
    assert_is(path, array, grid)


@pytest.mark.parametrize(("unit", "factor"), [("micron", 1000.0), ("meter", 0.001)])
def test_a_nifti_in_another_unit_is_read_in_millimetres(
    array: np.ndarray, grid: Geometry, tmp_path: Path, unit: str, factor: float
) -> None:
    affine = grid.affine
    affine[:3] *= factor
    file = nib.Nifti1Image(array, affine)
    file.header.set_xyzt_units(unit)
    nib.save(file, tmp_path / "scan.nii")
    assert_is(tmp_path / "scan.nii", array, grid)


def test_a_small_shear_is_straightened_with_a_remark(array: np.ndarray, tmp_path: Path) -> None:
    affine = np.diag([-1.0, -1.0, 1.0, 1.0])
    affine[0, 1] = 0.01
    nib.save(nib.Nifti1Image(array, affine), tmp_path / "scan.nii.gz")
    scan = read_scan(tmp_path / "scan.nii.gz")
    np.testing.assert_array_equal(voxels(scan.image), array)
    assert "not quite perpendicular" in scan.remarks[0]
    corners = np.array(list(np.ndindex(2, 2, 2))) * (np.array(array.shape) - 1)
    wanted = nib.affines.apply_affine(affine, corners) * (-1, -1, 1)
    assert np.abs(Geometry.of(scan.image).points(corners) - wanted).max() < 0.1


def test_labels_that_are_nearly_whole_are_rounded(label: sitk.Image, tmp_path: Path) -> None:
    nearly = sitk.GetImageFromArray(sitk.GetArrayFromImage(label) * 1.000001)
    sitk.WriteImage(nearly, str(tmp_path / "label.nii.gz"))
    read = read_label(tmp_path / "label.nii.gz")
    np.testing.assert_array_equal(sitk.GetArrayFromImage(read), sitk.GetArrayFromImage(label))


@pytest.mark.parametrize(
    ("value", "told"), [(1.0015, "1.0015"), (255.4, "255.4"), (-1e-2, "-0.01"), (1e30, "1e\\+30")]
)
def test_a_value_that_is_no_label_is_told_in_full(tmp_path: Path, value: float, told: str) -> None:
    values = np.zeros((4, 5, 6))
    values[1, 2, 3] = value
    sitk.WriteImage(sitk.GetImageFromArray(values), str(tmp_path / "label.nrrd"))
    with pytest.raises(ScanError, match=f"value {told} is not a label"):
        read_label(tmp_path / "label.nrrd")


def bomb(form: str, grid: Geometry) -> bytes:
    """A few kilobytes that unpack to 64 MB behind a header that promises a few kilobytes."""
    zeros = bytes(64 << 20)
    small = np.zeros(grid.size, np.int16)
    if form == "nrrd":
        head = nrrd(small, grid, encoding="gzip").split(b"\n\n")[0]
        return head + b"\n\n" + gzip.compress(zeros)
    if form == "mha":
        return metaimage(small, grid, zlib.compress(zeros), CompressedData="True")
    file = nib.Nifti1Image(small, grid.affine)
    return gzip.compress(file.to_bytes() + zeros)


@pytest.mark.parametrize("form", ["nii.gz", "nrrd", "mha"])
def test_nothing_is_unpacked_far_beyond_what_the_header_promises(
    grid: Geometry, tmp_path: Path, form: str
) -> None:
    path = tmp_path / f"scan.{form}"
    path.write_bytes(bomb(form, grid))
    assert path.stat().st_size < 100_000
    with pytest.raises(ScanError, match=r"holds more than the .* bytes that its header promises"):
        read_scan(path)


PROMISES: dict[str, Callable[[np.ndarray, Geometry], bytes]] = {
    "nii": lambda array, grid: nib.Nifti1Image(array, grid.affine).to_bytes(),
    "nrrd": nrrd,
    "mha": metaimage,
}


@pytest.mark.parametrize("form", PROMISES)
def test_more_voxels_than_the_limit_are_refused_before_memory_is_taken(
    array: np.ndarray, grid: Geometry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    (tmp_path / f"scan.{form}").write_bytes(PROMISES[form](array, grid))
    monkeypatch.setattr(integrity, "LARGEST_VOXELS", 9 * 11 * 7 - 1)
    with pytest.raises(ScanError, match="9 x 11 x 7 voxels, more than the 692 that are read"):
        read_scan(tmp_path / f"scan.{form}")
    monkeypatch.setattr(integrity, "LONGEST_AXIS", 10)
    with pytest.raises(ScanError, match="9 x 11 x 7 voxels, more than 10 along an axis"):
        read_scan(tmp_path / f"scan.{form}")
