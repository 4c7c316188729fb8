"""A DICOM series as the source of an object made from it: what segmentations and reports need of it."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import MRImageStorage, generate_uid
from pydicom.valuerep import format_number_as_ds

from diffcl.errors import OutputError
from diffcl.io.dicom.damage import damage_as
from diffcl.io.dicom.series import DicomSeries
from diffcl.io.dicom.slices import macro

CARRIED: Final = (
    "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID",
    "PositionReferenceIndicator", "Rows", "Columns", "ImagePositionPatient",
    "ImageOrientationPatient", "PixelSpacing", "SliceThickness", "LossyImageCompression",
    "LossyImageCompressionRatio", "LossyImageCompressionMethod", "NumberOfFrames",
)  # fmt: skip
"""What of an image an object made from it refers to or repeats."""

PLACES: Final = {
    "ImagePositionPatient": "PlanePositionSequence",
    "ImageOrientationPatient": "PlaneOrientationSequence",
    "PixelSpacing": "PixelMeasuresSequence",
}
"""Where an enhanced image says what another says of itself."""

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
    frames = series.frames if len(series.headers) > 1 and series.frames else [0] * len(series.headers)
    images = [_image(series, header, frame) for header, frame in zip(series.headers, frames, strict=True)]
    if not images[0].get("FrameOfReferenceUID"):
        raise OutputError(
            path, "the series has no frame of reference to refer to", "Write the label as .nii.gz or .nrrd"
        )
    if len(images) == 1:
        _regroup(series, images[0])
    return images


def told_apart(images: list[Dataset], series: DicomSeries) -> list[Dataset]:
    """The same images as highdicom takes several: each with an identifier of its own, and of a kind of one frame."""
    enhanced = len(images) > 1 and any("PerFrameFunctionalGroupsSequence" in one for one in series.headers)
    if len({image.SOPInstanceUID for image in images}) == len(images) and not enhanced:
        return images
    apart = [copy.deepcopy(image) for image in images]  # one by one, for they share elements
    for image in apart:
        image.SOPInstanceUID = generate_uid()
        image.SOPClassUID = MRImageStorage if enhanced else image.SOPClassUID
    return apart


def refer(target: Dataset, apart: list[Dataset], images: list[Dataset], series: DicomSeries) -> None:
    """Let what was made from images that were `told_apart` refer to the images themselves.

    A frame made from an image that shares its identifier with another refers to none: its position says where it
    belongs.
    """
    if apart is images:
        return
    frames = series.frames or (None,) * len(images)
    meant = {
        one.SOPInstanceUID: (image, frame) for one, image, frame in zip(apart, images, frames, strict=True)
    }
    sharing = Counter((image.SOPInstanceUID, frame) for image, frame in meant.values())
    for series_item in target.ReferencedSeriesSequence:
        items = {}
        for item in series_item.ReferencedInstanceSequence:
            image, _ = meant[item.ReferencedSOPInstanceUID]
            items[image.SOPInstanceUID] = _pointing(item, image)
        series_item.ReferencedInstanceSequence = Sequence(items.values())
    for group in target.PerFrameFunctionalGroupsSequence:
        derivations = copy.deepcopy(group.DerivationImageSequence)  # frames may share one
        for derivation in derivations:
            image, frame = meant[derivation.SourceImageSequence[0].ReferencedSOPInstanceUID]
            for item in derivation.SourceImageSequence:
                _pointing(item, image)
                if frame is not None:
                    item.ReferencedFrameNumber = frame + 1
            if sharing[image.SOPInstanceUID, frame] > 1:
                derivations = Sequence()
        group.DerivationImageSequence = derivations


def _pointing(item: Dataset, image: Dataset) -> Dataset:
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = image.SOPClassUID, image.SOPInstanceUID
    return item


@contextmanager
def made_from(series: DicomSeries, path: Path) -> Iterator[None]:
    """Turn what pydicom and highdicom raise over odd headers into an error for people.

    Raises:
        OutputError: For what these libraries raise; the patient is not named.
    """
    what = f"series {series.uid} has headers that cannot be referred to"
    with damage_as(OutputError(path, what, "Write the label as .nii.gz or .nrrd")):
        yield


def _image(series: DicomSeries, header: Dataset, frame: int) -> Dataset:
    """What an object needs of an image; of one of several enhanced images, of one of its frames."""
    image = Dataset()
    for keyword in CARRIED:
        if keyword in header:
            image[keyword] = header[keyword]
    if len(series.headers) > 1:
        image.pop("NumberOfFrames", None)
        if "PerFrameFunctionalGroupsSequence" in header:
            for keyword, place in PLACES.items():
                image[keyword] = macro(header, frame, place)[keyword]
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
