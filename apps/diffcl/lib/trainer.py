"""MONAI Label's training task over the library's training: in a child process, from all scans of the studies."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import torch
from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.train import TrainTask
from pydantic import Field

from diffcl.errors import DiffclError
from diffcl.inference import ModelStore
from diffcl.recipe import Recipe
from diffcl.training import train
from diffcl.training.gate import Decision, publish_if_not_worse
from diffcl.training.loop import Progress as StepProgress
from diffcl.training.loop import describe_cases
from lib.collect import Collected, collect
from lib.options import Options, check_options
from lib.progress import Progress
from lib.refusals import refusals

logger = logging.getLogger(__name__)

TOLD_EVERY = 1.0
"""Seconds between two notes of the progress."""


class TrainOptions(Options):
    """What a client may ask of a training.

    Attributes:
        steps: Optimiser steps; the recipe's where none are given.
        validation_share: Share of the labelled scans that judge instead of teach.
        margin: How much lower the Dice of the result may be than that of the model in use.
    """

    steps: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    validation_share: Annotated[float, Field(ge=0, le=0.5)] = 0.2
    margin: Annotated[float, Field(ge=0, le=1)] = 0.01


class SemiSupervisedTraining(TrainTask):
    """Trains a task on the labelled and unlabelled scans of the studies and publishes what is not worse.

        FOLDER/progress.json    how it goes, see `Progress`
        FOLDER/prepared/        prepared scans, kept from training to training
        FOLDER/current/         the run at work; one that was stopped continues when the same is asked again
        FOLDER/1/               the first run that ended: journal, curves, best weights, decision

    Args:
        name: Of the model.
        recipe: Gives the settings to start from.
        store: Where it is published.
        folder: Where it works.
    """

    def __init__(self, name: str, recipe: Callable[[], Recipe], store: ModelStore, folder: Path) -> None:
        super().__init__(f"Learns {name} from all scans: those with a final label and those without")
        self._name = name
        self._recipe = recipe
        self._store = store
        self._folder = folder
        self._progress = Progress(folder)

    def config(self) -> dict[str, Any]:
        """The options in the viewers' form."""
        return {**TrainOptions().model_dump(), "steps": self._recipe().training.steps}

    def stats(self) -> dict[str, Any]:
        """How the last training goes or went."""
        return self._progress.read()

    def __call__(self, request: dict[str, Any], datastore: Datastore) -> dict[str, Any]:
        """Train, judge and publish.

        Args:
            request: The options.
            datastore: The studies.

        Returns:
            The decision, and how many scans were used.

        Raises:
            HTTPException: 4xx with a sentence, if an option is impossible or nothing can be learned.
        """
        with refusals():
            options = check_options(TrainOptions, request)
            if "local_rank" in request:  # MONAI Label's mark of a child, which must not starve the server
                os.nice(10)
                torch.set_num_threads(max(1, (os.cpu_count() or 2) - 1))
            recipe = for_training(self._recipe(), options.steps)
            with self._progress.running(recipe.training.steps):
                try:
                    return self._train(recipe, options, datastore)
                except DiffclError as error:
                    logger.error(str(error))
                    self._progress.tell("failed", str(error))
                    raise

    def _train(self, recipe: Recipe, options: TrainOptions, datastore: Datastore) -> dict[str, Any]:
        found = collect(datastore, recipe, options.validation_share, self._folder / "prepared")
        counts = {
            "labelled": len(found.cases.labelled),
            "unlabelled": len(found.cases.unlabelled),
            "validation": len(found.cases.validation),
            "refused": found.refused,
        }
        for image, why in found.refused.items():
            logger.warning(f"{image} is left out: {why}")
        logger.info(f"{self._name}: {counts}")
        self._progress.tell("training", "The networks learn.", **counts)
        run = self._folder / "current"
        resume = self._same_as_before(run, recipe, found)
        train(
            found.cases, recipe, run, resume=resume, cache=self._folder / "prepared", on_step=self._teller()
        )
        self._progress.tell("judging", "The result is compared with the model in use.")
        decision = publish_if_not_worse(run, self._name, self._store, margin=options.margin)
        self._archive(run, decision)
        logger.info(decision.reason)
        scores = {} if decision.candidate is None else {"best_metric": decision.candidate}
        self._progress.tell(
            "done", decision.reason, epoch=recipe.training.steps, **scores, **asdict(decision)
        )
        return {**asdict(decision), **counts}

    def _same_as_before(self, run: Path, recipe: Recipe, found: Collected) -> bool:
        """Whether a run that was stopped learned the same from the same; any other is removed."""
        asked = json.dumps([recipe.model_dump(mode="json"), describe_cases(found.cases)], sort_keys=True)
        digest = hashlib.sha256(asked.encode()).hexdigest()
        mark = self._folder / "current.txt"
        begun = (run / "cases.json").is_file() and mark.is_file()
        if begun and mark.read_text(encoding="utf-8") == digest:
            logger.info("A run that was stopped is continued.")
            return True
        shutil.rmtree(run, ignore_errors=True)
        mark.write_text(digest, encoding="utf-8")
        return False

    def _archive(self, run: Path, decision: Decision) -> None:
        """Keep a run that ended, without what only continuing it needs."""
        (run / "checkpoint.pt").unlink(missing_ok=True)
        (run / "decision.json").write_text(json.dumps(asdict(decision), indent=2) + "\n", encoding="utf-8")
        numbers = [int(entry.name) for entry in self._folder.iterdir() if entry.name.isdigit()]
        run.rename(self._folder / str(max(numbers, default=0) + 1))

    def _teller(self) -> Callable[[StepProgress], None]:
        told = 0.0

        def tell(progress: StepProgress) -> None:
            nonlocal told
            if progress.scores is not None:
                self._progress.tell("training", "The networks learn.", best_metric=progress.scores.dice)
                logger.info(f"Step {progress.step} of {progress.steps}: Dice {progress.scores.dice:.3f}")
            if time.monotonic() - told > TOLD_EVERY:
                told = time.monotonic()
                self._progress.tell(
                    "training", "The networks learn.", epoch=progress.step, losses=progress.losses
                )

        return tell


def for_training(recipe: Recipe, steps: int | None) -> Recipe:
    """The recipe for labels as the studies keep them, with its schedule fitted to a number of steps.

    Labels of the studies hold the values of the classes, whatever the values in other files are.
    """
    before = recipe.training
    count = steps or before.steps
    labels = [entry.model_dump() | {"sources": ()} for entry in recipe.labels]
    training = {
        "steps": count,
        "supervised_start": round(before.supervised_start * count / before.steps),
        "validate_every": max(1, min(before.validate_every, count // 4)),
        "checkpoint_every": max(1, min(before.checkpoint_every, count // 4)),
    }
    content = recipe.model_dump() | {"labels": labels, "training": before.model_dump() | training}
    return Recipe.model_validate(content)
