"""The working grid of a scan: its own axes, put in a fixed order, at the recipe's spacing.

A scan and its working grid cover the same box in space and share their axes up to order and sign, so an
oblique scan stays oblique and is never rotated. Going there and back is linear interpolation in
physical space; the order of axes and the direction of each never have to be undone by hand.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray


@dataclass(frozen=True)
class Geometry:
    """Where the voxels of an image lie.

    Attributes:
        size: Voxels along each axis.
        spacing: Millimetres between voxel centres along each axis.
        origin: Centre of the first voxel, LPS millimetres.
        direction: Unit vectors of the axes as the columns of a row-major 3x3 matrix, as ITK keeps it.
    """

    size: tuple[int, int, int]
    spacing: tuple[float, float, float]
    origin: tuple[float, float, float]
    direction: tuple[float, ...]

    @classmethod
    def of(cls, image: sitk.Image) -> Geometry:
        """The geometry of a 3D image."""
        return cls(image.GetSize(), image.GetSpacing(), image.GetOrigin(), image.GetDirection())

    def place(self, array: NDArray[Any]) -> sitk.Image:
        """An image of this geometry from an array `(X, Y, Z)`, or `(C, X, Y, Z)` as a vector image.

        Raises:
            ValueError: If the array has another size.
        """
        if array.shape[-3:] != self.size:
            raise ValueError(f"array of size {array.shape[-3:]} on a grid of size {self.size}")
        image = sitk.GetImageFromArray(np.ascontiguousarray(array.T), isVector=array.ndim == 4)
        image.SetSpacing(self.spacing)
        image.SetOrigin(self.origin)
        image.SetDirection(self.direction)
        return image


def voxels(image: sitk.Image) -> NDArray[Any]:
    """The voxels of an image as an array `(X, Y, Z)`, or `(C, X, Y, Z)` of a vector image."""
    return sitk.GetArrayFromImage(image).T


def working_geometry(scan: Geometry, spacing: tuple[float, float, float]) -> Geometry:
    """The grid with axes nearest to left, posterior, superior that covers the scan's box.

    The box is centred on the scan's and at most one voxel larger along each axis.

    Args:
        scan: Geometry of the scan, of any orientation.
        spacing: Voxel size in mm along left, posterior and superior.
    """
    axes = np.array(scan.direction).reshape(3, 3)  # column i is the direction of axis i
    order = max(permutations(range(3)), key=lambda order: sum(abs(axes[w, a]) for w, a in enumerate(order)))
    signs = [1.0 if axes[world, axis] >= 0 else -1.0 for world, axis in enumerate(order)]
    direction = np.stack([signs[world] * axes[:, axis] for world, axis in enumerate(order)], axis=1)
    extent = [scan.size[axis] * scan.spacing[axis] for axis in order]
    size = tuple(max(1, int(np.ceil(extent[i] / spacing[i] - 1e-3))) for i in range(3))
    middle = np.array(scan.origin) + axes @ ((np.array(scan.size) - 1) / 2 * np.array(scan.spacing))
    origin = middle - direction @ ((np.array(size) - 1) / 2 * np.array(spacing))
    return Geometry(
        (size[0], size[1], size[2]), spacing, (origin[0], origin[1], origin[2]), tuple(direction.ravel())
    )


def resample(image: sitk.Image, target: Geometry, *, labels: bool = False) -> sitk.Image:
    """An image on another grid of the same space.

    Intensities and probabilities are interpolated linearly, after smoothing along axes that lose more
    than every second voxel. Outside the image the nearest voxel counts where it is less than half a voxel
    away, and 0 elsewhere.

    Args:
        image: Scalar or vector image.
        target: The grid wanted.
        labels: Whether voxels are classes: each is interpolated by itself and the largest wins.
    """
    if Geometry.of(image) == target:
        return image
    if not labels:
        finest = min(target.spacing)
        for axis, spacing in enumerate(image.GetSpacing()):
            if finest > 2.01 * spacing and image.GetSize()[axis] >= 4:
                image = sitk.RecursiveGaussian(image, sigma=finest / 2.355, direction=axis)
    method = sitk.sitkLabelLinear if labels else sitk.sitkLinear
    return sitk.Resample(
        image, target.size, sitk.Transform(), method, target.origin, target.spacing, target.direction, 0.0,
        image.GetPixelID(),
    )  # fmt: skip
