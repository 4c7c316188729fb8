"""Where the voxels of an image lie: one class for every grid, and parts of grids."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import ArrayLike, DTypeLike, NDArray

Box = tuple[slice, slice, slice]
"""Part of a grid, with a start and a stop along each axis."""

GRID_TOLERANCE_MM = 1e-2
"""How far a label's grid may lie from its scan's; file formats round positions to about 1e-5 mm."""


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

    def points(self, indices: ArrayLike) -> NDArray[Any]:
        """LPS millimetres of voxel indices, `(..., 3)` to the same shape; between the voxels as well."""
        along: NDArray[Any] = (np.asarray(indices) * self.spacing) @ self._axes.T
        return along + self.origin

    def indices(self, points: ArrayLike) -> NDArray[Any]:
        """Indices of points, the inverse of `points`."""
        found: NDArray[Any] = (np.asarray(points) - self.origin) @ self._axes / self.spacing
        return found

    def part(self, box: Box) -> Geometry:
        """The grid of a part of the voxels.

        >>> grid = Geometry((4, 5, 6), (1.0, 2.0, 3.0), (0.0, 0.0, 9.0), (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0))
        >>> part = grid.part((slice(0, 4), slice(2, 5), slice(1, 3)))
        >>> part.size, part.origin
        ((4, 3, 2), (0.0, 4.0, 12.0))
        """
        x, y, z = (one.stop - one.start for one in box)
        a, b, c = self.points([one.start for one in box]).tolist()
        return replace(self, size=(x, y, z), origin=(a, b, c))

    @property
    def _axes(self) -> NDArray[Any]:
        return np.reshape(self.direction, (3, 3))

    def zeros(self, kind: DTypeLike) -> NDArray[Any]:
        """An array of zeros `(X, Y, Z)`, in the order of memory that `place` need not change."""
        return np.zeros(self.size, kind, order="F")

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


def same_grid(one: Geometry, other: Geometry) -> bool:
    """Whether two grids have the same voxels, up to what file formats round."""
    if one.size != other.size:
        return False
    corners = np.array([(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)]) * (np.array(one.size) - 1)
    return bool(np.abs(one.points(corners) - other.points(corners)).max() < GRID_TOLERANCE_MM)


def voxels(image: sitk.Image) -> NDArray[Any]:
    """The voxels of an image as an array `(X, Y, Z)`, or `(C, X, Y, Z)` of a vector image."""
    return sitk.GetArrayFromImage(image).T


def extent(inside: NDArray[Any]) -> Box:
    """The smallest box around the voxels of a mask `(X, Y, Z)`, of which there must be some.

    >>> extent(np.array([[[0, 1]], [[0, 0]], [[1, 0]]]))
    (slice(0, 3, None), slice(0, 1, None), slice(0, 2, None))
    """
    ends = (np.flatnonzero(inside.any(axis=tuple({0, 1, 2} - {axis})))[[0, -1]].tolist() for axis in range(3))
    x, y, z = (slice(first, last + 1) for first, last in ends)
    return x, y, z


def slabs(box: Box, voxels: int) -> Iterator[Box]:
    """A box in parts of about so many voxels, cut across its last axis.

    >>> [part[2] for part in slabs((slice(0, 2), slice(0, 3), slice(4, 9)), 12)]
    [slice(4, 6, None), slice(6, 8, None), slice(8, 9, None)]
    """
    x, y, z = box
    thick = max(1, voxels // ((x.stop - x.start) * (y.stop - y.start)))
    for start in range(z.start, z.stop, thick):
        yield x, y, slice(start, min(start + thick, z.stop))
