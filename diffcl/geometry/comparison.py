"""Two grids beside each other: whether they are the same, one is a part of the other, and what tells them apart."""

from __future__ import annotations

import math
from itertools import permutations
from typing import Final

import numpy as np
import SimpleITK as sitk

from diffcl.geometry.geometry import Geometry, voxels

GRID_TOLERANCE_MM: Final = 1e-2
"""How far a label's grid may lie from its scan's; file formats round positions to about 1e-5 mm."""


def same_grid(one: Geometry, other: Geometry) -> bool:
    """Whether two grids have the same voxels, up to what file formats round."""
    return one.size == other.size and _apart(one, other) < GRID_TOLERANCE_MM


def place_in(part: Geometry, whole: Geometry) -> tuple[int, int, int] | None:
    """The index in a grid of the first voxel of a part of it; None where it is not a part of the same voxels.

    >>> grid = Geometry((4, 5, 6), (1.0, 2.0, 3.0), (0.0, 0.0, 9.0), (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0))
    >>> place_in(grid.part((slice(0, 4), slice(2, 5), slice(1, 3))), grid)
    (0, 2, 1)
    """
    x, y, z = np.rint(whole.indices(part.origin)).astype(int).tolist()
    first, last = np.array((x, y, z)), np.array((x, y, z)) + part.size
    if (first < 0).any() or (last > whole.size).any():
        return None
    wanted = whole.part((slice(x, int(last[0])), slice(y, int(last[1])), slice(z, int(last[2]))))
    return (x, y, z) if same_grid(part, wanted) else None


def filled_up(label: sitk.Image, grid: Geometry) -> sitk.Image:
    """A label that lies on a part of a grid, on all of it, 0 elsewhere; as it is where it does not lie on a part.

    3D Slicer saves the box around the segments only.
    """
    own = Geometry.of(label)
    place = None if same_grid(own, grid) else place_in(own, grid)
    if place is None:
        return label
    part = voxels(label)
    whole = grid.zeros(part.dtype)
    whole[tuple(slice(at, at + count) for at, count in zip(place, own.size, strict=True))] = part
    return grid.place(whole)


def nearest_axes(one: Geometry, other: Geometry) -> tuple[int, int, int]:
    """For each axis of a grid the axis of another one that is nearest to parallel; every axis is taken once.

    >>> from dataclasses import replace
    >>> grid = Geometry((4, 5, 6), (1.0, 2.0, 3.0), (0.0, 0.0, 9.0), (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0))
    >>> nearest_axes(grid, replace(grid, direction=(0, 1.0, 0, 0, 0, -1.0, 1.0, 0, 0)))
    (1, 2, 0)
    """
    parallel = np.abs(one.axes.T @ other.axes)
    a, b, c = max(
        permutations(range(3)), key=lambda order: sum(parallel[own, axis] for own, axis in enumerate(order))
    )
    return a, b, c


def difference(one: Geometry, other: Geometry) -> str:
    """What tells one grid from another, with as many digits as show it; empty for the same grid.

    >>> from dataclasses import replace
    >>> grid = Geometry((4, 5, 6), (1.0, 2.0, 3.0), (0.0, 0.0, 9.0), (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0))
    >>> difference(grid, replace(grid, origin=(0.0, 0.0, 9.02)))
    'its position (0, 0, 9) against (0, 0, 9.02) mm'
    >>> difference(grid, replace(grid, size=(4, 5, 7), direction=(-1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0)))
    'its size 4 x 5 x 6 against 4 x 5 x 7, its axes LPS against RPS'
    """
    if same_grid(one, other):
        return ""
    parts = []
    if one.size != other.size:
        parts.append(f"its size {' x '.join(map(str, one.size))} against {' x '.join(map(str, other.size))}")
    letters, others = orientation(one), orientation(other)
    steps = np.array(one.size) - 1
    if letters != others:
        parts.append(f"its axes {letters} against {others}")
    elif np.abs((one.axes - other.axes) * one.spacing * steps).max() >= GRID_TOLERANCE_MM / 2:
        cosine = (np.trace(one.axes.T @ other.axes) - 1) / 2
        parts.append(f"turned by {math.degrees(math.acos(min(max(cosine, -1.0), 1.0))):.2g} degrees")
    if np.abs((np.array(one.spacing) - other.spacing) * steps).max() >= GRID_TOLERANCE_MM / 2:
        parts.append("its voxels {} against {} mm".format(*_told(one.spacing, other.spacing, " x ")))
    if np.abs(np.array(one.origin) - other.origin).max() >= GRID_TOLERANCE_MM / 2:
        parts.append("its position ({}) against ({}) mm".format(*_told(one.origin, other.origin, ", ")))
    return ", ".join(parts) or f"its last voxel lies {_apart(one, other):.2g} mm away"


def orientation(grid: Geometry) -> str:
    """Where the axes of a grid point, the nearest of left, right, anterior, posterior, superior, inferior.

    >>> orientation(Geometry((4, 5, 6), (1.0, 2.0, 3.0), (0.0, 0.0, 9.0), (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0)))
    'LPS'
    """
    letters: str = sitk.DICOMOrientImageFilter.GetOrientationFromDirectionCosines(grid.direction)
    return letters


def _apart(one: Geometry, other: Geometry) -> float:
    """Largest difference in mm between the first voxels, and the last along each axis, of grids of one size."""
    corners = np.array([(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)]) * (np.array(one.size) - 1)
    return float(np.abs(one.points(corners) - other.points(corners)).max())


def _told(one: tuple[float, ...], other: tuple[float, ...], between: str) -> tuple[str, str]:
    """Both tuples of numbers with the fewest digits from which on they look different."""
    for digits in range(3, 18):
        texts = [between.join(f"{number:.{digits}g}" for number in numbers) for numbers in (one, other)]
        if texts[0] != texts[1]:
            break
    return texts[0], texts[1]
