"""Active learning: what a scan is like, how far its prediction can be trusted, and which one to outline next.

What is named here is imported when it is first asked for: to say which scan comes next takes no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from diffcl.active_learning.features import describe, score
    from diffcl.active_learning.scores import ScanScore
    from diffcl.active_learning.selection import choose, distances, gains

__all__ = ["ScanScore", "choose", "describe", "distances", "gains", "score"]

_HOMES = {
    **dict.fromkeys(("describe", "score"), "features"),
    **dict.fromkeys(("choose", "distances", "gains"), "selection"),
    "ScanScore": "scores",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
