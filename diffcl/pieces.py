"""The connected pieces of a mask."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

_COUNTED = 1 << 22
"""Voxels that are counted at once; each takes eight bytes meanwhile."""


def largest_piece(inside: NDArray[Any]) -> NDArray[np.bool_]:
    """The largest connected piece of a mask `(X, Y, Z)`, bool; voxels that share a corner are connected.

    Of several that are as large, the last one in the order of the array. Where there is none, nothing.
    """
    pieces, count = _numbered(inside)
    if count < 2:
        return np.asarray(inside, dtype=bool)
    last = count - int(np.argmax(_sizes(pieces, count)[::-1]))
    kept: NDArray[np.bool_] = sitk.GetArrayViewFromImage(pieces) == last
    return kept


def largest_share(inside: NDArray[Any]) -> float:
    """Share of the voxels of a mask that are in its largest connected piece, 0..1; the mask holds one at least."""
    sizes = _sizes(*_numbered(inside))
    return float(sizes.max() / sizes.sum())


def _numbered(inside: NDArray[Any]) -> tuple[sitk.Image, int]:
    """The pieces of a mask, numbered from 1, and how many there are."""
    mask = sitk.GetImageFromArray(np.ascontiguousarray(inside, dtype=np.uint8))
    finder = sitk.ConnectedComponentImageFilter()
    finder.SetFullyConnected(True)
    return finder.Execute(mask), finder.GetObjectCount()


def _sizes(pieces: sitk.Image, count: int) -> NDArray[np.int64]:
    """How many voxels each of so many pieces has."""
    numbers = sitk.GetArrayViewFromImage(pieces)
    sizes = np.zeros(count + 1, np.int64)
    for part in np.array_split(numbers, math.ceil(numbers.size / _COUNTED)):
        sizes += np.bincount(part.ravel(), minlength=len(sizes))
    return sizes[1:]
