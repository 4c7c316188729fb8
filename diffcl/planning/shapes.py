"""The shapes of the classes of a label, as a plan asks for them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from diffcl.geometry import Geometry
from diffcl.pieces import largest_share

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Shape:
    """A class of a label, along the axes of its grid.

    Attributes:
        voxels: How many it has.
        sides: Millimetres that it covers along each axis.
        middle: Mean index of its voxels.
        thickness: Three times its volume over its surface, mm.
        largest: Share of it that its largest piece has.
    """

    voxels: int
    sides: Triple
    middle: Triple
    thickness: float
    largest: float


def class_shapes(label: NDArray[Any], count: int, grid: Geometry) -> dict[int, Shape]:
    """The shapes of the classes 1..`count` that a label `(X, Y, Z)` has, by value."""
    upright = np.ascontiguousarray(label.T)  # in the order of its memory, which is quickest to go through
    boxes = ndimage.find_objects(upright, max_label=count)
    return {
        value: _shape(upright[box] == value, [side.start for side in box], grid)
        for value, box in enumerate(boxes, start=1)
        if box is not None
    }


def _shape(mask: NDArray[np.bool_], corner: list[int], grid: Geometry) -> Shape:
    """The shape of a mask `(z, y, x)` that fills its box, at a corner of the label."""
    spacing = grid.spacing[::-1]
    count, volume = int(np.count_nonzero(mask)), math.prod(spacing)
    surface = sum(_faces(mask, axis) * volume / length for axis, length in enumerate(spacing))
    middle = []
    for axis, start in enumerate(corner):
        across = np.count_nonzero(mask, axis=tuple({0, 1, 2} - {axis}))
        middle.append(start + float(across @ np.arange(len(across))) / count)
    sides = [length * voxels for length, voxels in zip(spacing, mask.shape, strict=True)]
    return Shape(
        count,
        (sides[2], sides[1], sides[0]),
        (middle[2], middle[1], middle[0]),
        3 * count * volume / surface,
        largest_share(mask),
    )


def _faces(mask: NDArray[np.bool_], axis: int) -> int:
    """How many faces of voxels across an axis lie between the mask and what is around it."""
    along = np.moveaxis(mask, axis, 0)
    ends = np.count_nonzero(along[0]) + np.count_nonzero(along[-1])
    return int(np.count_nonzero(along[1:] != along[:-1]) + ends)
