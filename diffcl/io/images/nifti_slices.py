"""NIfTI files read slice by slice, so that no more than a slice of them is in memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
from nibabel.spatialimages import HeaderDataError
from nibabel.volumeutils import apply_read_scaling
from numpy.typing import NDArray

from diffcl.errors import ScanError
from diffcl.geometry import Geometry
from diffcl.io.images.integrity import EXPORT_AGAIN, SLACK_BYTES, check_length
from diffcl.io.images.nifti import KINDS, Header, stated_header, stated_place, unpacked


def nifti_slices(path: Path) -> tuple[Geometry, Iterator[NDArray[Any]]] | None:
    """The grid of a NIfTI file of one volume and its slices `(Y, X)` along its last axis, scaled as its header has it.

    What `read_nifti` refuses of the content is refused once the slices have been read to the end, but for voxels that
    are not numbers.

    Returns:
        None where the file has several volumes, or does not state where its voxels lie.

    Raises:
        ScanError: If it is none, is damaged, ends early, or its voxels cannot be placed; also from the iterator.
        OSError: If it cannot be read; also from the iterator.
    """
    with unpacked(path) as stream:
        header, promised = stated_header(path, stream.read(KINDS[b"n+2\0"][1]), several=True)
    if any(length != 1 for length in header.get_data_shape()[3:]):
        return None
    grid, _ = stated_place(path, header)
    return None if grid is None else (grid, _slices(path, header, promised, grid.size))


def _slices(path: Path, header: Header, promised: int, size: tuple[int, int, int]) -> Iterator[NDArray[Any]]:
    x, y, z = size
    dtype, offset = header.get_data_dtype(), int(header["vox_offset"])
    try:
        slope, intercept = header.get_slope_inter()
    except HeaderDataError as error:
        raise ScanError(path, "its NIfTI header is damaged", EXPORT_AGAIN) from error
    length, present = x * y * dtype.itemsize, offset
    with unpacked(path) as stream:
        check_length(path, len(stream.read(offset)), min(offset, promised))
        for _ in range(z):
            content = stream.read(length)
            present += len(content)
            if len(content) < length:
                check_length(path, present, promised)
            stored = np.frombuffer(content, dtype).astype(dtype.newbyteorder("=")).reshape(y, x)
            if slope is None:
                yield stored
            else:
                with np.errstate(all="ignore"):  # voxels that become infinite are refused afterwards
                    yield cast("NDArray[Any]", apply_read_scaling(stored, slope, intercept))
        check_length(path, present + len(stream.read(SLACK_BYTES + 1)), promised)
