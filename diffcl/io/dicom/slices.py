"""The slices of DICOM images, single-frame and enhanced multi-frame alike."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from diffcl.errors import ScanError
from diffcl.io.dicom.damage import OddValueError, damage_as, items, number, numbers
from diffcl.io.dicom.headers import DicomFile

Vector = npt.NDArray[np.float64]

UNIT: Final = 1e-2
"""Largest error of the length of a direction, and largest cosine between row and column."""

MACROS: Final = (
    "PlanePositionSequence", "PlaneOrientationSequence", "PixelMeasuresSequence", "PixelValueTransformationSequence"
)  # fmt: skip
"""Functional groups that say where a frame lies and what its values mean."""

EXPORT_AGAIN: Final = "Export the series again"


@dataclass(frozen=True)
class Slice:
    """One plane of a scan.

    Attributes:
        file: Its file.
        frame: Its frame in a multi-frame file, from 0; None for a single-frame file.
        position: Centre of the first voxel, mm, LPS.
        row: Unit vector from the first to the next voxel of a row.
        column: Unit vector from the first to the next voxel of a column.
        spacing: Distance of voxels along row and column, mm.
        size: Voxels along row and column.
        slope: Stored values times this, plus `intercept`, are the values of the scan.
        intercept: See `slope`.
        groups: What the file says about this slice alone: its header, or the groups of its frame.
    """

    file: DicomFile
    frame: int | None
    position: Vector
    row: Vector
    column: Vector
    spacing: tuple[float, float]
    size: tuple[int, int]
    slope: float
    intercept: float
    groups: tuple[Dataset, ...] = field(repr=False)

    @property
    def normal(self) -> Vector:
        """Unit vector perpendicular to the plane, so that row, column and normal are right-handed."""
        normal: Vector = np.cross(self.row, self.column)
        return normal / float(np.linalg.norm(normal))


def slices_of(path: Path, file: DicomFile) -> list[Slice]:
    """The slices of one file.

    Raises:
        ScanError: If the image is in colour, or does not say where it lies.
    """
    damaged = ScanError(path, f"{file.path.name}: its header is damaged", EXPORT_AGAIN)
    with damage_as(damaged):
        header = file.header
        if "PerFrameFunctionalGroupsSequence" in header or number(header.get("NumberOfFrames") or 1) > 1:
            return _frames(path, file)
        return [_slice(path, file, None, header, header, header, header, (header,))]


def is_localiser(file: DicomFile) -> bool:
    """Whether an image is a localiser (scout, topogram)."""
    return "LOCALIZER" in str(file.header.get("ImageType", ""))


def _frames(path: Path, file: DicomFile) -> list[Slice]:
    """Slices of an enhanced multi-frame image, whose attributes are kept a frame, or once for all frames."""
    frames = items(file.header, "PerFrameFunctionalGroupsSequence")
    if not frames or len(frames) != number(file.header.get("NumberOfFrames") or 1):
        raise ScanError(
            path,
            f"{file.path.name}: a multi-frame image that does not say where each frame lies",
            "Give an enhanced CT or MR image, or one image a slice",
        )

    slices = []
    for index, frame in enumerate(frames):
        position, orientation, measures, transformation = (
            macro(file.header, index, keyword) for keyword in MACROS
        )
        groups = tuple(group for element in frame if element.VR == "SQ" for group in element.value)
        slices.append(_slice(path, file, index, position, orientation, measures, transformation, groups))
    return slices


def macro(header: Dataset, frame: int, keyword: str) -> Dataset:
    """A functional group of a frame of an enhanced image: its own, that of all frames, or else the whole header."""
    own = items(header, "PerFrameFunctionalGroupsSequence")[frame]
    for group in (own, *items(header, "SharedFunctionalGroupsSequence")):
        if found := items(group, keyword):
            item: Dataset = found[0]
            return item
    return header


def _slice(
    path: Path,
    file: DicomFile,
    frame: int | None,
    position: Dataset,
    orientation: Dataset,
    measures: Dataset,
    transformation: Dataset,
    groups: tuple[Dataset, ...],
) -> Slice:
    header, name = file.header, file.path.name
    photometric = str(header.get("PhotometricInterpretation") or "MONOCHROME2")
    if number(header.get("SamplesPerPixel") or 1) != 1 or not photometric.startswith("MONOCHROME"):
        raise ScanError(path, f"{name}: an image in colour ({photometric})", "Give images of grey values")
    place = _numbers(path, name, "position", position.get("ImagePositionPatient"), 3)
    axes = _numbers(path, name, "orientation", orientation.get("ImageOrientationPatient"), 6)
    pixel = _numbers(path, name, "pixel size", measures.get("PixelSpacing"), 2)
    row, column = axes[:3], axes[3:]
    lengths = np.array([np.linalg.norm(row), np.linalg.norm(column)])
    if np.abs(lengths - 1).max() > UNIT or abs(row @ column) > UNIT:
        raise ScanError(
            path, f"{name}: row and column directions are not perpendicular unit vectors", EXPORT_AGAIN
        )
    slope = number(transformation.get("RescaleSlope") or 1.0)
    intercept = number(transformation.get("RescaleIntercept") or 0.0)
    size = int(number(header.Columns)), int(number(header.Rows))
    if min(*pixel, *size) <= 0:
        raise ScanError(path, f"{name}: its header is damaged", EXPORT_AGAIN)
    spacing = float(pixel[1]), float(pixel[0])
    return Slice(file, frame, place, row, column, spacing, size, slope, intercept, groups)


def _numbers(path: Path, name: str, what: str, value: Any, count: int) -> Vector:
    """The finite numbers of a multi-valued attribute.

    Raises:
        ScanError: If there are not as many.
    """
    try:
        return numbers(value, count)
    except OddValueError as error:
        raise ScanError(
            path, f"{name}: the header does not state the {what} of the image", EXPORT_AGAIN
        ) from error
