"""Refuses image files that end early, lean on files elsewhere or are not what their suffix says.

ITK puts zeros in place of the missing end of a NIfTI file, and of NaN in it, without a word, and prints to the
standard error over a damaged header. What it would stumble over is found here first.
"""

from __future__ import annotations

import gzip
import math
import re
import zlib
from pathlib import Path
from typing import Any, Final

import nibabel as nib
import numpy as np
import numpy.typing as npt
from nibabel.spatialimages import HeaderDataError

from diffcl.errors import ScanError

NIFTI_GEOMETRY: Final = (
    "pixdim", "srow_x", "srow_y", "srow_z", "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y",
    "qoffset_z",
)  # fmt: skip
"""Fields of a NIfTI header that say where its voxels lie."""

SMALLEST: Final = 1e-30
LARGEST: Final = 1e6
"""No number of a geometry, mm, is as large, or as small and not 0."""

EXPORT_AGAIN: Final = "Export or copy the file again"


def check_nifti(path: Path) -> None:
    """Refuse what is not single-file NIfTI-1 or -2, ends early, or has voxels that are NaN or infinite.

    Raises:
        ScanError: Naming the file and what is wrong.
        OSError: If the file cannot be opened.
    """
    compressed = path.name.lower().endswith(".gz")
    try:
        with gzip.open(path) if compressed else path.open("rb") as stream:
            content = stream.read()
    except (EOFError, zlib.error) as error:
        raise ScanError(path, "the compressed file is damaged or ends early", EXPORT_AGAIN) from error
    except gzip.BadGzipFile as error:
        raise ScanError(path, "not a gzip file, or a damaged one", EXPORT_AGAIN) from error
    count, dtype, offset = _nifti_layout(path, content)
    if len(content) < offset + count * dtype.itemsize:
        raise ends_early(path, len(content), offset + count * dtype.itemsize)
    if dtype.kind == "f":
        check_finite(path, np.frombuffer(content, dtype, count, offset))


def check_finite(path: Path, voxels: npt.NDArray[Any]) -> None:
    """Refuse voxels that are not numbers.

    Raises:
        ScanError: With their count.
    """
    bad = voxels.size - np.count_nonzero(np.isfinite(voxels))
    if bad:
        raise ScanError(path, f"{bad} of {voxels.size} voxels are NaN or infinite", "Repair the scan")


def check_nrrd(path: Path) -> None:
    """Refuse a file that is not NRRD, or keeps its voxels elsewhere than in itself or in one file beside it.

    Raises:
        ScanError: Naming the file and what is wrong.
        OSError: If the file cannot be opened.
    """
    content = path.read_bytes()
    if not content.startswith(b"NRRD000"):
        raise ScanError(path, "not an NRRD file", "Give a NIfTI, NRRD or MetaImage file")
    end = re.search(rb"\r?\n\r?\n", content)
    header = content[: end.start() if end else None].decode("latin-1")
    file = re.search(r"(?mi)^data ?file:[ \t]*(.*?)[ \t\r]*$", header)
    data = data_beside(path, file[1]).read_bytes() if file else content[end.end() if end else 0 :]
    if re.search(r"(?mi)^encoding:[ \t]*gz", header):
        inflated(path, data)


def _nifti_layout(path: Path, content: bytes) -> tuple[int, np.dtype[Any], int]:
    """Number and type of the voxels that a NIfTI file of this header has, and where the first one stands."""
    kinds: dict[bytes, tuple[Any, int]] = {
        b"n+1\0": (nib.Nifti1Header, 348),
        b"n+2\0": (nib.Nifti2Header, 540),
    }
    kind = kinds.get(content[344:348]) or kinds.get(content[4:8])
    if kind is None or len(content) < kind[1]:
        raise ScanError(path, "not a NIfTI file", "Give a NIfTI, NRRD or MetaImage file")
    try:
        header = kind[0](content[: kind[1]], check=False)
        shape, dtype = header.get_data_shape(), header.get_data_dtype()
    except (HeaderDataError, KeyError, ValueError) as error:
        raise ScanError(path, "its NIfTI header is damaged", EXPORT_AGAIN) from error
    offset = float(header["vox_offset"])
    sizes_fit = 1 <= header["dim"][0] <= 7 and all(size > 0 for size in shape)
    type_fits = header["bitpix"] == 8 * dtype.itemsize > 0
    if not (sizes_fit and type_fits and kind[1] <= offset < 2**40):
        raise ScanError(path, "its NIfTI header is damaged", EXPORT_AGAIN)
    geometry = np.abs(np.concatenate([np.atleast_1d(header[field]) for field in NIFTI_GEOMETRY]))
    if not ((geometry == 0) | ((geometry > SMALLEST) & (geometry < LARGEST))).all():
        raise ScanError(path, "its voxel size, position or orientation makes no sense", EXPORT_AGAIN)
    return math.prod(int(size) for size in shape), dtype, int(offset)


def inflated(path: Path, content: bytes) -> bytes:
    """What zlib or gzip compressed data give.

    Raises:
        ScanError: If they are damaged or end early.
    """
    inflate = zlib.decompressobj(wbits=47)  # 47: zlib or gzip, whichever it is
    try:
        voxels = inflate.decompress(content)
    except zlib.error as error:
        raise ScanError(path, "its compressed voxels are damaged", EXPORT_AGAIN) from error
    if not inflate.eof:
        raise ScanError(path, "its compressed voxels end early", EXPORT_AGAIN)
    return voxels


def data_beside(path: Path, name: str) -> Path:
    """The data file that a header names, which must be one file in the header's own folder.

    Raises:
        ScanError: If it is elsewhere, or the voxels are scattered over several files.
    """
    if Path(name).name != name or set("%\0") & set(name) or name.startswith("LIST"):
        raise ScanError(path, "its voxels are not in one file beside it", "Convert it to .mha or .nii.gz")
    return path.with_name(name)


def ends_early(path: Path, present: int, promised: int) -> ScanError:
    """The error for a file with less than its header promises, in bytes."""
    return ScanError(path, f"ends early: {present} of {promised} bytes are there", EXPORT_AGAIN)
