"""What is known of a label: which voxels an annotator has decided, and as what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any, Final, Literal, get_args

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from diffcl.data.partly_drawn import plane_across, whole_slices
from diffcl.data.preprocess import to_classes
from diffcl.errors import LISTED, DataError, UsageError, short
from diffcl.geometry import Geometry, difference, filled_up, voxels
from diffcl.labels import UNKNOWN
from diffcl.recipe import Recipe

Meaning = Literal["slices", "voxels", "marked"]
"""What a partly drawn label decides.

- `slices`: every slice in which something is drawn, its background too. The slices are those of the planes which hold
  all that is drawn with the fewest slices.
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
) -> Known:
    """What a partly drawn label map decides.

    Args:
        drawn: Label map on the scan's grid, or on a part of it; `UNKNOWN` is no class, see `read_classes`.
        scan: The grid.
        where: Named in errors.
        recipe: Names the classes; without it every value is one.
        meaning: By default `marked` where the label holds `UNKNOWN`, otherwise `slices`.

    Raises:
        DataError: If the label lies on another grid, holds a value that is no class, or decides nothing.
    """
    classes, unknown, remarks = read_classes(drawn, scan, where, recipe)
    known = decided(classes, unknown, meaning or ("marked" if unknown.any() else "slices"), where, scan)
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
    classes: NDArray[np.uint8], unknown: NDArray[np.bool_], meaning: Meaning, where: object, scan: Geometry
) -> Known:
    """What class values `(X, Y, Z)` decide; see `read_known`.

    Raises:
        DataError: If they decide nothing.
        UsageError: If there is no such meaning.
    """
    if meaning not in MEANINGS:
        raise UsageError(
            f"known {short(meaning)}", "there is none of that name", f"Known: {', '.join(MEANINGS)}"
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
        mask = classes > 0
        return Known(classes, mask, {}, f"Known are the {int(mask.sum())} drawn voxels")
    slices = drawn_slices(classes)
    mask = (classes > 0) & ~unknown
    for axis, found in slices.items():
        np.moveaxis(mask, axis, 0)[list(found)] = True
    mask &= ~unknown
    return Known(np.where(mask, classes, 0), mask, slices, _in_words(slices, scan),
                 crossing_remarks(classes, slices))  # fmt: skip


def drawn_slices(classes: NDArray[Any]) -> dict[int, tuple[int, ...]]:
    """Of each axis, the slices across it in which something is drawn: the fewest that hold all that is drawn.

    A slice counts where a square of 2 x 2 voxels of it is drawn, so that a slice which a drawn one only crosses does
    not; where no such square is anywhere, any voxel counts.

    >>> label = np.zeros((9, 9, 9)); label[2:7, 2:7, [1, 4, 7]] = 1
    >>> drawn_slices(label)
    {2: (1, 4, 7)}
    """
    drawn = classes != 0
    squares = {axis: _squares(drawn, axis) for axis in range(3)}
    slices = {axis: np.flatnonzero(_any_across(found, axis)).tolist() for axis, found in squares.items()}
    wanted = np.logical_or.reduce(list(squares.values()))
    if not wanted.any():
        wanted = drawn
        slices = {axis: np.flatnonzero(_any_across(drawn, axis)).tolist() for axis in range(3)}
    best: dict[int, tuple[int, ...]] = {}
    for count in (1, 2, 3):
        for axes in combinations([axis for axis in range(3) if slices[axis]], count):
            left = wanted.copy()
            for axis in axes:
                np.moveaxis(left, axis, 0)[slices[axis]] = False
            chosen = {axis: tuple(slices[axis]) for axis in axes}
            if not left.any() and (not best or _total(chosen) < _total(best)):
                best = chosen
    return best


def _total(slices: Mapping[int, Sequence[int]]) -> int:
    return sum(map(len, slices.values()))


def _any_across(drawn: NDArray[np.bool_], axis: int) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = drawn.any(axis=tuple(a for a in range(3) if a != axis))
    return found


def _squares(drawn: NDArray[np.bool_], axis: int) -> NDArray[np.bool_]:
    """Voxels that belong to a drawn square of 2 x 2 across an axis."""
    stack = np.moveaxis(drawn, axis, 0)
    corner = stack[:, :-1, :-1] & stack[:, 1:, :-1] & stack[:, :-1, 1:] & stack[:, 1:, 1:]
    found = np.zeros_like(stack)
    for x, y in ((0, 0), (0, 1), (1, 0), (1, 1)):
        found[:, x : x + corner.shape[1], y : y + corner.shape[2]] |= corner
    return np.moveaxis(found, 0, axis)


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


def _in_words(slices: Mapping[int, Sequence[int]], scan: Geometry) -> str:
    """The known slices, counted from 0 as the file has them, and their plane."""
    parts = []
    for axis, found in slices.items():
        plane = plane_across(axis, scan)
        shown = ", ".join(map(str, found[:12])) + (" and more" if len(found) > 12 else "")
        parts.append(f"{len(found)} {plane} slice{'s' * (len(found) > 1)} ({shown})")
    return "Known are " + " and ".join(parts) + ", background included"
