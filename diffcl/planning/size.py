"""Voxel size, crop, window and networks of a plan: how much of a scan is seen at once, and how finely."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from diffcl.planning.shapes import Triple
from diffcl.planning.survey import Survey
from diffcl.recipe.section import COARSEST_MM, FINEST_MM, LONGEST_SIDE

CROP_VOXELS = 350_000
"""Of a crop, at most, where there is time for it: a step of CS and DS on it takes some seconds of two cores."""

FULL_CROP_MINUTES = 20.0
"""Of a training, from which it has such crops. In five minutes, smaller ones teach as much."""

FEWEST_CROP_VOXELS = 100_000
"""Of a crop, however little time there is."""

COARSEST = 2.0
"""Voxels are at most this many times as large as those of the scans."""

ACROSS = 1.5
"""Voxels that lie across the thinnest class at least, where the scans are as fine."""

THICK = 2.0
"""An axis whose voxels are longer than the finest by this factor is neither halved nor read across."""

LEAST = 4
"""Voxels that are left along an axis on the coarsest level at least, where the crop has as many."""

FILTERS = (16, 32, 64, 128)
"""Channels of CS, finest level first."""

BLOCKS = (1, 2, 2, 2)
"""Convolutions of each level."""

FINE_CROP = 120_000
"""Voxels of a crop that is so small that DS may work on all of them."""

COARSE_ACROSS = 0.7
"""Voxels of DS that lie across the thinnest class at least, where it works on coarser ones than CS. It sees all that is
in them, and answers for each voxel of CS."""

TOKENS = 50_000
"""That an HF-Mamba module reads at most: one that reads 90,000 takes a quarter of a step."""

Voxels = tuple[int, int, int]


def crop_voxels(minutes: float | None) -> int:
    """How many voxels a crop may have: fewer where there is little time.

    >>> crop_voxels(None), crop_voxels(10), crop_voxels(1)
    (350000, 175000, 100000)
    """
    share = 1.0 if minutes is None else min(1.0, minutes / FULL_CROP_MINUTES)
    return max(FEWEST_CROP_VOXELS, int(CROP_VOXELS * share))


def typical_spacing(survey: Survey) -> Triple:
    """The median voxel size of the scans along each axis, mm."""
    x, y, z = np.median([scan.spacing for scan in survey.scans], axis=0)
    return float(x), float(y), float(z)


def extents(survey: Survey) -> tuple[Triple, Triple]:
    """What the scans cover along each axis, mm: the median, and the largest."""
    every = np.array([scan.extent for scan in survey.scans])
    (a, b, c), (d, e, f) = np.median(every, axis=0), every.max(axis=0)
    return (float(a), float(b), float(c)), (float(d), float(e), float(f))


def thinnest(survey: Survey, classes: int) -> float | None:
    """The thickness of the thinnest class, median over the labels, mm; None where no label has any."""
    found = [[one.thickness for one in survey.of_class(value)] for value in range(1, classes)]
    return min((float(np.median(one)) for one in found if one), default=None)


def planned_spacing(own: Triple, extent: Triple, thin: float | None, voxels: int) -> Triple:
    """Voxels as coarse as it takes for a crop to hold a whole scan, within what the scans and classes allow.

    The finest axes are coarsened first, all to the same size; axes that are coarser already stay as they are.

    Args:
        own: Voxel size of the scans.
        extent: Of the scans, mm.
        thin: Thickness of the thinnest class, mm.
        voxels: Of a crop, at most.

    >>> planned_spacing((0.625, 0.625, 0.625), (124.0, 87.0, 55.0), 30.0, 350_000)  # a heart
    (1.2, 1.2, 1.2)
    >>> planned_spacing((1.5, 1.5, 10.0), (330.0, 390.0, 100.0), 12.0, 350_000)  # thick slices
    (1.95, 1.95, 10.0)
    >>> planned_spacing((1.0, 1.0, 1.0), (36.0, 50.0, 36.0), 7.0, 350_000)  # a small scan
    (1.0, 1.0, 1.0)
    """
    finest = min(own)
    coarsest = COARSEST * finest if thin is None else min(COARSEST * finest, thin / ACROSS)
    size = finest
    while size < coarsest and math.prod(e / max(o, size) for e, o in zip(extent, own, strict=True)) > voxels:
        size *= 1.01
    size = min(size, max(finest, coarsest))
    if size > finest:
        step = 0.05 if size >= 0.2 else 0.005  # round numbers
        size = math.floor(size / step + 1) * step
    x, y, z = (round(min(COARSEST_MM, max(FINEST_MM, o, size)), 3) for o in own)
    return x, y, z


def planned_crop(spacing: Triple, extent: Triple, voxels: int) -> Voxels:
    """Voxels of a whole scan, or of a box of it with sides as equal as it allows, not yet fit for networks.

    >>> planned_crop((2.0, 2.0, 10.0), (330.0, 390.0, 100.0), 350_000)
    (165, 195, 10)
    >>> planned_crop((2.6, 2.6, 3.0), (334.0, 334.0, 441.0), 350_000)
    (74, 74, 64)
    """
    longest = max(extent)
    while math.prod(min(e, longest) / s for e, s in zip(extent, spacing, strict=True)) > voxels:
        longest *= 0.99
    x, y, z = (
        min(LONGEST_SIDE, max(1, round(min(e, longest) / s))) for e, s in zip(extent, spacing, strict=True)
    )
    return x, y, z


@dataclass(frozen=True)
class Levels:
    """How the networks halve and read a crop.

    Attributes:
        strides: From each level to the next.
        kernels: Of each level.
    """

    strides: tuple[Voxels, ...]
    kernels: tuple[Voxels, ...]

    @property
    def grains(self) -> Voxels:
        """What the sides of a volume must be divisible by."""
        x, y, z = (math.prod(steps) for steps in zip(*self.strides, strict=True))
        return x, y, z


def planned_levels(spacing: Triple, crop: Voxels) -> Levels:
    """Halve the fine axes until voxels are about as long as they are wide, and no axis below what it has.

    >>> planned_levels((2.0, 2.0, 10.0), (168, 192, 10)).strides
    ((2, 2, 1), (2, 2, 1), (2, 2, 2))
    >>> planned_levels((2.0, 2.0, 10.0), (168, 192, 10)).kernels
    ((3, 3, 1), (3, 3, 1), (3, 3, 3), (3, 3, 3))
    >>> planned_levels((1.0, 1.0, 1.0), (40, 56, 40)).strides
    ((2, 2, 2), (2, 2, 2), (2, 2, 2))
    """
    length, left = list(spacing), list(crop)
    strides: list[Voxels] = []
    kernels = [_kernel(length)]
    while len(strides) < len(FILTERS) - 1:
        can = [math.ceil(count / 2) >= LEAST for count in left]
        fine = min((one for one, may in zip(length, can, strict=True) if may), default=0.0)
        step = [2 if may and one < THICK * fine else 1 for one, may in zip(length, can, strict=True)]
        if max(step) == 1:
            if strides:
                break
            step = [2, 2, 2]  # networks have two levels at least; what a crop lacks is filled up
        length = [one * two for one, two in zip(length, step, strict=True)]
        left = [math.ceil(count / two) for count, two in zip(left, step, strict=True)]
        strides.append((step[0], step[1], step[2]))
        kernels.append(_kernel(length))
    return Levels(tuple(strides), tuple(kernels))


def planned_coarsening(spacing: Triple, thin: float | None, stride: Voxels) -> Voxels:
    """How many voxels along each axis become one for DS: as many as the first stride of CS, where no class gets lost.

    Args:
        spacing: Of CS, mm.
        thin: Thickness of the thinnest class, mm.
        stride: Of CS from its finest level to the next.

    >>> planned_coarsening((1.9, 1.9, 10.0), 9.0, (2, 2, 1))  # a myocardium
    (2, 2, 1)
    >>> planned_coarsening((2.15, 2.15, 3.0), 3.2, (2, 2, 2))  # an adrenal gland
    (2, 2, 1)
    """
    x, y, z = (
        two if thin is None or two * one * COARSE_ACROSS <= thin else 1
        for one, two in zip(spacing, stride, strict=True)
    )
    return x, y, z


def _kernel(spacing: list[float]) -> Voxels:
    x, y, z = (3 if one <= THICK * min(spacing) else 1 for one in spacing)
    return x, y, z


def nearest_sides(size: Voxels, grains: Voxels, *, above: bool = False) -> Voxels:
    """The sides nearest to a size, or nearest above it, among those that the networks can halve.

    >>> nearest_sides((163, 195, 10), (8, 8, 2)), nearest_sides((163, 195, 10), (8, 8, 2), above=True)
    ((160, 192, 10), (168, 200, 10))
    """
    found = [
        max(1, math.ceil(side / grain) if above else math.floor(side / grain + 0.5)) * grain
        for side, grain in zip(size, grains, strict=True)
    ]
    return found[0], found[1], found[2]
