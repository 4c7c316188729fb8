"""The largest piece of a mask is the one that MONAI keeps."""

from __future__ import annotations

import numpy as np
import pytest
from monai.transforms import KeepLargestConnectedComponent

from diffcl.pieces import largest_piece


@pytest.mark.parametrize("share", [0.02, 0.05, 0.1, 0.3])
@pytest.mark.parametrize("size", [(17, 11, 9), (8, 1, 20)])
def test_the_largest_piece_is_that_of_monai(size: tuple[int, int, int], share: float) -> None:
    mask = np.random.default_rng(0).random(size) < share
    mask[2:6, :1, 3:6] = True  # so that no two are the largest
    keep = KeepLargestConnectedComponent(applied_labels=1, is_onehot=False)
    expected = np.asarray(keep(mask[None].astype(np.uint8))[0]).astype(bool)
    assert (largest_piece(mask) == expected).all()
    assert largest_piece(mask).dtype == bool


def test_voxels_that_share_a_corner_are_one_piece() -> None:
    mask = np.zeros((4, 4, 5), np.uint8)
    mask[0, 0, 0] = mask[1, 1, 1] = mask[2, 2, 2] = 1
    mask[0, 2:, 4] = 1
    assert np.argwhere(largest_piece(mask)).tolist() == [[0, 0, 0], [1, 1, 1], [2, 2, 2]]


def test_of_two_as_large_the_last_one_is_kept() -> None:
    mask = np.zeros((5, 5, 5), bool)
    mask[0, 0, :2] = mask[4, 4, :2] = True
    assert np.argwhere(largest_piece(mask)).tolist() == [[4, 4, 0], [4, 4, 1]]


@pytest.mark.parametrize("value", [False, True])
def test_none_and_all_stay_as_they_are(value: bool) -> None:
    mask = np.full((2, 3, 4), value)
    assert (largest_piece(mask) == mask).all()
