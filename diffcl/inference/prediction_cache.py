"""The last predictions, so that asking again for a scan, or for its uncertainty as well, costs nothing."""

from __future__ import annotations

import math
from collections import OrderedDict
from pathlib import Path
from threading import Lock
from typing import NamedTuple

from diffcl.inference.ensemble import Networks
from diffcl.inference.predictor import Prediction

VOXELS_KEPT = 40_000_000
"""Voxels of all predictions that are kept; five bytes each."""


class Question(NamedTuple):
    """All that a prediction depends on.

    Attributes:
        model: Folder of the version.
        scan: Every file of the scan with its size and time of change, in nanoseconds.
        networks: Who is asked.
        seed: Of the noise from which DS starts.
    """

    model: Path
    scan: tuple[tuple[Path, int, int], ...]
    networks: Networks
    seed: int


class PredictionCache:
    """Predictions by question; the one not asked for longest goes when there is no room. Safe in threads.

    Args:
        room: Voxels that may be kept. The last prediction is kept whatever its size: its label and its
            uncertainty are two requests.
    """

    def __init__(self, room: int = VOXELS_KEPT) -> None:
        self._room = room
        self._kept: OrderedDict[Question, Prediction] = OrderedDict()
        self._lock = Lock()

    def get(self, question: Question) -> Prediction | None:
        """The prediction that answered the question, if it is still there."""
        with self._lock:
            if question in self._kept:
                self._kept.move_to_end(question)
            return self._kept.get(question)

    def keep(self, question: Question, prediction: Prediction) -> None:
        """Keep an answer."""
        with self._lock:
            self._kept[question] = prediction
            while len(self._kept) > 1 and sum(map(_voxels, self._kept.values())) > self._room:
                self._kept.popitem(last=False)


def _voxels(prediction: Prediction) -> int:
    return math.prod(prediction.label.GetSize())
