"""Random changes of training crops, by MONAI's transforms.

Space and intensity are changed apart, so that a student and its teacher can see the same crop with
different intensities. Angles and lengths are those of the patient: in slices of 10 mm, a rotation of the voxels
about an axis in their plane would shear the patient and move a voxel by many slices.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from monai.transforms import (
    AffineGrid,
    Compose,
    RandAdjustContrastd,
    RandAffined,
    RandAffineGrid,
    RandFlipd,
    RandGaussianNoised,
    RandGaussianSmoothd,
    RandShiftIntensityd,
)

from diffcl.recipe import Augmentation

MARGIN = 1.25
"""How much larger than its crop the box is that is rotated and scaled, so that few corners are empty."""

Triple = tuple[float, float, float]


def thickness(spacing: Triple) -> Triple:
    """Length of a voxel along each axis, over that along the finest.

    >>> thickness((1.5, 1.5, 9.0))
    (1.0, 1.0, 6.0)
    """
    x, y, z = (length / min(spacing) for length in spacing)
    return x, y, z


class PatientGrid(RandAffineGrid):
    """Where a rotated and scaled crop takes its voxels from, in voxels of any shape.

    Args:
        thickness: Of the voxels along each axis, see `thickness`.
        rotate: Largest rotation about each axis, radians; three numbers.
        scale: Largest relative change of size.
    """

    def __init__(self, thickness: Triple, rotate: Triple, scale: float) -> None:
        super().__init__(rotate_range=list(rotate), scale_range=[scale] * 3)
        self._to_patient = np.diag([*thickness, 1.0])

    def __call__(
        self, spatial_size: Any = None, grid: Any = None, randomize: bool = True, lazy: bool | None = None
    ) -> Any:
        """The grid of a crop of a size; `affine` is then what was drawn, in voxels."""
        if randomize:
            self.randomize()
        turn = AffineGrid(rotate_params=self.rotate_params, scale_params=self.scale_params)
        _, in_patient = turn(spatial_size, grid)
        to_patient = torch.as_tensor(self._to_patient, dtype=in_patient.dtype)
        self.affine = torch.linalg.inv(to_patient) @ in_patient @ to_patient
        found, _ = AffineGrid(affine=self.affine)(spatial_size, grid, lazy=bool(lazy))
        return found


def turned_box(settings: Augmentation, crop: tuple[int, int, int], spacing: Triple) -> tuple[int, int, int]:
    """Voxels of the box from which a crop can be rotated and scaled; along thick slices it reaches farther.

    As many more of them lie before the crop as behind it, or the voxels of the crop would lie between those of the box.

    >>> turned_box(Augmentation(rotate=15), (128, 128, 8), (1.5, 1.5, 9.0))
    (160, 160, 14)
    >>> turned_box(Augmentation(rotate=0), (60, 60, 60), (1.0, 1.0, 1.0))
    (76, 76, 76)
    """
    thick = thickness(spacing)
    longest = max(size * length for size, length in zip(crop, thick, strict=True))

    def across(axis: int) -> float:
        out = max(angle for other, angle in enumerate(settings.angles) if other != axis)
        return math.sin(math.radians(min(out, 90.0)))

    def around(axis: int, size: int, length: float) -> int:
        more = size * (MARGIN - 1) if length == 1 else across(axis) * longest / length
        return size + 2 * math.ceil(more / 2)

    x, y, z = (around(axis, *both) for axis, both in enumerate(zip(crop, thick, strict=True)))
    return x, y, z


def spatial_augmentation(settings: Augmentation, crop: tuple[int, int, int], spacing: Triple) -> Compose:
    """Mirror, rotate and scale `image` `(C, X, Y, Z)` and, where there is one, `label` `(1, X, Y, Z)`.

    Args:
        settings: How much.
        crop: Voxels of what comes out.
        spacing: Of the working grid, mm.
    """
    steps: list[Any] = [
        RandFlipd(["image", "label"], prob=share, spatial_axis=axis, allow_missing_keys=True)
        for axis, share in enumerate(settings.flip)
        if share
    ]
    turn = RandAffined(
        ["image", "label"],
        prob=1.0,
        spatial_size=crop,
        mode=("bilinear", "nearest"),
        padding_mode="border",
        allow_missing_keys=True,
    )
    x, y, z = map(math.radians, settings.angles)
    turn.rand_affine.rand_affine_grid = PatientGrid(thickness(spacing), (x, y, z), settings.scale)
    steps.append(turn)
    return Compose(steps)


def intensity_augmentation(settings: Augmentation, spacing: Triple) -> Compose:
    """Change brightness, contrast, noise and sharpness of `image` `(1, X, Y, Z)` with values of about -1..1.

    Args:
        settings: How much.
        spacing: Of the working grid, mm: thick slices are blurred as far as thin ones, in millimetres.
    """
    steps: list[Any] = []
    if settings.gamma:
        gamma = (1 - settings.gamma, 1 / (1 - settings.gamma))
        steps.append(RandAdjustContrastd("image", prob=0.8, gamma=gamma))
    if settings.shift:
        steps.append(RandShiftIntensityd("image", prob=0.8, offsets=settings.shift))
    if settings.blur:
        x, y, z = ((0.1 / length, settings.blur / length) for length in thickness(spacing))
        steps.append(RandGaussianSmoothd("image", prob=0.3, sigma_x=x, sigma_y=y, sigma_z=z))
    if settings.noise:
        steps.append(RandGaussianNoised("image", prob=0.5, std=settings.noise))
    return Compose(steps)
