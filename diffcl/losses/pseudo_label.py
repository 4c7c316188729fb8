"""Pseudo-labels: what one network takes from the other, without gradient."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from diffcl.pieces import largest_piece
from diffcl.recipe import Losses
from diffcl.recipe.section import Pieces


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

    Smaller pieces of a class that `largest_component` names become background. A voxel that is less certain than
    `confidence` carries no loss.

    Args:
        probabilities: `(B, K, X, Y, Z)`.
        settings: Confidence and largest component.
    """
    certainty, classes = probabilities.detach().max(dim=1)
    weight = (certainty >= settings.confidence).float()
    if settings.largest_component:
        classes = torch.stack([_largest_pieces(sample, settings.largest_component) for sample in classes])
    return PseudoLabel(classes, weight)


def _largest_pieces(classes: Tensor, single: Pieces) -> Tensor:
    """Class values `(X, Y, Z)` with the largest piece only of each class that is a single one."""
    values = classes.cpu().numpy()
    kept = np.zeros_like(values)
    for value, box in enumerate(ndimage.find_objects(values), start=1):
        if box is not None:
            inside = values[box] == value
            alone = value in single if isinstance(single, tuple) else single
            kept[box][largest_piece(inside) if alone else inside] = value
    return torch.from_numpy(kept).to(classes.device)
