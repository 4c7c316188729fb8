"""Training: the step, the loop, validation, checkpoints and publishing."""

from diffcl.training.loop import Progress, train
from diffcl.training.publishing import publish

__all__ = ["Progress", "publish", "train"]
