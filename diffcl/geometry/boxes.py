"""Boxes: parts of a grid, as slices along its axes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Box = tuple[slice, slice, slice]
"""Part of a grid, with a start and a stop along each axis."""


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


def around(boxes: Sequence[Box]) -> Box:
    """The smallest box that holds all of some.

    >>> around([(slice(2, 5), slice(0, 3), slice(1, 2)), (slice(4, 9), slice(1, 2), slice(0, 1))])
    (slice(2, 9, None), slice(0, 3, None), slice(0, 2, None))
    """
    sides = zip(*boxes, strict=True)
    x, y, z = (slice(min(s.start for s in side), max(s.stop for s in side)) for side in sides)
    return x, y, z


def overlap_of(one: Box, other: Box) -> Box | None:
    """What two boxes share; None for nothing.

    >>> overlap_of((slice(0, 4), slice(0, 4), slice(0, 4)), (slice(2, 9), slice(1, 3), slice(3, 9)))
    (slice(2, 4, None), slice(1, 3, None), slice(3, 4, None))
    """
    x, y, z = (slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(one, other, strict=True))
    return (x, y, z) if all(side.start < side.stop for side in (x, y, z)) else None


def grown(box: Box, voxels: int, size: Sequence[int]) -> Box:
    """A box with so many voxels more on each side, as far as a grid of that size goes.

    >>> grown((slice(2, 4), slice(0, 2), slice(5, 7)), 1, (9, 9, 7))
    (slice(1, 5, None), slice(0, 3, None), slice(4, 7, None))
    """
    x, y, z = (
        slice(max(0, side.start - voxels), min(s, side.stop + voxels))
        for side, s in zip(box, size, strict=True)
    )
    return x, y, z


def moved_by(box: Box, frame: Box) -> Box:
    """A box as it lies in another one, counted from where that one begins.

    >>> moved_by((slice(2, 4), slice(0, 2), slice(5, 7)), (slice(1, 9), slice(0, 9), slice(5, 9)))
    (slice(1, 3, None), slice(0, 2, None), slice(0, 2, None))
    """
    x, y, z = (
        slice(side.start - one.start, side.stop - one.start) for side, one in zip(box, frame, strict=True)
    )
    return x, y, z


def moved_back(box: Box, frame: Box) -> Box:
    """The inverse of `moved_by`: a box that is counted from where another one begins, in the grid of that one.

    >>> moved_back((slice(1, 3), slice(0, 2), slice(0, 2)), (slice(1, 9), slice(0, 9), slice(5, 9)))
    (slice(2, 4, None), slice(0, 2, None), slice(5, 7, None))
    """
    x, y, z = (
        slice(one.start + side.start, one.start + side.stop) for side, one in zip(box, frame, strict=True)
    )
    return x, y, z
