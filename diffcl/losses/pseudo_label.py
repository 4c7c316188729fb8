"""Pseudo-labels: what one network takes from the other, without gradient."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from monai.transforms import KeepLargestConnectedComponent
from monai.utils import convert_to_tensor
from torch import Tensor

from diffcl.recipe import Losses


@dataclass(frozen=True)
class PseudoLabel:
    """A network's opinion of unlabelled crops.

    Attributes:
        classes: Class values `(B, X, Y, Z)`, int64.
        weight: How much each voxel counts `(B, X, Y, Z)`, 0 or 1.
    """

    classes: Tensor
    weight: Tensor


@torch.no_grad()
def pseudo_label(probabilities: Tensor, settings: Losses) -> PseudoLabel:
    """The most probable class of each voxel.

    With `largest_component`, smaller pieces of a class become background. A voxel that is less certain than
    `confidence` carries no loss.

    Args:
        probabilities: `(B, K, X, Y, Z)`.
        settings: Confidence and largest component.
    """
    certainty, classes = probabilities.detach().max(dim=1)
    weight = (certainty >= settings.confidence).float()
    if settings.largest_component:
        keep = KeepLargestConnectedComponent(is_onehot=False, independent=True)
        kept = [convert_to_tensor(keep(sample[None])[0]) for sample in classes]  # no MetaTensor from here on
        classes = torch.stack(kept).long()
    return PseudoLabel(classes, weight)
