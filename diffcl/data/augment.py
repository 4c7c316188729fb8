"""Random changes of training crops, by MONAI's transforms.

Space and intensity are changed apart, so that a student and its teacher can see the same crop with
different intensities.
"""

from __future__ import annotations

import math
from typing import Any

from monai.transforms import (
    Compose,
    RandAdjustContrastd,
    RandAffined,
    RandFlipd,
    RandGaussianNoised,
    RandGaussianSmoothd,
    RandShiftIntensityd,
)

from diffcl.recipe import Augmentation

MARGIN = 1.25
"""How much larger than its crop the box is that is rotated and scaled, so that no corner is empty."""


def spatial_augmentation(settings: Augmentation, crop: tuple[int, int, int]) -> Compose:
    """Mirror, rotate and scale `image` `(1, X, Y, Z)` and, where there is one, `label` `(1, X, Y, Z)`."""
    steps: list[Any] = [
        RandFlipd(["image", "label"], prob=share, spatial_axis=axis, allow_missing_keys=True)
        for axis, share in enumerate(settings.flip)
        if share
    ]
    steps.append(
        RandAffined(
            ["image", "label"],
            prob=1.0,
            rotate_range=[math.radians(settings.rotate)] * 3,
            scale_range=[settings.scale] * 3,
            spatial_size=crop,
            mode=("bilinear", "nearest"),
            padding_mode="border",
            allow_missing_keys=True,
        )
    )
    return Compose(steps)


def intensity_augmentation(settings: Augmentation) -> Compose:
    """Change brightness, contrast, noise and sharpness of `image` `(1, X, Y, Z)` with values of about -1..1."""
    steps: list[Any] = []
    if settings.gamma:
        gamma = (1 - settings.gamma, 1 / (1 - settings.gamma))
        steps.append(RandAdjustContrastd("image", prob=0.8, gamma=gamma))
    if settings.shift:
        steps.append(RandShiftIntensityd("image", prob=0.8, offsets=settings.shift))
    if settings.blur:
        sigma = (0.1, settings.blur)
        steps.append(RandGaussianSmoothd("image", prob=0.3, sigma_x=sigma, sigma_y=sigma, sigma_z=sigma))
    if settings.noise:
        steps.append(RandGaussianNoised("image", prob=0.5, std=settings.noise))
    return Compose(steps)
