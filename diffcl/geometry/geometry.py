"""Where the voxels of an image lie: one class for every grid."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, Final

import numpy as np
import SimpleITK as sitk
from numpy.typing import ArrayLike, DTypeLike, NDArray

from diffcl.geometry.boxes import Box

AXES_TOLERANCE: Final = 1e-4
"""Largest cosine between two axes, and largest error of the square of their length; file formats round axes to
about 1e-7."""

SHEAR_VOXELS: Final = 0.25
"""The corners of a header's grid may lie this far, in voxels, from those of the straight grid nearest to it."""

SHEAR_ANGLE: Final = 0.02
"""Radians by which an axis may be turned to become perpendicular to the others, or share by which its length may
be wrong."""

SMALLEST_VOXEL_MM: Final = 1e-6
"""Smallest spacing of voxels, a nanometre; no scanner sees less."""

WIDEST_MM: Final = 10_000.0
"""Widest extent along an axis, ten metres: five times the tallest patient; more is a wrong unit."""

FARTHEST_MM: Final = 1e6
"""Largest coordinate, a kilometre from the scanner's centre; none is as large."""

LPS_TO_RAS: Final = np.diag([-1.0, -1.0, 1.0, 1.0])


class GeometryError(ValueError):
    """A grid that cannot be; the message says what of it, as the end of a sentence that names the file."""


@dataclass(frozen=True)
class Geometry:
    """Where the voxels of an image lie. One that cannot be is refused when it is made.

    Attributes:
        size: Voxels along each axis, at least 1.
        spacing: Millimetres between voxel centres along each axis.
        origin: Centre of the first voxel, LPS millimetres.
        direction: Unit vectors of the axes as the columns of a row-major 3x3 matrix, as ITK keeps it. They are
            perpendicular within `AXES_TOLERANCE`, and may be left-handed.

    Raises:
        GeometryError: If a number is not finite, the grid has no extent or is wider than `WIDEST_MM`, or its axes
            are not perpendicular unit vectors.
    """

    size: tuple[int, int, int]
    spacing: tuple[float, float, float]
    origin: tuple[float, float, float]
    direction: tuple[float, ...]

    def __post_init__(self) -> None:
        for name, count, kind in (
            ("size", 3, int),
            ("spacing", 3, float),
            ("origin", 3, float),
            ("direction", 9, float),
        ):
            numbers = tuple(kind(number) for number in getattr(self, name))
            if len(numbers) != count:
                raise GeometryError(f"its {name} is {len(numbers)} numbers, not {count}")
            object.__setattr__(self, name, numbers)
        if not all(map(math.isfinite, (*self.spacing, *self.origin, *self.direction))):
            raise GeometryError("its voxel size, position or orientation is not a number")
        if min(self.size) < 1:
            raise GeometryError(f"it has {' x '.join(map(str, self.size))} voxels")
        if min(self.spacing) < SMALLEST_VOXEL_MM:
            raise GeometryError(f"its voxels are {min(self.spacing):g} mm wide")
        widest = max(count * step for count, step in zip(self.size, self.spacing, strict=True))
        if widest > WIDEST_MM:
            raise GeometryError(
                f"it would be {widest / 1000:.3g} m wide, so its voxel size is not in millimetres"
            )
        if max(map(abs, self.origin)) > FARTHEST_MM:
            raise GeometryError(f"its first voxel would lie {max(map(abs, self.origin)) / 1000:.3g} m away")
        if np.abs(self.axes.T @ self.axes - np.eye(3)).max() > AXES_TOLERANCE:
            raise GeometryError("its axes are not perpendicular")

    @classmethod
    def of(cls, image: sitk.Image) -> Geometry:
        """The geometry of a 3D image."""
        return cls(image.GetSize(), image.GetSpacing(), image.GetOrigin(), image.GetDirection())

    @classmethod
    def from_affine(cls, affine: ArrayLike, size: tuple[int, int, int]) -> Geometry:
        """The geometry of a matrix as NIfTI and nibabel have it.

        Args:
            affine: `(4, 4)`, from voxel indices to RAS millimetres.
            size: Voxels along each axis.

        >>> grid = Geometry.from_affine(np.diag([-2.0, -2.0, 3.0, 1.0]), (4, 5, 6))
        >>> grid.spacing, grid.direction
        ((2.0, 2.0, 3.0), (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0))
        """
        matrix = np.asarray(affine, float)
        if matrix.shape != (4, 4) or not np.isfinite(matrix).all():
            raise GeometryError("its voxel size, position or orientation is not a number")
        lps = LPS_TO_RAS @ matrix
        spacing = np.linalg.norm(lps[:3, :3], axis=0)
        axes = lps[:3, :3] / np.where(spacing > 0, spacing, 1.0) + 0.0  # 0.0 makes -0.0 a plain 0
        return cls(size, tuple(spacing.tolist()), tuple(lps[:3, 3].tolist()), tuple(axes.ravel().tolist()))

    @classmethod
    def straightened(
        cls, size: tuple[int, int, int], spacing: ArrayLike, origin: ArrayLike, axes: NDArray[Any]
    ) -> tuple[Geometry, float]:
        """The grid nearest to one whose axes are nearly perpendicular, about its middle.

        Args:
            size: Voxels along each axis.
            spacing: Millimetres along each axis, `(3,)`.
            origin: Centre of the first voxel, LPS, `(3,)`.
            axes: Directions of the axes, columns of `(3, 3)`, LPS.

        Returns:
            The grid, and how far its corners lie from those of the header, in voxels; 0 where nothing was changed.

        Raises:
            GeometryError: If they lie farther than `SHEAR_VOXELS`, or the grid cannot be for another reason.
        """
        told, first = np.asarray(spacing, float), np.asarray(origin, float)
        if not np.isfinite([*told, *first, *np.ravel(axes)]).all():
            raise GeometryError("its voxel size, position or orientation is not a number")
        straight = straight_axes(axes)
        if straight is axes:
            return cls(size, tuple(told.tolist()), tuple(first.tolist()), tuple(axes.ravel().tolist())), 0.0
        middle = (np.array(size) - 1) / 2 * told
        moved = (np.abs(straight - axes) @ np.abs(middle) / told.min()).max()
        if moved > SHEAR_VOXELS or np.abs(straight.T @ axes - np.eye(3)).max() > SHEAR_ANGLE:
            raise GeometryError("its axes are not perpendicular")
        first = first + axes @ middle - straight @ middle
        return cls(
            size, tuple(told.tolist()), tuple(first.tolist()), tuple(straight.ravel().tolist())
        ), float(moved)

    @property
    def affine(self) -> NDArray[np.float64]:
        """The matrix `(4, 4)` from voxel indices to RAS millimetres, as NIfTI and nibabel have it."""
        lps = np.eye(4)
        lps[:3, :3] = self.axes * self.spacing
        lps[:3, 3] = self.origin
        ras: NDArray[np.float64] = LPS_TO_RAS @ lps
        return ras

    @property
    def axes(self) -> NDArray[np.float64]:
        """Unit vectors of the axes, the columns of a matrix `(3, 3)`, LPS."""
        return np.reshape(self.direction, (3, 3))

    @property
    def extent(self) -> NDArray[np.float64]:
        """Millimetres that the voxels fill along each axis, `(3,)`."""
        filled: NDArray[np.float64] = np.array(self.size) * np.array(self.spacing)
        return filled

    @property
    def voxel_ml(self) -> float:
        """Volume of a voxel, millilitres."""
        return math.prod(self.spacing) / 1000

    def points(self, indices: ArrayLike) -> NDArray[Any]:
        """LPS millimetres of voxel indices, `(..., 3)` to the same shape; between the voxels as well."""
        along: NDArray[Any] = (np.asarray(indices) * self.spacing) @ self.axes.T
        return along + self.origin

    def indices(self, points: ArrayLike) -> NDArray[Any]:
        """Indices of points, the inverse of `points`."""
        found: NDArray[Any] = (np.asarray(points) - self.origin) @ self.axes / self.spacing
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

    def corners(self, beyond: float = 0.0) -> NDArray[Any]:
        """LPS millimetres of the eight corner voxels' centres, `(8, 3)`, or of points so many voxels beyond them."""
        ends = [(-beyond, count - 1 + beyond) for count in self.size]
        return self.points(np.array(list(product(*ends))))

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


def slice_points(grid: Geometry, k: int, parts: Sequence[int]) -> NDArray[np.float64]:
    """Points that fill the voxels of slice `k` of a grid evenly, `(X * parts[0], Y * parts[1], parts[2], 3)`, LPS mm.

    Args:
        grid: The grid.
        k: Of the slice along the third axis.
        parts: Points within a voxel along each axis.
    """
    starts = ((0, grid.size[0]), (0, grid.size[1]), (k, 1))
    steps = [
        start + (np.arange(n * part) + 0.5) / part - 0.5
        for (start, n), part in zip(starts, parts, strict=True)
    ]
    return grid.points(np.stack(np.meshgrid(*steps, indexing="ij"), axis=-1))


def straight_axes(axes: NDArray[Any]) -> NDArray[np.float64]:
    """The perpendicular unit vectors nearest to nearly perpendicular ones, columns of `(3, 3)`.

    Axes that are straight within `AXES_TOLERANCE` stay as they are, to the bit.

    Raises:
        GeometryError: If they span no space.
    """
    if np.abs(axes.T @ axes - np.eye(3)).max() <= AXES_TOLERANCE:
        return axes
    left, stretch, right = np.linalg.svd(axes)  # the polar decomposition gives the nearest
    if stretch[-1] < AXES_TOLERANCE:
        raise GeometryError("its axes are not perpendicular")
    straight: NDArray[np.float64] = left @ right
    return straight


def voxels(image: sitk.Image) -> NDArray[Any]:
    """The voxels of an image as an array `(X, Y, Z)`, or `(C, X, Y, Z)` of a vector image."""
    return sitk.GetArrayFromImage(image).T
