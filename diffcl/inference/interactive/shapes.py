"""Outlines between drawn slices: signed distances in the plane of the slices, interpolated across it.

Everything is in millimetres. The outline of a model, where there is one, lends its detail between the slices: what is
interpolated is then the distance of the drawn outline, and a share of what the model's outline does beside its own
interpolation, see `HALF_MM`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

FARTHEST_MM = 15.0
"""Distances beyond this count as this; an outline is never moved farther by one slice."""

HALF_MM = 3.0
"""Gap between two drawn slices at which half of the detail of the model's outline is kept between them.

The wider the gap, the more of it; chosen on validation scans.
"""


@dataclass(frozen=True)
class Distances:
    """Signed distances in millimetres, positive inside.

    Attributes:
        classes: Of each class in the order of its value `(K - 1, X, Y, Z)`, float32.
        any: Of all classes together `(X, Y, Z)`; the outline of a scan with one class.
    """

    classes: NDArray[np.float32]
    any: NDArray[np.float32]

    def label(self) -> NDArray[np.uint8]:
        """The class of each voxel: of the deepest class inside the outline of all, 0 outside."""
        found: NDArray[np.uint8] = (self.classes.argmax(axis=0) + 1).astype(np.uint8)
        found[self.any <= 0] = 0
        return found


def between_slices(
    drawn: NDArray[np.uint8],
    slices: Mapping[int, Sequence[int]],
    spacing: Sequence[float],
    classes: int,
    proposal: NDArray[np.uint8] | None = None,
) -> Distances:
    """Distances from the outline that goes through the drawn slices.

    Without a proposal nothing is found beyond the outermost slices of a plane; with one, its outline goes on there,
    moved as it had to be moved in the outermost slice. Where slices of several planes were drawn, the nearest counts
    most.

    Args:
        drawn: Class values `(X, Y, Z)`; looked at in the drawn slices alone.
        slices: Of each axis of the array, the ascending indices of the slices across it that were drawn; one at least.
        spacing: Millimetres between the voxels along each axis.
        classes: Values that count, background among them.
        proposal: What a model found `(X, Y, Z)`.
    """
    planes = {axis: sorted(found) for axis, found in slices.items() if len(found)}
    if not planes:
        raise ValueError("no slice was drawn")
    weights = [_nearness(drawn.shape, axis, found, spacing[axis]) for axis, found in planes.items()]
    total = sum(weights)

    def distances(values: Sequence[int]) -> NDArray[np.float32]:
        parts = [
            _of_plane(np.isin(drawn, values), axis, found, spacing,
                      None if proposal is None else np.isin(proposal, values))
            for axis, found in planes.items()
        ]  # fmt: skip
        mean = sum(weight * part for weight, part in zip(weights, parts, strict=True)) / total
        return np.asarray(mean, np.float32)

    each = [distances([value]) for value in range(1, classes)]
    return Distances(np.stack(each), each[0] if classes == 2 else distances(range(1, classes)))


def _nearness(shape: tuple[int, ...], axis: int, slices: Sequence[int], step: float) -> NDArray[np.float32]:
    """Weight of a plane, by the square of the distance to the nearest of its drawn slices."""
    away = np.abs(np.arange(shape[axis])[:, None] - np.asarray(slices)).min(axis=1) * step
    weight = 1 / (away + 0.1 * step) ** 2
    placed: NDArray[np.float32] = weight.astype(np.float32).reshape(
        [-1 if a == axis else 1 for a in range(3)]
    )
    return placed


def _of_plane(
    drawn: NDArray[np.bool_],
    axis: int,
    slices: Sequence[int],
    spacing: Sequence[float],
    proposal: NDArray[np.bool_] | None,
) -> NDArray[np.float32]:
    """Distances of one class by the slices of one plane."""
    pixel = [step for a, step in enumerate(spacing) if a != axis]
    where = np.asarray(slices)
    truth = in_plane(np.moveaxis(drawn, axis, 0)[where], where * spacing[axis], pixel)
    count = drawn.shape[axis]
    if proposal is None:
        found = _interpolated(truth, where, count)
        found[: where[0]] = found[where[-1] + 1 :] = -FARTHEST_MM
        return np.moveaxis(found, 0, axis)
    depth = np.arange(count) * spacing[axis]
    own = in_plane(np.moveaxis(proposal, axis, 0), depth, pixel)
    share = _share(where, count, spacing[axis])[:, None, None]
    found = _interpolated(truth, where, count) + share * (own - _interpolated(own[where], where, count))
    return np.moveaxis(found, 0, axis)


def _share(where: NDArray[Any], count: int, step: float) -> NDArray[np.float32]:
    """How much of the detail of the model's outline is kept in each slice: all of it beyond the outermost."""
    share = np.ones(count, np.float32)
    for first, last in pairwise(where):
        gap = (last - first) * step
        share[first : last + 1] = gap / (gap + HALF_MM)
    return share


def in_plane(stack: NDArray[np.bool_], depth: NDArray[Any], pixel: Sequence[float]) -> NDArray[np.float32]:
    """Signed distance of each voxel from the outline in its slice, positive inside, at most `FARTHEST_MM`.

    A slice in which nothing is continues the nearest one in which something is, shrunk by the way there and in any case
    to nothing, so that an outline closes between the two.

    Args:
        stack: Slices `(N, X, Y)`.
        depth: Where they lie, millimetres `(N,)`.
        pixel: Millimetres between voxels along X and Y.
    """
    found = np.full(stack.shape, -FARTHEST_MM, np.float32)
    full = [index for index, one in enumerate(stack) if one.any()]
    for index in full:
        inside = distance_transform_edt(stack[index], pixel) if not stack[index].all() else FARTHEST_MM
        found[index] = inside - distance_transform_edt(~stack[index], pixel)
    for index in set(range(len(stack))) - set(full) if full else ():
        nearest = full[int(np.abs(depth[full] - depth[index]).argmin())]
        away = max(abs(depth[nearest] - depth[index]), float(found[nearest].max()) + min(pixel) / 2)
        found[index] = found[nearest] - away
    return found.clip(-FARTHEST_MM, FARTHEST_MM, out=found)


def _interpolated(values: NDArray[np.float32], where: NDArray[Any], count: int) -> NDArray[np.float32]:
    """Slices `(N, X, Y)` at ascending places as `(count, X, Y)`: linear between them, the outermost beyond."""
    place = np.interp(np.arange(count), where, np.arange(len(where)))
    below = np.floor(place).astype(int)
    above = np.minimum(below + 1, len(where) - 1)
    part = (place - below).astype(np.float32)[:, None, None]
    return np.asarray(values[below] * (1 - part) + values[above] * part, np.float32)
