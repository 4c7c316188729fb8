"""The connected pieces of a mask."""

from __future__ import annotations

from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray


def largest_piece(inside: NDArray[Any]) -> NDArray[np.bool_]:
    """The largest connected piece of a mask `(X, Y, Z)`, bool; voxels that share a corner are connected.

    Of several that are as large, the last one in the order of the array. Where there is none, nothing.
    """
    mask = sitk.GetImageFromArray(np.ascontiguousarray(inside, dtype=np.uint8))
    pieces = sitk.GetArrayFromImage(sitk.ConnectedComponent(mask, True))
    sizes = np.bincount(pieces.ravel())[1:]
    if len(sizes) < 2:
        return np.asarray(inside, dtype=bool)
    last = len(sizes) - int(np.argmax(sizes[::-1]))
    kept: NDArray[np.bool_] = pieces == last
    return kept
