"""A scan is the same, at the same place, whether it comes as a file, an image or an array."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from scan_forms import ALL_GRIDS, forms_of, ras_affine
from untrained import GRIDS, make_scan

from diffcl.errors import DiffclError, ScanError, UsageError
from diffcl.geometry import Geometry, same_grid, voxels
from diffcl.io import Scan, read_scan


@pytest.fixture(params=list(ALL_GRIDS), ids=list(ALL_GRIDS))
def grid(request: pytest.FixtureRequest) -> Geometry:
    return ALL_GRIDS[request.param]


def test_every_form_gives_the_same_voxels_at_the_same_place(grid: Geometry, tmp_path: Path) -> None:
    expected = make_scan(grid)
    for form, source in forms_of(grid, tmp_path).items():
        found = read_scan(source)
        assert same_grid(Geometry.of(found.image), grid), form
        np.testing.assert_allclose(voxels(found.image), voxels(expected.image), rtol=1e-6, err_msg=form)


def test_the_order_of_an_array_stays(grid: Geometry) -> None:
    values = voxels(make_scan(grid).image)
    values[2, 3, 4] = 9999
    found = read_scan((values, ras_affine(grid)))
    assert np.unravel_index(int(voxels(found.image).argmax()), grid.size) == (2, 3, 4)
    place = found.image.TransformIndexToPhysicalPoint((2, 3, 4))
    np.testing.assert_allclose(
        np.array(place) * (-1, -1, 1), (ras_affine(grid) @ (2, 3, 4, 1))[:3], atol=1e-4
    )


def test_what_was_given_is_not_changed_afterwards() -> None:
    image = make_scan(GRIDS["straight"]).image
    found = read_scan(image)
    before = voxels(image).copy()
    found.image[0, 0, 0] = 9999
    assert np.array_equal(voxels(image), before)


@pytest.mark.parametrize(("unit", "millimetres"), [("mm", 1.0), ("micron", 0.001), ("meter", 1000.0)])
def test_a_header_in_another_unit_means_the_same_in_memory_as_in_a_file(
    tmp_path: Path, unit: str, millimetres: float
) -> None:
    grid = GRIDS["straight"]
    affine = ras_affine(grid)
    affine[:3] /= millimetres
    image = nib.Nifti1Image(voxels(make_scan(grid).image), affine)  # type: ignore[attr-defined]
    image.header.set_xyzt_units(unit)
    nib.save(image, tmp_path / "scan.nii")  # type: ignore[attr-defined]
    found = [Geometry.of(read_scan(source).image) for source in (image, tmp_path / "scan.nii")]
    assert all(same_grid(one, grid) for one in found)


def test_names(tmp_path: Path) -> None:
    forms = forms_of(GRIDS["straight"], tmp_path)
    names = {form: read_scan(source).name for form, source in forms.items()}
    assert names == {
        "str": "scan",
        "Path": "scan",
        "written by nibabel": "by-nibabel",
        "SimpleITK": "scan",
        "nibabel": "scan",
        "nibabel, from a file": "scan",
        "array": "scan",
        "lists": "scan",
    }
    assert {read_scan(source, name="p07").name for source in forms.values()} == {"p07"}


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).gamma(2, 50, shape)


def with_nan() -> tuple[np.ndarray, np.ndarray]:
    values = noise(8, 9, 10)
    values[1, 2, 3] = np.nan
    return values, np.eye(4)


def sheared() -> np.ndarray:
    affine = np.eye(4)
    affine[0, 1] = 0.3
    return affine


def scaled(*factors: float) -> np.ndarray:
    return np.diag([*factors, 1.0])


REFUSED: dict[str, tuple[Callable[[], Any], type[DiffclError], str]] = {
    "4D array": (lambda: (noise(8, 9, 10, 2), np.eye(4)), ScanError, "a 4D image (8 x 9 x 10 x 2)"),
    "2D array": (lambda: (noise(8, 9), np.eye(4)), ScanError, "a 2D image (8 x 9)"),
    "4D SimpleITK": (lambda: sitk.Image([4, 4, 4, 4], sitk.sitkFloat32), ScanError, "a 4D image"),
    "2D SimpleITK": (lambda: sitk.Image([4, 4], sitk.sitkFloat32), ScanError, "a 2D image"),
    "vectors": (lambda: sitk.Image([4, 4, 4], sitk.sitkVectorFloat32, 3), ScanError, "one number a voxel"),
    "complex": (lambda: (noise(8, 9, 10) * 1j, np.eye(4)), ScanError, "one number a voxel"),
    "words": (lambda: (np.full((8, 9, 10), "a"), np.eye(4)), ScanError, "one number a voxel"),
    "4D nibabel": (
        lambda: nib.Nifti1Image(noise(8, 9, 10, 2), np.eye(4)),  # type: ignore[attr-defined]
        ScanError,
        "a 4D image (8 x 9 x 10 x 2)",
    ),
    "NaN": (with_nan, ScanError, "1 of 720 voxels are NaN or infinite"),
    "too large": (lambda: (noise(8, 9, 10) * 1e200, np.eye(4)), ScanError, "720 of 720 voxels are NaN"),
    "sheared": (lambda: (noise(8, 9, 10), sheared()), ScanError, "its axes are not perpendicular"),
    "flat": (lambda: (np.ones((8, 9, 10)), np.eye(4)), ScanError, "every voxel is 1"),
    "thin": (lambda: (noise(8, 9, 1), np.eye(4)), ScanError, "only one voxel thin"),
    "empty": (lambda: (noise(8, 9, 0), np.eye(4)), ScanError, "it has 8 x 9 x 0 voxels"),
    "3x3 affine": (lambda: (noise(8, 9, 10), np.eye(3)), ScanError, "not a matrix of 4 x 4 numbers"),
    "affine of words": (lambda: (noise(8, 9, 10), [["a"] * 4] * 4), ScanError, "not a matrix of 4 x 4"),
    "last row": (lambda: (noise(8, 9, 10), np.ones((4, 4))), ScanError, "the last row of its affine"),
    "NaN affine": (
        lambda: (noise(8, 9, 10), scaled(np.nan, 1, 1)),
        ScanError,
        "voxel size, position or orientation",
    ),
    "no extent": (lambda: (noise(8, 9, 10), scaled(0, 1, 1)), ScanError, "its voxels are 0 mm wide"),
    "ragged": (lambda: ([[[1.0], [2.0, 3.0]]], np.eye(4)), ScanError, "is no regular array of numbers"),
    "two paths": (lambda: ("a.nii", "b.nii"), ScanError, "does not hold one number a voxel"),
    "bare array": (lambda: noise(8, 9, 10), UsageError, "does not say where its voxels lie"),
    "number": (lambda: 3, UsageError, "is no scan. Give a path, a SimpleITK image"),
    "three things": (lambda: (noise(8, 9, 10), np.eye(4), 1), UsageError, "is no scan"),
}


@pytest.mark.parametrize(("make", "kind", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_a_scan_is_refused_in_one_line(
    make: Callable[[], Any], kind: type[DiffclError], message: str
) -> None:
    with pytest.raises(kind) as refused:
        read_scan(make(), name="p07")
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_what_is_in_memory_is_no_series() -> None:
    with pytest.raises(UsageError, match="so it has no series to choose"):
        read_scan(make_scan(GRIDS["straight"]).image, series_uid="1.2.3")


def test_what_a_header_says_beside_the_voxels_is_left_behind() -> None:
    image = make_scan(GRIDS["straight"]).image
    image.SetMetaData("0010|0010", "Doe^Jane")
    found: Scan = read_scan(image)
    assert not found.image.GetMetaDataKeys()
    assert "Doe" not in f"{found.name} {found.path}"


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_file_that_ended_early_is_refused_when_nibabel_reads_its_voxels(
    tmp_path: Path, suffix: str
) -> None:
    file = tmp_path / f"scan{suffix}"
    sitk.WriteImage(make_scan(GRIDS["straight"]).image, file)
    file.write_bytes(file.read_bytes()[:-5000])
    with pytest.raises(ScanError, match="its voxels cannot be read, or end early"):
        read_scan(nib.load(file))  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["/etc/passwd", "../p07", "a/b"])
def test_a_name_never_makes_a_file_of_what_has_none(name: str) -> None:
    scan = read_scan(make_scan(GRIDS["straight"]).image, name=name)
    assert scan.name == name
    assert scan.path.parent == Path("(in memory)")
