"""What a run leaves on disk while it goes on.

RUN/journal.jsonl       every loss term of every step, every validation
RUN/curves.png          the same as a picture
RUN/checkpoint.pt       where a killed run continues
RUN/best.pt             averaged weights with the best validation so far
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from diffcl.evaluation.scores import Scores
from diffcl.training import distributed
from diffcl.training.checkpoint import save_checkpoint
from diffcl.training.curves import draw_curves
from diffcl.training.journal import Journal
from diffcl.training.state import TrainingState


class Record:
    """Writes the files of a run, until its `with` block ends.

    Args:
        folder: Of the run.
        learner: What is kept.
        done: Steps that a checkpoint has; the journal forgets what came later.
    """

    def __init__(self, folder: Path, learner: TrainingState, done: int) -> None:
        self._folder = folder
        self._learner = learner
        self._journal = Journal(folder / "journal.jsonl", last_step=done)

    def __enter__(self) -> Record:
        self._journal.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self._journal.__exit__(*exception)

    def step(self, step: int, losses: dict[str, float], scores: Scores | None) -> None:
        """Note the losses of a step, and the validation that followed it."""
        self._journal.write(step, losses)
        if scores is not None:
            self._journal.write(step, {"validation": scores.numbers()})

    def draw(self) -> None:
        """Draw the curves."""
        draw_curves(self._folder / "journal.jsonl", self._folder / "curves.png")

    def best(self, step: int, scores: Scores | None) -> None:
        """Keep the averaged networks as the best so far."""
        learner = self._learner
        state: dict[str, Any] = {"step": step, "cs": learner.cs.teacher.state_dict()}
        state["scores"] = scores and scores.plain()
        if learner.ds is not None:
            state["ds"] = learner.ds.teacher.state_dict()
        save_checkpoint(self._folder / "best.pt", state)

    def checkpoint(self, step: int, best: Scores | None, *, over: bool, limit: dict[str, Any]) -> None:
        """Keep what the run needs to continue; the state of its limit says what was spent."""
        state = {
            "step": step,
            "learner": self._learner.state(),
            "best": best and best.plain(),
            "over": over,
            "limit": limit,
        }
        save_checkpoint(self._folder / "checkpoint.pt", state)


def record_of(folder: Path, learner: TrainingState, done: int) -> AbstractContextManager[Record | None]:
    """The record of a run; None in every process but the first."""
    return Record(folder, learner, done) if distributed.rank() == 0 else nullcontext()
