"""Cross-entropy plus soft Dice over the voxels that carry a weight.

MONAI's losses mask their input, not their voxels, which counts a masked voxel as an uncertain one; hence
this one.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def segmentation_loss(logits: Tensor, classes: Tensor, weight: Tensor, *, eps: float = 1e-5) -> Tensor:
    """Mean of weighted cross-entropy and weighted soft Dice loss; exactly 0 where no voxel has weight.

    Dice is taken over the whole batch, per foreground class; a class absent from both prediction and
    target costs nothing.

    Args:
        logits: `(B, K, X, Y, Z)`.
        classes: Target values `(B, X, Y, Z)`, int64, 0..K-1.
        weight: `(B, X, Y, Z)`, 0 or more.
        eps: Keeps the ratio of an absent class defined.

    Source:
        Milletari et al. 2016 for the soft Dice with squares in the denominator.
    """
    logits = logits.float()
    weight = weight.float()
    total = weight.sum()
    if total == 0:
        return logits.new_zeros(())
    entropy = (functional.cross_entropy(logits, classes, reduction="none") * weight).sum() / total
    probabilities = logits.softmax(dim=1)[:, 1:]
    onehot = functional.one_hot(classes, logits.shape[1]).movedim(-1, 1)[:, 1:].float()
    axes = (0, 2, 3, 4)
    spread = weight.unsqueeze(1)
    shared = (probabilities * onehot * spread).sum(axes)
    sizes = (probabilities.square() * spread).sum(axes) + (onehot * spread).sum(axes)
    dice = (2 * shared + eps) / (sizes + eps)
    return (entropy + 1 - dice.mean()) / 2
