"""What a machine takes for the parts of a training, found by a trial of a few steps."""

from __future__ import annotations

import math
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
from diffcl.training.threads import Threads
from diffcl.training.validation import ValidationScan, unpublished

TRIAL_STEPS = 3
"""At least. The first one waits for libraries and does not count; of the others the quickest one does."""

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


def measure_costs(
    recipe: Recipe, scans: Scans, device: str, now: Clock = monotonic, threads: Threads | None = None
) -> Costs:
    """What a step takes here, and predicting the validation scans, by a trial of which nothing is kept.

    Args:
        recipe: Decides how long a step takes.
        scans: The first validation scan stands for all, by their voxels.
        device: Where to compute.
        now: The clock.
        threads: Chooses, by these steps, how many threads the training takes at first; by default nobody does.
    """
    recipe = recipe.changed(training={"supervised_start": 0, "coarse_start": 0.0})
    learner = TrainingState(recipe, torch.device(device))
    batches = Batches(scans.labelled, scans.unlabelled, recipe)
    taken: dict[int, float] = {}
    numbers = threads.numbers if threads else [torch.get_num_threads()]
    for step, number in enumerate([numbers[0], *_as_many(numbers, TRIAL_STEPS - 1)], start=1):
        torch.set_num_threads(number)
        start = now()
        losses = diffcl_step(learner, batches(step).to(learner.device), step)
        learner.learn(losses.cs, losses.ds, step)
        if step > 1:
            taken[number] = min(now() - start, taken.get(number, math.inf))
    if threads:
        threads.choose(taken)
    a_step = min(taken.values())
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


def _as_many(numbers: list[int], count: int) -> list[int]:
    """All of them, the first one again where there are fewer.

    >>> _as_many([2], 2), _as_many([2, 1], 2), _as_many([4, 2, 8], 2)
    ([2, 2], [2, 1], [4, 2, 8])
    """
    return [numbers[0]] * (count - len(numbers)) + numbers


def _voxels(scan: ValidationScan) -> int:
    x, y, z = scan.grid.size
    return x * y * z
