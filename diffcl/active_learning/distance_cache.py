"""The distances between the scans of the last choice, kept so that the next choice computes none."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from diffcl.active_learning.scores import Edition, Known
from diffcl.active_learning.selection import distances

LARGEST = 4000
"""Scans of which distances are kept, 64 MB; those between more are computed at every choice."""


class DistanceCache:
    """Distances between scans; the last ones are kept as long as what is known of their edition. Safe in threads.

    Args:
        largest: Scans of which distances are kept at most; they take 4 bytes a pair.
    """

    def __init__(self, largest: int = LARGEST) -> None:
        self._largest = largest
        self._key: tuple[Edition, int, tuple[str, ...]] | None = None
        self._between: NDArray[np.float32] = np.zeros((0, 0), np.float32)
        self._lock = Lock()

    def between(self, known: Known, images: Sequence[str]) -> NDArray[np.float32]:
        """Distances `(scans, scans)`, not to be changed; see `distances`.

        Args:
            known: What is known of the scans.
            images: Ids of some of them. Another order of the same ids is another question.
        """
        key = known.edition, known.revision, tuple(images)
        with self._lock:
            if key == self._key:
                return self._between
            found = distances(np.stack([known.entries[image].features for image in images]))
            found.setflags(write=False)
            if len(images) <= self._largest:
                self._key, self._between = key, found
            return found
