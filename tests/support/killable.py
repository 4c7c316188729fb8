"""Work of the app in a process that kills itself at a chosen moment."""

from __future__ import annotations

import os
import signal
import warnings
from pathlib import Path
from typing import Any

import torch
from synthetic import ORGAN

from diffcl.models import ModelRegistry
from diffcl.studies.folder import FolderStudies
from diffcl.studies.training import StudyTraining
from diffcl.training import record

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what MONAI Label imports is deprecated in part
    from lib.datastores.datastore import StudiesDatastore
    from lib.trainers.trainer import SemiSupervisedTraining


def kill_at(moment: str) -> None:
    """Let this process kill itself before or after a file or folder is moved to its place.

    Args:
        moment: `before` or `after` and how the path of the place ends; empty for never.
    """
    if not moment:
        return
    when, place = moment.split()

    def deadly(name: str) -> None:
        move = getattr(Path, name)

        def run(self: Path, target: Path) -> Any:
            here = Path(target).as_posix().endswith(place)
            if here and when == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            moved = move(self, target)
            if here:
                os.kill(os.getpid(), signal.SIGKILL)
            return moved

        setattr(Path, name, run)

    deadly("replace")
    deadly("rename")


def train(studies: Path, store: Path, folder: Path, request: dict[str, Any], moment: str = "") -> None:
    """Train the task of the synthetic scans, as MONAI Label's child process does."""
    torch.set_num_threads(1)
    record.draw_curves = lambda *_: None  # takes longer than all the rest
    kill_at(moment)
    training = StudyTraining("organ", lambda: ORGAN, ModelRegistry(store), folder)
    SemiSupervisedTraining("organ", training)(
        request, StudiesDatastore(FolderStudies(studies, lambda: [ORGAN]))
    )


def save_label(studies: Path, image: str, label: Path, moment: str = "") -> None:
    """Submit a final label."""
    store = StudiesDatastore(FolderStudies(studies, lambda: [ORGAN]))
    kill_at(moment)
    store.save_label(image, str(label), "final", {})
