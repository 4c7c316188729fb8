"""How far a prediction can be trusted: one number for the scan, and the places worth a second look."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk
import torch
from torch import Tensor

from diffcl.inference.ensemble import SLAB

UNSURE = 0.5
"""Uncertainty, 0..1, from which a voxel is doubtful: of two classes, the likelier one has about 89 %."""

NEGLIGIBLE = 0.05
"""Probabilities below it, summed over a large scan, would outweigh the object."""


def expected_error(probabilities: Tensor) -> float:
    """Share of the prediction that is expected to be wrong, 0 (sure) .. 1: 1 - expected Dice.

    Where nothing was found, nothing is promised, and doubt is 1.

    Args:
        probabilities: Of the ensemble, or of one network, `(K, X, Y, Z)`, background first.
    """
    return _counted(probabilities).error


def expected_dice(probabilities: Tensor) -> float:
    """Dice that the most probable classes can expect if the probabilities are right; mean over the classes.

    The Dice of a class, with the sum of its probability in place of the unknown number of true voxels. A
    class that is neither found nor expected anywhere does not count.

    Args:
        probabilities: `(K, X, Y, Z)`, background first.

    Returns:
        0..1; 0 where nothing is found or expected.
    """
    return _counted(probabilities).value


def _counted(probabilities: Tensor) -> ExpectedDice:
    expected = ExpectedDice(len(probabilities) - 1)
    expected.add(probabilities)
    return expected


class ExpectedDice:
    """The same, of a scan that comes slab by slab.

    Voxels that are background with more than `1 - NEGLIGIBLE` may be left out.

    Args:
        classes: How many there are besides background.
    """

    def __init__(self, classes: int) -> None:
        self._sums = np.zeros((3, classes))

    def add(self, probabilities: Tensor) -> None:
        """Count a slab `(K, X, ...)`, in parts of `SLAB` voxels along X."""
        for part in probabilities.split(SLAB, dim=1):
            self._add(part)

    def _add(self, probabilities: Tensor) -> None:
        found = probabilities.max(dim=0).indices
        for value, probability in enumerate(probabilities[1:], start=1):
            inside = found == value
            told = probability[probability >= NEGLIGIBLE].sum(dtype=torch.float64)
            hit = probability[inside].sum(dtype=torch.float64)
            self._sums[:, value - 1] += float(told), float(hit), int(inside.sum())

    @property
    def error(self) -> float:
        """See `expected_error`."""
        return round(1.0 - self.value, 4)

    @property
    def value(self) -> float:
        """What is expected of all slabs together, 0..1."""
        total, hit, size = self._sums
        some = size + total > 0
        return float(np.mean(2 * hit[some] / (size + total)[some])) if some.any() else 0.0


def places_to_check(uncertainty: sitk.Image, spacing: tuple[float, float, float]) -> sitk.Image:
    """Where a person should look: doubtful places that are thicker than the doubt along every border.

    Args:
        uncertainty: Of each voxel, 0..1.
        spacing: Of the grid on which the networks work, mm. What is thinner than about two of its voxels is
            an ordinary border.

    Returns:
        uint8 on the same grid, 1 where to look.
    """
    finest = min(spacing)
    radius = [round(finest / own) for own in uncertainty.GetSpacing()]
    unsure: sitk.Image = sitk.BinaryThreshold(uncertainty, UNSURE, 2.0)
    return sitk.BinaryMorphologicalOpening(unsure, radius, sitk.sitkCross) if any(radius) else unsure
