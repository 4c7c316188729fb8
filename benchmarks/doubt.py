"""Is the doubt of a prediction larger where the prediction is worse?

    python benchmarks/doubt.py --data DIR --model hippocampus

The last scans of `train.txt` are predicted as they are, and as many again after something was done to them that
happens to scans: noise, blur, a wrong window, inverted contrast, a mirrored axis. Their true error is 1 - Dice,
the mean over the classes. A failure is an error above 0.3.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy.stats import spearmanr

from diffcl.data.cases import find_cases
from diffcl.evaluation.metrics import evaluate_case
from diffcl.geometry import Geometry, voxels
from diffcl.inference import Predictor
from diffcl.io import Scan
from diffcl.models import ModelRegistry
from diffcl.resources import models_folder
from diffcl.training.validation import read_validation

FAILURE = 0.3
Disturbance = Callable[[NDArray[np.float32], np.random.Generator], NDArray[np.float32]]

DISTURBANCES: dict[str, Disturbance] = {
    "some noise": lambda x, rng: x + rng.normal(0, 0.15 * np.ptp(x), x.shape),
    "much noise": lambda x, rng: x + rng.normal(0, 0.4 * np.ptp(x), x.shape),
    "some blur": lambda x, rng: blurred(x, 1.5),
    "much blur": lambda x, rng: blurred(x, 3.0),
    "inverted": lambda x, rng: x.max() + x.min() - x,
    "wrong window": lambda x, rng: np.clip(x, np.percentile(x, 60), np.percentile(x, 70)),
    "mirrored foot to head": lambda x, rng: x[:, :, ::-1],
}


@dataclass(frozen=True)
class Found:
    """How well a number tells good predictions from bad ones.

    Attributes:
        scans: Predictions.
        failures: Errors above `FAILURE`.
        rank_correlation: Spearman's, between the number and the error.
        separation: Probability that a failure has the larger number than a success; 0.5 is chance.
        mean_difference: Mean distance between the number and the error.
    """

    scans: int
    failures: int
    rank_correlation: float
    separation: float | None
    mean_difference: float


def blurred(values: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    """Values smoothed over some voxels."""
    return sitk.GetArrayFromImage(sitk.DiscreteGaussian(sitk.GetImageFromArray(values), sigma**2))


def disturbed(scan: Scan, how: Disturbance, rng: np.random.Generator) -> Scan:
    """The scan after something happened to it."""
    values = how(voxels(scan.image).astype(np.float32), rng)
    return Scan(Geometry.of(scan.image).place(values.astype(np.float32)), scan.name, scan.path)


def judge(numbers: NDArray[np.float64], errors: NDArray[np.float64]) -> Found:
    """Compare a number of each prediction with its error."""
    bad = errors > FAILURE
    pairs = numbers[bad][:, None] > numbers[~bad]
    return Found(
        len(errors),
        int(bad.sum()),
        round(float(spearmanr(numbers, errors).statistic), 3),
        round(float(pairs.mean()), 3) if pairs.size else None,
        round(float(np.abs(numbers - errors).mean()), 3),
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with images, labels and train.txt")
    parser.add_argument("--model", default="hippocampus", help="name of a published model")
    parser.add_argument("--store", type=Path, default=models_folder(), help="folder of the models")
    parser.add_argument("--validation", type=int, default=40, help="scans that judge")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    model = ModelRegistry(arguments.store).load(arguments.model)
    recipe, predictor, rng = model.info.recipe, Predictor(model), np.random.default_rng(0)
    rows = []
    cases = find_cases(arguments.data, labelled=1, validation=arguments.validation).validation
    for number, case in enumerate(cases):
        true = read_validation(case, recipe)
        how = list(DISTURBANCES.values())[number % len(DISTURBANCES)]
        for scan in (true.scan, disturbed(true.scan, how, rng)):
            found = predictor(scan)
            scored = evaluate_case(found.label, true.truth, recipe.labels)
            error = 1 - np.mean([one.dice for one in scored])
            rows.append((error, found.report.doubt, found.report.disagreement))
    errors, doubts, disagreements = np.array(rows, dtype=float).T
    results = {
        "doubt": judge(doubts, errors),
        "disagreement": judge(disagreements, errors),
        "doubt, undisturbed": judge(doubts[::2], errors[::2]),
        "disagreement, undisturbed": judge(disagreements[::2], errors[::2]),
    }
    if arguments.json:
        print(json.dumps({name: asdict(one) for name, one in results.items()}))
    else:
        for name, one in results.items():
            print(
                f"{name:26}"
                + "  ".join(f"{key.replace('_', ' ')} {value}" for key, value in asdict(one).items())
            )


if __name__ == "__main__":
    main()
