"""Trains a task of the studies: what it learns from, whether it goes on with a run, what becomes of the result."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

from diffcl.errors import DiffclError, FullDiskError, ModelError, OutputError, TooShortError, UnwritableError
from diffcl.files import of_the_disk, remove, write_text
from diffcl.models import ModelRegistry
from diffcl.publishing.gate import Tested, Version, publish_if_not_worse
from diffcl.publishing.upload import accept_upload
from diffcl.recipe import Recipe
from diffcl.studies.planning import planned_recipe
from diffcl.studies.progress import Progress
from diffcl.studies.proposal_scores import proposal_scores
from diffcl.studies.protocol import Studies
from diffcl.studies.training_cases import TrainingCases, training_cases, validation_cases
from diffcl.studies.training_options import MARGIN, VALIDATION_SHARE, TrainingOptions
from diffcl.studies.training_overview import TrainingOverview, training_overview
from diffcl.training import Parent, Plan, train
from diffcl.training.loop import Progress as StepProgress
from diffcl.training.run import LAST, PREPARED, begun, describe_cases, read_run, steps_done
from diffcl.training.scans import training_remarks

logger = logging.getLogger(__name__)

TOLD_EVERY = 1.0
"""Seconds between two notes of the progress."""

LOGGED = 10
"""Lines in the log, at least, about the steps of a training."""


class StudyTraining:
    """Trains a task on the labelled and unlabelled scans of the studies and publishes what is not worse.

        FOLDER/progress.json    how it goes, see `Progress`
        FOLDER/prepared/        prepared scans, kept from training to training
        FOLDER/roles.json       which labelled scans validated and which taught
        FOLDER/current/         the run at work; one that was stopped continues when the same is asked again
        FOLDER/1/               the first run that ended: journal, curves, best weights, decision

    Args:
        name: Of the model.
        recipe: Gives the settings to start from.
        store: Where it is published.
        folder: Where it works.
        device: Where it computes.

    Attributes:
        progress: How the last training goes or went.
    """

    def __init__(
        self,
        name: str,
        recipe: Callable[[], Recipe],
        store: ModelRegistry,
        folder: Path,
        device: str = "cpu",
    ) -> None:
        self.progress = Progress(folder)
        self._name = name
        self._recipe = recipe
        self._store = store
        self._folder = folder
        self._device = device

    def run(self, options: TrainingOptions, studies: Studies) -> dict[str, Any]:
        """Train, validate and publish. The progress says how it ended, whatever happens.

        Args:
            options: What is asked.
            studies: The scans.

        Returns:
            The decision of the gate, the number of the version, and how many scans were used.

        Raises:
            UsageError: If an option is impossible here.
            DataError: If nothing can be learned; `TooShortError` where the time that was asked for is why.
            OutputError: If the disk is full or takes nothing now; says how to continue.
        """
        recipe = with_class_values(self._recipe())
        try:
            with self.progress.running(options.steps or recipe.training.steps):
                began = time.monotonic()
                try:
                    return self._train(recipe, options, studies, began)
                except Exception as error:
                    if isinstance(error, TooShortError):  # asked for again, it begins again
                        shutil.rmtree(self._folder / "current", ignore_errors=True)
                    with suppress(DiffclError):  # nothing can be written here at all
                        self.progress.tell("failed", one_line(self._of_the_disk(error) or error))
                    raise
        except (OSError, OutputError) as error:
            told = self._of_the_disk(error)
            if told is None:
                raise
            raise told from error

    def _of_the_disk(self, error: Exception) -> OutputError | None:
        """What is told where the disk is full or takes nothing now; None for any other error."""
        found = of_the_disk(error, self._folder) if isinstance(error, OSError) else error
        if not isinstance(found, FullDiskError | UnwritableError):
            return None
        place = Path(found.where)
        make = f"Let {place.parent} be written again"
        if isinstance(found, FullDiskError):
            make = (
                f"Make space on the disk of {place.parent}; the prepared scans and the runs that ended, {self._folder}"
                "/prepared, 1, 2, ..., may go"
            )
        return type(found)(
            f"training of {self._name}",
            f"{place.name} {found.what}",
            f"{make}. Then train again with the same options to continue",
        )

    def overview(self) -> TrainingOverview:
        """How the trainings of the task went, and how the one at work goes."""
        return training_overview(self._name, self._folder, self.progress)

    def accept(self, archive: BinaryIO, studies: Studies) -> dict[str, Any]:
        """Make an uploaded model a new version, under the gate; see `accept_upload`.

        Raises:
            ModelError: If it is no model of this task.
        """
        recipe = with_class_values(self._recipe())
        cases = validation_cases(studies, recipe, VALIDATION_SHARE, self._folder)
        answer = accept_upload(
            archive, self._name, recipe, self._store, cases, self._folder / PREPARED, MARGIN
        )
        logger.info(f"Version {answer['version']} was uploaded. {answer['reason']}")
        return answer

    def _train(
        self, recipe: Recipe, options: TrainingOptions, studies: Studies, began: float
    ) -> dict[str, Any]:
        prepared = self._folder / PREPARED
        for stale in prepared.glob(".*"):  # a kill left it, and nobody else trains this task now
            remove(stale)
        recipe = planned_recipe(
            studies, recipe, prepared, minutes=options.minutes or None, only_approved=options.only_approved
        )
        found = training_cases(
            studies, recipe, options.validation_share, self._folder, only_approved=options.only_approved
        )
        for image, why in found.refused.items():
            logger.warning(f"{image} is left out: {why}")
        logger.info(f"{self._name}: {found.counts}")
        run = self._folder / "current"
        resume = self._same_as_before(run, recipe, options, found)
        if resume:
            recipe, plan = (made := read_run(run)).recipe, made.plan
            start = "A run that was stopped is continued."
        else:
            plan, start = self._plan(recipe, options, judged=bool(found.cases.validation))
        logger.info(start)
        for remark in training_remarks(found.scans, recipe):
            logger.warning(remark)
            start = f"{start} {remark}"
        steps = plan.schedule(recipe).training.steps + plan.last_steps(recipe)
        self.progress.tell("training", start, total_epochs=steps, **found.counts)
        tested: Tested = {}
        with suppress(DiffclError):  # it is a remark, which no archive that is down shall end a training for
            tested = proposal_scores(studies, self._name)
        train(found.cases, recipe, run, plan=plan, scans=found.scans, resume=resume, cache=prepared,
              device=self._device, on_step=self._teller(), spent=time.monotonic() - began)  # fmt: skip
        done = steps_done(run)  # fewer where the time was over
        self.progress.tell(
            "judging", "The result is compared with the model in use.", epoch=done, total_epochs=done,
            seconds_left=None,
        )  # fmt: skip
        version = publish_if_not_worse(run, self._name, self._store, margin=options.margin, tested=tested)
        decision = version.decision
        result = {**asdict(decision), "version": version.number, **found.counts}
        self._archive(run, version)
        logger.info(f"Version {version.number}. {decision.reason}")
        scores = {} if decision.candidate is None else {"best_metric": decision.candidate}
        self.progress.tell("done", decision.reason, **scores, **result)
        return result

    def _plan(self, recipe: Recipe, options: TrainingOptions, *, judged: bool) -> tuple[Plan, str]:
        """How long a new run lasts and where it starts from, and the latter in words."""

        def from_weights(parent: Parent | None) -> Plan:
            last_part = options.last_part if judged else 0.0
            return Plan(options.steps or None, options.minutes or None, parent, options.networks, last_part)

        if options.start_from == "scratch":
            return from_weights(None), "The networks learn from scratch."
        if self._name not in self._store.names():
            return from_weights(None), "The networks learn from scratch: there is no model yet."
        try:
            parent = Parent.of(self._store.folder(self._name))
            why = parent.unlike(recipe)
        except ModelError as error:  # damaged
            why = str(error)
        if why:
            return from_weights(None), f"The networks learn from scratch: {why}."
        who = "The networks go" if options.networks == "both" else f"{options.networks.upper()} goes"
        return from_weights(parent), f"{who} on from version {parent.version}."

    def _same_as_before(
        self, run: Path, recipe: Recipe, options: TrainingOptions, found: TrainingCases
    ) -> bool:
        """Whether a run that was stopped learned the same from the same; any other is removed."""
        asked = [
            recipe.model_dump(mode="json", exclude={"inference"}),  # which publishing changes
            options.model_dump(exclude={"margin"}),
            describe_cases(found.cases),
        ]
        digest = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
        mark = self._folder / "current.txt"
        if begun(run) and mark.is_file() and mark.read_text(encoding="utf-8") == digest:
            return True
        mark.unlink(missing_ok=True)  # first, or a kill would leave it beside half a run
        shutil.rmtree(run, ignore_errors=True)
        write_text(mark, digest)
        return False

    def _archive(self, run: Path, version: Version) -> None:
        """Keep a run that ended, without what only continuing it needs."""
        numbers = [
            int(entry.name)
            for entry in self._folder.iterdir()
            if entry.name.isascii() and entry.name.isdigit()
        ]
        place = run.rename(self._folder / str(max(numbers, default=0) + 1))
        for file in (place / "checkpoint.pt", place / LAST / "checkpoint.pt"):
            file.unlink(missing_ok=True)
        decision = {**asdict(version.decision), "version": version.number}
        write_text(place / "decision.json", json.dumps(decision, indent=2) + "\n")

    def _teller(self) -> Callable[[StepProgress], None]:
        told, began, first = 0.0, time.monotonic(), 0

        def seconds_left(progress: StepProgress) -> float:
            a_step = (time.monotonic() - began) / (progress.step - first + 1)
            left = a_step * (progress.steps - progress.step)
            return left if progress.seconds_left is None else progress.seconds_left

        def tell(progress: StepProgress) -> None:
            nonlocal told, first
            first = first or progress.step
            scored = {} if progress.scores is None else {"best_metric": progress.scores.dice}
            last = progress.step == progress.steps
            left = seconds_left(progress)
            if scored or last or progress.step % max(1, progress.steps // LOGGED) == 0:
                logger.info(in_words(progress, left))
            if scored or last or time.monotonic() - told > TOLD_EVERY:
                told = time.monotonic()
                self.progress.tell(
                    "training", f"The networks learn. About {round(left / 60, 1):g} minutes left.",
                    epoch=progress.step, total_epochs=progress.steps, losses=progress.losses,
                    seconds_left=round(left), **scored,
                )  # fmt: skip

        return tell


def in_words(progress: StepProgress, seconds: float) -> str:
    """A line of the log.

    >>> in_words(StepProgress(10, 60, {"L_c": 0.51, "L_d": 0.62}, None), 84.0)
    'Step 10 of 60: L_c 0.510, L_d 0.620. About 1.4 minutes left.'
    """
    losses = progress.losses
    dice = "" if progress.scores is None else f" Dice {progress.scores.dice:.3f}."
    return (
        f"Step {progress.step} of {progress.steps}: L_c {losses['L_c']:.3f}, L_d {losses['L_d']:.3f}.{dice}"
        f" About {seconds / 60:.1f} minutes left."
    )


def one_line(error: Exception) -> str:
    """Why a training failed, for people."""
    return (
        str(error) if isinstance(error, DiffclError) else f"{type(error).__name__}: {error}".splitlines()[0]
    )


def with_class_values(recipe: Recipe) -> Recipe:
    """The recipe for labels as the studies keep them.

    They hold the values of the classes, whatever the values in other files are.
    """
    labels = [entry.model_dump() | {"sources": ()} for entry in recipe.labels]
    return Recipe.model_validate(recipe.model_dump(exclude_unset=True) | {"labels": labels})
