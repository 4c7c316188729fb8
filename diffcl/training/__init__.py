"""Training: the step, the loop, validation, checkpoints and publishing."""

from diffcl.training.loop import Progress, train
from diffcl.training.publishing import publish
from diffcl.training.schedule import Parent, Plan

__all__ = ["Parent", "Plan", "Progress", "publish", "train"]
