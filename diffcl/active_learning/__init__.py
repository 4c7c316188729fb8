"""Active learning: what a scan is like, how far its prediction can be trusted, and which one to outline next."""

from diffcl.active_learning.features import ScanScore, describe, score
from diffcl.active_learning.selection import choose, distances, gains

__all__ = ["ScanScore", "choose", "describe", "distances", "gains", "score"]
