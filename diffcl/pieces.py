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
    mask = sitk.GetImageFromArray(np.ascontiguousarray(inside, dtype=np.uint8))
    finder = sitk.ConnectedComponentImageFilter()
    finder.SetFullyConnected(True)
    found = finder.Execute(mask)
    count = finder.GetObjectCount()
    if count < 2:
        return np.asarray(inside, dtype=bool)
    pieces = sitk.GetArrayViewFromImage(found)
    sizes = np.zeros(count + 1, np.int64)
    for part in np.array_split(pieces, math.ceil(pieces.size / _COUNTED)):
        sizes += np.bincount(part.ravel(), minlength=len(sizes))
    last = count - int(np.argmax(sizes[:0:-1]))
    kept: NDArray[np.bool_] = pieces == last
    return kept
