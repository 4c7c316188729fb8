"""Three planes of a scan show what a whole upright scan shows there."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from scipy.spatial.transform import Rotation

from diffcl.data.resample import resample
from diffcl.geometry import Geometry, voxels
from diffcl.io.planes import SAMPLE, Planes, cut, planes_of_label, planes_of_scan, upright, window_of
from diffcl.phantom import phantom_grid

GRIDS = {
    "upright": phantom_grid(orientation="LPS", spacing=(3.0, 3.0, 3.0)),
    "flipped": phantom_grid(orientation="RAI", spacing=(3.0, 2.5, 3.0)),
    "sagittal, flat voxels": phantom_grid(orientation="PIR", spacing=(1.8, 1.8, 4.0)),
    "oblique": phantom_grid(orientation="ASR", rotation=(8.0, -12.0, 10.0), spacing=(3.3, 2.9, 2.1)),
}
every_grid = pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS.keys())


def scan(grid: Geometry) -> sitk.Image:
    return grid.place(np.random.default_rng(0).normal(100, 10, grid.size).astype(np.float32))


def ball(grid: Geometry, toward: tuple[float, float, float]) -> sitk.Image:
    """A ball of two classes, `toward` (LPS, mm) of the middle of a grid."""
    points = grid.points(np.moveaxis(np.indices(grid.size), 0, -1))
    apart = np.linalg.norm(points - grid.points((np.array(grid.size) - 1) / 2) - toward, axis=-1)
    return grid.place(((apart < 12).astype(np.uint8) + (apart < 7)).astype(np.uint8))


@every_grid
def test_planes_are_slices_of_the_whole_upright_scan(grid: Geometry) -> None:
    label = ball(grid, (6.0, -5.0, 4.0))
    planes = planes_of_label(label)
    for image, labels in ((scan(grid), False), (label, True)):
        whole = voxels(resample(image, upright(grid), labels=labels))
        for axis, (found, position) in enumerate(
            zip(cut(image, planes, labels=labels), planes.positions, strict=True)
        ):
            np.testing.assert_allclose(found, whole.take(position, axis), atol=1e-3)


@every_grid
def test_a_label_is_seen_where_it_is_largest(grid: Geometry) -> None:
    label = ball(grid, (6.0, -5.0, 4.0))
    label[1, 2, 3] = 1  # one far voxel changes nothing
    seen = voxels(resample(label, upright(grid), labels=True)) > 0
    areas = [seen.sum(axis=tuple({0, 1, 2} - {axis})) for axis in range(3)]
    assert planes_of_label(label).positions == tuple(int(area.argmax()) for area in areas)


@every_grid
def test_an_empty_label_is_seen_through_the_middle(grid: Geometry) -> None:
    empty = grid.place(np.zeros(grid.size, np.uint8))
    assert planes_of_label(empty) == planes_of_scan(grid)
    assert planes_of_scan(grid).positions == tuple(length // 2 for length in upright(grid).size)


def test_a_plane_lies_where_its_voxels_are() -> None:
    grid = upright(GRIDS["oblique"])
    planes = Planes(grid, (4, 5, 6))
    sagittal, coronal, axial = planes.grids
    assert sagittal.size == (1, *grid.size[1:])
    assert coronal.origin == pytest.approx(grid.points((0, 5, 0)))
    assert axial.origin == pytest.approx(grid.points((0, 0, 6)))


@pytest.mark.parametrize("name", ["upright", "flipped", "sagittal, flat voxels"])
def test_an_upright_scan_keeps_its_voxels(name: str) -> None:
    grid = GRIDS[name]
    shown = upright(grid)
    assert sorted(zip(shown.size, shown.spacing, strict=True)) == sorted(
        zip(grid.size, grid.spacing, strict=True)
    )
    np.testing.assert_allclose(np.reshape(shown.direction, (3, 3)), np.eye(3))


def test_an_oblique_scan_is_covered_by_cubes() -> None:
    grid = Geometry((40, 30, 9), (0.7, 0.7, 4.0), (5.0, 6.0, 7.0),
                    tuple(Rotation.from_euler("xyz", [20, 30, -40], degrees=True).as_matrix().ravel()))  # fmt: skip
    shown = upright(grid)
    assert shown.spacing == (0.7, 0.7, 0.7)
    centre = np.array(grid.origin) + np.reshape(grid.direction, (3, 3)) @ (
        (np.array(grid.size) - 1) / 2 * grid.spacing
    )
    middle = np.array(shown.origin) + (np.array(shown.size) - 1) / 2 * shown.spacing
    np.testing.assert_allclose(middle, centre, atol=0.7)


def test_a_large_oblique_scan_is_shown_coarser() -> None:
    grid = phantom_grid(rotation=(0.0, 0.0, 20.0), spacing=(0.1, 0.1, 1.0), extent=(100.0, 100.0, 30.0))
    assert max(upright(grid).size) <= 301


def test_grey_values_are_chosen_from_what_is_not_0() -> None:
    values = np.linspace(1, 1001, 1001).reshape(7, 11, 13)
    assert window_of(values) == pytest.approx((6, 996))
    assert window_of(np.concatenate([np.zeros(2002), values.ravel()])) == pytest.approx((6, 996))
    assert window_of(np.zeros((3, 4, 5))) == (0, 0)


def test_grey_values_of_a_large_scan_come_from_a_sample_of_all_of_it() -> None:
    values = np.random.default_rng(0).normal(500, 100, (256, 256, 40)).astype(np.float32)
    assert values.size > 2 * SAMPLE
    assert window_of(values) == pytest.approx(np.percentile(values, (0.5, 99.5)), abs=2)
