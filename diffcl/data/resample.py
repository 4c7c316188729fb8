"""The working grid of a scan: its own axes, put in a fixed order, at the recipe's spacing.

The order is that of the patient's axes, or of the rows, columns and slices that the scan consists of.

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
from diffcl.recipe.preparation import Axes

SLICES_APART = 1.5
"""A scan consists of slices where one axis has voxels longer than the others by this factor at least."""

TO_THE_RIGHT = np.array([1.0, 1.0, 0.0])
"""Where the rows of a displayed slice point: to the patient's left, or backwards in a slice seen from his side."""

DOWNWARDS = np.array([0.0, 1.0, -1.0])
"""Where its columns point: to the feet, or backwards in a slice seen from the feet."""


def working_geometry(scan: Geometry, spacing: tuple[float, float, float], axes: Axes = "patient") -> Geometry:
    """The grid that covers the scan's box with axes in a fixed order, which does not depend on how it is stored.

    The box is centred on the scan's and at most one voxel larger along each axis.

    Args:
        scan: Geometry of the scan, of any orientation.
        spacing: Voxel size in mm along the grid's axes.
        axes: The scan's axes nearest to left, posterior and superior; or those of its slices, see `slice_axes`.
    """
    order, signs = (slice_axes(scan) if axes == "slices" else None) or patient_axes(scan)
    direction = np.stack([sign * scan.axes[:, axis] for axis, sign in zip(order, signs, strict=True)], axis=1)
    extent = scan.extent[list(order)]
    size = tuple(max(1, int(np.ceil(extent[i] / spacing[i] - 1e-3))) for i in range(3))
    middle = scan.points((np.array(scan.size) - 1) / 2)
    origin = middle - direction @ ((np.array(size) - 1) / 2 * np.array(spacing))
    return Geometry(
        (size[0], size[1], size[2]), spacing, (origin[0], origin[1], origin[2]), tuple(direction.ravel())
    )


def patient_axes(scan: Geometry) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Axes of a scan nearest to left, posterior and superior, and 1 or -1 where they point there or away."""
    axes = scan.axes
    order = max(permutations(range(3)), key=lambda order: sum(abs(axes[w, a]) for w, a in enumerate(order)))
    return order, tuple(1.0 if axes[world, axis] >= 0 else -1.0 for world, axis in enumerate(order))


def slice_axes(scan: Geometry) -> tuple[tuple[int, ...], tuple[float, ...]] | None:
    """Axes of a scan along the rows and columns of its slices, as they are displayed, and through the slices.

    Slices of the heart or of a joint lie at any angle to the patient, so that which of his axes is nearest differs from
    scan to scan; how a slice is displayed does not. Axial slices have the same axes as the patient.

    Returns:
        The axes, and 1 or -1 where they point to the right, down and away from the viewer, or not; None where the scan
        does not consist of slices.

    >>> axial = Geometry((9, 9, 4), (1.0, 1.0, 8.0), (0.0, 0.0, 0.0), (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0))
    >>> slice_axes(axial) == patient_axes(axial)
    True
    >>> sagittal = Geometry((4, 9, 9), (8.0, 1.0, 1.0), (0.0, 0.0, 0.0), (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0))
    >>> slice_axes(sagittal)  # backwards, to the feet, to the patient's right
    ((1, 2, 0), (1.0, -1.0, -1.0))
    """
    through = int(np.argmax(scan.spacing))
    rows, columns = (axis for axis in range(3) if axis != through)
    if scan.spacing[through] < SLICES_APART * max(scan.spacing[rows], scan.spacing[columns]):
        return None
    axes = scan.axes

    def shown(frame: tuple[int, int, float, float]) -> float:
        x, y, along, down = frame
        return float(along * axes[:, x] @ TO_THE_RIGHT + down * axes[:, y] @ DOWNWARDS)

    ways = [(1.0, 1.0), (1.0, -1.0), (-1.0, 1.0), (-1.0, -1.0)]
    frames = [(x, y, a, b) for x, y in ((rows, columns), (columns, rows)) for a, b in ways]
    x, y, along, down = max(frames, key=shown)
    away = np.cross(along * axes[:, x], down * axes[:, y]) @ axes[:, through]
    return (x, y, through), (along, down, 1.0 if away >= 0 else -1.0)


def resample(
    image: sitk.Image, target: Geometry, *, labels: bool = False, outside: float = 0.0
) -> sitk.Image:
    """An image on another grid of the same space.

    Intensities are interpolated linearly, after smoothing along axes that lose more than every second voxel.
    Outside the image the nearest voxel counts where it is less than half a voxel away, and `outside` elsewhere.

    Args:
        image: Scalar or vector image.
        target: The grid wanted.
        labels: Whether voxels are classes: each is interpolated by itself and the largest wins.
        outside: Value where the image shows nothing.
    """
    if Geometry.of(image) == target:
        return image
    if not labels:
        steps = [target.spacing[axis] for axis in nearest_axes(Geometry.of(image), target)]
        image = smooth(image, steps)
    return interpolate(image, target, labels=labels, outside=outside)


def smooth(image: sitk.Image, steps: Sequence[float]) -> sitk.Image:
    """An image without detail that steps could not hold, along axes that lose more than every second voxel.

    Args:
        image: Scalar or vector image.
        steps: Millimetres between the voxels of the grid that it will be put on, along each axis of the image.
    """
    for axis in loses_detail(Geometry.of(image), steps):
        image = sitk.RecursiveGaussian(image, sigma=steps[axis] / 2.355, direction=axis)
    return image


def loses_detail(grid: Geometry, steps: Sequence[float]) -> list[int]:
    """The axes of a grid, of four voxels or more, of which steps of so many mm take less than every second one."""
    every = enumerate(zip(grid.spacing, grid.size, steps, strict=True))
    return [axis for axis, (own, size, step) in every if step > 2.01 * own and size >= 4]


def interpolate(
    image: sitk.Image, target: Geometry, *, labels: bool = False, outside: float = 0.0
) -> sitk.Image:
    """`resample` of an image that is smooth enough."""
    method = sitk.sitkLabelLinear if labels else sitk.sitkLinear
    return sitk.Resample(
        image, target.size, sitk.Transform(), method, target.origin, target.spacing, target.direction, outside,
        image.GetPixelID(),
    )  # fmt: skip
