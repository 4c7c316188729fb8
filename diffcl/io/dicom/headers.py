"""DICOM files of a folder: found, grouped into series, one series chosen."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pydicom.dataset import Dataset
from pydicom.uid import (
    UID,
    EncapsulatedPDFStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RTDoseStorage,
    RTStructureSetStorage,
    SegmentationStorage,
)

from diffcl.errors import ScanError
from diffcl.io.dicom.damage import DAMAGED, damage_as, is_damage
from diffcl.io.dicom.data_set import read_data_set
from diffcl.io.formats import DICOM_SUFFIX, is_dicom

NOT_SCANS: Final = {
    SegmentationStorage: "a segmentation (SEG)",
    RTStructureSetStorage: "radiotherapy contours (RTSTRUCT)",
    RTDoseStorage: "a radiotherapy dose (RTDOSE)",
    EncapsulatedPDFStorage: "a PDF document",
}
REPORTS: Final = "1.2.840.10008.5.1.4.1.1.88."
PRESENTATION_STATES: Final = "1.2.840.10008.5.1.4.1.1.11."
MOST_LISTED: Final = 8

UNDEFINED: Final = 0xFFFFFFFF
"""Length of an element that ends with a mark of its own, as that of compressed pixels."""

USED: Final = (
    "ImageType", "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "Modality",
    "FrameOfReferenceUID", "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation", "Rows",
    "Columns", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "RescaleSlope",
    "RescaleIntercept", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
)  # fmt: skip
"""Attributes that decide how an image is read; any other may be damaged."""

IDENTIFIERS: Final = (
    "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID",
)  # fmt: skip
"""The identifiers by which an image is referred to; it has one of each."""


@dataclass(frozen=True)
class DicomFile:
    """A DICOM file and its header, which ends before the pixels.

    The header holds the patient's name; it is kept out of `repr` and so out of logs.
    """

    path: Path
    header: Dataset = field(repr=False)


def find_dicom(folder: Path) -> list[DicomFile]:
    """The headers of all DICOM files in a folder and below it, by file name; other files are ignored.

    Raises:
        ScanError: If there is none, or one that is called `.dcm` is no DICOM file or is damaged.
    """
    files = sorted(file for file in folder.rglob("*") if file.is_file() and not file.name.startswith("."))
    candidates = [file for file in files if is_dicom(file) or file.suffix.lower() == DICOM_SUFFIX]
    found = [read_header(file) for file in candidates]
    found = [file for file in found if "DirectoryRecordSequence" not in file.header]
    if not found:
        holds = f"{len(files)} files, none of them DICOM" if files else "an empty folder"
        raise ScanError(folder, holds, "Give a folder with the images of a DICOM series")
    return found


def read_header(file: Path) -> DicomFile:
    """Read a DICOM file up to its pixels.

    Raises:
        ScanError: If it is no DICOM file, is damaged or cannot be read.
    """
    damaged = ScanError(file, "damaged, or not a DICOM file", "Export it again")
    try:
        with damage_as(damaged):
            header = read_data_set(file, stop_before_pixels=True, force=_is_without_preamble(file))
            whole = _is_whole(header)
    except OSError as error:
        raise ScanError(file, f"cannot be read ({error.strerror or type(error).__name__})") from error
    if not whole:
        lacking = [keyword for keyword in ("SOPClassUID", "SeriesInstanceUID") if not header.get(keyword)]
        if lacking and "Rows" in header:
            raise ScanError(file, f"its header lacks {lacking[0]}", "Export it with a whole header")
        raise damaged
    return DicomFile(file, header)


def transfer_syntax(image: Dataset) -> UID | None:
    """How an image that was read with its pixels is encoded; told from the content where the file does not say.

    Returns:
        The TransferSyntaxUID; None where the pixels are compressed and nothing says how.
    """
    stated = image.file_meta.get("TransferSyntaxUID")
    if stated:
        return UID(str(stated))
    pixels: Any = image.get_item("PixelData") if "PixelData" in image else None
    if pixels is not None and (pixels.length == UNDEFINED if pixels.is_raw else pixels.is_undefined_length):
        return None
    implicit, little = getattr(image, "original_encoding", None) or (  # the former is of pydicom 3
        image.read_implicit_vr, image.read_little_endian
    )  # fmt: skip
    if implicit:
        return ImplicitVRLittleEndian
    return ExplicitVRLittleEndian if little else ExplicitVRBigEndian


def _is_without_preamble(file: Path) -> bool:
    """Whether a file begins with the first group of a data set, as those of some old programs do."""
    with file.open("rb") as stream:
        return stream.read(2) in (b"\x02\x00", b"\x08\x00", b"\x00\x08")


def _is_whole(header: Dataset) -> bool:
    """Whether a header goes as far as its kind of object must, and every attribute that is used is readable."""
    if "DirectoryRecordSequence" in header:
        return True
    for keyword in USED:
        header.get(keyword)  # pydicom decodes only now, and raises over what it cannot
    if not all(isinstance(header.get(keyword) or "", str) for keyword in IDENTIFIERS):
        return False
    if "SOPClassUID" not in header or "SeriesInstanceUID" not in header:
        return False
    return "Image Storage" not in UID(str(header.SOPClassUID)).name or "Rows" in header


def text_of(header: Dataset, keyword: str) -> str:
    """An attribute of which nothing depends but what it tells people; empty where it is damaged."""
    try:
        return str(header.get(keyword, ""))
    except (*DAMAGED, OSError) as error:  # pydicom decodes only now
        if is_damage(error):
            return ""
        raise


def choose_series(path: Path, files: list[DicomFile], series_uid: str | None) -> list[DicomFile]:
    """The images of one series: the named one, or the only one that is a scan.

    Raises:
        ScanError: If there is no scan, or several and none is named; those there are, are listed by UID.
    """
    series: dict[str, list[DicomFile]] = {}
    for file in files:
        series.setdefault(str(file.header.get("SeriesInstanceUID", "")), []).append(file)
    if series_uid is not None:
        if series_uid not in series:
            raise ScanError(
                path, f"no series {series_uid}; there is {listed_series(series)}", "Choose one of these"
            )
        series = {series_uid: series[series_uid]}
    scans = {uid: members for uid, members in series.items() if not_a_scan(members[0].header) is None}
    if not scans:
        kinds = sorted({not_a_scan(members[0].header) or "" for members in series.values()})
        raise ScanError(
            path, f"holds {' and '.join(kinds)}, not a scan", "Give a folder with CT or MR images"
        )
    if len(scans) > 1:
        raise ScanError(
            path, f"holds {len(scans)} series: {listed_series(scans)}", "Choose one by its SeriesInstanceUID"
        )
    return next(iter(scans.values()))


def not_a_scan(header: Dataset) -> str | None:
    """What a DICOM object is that is no image of a scan, for people; None for an image."""
    sop_class = UID(str(header.get("SOPClassUID", "")))
    if sop_class in NOT_SCANS:
        return NOT_SCANS[sop_class]
    if sop_class.startswith(REPORTS):
        return "a structured report (SR)"
    if sop_class.startswith(PRESENTATION_STATES):
        return "a presentation state"
    if "Rows" not in header or "Columns" not in header:
        return f"an object without an image ({sop_class.name or 'of no stated kind'})"
    return None


def listed_series(series: dict[str, list[DicomFile]]) -> str:
    """Series by UID with their images, one entry each, without a word that could name the patient."""
    entries = []
    for uid, members in list(series.items())[:MOST_LISTED]:
        modality = Counter(str(file.header.get("Modality", "?")) for file in members).most_common(1)[0][0]
        entries.append(f"{uid} ({modality}, {len(members)} images)")
    more = len(series) - len(entries)
    return "; ".join(entries) + (f"; and {more} more" if more else "")
