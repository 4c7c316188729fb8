"""How the weights of the unlabelled losses rise."""

from __future__ import annotations

import math


def ramp(step: float, start: int, length: int) -> float:
    """0 up to `start`, then `exp(-5 (1 - s)^2)` with s rising from 0 to 1 over `length` steps, then 1.

    >>> [round(ramp(step, 100, 100), 3) for step in (100, 101, 150, 200, 300)]
    [0.0, 0.007, 0.287, 1.0, 1.0]

    Source:
        Laine and Aila 2017, section 3.1.
    """
    if step <= start:
        return 0.0
    share = min((step - start) / length, 1.0) if length > 0 else 1.0
    return math.exp(-5 * (1 - share) ** 2)
