"""A run: prepare, train, validate, keep the best; every part of it in one folder.

`diffcl.training.run` writes what it is made of, `diffcl.training.record` what it leaves while it goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic

import torch

from diffcl.data.batches import Batches
from diffcl.data.cases import Cases
from diffcl.evaluation.scores import Scores
from diffcl.files import make_folder
from diffcl.inference.ensemble import Networks
from diffcl.models.weights import Model, load_judged
from diffcl.networks.allocation import keeps_freed_memory
from diffcl.planning.crop import fitted
from diffcl.planning.planned_recipe import planned
from diffcl.recipe import Recipe
from diffcl.training import distributed
from diffcl.training.best import read_best
from diffcl.training.checkpoint import load_checkpoint
from diffcl.training.costs import Clock, measure_costs
from diffcl.training.record import record_of
from diffcl.training.run import (
    LAST,
    PREPARED,
    Preparation,
    Run,
    begun,
    check_unused,
    continue_run,
    note_preparation,
    start_run,
)
from diffcl.training.scans import Scans, load_scans, training_remarks
from diffcl.training.schedule import Plan
from diffcl.training.state import TrainingState
from diffcl.training.step import diffcl_step
from diffcl.training.threads import Threads, as_before
from diffcl.training.time_limit import Length, Limit, StepLimit, TimeLimit
from diffcl.training.validation import unpublished, validate


@dataclass(frozen=True)
class Progress:
    """Told to the caller after every step.

    Attributes:
        step: Steps done.
        steps: Steps in all; in a run by time, as many as it holds at the present speed.
        losses: Loss terms of the step.
        scores: Of a validation that followed the step, else None.
        seconds_left: Of a run by time, until its result is published; else None.
    """

    step: int
    steps: int
    losses: dict[str, float]
    scores: Scores | None
    seconds_left: float | None = None


@as_before()
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
    on_remarks: Callable[[Sequence[str]], None] = lambda remarks: None,
    spent: float = 0.0,
    clock: Clock = monotonic,
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
        on_remarks: Told before the first step what is odd about the scans and labels.
        spent: Seconds of the plan's time that went by before this call.
        clock: Gives seconds; only differences count.

    Returns:
        The scores of the best validation; None without validation scans.

    Raises:
        UsageError: If the run's folder is not new, or its recipe, plan or cases are other ones.
        TooShortError: If nothing can be learned in the plan's time; before the first step where that is known by then.
        DataError: If scans are unusable; all of them are named at once. If every label is empty. Or if the training
            diverged.
        ModelError: If the weights to start from are damaged or do not fit.
        OutputError: If the run's files cannot be written.
    """
    plan, began = plan or Plan(), clock() - spent
    minutes = plan.minutes
    resume = distributed.first_says(resume and begun(run))
    if not resume and distributed.rank() == 0:
        check_unused(run)
    prepared = cache or run / PREPARED
    recipe = distributed.in_turn(lambda: planned(recipe, cases, minutes=minutes, cache=prepared))
    judges_teach = plan.last_part > 0
    loaded = scans or distributed.in_turn(
        lambda: load_scans(cases, recipe, prepared, judges_teach=judges_teach)
    )
    remarks = training_remarks(loaded, recipe)
    recipe = fitted(recipe, loaded.labelled)
    threads = threads_of(plan, device)
    limit = limit_of(plan, recipe, loaded, device, began, clock, threads)
    if isinstance(limit, TimeLimit) and not resume:
        limit.check()
        plan = replace(plan, expected=round(limit.steps(0) * (1 - limit.kept)))
    begin = continue_run if resume else start_run
    made = distributed.first_says(begin(run, cases, recipe, plan) if distributed.rank() == 0 else None)
    assert made is not None
    if distributed.rank() == 0:
        seen = tuple(dict(scan.traits) for scan in (*loaded.labelled, *loaded.unlabelled) if scan.traits)
        note_preparation(run, Preparation(prepared, seen, remarks))
        on_remarks(remarks)
    with keeps_freed_memory():
        learner = TrainingState(made.scheduled, torch.device(device))
        best = learn(run, learner, loaded, limit, on_step, _start(made, learner), threads)
        if loaded.judges and plan.last_steps(recipe) > 0:
            learn_from_judges(run, made, loaded, limit, device, on_step, threads)
    return best


def threads_of(plan: Plan, device: str) -> Threads | None:
    """Who finds the number of threads for a run by time; a run by steps keeps its number, and its rounding."""
    if plan.minutes is None or device != "cpu" or distributed.size() > 1:
        return None
    return Threads(torch.set_num_threads, torch.get_num_threads())


def limit_of(
    plan: Plan,
    recipe: Recipe,
    scans: Scans,
    device: str,
    began: float,
    clock: Clock,
    threads: Threads | None = None,
) -> StepLimit | TimeLimit:
    """When a run is over; how fast this machine is, is found by a trial where that matters."""
    scheduled = plan.schedule(recipe)
    if plan.minutes is None:
        return StepLimit(scheduled.training.steps, plan.last_steps(recipe) if scans.judges else 0)
    costs = distributed.first_says(measure_costs(scheduled, scans, device, clock, threads))
    training = scheduled.training
    length = Length(training.steps, plan.fewest(recipe), training.coarse_steps)
    kept = plan.last_part if scans.judges else 0.0
    return TimeLimit(length, plan.minutes * 60, costs, began, clock, kept=kept)


def learn_from_judges(
    folder: Path,
    run: Run,
    scans: Scans,
    before: Limit,
    device: str,
    on_step: Callable[[Progress], None],
    threads: Threads | None = None,
) -> None:
    """Take the last part of a run: from its best weights, with what judged them among what teaches.

    Args:
        folder: Of the run; this part has its own in it.
        run: What it is made of.
        scans: What it learns from.
        before: The limit of the run so far, which is over.
        device: Where to compute.
        on_step: Told of every step.
        threads: As in `learn`.
    """
    place, best = folder / LAST, distributed.in_turn(lambda: read_best(folder))
    if distributed.rank() == 0:
        make_folder(place)
    recipe = run.plan.last_schedule(run.recipe)
    learner = TrainingState(recipe, torch.device(device))
    everything = Scans([*scans.labelled, *scans.judges], scans.unlabelled, ())
    limit = before.last_part(Length(recipe.training.steps, 0))
    done = int(load_checkpoint(folder / "checkpoint.pt")["step"])

    def start() -> None:
        learner.start_from(best.model.cs, best.model.ds)

    def tell(progress: Progress) -> None:
        on_step(replace(progress, step=done + progress.step, steps=done + progress.steps))

    learn(place, learner, everything, limit, tell, start, threads)


def _start(run: Run, learner: TrainingState) -> Callable[[], None]:
    """Gives a learner the weights that a run starts from, those which have learned from no scan that judges."""

    def start() -> None:
        if run.plan.parent is not None:
            parent = load_judged(run.plan.parent.folder, learner.device)
            learner.start_from(parent.cs, parent.ds)

    return start


def learn(
    folder: Path,
    learner: TrainingState,
    scans: Scans,
    limit: Limit,
    on_step: Callable[[Progress], None],
    start: Callable[[], None],
    threads: Threads | None = None,
) -> Scores | None:
    """Take the steps of a run, or of a part of it, that are left.

    Args:
        folder: Of the run, or of the part.
        learner: New; gets the state of the checkpoint.
        scans: What it learns from.
        limit: Where in its schedule it is, and when it is over.
        on_step: Told of every step.
        start: Gives the learner of a run that begins the weights to start from.
        threads: Told what steps take, to have as many threads as make them quick; by default their number stays.

    Returns:
        The scores of the best validation; None without validation scans.

    Raises:
        TooShortError: If the plan's time is over and too few steps were taken.
    """
    recipe, best, done, over = learner.recipe, None, 0, False
    checkpoint = folder / "checkpoint.pt"
    if distributed.first_says(checkpoint.exists()):
        state = load_checkpoint(checkpoint)
        learner.restore(state["learner"])
        done, best = state["step"], Scores.from_plain(state["best"])
        over = state.get("over", False)
        limit.restore(state.get("limit", {}))
    else:
        start()
    last, place = (done if over else limit.last), limit.reached(done)
    batches = Batches(scans.labelled, scans.unlabelled, recipe)
    with record_of(folder, learner, done) as record:
        for step, batch in batches.ahead(done + 1, last, limit.place):
            before, place = place, limit.place(step)
            began = monotonic()
            losses = diffcl_step(learner, batch.to(learner.device), step, place)
            learner.learn(losses.cs, losses.ds, step, place - before)
            over = limit.over(step)
            if threads:
                threads.stepped(monotonic() - began)
            scores = None
            fine = (
                place > recipe.training.coarse_steps
            )  # what learned from coarse voxels alone finds noise on fine ones
            due = fine and passed(recipe.training.validate_every, before, place) and limit.validates()
            if scans.validation and (over or due):
                scores = validate(scans.validation, current_model(learner), networks=networks_of(recipe))
                limit.judged()
            judged = over or scores is not None
            better = judged and (best is None or scores is None or scores.dice >= best.dice)
            best = scores if better else best
            if record is not None:
                record.step(step, losses.numbers(), scores)
                if judged:
                    record.draw()
                if better:
                    record.best(step, scores)
                if judged or passed(recipe.training.checkpoint_every, before, place):
                    record.checkpoint(step, best, over=over, limit=limit.state())
            on_step(Progress(step, limit.steps(step), losses.numbers(), scores, limit.seconds_left()))
            if over:
                break
    return best


def passed(every: int, before: float, place: float) -> bool:
    """Whether a multiple of `every` lies between two places in the schedule, the later one included.

    >>> passed(10, 19, 20), passed(10, 20, 21), passed(10, 28.5, 41.0)
    (True, False, True)
    """
    return place // every > before // every


def networks_of(recipe: Recipe) -> Networks:
    """Who answers for a run: the ensemble, or CS where it was trained alone."""
    return "cs" if recipe.training.method == "supervised" else "ensemble"


def current_model(learner: TrainingState) -> Model:
    """The averaged networks of a run as a model."""
    ds = None if learner.ds is None else learner.ds.teacher
    return unpublished(learner.recipe, learner.cs.teacher, ds, learner.device)
