"""What a plan must know of the scans of a task and of the labels that teach, measured once and kept."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from diffcl.data import array_cache
from diffcl.data.cache import sequence_settings
from diffcl.data.cases import LabelledCase, UnlabelledCase
from diffcl.data.modality import modality_of, modality_of_values
from diffcl.data.partly_drawn import guessed_whole, is_partly_drawn
from diffcl.data.preprocess import to_classes
from diffcl.data.resample import working_geometry
from diffcl.data.sequences import read_case
from diffcl.errors import DataError, DiffclError, OutputError
from diffcl.geometry import Geometry, nearest_axes, voxels
from diffcl.io import read_label
from diffcl.io.case_files import case_files
from diffcl.io.formats import files_of
from diffcl.labels import UNKNOWN
from diffcl.planning.shapes import Shape, Triple, class_shapes
from diffcl.recipe import Recipe
from diffcl.recipe.preparation import Axes

LABELLED = 16
"""Labelled scans that are looked at, spread evenly over all of them."""

UNLABELLED = 4
"""Other scans that are looked at, likewise."""

FEWEST = 6
"""Labelled scans that are looked at however large they are, where there are as many."""

ENOUGH_BYTES = 400 * 2**20
"""Of files of scans, beyond which no further one is looked at: it takes seconds for each hundred million voxels."""

SLICES = 2.0
"""A voxel that is longer than it is wide by this factor belongs to a slice."""

NEARLY_ALL = 0.8
"""Share of the scans that consist of slices, where the working grid shall be made of slices."""

TISSUE = (0.5, 99.5)
"""Percentiles of the values inside the classes that a window of Hounsfield units holds."""

AXES: tuple[Axes, ...] = ("patient", "slices")
"""Along which a scan is measured."""


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
        modality: See `diffcl.data.modality.modality_of`; None where that was not noted.
        guesses: What the header of the scan leaves to guess.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    spacing: Triple
    extent: Triple
    lowest: float
    classes: dict[int, ClassFacts] | None = None
    tissue: tuple[float, float] | None = None
    others: tuple[tuple[float, float] | None, ...] = ()
    modality: str | None = None
    guesses: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        """Its modality; where that was not noted, by its values."""
        return modality_of_values(self.lowest) if self.modality is None else self.modality


@dataclass(frozen=True)
class Survey:
    """The scans that were looked at.

    Attributes:
        labelled: With the classes of their labels.
        unlabelled: Of these, nothing but the scan.
        slices: The same scans along the axes of their slices, see `diffcl.data.resample.slice_axes`; None where they
            do not consist of slices.
        passed_over: Why each scan or label that cannot be used was passed over.
    """

    labelled: Sequence[ScanFacts]
    unlabelled: Sequence[ScanFacts]
    slices: Survey | None = None
    passed_over: Sequence[str] = ()

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
    """Look at the scans of a task. What cannot be used is passed over, and a training will name it.

    Args:
        labelled: Scans and labels that teach.
        unlabelled: Scans without labels.
        recipe: Its labels decide which values are which class.
        cache: Folder of what was measured before, see `diffcl.data.array_cache`.

    Raises:
        DataError: If no labelled scan can be used; it says why the first one cannot.
        OutputError: If the cache cannot be written.
    """
    most = LABELLED
    if sample := _spread(labelled, FEWEST):
        most = min(LABELLED, max(FEWEST, ENOUGH_BYTES * len(sample) // max(1, sum(map(_bytes, sample)))))
    known, reasons = _looked_at(_spread(labelled, most), recipe, cache)
    if reasons and not known:
        raise DataError(reasons[0].where, reasons[0].what, reasons[0].next_step) from reasons[0]
    others, more = _looked_at(_spread(unlabelled, UNLABELLED * most // LABELLED), recipe, cache)
    faults = [str(reason) for reason in (*reasons, *more)]
    found, slices = (
        Survey([scan[axes] for scan in known], [scan[axes] for scan in others], passed_over=faults)
        for axes in AXES
    )
    return replace(found, slices=slices) if found.consists_of_slices else found


def _looked_at(
    cases: Sequence[LabelledCase | UnlabelledCase], recipe: Recipe, cache: Path | None
) -> tuple[list[dict[Axes, ScanFacts]], list[DiffclError]]:
    """What is known of those that can be used, and why each of the others cannot."""
    found: list[dict[Axes, ScanFacts]] = []
    reasons: list[DiffclError] = []
    for case in cases:
        try:
            found.append(_facts(case, recipe, cache))
        except OutputError:
            raise
        except DiffclError as error:
            reasons.append(error)
    return found, reasons


def _bytes(case: LabelledCase) -> int:
    """Of the files of a scan; 0 where they cannot be found."""
    with suppress(OSError):
        return sum(file.stat().st_size for file in files_of(case.image))
    return 0


def _spread(cases: Sequence[Any], count: int) -> list[Any]:
    """So many of the cases, evenly over all.

    >>> _spread(range(10), 4)
    [0, 3, 6, 9]
    """
    if len(cases) <= count:
        return list(cases)
    return [cases[index] for index in np.linspace(0, len(cases) - 1, count).round().astype(int)]


def _facts(case: LabelledCase | UnlabelledCase, recipe: Recipe, cache: Path | None) -> dict[Axes, ScanFacts]:
    """What is known of a scan, along its axes of each kind, from the cache where it was measured before."""
    if cache is None:
        return _measured(case, recipe)
    images = case_files(case.image, recipe.sequences)
    sources = [*filter(None, images), *([case.label] if isinstance(case, LabelledCase) else [])]
    settings: list[Any] = [
        list(AXES),
        *([entry.value, entry.name, *entry.source_values] for entry in recipe.labels),
    ]
    settings += [sequence_settings(recipe, images)] if recipe.sequences else []
    key = array_cache.digest("survey", settings, sources)
    entry = array_cache.load(cache, key)
    if entry is None or not {*AXES} <= {*entry.notes}:
        measured = _measured(case, recipe)
        kept: dict[str, Any] = {axes: facts.model_dump(mode="json") for axes, facts in measured.items()}
        entry = array_cache.keep(cache, key, {}, kept)
    return {axes: ScanFacts.model_validate({**entry.notes[axes], "name": case.name}) for axes in AXES}


def _measured(case: LabelledCase | UnlabelledCase, recipe: Recipe) -> dict[Axes, ScanFacts]:
    """The same, measured; the scan is read once."""
    scan = read_case(case.image, recipe.sequences)
    grid = Geometry.of(scan.image)
    intensities = sitk.GetArrayViewFromImage(scan.image)  # (Z, Y, X), as they lie in memory
    lowest, modality = float(intensities.min()), modality_of(scan)
    shapes: dict[int, Shape] | None = None
    tissue, partly = None, False
    others: tuple[tuple[float, float] | None, ...] = ()
    if isinstance(case, LabelledCase):
        label = voxels(
            to_classes(
                read_label(case.label, labels=recipe.labels, sources=True),
                grid,
                recipe,
                case.label,
                partly=True,
            )
        )
        inside = ((label > 0) & (label != UNKNOWN)).T
        tissue = _tissue(intensities, inside)
        others = tuple(
            None if one is None else _tissue(sitk.GetArrayViewFromImage(one), inside) for one in scan.others
        )
        partly = is_partly_drawn(label)
        shapes = class_shapes(guessed_whole(label) if partly else label, len(recipe.labels), grid)

    def along(axes: Axes) -> ScanFacts:
        working = working_geometry(grid, (1.0, 1.0, 1.0), axes)
        order = nearest_axes(working, grid)
        classes = None
        if shapes is not None:
            classes = {
                value: _class_facts(shape, grid, working, order, guessed=partly)
                for value, shape in shapes.items()
            }
        return ScanFacts(
            name=case.name,
            spacing=_triple(grid.spacing[axis] for axis in order),
            extent=_triple(grid.extent[axis] for axis in order),
            lowest=lowest,
            classes=classes,
            tissue=tissue,
            others=others,
            modality=modality,
            guesses=scan.guesses,
        )

    return {axes: along(axes) for axes in AXES}


def _tissue(intensities: NDArray[Any], inside: NDArray[np.bool_]) -> tuple[float, float] | None:
    """Two percentiles of the values inside the classes; None without any."""
    if not inside.any():
        return None
    low, high = np.percentile(intensities[inside], TISSUE)
    return float(low), float(high)


def _class_facts(
    shape: Shape, grid: Geometry, working: Geometry, order: Sequence[int], *, guessed: bool
) -> ClassFacts:
    place = working.indices(grid.points(np.array([shape.middle])))[0] - (np.array(working.size) - 1) / 2
    return ClassFacts(
        volume_ml=shape.voxels * grid.voxel_ml,
        size=_triple(shape.sides[axis] for axis in order),
        centre=_triple(place),  # the working grid has voxels of 1 mm here
        thickness=shape.thickness,
        largest=shape.largest,
        guessed=guessed,
    )


def _triple(numbers: Any) -> Triple:
    x, y, z = (float(number) for number in numbers)
    return x, y, z
