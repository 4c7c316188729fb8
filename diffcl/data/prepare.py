"""From a scan to what the networks read, and the way back for probabilities.

Training, validation, the command line and the server all prepare scans with this one function.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffcl.data.cases import LabelledCase, UnlabelledCase
from diffcl.data.grid import Geometry, resample, voxels, working_geometry
from diffcl.errors import DataError
from diffcl.io import read_label, read_scan
from diffcl.io.atomic import replace_file
from diffcl.io.scan import Scan
from diffcl.recipe import Intensity, Recipe

GRID_TOLERANCE_MM = 1e-2
"""How far a label's grid may lie from its scan's; file formats round positions to about 1e-5 mm."""

_CACHE_VERSION = 1


@dataclass(frozen=True)
class PreparedScan:
    """A scan on its working grid.

    Attributes:
        image: Intensities `(1, X, Y, Z)`, float32, about -1..1.
        working: The working grid.
        original: The scan's own grid.
    """

    image: Tensor
    working: Geometry
    original: Geometry

    def restore(self, probabilities: Tensor) -> NDArray[Any]:
        """Class probabilities of the working grid on the scan's own grid.

        Args:
            probabilities: `(K, X, Y, Z)`, background first, summing to 1.

        Returns:
            `(K, X, Y, Z)` float32 on the original grid, summing to 1.
        """
        foreground = self.working.place(probabilities[1:].float().cpu().numpy())
        back = voxels(resample(foreground, self.original)).reshape(-1, *self.original.size)
        return np.concatenate([1.0 - back.sum(axis=0, keepdims=True), back])


def prepare(scan: Scan, recipe: Recipe) -> PreparedScan:
    """Put a scan on the working grid of a recipe and make its intensities comparable."""
    original = Geometry.of(scan.image)
    working = working_geometry(original, recipe.grid.spacing)
    values = voxels(resample(scan.image, working))
    image = normalise(torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32)), recipe.intensity)
    return PreparedScan(image[None], working, original)


def normalise(values: Tensor, intensity: Intensity) -> Tensor:
    """Intensities made comparable between scans, as the recipe says, clipped to about -1..1.

    >>> normalise(torch.tensor([-500.0, 75.0, 900.0]), Intensity(method="window", low=-125, high=275))
    tensor([-1.,  0.,  1.])

    Source:
        Percentiles rather than extremes, because MR scans have outliers and no unit.
    """
    if intensity.method == "window":
        low, high = intensity.low, intensity.high
    else:
        body = values[values != 0].double().numpy()
        body = body if body.size else values.double().numpy()
        if intensity.method == "percentile":
            low, high = (float(v) for v in np.percentile(body, [intensity.low, intensity.high]))
        else:
            low, high = float(body.mean() - 2 * body.std()), float(body.mean() + 2 * body.std())
    return ((values - low) / max(high - low, 1e-6) * 2 - 1).clamp(-1, 1)


def to_classes(label: sitk.Image, scan: Geometry, recipe: Recipe, where: object) -> sitk.Image:
    """An annotated label map with the values of the recipe's classes, uint8.

    Args:
        label: Integer label map on the grid of its scan.
        scan: Geometry of that scan.
        recipe: Names the values.
        where: Named in errors.

    Raises:
        DataError: If the label lies on another grid or has a value that the recipe does not know.
    """
    found = Geometry.of(label)
    if not same_grid(found, scan):
        raise DataError(where, f"lies on a grid of {found.size} at {_rounded(found.origin)}, its scan on one of "
                               f"{scan.size} at {_rounded(scan.origin)}", "Save it on the scan's grid")  # fmt: skip
    array = voxels(label)
    meaning = {source: entry.value for entry in recipe.labels for source in entry.source_values}
    classes = np.zeros(array.shape, np.uint8)
    for value in np.unique(array).tolist():
        if value != 0 and value not in meaning:
            known = ", ".join(str(source) for source in sorted(meaning))
            raise DataError(where, f"value {value} is not a class of {recipe.name} (0, {known})",
                            "Remap it, or add the class to the recipe and retrain")  # fmt: skip
        classes[array == value] = meaning.get(value, 0)
    return scan.place(classes)


def prepare_label(label: sitk.Image, scan: Geometry, recipe: Recipe, where: object) -> Tensor:
    """An annotated label on the working grid: class values `(X, Y, Z)`, int64. See `to_classes`."""
    classes = to_classes(label, scan, recipe, where)
    working = resample(classes, working_geometry(scan, recipe.grid.spacing), labels=True)
    return torch.from_numpy(voxels(working).astype(np.int64))


def same_grid(one: Geometry, other: Geometry) -> bool:
    """Whether two grids have the same voxels, up to what file formats round."""
    if one.size != other.size:
        return False
    corners = [
        _corner(one, far) - _corner(other, far) for far in ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1))
    ]
    return bool(max(np.abs(corner).max() for corner in corners) < GRID_TOLERANCE_MM)


def _corner(grid: Geometry, far: tuple[int, int, int]) -> NDArray[Any]:
    steps = (np.array(grid.size) - 1) * np.array(far) * np.array(grid.spacing)
    corner: NDArray[Any] = np.array(grid.origin) + np.array(grid.direction).reshape(3, 3) @ steps
    return corner


def _rounded(values: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(round(value, 2) for value in values)


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
        for part in [] if path is None else ([path] if path.is_file() else sorted(path.iterdir())):
            digest.update(part.read_bytes())
    return digest.hexdigest()[:32]
