"""Whether an image file is what its header promises: it is asked before any native code sees the file.

ITK puts zeros in place of the missing end of a NIfTI file, and of NaN in it, without a word; it prints to the standard
error over a damaged header, and some headers crash it or let it loop. What it would stumble over is found here first,
and nothing is unpacked beyond what a header promises.
"""

from __future__ import annotations

import math
import os
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from diffcl.errors import ScanError
from diffcl.geometry import GeometryError

EXPORT_AGAIN: Final = "Export or copy the file again"

LARGEST_VOXELS: Final = int(os.environ.get("DIFFCL_LARGEST_VOXELS") or 1 << 29)
"""Voxels of the largest image that is read: 512 x 512 x 2048, a CT of a whole body at 1 mm, 2 GiB as float32. A
header that promises more is refused before memory is taken; the variable of the environment of this name sets another
limit."""

LONGEST_AXIS: Final = 1 << 16
"""Voxels along an axis, at most; no slice of DICOM is as wide, and what is done slice by slice ends in time."""

NO_VOXEL_SIZE: Final = "the header states no voxel size; 1 mm is a guess"
"""The remark about an image file in which at least one axis has none."""

NO_ORIENTATION: Final = (
    "the header states no orientation (qform and sform code 0); left and right are a guess"
)
"""The remark about a NIfTI file without one."""

SLACK_BYTES: Final = 1 << 20
"""Bytes that may follow the last voxel that a header promises."""


def check_size(path: Path, size: Sequence[int]) -> None:
    """Refuse an image with more voxels than `LARGEST_VOXELS`, or more than `LONGEST_AXIS` along an axis.

    Raises:
        ScanError: With the size.
    """
    shape = " x ".join(map(str, size))
    if max(size) > LONGEST_AXIS:
        raise ScanError(path, f"{shape} voxels, more than {LONGEST_AXIS} along an axis", "Crop it")
    if math.prod(size) > LARGEST_VOXELS:
        raise ScanError(path, f"{shape} voxels, more than the {LARGEST_VOXELS} that are read",
                        "Crop it, or set DIFFCL_LARGEST_VOXELS")  # fmt: skip


def check_one_volume(path: Path, size: Sequence[int]) -> None:
    """Refuse an image that has not three dimensions; further ones of a single entry do not count.

    Raises:
        ScanError: With the size.
    """
    if len(size) < 3 or any(length != 1 for length in size[3:]):
        shape = " x ".join(map(str, size))
        raise ScanError(path, f"a {len(size)}D image ({shape})", one_volume(len(size)))


def one_volume(dimensions: int) -> str:
    """What to do with an image that is not one volume.

    >>> one_volume(2)
    'Give a scan of one 3D volume'
    """
    step = "Give a scan of one 3D volume"
    if dimensions == 2:
        return step
    return f"{step}: one of its points in time; if they are sequences, name them in the recipe"


def check_finite(path: Path, voxels: npt.NDArray[Any]) -> None:
    """Refuse voxels that are not numbers.

    Raises:
        ScanError: With their count.
    """
    check_all_finite(path, voxels.size - np.count_nonzero(np.isfinite(voxels)), voxels.size)


def check_all_finite(path: Path, bad: int, count: int) -> None:
    """Refuse a scan of which so many of its voxels are no numbers.

    Raises:
        ScanError: With their count.
    """
    if bad:
        raise ScanError(path, f"{bad} of {count} voxels are NaN or infinite", "Repair the scan")


def inflated(path: Path, content: bytes, promised: int) -> Iterator[bytes]:
    """What zlib or gzip compressed data give, in parts, no more than a header promises and some slack.

    Raises:
        ScanError: If they are damaged, end early, or hold more than `promised` and the slack.
    """
    inflate = zlib.decompressobj(wbits=47)  # 47: zlib or gzip, whichever it is
    present = 0
    try:
        while content and not inflate.eof and present <= promised + SLACK_BYTES:
            part = inflate.decompress(content, SLACK_BYTES)
            content = inflate.unconsumed_tail
            present += len(part)
            yield part
    except zlib.error as error:
        raise ScanError(path, "its compressed voxels are damaged", EXPORT_AGAIN) from error
    check_length(path, present, promised)
    if not inflate.eof:
        raise ScanError(path, "its compressed voxels end early", EXPORT_AGAIN)


def check_length(path: Path, present: int, promised: int) -> None:
    """Refuse data that are shorter than promised, or much longer.

    Args:
        path: Named in errors.
        present: Bytes that are there, at least `promised` and the slack where there are more.
        promised: Bytes that the header promises.

    Raises:
        ScanError: With both numbers.
    """
    if present < promised:
        raise ScanError(path, f"ends early: {present} of {promised} bytes are there", EXPORT_AGAIN)
    if present > promised + SLACK_BYTES:
        raise ScanError(path, f"holds more than the {promised} bytes that its header promises", EXPORT_AGAIN)


def data_beside(path: Path, name: str) -> Path:
    """The data file that a header names, which must be one file in the header's own folder.

    Raises:
        ScanError: If it is elsewhere, or the voxels are scattered over several files.
    """
    name = name.removeprefix("./")
    file = path.with_name(name) if name and Path(name).name == name else path
    if (
        file == path
        or set("%\0") & set(name)
        or name.startswith("LIST")
        or (file.exists() and not file.is_file())
    ):
        raise ScanError(path, "its voxels are not in one file beside it", "Convert it to .mha or .nii.gz")
    return file


def misplaced(path: Path, error: GeometryError) -> ScanError:
    """The error for a grid that cannot be."""
    what = str(error)
    if "perpendicular" in what:
        return ScanError(path, what, "Resample it to a straight grid")
    return ScanError(path, what, "Save it in millimetres" if "millimetres" in what else EXPORT_AGAIN)


def straightened_remark(voxels: float) -> str:
    """The remark about a scan whose axes are nearly perpendicular; see `Geometry.straightened`."""
    return f"its axes are not quite perpendicular; the straight grid nearest to them counts, {voxels:.2g} voxels away"
