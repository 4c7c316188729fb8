"""The way back: class probabilities of the working grid on the scan's own grid, slab by slab."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from diffcl.data.resample import interpolate, smooth
from diffcl.geometry import Box, Geometry, extent, nearest_axes, slabs, voxels

_SLAB_VOXELS = 2_000_000
"""Voxels of a scan that are restored at once."""

_SIGMAS = 5.0
"""From a voxel farther away than so many standard deviations smoothing takes nothing that counts."""


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
        self._axis = nearest_axes(working, original)[0]
        steps = np.zeros((original.size[self._axis], 3))
        steps[:, self._axis] = np.arange(len(steps))
        self._places = working.indices(original.points(steps))[:, 0]
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
        planes = np.flatnonzero((self._places > self._restored) & (self._places <= known))
        if not len(planes):
            return
        _, y, z = (slice(0, count) for count in self._working.size)
        grid = self._working.part((slice(self._first, self._first + held.shape[1]), y, z))
        box = self._box(held.sum(axis=0) >= self._least, grid, planes)
        if box is None:
            return
        channels = [smooth(grid.place(one), self._finest) for one in held]
        for where in slabs(box, _SLAB_VOXELS):
            there = self._original.part(where)
            part = np.empty((1 + len(channels), *there.size[::-1]), np.float32).transpose(0, 3, 2, 1)
            for channel, found in zip(channels, part[1:], strict=True):
                found[:] = voxels(interpolate(channel, there))
            np.subtract(1.0, part[1:].sum(axis=0), out=part[0])
            yield where, part

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
