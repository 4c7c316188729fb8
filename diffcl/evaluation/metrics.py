"""How well a predicted label agrees with the true one: Dice, Jaccard, HD95 and ASD of every class.

Where a class is in neither label, they agree: Dice and Jaccard 1, distances 0. Where it is in one of them
only, nothing is near it: Dice and Jaccard 0, distances infinite.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion
from scipy.spatial import KDTree

from diffcl.errors import DataError
from diffcl.evaluation.scores import ClassScore
from diffcl.geometry import Geometry, difference, extent, voxels
from diffcl.labels import LabelClass


def evaluate_case(
    prediction: sitk.Image, truth: sitk.Image, classes: Sequence[LabelClass], where: object = "prediction"
) -> tuple[ClassScore, ...]:
    """Compare two label maps on the same grid.

    Args:
        prediction: Class values.
        truth: Class values.
        classes: The classes to compare, in the order of the result.
        where: Named in errors.

    Raises:
        DataError: If the grids differ.
    """
    here, there = Geometry.of(prediction), Geometry.of(truth)
    if differs := difference(here, there):
        raise DataError(where, f"lies on another grid than its label: {differs}",
                        "Compare labels of the same scan, each on its grid")  # fmt: skip
    one, other = voxels(prediction), voxels(truth)
    scores = []
    for entry in classes:
        found, wanted = _around(one == entry.value, other == entry.value)
        hd95, asd = surface_distances(found, wanted, here.spacing)
        overlap = dice(found, wanted)
        scores.append(ClassScore(entry.name, overlap, overlap / (2 - overlap), hd95, asd))
    return tuple(scores)


def dice(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    """Twice the common voxels over the voxels of both masks; 1 where both are empty.

    >>> dice(np.array([True, True, False]), np.array([False, True, True]))
    0.5
    """
    return dice_of(int(np.count_nonzero(one & other)), int(np.count_nonzero(one) + np.count_nonzero(other)))


def dice_of(common: int, total: int) -> float:
    """The Dice of two masks with so many common voxels, and so many in one plus in the other.

    >>> dice_of(1, 4), dice_of(0, 0)
    (0.5, 1.0)
    """
    return 2 * common / total if total else 1.0


def surface_distances(
    one: NDArray[np.bool_], other: NDArray[np.bool_], spacing: tuple[float, float, float]
) -> tuple[float, float]:
    """HD95 and ASD of two masks `(X, Y, Z)`, mm; zero where both are empty, infinite where one is.

    The surface of a mask is its voxels with a face neighbour outside.

    Args:
        one: Boolean mask.
        other: Boolean mask of the same shape.
        spacing: Millimetres between voxels.

    Source:
        The values of MONAI's `compute_hausdorff_distance` (percentile 95) and
        `compute_average_surface_distance` (symmetric), here from one search; MONAI 1.6 would search twice and
        warn of itself each time.
    """
    if not one.any() or not other.any():
        distance = inf if one.any() or other.any() else 0.0
        return distance, distance
    surfaces = [np.argwhere(mask & ~binary_erosion(mask)) * np.array(spacing) for mask in (one, other)]
    there, _ = KDTree(surfaces[1]).query(surfaces[0])
    back, _ = KDTree(surfaces[0]).query(surfaces[1])
    hd95 = max(np.percentile(there, 95), np.percentile(back, 95))
    return float(hd95), float(np.concatenate([there, back]).mean())


def _around(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Both masks cropped to the box that holds both."""
    union = one | other
    if not union.any():
        return one, other
    box = extent(union)
    return np.ascontiguousarray(one[box]), np.ascontiguousarray(other[box])
