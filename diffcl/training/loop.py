"""A run: prepare, train, validate, keep the best; every part of it in one folder.

`diffcl.training.run` writes what it is made of, `diffcl.training.record` what it leaves while it goes on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic

import torch

from diffcl.data.batches import Batches
from diffcl.data.cases import Cases
from diffcl.evaluation.scores import Scores
from diffcl.inference.ensemble import Networks
from diffcl.models.weights import Model, load_model
from diffcl.planning.crop import fitted
from diffcl.planning.planned import planned
from diffcl.recipe import Recipe
from diffcl.training import distributed
from diffcl.training.allocation import keeps_freed_memory
from diffcl.training.checkpoint import load_checkpoint
from diffcl.training.record import record_of
from diffcl.training.run import (
    PREPARED,
    Preparation,
    Run,
    begun,
    check_unused,
    continue_run,
    note_preparation,
    start_run,
)
from diffcl.training.scans import Scans, load_scans
from diffcl.training.schedule import Plan
from diffcl.training.state import TrainingState
from diffcl.training.step import diffcl_step
from diffcl.training.time_limit import fitting_steps
from diffcl.training.validation import unpublished, validate


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
    plan: Plan | None = None,
    scans: Scans | None = None,
    resume: bool = False,
    cache: Path | None = None,
    device: str = "cpu",
    on_step: Callable[[Progress], None] = lambda progress: None,
) -> Scores | None:
    """Train the networks of a recipe, on the processes of `diffcl.training.distributed`; the first one writes the run.

    Args:
        cases: The scans.
        recipe: All settings.
        run: Folder of the run; must be new unless resumed.
        plan: How the run departs from the recipe; by default not at all.
        scans: The cases, prepared and read, of the cache if one is named; by default that is done here.
        resume: Continue from the run's checkpoint, with the run's own recipe, plan and cases.
        cache: Folder for prepared scans; by default inside the run.
        device: Where to compute.
        on_step: Told of every step.

    Returns:
        The scores of the best validation; None without validation scans.

    Raises:
        UsageError: If the run's folder is not new, or its recipe, plan or cases are other ones.
        DataError: If scans are unusable; all of them are named at once. Or if the training diverged.
        ModelError: If the weights to start from are damaged or do not fit.
        OutputError: If the run's files cannot be written.
    """
    plan = plan or Plan()
    minutes = plan.minutes
    resume = distributed.first_says(resume and begun(run))
    if not resume and distributed.rank() == 0:
        check_unused(run)
    prepared = cache or run / PREPARED
    recipe = distributed.in_turn(lambda: planned(recipe, cases, minutes=minutes, cache=prepared))
    loaded = scans or distributed.in_turn(lambda: load_scans(cases, recipe, prepared))
    recipe = fitted(recipe, loaded.labelled)
    seconds = float("inf") if minutes is None else minutes * 60
    if not resume and minutes is not None:
        trial = recipe.changed(training={"learns": plan.learns})
        steps, seconds = distributed.first_says(fitting_steps(seconds, trial, loaded, device))
        plan = replace(plan, steps=steps)
    begin = continue_run if resume else start_run
    made = distributed.first_says(begin(run, cases, recipe, plan) if distributed.rank() == 0 else None)
    assert made is not None
    if distributed.rank() == 0:
        seen = tuple(dict(scan.traits) for scan in (*loaded.labelled, *loaded.unlabelled) if scan.traits)
        note_preparation(run, Preparation(prepared, seen))
    ends = monotonic() + seconds
    with keeps_freed_memory():
        learner = TrainingState(made.scheduled, torch.device(device))
        return learn(run, made, learner, loaded, ends, on_step)


def learn(
    folder: Path,
    run: Run,
    learner: TrainingState,
    scans: Scans,
    ends: float,
    on_step: Callable[[Progress], None],
) -> Scores | None:
    """Take the steps of a run that are left.

    Args:
        folder: Of the run.
        run: What it is made of.
        learner: New; gets the state of the checkpoint, or the weights to start from.
        scans: What it learns from.
        ends: When the last step is taken although the schedule is not over, on the monotonic clock.
        on_step: Told of every step.

    Returns:
        The scores of the best validation; None without validation scans.
    """
    recipe, best, done, over = learner.recipe, None, 0, False
    checkpoint = folder / "checkpoint.pt"
    if distributed.first_says(checkpoint.exists()):
        state = load_checkpoint(checkpoint)
        learner.restore(state["learner"])
        done, best = state["step"], Scores.from_plain(state["best"])
        over = state.get("over", False)
    elif run.plan.parent is not None:
        parent = load_model(run.plan.parent.folder, learner.device)
        learner.start_from(parent.cs, parent.ds)
    last = done if over else recipe.training.steps
    batches = Batches(scans.labelled, scans.unlabelled, recipe)
    with record_of(folder, learner, done) as record:
        for step, batch in batches.ahead(done + 1, last):
            losses = diffcl_step(learner, batch.to(learner.device), step)
            learner.learn(losses.cs, losses.ds, step)
            over = step == last or distributed.first_says(monotonic() >= ends)
            scores = None
            if scans.validation and (over or step % recipe.training.validate_every == 0):
                scores = validate(scans.validation, current_model(learner), networks=networks_of(recipe))
            judged = over or scores is not None
            better = judged and (best is None or scores is None or scores.dice >= best.dice)
            best = scores if better else best
            if record is not None:
                record.step(step, losses.numbers(), scores)
                if judged:
                    record.draw()
                if better:
                    record.best(step, scores)
                if judged or step % recipe.training.checkpoint_every == 0:
                    record.checkpoint(step, best, over=over)
            on_step(Progress(step, last, losses.numbers(), scores))
            if over:
                break
    return best


def networks_of(recipe: Recipe) -> Networks:
    """Who answers for a run: the ensemble, or CS where it was trained alone."""
    return "cs" if recipe.training.method == "supervised" else "ensemble"


def current_model(learner: TrainingState) -> Model:
    """The averaged networks of a run as a model."""
    ds = None if learner.ds is None else learner.ds.teacher
    return unpublished(learner.recipe, learner.cs.teacher, ds, learner.device)
