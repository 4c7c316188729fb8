"""Cases as a training reads them: prepared once, kept on disk and mapped into memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffcl.data import array_cache
from diffcl.data.cases import LabelledCase, UnlabelledCase
from diffcl.data.modality import modality_of
from diffcl.data.partly_drawn import drawn_in_words, is_partly_drawn, with_gaps
from diffcl.data.preprocess import prepare, prepare_label, to_classes
from diffcl.data.sequences import read_case
from diffcl.data.traits import TRAITS, traits
from diffcl.geometry import voxels
from diffcl.io import read_label
from diffcl.io.case_files import case_files
from diffcl.recipe import Recipe


@dataclass(frozen=True)
class TrainingScan:
    """A case as training has it; from a cache, its voxels are in memory only where they are looked at.

    Attributes:
        name: Name of the case.
        image: `(C, X, Y, Z)`, float32, C the sequences of the task.
        label: Class values or `UNKNOWN` `(X, Y, Z)`, uint8; None for an unlabelled case.
        traits: What the scan is like, see `diffcl.data.traits`.
        unknown: Values of the classes that are not outlined: where the label is 0 may be one of them.
        lost: Those of them that are outlined, and so small that the working grid has no voxel of them.
        drawn: How much of the label is drawn, for people; empty where no voxel is `UNKNOWN`.
        gaps: Which slices of the label hold a class, where others between them do not, see `with_gaps`.
        modality: See `modality_of`; None where that was not noted.
        guesses: What the header of the scan leaves to guess.
    """

    name: str
    image: Tensor
    label: Tensor | None
    traits: Mapping[str, float] = field(default_factory=dict)
    unknown: tuple[int, ...] = ()
    lost: tuple[int, ...] = ()
    drawn: str = ""
    gaps: str = ""
    modality: str | None = None
    guesses: tuple[str, ...] = ()

    @property
    def whole(self) -> bool:
        """Whether its label says of each voxel and class what is there."""
        return not self.unknown and not self.drawn


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
    settings: dict[str, Any] = {
        "spacing": [*recipe.grid.spacing, recipe.grid.axes],
        "intensity": recipe.intensity.model_dump(),
        "sources": [[entry.name, *entry.source_values] for entry in recipe.labels],
    }
    images = case_files(case.image, recipe.sequences)
    if recipe.sequences:
        settings["sequences"] = sequence_settings(recipe, images)
    labelled = isinstance(case, LabelledCase)
    sources = [*filter(None, images), *([case.label] if isinstance(case, LabelledCase) else [])]
    key = array_cache.digest("training", settings, sources)
    entry = array_cache.load(cache, key)
    if entry is None or "image" not in entry.arrays or labelled != ("label" in entry.arrays):
        entry = array_cache.keep(cache, key, *_prepared(case, recipe))
    return _training_scan(
        case, recipe, {name: stored() for name, stored in entry.arrays.items()}, entry.notes
    )


def sequence_settings(recipe: Recipe, images: Sequence[Path | None]) -> list[Any]:
    """What the images of a case depend on beside their files: the sequences, and which of them are there."""
    return [[one.model_dump() for one in recipe.sequences], [image is not None for image in images]]


def _prepared(
    case: LabelledCase | UnlabelledCase, recipe: Recipe
) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """The arrays of a case, its traits, and what else `TrainingScan` tells of it."""
    scan = read_case(case.image, recipe.sequences)
    prepared = prepare(scan, recipe)
    arrays, notes = {"image": prepared.image.numpy()}, dict[str, Any](traits(prepared))
    notes |= {"modality": modality_of(scan), "guesses": scan.guesses}
    if isinstance(case, LabelledCase):
        drawn = read_label(case.label, labels=recipe.labels, sources=True)
        label = prepare_label(drawn, prepared.original, recipe, case.label)
        arrays["label"] = label.numpy().astype(np.uint8)
        classes = voxels(to_classes(drawn, prepared.original, recipe, case.label, partly=True))
        notes["gaps"] = with_gaps(classes, prepared.original)
        notes["lost"] = [
            entry.value
            for entry in recipe.labels
            if not (arrays["label"] == entry.value).any() and (classes == entry.value).any()
        ]
        if is_partly_drawn(arrays["label"]):
            notes["drawn"] = drawn_in_words(classes, prepared.original)
    return arrays, notes


def _training_scan(
    case: LabelledCase | UnlabelledCase,
    recipe: Recipe,
    arrays: Mapping[str, NDArray[Any]],
    notes: Mapping[str, Any],
) -> TrainingScan:
    label = torch.from_numpy(arrays["label"]) if "label" in arrays else None
    unknown = not_outlined(case, recipe, arrays["label"]) if isinstance(case, LabelledCase) else ()
    lost = tuple(notes.get("lost", ()))
    return TrainingScan(
        case.name,
        torch.from_numpy(arrays["image"]),
        label,
        {name: notes[name] for name in TRAITS if name in notes},
        tuple(sorted({*unknown, *lost})),
        lost,
        notes.get("drawn", ""),
        notes.get("gaps", ""),
        notes.get("modality"),
        tuple(notes.get("guesses", ())),
    )


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
