"""Which files are scans, and what a case is called."""

from __future__ import annotations

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
    >>> scan_name(Path("scans/1.2.840"))
    '1.2.840'
    """
    suffix = image_suffix(path)
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


def is_scan(path: Path) -> bool:
    """Whether a file has the suffix of an image, or is DICOM, or a folder holds a DICOM file.

    The content is not checked: that is what reading does.
    """
    if path.is_dir():
        return any(is_dicom(file) for file in path.iterdir() if file.is_file())
    return image_suffix(path) is not None or path.suffix.lower() == DICOM_SUFFIX
