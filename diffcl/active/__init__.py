"""Active learning: what a scan is like, how far its prediction can be trusted, and which one to outline next."""

from diffcl.active.scoring import ScanScore, describe, score
from diffcl.active.selection import choose, distances, gains

__all__ = ["ScanScore", "choose", "describe", "distances", "gains", "score"]
