"""Validation by the Predictor that users get, on the scans' own grids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import SimpleITK as sitk
import torch

from diffcl.data.cases import LabelledCase
from diffcl.data.preprocess import to_classes
from diffcl.evaluation.metrics import evaluate_case
from diffcl.evaluation.scores import CaseScore, Scores
from diffcl.geometry import Geometry
from diffcl.inference.ensemble import Networks
from diffcl.inference.predictor import Predictor
from diffcl.io import Scan, read_label, read_scan
from diffcl.models.metadata import ModelInfo
from diffcl.models.profile import Profile
from diffcl.models.weights import Model
from diffcl.networks.cs import ConvolutionSegmenter
from diffcl.networks.ds import DiffusionSegmenter
from diffcl.recipe import Recipe
from diffcl.training.distributed import share, unite


@dataclass(frozen=True)
class ValidationScan:
    """A scan that validates, in memory.

    Attributes:
        scan: As it is.
        truth: Values of the task's classes on its grid, uint8.
    """

    scan: Scan
    truth: sitk.Image


def read_validation(case: LabelledCase, recipe: Recipe) -> ValidationScan:
    """Read a validation case.

    Raises:
        ScanError: If the scan or label cannot be read.
        DataError: If they do not fit each other or the recipe.
    """
    scan = replace(read_scan(case.image), name=case.name)
    truth = to_classes(read_label(case.label), Geometry.of(scan.image), recipe, case.label)
    return ValidationScan(scan, truth)


def unpublished(
    recipe: Recipe, cs: ConvolutionSegmenter, ds: DiffusionSegmenter | None, device: torch.device
) -> Model:
    """Networks in training as a model that the Predictor takes. Without DS, it is a new one, not to be asked."""
    other = DiffusionSegmenter(recipe).to(device) if ds is None else ds
    info = ModelInfo(name=recipe.name, version=0, created="", recipe=recipe,
                     profile=Profile(modality=recipe.modality))  # fmt: skip
    return Model(info, cs, other, device)


def validate(scans: Sequence[ValidationScan], model: Model, *, networks: Networks = "ensemble") -> Scores:
    """Predict every scan and compare with its label, both on the scan's own grid; shared among the processes.

    The networks are put into evaluation mode and back.
    """
    training = model.cs.training
    model.cs.eval()
    model.ds.eval()
    predictor = Predictor(model)
    scores = []
    for one in share(scans):
        found = predictor(one.scan, networks=networks)
        classes = evaluate_case(found.label, one.truth, model.info.recipe.labels)
        scores.append(CaseScore(one.scan.name, classes, found.report.disagreement, found.report.doubt))
    model.cs.train(training)
    model.ds.train(training)
    return Scores(tuple(unite(scores)))
