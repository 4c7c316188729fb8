"""Three planes through a scan as radiologists look at it, and what of a scan or label lies in them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from diffcl.geometry import Geometry, extent, voxels

LONGEST_OBLIQUE: Final = 300
"""Voxels along an axis of what is shown of an oblique scan, about; others keep their voxels."""

ALIGNED: Final = 1e-3
"""Axes of an upright scan differ by less from those of the world."""

SAMPLE: Final = 1 << 20
"""Voxels of which the grey values of a picture are chosen, at most; of larger scans every n-th one counts."""

SHARES: Final = (0.5, 99.5)
"""Of the values that are not 0, those at these per cent are black and white."""


@dataclass(frozen=True)
class Planes:
    """The slices of an upright grid that are looked at, one along each axis.

    Attributes:
        grid: With axes to the left, back and top, see `upright`.
        positions: Of the sagittal, the coronal and the axial slice.
    """

    grid: Geometry
    positions: tuple[int, int, int]

    @property
    def grids(self) -> tuple[Geometry, ...]:
        """Where each slice lies, one voxel thin."""
        every = [slice(0, length) for length in self.grid.size]
        thin = [slice(position, position + 1) for position in self.positions]
        x, y, z = every
        return tuple(map(self.grid.part, ((thin[0], y, z), (x, thin[1], z), (x, y, thin[2]))))


@dataclass(frozen=True)
class Cut:
    """What of a scan or label lies in three planes.

    Attributes:
        planes: Which they are.
        slices: What is seen in each, `(Y, Z)`, `(X, Z)` and `(X, Y)`.
        grid: That of the file.
        counts: How many voxels of a label's file have each value 0..255; empty for a scan.
        window: Values of a scan that are black and white.
    """

    planes: Planes
    slices: tuple[NDArray[Any], ...]
    grid: Geometry
    counts: tuple[int, ...] = ()
    window: tuple[float, float] = (0.0, 0.0)


def upright(scan: Geometry) -> Geometry:
    """A grid with axes to the left, back and top that covers a scan.

    An upright scan keeps its voxels, whatever the order of its axes; for an oblique one the voxels are cubes
    of its smallest spacing, or larger where the picture would have more than 300 along an axis.
    """
    axes = scan.axes
    steps = np.abs(axes) * np.array(scan.spacing)
    corners = scan.corners()
    low, high = corners.min(axis=0), corners.max(axis=0)
    if np.abs(np.abs(axes) - np.rint(np.abs(axes))).max() < ALIGNED:
        spacing = steps.max(axis=1)
    else:
        spacing = np.full(3, max(min(scan.spacing), float((high - low).max()) / LONGEST_OBLIQUE))
    size = np.rint((high - low) / spacing).astype(int) + 1
    return Geometry(
        (int(size[0]), int(size[1]), int(size[2])),
        (float(spacing[0]), float(spacing[1]), float(spacing[2])),
        (float(low[0]), float(low[1]), float(low[2])),
        (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0),
    )


def planes_of_scan(scan: Geometry) -> Planes:
    """The planes through the middle of a scan."""
    grid = upright(scan)
    x, y, z = (length // 2 for length in grid.size)
    return Planes(grid, (x, y, z))


def planes_of_label(label: sitk.Image) -> Planes:
    """The planes in which a label is largest; those through the middle where it is empty."""
    middle = planes_of_scan(Geometry.of(label))
    labelled = voxels(label) > 0
    if not labelled.any():
        return middle
    grid = middle.grid
    corners = Geometry.of(label).part(extent(labelled)).corners(beyond=1.0)
    ends = np.sort([grid.indices(corners).min(axis=0), grid.indices(corners).max(axis=0)], axis=0)
    first = np.clip(np.floor(ends[0]).astype(int), 0, np.array(grid.size) - 1)
    last = np.clip(np.ceil(ends[1]).astype(int) + 1, first + 1, grid.size)
    x, y, z = (slice(int(start), int(stop)) for start, stop in zip(first, last, strict=True))
    seen = voxels(_on(label, grid.part((x, y, z)), sitk.sitkLabelLinear)) > 0
    if not seen.any():
        return middle
    areas = [seen.sum(axis=tuple(other for other in range(3) if other != axis)) for axis in range(3)]
    i, j, k = (int(area.argmax()) + int(start) for area, start in zip(areas, first, strict=True))
    return Planes(grid, (i, j, k))


def cut(image: sitk.Image, planes: Planes, *, labels: bool = False) -> tuple[NDArray[Any], ...]:
    """What of an image lies in three planes, as `Cut.slices`; 0 beside it.

    Intensities are interpolated linearly, so an image is no finer than the planes. Of labels the nearest class counts.
    """
    how = sitk.sitkLabelLinear if labels else sitk.sitkLinear
    return tuple(voxels(_on(image, grid, how)).squeeze(axis) for axis, grid in enumerate(planes.grids))


def window_of(scan: NDArray[Any]) -> tuple[float, float]:
    """The values of a scan that are shown black and white; 0 and 0 where there are none but 0."""
    values = scan.ravel(order="K")
    values = values[:: -(-values.size // SAMPLE) | 1]  # odd, so that no axis is always met at the same place
    values = values[values != 0]
    if not values.size:
        return 0.0, 0.0
    low, high = np.percentile(values, SHARES, overwrite_input=True)
    return float(low), float(high)


def _on(image: sitk.Image, grid: Geometry, how: int) -> sitk.Image:
    return sitk.Resample(
        image, grid.size, sitk.Transform(), how, grid.origin, grid.spacing, grid.direction, 0.0,
        image.GetPixelID(),
    )  # fmt: skip
