"""What comes back slab by slab is what comes back at once."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from diffcl.data.resample import interpolate, smooth, working_geometry
from diffcl.data.restore import Restoration
from diffcl.geometry import Geometry, voxels

SLANT = sitk.Euler3DTransform()
SLANT.SetRotation(0.2, 0.3, -0.1)
TURNED = tuple(np.diag([-1.0, 1.0, -1.0])[[2, 0, 1]].ravel())
PERMUTED = tuple(np.eye(3)[[1, 2, 0]].ravel())

GRIDS = {
    "oblique": Geometry((44, 17, 13), (0.9, 1.2, 2.1), (-12.0, 30.0, 5.0), SLANT.GetMatrix()),
    "flipped and fine": Geometry((31, 70, 40), (0.5, 0.4, 0.4), (3.0, -20.0, 7.0), TURNED),
    "permuted": Geometry((20, 21, 60), (1.1, 1.3, 0.7), (3.0, -20.0, 7.0), PERMUTED),
    "coarser than the working grid": Geometry((18, 21, 29), (2.6, 2.5, 3.1), (3.0, -20.0, 7.0), TURNED),
}


@pytest.mark.parametrize("cuts", [[], [20], [3, 8, 9, 30], list(range(1, 12))])
@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize("least", [0.0, 0.4])
def test_slabs_give_what_the_whole_gives(name: str, cuts: list[int], least: float) -> None:
    original = GRIDS[name]
    working = working_geometry(original, (1.0, 1.0, 1.0))
    random = torch.Generator().manual_seed(0)
    probabilities = torch.rand(3, *working.size, generator=random)
    probabilities[1:, : working.size[0] // 3] *= 0.1
    probabilities /= probabilities.sum(dim=0)

    def restored(ends: list[int]) -> np.ndarray:  # type: ignore[type-arg]
        restoration = Restoration(working, original, least)
        whole = np.full((3, *original.size), np.nan)
        for first, last in pairwise([0, *ends, working.size[0]]):
            for where, part in restoration.add(probabilities[:, first:last]):
                there = whole[(slice(None), *where)]
                assert np.isnan(there).all()  # no voxel comes up twice
                there[:] = part
        return whole

    at_once, in_slabs = restored([]), restored(cuts)
    if not least:
        assert not np.isnan(in_slabs).any()
    known = ~np.isnan(in_slabs)
    np.testing.assert_allclose(in_slabs[known], at_once[known], atol=1e-5)
    missing = np.isnan(in_slabs[0]) & ~np.isnan(at_once[0])
    assert not missing.any() or (1 - at_once[0][missing]).max() < least + 0.25


def test_where_background_is_sure_nothing_comes_up() -> None:
    grid = GRIDS["permuted"]
    working = working_geometry(grid, (1.0, 1.0, 1.0))
    probabilities = torch.zeros(2, *working.size)
    probabilities[0] = 1
    restoration = Restoration(working, grid, 1e-4)
    assert not list(restoration.add(probabilities[:, :9]))
    assert not list(restoration.add(probabilities[:, 9:]))


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.7, 1.6, 2.4)])
def test_the_way_back_is_linear_interpolation_by_itk(name: str, spacing: tuple[float, float, float]) -> None:
    original = GRIDS[name]
    working = working_geometry(original, spacing)
    probabilities = torch.rand(3, *working.size, generator=torch.Generator().manual_seed(0))
    probabilities /= probabilities.sum(dim=0)
    found = np.full((3, *original.size), np.nan)
    for where, part in Restoration(working, original).add(probabilities):
        found[(slice(None), *where)] = part
    for one, other in zip(probabilities[1:].numpy(), found[1:], strict=True):
        blunt = smooth(working.place(one), (min(original.spacing),) * 3)
        np.testing.assert_allclose(other, voxels(interpolate(blunt, original)), atol=1e-5)
    np.testing.assert_allclose(found.sum(axis=0), 1, atol=1e-5)
