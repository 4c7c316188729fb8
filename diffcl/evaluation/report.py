"""Predicted labels compared with true ones, folder against folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from diffcl.data.partly_drawn import drawn_in_words
from diffcl.data.preprocess import to_classes
from diffcl.errors import DataError
from diffcl.evaluation.metrics import evaluate_case
from diffcl.evaluation.scores import CaseScore, Scores
from diffcl.geometry import Geometry, filled_up, voxels
from diffcl.io import is_label, read_label, scan_name
from diffcl.labels import LabelClass
from diffcl.recipe import Recipe


def evaluate_folder(
    predictions: Path,
    labels: Path,
    recipe: Recipe | None = None,
    *,
    on_case: Callable[[int, int], None] = lambda done, total: None,
) -> Scores:
    """Compare every predicted label with the true one of the same name.

    Args:
        predictions: Folder of label maps, or one label map.
        labels: Folder of label maps, or one label map; labels without a prediction are left out.
        recipe: Names the classes, and which values of `labels` mean them. Without it every value that occurs
            is a class.
        on_case: Told the number of cases done and of all cases.

    Raises:
        DataError: If a prediction has no label, lies on another grid, or has a value that the recipe does
            not know; if a label is partly drawn.
        ScanError: If a label map cannot be read.
    """
    pairs = _pairs(predictions, labels)
    named = recipe.labels if recipe else None
    classes = named or _classes_of(pairs)
    rows: list[CaseScore] = []
    for prediction, label in pairs:
        found = read_label(prediction, labels=named)
        wanted = filled_up(read_label(label, labels=named, sources=bool(recipe)), Geometry.of(found))
        if recipe:
            wanted = to_classes(wanted, Geometry.of(wanted), recipe, label, partly=True)
            _check_values(found, classes, prediction)
            if drawn := drawn_in_words(voxels(wanted), Geometry.of(wanted)):
                raise DataError(
                    label, f"{drawn}, so nothing can be judged by it", "Finish it, or leave it out"
                )
        rows.append(CaseScore(scan_name(prediction), evaluate_case(found, wanted, classes, prediction)))
        on_case(len(rows), len(pairs))
    return Scores(tuple(rows))


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
    files = sorted(path for path in place.iterdir() if is_label(path)) if place.is_dir() else []
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
