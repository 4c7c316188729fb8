"""What the segments of a viewer decide: those of the classes, of scribbles, and the one that is called unknown."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal, get_args

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from diffcl.errors import DataError, UsageError, unknown_name
from diffcl.geometry import Geometry, difference, filled_up, voxels
from diffcl.inference.interactive.known import Known, decided
from diffcl.inference.interactive.planes import Plane, slices_with_squares
from diffcl.io.read import read_label
from diffcl.labels import UNKNOWN, UNKNOWN_NAME, UNKNOWN_SLICES, meant_by_names, name_in_task, plain

FOREGROUND_SCRIBBLES: Final = "foreground_scribbles"
"""Segment of strokes inside the chosen class."""

BACKGROUND_SCRIBBLES: Final = "background_scribbles"
"""Segment of strokes outside every class."""

_BACKGROUND = "background"

Choice = Literal["slices", "voxels", "touched"]
"""What of the segments is known where none is called unknown: see `Meaning`; `touched`, where they differ from the
proposal of the model."""

CHOICES: Final = get_args(Choice)


@dataclass(frozen=True)
class Segments:
    """The segments of a viewer on a scan.

    Attributes:
        label: Their label map, on the grid of the scan.
        listed: Name and value of each, as `{"name": ..., "id": ...}`.
        chosen: Name of the class that scribbles are for; empty where there are none.
        where: The scan; named in errors.
    """

    label: sitk.Image
    listed: Sequence[Any]
    chosen: str
    where: object

    def classes(
        self, names: Mapping[str, int], task: str, elsewhere: Collection[str], scan: Geometry
    ) -> tuple[NDArray[np.uint8], NDArray[np.bool_], Known]:
        """Class values `(X, Y, Z)` of the segments, which voxels are said to be unknown, and what is scribbled.

        Names mean what they mean in a submitted label, see `meant_by_names`.

        Args:
            names: Names and values of the classes; a label without a list of segments has these values.
            task: Name of the task.
            elsewhere: Names that other models know; their segments are left out.
            scan: The grid of the scan.

        Raises:
            DataError: If the label lies on another grid, or holds a value of no segment.
            NotFoundError: If a segment with voxels has a name that nobody knows, or the chosen class is none.
            UsageError: If the list of segments is none.
        """
        image = filled_up(self.label, scan)
        if differs := difference(Geometry.of(image), scan):
            raise DataError(
                self.where, f"its segments lie on another grid: {differs}", "Draw them on this scan"
            )
        drawn = voxels(image)
        listed = {value: name for name, value in (self.values() or dict(names)).items()}
        meant = meant_by_names(listed, names, task)
        others = {plain(name) for name in (*names, *elsewhere)}
        classes, unknown = np.zeros(drawn.shape, np.uint8), np.zeros(drawn.shape, bool)
        strokes, scribbled = np.zeros(drawn.shape, np.uint8), np.zeros(drawn.shape, bool)
        for value in np.unique(drawn[drawn != 0]).tolist():
            there = drawn == value
            if value not in listed:
                raise DataError(
                    self.where, f"value {value} of its label is no listed segment", "List it in label_info"
                )
            name = plain(listed[value])
            if meant.get(value, UNKNOWN) != UNKNOWN:
                classes[there] = meant[value]
            elif _means_unknown(name) or name in others:
                unknown |= there
            elif name in (FOREGROUND_SCRIBBLES, BACKGROUND_SCRIBBLES, _BACKGROUND):
                if name == FOREGROUND_SCRIBBLES:
                    if self.chosen not in names:
                        raise unknown_name("class", self.chosen or "''", names)
                    strokes[there] = names[self.chosen]
                scribbled |= there
            elif name != UNKNOWN_SLICES:
                raise unknown_name("segment", listed[value], [*names, UNKNOWN_NAME])
        classes[scribbled] = 0
        count = int(scribbled.sum())
        return classes, unknown, Known(strokes, scribbled, {}, f"{count} scribbled voxels" if count else "")

    def values(self) -> dict[str, int]:
        """The value of each listed segment by name; see `classes`."""
        found: dict[str, int] = {}
        for entry in self.listed:
            name = entry.get("name") if isinstance(entry, Mapping) else None
            value = entry.get("id", entry.get("idx")) if isinstance(entry, Mapping) else None
            if not isinstance(name, str) or not isinstance(value, int):
                raise UsageError(
                    "label_info", f"{str(entry)[:60]} is no segment", 'Give {"name": NAME, "id": VALUE}'
                )
            found[name] = value
        return found


@dataclass(frozen=True)
class DrawnSegments:
    """What the segments of a viewer say, as far as it can be told without the proposal of the model.

    Attributes:
        classes: Class values of the segments `(X, Y, Z)`.
        unknown: Voxels that are said to be unknown `(X, Y, Z)`.
        strokes: What is scribbled.
        told: What is known beside that; None for what differs from the proposal.
        whole: Whether slices are meant, of which some must be left to find.
        where: The scan; named in errors.
    """

    classes: NDArray[np.uint8]
    unknown: NDArray[np.bool_]
    strokes: Known
    told: Known | None
    whole: bool
    where: object

    def known(self, proposal: NDArray[np.uint8] | None = None) -> Known:
        """What is known.

        Args:
            proposal: Class values `(X, Y, Z)` of the model's proposal, where there is a model.

        Raises:
            DataError: If nothing differs from the proposal where that is meant, or nothing is left to find.
            ValueError: If `touched` is meant and there is no proposal.
        """
        known, strokes = self.told, self.strokes
        if known is None:
            if proposal is None:
                raise ValueError("touched needs a proposal")
            mask = (self.classes != proposal) & ~self.unknown & ~strokes.mask
            told = f"Known are the {int(mask.sum())} voxels that differ from the proposal"
            known = Known(np.where(mask, self.classes, 0), mask, {}, told)
        mask = known.mask | strokes.mask
        if not mask.any():
            raise DataError(self.where, "nothing is drawn", "Draw in some slices or scribble, then ask again")
        if self.whole and _nothing_left(known.slices, self.classes, proposal):
            touched = "" if proposal is None else ", or set known to touched"
            raise DataError(
                self.where, "every slice of what is drawn"
                + ("" if proposal is None else " and proposed") + " is known, so none is left to find",
                f"Mark what is unknown by a segment named {UNKNOWN_NAME}{touched}",
            )  # fmt: skip
        told = " and ".join(filter(None, (known.told, strokes.told))).replace("Known are and", "Known are")
        return replace(
            known, classes=np.where(strokes.mask, strokes.classes, known.classes), mask=mask, told=told
        )


def read_segments(
    segments: Segments,
    names: Mapping[str, int],
    scan: Geometry,
    choice: Choice | None = None,
    *,
    task: str = "",
    elsewhere: Collection[str] = (),
    plane: Plane | None = None,
    model: bool = True,
) -> DrawnSegments:
    """What the segments of a viewer decide; all that can be refused without the proposal of the model is.

    Scribbles are known in any case. A segment called `UNKNOWN_SLICES` says that slices are known, one called `unknown`
    that all but its voxels is.

    Args:
        segments: The segments.
        names: Names and values of the classes.
        scan: The grid of the scan.
        choice: What of the others is known; by default slices, or the drawn voxels where no slice is drawn.
        task: Name of the task.
        elsewhere: Names that other models know.
        plane: In which the slices are drawn; found by default.
        model: Whether there is a model, whose proposal can be touched.

    Raises:
        DataError: If nothing is drawn.
        UsageError: If `touched` is asked for without a model, a plane is no plane or is said beside another choice, or
            the list of segments is none.
        NotFoundError: If a name is none.
    """
    classes, unknown, strokes = segments.classes(names, task, elsewhere, scan)
    where, listed = segments.where, {plain(name) for name in segments.values()}
    drawn = classes.any()
    told: Known | None = None
    if UNKNOWN_SLICES in listed:
        choice = "slices"
    elif any(map(_means_unknown, listed)) and unknown.any():
        told = decided(classes, unknown, "marked", where, scan, plane)
        return DrawnSegments(classes, unknown, strokes, told, False, where)
    if choice == "touched":
        if not model:
            raise UsageError("option known", "touched needs a model", "Choose slices or voxels")
        if plane is not None:
            raise UsageError(
                f"plane {plane}", "it has no meaning where known is touched", "Leave one of them out"
            )
    elif strokes.mask.any() and not drawn:
        told = Known(np.zeros_like(classes), np.zeros(classes.shape, bool), {}, "Known are")
    else:
        told = decided(classes, unknown, choice, where, scan, plane)
    whole = choice in (None, "slices") and told is not None and bool(told.slices)
    return DrawnSegments(classes, unknown, strokes, told, whole, where)


def _means_unknown(name: str) -> bool:
    """Whether a segment stands for what nobody has decided, of a map of several tasks too.

    >>> _means_unknown("Unknown "), _means_unknown("unknown (heart)"), _means_unknown("unknown_slices")
    (True, True, False)
    """
    return plain(name) == UNKNOWN_NAME or plain(name).startswith(name_in_task(UNKNOWN_NAME, "")[:-1])


def _nothing_left(
    slices: Mapping[int, Sequence[int]], classes: NDArray[np.uint8], proposal: NDArray[np.uint8] | None
) -> bool:
    """Whether every slice is known from the first to the last in which something is drawn or proposed.

    So looks a proposal as it came, which nobody has told the drawn parts of.
    """
    there = classes > 0 if proposal is None else (classes > 0) | (proposal > 0)
    for axis, known in slices.items():
        found = slices_with_squares(there, axis) if len(slices) == 1 else []
        if len(slices) > 1:
            found = there.any(axis=tuple(a for a in range(3) if a != axis)).nonzero()[0].tolist()
        if found and set(range(found[0], found[-1] + 1)) <= set(known):
            return True
    return False


def within(roi: Sequence[Any], size: Sequence[int]) -> NDArray[np.bool_]:
    """Voxels of a box `[x0, x1, y0, y1, z0, z1]`, both ends among them, `(X, Y, Z)`; the ends in either order.

    Raises:
        UsageError: If it is no box, or lies outside the scan.
    """
    try:
        ends = [int(number) for number in roi]
    except (TypeError, ValueError, OverflowError):
        ends = []
    if len(ends) != 6:
        raise UsageError("roi", f"{str(roi)[:60]} is no box", "Give [x0, x1, y0, y1, z0, z1] in voxels")
    box = []
    for one, other, count in zip(ends[::2], ends[1::2], size, strict=True):
        first, last = max(0, min(one, other)), min(count - 1, max(one, other))
        if first > last:
            raise UsageError("roi", f"{ends} lies outside the scan", "Place it on the scan, or remove it")
        box.append(slice(first, last + 1))
    mask = np.zeros(tuple(size), bool)
    mask[tuple(box)] = True
    return mask


def segments_of(request: Mapping[str, Any], classes: Collection[str], where: object) -> Segments:
    """The segments that came with a viewer's request.

    Args:
        request: `drawn`, the path of their label map, perhaps `label_info`, their list, and `selected_label_name`.
        classes: Names of the classes; a single one is chosen where the request chooses none.
        where: The scan; named in errors.

    Raises:
        UsageError: If the list is none.
        ScanError: If the label map cannot be read.
    """
    listed = request.get("label_info") or []
    if not isinstance(listed, Sequence) or isinstance(listed, str):
        raise UsageError("label_info", "is no list", 'Give [{"name": NAME, "id": VALUE}, ...]')
    chosen = str(request.get("selected_label_name") or "")
    if not chosen and len(classes) == 1:
        chosen = next(iter(classes))
    return Segments(read_label(Path(request["drawn"])), listed, chosen, where)
