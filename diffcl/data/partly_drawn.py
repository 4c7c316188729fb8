"""Labels of which a part is unknown: voxels of value `UNKNOWN`, which nobody has decided."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from diffcl.geometry import Geometry, extent
from diffcl.labels import UNKNOWN

NEARLY: Final = 1e-3
"""Share of a voxel by which a grid may be coarser than another one and still counts as equally fine."""

FEWEST_APART: Final = 3
"""Slices with a class, no two of them beside each other, from which on those between them look forgotten."""

PLANES: Final = ("sagittal", "coronal", "axial")
"""The plane across each axis of a patient: right-left, front-back and foot-head."""


def is_partly_drawn(label: NDArray[Any]) -> bool:
    """Whether a voxel of a label map is unknown."""
    return bool((label == UNKNOWN).any())


def holds_a_class(label: NDArray[Any]) -> bool:
    """Whether a voxel of a label map is of a class."""
    return bool(((label > 0) & (label != UNKNOWN)).any())


def drawn_in_words(label: NDArray[Any], grid: Geometry) -> str:
    """How much of a label map `(X, Y, Z)` is drawn, for people; empty where all of it is.

    >>> label = np.full((9, 9, 40), UNKNOWN); label[..., 3:8] = 0
    >>> grid = Geometry((9, 9, 40), (1.0, 1.0, 4.0), (0.0, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0))
    >>> drawn_in_words(label, grid)
    'drawn on 5 of 40 axial slices'
    >>> label[0, 0, 20] = 0
    >>> drawn_in_words(label, grid)
    '87 % of it is unknown'
    """
    unknown = label == UNKNOWN
    if not unknown.any():
        return ""
    left, parts = ~unknown, []
    for axis, slices in whole_slices(~unknown).items():
        np.moveaxis(left, axis, 0)[list(slices)] = False
        parts.append(f"{len(slices)} of {label.shape[axis]} {plane_across(axis, grid)}")
    if left.any() or not parts:
        share = 100 * unknown.mean()
        return f"{max(share, 0.1):.1f} % of it is unknown" if share < 1 else f"{share:.0f} % of it is unknown"
    return f"drawn on {' and '.join(parts)} slices"


def with_gaps(label: NDArray[Any], grid: Geometry) -> str:
    """Which slices of a whole label map `(X, Y, Z)` hold a class, for people, where no two of them are neighbours.

    So looks a label of which some slices are drawn and nobody said that the others are not. Empty for any other label.

    >>> label = np.zeros((9, 9, 40)); label[3:6, 3:6, [10, 12, 14, 16]] = 1
    >>> grid = Geometry((9, 9, 40), (1.0, 1.0, 4.0), (0.0, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0))
    >>> with_gaps(label, grid)
    '4 of 7 axial slices'
    >>> label[..., 11:16] = label[..., 10:11]
    >>> with_gaps(label, grid)
    ''
    """
    if is_partly_drawn(label):
        return ""
    for axis in range(3):
        drawn = np.flatnonzero((label > 0).any(axis=tuple(a for a in range(3) if a != axis)))
        if drawn.size >= FEWEST_APART and (np.diff(drawn) > 1).all():
            return f"{drawn.size} of {drawn[-1] - drawn[0] + 1} {plane_across(axis, grid)} slices"
    return ""


def plane_across(axis: int, grid: Geometry) -> str:
    """The plane of the slices across an axis of a grid: the nearest one of `PLANES`."""
    return PLANES[int(np.abs(grid.axes[:, axis]).argmax())]


def whole_slices(mask: NDArray[np.bool_]) -> dict[int, tuple[int, ...]]:
    """Of each axis, the slices across it that a mask holds as a whole; none along an axis with one voxel."""
    found = {}
    for axis, count in enumerate(mask.shape):
        others = tuple(a for a in range(3) if a != axis)
        full = np.flatnonzero(mask.all(axis=others))
        if count > 1 and full.size:
            found[axis] = tuple(full.tolist())
    return found


def without_unknown(*labels: NDArray[Any]) -> list[NDArray[Any]]:
    """Label maps of one shape as background where any of them is unknown, so that they can be compared.

    >>> [label.tolist() for label in without_unknown(np.array([1, 1, 2]), np.array([1, 255, 2]))]
    [[1, 0, 2], [1, 0, 2]]
    """
    unknown = np.logical_or.reduce([label == UNKNOWN for label in labels])
    return [np.where(unknown, 0, label).astype(label.dtype) for label in labels]


def widened(label: NDArray[Any], steps: Sequence[float]) -> NDArray[Any]:
    """A label map whose drawn voxels reach so far over unknown ones that a coarser grid meets each at least once.

    A slice drawn by itself would be lost on a grid that passes over it. On a finer grid nothing is widened.

    >>> widened(np.array([[[255, 255, 255, 1, 255, 255, 255]]]), (1.0, 1.0, 3.0)).tolist()
    [[[255, 255, 1, 1, 1, 255, 255]]]

    Args:
        label: `(X, Y, Z)`.
        steps: Between the voxels of the coarser grid along each axis, in voxels of the label.
    """
    found = label.copy()
    for axis, step in enumerate(steps):
        lines, sides = np.moveaxis(found, axis, 0), (slice(1, None), slice(None, -1))
        for turn in range(math.ceil(step - NEARLY) - 1):
            here, there = sides if turn % 2 == 0 else sides[::-1]
            lines[here] = np.where(lines[here] == UNKNOWN, lines[there], lines[here])
    return found


def guessed_whole(label: NDArray[Any]) -> NDArray[Any]:
    """A label map in which each unknown voxel has the class of the nearest drawn one, to measure structures roughly.

    Outside the box that holds all that is drawn is background.

    >>> guessed_whole(np.array([[[255, 1, 255, 255, 2, 255]]])).tolist()
    [[[0, 1, 1, 2, 2, 0]]]
    """
    if not holds_a_class(label):
        return np.where(label == UNKNOWN, 0, label).astype(label.dtype)
    box = extent((label > 0) & (label != UNKNOWN))
    unknown = label[box] == UNKNOWN
    nearest = ndimage.distance_transform_edt(unknown, return_distances=False, return_indices=True)
    found = np.zeros_like(label)
    found[box] = label[box][tuple(nearest)]
    return found
