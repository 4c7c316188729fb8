"""Files of a series that are copies of others, told from different images that share an identifier."""

from __future__ import annotations

import filecmp
from collections import defaultdict
from pathlib import Path

import numpy as np

from diffcl.errors import ScanError
from diffcl.io.dicom.decoder import Decoder
from diffcl.io.dicom.headers import DicomFile, read_header
from diffcl.io.dicom.pixels import read_stored

PLACE = (
    "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "NumberOfFrames", "RescaleSlope",
    "RescaleIntercept", "PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence",
)  # fmt: skip
"""What copies have in common besides their pixels."""


def without_copies(files: list[DicomFile]) -> tuple[list[DicomFile], tuple[str, ...]]:
    """Leave out files that are copies of another, and say so; and say where different images share an identifier.

    A copy has the SOPInstanceUID of another file, and is the same byte for byte or has the same pixels at the same
    place. Some programs give different slices one SOPInstanceUID; these are all kept.

    Raises:
        ScanError: If pixels that are to be compared are damaged.
    """
    sharing: dict[str, list[DicomFile]] = defaultdict(list)
    for file in files:
        sharing[str(file.header.get("SOPInstanceUID", file.path))].append(file)
    kept: set[int] = set()
    alike = 0
    with Decoder() as decode:
        for group in sharing.values():
            different: list[DicomFile] = []
            for file in group:
                if not any(_is_copy(file, other, decode) for other in different):
                    different.append(file)
            kept.update(map(id, different))
            alike += len(different) if len(different) > 1 else 0
    remarks = []
    if copies := len(files) - len(kept):
        remarks.append(f"{copies} of {len(files)} files are copies of others and were left out")
    if alike:
        remarks.append(
            f"{alike} of {len(kept)} images share their SOPInstanceUID with another; all were used, and a DICOM "
            "segmentation refers to these by their position alone"
        )
    return [file for file in files if id(file) in kept], tuple(remarks)


def lies_elsewhere(one: Path, other: Path) -> bool:
    """Whether two files are images of different places; not if one of them cannot be read."""
    try:
        headers = [read_header(file).header for file in (one, other)]
    except ScanError:
        return False
    return any(headers[0].get(keyword) != headers[1].get(keyword) for keyword in PLACE)


def _is_copy(one: DicomFile, other: DicomFile, decode: Decoder) -> bool:
    if filecmp.cmp(one.path, other.path, shallow=False):
        return True
    if any(one.header.get(keyword) != other.header.get(keyword) for keyword in PLACE):
        return False
    first, second = (read_stored(file.path.parent, file.path, decode).values for file in (one, other))
    return np.array_equal(first, second)
