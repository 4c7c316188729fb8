"""Refuses NIfTI files that end early or are none: ITK puts zeros in place of what is missing, without a word."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path
from typing import Any, Final

import nibabel as nib
import numpy as np
from nibabel.spatialimages import HeaderDataError

from diffcl.errors import ScanError
from diffcl.io.images.integrity import EXPORT_AGAIN, check_finite, ends_early

NIFTI_GEOMETRY: Final = (
    "pixdim", "srow_x", "srow_y", "srow_z", "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y",
    "qoffset_z",
)  # fmt: skip
"""Fields of a NIfTI header that say where its voxels lie."""

SMALLEST: Final = 1e-30

LARGEST: Final = 1e6
"""No number of a geometry, mm, is as large, or as small and not 0."""


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
