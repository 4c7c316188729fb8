"""Scores of many cases: every case and class, and their mean, standard deviation and worst case."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from diffcl.data.preprocess import to_classes
from diffcl.errors import DataError
from diffcl.evaluation.metrics import ClassScore, evaluate_case
from diffcl.geometry import Geometry, voxels
from diffcl.io import is_scan, read_label, scan_name
from diffcl.labels import LabelClass
from diffcl.recipe import Recipe

ALL = "all"
"""Name under which the mean over the classes of a case stands."""

METRICS = ("dice", "jaccard", "hd95", "asd")
_COLUMNS = ("dice", "jaccard", "hd95_mm", "asd_mm")


@dataclass(frozen=True)
class CaseScores:
    """Scores of the classes of one case."""

    case: str
    classes: tuple[ClassScore, ...]

    def of(self, name: str) -> ClassScore:
        """Score of a class, or the mean over the classes for `ALL`."""
        if name != ALL:
            return next(score for score in self.classes if score.name == name)
        means = (float(np.mean([getattr(score, metric) for score in self.classes])) for metric in METRICS)
        return ClassScore(ALL, *means)


@dataclass(frozen=True)
class Summary:
    """What many cases come to for one class.

    Attributes:
        name: Of the class, or `ALL`.
        mean: Mean of each metric; of the distances over the cases where they are finite.
        sd: Standard deviation likewise.
        worst: Case with the lowest Dice.
        missed: Cases whose distances are infinite, because the class is in one of the two labels only.
    """

    name: str
    mean: dict[str, float]
    sd: dict[str, float]
    worst: CaseScores
    missed: int


@dataclass(frozen=True)
class Table:
    """Scores of many cases."""

    cases: tuple[CaseScores, ...]

    @property
    def names(self) -> list[str]:
        """Names of the classes; `ALL` comes last where there are several."""
        names = [score.name for score in self.cases[0].classes]
        return [*names, ALL] if len(names) > 1 else names

    def summary(self, name: str) -> Summary:
        """Mean, spread and worst case of a class."""
        scores = [entry.of(name) for entry in self.cases]
        mean, sd = {}, {}
        for metric in METRICS:
            values = np.array([getattr(score, metric) for score in scores])
            finite = values[np.isfinite(values)]
            mean[metric] = float(finite.mean()) if finite.size else math.inf
            sd[metric] = float(finite.std()) if finite.size else 0.0
        worst = min(self.cases, key=lambda entry: entry.of(name).dice)
        return Summary(name, mean, sd, worst, sum(math.isinf(score.hd95) for score in scores))

    def to_csv(self) -> str:
        """A line for each case and class, then mean, sd and worst case of each class.

        The first column says which of these a line is. An infinite distance is `inf`.
        """
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["row", "case", "class", *_COLUMNS, "missed"])
        for name in self.names:
            for entry in self.cases:
                score = entry.of(name)
                writer.writerow(["case", entry.case, name, *_rounded(score), int(math.isinf(score.hd95))])
        for name in self.names:
            found = self.summary(name)
            worst = found.worst.of(name)
            writer.writerow(["mean", "", name, *_rounded(found.mean), found.missed])
            writer.writerow(["sd", "", name, *_rounded(found.sd), found.missed])
            writer.writerow(["worst", found.worst.case, name, *_rounded(worst), int(math.isinf(worst.hd95))])
        return text.getvalue()

    def to_json(self) -> str:
        """The same as a JSON object with `cases` and `summary`; an infinite distance is null."""
        cases = [
            {"case": entry.case, "class": name, **_named(entry.of(name))}
            for name in self.names
            for entry in self.cases
        ]
        summary: list[dict[str, Any]] = []
        for name in self.names:
            found = self.summary(name)
            worst = {"case": found.worst.case, **_named(found.worst.of(name))}
            summary.append({"class": name, "cases": len(self.cases), "missed": found.missed,
                            "mean": _named(found.mean), "sd": _named(found.sd), "worst": worst})  # fmt: skip
        return json.dumps({"cases": cases, "summary": summary}, indent=2)


def evaluate_folder(
    predictions: Path,
    labels: Path,
    recipe: Recipe | None = None,
    *,
    on_case: Callable[[int, int], None] = lambda done, total: None,
) -> Table:
    """Compare every predicted label with the true one of the same name.

    Args:
        predictions: Folder of label maps, or one label map.
        labels: Folder of label maps, or one label map; labels without a prediction are left out.
        recipe: Names the classes, and which values of `labels` mean them. Without it every value that occurs
            is a class.
        on_case: Told the number of cases done and of all cases.

    Raises:
        DataError: If a prediction has no label, lies on another grid, or has a value that the recipe does
            not know.
        ScanError: If a label map cannot be read.
    """
    pairs = _pairs(predictions, labels)
    classes = recipe.labels if recipe else _classes_of(pairs)
    rows: list[CaseScores] = []
    for prediction, label in pairs:
        found, wanted = read_label(prediction), read_label(label)
        if recipe:
            wanted = to_classes(wanted, Geometry.of(wanted), recipe, label)
            _check_values(found, classes, prediction)
        rows.append(CaseScores(scan_name(prediction), evaluate_case(found, wanted, classes, prediction)))
        on_case(len(rows), len(pairs))
    return Table(tuple(rows))


def _pairs(predictions: Path, labels: Path) -> list[tuple[Path, Path]]:
    """Every prediction with its label."""
    if predictions.is_file() and labels.is_file():
        return [(predictions, labels)]
    found, known = _files(predictions), _files(labels)
    missing = [name for name in found if name not in known]
    if missing:
        raise DataError(labels, f"no label for {', '.join(missing)}", "Add it, or take the prediction away")
    return [(path, known[name]) for name, path in found.items()]


def _files(place: Path) -> dict[str, Path]:
    """Label maps by name."""
    if place.is_file():
        return {scan_name(place): place}
    files = sorted(path for path in place.iterdir() if is_scan(path)) if place.is_dir() else []
    if not files:
        raise DataError(place, "holds no label map", "Give a folder of NIfTI, NRRD, MetaImage or DICOM files")
    return {scan_name(path): path for path in files}


def _classes_of(pairs: Sequence[tuple[Path, Path]]) -> tuple[LabelClass, ...]:
    """A class for every value that occurs."""
    values = {int(value) for pair in pairs for path in pair for value in np.unique(voxels(read_label(path)))}
    if values <= {0}:
        raise DataError(pairs[0][0].parent, "every label map is empty", "Give a recipe to name the classes")
    return tuple(LabelClass(value=value, name=f"label {value}") for value in sorted(values - {0}))


def _check_values(prediction: sitk.Image, classes: Sequence[LabelClass], where: Path) -> None:
    unknown = set(np.unique(voxels(prediction)).tolist()) - {0} - {entry.value for entry in classes}
    if unknown:
        raise DataError(
            where, f"value {min(unknown)} is not a class of the recipe", "Give its model's recipe"
        )


def _rounded(values: ClassScore | dict[str, float]) -> list[float]:
    """The metrics in the order of the columns."""
    numbers = values if isinstance(values, dict) else vars(values)
    return [round(numbers[metric], 4) for metric in METRICS]


def _named(values: ClassScore | dict[str, float]) -> dict[str, float | None]:
    numbers = (number if math.isfinite(number) else None for number in _rounded(values))
    return dict(zip(_COLUMNS, numbers, strict=True))
