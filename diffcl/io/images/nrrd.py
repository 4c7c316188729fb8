"""NRRD files, whose header is looked at before ITK reads them.

ITK's parser writes beyond its memory over some headers, so every field is known, counted and finite before it sees one.

Source:
    https://teem.sourceforge.net/nrrd/format.html
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from diffcl.errors import ScanError
from diffcl.geometry import Geometry, GeometryError
from diffcl.io.formats import LONGEST_HEADER
from diffcl.io.images.integrity import (
    EXPORT_AGAIN,
    check_length,
    check_size,
    data_beside,
    inflated,
    misplaced,
)

NAMES: Final = {
    1: ("signed char", "int8", "int8_t", "uchar", "unsigned char", "uint8", "uint8_t"),
    2: (
        "short", "short int", "signed short", "signed short int", "int16", "int16_t",
        "ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t",
    ),
    4: ("int", "signed int", "int32", "int32_t", "uint", "unsigned int", "uint32", "uint32_t", "float"),
    8: (
        "longlong", "long long", "long long int", "signed long long", "signed long long int", "int64", "int64_t",
        "ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t", "double",
    ),
}  # fmt: skip
BYTES: Final = {name: count for count, names in NAMES.items() for name in names}
"""Type of a voxel and its bytes."""

GZIP: Final = ("gz", "gzip")
TEXT: Final = ("txt", "text", "ascii")
RAW: Final = "raw"

PER_AXIS: Final = (
    "sizes",
    "spacings",
    "thicknesses",
    "axismins",
    "axismaxs",
    "centers",
    "centerings",
    "kinds",
)
"""Fields with one word an axis; `labels` and `units` are quoted."""

FIELDS: Final = (
    *PER_AXIS, "labels", "units", "number", "type", "dimension", "blocksize", "content", "min", "max", "oldmin",
    "oldmax", "endian", "encoding", "lineskip", "byteskip", "sampleunits", "space", "spacedimension", "spaceunits",
    "spaceorigin", "spacedirections", "measurementframe", "datafile",
)  # fmt: skip
"""Every field of the format, without blanks."""

VECTOR: Final = re.compile(r"\(([^()]*)\)|(none)", re.IGNORECASE)

IN_SPACE: Final = ("domain", "space", "none", "???")
"""Kinds of axes along which voxels lie side by side."""

KINDS: Final = frozenset({
    *IN_SPACE, "time", "list", "point", "vector", "covariant-vector", "normal", "stub", "scalar", "complex", "2-vector",
    "3-color", "rgb-color", "hsv-color", "xyz-color", "4-color", "rgba-color", "3-vector", "3-gradient", "3-normal",
    "4-vector", "quaternion", "2d-symmetric-matrix", "2d-masked-symmetric-matrix", "2d-matrix", "2d-masked-matrix",
    "3d-symmetric-matrix", "3d-masked-symmetric-matrix", "3d-matrix", "3d-masked-matrix",
})  # fmt: skip
"""Every kind of axis of the format."""

MILLIMETRES: Final = ("", "mm", "millimeter", "millimeters", "millimetre", "millimetres")

MOST_AXES: Final = 16

LONGEST_LINE: Final = 2000

LONGEST_WORD: Final = 64
"""Letters of a number or a kind; every word of the format is shorter."""

LONGEST_TEXT: Final = 255
"""Letters of a name."""


@dataclass(frozen=True)
class NrrdHeader:
    """What the header of an NRRD file says.

    Attributes:
        fields: Fields by name, without blanks and in lower case.
        size: Voxels along each axis, the fastest first.
        spatial: Which axes lie in space; the others hold several values a voxel.
        metadata: Lines of the form `key:=value`.
    """

    fields: dict[str, str]
    size: tuple[int, ...]
    spatial: tuple[int, ...]
    metadata: dict[str, str]


def read_nrrd(path: Path) -> sitk.Image:
    """Read an NRRD file as ITK does, with its own type, after a look at its header.

    Raises:
        ScanError: If it is none or is damaged.
        OSError: If it cannot be read.
    """
    check_nrrd(path)
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.SetImageIO("NrrdImageIO")
    try:
        image: sitk.Image = reader.Execute()
    except RuntimeError as error:
        raise ScanError(path, "damaged, or not the format that its name says", EXPORT_AGAIN) from error
    return image


def check_nrrd(path: Path) -> None:
    """Refuse a file that is not NRRD, or keeps its voxels elsewhere than in itself or in one file beside it.

    Raises:
        ScanError: Naming the file and what is wrong.
        OSError: If the file cannot be opened.
    """
    header, end = _read(path)
    _check_place(path, header)
    name = header.fields.get("datafile")
    data = path if name is None else data_beside(path, name)
    start = end if name is None else 0
    encoding = header.fields.get("encoding", "").lower()
    skip = _whole_numbers(path, header.fields.get("byteskip", "0")) + _whole_numbers(
        path, header.fields.get("lineskip", "0")
    )
    if len(skip) != 2 or skip[0] < -1 or skip[1] < 0 or (skip[0] == -1 and encoding != RAW):
        raise _damaged(path)
    count = math.prod(header.size)
    if encoding == RAW:
        promised = count * BYTES[header.fields["type"].lower()]
        present = data.stat().st_size - start - max(skip[0], 0)
        check_length(path, present, present if skip[0] == -1 and present >= promised else promised)
    elif encoding in GZIP:
        with data.open("rb") as file:
            file.seek(start)
            for _ in range(skip[1]):
                file.readline()
            for _ in inflated(path, file.read(), count * BYTES[header.fields["type"].lower()] + skip[0]):
                pass
    elif encoding in TEXT:
        check_length(path, min(data.stat().st_size - start, count), count)
    else:
        raise ScanError(
            path, f"its voxels are encoded as {encoding[:20]}, which is not read", "Save it raw or as gzip"
        )


def read_header(path: Path) -> NrrdHeader:
    """The header of an NRRD file, of which every field is known and has the right number of parts.

    Raises:
        ScanError: If the file is none, or its header is damaged.
        OSError: If it cannot be read.
    """
    return _read(path)[0]


def _read(path: Path) -> tuple[NrrdHeader, int]:
    """The header, and where the data begin."""
    with path.open("rb") as file:
        content = file.read(LONGEST_HEADER)
    if not re.match(rb"NRRD000[1-5]\r?\n", content):
        raise ScanError(path, "not an NRRD file", "Give a NIfTI, NRRD or MetaImage file")
    end = re.search(rb"\r?\n\r?\n", content)
    if end is None and len(content) == LONGEST_HEADER:
        raise _damaged(path)
    lines = content[: end.start() if end else None].decode("utf-8", "surrogateescape").split("\n")[1:]
    fields: dict[str, str] = {}
    metadata: dict[str, str] = {}
    for line in (line.removesuffix("\r") for line in lines):
        key, between, value = _parts(line)
        if line.startswith("#") or not line:
            continue
        if between == ":=" and key:
            metadata[key] = value
            continue
        name = key.lower().replace(" ", "")
        if (
            between != ": "
            or name not in FIELDS
            or name in fields
            or len(line) > LONGEST_LINE
            or not line.isprintable()
        ):
            raise _damaged(path)
        longest = LONGEST_TEXT if name in {"content", "datafile"} else LONGEST_WORD
        if any(
            len(word) > longest for word in re.split(r"[\s,()]+", value)
        ):  # ITK copies words into fixed memory
            raise _damaged(path)
        fields[name] = value.strip()
    return _counted(path, fields, metadata), end.end() if end else len(content)


def _parts(line: str) -> tuple[str, str, str]:
    """The field of a line, what follows it, and its value."""
    found = re.match(r"([^:]*)(:=|: |:)(.*)", line, re.DOTALL)
    if found is None:
        return line, "", ""
    between = ": " if found[2] == ":" and not found[3] else found[2]
    return found[1], between, found[3]


def _counted(path: Path, fields: dict[str, str], metadata: dict[str, str]) -> NrrdHeader:
    """The header of fields whose parts are counted."""
    if not {"dimension", "sizes", "type"} <= fields.keys():
        raise _damaged(path)
    (axes,) = _whole_numbers(path, fields["dimension"]) or [0]
    size = tuple(_whole_numbers(path, fields["sizes"]))
    words = [name for name in PER_AXIS if name in fields]
    if not 1 <= axes <= MOST_AXES or any(len(fields[name].split()) != axes for name in words):
        raise _damaged(path)
    quoted = [fields[name] for name in ("labels", "units") if name in fields]
    if any(len(re.findall(r'"[^"]*"', text)) != axes or text.count('"') != 2 * axes for text in quoted):
        raise _damaged(path)
    if min(size) < 1 or fields["type"].lower() not in BYTES:
        raise _damaged(path)
    check_size(path, size)
    kinds = fields["kinds"].lower().split() if "kinds" in fields else ["domain"] * axes
    if not set(kinds) <= KINDS:
        raise _damaged(path)
    if "spacedirections" in fields:
        found = VECTOR.findall(fields["spacedirections"])
        if len(found) != axes or VECTOR.sub("", fields["spacedirections"]).strip():
            raise _damaged(path)
        spatial = tuple(axis for axis, (numbers, _) in enumerate(found) if numbers)
    else:
        spatial = tuple(axis for axis, kind in enumerate(kinds) if kind in IN_SPACE)
    return NrrdHeader(fields, size, spatial, metadata)


def _check_place(path: Path, header: NrrdHeader) -> None:
    """Refuse a header whose numbers about space are not finite, do not fit each other, or make no grid."""
    fields = header.fields
    dimension = _space_dimension(path, fields)
    for name in ("spacedirections", "spaceorigin", "measurementframe"):
        vectors = [vector for vector, _ in VECTOR.findall(fields.get(name, "")) if vector]
        if any(len(_numbers(path, vector, ",")) != dimension for vector in vectors):
            raise _damaged(path)
    if len(VECTOR.findall(fields.get("spaceorigin", "()"))) != 1 or (
        dimension and "spacings" in fields and "spacedirections" in fields
    ):
        raise _damaged(path)
    frame = VECTOR.findall(fields.get("measurementframe", ""))
    if frame and len(frame) != dimension:
        raise _damaged(path)
    units = re.findall(r'"([^"]*)"', fields.get("spaceunits", ""))
    if "spaceunits" in fields and len(units) != dimension:
        raise _damaged(path)
    spacings = fields.get("spacings", "").split()
    if not np.isfinite([_numbers(path, spacings[axis])[0] for axis in header.spatial if spacings]).all():
        raise _damaged(path)
    for name in ("axismins", "axismaxs", "thicknesses"):
        _numbers(path, fields.get(name, ""), finite=False)
    strange = [unit for unit in units if unit.strip().lower() not in MILLIMETRES]
    try:
        geometry = _grid(path, header, dimension)
    except GeometryError as error:
        told = f'{error}; its header says "{strange[0][:20]}"' if strange else str(error)
        raise misplaced(path, GeometryError(told)) from error
    if strange and geometry is not None:
        wide = f"it would be {geometry.extent.max() / 1000:.3g} m wide"
        raise ScanError(
            path, f'its positions are in "{strange[0][:20]}", in millimetres {wide}', "Save it in millimetres"
        )


def _grid(path: Path, header: NrrdHeader, dimension: int) -> Geometry | None:
    """The grid of a header that has directions of three axes in three dimensions, up to the signs of the world's."""
    if dimension != 3 or len(header.spatial) != 3 or "spacedirections" not in header.fields:
        return None
    found = [vector for vector, _ in VECTOR.findall(header.fields["spacedirections"]) if vector]
    steps: NDArray[np.float64] = np.array([_numbers(path, vector, ",") for vector in found]).T
    origin = [vector for vector, _ in VECTOR.findall(header.fields.get("spaceorigin", "(0,0,0)"))]
    with np.errstate(all="ignore"):  # what is not finite is refused next
        spacing = np.linalg.norm(steps, axis=0)
    if not np.isfinite(spacing).all():
        raise GeometryError("its voxel size, position or orientation is not a number")
    if not spacing.all():
        raise GeometryError("its voxels are 0 mm wide")
    x, y, z = (header.size[axis] for axis in header.spatial)
    return Geometry.straightened((x, y, z), spacing, _numbers(path, origin[0], ","), steps / spacing)[0]


def _space_dimension(path: Path, fields: dict[str, str]) -> int:
    """How many dimensions the space of the header has; 0 for none."""
    if "space" in fields:
        return 4 if "time" in fields["space"].lower() or fields["space"].lower().endswith("t") else 3
    stated = _whole_numbers(path, fields.get("spacedimension", "0"))
    if len(stated) != 1 or not 0 <= stated[0] <= MOST_AXES // 2:
        raise _damaged(path)
    return stated[0]


def _whole_numbers(path: Path, text: str) -> list[int]:
    words = text.split()
    if not all(re.fullmatch(r"[+-]?\d{1,18}", word, re.ASCII) for word in words):
        raise _damaged(path)
    return [int(word) for word in words]


def _numbers(path: Path, text: str, between: str | None = None, *, finite: bool = True) -> list[float]:
    try:
        numbers = [float(word) for word in text.split(between)]
    except ValueError as error:
        raise _damaged(path) from error
    if finite and not np.isfinite(numbers).all():
        raise ScanError(path, "its voxel size, position or orientation is not a number", EXPORT_AGAIN)
    return numbers


def _damaged(path: Path) -> ScanError:
    return ScanError(path, "its NRRD header is damaged", EXPORT_AGAIN)
