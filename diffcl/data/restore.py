"""The way back: class probabilities of the working grid on the scan's own grid, slab by slab."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffcl.data.resample import loses_detail, smooth
from diffcl.geometry import Box, Geometry, extent, nearest_axes, slabs, voxels

_SLAB_VOXELS = 2_000_000
"""Voxels of a scan that are restored at once."""

_SIGMAS = 5.0
"""From a voxel farther away than so many standard deviations smoothing takes nothing that counts."""


class _Way(NamedTuple):
    """How the voxels of one grid lie among those of another one along an axis.

    Attributes:
        first: Part of the axis that is needed.
        before: Index in that part of the voxel before each, int64.
        after: Of the one after it.
        share: What that counts, 0..1, float32.
        inside: Whether it lies within the voxels of the other grid, half a voxel around their centres; None for all.
    """

    first: slice
    before: Tensor
    after: Tensor
    share: Tensor
    inside: Tensor | None

    @classmethod
    def of(cls, places: NDArray[Any], start: int, size: int) -> _Way:
        """The way to places, of a grid that begins at `start` and has so many voxels along the axis."""
        inside = (places >= start - 0.5) & (places < start + size - 0.5)
        near = np.clip(places, start, start + size - 1)
        before = np.floor(near)
        share = torch.from_numpy((near - before).astype(np.float32))
        first, last = int(before[0]), int(before[-1])
        first, last = min(first, last), min(max(first, last) + 1, start + size - 1)
        index = torch.from_numpy(before.astype(np.int64)) - first
        after = (index + 1).clamp(max=last - first)
        known = None if inside.all() else torch.from_numpy(inside)
        return cls(slice(first - start, last + 1 - start), index, after, share, known)


def _between(volume: Tensor, ways: Sequence[_Way]) -> Tensor:
    """A volume `(X, Y, Z)` at other places along each axis, interpolated linearly; 0 outside."""
    found = volume[tuple(way.first for way in ways)]
    for axis in (2, 0, 1):  # along the last axis while there is little, then whole rows at once
        way = ways[axis]
        shape = [1, 1, 1]
        shape[axis] = -1
        found = torch.lerp(
            found.index_select(axis, way.before), found.index_select(axis, way.after), way.share.view(shape)
        )
        if way.inside is not None:
            found *= way.inside.view(shape)
    return found


def _places(working: Geometry, original: Geometry, axis: int, own: int) -> NDArray[Any]:
    """Where the voxels along an axis of the scan lie along an axis of the working grid, in voxels."""
    steps = np.zeros((original.size[own], 3))
    steps[:, own] = np.arange(len(steps))
    places: NDArray[Any] = working.indices(original.points(steps))[:, axis]
    return places


class Restoration:
    """Puts the probabilities of a scan on its own grid, in slabs as they come.

    Only those planes are kept that slabs to come have a part in, so that a large scan takes little memory.

    Args:
        working: The working grid.
        original: The scan's own grid, whose axes are those of the working grid in another order.
        least: Probability of all classes but the background together that is worth the way; where there is less,
            nothing comes up.
    """

    def __init__(self, working: Geometry, original: Geometry, least: float = 0.0) -> None:
        self._working, self._original, self._least = working, original, least
        # A slice's outline is that of its plane, however thick the slice is.
        self._finest = (min(original.spacing),) * 3
        self._axes = nearest_axes(working, original)
        self._axis = self._axes[0]
        self._places = [_places(working, original, axis, own) for axis, own in enumerate(self._axes)]
        sigma = self._finest[0] / 2.355 / working.spacing[0]
        self._far = 2 + math.ceil(_SIGMAS * sigma)
        self._held: NDArray[Any] | None = None
        self._first = 0
        self._restored = -math.inf

    def add(self, slab: Tensor) -> Iterator[tuple[Box, NDArray[Any]]]:
        """What can be restored now that one slab more is known.

        Args:
            slab: Probabilities `(K, x, Y, Z)` that follow the slab before along the first axis of the working grid;
                background first, summing to 1.

        Yields:
            Where in the scan, and the probabilities there, `(K, x, y, z)` float32, summing to 1. All slabs together
            give the box of the scan outside which background is surer than `1 - least`.
        """
        found = slab[1:].float().cpu().numpy()
        held = found if self._held is None else np.concatenate([self._held, found], axis=1)
        first, end = self._first, self._first + held.shape[1]
        last = end == self._working.size[0]
        known = math.inf if last else end - 1 - self._far
        yield from self._parts(held, known)
        self._restored = known
        keep = end if last else max(first, math.floor(known) - self._far)
        self._held, self._first = held[:, keep - first :].copy(), keep

    def _parts(self, held: NDArray[Any], known: float) -> Iterator[tuple[Box, NDArray[Any]]]:
        planes = np.flatnonzero((self._places[0] > self._restored) & (self._places[0] <= known))
        if not len(planes):
            return
        _, y, z = (slice(0, count) for count in self._working.size)
        grid = self._working.part((slice(self._first, self._first + held.shape[1]), y, z))
        box = self._box(held.sum(axis=0) >= self._least, grid, planes)
        if box is None:
            return
        if loses_detail(grid, self._finest):
            held = np.stack([voxels(smooth(grid.place(one), self._finest)) for one in held])
        # In the order of the scan's axes, the last one outermost, as an image lies in memory.
        order = [self._axes.index(axis) for axis in (2, 1, 0)]
        turned = torch.from_numpy(held.transpose(0, *(1 + axis for axis in order)))
        for where in slabs(box, _SLAB_VOXELS):
            ways = [
                _Way.of(self._places[axis][where[own]], self._first if axis == 0 else 0, size)
                for own, axis, size in zip((2, 1, 0), order, turned.shape[1:], strict=True)
            ]
            part = torch.empty(1 + len(turned), *(len(way.share) for way in ways))
            part[0] = 1.0
            for channel, found in zip(turned, part[1:], strict=True):
                found.copy_(_between(channel, ways))
                part[0] -= found
            yield where, part.numpy().transpose(0, 3, 2, 1)

    def _box(self, wanted: NDArray[Any], grid: Geometry, planes: NDArray[Any]) -> Box | None:
        """The box of the scan that wanted voxels reach, within some of its planes; None where there is none."""
        if not wanted.any():
            return None
        reach = 1 + min(self._original.spacing) // np.array(grid.spacing)  # of smooth and interpolate
        ends = [
            (side.start - far, side.stop - 1 + far) for side, far in zip(extent(wanted), reach, strict=True)
        ]
        corners = self._original.indices(grid.points(list(product(*ends))))
        first = np.clip(np.floor(corners.min(axis=0)), 0, None).astype(int)
        last = np.minimum(np.ceil(corners.max(axis=0)).astype(int) + 1, self._original.size)
        first[self._axis] = max(first[self._axis], planes.min())
        last[self._axis] = min(last[self._axis], planes.max() + 1)
        if (first >= last).any():
            return None
        x, y, z = (slice(int(a), int(b)) for a, b in zip(first, last, strict=True))
        return x, y, z
