"""How much DS counts in the ensemble, chosen on validation scans, and how good each network is on them.

Every scan is asked once: weights are tried on the answers, with the Predictor's own `ask`, `restore` and
`decide`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffcl.data.grid import Geometry, voxels
from diffcl.data.prepare import prepare
from diffcl.evaluation.metrics import dice
from diffcl.inference.ensemble import ask
from diffcl.inference.model import Model
from diffcl.inference.predictor import decide
from diffcl.recipe import Recipe
from diffcl.training.validation import CaseScore, Scores, ValidationScan, score_case

WEIGHTS_TRIED = tuple(step / 10 for step in range(11))


@dataclass(frozen=True)
class Answer:
    """What both networks say of a validation scan, on the scan's own grid.

    Attributes:
        case: Name of the scan.
        grid: Its grid.
        truth: Class values `(X, Y, Z)`.
        cs: Probabilities of CS `(K, X, Y, Z)`, float16 to hold many.
        ds: Probabilities of DS, likewise.
        disagreement: 1 - Dice between both outlines.
    """

    case: str
    grid: Geometry
    truth: NDArray[Any]
    cs: NDArray[Any]
    ds: NDArray[Any]
    disagreement: float | None

    def label(self, weight: float, recipe: Recipe) -> NDArray[Any]:
        """The label `(X, Y, Z)` of the ensemble in which DS has a weight."""
        return decide((1 - weight) * self.cs.astype(np.float32) + weight * self.ds.astype(np.float32), recipe)


def weigh(model: Model, scans: Sequence[ValidationScan]) -> tuple[float, dict[str, Scores]]:
    """The best weight of DS, and the scores of the `ensemble` with it, of `cs` and of `ds`.

    The best weight has the highest mean Dice; of several, the one nearest to a half.

    Args:
        model: The networks.
        scans: At least one.
    """
    recipe = model.info.recipe
    answers = [_answer(model, scan) for scan in scans]

    def quality(weight: float) -> tuple[float, float]:
        every = [_mean_dice(answer.label(weight, recipe), answer.truth, recipe) for answer in answers]
        return round(float(np.mean(every)), 4), -abs(weight - 0.5)

    best = max(WEIGHTS_TRIED, key=quality)
    weights = {"ensemble": best, "cs": 0.0, "ds": 1.0}
    return best, {name: _scores(answers, weight, recipe) for name, weight in weights.items()}


def _answer(model: Model, judge: ValidationScan) -> Answer:
    recipe = model.info.recipe
    prepared = prepare(judge.scan, recipe)
    opinions = ask(prepared.image.to(model.device), recipe, model.cs, model.ds)
    assert opinions.cs is not None
    assert opinions.ds is not None
    cs, ds = (prepared.restore(one).astype(np.float16) for one in (opinions.cs, opinions.ds))
    truth = voxels(judge.truth)
    return Answer(judge.scan.name, prepared.original, truth, cs, ds, opinions.disagreement)


def _mean_dice(label: NDArray[Any], truth: NDArray[Any], recipe: Recipe) -> float:
    return float(np.mean([dice(label == entry.value, truth == entry.value) for entry in recipe.labels]))


def _scores(answers: Sequence[Answer], weight: float, recipe: Recipe) -> Scores:
    scores: list[CaseScore] = []
    for answer in answers:
        found, truth = (answer.grid.place(label) for label in (answer.label(weight, recipe), answer.truth))
        scores.append(score_case(answer.case, found, truth, recipe, answer.disagreement))
    return Scores(tuple(scores))
