"""MONAI Label's interactive tasks: clicks (SmartEdit, Point Prompts) and drawn slices (Scribbles) of a scan."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import SimpleITK as sitk
from monailabel.interfaces.tasks.infer_v2 import InferTask, InferType

from diffcl.errors import UsageError, named, unknown_name
from diffcl.geometry import Geometry, voxels
from diffcl.inference import Prediction
from diffcl.inference.interactive.completion import Begun, Completion
from diffcl.inference.interactive.planes import Plane
from diffcl.inference.interactive.points import clicks_of, read_points
from diffcl.inference.interactive.segments import (
    CHOICES,
    Choice,
    read_segments,
    segments_of,
    within,
)
from diffcl.inference.served_models import ServedModels
from diffcl.inference.summary import origin
from diffcl.io import Scan
from diffcl.labels import UNKNOWN
from diffcl.models import ModelInfo
from diffcl.recipe import Recipe
from diffcl.studies.label_meaning import CHECK_HERE
from diffcl.web.http_errors import refusals
from diffcl.web.options import NETWORKS, InferOptions, check_options

CLICKS = "_clicks"
"""Ending of the name of the task that clicks correct."""

COMPLETE = "_complete"
"""Ending of the name of the task that finishes what is drawn."""


class CompletionOptions(InferOptions):
    """What a client may ask of a completion.

    Attributes:
        known: What of the segments is known, see `diffcl.inference.interactive.segments.Choice`; by default slices, or
            the drawn voxels where no slice is drawn.
        plane: In which the slices are drawn; `any` lets it be found.
        selected_label_name: The class that is wanted alone, as value 1; Slicer's *Scribbles* shows no other.
    """

    known: Choice | None = None
    plane: Literal["any", Plane] = "any"
    selected_label_name: str = ""


class FinishingTask(InferTask):
    """What both interactive tasks share: the model, its classes, and the answer.

    Args:
        model: The current version of the model; None for a task that has none yet.
        recipe: Of the task.
        models: Where predictions come from.
    """

    saves_labels = False

    def __init__(self, model: ModelInfo | None, recipe: Recipe, models: ServedModels) -> None:
        self.recipe = recipe
        self._model = model
        self._models = models
        self._classes = {label.name: label.value for label in recipe.labels}
        title = recipe.title or recipe.name
        super().__init__(
            type=self.kind(),
            labels=dict(self._classes),
            dimension=3,
            description=f"{self.purpose(model)}: {title}, {'no model yet' if model is None else origin(model)}",
            config=self.options(),
        )

    def kind(self) -> InferType:
        """The list of the viewers in which the task stands."""
        raise NotImplementedError

    def purpose(self, model: ModelInfo | None) -> str:
        """What the task is for, in words."""
        raise NotImplementedError

    def options(self) -> dict[str, Any]:
        """Options that the viewers show, with their defaults."""
        return {"networks": list(NETWORKS)} if self._model is not None else {}

    def is_valid(self) -> bool:
        """Whether the task is offered: always."""
        return True

    def decide(self, request: dict[str, Any], scan: Scan) -> Callable[[Prediction | None], Begun]:
        """What the request says of the label; all that can be refused without the prediction is refused before."""
        raise NotImplementedError

    def __call__(self, request: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """Answer a request whose `image` is the path of a scan.

        Args:
            request: `image`, perhaps `case`, its name for people, `drawn`, the path of a label that came with it, the
                options, and what is clicked or drawn.

        Returns:
            A temporary file, and the params: names and values of the labels, what was known, volumes, warnings.

        Raises:
            HTTPException: 4xx with a sentence.
        """
        with refusals():
            options = check_options(CompletionOptions, request)
            path = Path(request["image"])
            with named(str(request.get("case") or path.name)):
                found = self._models.finish(
                    None if self._model is None else self._model.name,
                    path,
                    self._classes,
                    partial(self.decide, request),
                    networks=options.networks,
                    seed=options.seed,
                )
            image, names = self.answer(found, options)
            file = options.write(image)
        return str(file), {
            "label_names": names,
            "summary": ". ".join([found.known, *found.warnings]),
            "known": found.known,
            "volumes_ml": found.volumes_ml,
            "warnings": found.warnings,
            "model": "" if self._model is None else self._model.name,
            "version": 0 if self._model is None else self._model.version,
            "latencies": {"total": found.seconds},
        }

    def answer(self, found: Completion, options: CompletionOptions) -> tuple[sitk.Image, dict[str, int]]:  # noqa: ARG002
        """The label map that is sent, and the names of its values."""
        return found.label, dict(self._classes)

    def _elsewhere(self) -> set[str]:
        """Names of classes of other tasks of this server."""
        return {label.name for recipe in self._models.recipes().values() for label in recipe.labels} - set(
            self._classes
        )


class ClicksTask(FinishingTask):
    """A proposal, or a label that comes with the request, corrected by clicks: *SmartEdit* and *Point Prompts*.

    The params hold, for each class by name and for `background`, a list of voxel indices of the scan as it is stored.
    """

    def kind(self) -> InferType:  # noqa: D102
        return InferType.DEEPEDIT

    def purpose(self, model: ModelInfo | None) -> str:  # noqa: ARG002, D102
        return "Corrects the outline around your clicks"

    def decide(self, request: dict[str, Any], scan: Scan) -> Callable[[Prediction | None], Begun]:
        """Clicks on the proposal, or on the label that came with the request."""
        geometry = Geometry.of(scan.image)
        clicks = clicks_of(request, self._classes, {*self._elsewhere(), *CompletionOptions.model_fields})
        known = read_points(clicks, self._classes, geometry.size, scan.name)
        start = None
        if "drawn" in request:
            segments = segments_of(request, self._classes, scan.name)
            start, unknown, _ = segments.classes(
                self._classes, self.recipe.name, {*self._elsewhere(), CHECK_HERE}, geometry
            )
            start[unknown] = UNKNOWN
        roi = request.get("roi")
        begun = Begun(known, start, within(roi, geometry.size) if roi else None)
        return lambda _: begun


class CompleteTask(FinishingTask):
    """A label of which some slices are drawn, finished: *Scribbles*, which sends all segments as they are drawn.

    The answer to a request with a `selected_label_name` is that class alone, as value 1, as Slicer reads it; otherwise
    all classes.
    """

    def kind(self) -> InferType:  # noqa: D102
        return InferType.SCRIBBLES

    def purpose(self, model: ModelInfo | None) -> str:  # noqa: D102
        return "Finishes what you drew in some slices" + ("" if model else ", between them")

    def options(self) -> dict[str, Any]:  # noqa: D102
        choices = [choice for choice in CHOICES if self._model is not None or choice != "touched"]
        return {**super().options(), "known": choices, "plane": ["any", *get_args(Plane)]}

    def decide(self, request: dict[str, Any], scan: Scan) -> Callable[[Prediction | None], Begun]:
        """What the segments of the request say is known."""
        geometry, options = Geometry.of(scan.image), check_options(CompletionOptions, request)
        chosen = options.selected_label_name
        if chosen and chosen not in self._classes:
            raise unknown_name("class", chosen, self._classes)
        if "drawn" not in request:
            raise UsageError(scan.name, "no segments came with the request", "Send the file of them as label")
        drawn = read_segments(
            segments_of(request, self._classes, scan.name),
            self._classes,
            geometry,
            options.known,
            task=self.recipe.name,
            elsewhere={*self._elsewhere(), CHECK_HERE},
            plane=None if options.plane == "any" else options.plane,
            model=self._model is not None,
        )
        roi = request.get("roi")
        box = within(roi, geometry.size) if roi else None

        def begun(prediction: Prediction | None) -> Begun:
            known = drawn.known(None if prediction is None else voxels(prediction.label))
            return Begun(known, inside=None if box is None else box | (drawn.classes > 0) & known.mask)

        return begun

    def answer(self, found: Completion, options: CompletionOptions) -> tuple[sitk.Image, dict[str, int]]:
        """The chosen class alone, as value 1, or all of them."""
        chosen = options.selected_label_name
        if not chosen:
            return super().answer(found, options)
        alone = (voxels(found.label) == self._classes[chosen]).astype(np.uint8)
        return Geometry.of(found.label).place(alone), {chosen: 1}
