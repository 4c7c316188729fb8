from __future__ import annotations

import numpy as np
import pytest

from diffcl.geometry import extent, slabs


@pytest.mark.parametrize("seed", range(3))
def test_nothing_of_a_mask_lies_outside_its_extent_and_something_at_each_of_its_ends(seed: int) -> None:
    mask = np.random.default_rng(seed).random((9, 7, 8)) > 0.98
    box = extent(mask)
    assert mask[box].sum() == mask.sum()
    for axis in range(3):
        inside = np.moveaxis(mask[box], axis, 0)
        assert inside[0].any()
        assert inside[-1].any()


@pytest.mark.parametrize("voxels", [1, 13, 24, 1000])
def test_slabs_hold_every_voxel_of_a_box_once(voxels: int) -> None:
    counted = np.zeros((6, 5, 9), int)
    for part in slabs((slice(1, 5), slice(0, 3), slice(2, 9)), voxels):
        counted[part] += 1
    expected = np.zeros_like(counted)
    expected[1:5, 0:3, 2:9] = 1
    np.testing.assert_array_equal(counted, expected)
