"""Contrastive label propagation: labelled DS features teach unlabelled CS features what a class is."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from diffcl.recipe import Contrastive


class MemoryBank(nn.Module):
    """The most recent labelled feature vectors `f~` of every class, first in first out, without gradient.

    Its buffers are part of the checkpoint.

    Attributes:
        vectors: `(K, bank, width)`, unit vectors.
        filled: `(K,)`, how many of each class are there.
    """

    vectors: Tensor
    filled: Tensor
    _next: Tensor

    def __init__(self, classes: int, width: int, settings: Contrastive) -> None:
        super().__init__()
        self.settings = settings
        self.register_buffer("vectors", torch.zeros(classes, settings.bank, width))
        self.register_buffer("filled", torch.zeros(classes, dtype=torch.int64))
        self.register_buffer("_next", torch.zeros(classes, dtype=torch.int64))

    @torch.no_grad()
    def add(self, vectors: Tensor, classes: Tensor) -> None:
        """Take in vectors `(N, width)` with their classes `(N,)`, at most `per_step` of each class."""
        size = self.vectors.shape[1]
        for value in range(len(self.filled)):
            new = vectors[classes == value][: self.settings.per_step].to(self.vectors)
            places = (self._next[value] + torch.arange(len(new), device=new.device)) % size
            self.vectors[value, places] = new
            self._next[value] = (self._next[value] + len(new)) % size
            self.filled[value] = (self.filled[value] + len(new)).clamp(max=size)

    def draw(self, value: int, generator: torch.Generator) -> Tensor | None:
        """Vectors `a` of a class `(draws, width)`, or None until the bank of the class is full enough."""
        filled = int(self.filled[value])
        if filled < self.settings.draws:
            return None
        chosen = torch.randperm(filled, generator=generator)[: self.settings.draws]
        return self.vectors[value, chosen.to(self.vectors.device)]


def contrastive_loss(
    candidates: Tensor, present: Tensor, bank: MemoryBank, generator: torch.Generator
) -> Tensor:
    """`L_cl`: InfoNCE of bank vectors and the candidates most and least like their class.

    For each class c, the candidates b most similar to the class's drawn vectors a, by their mean cosine
    similarity to all of them, are its positives b^{c,P}, the least similar its negatives b^{c,N}. Each
    pair (a, positive) is told from all (a, negative); the mean is over pairs and then over classes.
    Gradient reaches the candidates only.

    Args:
        candidates: CS features `f^` of unlabelled voxels `(N, width)`, unit vectors.
        present: Whether each class occurs in the unlabelled crops `(K,)`, bool; one that does not has no
            positives there and adds exactly nothing.
        bank: Holds `f~`; a class of which it holds too little adds exactly nothing.
        generator: Draws from the bank.

    Source:
        Guo et al. 2025, figure 2; van den Oord et al. 2018 for InfoNCE.
    """
    settings = bank.settings
    terms = []
    for value in range(len(present)):
        anchors = bank.draw(value, generator)
        if anchors is None or not bool(present[value]):
            continue
        likeness = (candidates.detach() @ anchors.T).mean(dim=1)
        order = likeness.argsort(descending=True, stable=True)
        positives = candidates[order[: settings.positives]]
        negatives = candidates[order[-settings.negatives :]]
        near = anchors @ positives.T / settings.temperature
        far = (anchors @ negatives.T / settings.temperature).logsumexp(dim=1, keepdim=True)
        terms.append(functional.softplus(far - near).mean())
    if not terms:
        return candidates.new_zeros(())
    return torch.stack(terms).mean()


def voxel_vectors(features: Tensor, where: Tensor) -> Tensor:
    """The feature vectors of chosen voxels.

    Args:
        features: `(B, C, X, Y, Z)`.
        where: Indices into the flattened `(B, X, Y, Z)`, `(N,)`.

    Returns:
        `(N, C)`, float32.
    """
    rows = features.movedim(1, -1).flatten(0, -2)  # as they lie in memory, where channels are innermost
    return rows.index_select(0, where).float()


def draw_voxels(groups: Tensor, count: int, classes: int, generator: torch.Generator) -> Tensor:
    """Random voxels, as many of each class as there are, up to an equal share among the classes that occur.

    Drawn evenly over all voxels, a small structure would hardly ever be seen.

    Args:
        groups: Class of each voxel, any shape; -1 leaves a voxel out.
        count: Voxels wanted in all.
        classes: Number of classes K.
        generator: Decides the draw.

    Returns:
        Indices into the flattened `groups`, at most `count`.
    """
    flat = groups.flatten()
    members = [torch.nonzero(flat == value)[:, 0] for value in range(classes)]
    share = count // max(1, sum(len(found) > 0 for found in members))
    orders = [torch.randperm(len(found), generator=generator)[:share] for found in members]
    return torch.cat([found[order.to(found.device)] for found, order in zip(members, orders, strict=True)])
