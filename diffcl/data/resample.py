"""The working grid of a scan: its own axes, put in a fixed order, at the recipe's spacing.

A scan and its working grid cover the same box in space and share their axes up to order and sign, so an
oblique scan stays oblique and is never rotated. Going there and back is linear interpolation in
physical space; the order of axes and the direction of each never have to be undone by hand.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations

import numpy as np
import SimpleITK as sitk

from diffcl.geometry import Geometry, nearest_axes


def working_geometry(scan: Geometry, spacing: tuple[float, float, float]) -> Geometry:
    """The grid with axes nearest to left, posterior, superior that covers the scan's box.

    The box is centred on the scan's and at most one voxel larger along each axis.

    Args:
        scan: Geometry of the scan, of any orientation.
        spacing: Voxel size in mm along left, posterior and superior.
    """
    axes = scan.axes
    order = max(permutations(range(3)), key=lambda order: sum(abs(axes[w, a]) for w, a in enumerate(order)))
    signs = [1.0 if axes[world, axis] >= 0 else -1.0 for world, axis in enumerate(order)]
    direction = np.stack([signs[world] * axes[:, axis] for world, axis in enumerate(order)], axis=1)
    extent = scan.extent[list(order)]
    size = tuple(max(1, int(np.ceil(extent[i] / spacing[i] - 1e-3))) for i in range(3))
    middle = scan.points((np.array(scan.size) - 1) / 2)
    origin = middle - direction @ ((np.array(size) - 1) / 2 * np.array(spacing))
    return Geometry(
        (size[0], size[1], size[2]), spacing, (origin[0], origin[1], origin[2]), tuple(direction.ravel())
    )


def resample(image: sitk.Image, target: Geometry, *, labels: bool = False) -> sitk.Image:
    """An image on another grid of the same space.

    Intensities are interpolated linearly, after smoothing along axes that lose more than every second voxel.
    Outside the image the nearest voxel counts where it is less than half a voxel away, and 0 elsewhere.

    Args:
        image: Scalar or vector image.
        target: The grid wanted.
        labels: Whether voxels are classes: each is interpolated by itself and the largest wins.
    """
    if Geometry.of(image) == target:
        return image
    if not labels:
        steps = [target.spacing[axis] for axis in nearest_axes(Geometry.of(image), target)]
        image = smooth(image, steps)
    return interpolate(image, target, labels=labels)


def smooth(image: sitk.Image, steps: Sequence[float]) -> sitk.Image:
    """An image without detail that steps could not hold, along axes that lose more than every second voxel.

    Args:
        image: Scalar or vector image.
        steps: Millimetres between the voxels of the grid that it will be put on, along each axis of the image.
    """
    for axis, (own, step) in enumerate(zip(image.GetSpacing(), steps, strict=True)):
        if step > 2.01 * own and image.GetSize()[axis] >= 4:
            image = sitk.RecursiveGaussian(image, sigma=step / 2.355, direction=axis)
    return image


def interpolate(image: sitk.Image, target: Geometry, *, labels: bool = False) -> sitk.Image:
    """`resample` of an image that is smooth enough."""
    method = sitk.sitkLabelLinear if labels else sitk.sitkLinear
    return sitk.Resample(
        image, target.size, sitk.Transform(), method, target.origin, target.spacing, target.direction, 0.0,
        image.GetPixelID(),
    )  # fmt: skip
