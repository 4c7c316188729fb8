"""Corrections at single places: a click or a stroke moves the outline around it, along the image."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, find_objects
from scipy.ndimage import label as pieces
from skimage.graph import MCP_Geometric

from diffcl.geometry import Box, extent

FARTHEST_MM = 8.0
"""An outline that is farther from a place than this is taken for as far as this."""

ALONE_MM = 4.0
"""How far the outline is thought to be away from a click whose class is nowhere near."""

GAIN = 1.5
"""By how much the outline passes the place that was wrong, by its distance to it.

Chosen on validation scans, as what follows.
"""

REACH = 1.0
"""Width of what a correction changes, by the distance of the outline that it moves, beside `WIDTH_MM`."""

WIDTH_MM = 3.0
"""Width of what the smallest correction changes."""

IMAGE_WEIGHT = 0.5
"""How much longer a way is on which the intensity changes by its spread in the neighbourhood."""

DOUBT_WEIGHT = 0.7
"""Where the networks take all classes for equally likely, the outline is this share nearer than it is."""

MOST_STROKES = 500
"""Corrected places that move an outline; of the smallest beyond, only the voxels themselves change."""

MOST_VOXELS = 1 << 27
"""Voxels around all these places together, about two minutes; of a place beyond, only the voxels themselves change."""


def corrected(
    label: NDArray[np.uint8],
    image: NDArray[Any],
    spacing: Sequence[float],
    classes: NDArray[np.uint8],
    mask: NDArray[np.bool_],
    uncertainty: NDArray[Any] | None = None,
) -> NDArray[np.uint8]:
    """A label that obeys known voxels and follows the image around those that it had wrong.

    A place that was wrong lies in the middle of what is wrong there, as people click it: the outline is beyond it
    about as far as it is before it. So the outline is moved past the place, and around it less with the way from there;
    a way through other intensities is longer, and where the networks doubt the outline moves more easily. Known voxels
    that were right hold it where it is.

    Args:
        label: Class values `(X, Y, Z)`.
        image: Intensities, of the same shape.
        spacing: Millimetres between voxels along each axis.
        classes: Class values of the known voxels, of the same shape.
        mask: Which voxels are known.
        uncertainty: Of the label, 0..1, where there is one.

    Returns:
        Class values `(X, Y, Z)`; a new array.
    """
    found = label.copy()
    wrong = mask & (classes != label)
    room = MOST_VOXELS
    for value, where in _strokes(classes, wrong):
        needed = prod(
            side.stop - side.start for side in _around(where, _reach(FARTHEST_MM, spacing), label.shape)
        )
        if needed <= room:
            room -= needed
            _move(found, image, spacing, value, where, classes, mask, uncertainty)
    found[mask] = classes[mask]
    return found


def _strokes(
    classes: NDArray[np.uint8], wrong: NDArray[np.bool_]
) -> Iterable[tuple[int, tuple[NDArray[Any], ...]]]:
    """Connected places of one class, the largest first: class and indices."""
    if not wrong.any():
        return []
    part = extent(wrong)
    wrong, classes = wrong[part], classes[part]
    every = []
    for value in np.unique(classes[wrong]).tolist():
        numbered, count = pieces(wrong & (classes == value), np.ones((3, 3, 3)))
        sizes = np.bincount(numbered.ravel(), minlength=count + 1)[1:]
        largest = np.sort(np.argsort(-sizes, kind="stable")[:MOST_STROKES])
        kept = np.zeros(count + 1, np.int32)
        kept[largest + 1] = np.arange(1, len(largest) + 1)
        numbered = kept[numbered]
        for number, box in enumerate(find_objects(numbered), start=1):
            inside = np.nonzero(numbered[box] == number)
            offset = [side.start + outer.start for side, outer in zip(box, part, strict=True)]
            every.append((value, tuple(i + o for i, o in zip(inside, offset, strict=True))))
    every.sort(key=lambda stroke: -len(stroke[1][0]))
    return every[:MOST_STROKES]


def _move(
    label: NDArray[np.uint8],
    image: NDArray[Any],
    spacing: Sequence[float],
    value: int,
    where: tuple[NDArray[Any], ...],
    classes: NDArray[np.uint8],
    mask: NDArray[np.bool_],
    uncertainty: NDArray[Any] | None,
) -> None:
    """Move the outline of one class around one place, in the label itself."""
    step = np.asarray(spacing)
    look = _around(where, FARTHEST_MM / step, label.shape)
    own = label[look] == value
    away = ALONE_MM
    if own.any():
        deepest = float(distance_transform_edt(~own, spacing)[_inside(where, look)].max())
        away = min(deepest, FARTHEST_MM)
    box = _around(where, _reach(away, spacing), label.shape)
    start, own = _inside(where, box), label[box] == value
    signed = -np.full(own.shape, away)
    if own.any():
        signed = distance_transform_edt(own, spacing) - distance_transform_edt(~own, spacing)
    if uncertainty is not None:
        signed *= 1 - DOUBT_WEIGHT * uncertainty[box]
    reach = REACH * away + WIDTH_MM
    way = _ways(np.asarray(image[box], np.float32), start, spacing)
    moved = signed + GAIN * away * np.exp(-((way / reach) ** 2)) > 0
    others = mask[box] & (classes[box] != value)
    if others.any():
        elsewhere = np.ones(moved.shape, bool)
        elsewhere[start] = False
        moved &= distance_transform_edt(elsewhere, spacing) < distance_transform_edt(~others, spacing)
    label[box][moved] = value
    label[where] = value


def _reach(away: float, spacing: Sequence[float]) -> NDArray[Any]:
    """Voxels along each axis in which a place changes an outline that is so many millimetres away."""
    step = np.asarray(spacing)
    found: NDArray[Any] = (1.5 * (REACH * away + WIDTH_MM) + 2 * step) / step
    return found


def _inside(where: tuple[NDArray[Any], ...], box: Box) -> tuple[NDArray[Any], ...]:
    """Indices of a grid as those of its part."""
    return tuple(i - side.start for i, side in zip(where, box, strict=True))


def _around(where: tuple[NDArray[Any], ...], beyond: NDArray[Any], shape: Sequence[int]) -> Box:
    """The part of a grid within so many voxels of a place."""
    x, y, z = (
        slice(max(0, int(i.min() - np.ceil(far))), min(size, int(i.max() + np.ceil(far)) + 1))
        for i, far, size in zip(where, beyond, shape, strict=True)
    )
    return x, y, z


def _ways(
    image: NDArray[np.float32], start: Sequence[NDArray[Any]], spacing: Sequence[float]
) -> NDArray[Any]:
    """Millimetres from a place to every voxel, longer where the intensity is another than there."""
    level = float(np.median(image[tuple(start)]))
    spread = float(np.subtract(*np.percentile(image, [75, 25]))) or 1.0
    cost = 1 + IMAGE_WEIGHT * np.abs(image - level) / spread
    ways, _ = MCP_Geometric(cost, sampling=tuple(spacing)).find_costs(list(zip(*start, strict=True)))
    return np.asarray(ways)
