"""How much DS counts in the ensemble, chosen on validation scans, and how good each network is on them.

Every scan is predicted once, and all weights are tried on its probabilities as they come slab by slab, with the
Predictor's own `read`, `Restoration` and `keep_largest`. What stays of a scan are its numbers and,
compressed, its label maps, so that many large scans take no more memory than one.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffcl.data.preprocess import prepare
from diffcl.data.restore import Restoration
from diffcl.evaluation.calibration import CONSIDERED, Reliability
from diffcl.evaluation.metrics import dice_of, evaluate_case
from diffcl.evaluation.scores import CaseScore, Scores
from diffcl.geometry import Box, Geometry, around, extent, moved_back, moved_by, voxels
from diffcl.inference.ensemble import SLAB, Disagreement, NetworkProbabilities
from diffcl.inference.expected_error import ExpectedDice
from diffcl.inference.predictor import keep_largest
from diffcl.inference.reading import read
from diffcl.models.weights import Model
from diffcl.recipe import Recipe
from diffcl.training.validation import ValidationScan

WEIGHTS_TRIED = tuple(step / 10 for step in range(11))

UNSEEN = 0.9 * CONSIDERED
"""Where both networks give all objects together less, no mixture of theirs finds or counts anything."""


NOWHERE: Box = (slice(0, 0), slice(0, 0), slice(0, 0))
"""Where neither network finds anything."""


@dataclass(frozen=True)
class Label:
    """A label map in little memory: what lies in the box of the scan outside which it is empty.

    Attributes:
        grid: Of the scan.
        box: Part of the scan.
        content: Class values in the box, uint8, compressed.
    """

    grid: Geometry
    box: Box
    content: bytes

    @classmethod
    def of(cls, grid: Geometry, box: Box, label: NDArray[np.uint8]) -> Label:
        """The label map that has these values in a box."""
        return cls(grid, box, zlib.compress(label.tobytes(), 1))

    def values(self) -> NDArray[np.uint8]:
        """Class values of the whole scan `(X, Y, Z)`."""
        whole = self.grid.zeros(np.uint8)
        part = whole[self.box]
        part[...] = np.frombuffer(zlib.decompress(self.content), np.uint8).reshape(part.shape)
        return whole


@dataclass(frozen=True)
class Trial:
    """What an ensemble with one weight of DS says of one scan.

    Attributes:
        label: After what the recipe does to labels.
        dice: Mean Dice over the classes.
        doubt: Of a report.
        reliability: Of its probabilities.
    """

    label: Label
    dice: float
    doubt: float
    reliability: Reliability


@dataclass(frozen=True)
class Answer:
    """What both networks say of a validation scan.

    Attributes:
        scan: The scan.
        trials: By the weight of DS.
        disagreement: Of a report.
    """

    scan: ValidationScan
    trials: dict[float, Trial]
    disagreement: float | None

    def score(self, weight: float, recipe: Recipe, *, alone: bool) -> CaseScore:
        """How good the ensemble with a weight is, or the one network that has all of it."""
        trial, truth = self.trials[weight], self.scan.truth
        found = trial.label.grid.place(trial.label.values())
        classes = evaluate_case(found, truth, recipe.labels)
        return CaseScore(self.scan.name, classes, None if alone else self.disagreement, trial.doubt)


def choose_ensemble_weight(model: Model, scans: Sequence[ValidationScan]) -> tuple[float, dict[str, Scores]]:
    """The best weight of DS, and the scores of the `ensemble` with it, of `cs` and of `ds`.

    The best weight has the highest mean Dice; of several, the one nearest to a half.

    Args:
        model: The networks.
        scans: At least one.
    """
    recipe = model.info.recipe
    answers = [_answer(model, scan, WEIGHTS_TRIED) for scan in scans]

    def quality(weight: float) -> tuple[float, float]:
        mean = float(np.mean([answer.trials[weight].dice for answer in answers]))
        return round(mean, 4), -abs(weight - 0.5)

    best = max(WEIGHTS_TRIED, key=quality)
    return best, {
        "ensemble": _scores(answers, best, recipe, alone=False),
        "cs": _scores(answers, 0.0, recipe, alone=True),
        "ds": _scores(answers, 1.0, recipe, alone=True),
    }


def ensemble_scores(model: Model, scans: Sequence[ValidationScan]) -> Scores:
    """Scores of the ensemble with the weight that the model has, which those of `choose_ensemble_weight` compare with.

    Args:
        model: The networks.
        scans: At least one.
    """
    recipe = model.info.recipe
    weight = recipe.inference.ds_weight
    return _scores([_answer(model, scan, (weight,)) for scan in scans], weight, recipe, alone=False)


def _scores(answers: Sequence[Answer], weight: float, recipe: Recipe, *, alone: bool) -> Scores:
    reliability = Reliability()
    for answer in answers:
        reliability += answer.trials[weight].reliability
    return Scores(tuple(answer.score(weight, recipe, alone=alone) for answer in answers), reliability)


def _answer(model: Model, validation_scan: ValidationScan, weights: Sequence[float]) -> Answer:
    recipe = model.info.recipe
    truth = voxels(validation_scan.truth)
    prepared = prepare(validation_scan.scan, recipe)
    original = prepared.original
    ways = [Restoration(prepared.working, original) for _ in ("cs", "ds")]
    slabs = read(prepared.image.to(model.device), recipe, model.cs, model.ds, whole_scan=True).slabs
    del prepared  # the networks alone need its image, which is large, and give it up after the last window
    disagreement = Disagreement()
    doubts = [ExpectedDice(recipe.classes - 1) for _ in weights]
    reliabilities = [Reliability() for _ in weights]
    found: list[tuple[Box, list[NDArray[np.uint8]]]] = []
    for slab in slabs:
        cs, ds = slab.cs, slab.ds
        assert cs is not None
        assert ds is not None
        halves = cs.half(), ds.half()
        disagreement.add(NetworkProbabilities(*halves, cs))
        _count_doubt(weights, doubts, *halves)
        del halves
        for (where, one), (_, other) in zip(ways[0].add(cs), ways[1].add(ds), strict=True):
            found += _on_the_scan(where, one, other, truth[where], weights, reliabilities)
        del slab, cs, ds  # before the next one is made
    box = around([box for box, _ in found]) if found else NOWHERE
    trials = {}
    for place, weight in enumerate(weights):
        label = keep_largest(_joined(box, [(part, labels[place]) for part, labels in found]), recipe)
        kept = Label.of(original, box, label)
        dice = _mean_dice(label, truth, box, recipe)
        trials[weight] = Trial(kept, dice, doubts[place].error, reliabilities[place])
    return Answer(validation_scan, trials, disagreement.value)


def _on_the_scan(
    where: Box,
    one: NDArray[Any],
    other: NDArray[Any],
    there: NDArray[Any],
    weights: Sequence[float],
    reliabilities: Sequence[Reliability],
) -> list[tuple[Box, list[NDArray[np.uint8]]]]:
    """The most probable classes in a part of a scan.

    Args:
        where: The part.
        one: Probabilities of CS in it `(K, x, y, z)`.
        other: Those of DS.
        there: Class values in it `(x, y, z)`.
        weights: Of DS.
        reliabilities: Count for each weight how far its probabilities can be believed.

    Returns:
        The box of the scan in it outside which nothing is found, with the classes there for each weight; nothing where
        nothing is found.
    """
    one, other = one.astype(np.float16), other.astype(np.float16)
    seen = (1 - np.minimum(one[0], other[0]).astype(np.float32) >= UNSEEN) | (there > 0)
    if not seen.any():
        return []
    box = extent(seen)
    inside = seen[box]
    known = there[box][inside]
    every = (slice(None), *box)
    pair = [part[every][:, inside].astype(np.float32) for part in (one, other)]
    parts = []
    for weight, reliability in zip(weights, reliabilities, strict=True):
        mixed = (1 - weight) * pair[0] + weight * pair[1]
        reliability.add(mixed, known)
        part = np.zeros(inside.shape, np.uint8)
        part[inside] = torch.from_numpy(mixed).max(dim=0).indices.byte().numpy()
        parts.append(part)
    some = np.logical_or.reduce(parts)
    if not some.any():
        return []
    inner = extent(some)
    # Copies, so that what is empty around them is not kept.
    return [(moved_back(moved_back(inner, box), where), [part[inner].copy() for part in parts])]


def _joined(box: Box, parts: Sequence[tuple[Box, NDArray[np.uint8]]]) -> NDArray[np.uint8]:
    """The label map of a box of a scan, from those of the boxes in it."""
    label = np.zeros([side.stop - side.start for side in box], np.uint8)
    for part, values in parts:
        label[moved_by(part, box)] = values
    return label


def _count_doubt(weights: Sequence[float], doubts: Sequence[ExpectedDice], cs: Tensor, ds: Tensor) -> None:
    """Count for each weight the doubt of a report, of a slab of the working grid."""
    for one, other in zip(cs.split(SLAB, dim=1), ds.split(SLAB, dim=1), strict=True):
        seen = 1 - torch.minimum(one[0], other[0]).float() >= UNSEEN
        pair = [part[:, seen].float() for part in (one, other)]
        for weight, doubt in zip(weights, doubts, strict=True):
            mixed = (1 - weight) * pair[0] + weight * pair[1]
            doubt.add(mixed[:, None])  # one part of a slab already, so in one piece


def _mean_dice(label: NDArray[np.uint8], truth: NDArray[Any], box: Box, recipe: Recipe) -> float:
    """Mean Dice over the classes of a label map that is empty outside a box of the scan."""
    every = []
    for entry in recipe.labels:
        one, other = label == entry.value, truth == entry.value
        common = np.count_nonzero(one & other[box])
        every.append(dice_of(common, np.count_nonzero(one) + np.count_nonzero(other)))
    return float(np.mean(every))
