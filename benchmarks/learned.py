"""What a peer came to that was trained beside ours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from diffcl.evaluation.scores import Scores


@dataclass(frozen=True)
class Learned:
    """What a peer came to.

    Attributes:
        by: Its name, version and configuration.
        iterations: Of its training.
        seconds: That planning, preparing and training took.
        scores: Of the scans that validate.
        plan: What it chose, or was given.
    """

    by: str
    iterations: int
    seconds: float
    scores: Scores
    plan: dict[str, Any]
