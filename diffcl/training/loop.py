"""A run: prepare, train, validate, keep the best; every part of it in one folder.

RUN/recipe.json         all settings
RUN/cases.json          which scans were used for what
RUN/journal.jsonl       every loss term of every step, every validation
RUN/curves.png          the same as a picture
RUN/checkpoint.pt       where a killed run continues
RUN/best.pt             averaged weights with the best validation so far
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from diffcl.data.batches import Batches
from diffcl.data.cases import Cases, LabelledCase, UnlabelledCase
from diffcl.data.prepare import TrainingScan, prepare_case
from diffcl.errors import DataError, DiffclError, UsageError
from diffcl.inference.ensemble import Networks
from diffcl.inference.model import Model
from diffcl.io.atomic import replace_file
from diffcl.recipe import Recipe, parse_recipe
from diffcl.training.checkpoint import load_checkpoint, save_checkpoint
from diffcl.training.curves import draw_curves
from diffcl.training.journal import Journal
from diffcl.training.learner import Learner
from diffcl.training.step import StepLosses, diffcl_step
from diffcl.training.validation import Scores, unpublished, validate


@dataclass(frozen=True)
class Progress:
    """Told to the caller after every step.

    Attributes:
        step: Steps done.
        steps: Steps in all.
        losses: Loss terms of the step.
        scores: Of a validation that followed the step, else None.
    """

    step: int
    steps: int
    losses: dict[str, float]
    scores: Scores | None


def train(
    cases: Cases,
    recipe: Recipe,
    run: Path,
    *,
    resume: bool = False,
    cache: Path | None = None,
    device: str = "cpu",
    on_step: Callable[[Progress], None] = lambda progress: None,
) -> Scores | None:
    """Train the networks of a recipe.

    Args:
        cases: The scans.
        recipe: All settings.
        run: Folder of the run; must be new unless resumed.
        resume: Continue from the run's checkpoint, with the run's own recipe and cases.
        cache: Folder for prepared scans; by default inside the run.
        device: Where to compute.
        on_step: Told of every step.

    Returns:
        The scores of the best validation; None without validation scans.

    Raises:
        UsageError: If the run's folder is not new, or its recipe or cases are other ones.
        DataError: If scans are unusable; all of them are named at once. Or if the training diverged.
    """
    start_run(run, cases, recipe, resume=resume)
    labelled, unlabelled = prepare_all(cases, recipe, cache or run / "prepared")
    learner = Learner(recipe, torch.device(device))
    best: Scores | None = None
    done = 0
    checkpoint = run / "checkpoint.pt"
    if resume and checkpoint.exists():
        state = load_checkpoint(checkpoint)
        learner.restore(state["learner"])
        done, best = state["step"], Scores.from_json(state["best"])
    batches = Batches(labelled, unlabelled, recipe)
    last = recipe.training.steps
    with Journal(run / "journal.jsonl", last_step=done) as journal:
        for step, batch in batches.ahead(done + 1, last):
            losses = diffcl_step(learner, batch.to(learner.device), step)
            learn(learner, losses, step)
            journal.write(step, losses.numbers())
            scores = None
            if cases.validation and _due(step, recipe.training.validate_every, last):
                scores = validate(cases.validation, current_model(learner), networks=networks_of(recipe))
                journal.write(step, {"validation": scores.numbers()})
                draw_curves(run / "journal.jsonl", run / "curves.png")
                if best is None or scores.dice >= best.dice:
                    best = scores
                    keep_best(run, learner, scores, step)
            if _due(step, recipe.training.checkpoint_every, last) or scores is not None:
                state = {"step": step, "learner": learner.state(), "best": best and best.to_json()}
                save_checkpoint(checkpoint, state)
            on_step(Progress(step, last, losses.numbers(), scores))
    if not cases.validation:
        keep_best(run, learner, None, last)
        draw_curves(run / "journal.jsonl", run / "curves.png")
    return best


def _due(step: int, every: int, last: int) -> bool:
    return step % every == 0 or step == last


def start_run(run: Path, cases: Cases, recipe: Recipe, *, resume: bool) -> None:
    """Make the folder of a run and write down what it is made of, or check that it is the same run.

    Raises:
        UsageError: If a new run's folder is in use, or a resumed run's recipe or cases differ.
    """
    documents = {"recipe.json": recipe.model_dump(mode="json"), "cases.json": describe_cases(cases)}
    if resume and (run / "recipe.json").exists():
        for name, content in documents.items():
            if json.loads((run / name).read_text(encoding="utf-8")) != content:
                raise UsageError(run / name, "differs from what was asked for now",
                                 "Resume with the same recipe and cases, or start a new run")  # fmt: skip
        return
    if run.exists() and any(run.iterdir()):
        raise UsageError(run, "already holds a run", "Continue it with --resume, or name another folder")
    run.mkdir(parents=True, exist_ok=True)
    for name, content in documents.items():
        with replace_file(run / name) as temporary:
            temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def describe_cases(cases: Cases) -> dict[str, list[dict[str, str]]]:
    """The cases of each kind as plain values: name, scan and, where it is known, label."""

    def plain(case: LabelledCase | UnlabelledCase) -> dict[str, str]:
        return {key: str(value) for key, value in dataclasses.asdict(case).items()}

    return {
        "labelled": [plain(case) for case in cases.labelled],
        "unlabelled": [plain(case) for case in cases.unlabelled],
        "validation": [plain(case) for case in cases.validation],
    }


def read_run(run: Path) -> tuple[Recipe, Cases]:
    """The recipe and the cases of a run.

    Raises:
        UsageError: If the folder holds no run.
    """
    try:
        recipe = parse_recipe(
            json.loads((run / "recipe.json").read_text(encoding="utf-8")), run / "recipe.json"
        )
        content = json.loads((run / "cases.json").read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise UsageError(run, "holds no run", "Give the folder that diffcl train wrote") from error

    def labelled(kind: str) -> tuple[LabelledCase, ...]:
        return tuple(LabelledCase(c["name"], Path(c["image"]), Path(c["label"])) for c in content[kind])

    unlabelled = tuple(UnlabelledCase(c["name"], Path(c["image"])) for c in content["unlabelled"])
    return recipe, Cases(labelled("labelled"), unlabelled, labelled("validation"))


def prepare_all(cases: Cases, recipe: Recipe, cache: Path) -> tuple[list[TrainingScan], list[TrainingScan]]:
    """Prepare all labelled and unlabelled cases, before any training.

    Raises:
        DataError: Naming every case that cannot be used.
    """
    prepared: dict[bool, list[TrainingScan]] = {True: [], False: []}
    faults = []
    used: tuple[LabelledCase | UnlabelledCase, ...] = (*cases.labelled, *cases.unlabelled)
    if recipe.training.method == "supervised":
        used = cases.labelled
    for case in used:
        try:
            prepared[isinstance(case, LabelledCase)].append(prepare_case(case, recipe, cache))
        except DiffclError as error:
            faults.append(str(error))
    if faults:
        raise DataError(f"{len(faults)} of {len(used)} cases", " | ".join(faults), "Mend or unlist them")
    return prepared[True], prepared[False]


def learn(learner: Learner, losses: StepLosses, step: int) -> None:
    """Let both networks take their step.

    Raises:
        DataError: If a loss is not finite; nothing was changed by the step.
    """
    if not torch.isfinite(losses.cs + losses.ds):
        raise DataError(f"step {step}", "the loss is not finite", "Lower training.learning_rate")
    learner.cs.learn(losses.cs)
    if learner.ds is not None:
        learner.ds.learn(losses.ds)


def networks_of(recipe: Recipe) -> Networks:
    """Who answers for a run: the ensemble, or CS where it was trained alone."""
    return "cs" if recipe.training.method == "supervised" else "ensemble"


def current_model(learner: Learner) -> Model:
    """The averaged networks of a run as a model."""
    ds = None if learner.ds is None else learner.ds.teacher
    return unpublished(learner.recipe, learner.cs.teacher, ds, learner.device)


def keep_best(run: Path, learner: Learner, scores: Scores | None, step: int) -> None:
    """Keep the averaged networks as the best so far."""
    state: dict[str, Any] = {"step": step, "cs": learner.cs.teacher.state_dict()}
    state["scores"] = scores and scores.to_json()
    if learner.ds is not None:
        state["ds"] = learner.ds.teacher.state_dict()
    save_checkpoint(run / "best.pt", state)
