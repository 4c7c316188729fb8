"""Parts of a label map that somebody could have drawn: slices of one plane or two, or single places."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

GAP_MM = (2.0, 40.0)
"""Between the slices of a plane; drawn evenly over its logarithm, and at least two voxels."""

TWO_PLANES, PLACES = 0.1, 0.25
"""Shares of the maps of which slices of two planes, or single places, are known; of the others slices of one."""

MOST_PLACES = 12
"""Single places that are known of a map."""

LARGEST_MM = 3.0
"""Radius of a place; the smallest is one voxel."""


def draw_known(classes: Tensor, wrong: Tensor, spacing: Sequence[float], random: torch.Generator) -> Tensor:
    """Which voxels of label maps are taken for known: whole slices, or places as people click them.

    The thicker the slices of a plane, the likelier it is that they are the ones drawn, as people draw them.

    Args:
        classes: Class values `(B, X, Y, Z)`.
        wrong: Where a network had something else `(B, X, Y, Z)`, bool; half of the places lie there.
        spacing: Millimetres between voxels along X, Y and Z.
        random: Decides.

    Returns:
        `(B, X, Y, Z)`, bool, on the device of `classes`.
    """
    maps = zip(classes.cpu(), wrong.cpu(), strict=True)
    return torch.stack([_of_one(one, errors, spacing, random) for one, errors in maps]).to(classes.device)


def _of_one(classes: Tensor, wrong: Tensor, spacing: Sequence[float], random: torch.Generator) -> Tensor:
    kind = float(torch.rand((), generator=random))
    if kind < PLACES:
        return _places(classes, wrong, spacing, random)
    known = torch.zeros(classes.shape, dtype=torch.bool)
    planes = 2 if kind < PLACES + TWO_PLANES else 1
    for axis in torch.multinomial(torch.tensor(spacing), planes, generator=random).tolist():
        known.movedim(axis, 0)[_slices(classes.shape[axis], spacing[axis], random)] = True
    return known


def _slices(count: int, step: float, random: torch.Generator) -> Tensor:
    """Slices about a gap apart, each a little off its place; at least one."""
    low, high = (torch.tensor(gap).log() for gap in GAP_MM)
    gap = max(2.0, float((low + (high - low) * torch.rand((), generator=random)).exp()) / step)
    first = float(torch.rand((), generator=random)) * min(gap, count)
    places = torch.arange(first, count, gap)
    off = (torch.rand(len(places), generator=random) - 0.5) * 0.4 * gap
    found: Tensor = (places + off).long().clamp(0, count - 1).unique()
    return found


def _places(classes: Tensor, wrong: Tensor, spacing: Sequence[float], random: torch.Generator) -> Tensor:
    """Balls: half of them where something is wrong, if it is; the others in classes and anywhere by turns."""
    known = torch.zeros(classes.shape, dtype=torch.bool)
    groups = [group for group in (wrong.nonzero(), (classes > 0).nonzero()) if len(group)]
    axes = [torch.arange(size) * step for size, step in zip(classes.shape, spacing, strict=True)]
    for number in range(int(torch.randint(1, MOST_PLACES + 1, (), generator=random))):
        among, size, x, y, z = torch.rand(5, generator=random)
        centre = (torch.stack([x, y, z]) * torch.tensor(classes.shape)).long()
        if groups and number % 2 == 0:
            centre = groups[0][int(among * len(groups[0]))]
        elif groups and number % 4 == 1:
            centre = groups[-1][int(among * len(groups[-1]))]
        i, j, k = ((axis - axis[at]) ** 2 for axis, at in zip(axes, centre.tolist(), strict=True))
        known |= i[:, None, None] + j[:, None] + k <= (size * LARGEST_MM) ** 2
    return known
