"""The predictions of several models on one scan as one label map."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from diffcl.geometry import Geometry, voxels
from diffcl.inference.predictor import Prediction, Report
from diffcl.labels import LabelClass, distinct_names
from diffcl.recipe import Recipe

SEPARATOR = "+"
"""Between the names of the models that are asked together."""


@dataclass(frozen=True)
class Together:
    """What several models say of one scan.

    Attributes:
        label: Values of the classes on the scan's grid, uint8.
        classes: The classes of all models with the values that they have here, and names that differ.
        reports: Of each model.
    """

    label: sitk.Image
    classes: Sequence[LabelClass]
    reports: Sequence[Report]

    @property
    def model(self) -> str:
        """The names of the models."""
        return SEPARATOR.join(report.model for report in self.reports)


def together(recipes: Sequence[Recipe], predictions: Iterable[Prediction]) -> Together:
    """One label map of the predictions of several models. Where two found something, the more probable class stands.

    Of two that are as probable, the first one stands. The values are 1..N, in the order of the models and of their
    classes.

    Args:
        recipes: Of the models.
        predictions: What each of them said, with probabilities; one at a time is held in memory.
    """
    classes = joint_classes(recipes)
    values, likely, grid = np.empty(0, np.uint8), np.empty(0, np.float32), None
    reports, first = [], 0
    for recipe, prediction in zip(recipes, predictions, strict=True):
        if grid is None:
            grid = Geometry.of(prediction.label)
            values, likely = grid.zeros(np.uint8), grid.zeros(np.float32)
        own = voxels(prediction.label)
        for place, entry in enumerate(recipe.labels):
            probability = voxels(prediction.probabilities[place])
            wins = (own == entry.value) & (probability > likely)
            values[wins] = first + place + 1
            likely[wins] = probability[wins]
        first += len(recipe.labels)
        reports.append(prediction.report)
    if grid is None:
        raise ValueError("no model was asked")
    return Together(grid.place(values), classes, reports)


def joint_classes(recipes: Sequence[Recipe]) -> list[LabelClass]:
    """The classes of several tasks with values 1..N and names that differ."""
    named = distinct_names([(recipe.name, [entry.name for entry in recipe.labels]) for recipe in recipes])
    pairs = [
        (entry, name)
        for recipe, names in zip(recipes, named, strict=True)
        for entry, name in zip(recipe.labels, names, strict=True)
    ]
    return [
        entry.model_copy(update={"value": value, "name": name, "sources": ()})
        for value, (entry, name) in enumerate(pairs, start=1)
    ]
