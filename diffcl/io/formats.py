"""Which files are scans, and what a case is called."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

IMAGE_FORMATS: Final = {
    ".nii.gz": "NiftiImageIO",
    ".nii": "NiftiImageIO",
    ".nrrd": "NrrdImageIO",
    ".nhdr": "NrrdImageIO",
    ".mha": "MetaImageIO",
    ".mhd": "MetaImageIO",
}
"""Suffix of an image file and the part of ITK that reads it."""

SEGMENTATIONS: Final = (".seg.nrrd", ".seg.nhdr")
"""Suffixes of 3D Slicer's segmentations, which are label maps with the names of their segments."""

DETACHED: Final = (".mhd", ".nhdr")
"""Suffixes of headers whose voxels may be in a file beside them."""

LONGEST_HEADER: Final = 1 << 20
"""Bytes in which the header of a MetaImage or NRRD file must end; 3D Slicer writes half a kilobyte a segment."""

DICOM_SUFFIX: Final = ".dcm"


def image_suffix(path: Path) -> str | None:
    """The known suffix of an image file, in lower case, or None.

    >>> image_suffix(Path("p07/T1.NII.GZ"))
    '.nii.gz'
    """
    name = path.name.lower()
    return next((suffix for suffix in IMAGE_FORMATS if name.endswith(suffix)), None)


def scan_name(path: Path) -> str:
    """The name of a case: that of its file without the suffix, or that of its folder.

    >>> scan_name(Path("scans/p07.v2.nii.gz"))
    'p07.v2'
    >>> scan_name(Path("labels/p07.seg.nrrd"))
    'p07'
    >>> scan_name(Path("scans/1.2.840"))
    '1.2.840'
    """
    name = path.name.lower()
    suffix = next((suffix for suffix in SEGMENTATIONS if name.endswith(suffix)), image_suffix(path))
    if suffix is None and path.suffix.lower() == DICOM_SUFFIX:
        suffix = DICOM_SUFFIX
    return path.name[: -len(suffix)] if suffix else path.name


def is_dicom(path: Path) -> bool:
    """Whether a file begins as a DICOM file does: 128 bytes of any kind, then `DICM`."""
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


def is_segmentation(path: Path) -> bool:
    """Whether a file has the suffix of a segmentation of 3D Slicer."""
    return path.name.lower().endswith(SEGMENTATIONS)


def is_label(path: Path) -> bool:
    """Whether a file or folder may be a label map: what may be a scan, and a segmentation of 3D Slicer."""
    return is_segmentation(path) or is_scan(path)


def is_scan(path: Path) -> bool:
    """Whether a file has the suffix of an image, or is DICOM, or a folder holds a DICOM file.

    The content is not checked: that is what reading does. A segmentation of 3D Slicer is no scan.
    """
    if is_segmentation(path):
        return False
    if path.is_dir():
        return any(is_dicom(file) for file in path.iterdir() if file.is_file())
    return image_suffix(path) is not None or path.suffix.lower() == DICOM_SUFFIX


def files_of(path: Path) -> list[Path]:
    """All files that a scan or label consists of: a change of one of them is a change of the scan.

    These are the files of a folder and below it, or the file and, for a `.mhd` or `.nhdr` header, the one with
    its voxels.

    Raises:
        OSError: If there is none.
    """
    if path.is_dir():
        return sorted(file for file in path.rglob("*") if file.is_file())
    files = [path]
    if image_suffix(path) in DETACHED:
        with path.open("rb") as file:
            header = file.read(LONGEST_HEADER).decode("latin-1")
        named = re.search(r"(?mi)^(?:ElementDataFile[ \t]*=|data ?file:)[ \t]*(.*?)[ \t\r]*$", header)
        if named and Path(named[1]).name == named[1] and (data := path.with_name(named[1])).is_file():
            files.append(data)
    return files
