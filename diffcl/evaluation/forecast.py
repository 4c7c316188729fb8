"""How good a model will be with more labels, from how good it was with fewer, and how far that can be believed.

The error, one minus the Dice, is taken to fall as a power of the number of labels towards a floor that no label
removes: error(n) = floor + scale * n ** -rate. All floors, rates and amounts of noise of a grid are weighed by how
well they fit what was measured; the scale is integrated over in closed form.

Source:
    Viering and Loog 2023, The shape of learning curves: a review, section 4, for the form of the curve.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from diffcl.errors import DataError

FEWEST: Final = 2
"""Different numbers of labels that a curve needs."""

FURTHEST: Final = 8
"""How many times as many labels as there are a forecast looks ahead; further away nothing is known."""

SHARE: Final = 0.8
"""Share of the probability inside a range: the truth lies in it in 8 of 10 cases."""

_FLOORS = np.linspace(0.0, 0.95, 20)  # shares of the least error that was measured
_RATES = np.linspace(0.1, 1.5, 29)
_NOISES = np.geomspace(0.004, 0.03, 5)  # standard deviation of the Dice of two trainings alike
_DICE = np.linspace(0.0, 1.0, 251)


@dataclass(frozen=True)
class Point:
    """What one version of a model was worth.

    Attributes:
        labels: How many labelled scans it learned from, at least 1.
        dice: Its mean Dice on the validation scans, 0..1.
    """

    labels: int
    dice: float


@dataclass(frozen=True)
class Range:
    """A number that is not known exactly.

    Attributes:
        low: Lower end of the range that holds `SHARE` of the probability.
        middle: As probably too low as too high.
        high: Its upper end.
    """

    low: float
    middle: float
    high: float


@dataclass(frozen=True)
class LabelsNeeded:
    """How many more labels a Dice takes.

    Attributes:
        target: The Dice, 0..1.
        low: With fewer it would be a surprise; None where that holds of `horizon` too.
        middle: As probably enough as not; None where even `horizon` is not.
        high: With so many it would be a surprise if it were not reached; None where even `horizon` is no such number.
        horizon: As far as the forecast looks.
    """

    target: float
    low: int | None
    middle: int | None
    high: int | None
    horizon: int

    def in_words(self) -> str:
        """The forecast as a sentence.

        >>> LabelsNeeded(0.9, 4, 6, 20, 56).in_words()
        'about 6 more labels for 0.90 (4 to 20)'
        >>> LabelsNeeded(0.9, 4, 6, None, 56).in_words()
        'about 6 more labels for 0.90 (4 or more; perhaps not with 56)'
        >>> LabelsNeeded(0.9, 4, None, None, 56).in_words()
        '0.90 is probably not reached even with 56 more labels'
        """
        if self.middle is None:
            return f"{self.target:.2f} is probably not reached even with {self.horizon} more labels"
        if self.middle == 0:
            return f"{self.target:.2f} is about reached"
        about = f"about {self.middle} more label{'s' * (self.middle != 1)} for {self.target:.2f}"
        if self.high is None:
            return f"{about} ({self.low} or more; perhaps not with {self.horizon})"
        return f"{about} ({self.low} to {self.high})"


class Forecast:
    """What more labels will bring.

    Args:
        points: What was measured, in any order; several of the same number of labels count each.

    Attributes:
        points: By number of labels.

    Raises:
        DataError: If there are fewer than `FEWEST` different numbers of labels.
    """

    def __init__(self, points: Sequence[Point]) -> None:
        self.points = sorted(points, key=lambda point: (point.labels, point.dice))
        if len({point.labels for point in self.points if point.labels > 0}) < FEWEST:
            raise DataError(
                "forecast", f"needs versions of {FEWEST} different numbers of labels", "Train again"
            )
        labels = np.array([point.labels for point in self.points if point.labels > 0], dtype=float)
        errors = np.array([1 - point.dice for point in self.points if point.labels > 0])
        floor, rate, noise = np.meshgrid(_FLOORS * max(errors.min(), 1e-3), _RATES, _NOISES, indexing="ij")
        self._floor, self._rate, self._noise = floor.ravel(), rate.ravel(), noise.ravel()
        shape = labels ** -self._rate[:, None]
        above = errors - self._floor[:, None]
        square = (shape**2).sum(axis=1)
        self._scale = np.maximum((shape * above).sum(axis=1) / square, 0.0)
        self._scale_sd = self._noise / np.sqrt(square)
        misfit = ((above - self._scale[:, None] * shape) ** 2).sum(axis=1)
        log = -misfit / (2 * self._noise**2) - (len(labels) - 1) * np.log(self._noise) - 0.5 * np.log(square)
        weight = np.exp(log - log.max())
        self._weight: NDArray[np.float64] = weight / weight.sum()

    @property
    def labels(self) -> int:
        """The most labels that a version learned from."""
        return self.points[-1].labels

    def dice(self, labels: int, *, measured: bool = True) -> Range:
        """The Dice with so many labels.

        Args:
            labels: At least 1.
            measured: Whether of one training that will be measured, with its luck, rather than of the mean of many.
        """
        mean, sd = self._curve(labels)
        if measured:
            sd = np.hypot(sd, self._noise)
        below = (self._weight * ndtr((_DICE[:, None] - mean) / sd)).sum(axis=1)
        tail = (1 - SHARE) / 2
        low, middle, high = (float(np.interp(share, below, _DICE)) for share in (tail, 0.5, 1 - tail))
        return Range(low, middle, high)

    def needed(self, target: float) -> LabelsNeeded:
        """How many more labels a Dice takes.

        Args:
            target: The Dice, 0..1.
        """
        horizon = (FURTHEST - 1) * self.labels
        more = np.unique(np.concatenate([[0], np.geomspace(1, horizon, 40).round().astype(int)]))
        reached = np.array([self._reached(self.labels + int(extra), target) for extra in more])
        tail = (1 - SHARE) / 2

        def first(share: float) -> int | None:
            enough = np.flatnonzero(reached >= share)
            return int(more[enough[0]]) if enough.size else None

        return LabelsNeeded(target, first(tail), first(0.5), first(1 - tail), horizon)

    def _curve(self, labels: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean and standard deviation of the Dice under each hypothesis."""
        shape = float(labels) ** -self._rate
        return 1 - self._floor - self._scale * shape, np.maximum(self._scale_sd * shape, 1e-6)

    def _reached(self, labels: int, target: float) -> float:
        """How probable it is that the mean of many trainings with so many labels reaches a Dice."""
        mean, sd = self._curve(labels)
        return float((self._weight * ndtr((mean - target) / sd)).sum())
