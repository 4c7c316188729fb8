"""What a machine takes for the parts of a training, found by a trial of a few steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

import torch

from diffcl.data.batches import Batches
from diffcl.evaluation.metrics import evaluate_case
from diffcl.inference.predictor import Predictor
from diffcl.recipe import Recipe
from diffcl.training.scans import Scans
from diffcl.training.state import TrainingState
from diffcl.training.step import diffcl_step
from diffcl.training.validation import ValidationScan, unpublished

TRIAL_STEPS = 3
"""The first of which waits for libraries and does not count; of the others the quicker one does."""

Clock = Callable[[], float]
"""Gives seconds since some moment, and never less than before."""


@dataclass(frozen=True)
class Costs:
    """What a machine takes for the parts of a training, by a trial.

    Attributes:
        step: Seconds a step.
        validation: Seconds to predict all validation scans once.
    """

    step: float
    validation: float


def measure_costs(recipe: Recipe, scans: Scans, device: str, now: Clock = monotonic) -> Costs:
    """What a step takes here, and predicting the validation scans, by a trial of which nothing is kept.

    Args:
        recipe: Decides how long a step takes.
        scans: The first validation scan stands for all, by their voxels.
        device: Where to compute.
        now: The clock.
    """
    recipe = recipe.changed(training={"supervised_start": 0, "coarse_start": 0.0})
    learner = TrainingState(recipe, torch.device(device))
    batches = Batches(scans.labelled, scans.unlabelled, recipe)
    taken = []
    for step in range(1, TRIAL_STEPS + 1):
        start = now()
        losses = diffcl_step(learner, batches(step).to(learner.device), step)
        learner.learn(losses.cs, losses.ds, step)
        taken.append(now() - start)
    a_step = min(taken[1:])
    if not scans.validation:
        return Costs(a_step, 0.0)
    ds = None if learner.ds is None else learner.ds.teacher.eval()
    model = unpublished(recipe, learner.cs.teacher.eval(), ds, learner.device)
    first = scans.validation[0]
    start = now()
    Predictor(model)(first.scan)
    # What untrained networks find is noise, whose outlines take minutes to compare: the label stands for it.
    evaluate_case(first.truth, first.truth, recipe.labels)
    share = sum(map(_voxels, scans.validation)) / _voxels(first)
    return Costs(a_step, (now() - start) * share)


def _voxels(scan: ValidationScan) -> int:
    x, y, z = scan.grid.size
    return x * y * z
