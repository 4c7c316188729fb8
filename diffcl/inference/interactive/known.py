"""What is known of a label: which voxels an annotator has decided, and as what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any, Final, Literal, get_args

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from diffcl.data.partly_drawn import whole_slices
from diffcl.data.preprocess import to_classes
from diffcl.errors import LISTED, DataError, UsageError, short
from diffcl.geometry import Geometry, difference, filled_up, voxels
from diffcl.inference.interactive.planes import Plane, axes_of, drawn_slices, has_slices, in_words
from diffcl.labels import UNKNOWN
from diffcl.recipe import Recipe

Meaning = Literal["slices", "voxels", "marked"]
"""What a partly drawn label decides.

- `slices`: every slice in which something is drawn, its background too; see `diffcl.inference.interactive.planes`.
- `voxels`: the drawn voxels alone.
- `marked`: all but the voxels of value `UNKNOWN`.
"""

MEANINGS: Final = get_args(Meaning)


@dataclass(frozen=True)
class Known:
    """Voxels that an annotator has decided, on the grid of a scan.

    Attributes:
        classes: Class values `(X, Y, Z)`, uint8; 0 where nothing is known.
        mask: Which voxels are known `(X, Y, Z)`.
        slices: Of each axis of the array, the slices across it that are known as a whole.
        told: What is known, a sentence for people.
        warnings: What speaks against it, one sentence each.
    """

    classes: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    slices: Mapping[int, tuple[int, ...]]
    told: str
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.classes.shape != self.mask.shape or self.classes[~self.mask].any():
            raise ValueError("what is known does not fit its mask")

    def hold(self, label: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """A label `(X, Y, Z)` with the known voxels as they were drawn."""
        return np.where(self.mask, self.classes, label)


def read_known(
    drawn: sitk.Image,
    scan: Geometry,
    where: object,
    *,
    recipe: Recipe | None = None,
    meaning: Meaning | None = None,
    plane: Plane | None = None,
) -> Known:
    """What a partly drawn label map decides.

    Args:
        drawn: Label map on the scan's grid, or on a part of it; `UNKNOWN` is no class, see `read_classes`.
        scan: The grid.
        where: Named in errors.
        recipe: Names the classes; without it every value is one.
        meaning: By default `marked` where the label holds `UNKNOWN`, otherwise `slices`, or `voxels` where no slice is
            drawn.
        plane: In which it is drawn; found by default.

    Raises:
        DataError: If the label lies on another grid, holds a value that is no class, or decides nothing.
        UsageError: If there is no such meaning, or a plane is said where nothing is known by slices.
    """
    classes, unknown, remarks = read_classes(drawn, scan, where, recipe)
    if meaning is None and unknown.any():
        meaning = "marked"
    known = decided(classes, unknown, meaning, where, scan, plane)
    return replace(known, warnings=(*known.warnings, *remarks))


def read_classes(
    label: sitk.Image, scan: Geometry, where: object, recipe: Recipe | None = None
) -> tuple[NDArray[np.uint8], NDArray[np.bool_], tuple[str, ...]]:
    """Class values of a label map `(X, Y, Z)`, 0 where it is unknown, where that is, and what is to be said of it.

    `UNKNOWN` is unknown, unless the recipe has it among the `sources` of a class.

    Args:
        label: On the scan's grid, or on a part of it.
        scan: The grid.
        where: Named in errors.
        recipe: Names the classes; without it every value is one.

    Raises:
        DataError: If the label lies on another grid, or holds a value that is no class.
    """
    label = filled_up(label, scan)
    if differs := difference(Geometry.of(label), scan):
        raise DataError(where, f"lies on another grid than its scan: {differs}", "Save it on the scan's grid")
    values = voxels(label)
    if recipe is not None and any(UNKNOWN in entry.source_values for entry in recipe.labels):
        unknown = np.zeros(values.shape, bool)
    else:
        unknown = values == UNKNOWN
    plain = np.where(unknown, 0, values)
    if recipe is not None:
        classes = voxels(to_classes(scan.place(plain), scan, recipe, where))
        return classes, unknown, _changed_values(plain, classes, recipe)
    if plain.min() < 0 or plain.max() >= UNKNOWN:
        raise DataError(where, f"a value is not in 0..{UNKNOWN}", "Give a label map")
    return plain.astype(np.uint8), unknown, ()


def _changed_values(values: NDArray[Any], classes: NDArray[np.uint8], recipe: Recipe) -> tuple[str, ...]:
    """A sentence where the values of a label map are not those of its classes, which are answered."""
    found = np.unique(values[values != classes]).tolist()
    if not found:
        return ()
    classed = [
        f"{one.value} for {value}" for one in recipe.labels for value in found if value in one.source_values
    ]
    shown = ", ".join(classed[:LISTED]) + (" and more" if len(classed) > LISTED else "")
    return (f"The answer has the values of the classes of {recipe.name}, not those of the label: {shown}.",)


def decided(
    classes: NDArray[np.uint8],
    unknown: NDArray[np.bool_],
    meaning: Meaning | None,
    where: object,
    scan: Geometry,
    plane: Plane | None = None,
) -> Known:
    """What class values `(X, Y, Z)` decide; see `read_known`.

    Args:
        classes: Class values; 0 where `unknown`.
        unknown: Voxels that are said to be unknown.
        meaning: By default `slices`, or `voxels` where no slice is drawn.
        where: Named in errors.
        scan: The grid.
        plane: In which the slices are drawn; found by default.

    Raises:
        DataError: If they decide nothing, or no slice is drawn where slices are meant.
        UsageError: If there is no such meaning or plane, or a plane is said where nothing is known by slices.
    """
    if meaning not in (None, *MEANINGS):
        raise UsageError(
            f"known {short(meaning)}", "there is none of that name", f"Known: {', '.join(MEANINGS)}"
        )
    axes = range(3) if plane is None else axes_of(plane, scan)
    if plane is not None and meaning in ("voxels", "marked"):
        raise UsageError(
            f"plane {plane}", f"it has no meaning where known is {meaning}", "Leave one of them out"
        )
    if meaning == "marked":
        mask = ~unknown
        if not mask.any():
            raise DataError(where, "all of it is unknown", "Draw something")
        count = int(unknown.sum())
        return Known(np.where(mask, classes, 0), mask, whole_slices(mask),
                     f"Known is all but {count} voxels that are marked as unknown",
                     () if count else ("Nothing is unknown: the label is as it was drawn.",))  # fmt: skip
    if not classes.any():
        raise DataError(where, "nothing is drawn", "Draw in some slices, then ask again")
    if meaning == "voxels":
        return _voxels(classes)
    if not has_slices(classes, axes):
        if meaning is None and plane is None:
            return _voxels(
                classes, "No slice holds a square of 2 x 2 drawn voxels, so the drawn voxels alone are known."
            )
        shown = "" if plane is None else f" {plane}"
        raise DataError(where, f"no{shown} slice is drawn: none holds a square of 2 x 2 drawn voxels",
                        "Draw whole outlines in some slices, or say that known is voxels")  # fmt: skip
    slices, *others = drawn_slices(classes, axes)
    mask = (classes > 0) & ~unknown
    for axis, found in slices.items():
        np.moveaxis(mask, axis, 0)[list(found)] = True
    mask &= ~unknown
    return Known(
        np.where(mask, classes, 0),
        mask,
        slices,
        f"Known are {in_words(slices, scan)}, background included",
        (*(_doubt(other, scan) for other in others[:1]), *crossing_remarks(classes, slices)),
    )


def _voxels(classes: NDArray[np.uint8], *warnings: str) -> Known:
    """The drawn voxels of class values `(X, Y, Z)` alone."""
    mask = classes > 0
    count = int(mask.sum())
    told = "Known is the drawn voxel" if count == 1 else f"Known are the {count} drawn voxels"
    return Known(classes, mask, {}, told, warnings)


def _doubt(other: Mapping[int, Sequence[int]], scan: Geometry) -> str:
    """A sentence on other slices that what is drawn could be."""
    return (
        f"What is drawn could also be {in_words(other, scan)}: if it is, say the plane, or mark what is unknown "
        "(known = marked, or a segment unknown)."
    )


def crossing_remarks(classes: NDArray[Any], slices: Mapping[int, Sequence[int]]) -> tuple[str, ...]:
    """A sentence where the slices of two planes disagree along the lines in which they cross.

    There a voxel has one class alone, that of the later stroke. It disagrees where both its neighbours in the other
    slice are alike and of another class.
    """
    odd = total = 0
    for one, other in combinations(slices, 2):
        inner = np.array([second for second in slices[other] if 0 < second < classes.shape[other] - 1], int)
        for first in slices[one]:
            plane = np.take(classes, first, one)
            along = other - (other > one)
            lines = np.moveaxis(plane, along, 0)
            before, at, after = lines[inner - 1], lines[inner], lines[inner + 1]
            odd += int(((before == after) & (at != before)).sum())
            total += int(((at > 0) | (before > 0)).sum())
    if total and odd > total / 10:
        return (
            f"Slices of two planes disagree in {odd} voxels where they cross; the voxels stay as they are drawn.",
        )
    return ()
