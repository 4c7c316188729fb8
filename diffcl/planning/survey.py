"""What a plan must know of the scans of a task and of the labels that teach, measured once and kept."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from scipy import ndimage

from diffcl.data import array_cache
from diffcl.data.cache import sequence_settings
from diffcl.data.cases import LabelledCase, UnlabelledCase
from diffcl.data.partly_drawn import guessed_whole, is_partly_drawn
from diffcl.data.preprocess import to_classes
from diffcl.data.resample import working_geometry
from diffcl.data.sequences import read_case
from diffcl.errors import DiffclError
from diffcl.geometry import Geometry, extent, nearest_axes, voxels
from diffcl.io import read_label
from diffcl.io.case_files import case_files
from diffcl.labels import UNKNOWN
from diffcl.recipe import Recipe
from diffcl.recipe.preparation import Axes

LABELLED = 16
"""Labelled scans that are looked at, spread evenly over all of them."""

UNLABELLED = 4
"""Other scans that are looked at, likewise."""

SLICES = 2.0
"""A voxel that is longer than it is wide by this factor belongs to a slice."""

NEARLY_ALL = 0.8
"""Share of the scans that consist of slices, where the working grid shall be made of slices."""

TISSUE = (0.5, 99.5)
"""Percentiles of the values inside the classes that a window of Hounsfield units holds."""

Triple = tuple[float, float, float]


class ClassFacts(BaseModel):
    """What one label says of a class, along the axes of a working grid.

    Attributes:
        volume_ml: Millilitres.
        size: Millimetres that it covers along each axis.
        centre: Millimetres from the middle of the scan along each axis.
        thickness: About how thick it is, mm: three times its volume over its surface, which is the thickness of a
            curved sheet and the radius of a ball.
        largest: Share of it that its largest piece has.
        guessed: Whether all of this is a guess, as the label is partly drawn, see `guessed_whole`.
    """

    model_config = ConfigDict(frozen=True)

    volume_ml: float
    size: Triple
    centre: Triple
    thickness: float
    largest: float
    guessed: bool = False


class ScanFacts(BaseModel):
    """What is known of one scan, its axes in the order of a working grid.

    Attributes:
        name: Of the case.
        spacing: Millimetres between voxels along each axis.
        extent: Millimetres that it covers along each axis.
        lowest: Its lowest value.
        classes: By value, of those that its label has; None for a scan whose label nobody asked for.
        tissue: Two percentiles of the values inside the classes, see `TISSUE`; None without them.
        others: The same of each further sequence of the case; None where it is absent.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    spacing: Triple
    extent: Triple
    lowest: float
    classes: dict[int, ClassFacts] | None = None
    tissue: tuple[float, float] | None = None
    others: tuple[tuple[float, float] | None, ...] = ()


@dataclass(frozen=True)
class Survey:
    """The scans that were looked at.

    Attributes:
        labelled: With the classes of their labels.
        unlabelled: Of these, nothing but the scan.
        slices: The same scans along the axes of their slices, see `diffcl.data.resample.slice_axes`; None where they
            do not consist of slices.
    """

    labelled: Sequence[ScanFacts]
    unlabelled: Sequence[ScanFacts]
    slices: Survey | None = None

    @property
    def scans(self) -> list[ScanFacts]:
        """All of them."""
        return [*self.labelled, *self.unlabelled]

    @property
    def consists_of_slices(self) -> bool:
        """Whether nearly all scans have voxels much longer in one direction, whichever that is, than in the others."""
        thick = [sorted(scan.spacing)[2] > SLICES * sorted(scan.spacing)[1] for scan in self.scans]
        return bool(thick) and sum(thick) >= NEARLY_ALL * len(thick)

    def of_class(self, value: int) -> list[ClassFacts]:
        """What the labels say of a class, from those that have it; a guess only where there is nothing else."""
        found = [scan.classes[value] for scan in self.labelled if scan.classes and value in scan.classes]
        return [one for one in found if not one.guessed] or found


def survey(
    labelled: Sequence[LabelledCase],
    unlabelled: Sequence[UnlabelledCase],
    recipe: Recipe,
    cache: Path | None = None,
) -> Survey:
    """Look at the scans of a task. What cannot be read is passed over: a training will name it.

    Args:
        labelled: Scans and labels that teach.
        unlabelled: Scans without labels.
        recipe: Its labels decide which values are which class.
        cache: Folder of what was measured before, see `diffcl.data.array_cache`.
    """
    known, others = _spread(labelled, LABELLED), _spread(unlabelled, UNLABELLED)

    def along(axes: Axes) -> Survey:
        return Survey(
            _looked_at(known, recipe, cache, axes=axes), _looked_at(others, recipe, cache, axes=axes)
        )

    found = along("patient")
    return replace(found, slices=along("slices")) if found.consists_of_slices else found


def _looked_at(
    cases: Sequence[LabelledCase | UnlabelledCase], recipe: Recipe, cache: Path | None, *, axes: Axes
) -> list[ScanFacts]:
    found = []
    for case in cases:
        with suppress(DiffclError):
            found.append(_facts(case, recipe, cache, axes))
    return found


def _spread(cases: Sequence[Any], count: int) -> list[Any]:
    """So many of the cases, evenly over all.

    >>> _spread(range(10), 4)
    [0, 3, 6, 9]
    """
    if len(cases) <= count:
        return list(cases)
    return [cases[index] for index in np.linspace(0, len(cases) - 1, count).round().astype(int)]


def _facts(case: LabelledCase | UnlabelledCase, recipe: Recipe, cache: Path | None, axes: Axes) -> ScanFacts:
    if cache is None:
        return _measured(case, recipe, axes)
    images = case_files(case.image, recipe.sequences)
    sources = [*filter(None, images), *([case.label] if isinstance(case, LabelledCase) else [])]
    settings: list[Any] = [[entry.value, *entry.source_values] for entry in recipe.labels]
    if axes != "patient":
        settings.append([axes])
    settings += [sequence_settings(recipe, images)] if recipe.sequences else []
    key = array_cache.digest("survey", settings, sources)
    entry = array_cache.load(cache, key)
    if entry is None or "facts" not in entry.notes:
        entry = array_cache.keep(
            cache, key, {}, {"facts": _measured(case, recipe, axes).model_dump(mode="json")}
        )
    return ScanFacts.model_validate({**entry.notes["facts"], "name": case.name})


def _measured(case: LabelledCase | UnlabelledCase, recipe: Recipe, axes: Axes) -> ScanFacts:
    scan = read_case(case.image, recipe.sequences)
    grid = Geometry.of(scan.image)
    working = working_geometry(grid, (1.0, 1.0, 1.0), axes)
    order = nearest_axes(working, grid)
    intensities = voxels(scan.image)
    facts = ScanFacts(
        name=case.name,
        spacing=_triple(grid.spacing[axis] for axis in order),
        extent=_triple(grid.extent[axis] for axis in order),
        lowest=float(intensities.min()),
    )
    if not isinstance(case, LabelledCase):
        return facts
    label = voxels(to_classes(read_label(case.label), grid, recipe, case.label, partly=True))
    inside = (label > 0) & (label != UNKNOWN)
    tissue = _tissue(intensities, inside)
    partly = is_partly_drawn(label)
    if partly:
        label = guessed_whole(label)
    boxes = ndimage.find_objects(label, max_label=len(recipe.labels))
    classes = {
        value: _class_facts(label, value, box, grid, working, order).model_copy(update={"guessed": partly})
        for value, box in enumerate(boxes, start=1)
        if box is not None
    }
    others = tuple(None if one is None else _tissue(voxels(one), inside) for one in scan.others)
    return facts.model_copy(update={"classes": classes, "tissue": tissue, "others": others})


def _tissue(intensities: NDArray[Any], inside: NDArray[np.bool_]) -> tuple[float, float] | None:
    """Two percentiles of the values inside the classes; None without any."""
    if not inside.any():
        return None
    low, high = np.percentile(intensities[inside], TISSUE)
    return float(low), float(high)


def _class_facts(
    label: NDArray[Any], value: int, box: Any, grid: Geometry, working: Geometry, order: Sequence[int]
) -> ClassFacts:
    mask = label[box] == value
    count = int(mask.sum())
    faces = 0.0
    for axis, length in enumerate(grid.spacing):
        closed = np.pad(mask, [(1, 1) if other == axis else (0, 0) for other in range(3)])
        faces += np.count_nonzero(np.diff(closed, axis=axis)) * math.prod(grid.spacing) / length
    pieces, found = ndimage.label(mask, np.ones((3, 3, 3)))
    largest = np.bincount(pieces.ravel())[1:].max() / count if found else 1.0
    corner = np.array([side.start for side in box])
    middle = corner + np.array([index.mean() for index in np.nonzero(mask)])
    place = working.indices(grid.points(middle[None]))[0] - (np.array(working.size) - 1) / 2
    sides = np.array([side.stop - side.start for side in extent(mask)]) * np.array(grid.spacing)
    return ClassFacts(
        volume_ml=count * grid.voxel_ml,
        size=_triple(sides[axis] for axis in order),
        centre=_triple(place),  # the working grid has voxels of 1 mm here
        thickness=3 * count * math.prod(grid.spacing) / faces,
        largest=float(largest),
    )


def _triple(numbers: Any) -> Triple:
    x, y, z = (float(number) for number in numbers)
    return x, y, z
