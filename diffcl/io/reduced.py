"""Scans and labels of which no more is kept than a picture of them shows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from diffcl.geometry import Geometry, voxels


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


def reduced_scan(scan: sitk.Image, longest: int) -> Reduced:
    """A scan with at most so many voxels along each axis."""
    return Reduced(_coarse(scan, longest), Geometry.of(scan))


def reduced_label(label: sitk.Image, longest: int) -> Reduced:
    """A label, uint8, with at most so many voxels along each axis, and how many of each value it had."""
    counts = np.bincount(voxels(label).ravel(order="K"), minlength=256)
    small = sitk.Resample(label, _coarse(label, longest), sitk.Transform(), sitk.sitkNearestNeighbor, 0)
    return Reduced(small, Geometry.of(label), tuple(map(int, counts)))


def _coarse(image: sitk.Image, longest: int) -> sitk.Image:
    """The means of neighbours; the image itself where it is small."""
    factors = [-(-length // longest) for length in image.GetSize()]
    small: sitk.Image = sitk.BinShrink(image, factors) if max(factors) > 1 else image
    return small
