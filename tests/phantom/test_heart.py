"""The synthetic stack of a heart has the volumes that its formula says, on whatever grid."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

from diffcl.data.resample import working_geometry
from diffcl.geometry import Geometry, voxels
from diffcl.phantom.heart import (
    LEFT_VENTRICLE,
    MYOCARDIUM,
    RIGHT_VENTRICLE,
    make_heart_phantom,
    short_axis_grid,
)


@pytest.mark.parametrize("seed", range(3))
def test_the_left_ventricle_has_its_exact_volume(seed: int) -> None:
    grid = short_axis_grid((90, 90, 50), (1.5, 1.5, 2.0))
    made = make_heart_phantom(seed, grid)
    found = np.count_nonzero(voxels(made.label) == LEFT_VENTRICLE) * grid.voxel_ml
    assert found == pytest.approx(made.left_ventricle_ml, rel=0.02)


def test_muscle_lies_between_the_two_ventricles_and_all_three_in_the_stack() -> None:
    label = voxels(make_heart_phantom(0).label)
    for value in (RIGHT_VENTRICLE, MYOCARDIUM, LEFT_VENTRICLE):
        at = np.argwhere(label == value)
        assert (at.min(axis=0) > 0).all()
        assert (at.max(axis=0) < np.array(label.shape) - 1).all()
    left = label == LEFT_VENTRICLE
    for axis in range(2):
        assert not (left & (np.roll(label, 1, axis) == RIGHT_VENTRICLE)).any()
    rows = [np.argwhere(label == value)[:, 0].mean() for value in (RIGHT_VENTRICLE, LEFT_VENTRICLE)]
    assert rows[0] < rows[1]


def test_it_lies_on_the_grid_asked_for_and_the_same_seed_makes_the_same_one() -> None:
    grid = short_axis_grid((40, 50, 6), (5.0, 4.0, 12.0))
    made, again, other = (make_heart_phantom(seed, grid) for seed in (4, 4, 5))
    assert Geometry.of(made.image) == Geometry.of(made.label) == grid
    assert sitk.Hash(made.image) == sitk.Hash(again.image) != sitk.Hash(other.image)


def test_it_is_stored_as_it_is_displayed() -> None:
    grid = short_axis_grid()
    np.testing.assert_allclose(working_geometry(grid, grid.spacing, "slices").axes, grid.axes, atol=1e-12)
    assert np.linalg.det(grid.axes) == pytest.approx(1.0)
