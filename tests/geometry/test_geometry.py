from __future__ import annotations

from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from diffcl.geometry import AXES_TOLERANCE, Geometry, GeometryError, same_grid, straight_axes

OBLIQUE = Geometry(
    (9, 11, 7), (0.7, 0.9, 2.5), (-31.5, 12.25, 101.125),
    tuple(Rotation.from_euler("xyz", (0.3, -0.2, 0.5)).as_matrix().ravel()),
)  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": (9, 0, 7)}, "9 x 0 x 7 voxels"),
        ({"size": (9, 11)}, "its size is 2 numbers, not 3"),
        ({"spacing": (0.7, 0.0, 2.5)}, "its voxels are 0 mm wide"),
        ({"spacing": (0.7, -0.9, 2.5)}, "its voxels are -0.9 mm wide"),
        ({"spacing": (0.7, np.nan, 2.5)}, "is not a number"),
        ({"spacing": (0.7, 1e-9, 2.5)}, "its voxels are 1e-09 mm wide"),
        ({"spacing": (0.7, 1000.0, 2.5)}, "it would be 11 m wide, so its voxel size is not in millimetres"),
        ({"origin": (0.0, np.inf, 0.0)}, "is not a number"),
        ({"origin": (0.0, 2e6, 0.0)}, "its first voxel would lie 2e\\+03 m away"),
        ({"direction": (np.nan,) * 9}, "is not a number"),
        ({"direction": (0.0,) * 9}, "not perpendicular"),
        ({"direction": (1.0, 3e-4, 0, 0, 1.0, 0, 0, 0, 1.0)}, "not perpendicular"),
        ({"direction": (2.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0)}, "not perpendicular"),
        ({"direction": (1.0, 0, 0, 1.0)}, "its direction is 4 numbers, not 9"),
    ],
    ids=str,
)
def test_a_grid_that_cannot_be_is_refused_when_it_is_made(changes: dict[str, object], message: str) -> None:
    with pytest.raises(GeometryError, match=message):
        replace(OBLIQUE, **changes)


def test_the_affine_is_the_one_of_nibabel() -> None:
    image = nib.Nifti1Image(np.zeros(OBLIQUE.size, np.uint8), OBLIQUE.affine)
    voxel = (3, 5, 2)
    lps = OBLIQUE.points(voxel)
    np.testing.assert_allclose(nib.affines.apply_affine(image.affine, voxel), lps * (-1, -1, 1))
    back = Geometry.from_affine(image.affine, image.shape)
    np.testing.assert_allclose(back.points(voxel), lps)
    assert same_grid(back, OBLIQUE)


@pytest.mark.parametrize("affine", [np.zeros((4, 4)), np.eye(3), np.full((4, 4), np.nan)], ids=str)
def test_an_affine_that_spans_no_space_is_refused(affine: np.ndarray) -> None:
    with pytest.raises(GeometryError):
        Geometry.from_affine(affine, (2, 2, 2))


def test_indices_are_the_inverse_of_points() -> None:
    indices = np.random.default_rng(0).uniform(-3, 12, (20, 3))
    np.testing.assert_allclose(OBLIQUE.indices(OBLIQUE.points(indices)), indices)


def test_the_box_reaches_half_a_voxel_beyond_the_outer_voxels() -> None:
    corners = OBLIQUE.indices(OBLIQUE.corners(beyond=0.5))
    np.testing.assert_allclose(corners.min(axis=0), (-0.5, -0.5, -0.5))
    np.testing.assert_allclose(corners.max(axis=0), np.array(OBLIQUE.size) - 0.5)
    np.testing.assert_allclose(
        np.prod(np.ptp(corners, axis=0)) * OBLIQUE.voxel_ml * 1000, OBLIQUE.extent.prod()
    )


def test_axes_are_straightened_to_the_nearest_perpendicular_ones() -> None:
    np.testing.assert_array_equal(straight_axes(OBLIQUE.axes), OBLIQUE.axes)
    sheared = OBLIQUE.axes @ np.array([[1, 0.01, 0], [0, 1, 0], [0, 0, 1]])
    straight = straight_axes(sheared)
    np.testing.assert_allclose(straight.T @ straight, np.eye(3), atol=AXES_TOLERANCE / 100)
    assert np.abs(straight - sheared).max() < 0.006  # both axes give way by half
    with pytest.raises(GeometryError, match="not perpendicular"):
        straight_axes(np.ones((3, 3)))
