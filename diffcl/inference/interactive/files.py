"""A label that is begun, from files, images and clicks: what Python users and the command line call."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from diffcl.errors import UsageError
from diffcl.geometry import Geometry, voxels
from diffcl.inference.interactive.completion import Completion, complete
from diffcl.inference.interactive.known import Meaning, read_classes, read_known
from diffcl.inference.interactive.made_from import file_of
from diffcl.inference.interactive.planes import Plane
from diffcl.inference.interactive.points import check_clicks, read_points, together
from diffcl.inference.predictor import Predictor
from diffcl.io.in_memory import ImageInMemory
from diffcl.io.read import read_label
from diffcl.io.scan import Scan
from diffcl.labels import UNKNOWN
from diffcl.recipe import Recipe

Label: TypeAlias = "str | os.PathLike[str] | ImageInMemory"
"""A label map in memory, or the name of its file."""


def finish(
    scan: Scan,
    drawn: Label | None,
    predictor: Predictor | None,
    *,
    clicks: Mapping[str, Iterable[Sequence[int]]] | None = None,
    start: Label | None = None,
    meaning: Meaning | None = None,
    plane: Plane | None = None,
    recipe: Recipe | None = None,
    seed: int | None = None,
) -> Completion:
    """The whole label of a scan; see `diffcl.api.complete`."""
    if clicks is not None:
        check_clicks(clicks, scan.name)
    if drawn is None and not clicks:
        raise UsageError(
            scan.name, "nothing is drawn and nothing is clicked", "Give a drawn label, or clicks"
        )
    recipe = recipe if predictor is None else predictor.model.info.recipe
    geometry = Geometry.of(scan.image)
    image, where = (None, scan.name) if drawn is None else _read(drawn, scan, recipe)
    begun, remarks = (None, ()) if start is None else _start(start, scan, recipe)
    names = _names(recipe, image, begun)
    known = None
    if image is not None:
        known = read_known(image, geometry, where, recipe=recipe, meaning=meaning, plane=plane)
    elif plane is not None:
        raise UsageError(f"plane {plane}", "nothing is drawn", "Give a drawn label, or no plane")
    if clicks:
        clicked = read_points(clicks, names, geometry.size, scan.name)
        known = clicked if known is None else together(known, clicked, scan.name)
    assert known is not None
    found = complete(scan, known, names, predictor=predictor, start=begun, seed=seed)
    labels = tuple(file for file in map(file_of, (drawn, start)) if file is not None)
    warnings = list(dict.fromkeys([*found.warnings, *remarks]))
    return replace(found, warnings=warnings, made_from=replace(found.made_from, labels=labels))


def _read(label: Label, scan: Scan, recipe: Recipe | None) -> tuple[sitk.Image, object]:
    """A label map and its name for people."""
    where = label if isinstance(label, str | os.PathLike) else f"{scan.name}, label in memory"
    labels = None if recipe is None else recipe.labels
    return read_label(label, reference=scan, labels=labels, sources=recipe is not None), where


def _start(label: Label, scan: Scan, recipe: Recipe | None) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """Class values or `UNKNOWN` `(X, Y, Z)`, and what is to be said of them."""
    image, where = _read(label, scan, recipe)
    classes, unknown, remarks = read_classes(image, Geometry.of(scan.image), where, recipe)
    classes[unknown] = UNKNOWN
    return classes, remarks


def _names(
    recipe: Recipe | None, drawn: sitk.Image | None, start: NDArray[np.uint8] | None
) -> dict[str, int]:
    """Names and values of the classes; without a recipe every value that occurs is one, named by itself."""
    if recipe is not None:
        return {label.name: label.value for label in recipe.labels}
    found = [] if drawn is None else np.unique(voxels(drawn)).tolist()
    found += [] if start is None else np.unique(start).tolist()
    return {f"class_{int(value)}": int(value) for value in sorted(set(found)) if 0 < value < UNKNOWN}
