from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import SimpleITK as sitk
from scipy.spatial.transform import Rotation

from diffcl.geometry import Geometry, voxels
from diffcl.phantom import ANTERIOR, POSTERIOR, Anatomy, Phantom, make_phantom, phantom_grid

GRIDS = {
    "upright": phantom_grid(),
    "oblique": phantom_grid(rotation=(12.0, -8.0, 10.0)),
    "anisotropic": phantom_grid(spacing=(0.8, 1.1, 1.7), extent=(37.0, 51.0, 35.0)),
    "sagittal": phantom_grid(orientation="PIR", spacing=(0.9, 0.9, 1.4), rotation=(0.0, 5.0, -9.0)),
}


@cache
def person(grid: Geometry) -> Phantom:
    """The same person on a grid."""
    return make_phantom(3, grid)


def centre(label: sitk.Image, value: int) -> np.ndarray:
    """LPS position of the middle of a class."""
    return np.mean(
        [label.TransformIndexToPhysicalPoint(at.tolist()) for at in np.argwhere(voxels(label) == value)], 0
    )


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS.keys())
def test_each_part_has_its_exact_volume(grid: Geometry) -> None:
    phantom = person(grid)
    voxel_ml = np.prod(grid.spacing) / 1000
    for value, volume in zip((ANTERIOR, POSTERIOR), phantom.volumes_ml, strict=True):
        assert np.count_nonzero(voxels(phantom.label) == value) * voxel_ml == pytest.approx(volume, rel=0.03)


@pytest.mark.parametrize("seed", range(3))
def test_a_person_differs_from_the_standard_in_volume_by_the_stretch_alone(seed: int) -> None:
    anatomy = Anatomy.draw(np.random.default_rng(seed))
    points = np.random.default_rng(1).uniform(-20, 20, (50, 3))
    steps = [
        (anatomy.standard(points + step) - anatomy.standard(points - step)) / 2e-4
        for step in 1e-4 * np.eye(3)
    ]
    change = np.linalg.det(np.stack(steps, axis=-1))
    np.testing.assert_allclose(change, 1 / np.prod(anatomy.stretch), rtol=1e-6)


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS.keys())
def test_scan_and_label_lie_on_the_grid_asked_for(grid: Geometry) -> None:
    phantom = person(grid)
    assert Geometry.of(phantom.image) == Geometry.of(phantom.label) == grid
    assert (phantom.image.GetPixelID(), phantom.label.GetPixelID()) == (sitk.sitkInt16, sitk.sitkUInt8)


@pytest.mark.parametrize("grid", [GRIDS["oblique"], GRIDS["sagittal"]], ids=["oblique", "sagittal"])
def test_the_same_person_lies_in_the_same_place_on_every_grid(grid: Geometry) -> None:
    upright, other = person(GRIDS["upright"]), person(grid)
    for value in (ANTERIOR, POSTERIOR):
        np.testing.assert_allclose(centre(upright.label, value), centre(other.label, value), atol=0.15)


def test_front_lies_before_and_below_the_back() -> None:
    label = person(GRIDS["oblique"]).label
    along = centre(label, ANTERIOR) - centre(label, POSTERIOR)
    assert along[1] < -10
    assert along[2] < -3


def test_the_same_seed_gives_the_same_voxels() -> None:
    grid = GRIDS["anisotropic"]
    one, again, other = person(grid), make_phantom(3, grid), make_phantom(4, grid)
    assert voxels(one.image).tobytes() == voxels(again.image).tobytes()
    assert voxels(one.label).tobytes() == voxels(again.label).tobytes()
    assert voxels(one.label).tobytes() != voxels(other.label).tobytes()


def test_the_right_side_is_the_mirror_image_of_the_left() -> None:
    left = make_phantom(4, phantom_grid(orientation="RAS", side="left"), side="left")
    right = make_phantom(4, phantom_grid(orientation="LAS", side="right"), side="right")
    np.testing.assert_array_equal(voxels(left.label), voxels(right.label))
    assert centre(left.label, ANTERIOR)[0] == pytest.approx(-centre(right.label, ANTERIOR)[0])


def test_the_tube_is_darker_than_white_matter_and_brighter_than_fluid() -> None:
    phantom = person(GRIDS["upright"])
    image, label = voxels(phantom.image), voxels(phantom.label)
    dark, bright = np.percentile(image, [2, 90])
    assert dark < image[label > 0].mean() - image[label > 0].std()
    assert image[label > 0].mean() + image[label > 0].std() < bright


def test_an_oblique_grid_is_turned_as_asked() -> None:
    direction = np.reshape(phantom_grid(rotation=(0.0, 0.0, 30.0), orientation="LPS").direction, (3, 3))
    np.testing.assert_allclose(direction, Rotation.from_euler("z", 30, degrees=True).as_matrix(), atol=1e-12)


def test_odd_extents_give_whole_voxels() -> None:
    assert phantom_grid(spacing=(1.0, 1.0, 1.6), extent=(33.4, 47.0, 37.0)).size == (33, 47, 23)
