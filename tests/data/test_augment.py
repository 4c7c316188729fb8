"""Angles and lengths of the augmentation are those of the patient, whatever the shape of the voxels."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from diffcl.data.augment import intensity_augmentation, spatial_augmentation, turned_box
from diffcl.recipe import Augmentation

SPACINGS = {"cubes": (2.0, 2.0, 2.0), "thick slices": (1.5, 1.5, 9.0), "flat": (4.0, 1.0, 2.0)}


@pytest.mark.parametrize("spacing", list(SPACINGS.values()), ids=list(SPACINGS))
@pytest.mark.parametrize("seed", range(4))
def test_a_rotation_keeps_the_lengths_of_the_patient(spacing: tuple[float, float, float], seed: int) -> None:
    settings = Augmentation(rotate=30.0, scale=0.0)
    transform = spatial_augmentation(settings, (16, 16, 16), spacing)
    transform.set_random_state(seed=seed)
    transform({"image": torch.zeros(1, 16, 16, 16)})
    turn = transform.transforms[-1].rand_affine.rand_affine_grid.affine[:3, :3].double().numpy()
    in_patient = np.diag(spacing) @ turn @ np.diag(1 / np.array(spacing))
    np.testing.assert_allclose(in_patient @ in_patient.T, np.eye(3), atol=1e-5)
    assert not np.allclose(in_patient, np.eye(3), atol=1e-3)


def test_an_organ_keeps_its_volume_and_extent_in_thick_slices() -> None:
    spacing, crop = (1.5, 1.5, 9.0), (64, 64, 8)
    box = turned_box(Augmentation(rotate=25.0), crop, spacing)
    places = (
        np.stack(np.meshgrid(*((np.arange(n) - (n - 1) / 2) for n in box), indexing="ij"), axis=-1) * spacing
    )
    organ = (np.linalg.norm(places, axis=-1) < 27).astype(np.float32)
    transform = spatial_augmentation(Augmentation(rotate=25.0, scale=0.0), crop, spacing)
    transform.set_random_state(seed=1)
    turned = np.asarray(
        transform({"image": torch.zeros(1, *box), "label": torch.from_numpy(organ)[None]})["label"]
    )[0]
    for axis in range(3):
        other = tuple({0, 1, 2} - {axis})
        reach, before = ((part.any(axis=other).sum() * spacing[axis]) for part in (turned, organ))
        assert abs(reach - before) <= 2 * spacing[axis]
    assert turned.sum() == pytest.approx(organ.sum(), rel=0.05)


@pytest.mark.parametrize("crop", [(60, 60, 9), (61, 36, 10), (24, 20, 11)])
def test_a_crop_that_stays_as_it_is_has_the_voxels_of_its_box(crop: tuple[int, int, int]) -> None:
    settings, spacing = Augmentation(rotate=(2.5, 2.5, 15.0), scale=0.0), (1.4, 1.4, 10.0)
    box = turned_box(settings, crop, spacing)
    assert all((length - size) % 2 == 0 for length, size in zip(box, crop, strict=True))
    numbers = torch.arange(box[2]).expand(box).float()[None]
    still = spatial_augmentation(Augmentation(rotate=0.0, scale=0.0), crop, spacing)
    found = still({"image": numbers, "label": numbers})
    margin = (box[2] - crop[2]) // 2
    for name in ("image", "label"):
        assert torch.equal(
            found[name][0, 5, 5].round(decimals=3), torch.arange(margin, margin + crop[2]).float()
        )


def test_thick_slices_are_blurred_as_far_as_thin_ones() -> None:
    settings = Augmentation(shift=0.0, gamma=0.0, noise=0.0, blur=3.0)
    transform = intensity_augmentation(settings, (1.0, 1.0, 6.0))
    point = torch.zeros(1, 25, 25, 25)
    point[0, 12, 12, 12] = 1.0
    spread = None
    for seed in range(20):  # not every crop is blurred
        transform.set_random_state(seed=seed)
        changed = np.asarray(transform({"image": point.clone()})["image"])[0]
        if changed[12, 12, 12] < 1:
            spread = [float(changed.sum(axis=tuple({0, 1, 2} - {axis}))[12]) for axis in range(3)]
            break
    assert spread is not None
    assert spread[2] > 2 * spread[0]  # of what stands in the middle slice, most stays there


def test_a_rotation_about_one_axis_alone_leaves_what_lies_along_it() -> None:
    settings = Augmentation(rotate=(0.0, 0.0, 40.0), scale=0.0)
    crop = (16, 16, 6)
    assert turned_box(settings, crop, (1.0, 1.0, 5.0))[2] == crop[2]
    transform = spatial_augmentation(settings, crop, (1.0, 1.0, 5.0))
    transform.set_random_state(seed=3)
    slices = torch.arange(6.0).expand(1, 20, 20, 6)
    changed = transform({"image": slices.clone()})["image"].as_tensor()
    torch.testing.assert_close(changed, slices[:, :16, :16], atol=1e-4, rtol=0)
