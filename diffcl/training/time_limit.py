"""How many steps fit into a time."""

from __future__ import annotations

from time import perf_counter

import torch

from diffcl.data.batches import Batches
from diffcl.recipe import Recipe
from diffcl.training.scans import Scans
from diffcl.training.state import TrainingState
from diffcl.training.step import diffcl_step
from diffcl.training.validation import unpublished, validate

JUDGEMENTS = 6
"""How often the validation scans are predicted: four validations at most, and both sides of the gate."""

TRIAL_STEPS = 3
"""The first of which waits for libraries and does not count."""


def fitting_steps(seconds: float, recipe: Recipe, scans: Scans, device: str) -> tuple[int, float]:
    """How many steps, and how many seconds for them, leave time to judge the result; found by a trial.

    Nothing is kept of the trial.

    Args:
        seconds: For all together, the trial included.
        recipe: Decides how long a step takes.
        scans: The first validation scan stands for all.
        device: Where to compute.

    Returns:
        At least one step, and seconds from the end of this call.
    """
    begin = perf_counter()
    recipe = recipe.changed(training={"supervised_start": 0})
    learner = TrainingState(recipe, torch.device(device))
    batches = Batches(scans.labelled, scans.unlabelled, recipe)
    for step in range(1, TRIAL_STEPS + 1):
        start = perf_counter()
        losses = diffcl_step(learner, batches(step).to(learner.device), step)
        learner.learn(losses.cs, losses.ds, step)
        a_step = perf_counter() - start
    start = perf_counter()
    ds = None if learner.ds is None else learner.ds.teacher
    if scans.validation:
        validate(scans.validation[:1], unpublished(recipe, learner.cs.teacher, ds, learner.device))
    judging = JUDGEMENTS * len(scans.validation) * (perf_counter() - start)
    left = seconds - (perf_counter() - begin) - judging
    return max(1, int(left / a_step)), max(0.0, left)
