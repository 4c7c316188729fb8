"""MetaImage files, .mha and .mhd.

ITK reads them too, but prints several lines to the standard error over a damaged one, loops for ever over a matrix that
is not finite, and gives zeros for compressed voxels whose number of bytes is not stated.

Source:
    The MetaIO documentation of ITK, https://docs.itk.org/en/latest/learn/metaio.html
"""

from __future__ import annotations

import math
import os
import re
from pathlib import Path
from typing import Any, Final

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from diffcl.errors import ScanError
from diffcl.geometry import FARTHEST_MM, Geometry, GeometryError
from diffcl.io.formats import LONGEST_HEADER
from diffcl.io.images.integrity import (
    EXPORT_AGAIN,
    NO_VOXEL_SIZE,
    check_length,
    check_one_volume,
    check_size,
    data_beside,
    inflated,
    misplaced,
    one_volume,
    straightened_remark,
)

ELEMENTS: Final = {
    "MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2", "MET_INT": "i4",
    "MET_UINT": "u4", "MET_LONG": "i4", "MET_ULONG": "u4", "MET_LONG_LONG": "i8", "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4", "MET_DOUBLE": "f8",
}  # fmt: skip
"""Element types and what numpy calls them, without the order of bytes."""

MATRIX: Final = ("TransformMatrix", "Rotation", "Orientation")
PLACE: Final = ("Offset", "Position", "Origin")
SPACING: Final = ("ElementSpacing", "ElementSize")
"""Fields that mean the same, of which a header may have several if they say the same. A voxel may be smaller than the
distance to the next one, which counts."""

LOCAL: Final = ("LOCAL", "Local", "local")
"""What stands for the file itself."""

MILLIMETRES: Final = ("", "mm", "?", "none", "unknown")

LONGEST_LINE: Final = 1 << 16

LONGEST_NUMBER: Final = 32
"""Bytes of a voxel that is written as text, at most."""

MOST_AXES: Final = 4


def read_metaimage(path: Path) -> tuple[sitk.Image, tuple[str, ...]]:
    """Read a MetaImage file of one volume and one value a voxel with its own type, and what is odd about it.

    Raises:
        ScanError: If it is none, is damaged, ends early, or keeps its voxels in other folders.
        OSError: If it cannot be read.
    """
    fields, end = _read_header(path)
    size = _size(path, fields)
    grid, moved = _grid(path, fields, size)
    name = fields["ElementDataFile"]
    data, start = (path, end) if name in LOCAL else (data_beside(path, name), 0)
    image = grid.place(_voxels(path, fields, data, start, grid.size))
    remarks = [straightened_remark(moved)] if moved else []
    if not {*SPACING} & fields.keys():
        remarks.append(NO_VOXEL_SIZE)
    return image, tuple(remarks)


def check_metaimage(path: Path) -> None:
    """Refuse what `read_metaimage` refuses.

    Raises:
        ScanError: Naming the file and what is wrong.
        OSError: If the file cannot be opened.
    """
    read_metaimage(path)


def _read_header(path: Path) -> tuple[dict[str, str], int]:
    """The fields of a file, and where its header ends."""
    with path.open("rb") as file:
        content = file.read(LONGEST_HEADER)
    header = re.match(rb"(?s).*?^ElementDataFile[ \t]*=[^\n]*\n?", content, re.MULTILINE)
    fields = _fields(path, header[0]) if header else {}
    if header is None or not {"NDims", "DimSize", "ElementType"} <= fields.keys():
        raise ScanError(path, "not a MetaImage file", "Give a NIfTI, NRRD or MetaImage file")
    return fields, header.end()


def _fields(path: Path, header: bytes) -> dict[str, str]:
    """The fields of a header, each of which stands there once."""
    fields: dict[str, str] = {}
    for line in header.decode("latin-1").split("\n"):
        found = re.fullmatch(r"(\w{1,64})[ \t]*=[ \t]*([^\x00-\x08\x0a-\x1f]*?)[ \t\r]*", line, re.ASCII)
        if line.strip() and (found is None or found[1] in fields or len(line) > LONGEST_LINE):
            raise (
                _damaged(path)
                if fields
                else ScanError(path, "not a MetaImage file", "Give a NIfTI, NRRD or MetaImage file")
            )
        if found:
            fields[found[1]] = found[2]
    return fields


def _size(path: Path, fields: dict[str, str]) -> list[int]:
    """Voxels along each axis."""
    size = _whole_numbers(path, fields["DimSize"])
    channels = _whole_numbers(path, fields.get("ElementNumberOfChannels", "1"))
    if (
        [len(size)] != _whole_numbers(path, fields["NDims"])
        or len(channels) != 1
        or min(*size, *channels, 2) < 1
    ):
        raise _damaged(path)
    if fields["ElementType"].removesuffix("_ARRAY") not in ELEMENTS:
        raise _damaged(path)
    if len(size) > MOST_AXES:
        raise ScanError(path, f"a {len(size)}D image", one_volume(len(size)))
    check_one_volume(path, size)
    check_size(path, size)
    if channels != [1]:
        raise ScanError(
            path, f"holds {channels[0]} values a voxel", "Give a scan with one grey value a voxel"
        )
    return size


def _grid(path: Path, fields: dict[str, str], size: list[int]) -> tuple[Geometry, float]:
    """Where the voxels lie, and by how many voxels the axes had to be straightened."""
    axes = len(size)
    spacing = _numbers(path, fields, SPACING, [1.0] * axes)
    origin = _numbers(path, fields, PLACE, [0.0] * axes)
    matrix = np.reshape(_numbers(path, fields, MATRIX, np.eye(axes).ravel().tolist()), (axes, axes)).T
    unit = fields.get("DistanceUnits", "")
    if unit.lower() not in MILLIMETRES:
        raise ScanError(
            path, f"its positions are in {unit[:20]}, not in millimetres", "Save it in millimetres"
        )
    try:
        return Geometry.straightened((size[0], size[1], size[2]), spacing[:3], origin[:3], matrix[:3, :3])
    except GeometryError as error:
        raise misplaced(path, error) from error


def _voxels(
    path: Path, fields: dict[str, str], file: Path, start: int, size: tuple[int, int, int]
) -> NDArray[Any]:
    """The voxels `(X, Y, Z)`, in the order of memory of ITK."""
    big = any(_is_true(fields.get(name, "")) for name in ("BinaryDataByteOrderMSB", "ElementByteOrderMSB"))
    dtype = np.dtype((">" if big else "<") + ELEMENTS[fields["ElementType"].removesuffix("_ARRAY")])
    count = math.prod(size)
    promised = count * dtype.itemsize
    (skip,) = _whole_numbers(path, fields.get("HeaderSize", "0"))
    if skip < -1:
        raise _damaged(path)
    present = max(file.stat().st_size - start, 0)
    packed = _is_true(fields.get("CompressedData", "False"))
    with file.open("rb") as stream:
        if not _is_true(fields.get("BinaryData", "True")):
            stream.seek(start)
            return _of_text(path, stream.read(LONGEST_NUMBER * count), count, dtype).reshape(size, order="F")
        if packed:
            stream.seek(start + max(skip, 0))
            data = b"".join(inflated(path, stream.read(), promised))
        elif skip == -1:  # the voxels are what stands at the end
            check_length(path, min(present, promised), promised)
            stream.seek(-promised, os.SEEK_END)
            data = stream.read(promised)
        else:
            check_length(path, present - skip, promised)
            stream.seek(start + skip)
            data = stream.read(promised)
    voxels = np.frombuffer(data, dtype, count)
    return voxels.astype(dtype.newbyteorder("=")).reshape(size, order="F")


def _of_text(path: Path, text: bytes, count: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Voxels that are written as numbers."""
    words = text.split()
    check_length(path, min(len(words), count), count)
    try:
        return np.array(words[:count], np.float64).astype(dtype.newbyteorder("="))
    except ValueError as error:
        raise _damaged(path) from error


def _is_true(text: str) -> bool:
    """Whether MetaIO takes a value as true: it looks at the first letter only."""
    return text[:1] in {"T", "t", "1"}


def _whole_numbers(path: Path, text: str) -> list[int]:
    words = text.split()
    if not words or not all(re.fullmatch(r"[+-]?\d{1,18}", word, re.ASCII) for word in words):
        raise _damaged(path)
    return [int(word) for word in words]


def _numbers(path: Path, fields: dict[str, str], keys: tuple[str, ...], usual: list[float]) -> list[float]:
    """The numbers of the first of several fields that mean the same."""
    present = [key for key in keys if key in fields]
    try:
        every = [[float(word) for word in fields[key].split()] for key in present]
    except ValueError as error:
        raise _damaged(path) from error
    numbers = every[0] if every else usual
    if len(numbers) != len(usual):
        raise _damaged(path)
    if keys != SPACING and any(other != numbers for other in every):
        raise ScanError(
            path, f"its {' and '.join(present)} are not the same", "Keep one of them in its header"
        )
    if not np.isfinite(numbers).all() or np.abs(numbers).max() > FARTHEST_MM:
        raise ScanError(path, "its voxel size, position or orientation is not a number", EXPORT_AGAIN)
    return numbers


def _damaged(path: Path) -> ScanError:
    return ScanError(path, "its MetaImage header is damaged", EXPORT_AGAIN)
