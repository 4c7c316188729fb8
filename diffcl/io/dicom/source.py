"""A DICOM series as the source of an object made from it: what segmentations and reports need of it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.valuerep import format_number_as_ds

from diffcl.errors import OutputError
from diffcl.io.dicom.headers import DAMAGED
from diffcl.io.dicom.series import DicomSeries

CARRIED: Final = (
    "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID",
    "PositionReferenceIndicator", "Rows", "Columns", "ImagePositionPatient",
    "ImageOrientationPatient", "PixelSpacing", "SliceThickness", "LossyImageCompression",
    "LossyImageCompressionRatio", "LossyImageCompressionMethod", "NumberOfFrames",
)  # fmt: skip
"""What of an image an object made from it refers to or repeats."""

BLANK: Final = (
    "PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate",
    "StudyTime", "ReferringPhysicianName",
)  # fmt: skip
"""Left empty until the object is made: highdicom checks these values, and warns with the patient's name."""


def source_images(series: DicomSeries, path: Path) -> list[Dataset]:
    """The images of a series for highdicom, in the order of their slices, without the patient.

    Args:
        series: The series.
        path: What is to be written, for the error.

    Raises:
        OutputError: If the series has no frame of reference, which every object made from it refers to.
    """
    images = [_image(series, header) for header in series.headers]
    if not images[0].get("FrameOfReferenceUID"):
        raise OutputError(
            path, "the series has no frame of reference to refer to", "Write the label as .nii.gz or .nrrd"
        )
    if series.frames:
        _regroup(series, images[0])
    return images


@contextmanager
def made_from(series: DicomSeries, path: Path) -> Iterator[None]:
    """Turn what pydicom and highdicom raise over a damaged header into an error for people.

    Raises:
        OutputError: For everything in `DAMAGED`; the patient is not named.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about odd values in headers that are not ours
        try:
            yield
        except DAMAGED as error:
            raise OutputError(
                path,
                f"series {series.uid} has headers that cannot be referred to ({type(error).__name__})",
                "Write the label as .nii.gz or .nrrd",
            ) from error


def series_number(series: DicomSeries, offset: int) -> int:
    """Number for a series of results: that of the source, or 0 where it has none, plus an offset."""
    return max(int(series.headers[0].get("SeriesNumber") or 0), 0) + offset


def _image(series: DicomSeries, header: Dataset) -> Dataset:
    image = Dataset()
    for keyword in CARRIED:
        if keyword in header:
            image[keyword] = header[keyword]
    image.Modality = series.modality or "OT"
    for keyword in BLANK:
        setattr(image, keyword, "")
    image.SpacingBetweenSlices = format_number_as_ds(series.geometry.spacing[2])
    if not image.get("SliceThickness"):
        image.SliceThickness = image.SpacingBetweenSlices
    return image


def _regroup(series: DicomSeries, image: Dataset) -> None:
    """Give a multi-frame image its functional groups, those that are alike for all frames as shared."""
    header = series.headers[0]
    groups = [*header.get("SharedFunctionalGroupsSequence", ()), header.PerFrameFunctionalGroupsSequence[0]]
    shared = Dataset()
    for keyword in ("PlaneOrientationSequence", "PixelMeasuresSequence"):
        shared[keyword] = next(group for group in groups if group.get(keyword))[keyword]
    image.SharedFunctionalGroupsSequence = Sequence([shared])
    frames = []
    for group in header.PerFrameFunctionalGroupsSequence:
        frame = Dataset()
        frame.PlanePositionSequence = group.PlanePositionSequence
        frames.append(frame)
    image.PerFrameFunctionalGroupsSequence = Sequence(frames)
