"""How much DS counts in the ensemble, chosen on validation scans, and how good each network is on them.

Every scan is predicted once: weights are tried on the probabilities, with the Predictor's own
`predict_probabilities`, `restore` and `decide`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffcl.data.preprocess import prepare
from diffcl.evaluation.calibration import Reliability
from diffcl.evaluation.metrics import dice
from diffcl.geometry import Geometry, voxels
from diffcl.inference.ensemble import NetworkProbabilities, predict_probabilities
from diffcl.inference.expected_error import expected_error
from diffcl.inference.predictor import decide
from diffcl.models.weights import Model
from diffcl.recipe import Recipe
from diffcl.training.validation import CaseScore, Scores, ValidationScan, score_case

WEIGHTS_TRIED = tuple(step / 10 for step in range(11))


@dataclass(frozen=True)
class Answer:
    """What both networks say of a validation scan; numbers are float16 to hold many.

    Attributes:
        case: Name of the scan.
        grid: Its grid.
        truth: Class values on it `(X, Y, Z)`.
        cs: Probabilities of CS on it `(K, X, Y, Z)`.
        ds: Probabilities of DS, likewise.
        opinions: Of both on the working grid.
    """

    case: str
    grid: Geometry
    truth: NDArray[Any]
    cs: NDArray[Any]
    ds: NDArray[Any]
    opinions: NetworkProbabilities

    def probabilities(self, weight: float) -> NDArray[Any]:
        """Of the ensemble in which DS has a weight `(K, X, Y, Z)`."""
        mixed: NDArray[Any] = (1 - weight) * self.cs.astype(np.float32) + weight * self.ds.astype(np.float32)
        return mixed

    def expected_error(self, weight: float) -> float:
        """The doubt of a report in which DS has a weight."""
        cs, ds = self.opinions.cs, self.opinions.ds
        assert cs is not None
        assert ds is not None
        return expected_error((1 - weight) * cs.float() + weight * ds.float())


def choose_ensemble_weight(model: Model, scans: Sequence[ValidationScan]) -> tuple[float, dict[str, Scores]]:
    """The best weight of DS, and the scores of the `ensemble` with it, of `cs` and of `ds`.

    The best weight has the highest mean Dice; of several, the one nearest to a half.

    Args:
        model: The networks.
        scans: At least one.
    """
    recipe = model.info.recipe
    answers = [_answer(model, scan) for scan in scans]

    def quality(weight: float) -> tuple[float, float]:
        every = [
            _mean_dice(decide(answer.probabilities(weight), recipe), answer.truth, recipe)
            for answer in answers
        ]
        return round(float(np.mean(every)), 4), -abs(weight - 0.5)

    best = max(WEIGHTS_TRIED, key=quality)
    return best, {
        "ensemble": _scores(answers, best, recipe),
        "cs": _scores(answers, 0.0, recipe, alone=True),
        "ds": _scores(answers, 1.0, recipe, alone=True),
    }


def _answer(model: Model, validation_scan: ValidationScan) -> Answer:
    recipe = model.info.recipe
    prepared = prepare(validation_scan.scan, recipe)
    opinions = predict_probabilities(prepared.image.to(model.device), recipe, model.cs, model.ds)
    assert opinions.cs is not None
    assert opinions.ds is not None
    cs, ds = (prepared.restore(one).astype(np.float16) for one in (opinions.cs, opinions.ds))
    small = NetworkProbabilities(opinions.cs.half(), opinions.ds.half(), opinions.mean.half())
    return Answer(validation_scan.scan.name, prepared.original, voxels(validation_scan.truth), cs, ds, small)


def _mean_dice(label: NDArray[Any], truth: NDArray[Any], recipe: Recipe) -> float:
    return float(np.mean([dice(label == entry.value, truth == entry.value) for entry in recipe.labels]))


def _scores(answers: Sequence[Answer], weight: float, recipe: Recipe, *, alone: bool = False) -> Scores:
    scores: list[CaseScore] = []
    reliability = Reliability()
    for answer in answers:
        probabilities = answer.probabilities(weight)
        reliability.add(probabilities, answer.truth)
        found, truth = (answer.grid.place(label) for label in (decide(probabilities, recipe), answer.truth))
        doubts = None if alone else answer.opinions.disagreement, answer.expected_error(weight)
        scores.append(score_case(answer.case, found, truth, recipe, *doubts))
    return Scores(tuple(scores), reliability)
