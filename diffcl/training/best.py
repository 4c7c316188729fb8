"""The best networks of a run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from diffcl.models.weights import Model
from diffcl.training.checkpoint import load_checkpoint
from diffcl.training.run import read_run
from diffcl.training.state import TrainingState
from diffcl.training.validation import unpublished


@dataclass(frozen=True)
class Best:
    """Networks of the step that the validation scans liked best.

    Attributes:
        model: The networks; DS is untrained where the run trained CS alone.
        step: That step.
        cs_alone: Whether the run trained CS alone.
    """

    model: Model
    step: int
    cs_alone: bool


def read_best(run: Path, part: str = "") -> Best:
    """The best networks of a run so far, or of a part of it that has a folder of its own in it.

    Raises:
        UsageError: If the folder holds no run.
        DataError: If the run has no weights yet.
    """
    recipe = read_run(run).recipe
    state = load_checkpoint(run / part / "best.pt")
    learner = TrainingState(recipe, torch.device("cpu"))
    learner.cs.teacher.load_state_dict(state["cs"])
    if learner.ds is not None:
        learner.ds.teacher.load_state_dict(state["ds"])
    ds = None if learner.ds is None else learner.ds.teacher.eval()
    model = unpublished(recipe, learner.cs.teacher.eval(), ds, learner.device)
    return Best(model, state["step"], ds is None)
