"""Scans and labels of which no more is kept than a picture of them shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from diffcl.geometry import Geometry
from diffcl.io.planes import Cut, Planes, cut, planes_of_label, planes_of_scan, window_of
from diffcl.io.slices import Slices
from diffcl.labels import UNKNOWN


@dataclass(frozen=True)
class Reduced:
    """A scan or label with fewer voxels than its file has.

    Attributes:
        image: What is kept of it: of a scan the mean of neighbours, of a label one of them.
        grid: That of the file.
        counts: How many voxels of a label's file have each value 0..255; empty for a scan.
    """

    image: sitk.Image
    grid: Geometry
    counts: tuple[int, ...] = ()


def reduced_scan(scan: Slices, longest: int) -> Reduced:
    """A scan with at most so many voxels along each axis."""
    coarse, factors = _coarse(scan.grid, longest)
    x, y, z = coarse.size
    image = _empty(coarse, sitk.sitkFloat32)
    for k in range(z):
        first, *others = islice(scan.arrays, factors[2])
        total = np.array(first)
        for other in others:
            total += other
        rows = _sum(total[: y * factors[1]], factors[1])
        means = _sum(rows.T[: x * factors[0]], factors[0]) / np.float32(np.prod(factors))
        image[:, :, k] = sitk.GetImageFromArray(means.T)
    for _ in scan.arrays:  # those that fill no voxel any more
        pass
    return Reduced(image, scan.grid)


def reduced_label(label: Slices, longest: int) -> Reduced:
    """A label, uint8, with at most so many voxels along each axis, and how many of each value it had."""
    coarse, factors = _coarse(label.grid, longest)
    x, y, z = coarse.size
    image = _empty(coarse, sitk.sitkUInt8)
    counts = np.zeros(256, int)
    middle = [factor // 2 for factor in factors]
    for index, array in enumerate(label.arrays):
        values = np.bincount(array[array > 0], minlength=256)
        values[0] = array.size - values.sum()
        counts += values
        k, rest = divmod(index, factors[2])
        if rest == middle[2] and k < z:
            kept = array[middle[1] :: factors[1], middle[0] :: factors[0]][:y, :x]
            image[:, :, k] = sitk.GetImageFromArray(kept)
    return Reduced(image, label.grid, tuple(map(int, counts)))


def cut_of_scan(scan: Slices, longest: int, planes: Planes | None = None) -> Cut:
    """What lies in some planes of a scan with at most so many voxels along each axis; in those through its middle."""
    small = reduced_scan(scan, longest)
    planes = planes or planes_of_scan(Geometry.of(small.image))
    window = window_of(sitk.GetArrayViewFromImage(small.image))
    return Cut(planes, cut(small.image, planes), small.grid, window=window)


def cut_of_label(label: Slices, longest: int, planes: Planes | None = None) -> Cut:
    """What lies in some planes of a label with at most so many voxels along each axis; in those in which it is largest.

    What is unknown is shown as background.
    """
    small = reduced_label(label, longest)
    shown = sitk.ChangeLabel(small.image, {UNKNOWN: 0})
    planes = planes or planes_of_label(shown)
    return Cut(planes, cut(shown, planes, labels=True), small.grid, small.counts)


def _empty(grid: Geometry, kind: int) -> sitk.Image:
    """An image of zeros, which is filled in place."""
    image = sitk.Image(grid.size, kind)
    image.SetSpacing(grid.spacing)
    image.SetOrigin(grid.origin)
    image.SetDirection(grid.direction)
    return image


def _sum(array: NDArray[Any], factor: int) -> NDArray[Any]:
    """The sums of so many neighbours along the first axis."""
    total = array[::factor]
    for start in range(1, factor):
        total = total + array[start::factor]
    return total


def _coarse(grid: Geometry, longest: int) -> tuple[Geometry, Sequence[int]]:
    """The grid of the means of neighbours, and how many there are along each axis."""
    factors = [-(-length // longest) for length in grid.size]
    x, y, z = (length // factor for length, factor in zip(grid.size, factors, strict=True))
    a, b, c = (step * factor for step, factor in zip(grid.spacing, factors, strict=True))
    first = grid.points((np.array(factors) - 1) / 2).tolist()
    return Geometry((x, y, z), (a, b, c), tuple(first), grid.direction), factors
