"""What a recipe leaves open and the scans decide: the size of a training crop and of a window."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from diffcl.data.cache import TrainingScan
from diffcl.recipe import Recipe

CROP_VOXELS = 48**3
"""Largest crop that is chosen here; a step on one takes some seconds on a processor with two cores."""


def fitted(recipe: Recipe, scans: Sequence[TrainingScan]) -> Recipe:
    """The recipe with a crop and a window for these scans, where it gives none itself.

    The crop has the median size of the scans along each axis; of larger scans, the same shape with fewer
    voxels. The window is like the crop: the networks are asked about what they were trained on.

    Args:
        recipe: With or without `grid.crop` and `grid.window`.
        scans: Prepared scans of the task, on the recipe's spacing.
    """
    given = recipe.grid.model_fields_set
    crop = recipe.grid.crop
    if "crop" not in given:
        size = np.median([tuple(scan.image.shape[1:]) for scan in scans], axis=0)
        size *= min(1.0, (CROP_VOXELS / math.prod(size)) ** (1 / 3))
        x, y, z = (
            max(grain, round(float(length) / grain) * grain)
            for length, grain in zip(size, recipe.grains, strict=True)
        )
        crop = (x, y, z)
    return recipe.changed(grid={"crop": crop, "window": recipe.grid.window if "window" in given else crop})
