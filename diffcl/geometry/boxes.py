"""Boxes: parts of a grid, as slices along its axes."""

from __future__ import annotations

from collections.abc import Iterator
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
