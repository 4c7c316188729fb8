"""Whether an image file is whole: what ends early, leans on files elsewhere or holds no numbers is refused.

ITK puts zeros in place of the missing end of a NIfTI file, and of NaN in it, without a word, and prints to the
standard error over a damaged header. What it would stumble over is found here first.
"""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from diffcl.errors import ScanError

EXPORT_AGAIN: Final = "Export or copy the file again"


def check_finite(path: Path, voxels: npt.NDArray[Any]) -> None:
    """Refuse voxels that are not numbers.

    Raises:
        ScanError: With their count.
    """
    bad = voxels.size - np.count_nonzero(np.isfinite(voxels))
    if bad:
        raise ScanError(path, f"{bad} of {voxels.size} voxels are NaN or infinite", "Repair the scan")


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
