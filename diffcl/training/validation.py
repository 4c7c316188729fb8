"""Validation by the Predictor that users get, on the scans' own grids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from math import isfinite
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch

from diffcl.data.cases import LabelledCase
from diffcl.data.preprocess import to_classes
from diffcl.evaluation.calibration import Reliability, failure_auc, rank_correlation
from diffcl.evaluation.metrics import evaluate_case
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

FAILED = 0.85
"""Dice below which a prediction counts as one that doubt should have found."""

FEWEST_TO_RANK = 8
"""Scans from which an order of them means something."""


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


@dataclass(frozen=True)
class CaseScore:
    """How good one prediction is; means over the foreground classes.

    Attributes:
        case: Name of the scan.
        dice: 0..1.
        hd95: Millimetres; infinite where only one of label and prediction is empty.
        disagreement: The report's, None where one network was asked.
        doubt: The report's.
    """

    case: str
    dice: float
    hd95: float
    disagreement: float | None
    doubt: float = 0.0


@dataclass(frozen=True)
class Scores:
    """Scores of all validation scans.

    Attributes:
        cases: One a scan.
        reliability: How often the probabilities are right; None where that was not measured.
    """

    cases: tuple[CaseScore, ...]
    reliability: Reliability | None = None

    @property
    def dice(self) -> float:
        """Mean Dice over the scans."""
        return float(np.mean([case.dice for case in self.cases]))

    @property
    def hd95(self) -> float:
        """Mean HD95 over the scans, mm."""
        return float(np.mean([case.hd95 for case in self.cases]))

    @property
    def worst(self) -> CaseScore:
        """The scan with the lowest Dice."""
        return min(self.cases, key=lambda case: case.dice)

    def numbers(self) -> dict[str, float]:
        """The summary, for a journal or card.

        `doubt_rank` and `failure_auc` say how well doubt finds bad predictions; they are left out where they
        mean nothing, as with few scans.
        """
        numbers = {
            "dice": round(self.dice, 4),
            "dice_sd": round(float(np.std([case.dice for case in self.cases])), 4),
            "dice_worst": round(self.worst.dice, 4),
            "hd95_mm": round(self.hd95, 3),
            "scans": len(self.cases),
        }
        if len(self.cases) >= FEWEST_TO_RANK:
            doubts = [case.doubt for case in self.cases]
            rank = rank_correlation(doubts, [1 - case.dice for case in self.cases])
            area = failure_auc(doubts, [case.dice < FAILED for case in self.cases])
            numbers |= {
                name: value
                for name, value in (("doubt_rank", rank), ("failure_auc", area))
                if isfinite(value)
            }
        if self.reliability is not None:
            numbers["calibration_error"] = self.reliability.expected_calibration_error
        return numbers

    def to_json(self) -> list[dict[str, Any]]:
        """Plain values for `from_json`."""
        return [asdict(case) for case in self.cases]

    @classmethod
    def from_json(cls, content: list[dict[str, Any]] | None) -> Scores | None:
        """What `to_json` gave; None stays None."""
        return None if content is None else cls(tuple(CaseScore(**case) for case in content))


def unpublished(
    recipe: Recipe, cs: ConvolutionSegmenter, ds: DiffusionSegmenter | None, device: torch.device
) -> Model:
    """Networks in training as a model that the Predictor takes. Without DS, it is a new one, not to be asked."""
    other = DiffusionSegmenter(recipe).to(device) if ds is None else ds
    info = ModelInfo(name=recipe.name, version=0, created="", recipe=recipe,
                     profile=Profile(modality=recipe.modality))  # fmt: skip
    return Model(info, cs, other, device)


def score_case(
    name: str, found: sitk.Image, truth: sitk.Image, recipe: Recipe, disagreement: float | None, doubt: float
) -> CaseScore:
    """Compare the label that was found with the true one, both on the scan's grid."""
    classes = evaluate_case(found, truth, recipe.labels)
    dice = float(np.mean([one.dice for one in classes]))
    return CaseScore(name, dice, float(np.mean([one.hd95 for one in classes])), disagreement, doubt)


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
        doubts = found.report.disagreement, found.report.doubt
        scores.append(score_case(one.scan.name, found.label, one.truth, model.info.recipe, *doubts))
    model.cs.train(training)
    model.ds.train(training)
    return Scores(tuple(unite(scores)))
