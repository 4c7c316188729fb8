"""Training: the step, the loop, validation and checkpoints."""

from typing import Any

from diffcl.training.loop import Progress, train
from diffcl.training.schedule import Parent, Plan

__all__ = ["Parent", "Plan", "Progress", "train"]


def __getattr__(name: str) -> Any:
    if name == "publish":
        raise ImportError("diffcl.training.publish: has moved. Use diffcl.publishing.publish")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
