"""Reads DICOM segmentations back as label maps, those of other software too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk
from pydicom.dataset import Dataset
from pydicom.uid import SegmentationStorage

from diffcl.errors import ScanError
from diffcl.geometry import Geometry, GeometryError, straight_axes
from diffcl.io.dicom.damage import OddValueError, damage_as, items, number, numbers
from diffcl.io.dicom.data_set import read_data_set
from diffcl.io.dicom.series import DicomSeries
from diffcl.io.scan import Scan
from diffcl.labels import UNKNOWN, UNKNOWN_NAME, LabelClass

ON_GRID: Final = 0.25
"""A frame may lie this far, in voxels, from a slice of the grid it is put on: some headers round positions."""

EXPORT_AGAIN: Final = "Export it again"


@dataclass(frozen=True)
class Frame:
    """A plane of one segment.

    Attributes:
        segment: Number of the segment.
        position: Centre of the first voxel, mm, LPS.
        axes: Unit vectors along row and column, `(2, 3)`.
        spacing: Distance of voxels along row and column, mm.
        mask: Where the segment is, `(rows, columns)`.
    """

    segment: int
    position: npt.NDArray[np.float64]
    axes: npt.NDArray[np.float64]
    spacing: tuple[float, float]
    mask: npt.NDArray[np.bool_]


def read_seg(
    path: Path,
    reference: Scan | DicomSeries | None = None,
    labels: Sequence[LabelClass] | None = None,
    *,
    others: bool = False,
) -> sitk.Image:
    """Read a binary DICOM segmentation as a uint8 label map.

    Args:
        path: The file.
        reference: What it is a segmentation of. Its grid is the grid of the result; slices that the file
            leaves out, as some software does with empty ones, are background. Without it, the result
            reaches from the first to the last slice that the file holds.
        labels: Classes of the task. Segments are matched with them by name, or else by code, because other
            software may number segments anew; a segment of the name `UNKNOWN_NAME` has the value `UNKNOWN`. Without
            them, values are the numbers of the segments.
        others: Whether segments that are no class are left out rather than refused: those of other tasks.

    Raises:
        ScanError: If it is no binary segmentation, is damaged, lies on another grid than the reference,
            has a segment that is no class, or segments that overlap.
    """
    try:
        with damage_as(ScanError(path, "a damaged DICOM segmentation", EXPORT_AGAIN)):
            content = read_data_set(path)
            _check_kind(path, content)
            values = _values(path, content, labels, others=others)
            frames = _frames(content)
    except OSError as error:
        raise ScanError(path, f"cannot be read ({error.strerror or type(error).__name__})") from error
    try:
        grid = _own_grid(path, frames) if reference is None else _grid_of(reference)
    except GeometryError as error:
        raise ScanError(path, f"a damaged DICOM segmentation ({error})", EXPORT_AGAIN) from error
    return _paint(path, frames, values, grid)


def _check_kind(path: Path, content: Dataset) -> None:
    if content.get("SOPClassUID") != SegmentationStorage:
        raise ScanError(path, "not a DICOM segmentation", "Give a DICOM SEG file")
    if content.SegmentationType != "BINARY":
        raise ScanError(path, f"a segmentation of type {content.SegmentationType}", "Give a binary one")


def _values(
    path: Path, content: Dataset, labels: Sequence[LabelClass] | None, *, others: bool
) -> dict[int, int]:
    """Value of every segment number; 0 for one that is left out."""
    values = {}
    for segment in items(content, "SegmentSequence"):
        segment_number = int(number(segment.SegmentNumber))
        values[segment_number] = segment_number
        if labels is not None:
            found = class_of(segment, labels)
            if is_unknown(segment, labels):
                values[segment_number] = UNKNOWN
                continue
            if found is None and others:
                values[segment_number] = 0
                continue
            if found is None:
                raise ScanError(
                    path,
                    f"segment {segment_number} ({_name_of(segment)}) is no class of this task",
                    f"Name it one of: {', '.join(one.name for one in labels)}",
                )
            values[segment_number] = found.value
        if not 1 <= values[segment_number] <= 255:
            raise ScanError(
                path, f"segment {segment_number} is beyond 255", "Give a segmentation of fewer structures"
            )
    return values


def class_of(segment: Dataset, labels: Sequence[LabelClass]) -> LabelClass | None:
    """The class that an item of a SegmentSequence means, by its name or else by its codes; None for none."""
    name = _name_of(segment)
    for one in labels:
        if one.name.casefold() == name.casefold():
            return one
    kind = (items(segment, "SegmentedPropertyTypeCodeSequence") or [Dataset()])[0]
    modifiers = [item.get("CodeValue") for item in items(kind, "SegmentedPropertyTypeModifierCodeSequence")]
    code = (kind.get("CodeValue"), modifiers)
    fitting = [
        one for one in labels if one.type
        and code == (one.type.value, [one.modifier.value] if one.modifier else [])
    ]  # fmt: skip
    return fitting[0] if len(fitting) == 1 else None


def is_unknown(segment: Dataset, labels: Sequence[LabelClass]) -> bool:
    """Whether an item of a SegmentSequence stands for what nobody has decided: by its name, unless a class has it."""
    return _name_of(segment).casefold() == UNKNOWN_NAME and class_of(segment, labels) is None


def _name_of(segment: Dataset) -> str:
    return str(segment.get("SegmentLabel", "")).strip()


def _frames(content: Dataset) -> list[Frame]:
    shared = items(content, "SharedFunctionalGroupsSequence") or [Dataset()]
    shape = (-1, int(number(content.Rows)), int(number(content.Columns)))
    groups = items(content, "PerFrameFunctionalGroupsSequence")
    masks = content.pixel_array
    if not groups or min(shape[1:]) < 1 or masks.size != len(groups) * shape[1] * shape[2]:
        raise OddValueError
    frames = []
    for mask, group in zip(masks.reshape(shape).astype(bool), groups, strict=True):

        def macro(keyword: str, group: Dataset = group) -> Dataset:
            found = items(group, keyword) or items(shared[0], keyword)
            if not found:
                raise OddValueError
            item: Dataset = found[0]
            return item

        down, along = numbers(macro("PixelMeasuresSequence").PixelSpacing, 2)
        frames.append(Frame(
            segment=int(number(macro("SegmentIdentificationSequence").ReferencedSegmentNumber)),
            position=numbers(macro("PlanePositionSequence").ImagePositionPatient, 3),
            axes=numbers(macro("PlaneOrientationSequence").ImageOrientationPatient, 6).reshape(2, 3),
            spacing=(float(along), float(down)),
            mask=mask,
        ))  # fmt: skip
    return frames


def _own_grid(path: Path, frames: Sequence[Frame]) -> Geometry:
    """The grid from the first to the last frame, evenly spaced by the smallest distance between frames."""
    first = frames[0]
    normal = np.cross(*first.axes)
    heights = np.array([frame.position @ normal for frame in frames])
    lowest, extent = int(heights.argmin()), float(np.ptp(heights))
    steps = np.diff(np.unique(heights.round(4)))
    step = float(steps.min()) if steps.size else 1.0
    count = int(np.rint(steps / step).sum()) + 1
    if count > len(frames) * 100:
        raise ScanError(path, "its frames are unevenly spaced", "Give the scan that it belongs to as well")
    if count > 1:
        step = extent / (count - 1)
    rows, columns = first.mask.shape
    x, y, z = frames[lowest].position.tolist()
    axes = straight_axes(np.column_stack([*first.axes, normal]))
    return Geometry((columns, rows, count), (*first.spacing, step), (x, y, z), tuple(axes.ravel().tolist()))


def _grid_of(reference: Scan | DicomSeries) -> Geometry:
    return Geometry.of(reference.image) if isinstance(reference, Scan) else reference.geometry


def _paint(path: Path, frames: Sequence[Frame], values: dict[int, int], grid: Geometry) -> sitk.Image:
    voxels = grid.zeros(np.uint8)
    for frame in frames:
        plane = voxels[..., _slice_of(path, frame, grid)].T
        if frame.segment not in values:
            raise ScanError(path, f"a frame of segment {frame.segment}, which is not described", EXPORT_AGAIN)
        value = values[frame.segment]
        if value == 0:
            continue
        other = plane[frame.mask & (plane != 0) & (plane != value)]
        if other.size:
            raise ScanError(
                path, f"structures {other[0]} and {value} overlap", "Give a segmentation without overlap"
            )
        plane[frame.mask] = value
    return grid.place(voxels)


def _slice_of(path: Path, frame: Frame, grid: Geometry) -> int:
    """Number of the slice of the grid on which a frame lies."""
    columns, rows, slices = grid.size
    down, along = (rows - 1) * frame.spacing[1], (columns - 1) * frame.spacing[0]
    opposite = frame.position + along * frame.axes[0] + down * frame.axes[1]
    corner, far = grid.indices([frame.position, opposite])
    index = round(float(corner[2]))
    off = np.abs([corner - (0, 0, index), far - (columns - 1, rows - 1, index)]).max()
    if frame.mask.shape != (rows, columns) or off > ON_GRID or not 0 <= index < slices:
        raise ScanError(
            path, "its frames do not lie on the slices of the scan", "Give the scan that it was made on"
        )
    return index
