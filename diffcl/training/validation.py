"""Validation by the Predictor that users get, on the scans' own grids."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch
from numpy.typing import NDArray

from diffcl.data import array_cache
from diffcl.data.cache import not_outlined, sequence_settings
from diffcl.data.cases import LabelledCase
from diffcl.data.partly_drawn import drawn_in_words
from diffcl.data.preprocess import to_classes
from diffcl.data.sequences import read_case
from diffcl.errors import DataError
from diffcl.evaluation.metrics import evaluate_case
from diffcl.evaluation.scores import CaseScore, Scores
from diffcl.geometry import Geometry, voxels
from diffcl.inference.engine import EngineChoice
from diffcl.inference.ensemble import Networks
from diffcl.inference.predictor import Predictor
from diffcl.io import Scan, read_label
from diffcl.io.case_files import case_files
from diffcl.models.metadata import ModelInfo
from diffcl.models.profile import Profile
from diffcl.models.weights import Model
from diffcl.networks.cs import ConvolutionSegmenter
from diffcl.networks.ds import DiffusionSegmenter
from diffcl.recipe import Recipe
from diffcl.training.distributed import share, unite


@dataclass(frozen=True)
class ValidationScan:
    """A scan that validates; its voxels are in memory only while somebody has them.

    Attributes:
        name: Name of the case.
        path: Where it came from.
        grid: Of the scan and its label.
        intensities: Gives the voxels of the scan `(X, Y, Z)`.
        classes: Gives the values of the task's classes `(X, Y, Z)`, uint8.
        modality: DICOM modality when the source states one.
        others: Give the voxels of its further sequences, likewise; None for an absent one.
    """

    name: str
    path: Path
    grid: Geometry
    intensities: Callable[[], NDArray[Any]]
    classes: Callable[[], NDArray[Any]]
    modality: str | None = None
    others: tuple[Callable[[], NDArray[Any]] | None, ...] = ()

    @property
    def scan(self) -> Scan:
        """The scan as it is."""
        first, *others = (
            None if one is None else self.grid.place(one().astype(np.float32))
            for one in (self.intensities, *self.others)
        )
        assert first is not None
        return Scan(first, self.name, self.path, self.modality, others=tuple(others))

    @property
    def truth(self) -> sitk.Image:
        """Values of the task's classes on its grid, uint8."""
        return self.grid.place(self.classes())


def read_validation(case: LabelledCase, recipe: Recipe, cache: Path | None = None) -> ValidationScan:
    """Read a validation case, from the cache where its content and the classes are unchanged.

    Args:
        case: The scan and its label.
        recipe: Its labels decide.
        cache: Folder of arrays, see `diffcl.data.array_cache`; without one, the voxels stay in memory.

    Raises:
        ScanError: If the scan or label cannot be read.
        DataError: If they do not fit each other or the recipe.
        OutputError: If the cache cannot be written.
    """
    if cache is None:
        arrays, notes = _read(case, recipe)
        return _validation_scan(
            case, notes, {name: partial(_same, one) for name, one in arrays.items()}, recipe
        )
    settings: list[Any] = [[entry.value, entry.name, *entry.source_values] for entry in recipe.labels]
    unsure = [entry.name for entry in recipe.labels if entry.missing == "not outlined"]
    settings += [[*unsure, *case.not_outlined]] if unsure or case.not_outlined else []
    images = case_files(case.image, recipe.sequences)
    settings += [sequence_settings(recipe, images)] if recipe.sequences else []
    key = array_cache.digest("validation", settings, [*filter(None, images), case.label])
    entry = array_cache.load(cache, key)
    if entry is None or not {*entry.arrays} >= {"scan", "truth"}:
        entry = array_cache.keep(cache, key, *_read(case, recipe))
    return _validation_scan(case, entry.notes, entry.arrays, recipe)


def _validation_scan(
    case: LabelledCase,
    notes: Mapping[str, Any],
    arrays: Mapping[str, Callable[[], NDArray[Any]]],
    recipe: Recipe,
) -> ValidationScan:
    others = tuple(arrays.get(f"scan{number}") for number in range(1, recipe.channels))
    return ValidationScan(
        case.name, case.image, _grid(notes), arrays["scan"], arrays["truth"], notes["modality"], others
    )


def _read(case: LabelledCase, recipe: Recipe) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """The voxels of a scan and of its label, and where they lie."""
    scan = read_case(case.image, recipe.sequences)
    grid = Geometry.of(scan.image)
    truth = to_classes(
        read_label(case.label, labels=recipe.labels, sources=True), grid, recipe, case.label, partly=True
    )
    if drawn := drawn_in_words(voxels(truth), grid):
        raise DataError(case.label, f"{drawn}, so it cannot validate", "Finish it, or let the scan teach")
    unknown = not_outlined(case, recipe, voxels(truth))
    if unknown:
        names = ", ".join(entry.name for entry in recipe.labels if entry.value in unknown)
        raise DataError(case.label, f"{names} is not outlined, so it cannot validate", "Let the scan teach")
    others = {
        f"scan{number}": smallest(voxels(one))
        for number, one in enumerate(scan.others, start=1)
        if one is not None
    }
    return {"scan": smallest(voxels(scan.image)), "truth": voxels(truth), **others}, {
        "grid": asdict(grid),
        "modality": scan.modality,
    }


def _grid(notes: Mapping[str, Any]) -> Geometry:
    return Geometry(**{name: tuple(numbers) for name, numbers in notes["grid"].items()})


def _same(array: NDArray[Any]) -> NDArray[Any]:
    return array


def smallest(values: NDArray[np.float32]) -> NDArray[Any]:
    """The same values `(X, Y, Z)` in half the memory where int16 holds each of them, as it does those of CT and MR.

    >>> smallest(np.float32([[[1.0, -7.0]]])).dtype.name, smallest(np.float32([[[0.5, 3.0]]])).dtype.name
    ('int16', 'float32')
    """
    low, high = np.iinfo(np.int16).min, np.iinfo(np.int16).max
    if not (values.min() >= low and values.max() <= high):
        return values
    small = np.empty_like(values, np.int16)
    for z in range(values.shape[2]):
        plane = values[..., z]
        small[..., z] = plane
        if not np.array_equal(small[..., z], plane) or np.signbit(plane[plane == 0]).any():
            return values
    return small


def unpublished(
    recipe: Recipe, cs: ConvolutionSegmenter, ds: DiffusionSegmenter | None, device: torch.device
) -> Model:
    """Networks in training as a model that the Predictor takes. Without DS, it is a new one, not to be asked."""
    other = DiffusionSegmenter(recipe).to(device) if ds is None else ds
    info = ModelInfo(name=recipe.name, version=0, created="", recipe=recipe,
                     profile=Profile(modality=recipe.modality))  # fmt: skip
    return Model(info, cs, other, device)


def validate(
    scans: Sequence[ValidationScan],
    model: Model,
    *,
    networks: Networks = "ensemble",
    engine: EngineChoice = "auto",
) -> Scores:
    """Predict every scan and compare with its label, both on the scan's own grid; shared among the processes.

    The networks are put into evaluation mode and back.

    Raises:
        UsageError: If the engine does not compute here.
    """
    training = model.cs.training
    model.cs.eval()
    model.ds.eval()
    predictor = Predictor(model, engine)
    scores = []
    for one in share(scans):
        found = predictor(one.scan, networks=networks)
        classes = evaluate_case(found.label, one.truth, model.info.recipe.labels)
        scores.append(CaseScore(one.name, classes, found.report.disagreement, found.report.doubt))
    model.cs.train(training)
    model.ds.train(training)
    return Scores(tuple(unite(scores)))
