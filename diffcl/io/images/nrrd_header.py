"""The header of an NRRD file, field by field.

Source:
    https://teem.sourceforge.net/nrrd/format.html
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from diffcl.errors import ScanError
from diffcl.io.formats import LONGEST_HEADER
from diffcl.io.images.integrity import EXPORT_AGAIN, check_size

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

MOST_AXES: Final = 16

LONGEST_LINE: Final = 2000

LONGEST_WORD: Final = 64
"""Letters of a number or a kind; every word of the format is shorter."""

ONE_VALUE: Final = (
    "type", "dimension", "blocksize", "number", "min", "max", "oldmin", "oldmax", "endian", "encoding", "lineskip",
    "byteskip", "sampleunits", "space", "spacedimension",
)  # fmt: skip
"""Fields with one value, which is no longer than a word, whatever stands between its letters."""

LONGEST_TEXT: Final = 255
"""Letters of a name."""


@dataclass(frozen=True)
class NrrdHeader:
    """What the header of an NRRD file says.

    Attributes:
        fields: Fields by name, without blanks and in lower case.
        size: Voxels along each axis, the fastest first.
        spatial: Which axes lie in space; the others hold several values a voxel.
        kinds: Of each axis, in lower case; empty where the header names none.
        metadata: Lines of the form `key:=value`.
        length: Bytes of the header, after which the voxels begin where they lie in the same file.
    """

    fields: dict[str, str]
    size: tuple[int, ...]
    spatial: tuple[int, ...]
    kinds: tuple[str, ...]
    metadata: dict[str, str]
    length: int


def read_header(path: Path) -> NrrdHeader:
    """The header of an NRRD file, of which every field is known and has the right number of parts.

    Raises:
        ScanError: If the file is none, or its header is damaged.
        OSError: If it cannot be read.
    """
    with path.open("rb") as file:
        content = file.read(LONGEST_HEADER)
    if not re.match(rb"NRRD000[1-5]\r?\n", content):
        raise ScanError(path, "not an NRRD file", "Give a NIfTI, NRRD or MetaImage file")
    end = re.search(rb"\r?\n\r?\n", content)
    if end is None and len(content) == LONGEST_HEADER:
        raise damaged_header(path)
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
            raise damaged_header(path)
        longest = LONGEST_TEXT if name in {"content", "datafile"} else LONGEST_WORD
        if any(
            len(word) > longest for word in re.split(r"[\s,()]+", value)
        ):  # ITK copies words into fixed memory
            raise damaged_header(path)
        if name in ONE_VALUE and len(value) > LONGEST_WORD:
            raise damaged_header(path)
        quoted = re.findall(r'"([^"]*)"', value) if name in {"labels", "units", "spaceunits"} else ()
        if any(len(text) > LONGEST_WORD for text in quoted):
            raise damaged_header(path)
        fields[name] = value.strip()
    return _counted(path, fields, metadata, end.end() if end else len(content))


def _parts(line: str) -> tuple[str, str, str]:
    """The field of a line, what follows it, and its value."""
    found = re.match(r"([^:]*)(:=|: |:)(.*)", line, re.DOTALL)
    if found is None:
        return line, "", ""
    between = ": " if found[2] == ":" and not found[3] else found[2]
    return found[1], between, found[3]


def _counted(path: Path, fields: dict[str, str], metadata: dict[str, str], length: int) -> NrrdHeader:
    """The header of fields whose parts are counted."""
    if not {"dimension", "sizes", "type"} <= fields.keys():
        raise damaged_header(path)
    stated = whole_numbers(path, fields["dimension"])
    size = tuple(whole_numbers(path, fields["sizes"]))
    words = [name for name in PER_AXIS if name in fields]
    axes = stated[0] if len(stated) == 1 else 0
    if not 1 <= axes <= MOST_AXES or any(len(fields[name].split()) != axes for name in words):
        raise damaged_header(path)
    quoted = [fields[name] for name in ("labels", "units") if name in fields]
    if any(len(re.findall(r'"[^"]*"', text)) != axes or text.count('"') != 2 * axes for text in quoted):
        raise damaged_header(path)
    if min(size) < 1 or fields["type"].lower() not in BYTES:
        raise damaged_header(path)
    check_size(path, size)
    kinds = fields["kinds"].lower().split() if "kinds" in fields else ["domain"] * axes
    if not set(kinds) <= KINDS:
        raise damaged_header(path)
    if "spacedirections" in fields:
        found = VECTOR.findall(fields["spacedirections"])
        if len(found) != axes or VECTOR.sub("", fields["spacedirections"]).strip():
            raise damaged_header(path)
        spatial = tuple(axis for axis, (numbers, _) in enumerate(found) if numbers)
    else:
        spatial = tuple(axis for axis, kind in enumerate(kinds) if kind in IN_SPACE)
    return NrrdHeader(fields, size, spatial, tuple(kinds) if "kinds" in fields else (), metadata, length)


def whole_numbers(path: Path, text: str) -> list[int]:
    """The whole numbers of a field.

    Raises:
        ScanError: If it holds anything else.
    """
    words = text.split()
    if not all(re.fullmatch(r"[+-]?\d{1,18}", word, re.ASCII) for word in words):
        raise damaged_header(path)
    return [int(word) for word in words]


def damaged_header(path: Path) -> ScanError:
    """What is said of a header that ITK must not see."""
    return ScanError(path, "its NRRD header is damaged", EXPORT_AGAIN)
