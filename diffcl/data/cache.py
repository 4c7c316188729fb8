"""Cases as a training reads them, and prepared scans kept on disk under a digest of what they came from."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from diffcl.data.cases import LabelledCase, UnlabelledCase
from diffcl.data.preprocess import prepare, prepare_label
from diffcl.files import replace_file
from diffcl.io import read_label, read_scan
from diffcl.io.formats import files_of
from diffcl.recipe import Recipe

_CACHE_VERSION = 2


@dataclass(frozen=True)
class TrainingScan:
    """A case as training keeps it in memory.

    Attributes:
        name: Name of the case.
        image: `(1, X, Y, Z)`, float32.
        label: Class values `(X, Y, Z)`, int64; None for an unlabelled case.
    """

    name: str
    image: Tensor
    label: Tensor | None


def prepare_case(
    case: LabelledCase | UnlabelledCase, recipe: Recipe, cache: Path | None = None
) -> TrainingScan:
    """Prepare a case for training, from the cache where its content and recipe are unchanged.

    Args:
        case: An unlabelled case has no label to open.
        recipe: Its grid, intensity and labels decide.
        cache: Folder for prepared arrays; each file is named by a digest of the content it came from.

    Raises:
        ScanError: If the scan or label cannot be read.
        DataError: If they do not fit each other or the recipe.
    """
    label_file = case.label if isinstance(case, LabelledCase) else None
    entry = None if cache is None else cache / f"{_digest(case.image, label_file, recipe)}.npz"
    if entry is not None and entry.exists():
        with np.load(entry) as stored:
            label = torch.from_numpy(stored["label"].astype(np.int64)) if label_file else None
            return TrainingScan(case.name, torch.from_numpy(stored["image"]), label)
    scan = read_scan(case.image)
    prepared = prepare(scan, recipe)
    label = None
    if label_file is not None:
        label = prepare_label(read_label(label_file), prepared.original, recipe, label_file)
    if entry is not None:
        entry.parent.mkdir(parents=True, exist_ok=True)
        arrays = {"image": prepared.image.numpy()}
        if label is not None:
            arrays["label"] = label.numpy().astype(np.uint8)
        with replace_file(entry) as temporary:
            np.savez(temporary, **arrays)
    return TrainingScan(case.name, prepared.image, label)


def _digest(image: Path, label: Path | None, recipe: Recipe) -> str:
    """Names what a prepared case depends on: file contents, grid, intensity, label values."""
    digest = hashlib.sha256(str(_CACHE_VERSION).encode())
    settings = {
        "spacing": recipe.grid.spacing,
        "intensity": recipe.intensity.model_dump(),
        "sources": [entry.source_values for entry in recipe.labels],
    }
    digest.update(json.dumps(settings, sort_keys=True).encode())
    for path in (image, label):
        digest.update(b"|")
        for part in files_of(path) if path is not None else []:
            digest.update(part.read_bytes())
    return digest.hexdigest()[:32]
