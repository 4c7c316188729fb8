"""What active learning knows of a scan: how doubtful its prediction is, and what the scan is like."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from diffcl.active_learning.scores import ScanScore
from diffcl.data.preprocess import prepare
from diffcl.inference.expected_error import expected_error
from diffcl.inference.reading import predict_probabilities
from diffcl.io.scan import Scan
from diffcl.models.weights import Model
from diffcl.recipe import Recipe

THUMBNAIL = 8
"""Voxels along each axis of the picture by which scans are compared while there is no model."""


@torch.inference_mode()
def score(scan: Scan, model: Model) -> ScanScore:
    """Let a model look at a scan.

    The features are the mean of each channel of CS at its coarsest level, over the whole scan.
    """
    recipe = model.info.recipe
    seen: list[Tensor] = []

    def look(_: nn.Module, __: object, deepest: Tensor) -> None:
        seen.append(deepest.float().mean(dim=(0, 2, 3, 4)).cpu())

    watch = model.cs.vnet.encoder[-1].register_forward_hook(look)
    try:
        opinions = predict_probabilities(
            prepare(scan, recipe).image.to(model.device), recipe, model.cs, model.ds
        )
    finally:
        watch.remove()
    return ScanScore(doubt=expected_error(opinions.mean), features=_rounded(torch.stack(seen).mean(dim=0)))


def describe(scan: Scan, recipe: Recipe) -> ScanScore:
    """Look at a scan without a model: the features are a small picture of it, about -1..1."""
    image = prepare(scan, recipe).image
    small = functional.adaptive_avg_pool3d(image[None], (THUMBNAIL,) * 3)
    return ScanScore(doubt=None, features=_rounded(small.flatten()))


def _rounded(values: Tensor) -> tuple[float, ...]:
    return tuple(round(value, 5) for value in values.tolist())
