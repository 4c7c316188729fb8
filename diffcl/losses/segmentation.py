"""Cross-entropy plus soft Dice over the voxels that carry a weight.

MONAI's losses mask their input, not their voxels, which counts a masked voxel as an uncertain one; hence
this one.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from diffcl.labels import UNDECIDED


def segmentation_loss(logits: Tensor, classes: Tensor, weight: Tensor, *, eps: float = 1e-5) -> Tensor:
    """Mean of weighted cross-entropy and weighted soft Dice loss; exactly 0 where no voxel has weight.

    Dice is taken over the whole batch, per foreground class; a class of which neither prediction nor
    target has anything costs nothing.

    Args:
        logits: `(B, K, X, Y, Z)`.
        classes: Target values `(B, X, Y, Z)`, int64, 0..K-1.
        weight: `(B, X, Y, Z)`, 0 or more.
        eps: Keeps the ratio of an absent class defined.

    Source:
        Milletari et al. 2016 for the soft Dice with squares in the denominator.
    """
    return segmentation_losses(logits, classes, (weight,), eps=eps)[0]


def segmentation_losses(
    logits: Tensor,
    classes: Tensor,
    weights: Sequence[Tensor],
    *,
    merged: Tensor | None = None,
    eps: float = 1e-5,
) -> list[Tensor]:
    """`segmentation_loss` with each of several weights, for the work of little more than one.

    Args:
        logits: `(B, K, X, Y, Z)`.
        classes: Target values `(B, X, Y, Z)`, int64, 0..K-1, K.. for what is `merged`, `UNDECIDED` without weight.
        weights: Each `(B, X, Y, Z)`, 0 or more.
        merged: What the values K, K + 1, ... mean, `(S, K)`, bool: background or one of the other classes of a row.
            There the loss is marginal: background has the probability of all of them together, the others have none.
        eps: Keeps the ratio of an absent class defined.

    Source:
        Shi et al. 2021, "Marginal loss and exclusion loss for partially supervised multi-organ segmentation".
    """
    likely = logits.to(torch.float32, memory_format=torch.contiguous_format).log_softmax(dim=1)
    if merged is not None:
        likely, classes = _marginal(likely, classes, merged)
    entropy = functional.nll_loss(likely, classes, reduction="none", ignore_index=UNDECIDED)
    probabilities = likely[:, 1:].exp()
    values = torch.arange(1, logits.shape[1], device=logits.device)
    onehot = (classes[:, None] == values[:, None, None, None]).float()
    shared, sizes = probabilities * onehot, probabilities.square() + onehot
    losses = []
    for weight in weights:
        total = weight.sum()
        if total == 0:
            losses.append(likely.new_zeros(()))
            continue
        overlap, size = (torch.einsum("bkxyz,bxyz->k", part, weight.float()) for part in (shared, sizes))
        dice = (2 * overlap + eps) / (size + eps)
        losses.append(((entropy * weight).sum() / total + 1 - dice.mean()) / 2)
    return losses


def _marginal(likely: Tensor, classes: Tensor, merged: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probabilities `(B, K, X, Y, Z)` in which background stands for all that it is merged with, and its target."""
    count = likely.shape[1]
    unsure = classes >= count
    among = merged[(classes - count).clamp(min=0)].movedim(-1, 1) & unsure[:, None]
    among[:, 0] = True
    whole = likely.masked_fill(~among, -torch.inf).logsumexp(dim=1, keepdim=True)
    others = likely[:, 1:].masked_fill(among[:, 1:], -torch.inf)
    return torch.cat([whole, others], dim=1), classes.masked_fill(unsure, 0)
