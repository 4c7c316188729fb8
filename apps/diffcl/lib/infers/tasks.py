"""MONAI Label's inference tasks over the Predictor: a label, or a map of its uncertainty, of one scan."""

from __future__ import annotations

import logging
from collections.abc import ItemsView, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import SimpleITK as sitk
from fastapi import HTTPException
from monailabel.interfaces.tasks.infer_v2 import InferTask, InferType

from diffcl.errors import DiffclError, named
from diffcl.inference import Prediction
from diffcl.inference.expected_error import places_to_check
from diffcl.inference.served_models import ServedModels
from diffcl.inference.summary import origin, summary
from diffcl.inference.together import SEPARATOR, Together, joint_classes
from diffcl.models import ModelInfo
from diffcl.recipe import Recipe
from diffcl.studies.label_meaning import CHECK_HERE
from diffcl.web.http_errors import refusals
from diffcl.web.options import NETWORKS, InferOptions, check_options
from lib.infers.interactive import CLICKS, COMPLETE, ClicksTask, CompleteTask

logger = logging.getLogger(__name__)

UNCERTAINTY = "_uncertainty"
"""Ending of the name of a model's second task."""


Answer = TypeVar("Answer", Prediction, Together)


class ScanTask(InferTask, Generic[Answer]):
    """What the tasks share that answer a request about a scan: read its options, predict, write the answer.

    Attributes:
        prediction: The answer to the last request, as the library gave it.
        saves_labels: Whether its results may be kept as labels of a scan.
    """

    prediction: Answer | None = None
    saves_labels = True

    def is_valid(self) -> bool:
        """Whether the task is offered: always, a damaged model has none."""
        return True

    def __call__(self, request: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """Answer a request whose `image` is the path of a scan.

        Args:
            request: `image`, perhaps `case`, its name for people, and the options.

        Returns:
            A temporary file, and the params: names and values of the labels, model and version, report.

        Raises:
            HTTPException: 4xx with a sentence, if an option, the scan or the model cannot be used.
        """
        with refusals():
            options = check_options(InferOptions, request)
            path = Path(request["image"])
            with named(str(request.get("case") or path.name)):
                found = self._predict(path, options)
            file = options.write(self._image(found, options))
        self.prediction = found
        return str(file), self._params(found, options)

    def _predict(self, path: Path, options: InferOptions) -> Answer:
        """The answer."""
        raise NotImplementedError

    def _image(self, found: Answer, options: InferOptions) -> sitk.Image:
        """What of the answer is sent as an image."""
        raise NotImplementedError

    def _params(self, found: Answer, options: InferOptions) -> dict[str, Any]:
        """What of the answer is sent in words and numbers."""
        raise NotImplementedError


class PredictionTask(ScanTask[Prediction]):
    """What both tasks of a model share.

    Args:
        info: The current version of the model.
        models: Where predictions come from.

    Attributes:
        recipe: That of the version that was current when the task was made.
    """

    kind = InferType.OTHERS
    saves_labels = False
    more_options: ClassVar[Mapping[str, Any]] = {}
    """Options beside those that both tasks have, with their defaults."""

    def __init__(self, info: ModelInfo, models: ServedModels) -> None:
        super().__init__(
            type=self.kind,
            labels=self._labels([label.name for label in info.recipe.labels]),
            dimension=3,
            description=self._description(info),
            config={"networks": list(NETWORKS), "seed": info.recipe.inference.seed, **self.more_options},
        )
        self.recipe = info.recipe
        self._name = info.name
        self._models = models

    def _predict(self, path: Path, options: InferOptions) -> Prediction:
        return self._models.predict(self._name, path, networks=options.networks, seed=options.seed)

    def _params(self, found: Prediction, options: InferOptions) -> dict[str, Any]:
        report = found.report
        return {
            "label_names": self._names(found, options),
            "summary": summary(report),
            "model": report.model,
            "version": report.version,
            "report": report.model_dump(mode="json"),
            "latencies": {**report.seconds, "total": round(sum(report.seconds.values()), 4)},
        }

    def _labels(self, names: list[str]) -> dict[str, int]:  # noqa: ARG002
        return {}

    def _description(self, info: ModelInfo) -> str:
        raise NotImplementedError

    def _names(self, prediction: Prediction, options: InferOptions) -> dict[str, int]:  # noqa: ARG002
        """Names and values of what the answer holds."""
        return self._labels(list(prediction.report.volumes_ml))


class SegmentationTask(PredictionTask):
    """The label of a scan: values 1..N in the order of the labels, as Slicer and OHIF expect them.

    On request value N+1 marks where to look, over whatever class is there.
    """

    kind = InferType.SEGMENTATION
    saves_labels = True
    more_options: ClassVar[Mapping[str, Any]] = {"check_here": False}

    def _labels(self, names: list[str]) -> dict[str, int]:
        return {name: value for value, name in enumerate(names, start=1)}

    def _description(self, info: ModelInfo) -> str:
        return f"{info.recipe.title or info.name}, {origin(info)}"

    def _names(self, prediction: Prediction, options: InferOptions) -> dict[str, int]:
        names = super()._names(prediction, options)
        return {**names, CHECK_HERE: len(names) + 1} if options.check_here else names

    def _image(self, found: Prediction, options: InferOptions) -> sitk.Image:
        if not options.check_here:
            return found.label
        marked = places_to_check(found.uncertainty, self.recipe.grid.spacing)
        value = len(found.report.volumes_ml) + 1
        image: sitk.Image = sitk.Mask(found.label, marked, value, 1)
        return image


class UncertaintyTask(PredictionTask):
    """Where the networks doubt: 0 is sure, 255 means that all classes are equally likely."""

    def _description(self, info: ModelInfo) -> str:
        return f"Uncertainty, 0 sure, 255 all classes equally likely, of {info.name}, {origin(info)}"

    def _image(self, found: Prediction, options: InferOptions) -> sitk.Image:  # noqa: ARG002
        scaled: sitk.Image = sitk.Cast(sitk.Round(found.uncertainty * 255), sitk.sitkUInt8)
        return scaled


class TogetherTask(ScanTask[Together]):
    """The label of a scan by several models at once, NAME+NAME; where two found something, the more probable stands.

    Of its params `version` and `report` are those of the first model, `versions` and `reports` of all.

    Args:
        names: Of the models.
        models: Where predictions come from.
    """

    def __init__(self, names: Sequence[str], models: ServedModels) -> None:
        classes = joint_classes([models.info(name).recipe for name in names])
        super().__init__(
            type=InferType.SEGMENTATION,
            labels={entry.name: entry.value for entry in classes},
            dimension=3,
            description=f"{' and '.join(names)} together",
            config={"networks": list(NETWORKS)},
        )
        self._names = names
        self._models = models

    def _predict(self, path: Path, options: InferOptions) -> Together:
        return self._models.predict_together(self._names, path, networks=options.networks, seed=options.seed)

    def _image(self, found: Together, options: InferOptions) -> sitk.Image:  # noqa: ARG002
        return found.label

    def _params(self, found: Together, options: InferOptions) -> dict[str, Any]:  # noqa: ARG002
        first = found.reports[0]
        seconds = sum(sum(report.seconds.values()) for report in found.reports)
        return {
            "label_names": {entry.name: entry.value for entry in found.classes},
            "summary": ". ".join(summary(report) for report in found.reports),
            "model": found.model,
            "version": first.version,
            "versions": {report.model: report.version for report in found.reports},
            "report": first.model_dump(mode="json"),
            "reports": [report.model_dump(mode="json") for report in found.reports],
            "latencies": {"total": round(seconds, 4)},
        }


class UntrainedTask(InferTask):
    """Stands for the model of a task until one is trained: viewers learn the labels from it."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__(
            type=InferType.SEGMENTATION,
            labels={label.name: label.value for label in recipe.labels},
            dimension=3,
            description=f"{recipe.title or recipe.name}: no model yet",
        )
        self._name = recipe.name

    def is_valid(self) -> bool:
        """Whether the task is offered: always."""
        return True

    def __call__(self, request: dict[str, Any]) -> tuple[str, dict[str, Any]]:  # noqa: ARG002
        """Say what to do.

        Raises:
            HTTPException: 409, always.
        """
        raise HTTPException(409, f"task {self._name}: no model yet. Label some scans, submit them and train")


class InferTasks(Mapping[str, InferTask]):
    """The tasks of every served model, of the version that is current now, one for each list of the viewers.

    NAME segments, NAME_uncertainty shows doubt, NAME_clicks corrects by clicks, NAME_complete finishes what is drawn.
    Several of the models together, NAME+NAME, are known as well, and not listed. A damaged model has no task; the log
    says why. A task without a model has one that says so, and NAME_complete, which interpolates between drawn slices.
    """

    def __init__(self, models: ServedModels) -> None:
        self._models = models

    def __getitem__(self, name: str) -> InferTask:
        several = name.split(SEPARATOR)
        if (
            len(several) > 1
            and len(set(several)) == len(several)
            and set(several) <= set(self._models.names())
        ):
            try:
                return TogetherTask(several, self._models)
            except DiffclError as error:
                logger.error(str(error))
                raise KeyError(name) from error
        return dict(self.items())[name]

    def items(self) -> ItemsView[str, InferTask]:
        """All that are listed, by name; everything of a model is read once."""
        found: dict[str, InferTask] = {}
        for name in self._models.names():
            try:
                info = self._models.info(name)
            except DiffclError as error:
                logger.error(str(error))
                continue
            found[name] = SegmentationTask(info, self._models)
            found[name + UNCERTAINTY] = UncertaintyTask(info, self._models)
            found[name + CLICKS] = ClicksTask(info, info.recipe, self._models)
            found[name + COMPLETE] = CompleteTask(info, info.recipe, self._models)
        for name, recipe in self._models.untrained().items():
            found[name] = UntrainedTask(recipe)
            found[name + COMPLETE] = CompleteTask(None, recipe, self._models)
        return found.items()

    def __iter__(self) -> Iterator[str]:
        return iter(dict(self.items()))

    def __len__(self) -> int:
        return len(self.items())
