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
from diffcl.inference.interactive.known import Known, Meaning, decided
from diffcl.io.read import read_label
from diffcl.labels import UNKNOWN_NAME, name_in_task

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
        self, names: Mapping[str, int], elsewhere: Collection[str], scan: Geometry
    ) -> tuple[NDArray[np.uint8], NDArray[np.bool_], Known]:
        """Class values `(X, Y, Z)` of the segments, which voxels are said to be unknown, and what is scribbled.

        Args:
            names: Names and values of the classes; a label without a list of segments has these values.
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
        meaning = self.values() or dict(names)
        classes, unknown = np.zeros(drawn.shape, np.uint8), np.zeros(drawn.shape, bool)
        strokes, scribbled = np.zeros(drawn.shape, np.uint8), np.zeros(drawn.shape, bool)
        known_values = {value: name for name, value in meaning.items()}
        for value in np.unique(drawn[drawn != 0]).tolist():
            there, name = drawn == value, known_values.get(value)
            if name is None:
                raise DataError(
                    self.where, f"value {value} of its label is no listed segment", "List it in label_info"
                )
            if name in names:
                classes[there] = names[name]
            elif _means_unknown(name):
                unknown |= there
            elif name in (FOREGROUND_SCRIBBLES, BACKGROUND_SCRIBBLES, _BACKGROUND):
                if name == FOREGROUND_SCRIBBLES:
                    if self.chosen not in names:
                        raise unknown_name("class", self.chosen or "''", names)
                    strokes[there] = names[self.chosen]
                scribbled |= there
            elif name in elsewhere:
                unknown |= there
            else:
                raise unknown_name("segment", name, [*names, UNKNOWN_NAME])
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


def read_segments(
    segments: Segments,
    names: Mapping[str, int],
    scan: Geometry,
    choice: Choice,
    *,
    elsewhere: Collection[str] = (),
    proposal: NDArray[np.uint8] | None = None,
) -> tuple[Known, NDArray[np.uint8]]:
    """What the segments of a viewer decide, and their class values `(X, Y, Z)`.

    Scribbles are known in any case. A segment called `unknown` says that all but its voxels is known.

    Args:
        segments: The segments.
        names: Names and values of the classes.
        scan: The grid of the scan.
        choice: What of the others is known.
        elsewhere: Names that other models know.
        proposal: Class values of the model's proposal; needed for `touched`.

    Raises:
        DataError: If nothing is drawn, or nothing is left to find.
        UsageError: If `touched` is asked for without a model, or the list of segments is none.
        NotFoundError: If a name is none.
    """
    classes, unknown, strokes = segments.classes(names, elsewhere, scan)
    where = segments.where
    meaning: Meaning = "voxels" if choice == "touched" else choice
    marked = any(map(_means_unknown, segments.values())) and unknown.any()
    if marked:
        known = decided(classes, unknown, "marked", where, scan)
    elif choice == "touched":
        if proposal is None:
            raise UsageError("option known", "touched needs a model", "Choose slices or voxels")
        mask = (classes != proposal) & ~unknown & ~strokes.mask
        told = f"Known are the {int(mask.sum())} voxels that differ from the proposal"
        known = Known(np.where(mask, classes, 0), mask, {}, told)
    elif strokes.mask.any() and not classes.any():
        known = Known(np.zeros_like(classes), np.zeros(classes.shape, bool), {}, "Known are")
    else:
        known = decided(classes, unknown, meaning, where, scan)
    mask = known.mask | strokes.mask
    if not mask.any():
        raise DataError(where, "nothing is drawn", "Draw in some slices or scribble, then ask again")
    told = " and ".join(filter(None, (known.told, strokes.told))).replace("Known are and", "Known are")
    both = replace(
        known, classes=np.where(strokes.mask, strokes.classes, known.classes), mask=mask, told=told
    )
    if choice == "slices" and not marked and _without_gap(both):
        raise DataError(where, "no slice between the drawn ones is left to find",
                        f"Mark what is unknown by a segment named {UNKNOWN_NAME}, or set known to touched")  # fmt: skip
    return both, classes


def _means_unknown(name: str) -> bool:
    """Whether a segment stands for what nobody has decided, of a map of several tasks too.

    >>> _means_unknown("unknown"), _means_unknown("unknown (heart)"), _means_unknown("unknown_slices")
    (True, True, False)
    """
    return name == UNKNOWN_NAME or name.startswith(name_in_task(UNKNOWN_NAME, "")[:-1])


def _without_gap(known: Known) -> bool:
    """Whether the drawn slices of a plane follow each other without a gap, more than two of them."""
    return any(
        len(found) > 2 and found[-1] - found[0] + 1 == len(found) for found in known.slices.values()
    )  # a proposal as it came, which nobody has told the drawn parts of


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
