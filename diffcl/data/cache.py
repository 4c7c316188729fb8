"""Cases as a training reads them: prepared once, kept on disk and mapped into memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffcl.data import array_cache
from diffcl.data.cases import LabelledCase, UnlabelledCase
from diffcl.data.preprocess import prepare, prepare_label
from diffcl.data.traits import traits
from diffcl.io import read_label, read_scan
from diffcl.recipe import Recipe


@dataclass(frozen=True)
class TrainingScan:
    """A case as training has it; from a cache, its voxels are in memory only where they are looked at.

    Attributes:
        name: Name of the case.
        image: `(1, X, Y, Z)`, float32.
        label: Class values `(X, Y, Z)`, uint8; None for an unlabelled case.
        traits: What the scan is like, see `diffcl.data.traits`.
        unknown: Values of the classes that are not outlined: where the label is 0 may be one of them.
    """

    name: str
    image: Tensor
    label: Tensor | None
    traits: Mapping[str, float] = field(default_factory=dict)
    unknown: tuple[int, ...] = ()


def prepare_case(
    case: LabelledCase | UnlabelledCase, recipe: Recipe, cache: Path | None = None
) -> TrainingScan:
    """Prepare a case for training, from the cache where its content and recipe are unchanged.

    Args:
        case: An unlabelled case has no label to open.
        recipe: Its grid, intensity and labels decide.
        cache: Folder for prepared arrays; each entry is named by a digest of the content it came from.

    Raises:
        ScanError: If the scan or label cannot be read.
        DataError: If they do not fit each other or the recipe.
        OutputError: If the cache cannot be written.
    """
    if cache is None:
        arrays, notes = _prepared(case, recipe)
        return _training_scan(case, recipe, arrays, notes)
    settings = {
        "spacing": [*recipe.grid.spacing, recipe.grid.axes],
        "intensity": recipe.intensity.model_dump(),
        "sources": [entry.source_values for entry in recipe.labels],
    }
    sources = [case.image, case.label] if isinstance(case, LabelledCase) else [case.image]
    key = array_cache.digest("training", settings, sources)
    entry = array_cache.load(cache, key)
    if entry is None or "image" not in entry.arrays or (len(sources) > 1) != ("label" in entry.arrays):
        entry = array_cache.keep(cache, key, *_prepared(case, recipe))
    return _training_scan(
        case, recipe, {name: stored() for name, stored in entry.arrays.items()}, entry.notes
    )


def _prepared(
    case: LabelledCase | UnlabelledCase, recipe: Recipe
) -> tuple[dict[str, NDArray[Any]], dict[str, float]]:
    """The arrays of a case, and its traits."""
    prepared = prepare(read_scan(case.image), recipe)
    arrays = {"image": prepared.image.numpy()}
    if isinstance(case, LabelledCase):
        label = prepare_label(read_label(case.label), prepared.original, recipe, case.label)
        arrays["label"] = label.numpy().astype(np.uint8)
    return arrays, traits(prepared)


def _training_scan(
    case: LabelledCase | UnlabelledCase,
    recipe: Recipe,
    arrays: Mapping[str, NDArray[Any]],
    found: Mapping[str, float],
) -> TrainingScan:
    label = torch.from_numpy(arrays["label"]) if "label" in arrays else None
    unknown = not_outlined(case, recipe, arrays["label"]) if isinstance(case, LabelledCase) else ()
    return TrainingScan(case.name, torch.from_numpy(arrays["image"]), label, dict(found), unknown)


def not_outlined(case: LabelledCase, recipe: Recipe, label: NDArray[Any]) -> tuple[int, ...]:
    """Values of the classes that a label lacks because nobody outlined them, by the recipe or by the case.

    Args:
        case: The scan.
        recipe: The task.
        label: Class values.
    """
    asked = [
        entry for entry in recipe.labels if entry.missing == "not outlined" or entry.name in case.not_outlined
    ]
    return tuple(entry.value for entry in asked if not (label == entry.value).any())
