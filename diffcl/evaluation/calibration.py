"""Whether doubt can be believed: does it rank bad predictions first, and do probabilities keep their promise?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

BINS = 15
"""Ranges of confidence that are compared with how often it is right."""

CONSIDERED = 0.01
"""Probability of an object from which a voxel counts; the plain background would hide every mistake."""


def rank_correlation(doubts: Sequence[float], errors: Sequence[float]) -> float:
    """Spearman's correlation of doubts and errors, -1..1; 1 if the worst predictions are doubted most.

    Not a number where one of both is the same for all.

    >>> rank_correlation([0.1, 0.2, 0.9], [0.3, 0.4, 0.5])
    1.0
    """
    if len(set(doubts)) < 2 or len(set(errors)) < 2:
        return math.nan
    return round(float(stats.spearmanr(doubts, errors).statistic), 4)


def failure_auc(doubts: Sequence[float], failed: Sequence[bool]) -> float:
    """Area under the ROC curve for finding failures by doubt: the chance that a failure is doubted more.

    Not a number where nothing or everything failed.

    >>> failure_auc([0.1, 0.8, 0.3, 0.2], [False, True, True, False])
    1.0
    """
    bad = [doubt for doubt, one in zip(doubts, failed, strict=True) if one]
    good = [doubt for doubt, one in zip(doubts, failed, strict=True) if not one]
    if not bad or not good:
        return math.nan
    wins = stats.mannwhitneyu(bad, good).statistic
    return round(float(wins) / (len(bad) * len(good)), 4)


class Reliability:
    """How often predictions of each confidence are right, gathered scan by scan.

    Attributes:
        voxels: How many voxels fell into each range of confidence `(BINS,)`.
        confidence: Their summed confidence.
        right: How many of them were right.
    """

    def __init__(self) -> None:
        self.voxels, self.confidence, self.right = np.zeros((3, BINS))

    def add(self, probabilities: NDArray[Any], truth: NDArray[Any]) -> None:
        """Count one scan, or some voxels of it.

        Args:
            probabilities: `(K, ...)`, background first.
            truth: Class values `(...)`.
        """
        counts = (1 - probabilities[0] >= CONSIDERED) | (truth > 0)
        considered = probabilities[:, counts]
        confidence = considered.max(axis=0).astype(np.float64)
        right = considered.argmax(axis=0) == truth[counts]
        place = np.minimum((confidence * BINS).astype(int), BINS - 1)
        self.voxels += np.bincount(place, minlength=BINS)
        self.confidence += np.bincount(place, confidence, minlength=BINS)
        self.right += np.bincount(place, right, minlength=BINS)

    def __iadd__(self, other: Reliability) -> Reliability:
        """Count what another one has counted."""
        self.voxels += other.voxels
        self.confidence += other.confidence
        self.right += other.right
        return self

    @property
    def curve(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean confidence of each range that voxels fell into, and the share of them that was right."""
        some = self.voxels > 0
        return self.confidence[some] / self.voxels[some], self.right[some] / self.voxels[some]

    @property
    def expected_calibration_error(self) -> float:
        """Mean gap between confidence and how often it is right, weighted by voxels, 0..1.

        Source:
            Guo et al., On Calibration of Modern Neural Networks, ICML 2017, equation 3.
        """
        total = float(self.voxels.sum())
        return round(float(np.abs(self.confidence - self.right).sum()) / total, 4) if total else math.nan
