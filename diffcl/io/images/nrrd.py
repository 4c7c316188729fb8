"""NRRD files, whose header is looked at before ITK reads them.

ITK's parser writes beyond its memory over some headers, so every field is known, counted and finite before it sees one.

Source:
    https://teem.sourceforge.net/nrrd/format.html
"""

from __future__ import annotations

import math
import re
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from diffcl.errors import ScanError
from diffcl.geometry import Geometry, GeometryError
from diffcl.io.images.integrity import (
    EXPORT_AGAIN,
    NO_VOXEL_SIZE,
    check_length,
    data_beside,
    inflated,
    misplaced,
    one_volume,
)
from diffcl.io.images.nrrd_header import (
    BYTES,
    IN_SPACE,
    MOST_AXES,
    VECTOR,
    NrrdHeader,
    damaged_header,
    read_header,
    whole_numbers,
)

GZIP: Final = ("gz", "gzip")
TEXT: Final = ("txt", "text", "ascii")
RAW: Final = "raw"

MILLIMETRES: Final = ("", "mm", "millimeter", "millimeters", "millimetre", "millimetres")


def read_nrrd(path: Path) -> tuple[sitk.Image, tuple[str, ...]]:
    """Read an NRRD file as ITK does, with its own type, after a look at its header, and what is odd about that.

    Raises:
        ScanError: If it is none or is damaged.
        OSError: If it cannot be read.
    """
    check_nrrd(path)
    header = read_header(path)
    unsized = not {"spacings", "spacedirections"} & header.fields.keys()
    remarks = (NO_VOXEL_SIZE,) if unsized else ()
    if not _needs_kinds(path, header):
        return _read_by_itk(path, path), remarks
    with TemporaryDirectory() as folder:
        plain = Path(folder) / f"scan{path.suffix.lower()}"
        _write_with_kinds(path, header, plain)
        return _read_by_itk(plain, path), remarks


def _read_by_itk(file: Path, path: Path) -> sitk.Image:
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(file))
    reader.SetImageIO("NrrdImageIO")
    try:
        image: sitk.Image = reader.Execute()
    except RuntimeError as error:
        raise ScanError(path, "damaged, or not the format that its name says", EXPORT_AGAIN) from error
    return image


def _needs_kinds(path: Path, header: NrrdHeader) -> bool:
    """Whether an axis of one value has a direction of none, and a kind that ITK takes for one in space all the same.

    Raises:
        ScanError: If such an axis has several values.
    """
    if "spacedirections" not in header.fields:
        return False
    others = [axis for axis in range(len(header.size)) if axis not in header.spatial]
    odd = [axis for axis in others if not header.kinds or header.kinds[axis] in (*IN_SPACE, "time")]
    if any(header.size[axis] > 1 for axis in odd):
        shape = " x ".join(map(str, header.size))
        raise ScanError(path, f"a {len(header.size)}D image ({shape})", one_volume(len(header.size)))
    return bool(odd)


def _write_with_kinds(path: Path, header: NrrdHeader, place: Path) -> None:
    """Write a file anew, as a header without its voxels where these lie elsewhere, with kinds that ITK understands."""
    kinds = ["domain" if axis in header.spatial else "list" for axis in range(len(header.size))]
    with path.open("rb") as file, place.open("wb") as copy:
        for line in file.read(header.length).rstrip(b"\r\n").splitlines():
            key = line.partition(b":")[0].lower().replace(b" ", b"")
            if key == b"datafile":
                line = f"data file: {data_beside(path, header.fields['datafile']).resolve()}".encode()
            if key != b"kinds" or b":=" in line:
                copy.write(line + b"\n")
        copy.write(f"kinds: {' '.join(kinds)}\n\n".encode())
        if "datafile" not in header.fields:
            shutil.copyfileobj(file, copy)


def check_nrrd(path: Path) -> None:
    """Refuse a file that is not NRRD, or keeps its voxels elsewhere than in itself or in one file beside it.

    Raises:
        ScanError: Naming the file and what is wrong.
        OSError: If the file cannot be opened.
    """
    header = read_header(path)
    _check_place(path, header)
    name = header.fields.get("datafile")
    data = path if name is None else data_beside(path, name)
    start = header.length if name is None else 0
    encoding = header.fields.get("encoding", "").lower()
    skip = whole_numbers(path, header.fields.get("byteskip", "0")) + whole_numbers(
        path, header.fields.get("lineskip", "0")
    )
    if len(skip) != 2 or skip[0] < -1 or skip[1] < 0 or (skip[0] == -1 and encoding != RAW):
        raise damaged_header(path)
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


def _check_place(path: Path, header: NrrdHeader) -> None:
    """Refuse a header whose numbers about space are not finite, do not fit each other, or make no grid."""
    fields = header.fields
    dimension = _space_dimension(path, fields)
    for name in ("spacedirections", "spaceorigin", "measurementframe"):
        vectors = [vector for vector, _ in VECTOR.findall(fields.get(name, "")) if vector]
        if any(len(_numbers(path, vector, ",")) != dimension for vector in vectors):
            raise damaged_header(path)
    if len(VECTOR.findall(fields.get("spaceorigin", "()"))) != 1 or (
        dimension and "spacings" in fields and "spacedirections" in fields
    ):
        raise damaged_header(path)
    frame = VECTOR.findall(fields.get("measurementframe", ""))
    if frame and len(frame) != dimension:
        raise damaged_header(path)
    units = re.findall(r'"([^"]*)"', fields.get("spaceunits", ""))
    if "spaceunits" in fields and len(units) != dimension:
        raise damaged_header(path)
    spacings = fields.get("spacings", "").split()
    if not np.isfinite([_numbers(path, spacings[axis])[0] for axis in header.spatial if spacings]).all():
        raise damaged_header(path)
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
    stated = whole_numbers(path, fields.get("spacedimension", "0"))
    if len(stated) != 1 or not 0 <= stated[0] <= MOST_AXES // 2:
        raise damaged_header(path)
    return stated[0]


def _numbers(path: Path, text: str, between: str | None = None, *, finite: bool = True) -> list[float]:
    try:
        numbers = [float(word) for word in text.split(between)]
    except ValueError as error:
        raise damaged_header(path) from error
    if finite and not np.isfinite(numbers).all():
        raise ScanError(path, "its voxel size, position or orientation is not a number", EXPORT_AGAIN)
    return numbers
